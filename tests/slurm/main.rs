//! The Slurm hooks with real daemons.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod codes;
