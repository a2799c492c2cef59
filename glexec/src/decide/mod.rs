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
pub(crate) mod facts;
pub(crate) mod handover;
pub(crate) mod heard;
pub(crate) mod last_word;
pub(crate) mod mounts;
pub(crate) mod names;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod procfs;
pub(crate) mod program;
pub(crate) mod stop;
pub(crate) mod target;
pub(crate) mod text;
pub(crate) mod trust;
pub(crate) mod vigil;
pub(crate) mod witness;
