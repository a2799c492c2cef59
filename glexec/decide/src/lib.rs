//! Decides: facts in, a plan out. No I/O, no clock, no environment, no unsafe.
#![forbid(unsafe_code)]

pub mod cgroups;
pub mod config;
pub mod credential;
pub mod database;
pub mod deadline;
pub mod ended;
pub mod entry;
pub mod environment;
pub mod epilogue_environment;
pub mod epilogue_identity;
pub mod facts;
pub mod gridmapdir;
pub mod handover;
pub mod lcmaps;
pub mod mounts;
pub mod names;
mod payload_copy;
pub mod plan;
mod planning;
pub mod policy;
pub mod program;
pub mod proxy_copy;
#[cfg(feature = "read")]
pub mod recorded_run;
pub mod refusal;
pub mod reporter;
pub mod settling;
pub mod state_machine;
pub mod target;
