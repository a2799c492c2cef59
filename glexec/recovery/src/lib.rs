//! Pays what a glexec owes that is gone: ends what is left of its payload, hands directories back and
//! runs the epilogue. The program glexec-settle does this for `glexec-admin sweep` and
//! `glexec --settle`, in a process of root's own that they start (`act::apart`).
#![forbid(unsafe_code)]

pub mod entries;
mod hand_back;
mod orphans;
mod run;
mod sweep;

pub use run::run;
