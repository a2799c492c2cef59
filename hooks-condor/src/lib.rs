//! Adapters between glexec and HTCondor: job wrapper, the hooks before and after a job, and the
//! record of what the payload did. docs/htcondor.md is the site's guide.
//!
//! `dialect` knows HTCondor's words, `verdict` decides, `settings` is the site's file, `record` is
//! what an epilogue leaves for the hook after it; `hooks` puts them together, one function for
//! each program.

mod dialect;
mod hooks;
mod legacy;
mod record;
mod settings;
mod verdict;

pub use hooks::{exit, prepare, record, wrapper};
pub use legacy::{condor_glexec, selftest};
