//! Changes the world. The only wing that is ever root, and the only one with unsafe (in `sys`).

pub(crate) mod apart;
mod cgroups;
pub(crate) mod channel;
mod companion;
pub(crate) mod epilogue;
mod family;
pub(crate) mod front;
mod handover;
pub(crate) mod helper;
mod identity;
mod launch;
pub(crate) mod leases;
mod letgo;
pub(crate) mod linger;
pub(crate) mod messenger;
pub(crate) mod mirror;
pub(crate) mod named;
mod nested;
mod output;
pub(crate) mod payload;
pub(crate) mod probe;
mod process;
pub(crate) mod relay;
mod remains;
pub(crate) mod root;
pub(crate) mod sink;
pub(crate) mod state;
mod stragglers;
pub(crate) mod sweep;
mod sys;
pub(crate) mod threshold;
pub(crate) mod trusted;
mod watch;

pub(crate) use front::pid_of;
pub(crate) use process::leads_terminal_group;
pub(crate) use sys::{borrow as borrowed, exit_now};
