//! Observes: reads the world with the caller's rights, and decides nothing.
#![forbid(unsafe_code)]

mod caller;
mod nameservice;
mod request;

pub(crate) use caller::kernel_ids;
pub(crate) use nameservice::needs_helper;
pub(crate) use request::request;
