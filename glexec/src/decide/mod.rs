//! Decides: facts in, a plan out. No I/O, no clock, no environment, no unsafe.
#![forbid(unsafe_code)]

pub(crate) mod advice;
pub(crate) mod cgroups;
pub(crate) mod config;
pub(crate) mod database;
pub(crate) mod deadline;
pub(crate) mod ended;
pub(crate) mod entry;
pub(crate) mod environment;
pub(crate) mod epilogue_environment;
pub(crate) mod facts;
pub(crate) mod handover;
pub(crate) mod mounts;
pub(crate) mod names;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod program;
pub(crate) mod refusal;
pub(crate) mod reporter;
pub(crate) mod state_machine;
pub(crate) mod target;
