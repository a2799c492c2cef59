//! The Slurm hooks with real daemons: docs/slurm.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod codes;
mod faults;
mod fidelity;
mod kills;
mod membership;
mod mpi;
mod places;
mod scripts;
mod setup;
mod spoofing;
mod ways;
