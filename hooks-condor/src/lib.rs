//! Adapters between glexec and HTCondor: job wrapper, the hooks before and after a job, and the
//! record of what the payload did. docs/htcondor.md is the site's guide.
//!
//! `dialect` knows HTCondor's words, `environment` how it writes a job's variables, `unsupported` what
//! a job must not ask of its starter, `starters_wrapper` what the starter runs a job by, `verdict`
//! decides, `settings` is the site's file, `starter` what a hook has around it, `record` what an
//! epilogue leaves for the hook after it, `chirp` the way to the job's ad; `copy` is the sandbox in two places, `archive` its way
//! between them; `hooks` puts them together, one file for each program; `legacy` has the programs
//! that HTCondor up to 8.8 starts; `about` has what each says of itself.

pub mod about;
mod archive;
mod chirp;
mod copy;
mod dialect;
mod environment;
mod hooks;
mod legacy;
mod record;
mod record_store;
mod settings;
mod starter;
mod starters_wrapper;
mod unsupported;
mod verdict;

pub use copy::copy;
pub use hooks::{exit, exit_stay, prepare, prepare_transfer, record, wrapper};
pub use legacy::{condor_glexec, selftest};
pub use verdict::OWN_REASONS;
