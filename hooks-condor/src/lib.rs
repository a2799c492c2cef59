//! Adapters between glexec and HTCondor.

mod legacy;

pub use legacy::{condor_glexec, selftest};
