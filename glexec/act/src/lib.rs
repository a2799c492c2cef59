//! Changes the world. The only crate that is ever root: what needs root takes [`root::Root`], which
//! only privilege code makes.
#![forbid(unsafe_code)]

mod account_processes;
pub mod apart;
pub mod caller_descriptors;
pub mod cgroups;
mod clean;
pub mod clock;
mod close_descriptors;
pub mod descendants;
pub mod descriptor_proxy;
pub mod epilogue;
pub mod event_loop;
pub mod event_sources;
pub mod exec_status;
pub mod find_command;
mod foreign;
pub mod gridmapdir;
pub mod handover;
pub mod held_processes;
pub mod helper;
mod identity;
mod keyring;
pub mod launch;
pub mod leases;
pub mod needs_proc;
mod nested;
mod output;
mod parent_watch;
pub mod payload;
pub mod program;
pub mod root;
pub mod sink;
pub mod state;
pub mod status_proxy;
pub mod stragglers;
pub mod supervisor;
pub mod target_proxy;
pub mod threshold;
mod tree;
pub mod trial;
mod whereabouts;

pub use needs_proc::{needs_dev_null, needs_proc};
