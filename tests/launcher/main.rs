//! The promises of glexec, each a test named as a sentence, through the installed setuid binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

mod about;
mod accounts;
mod admin;
mod administrator;
mod bad_input;
mod bracket;
mod certification;
mod cgroups;
mod control;
mod cost;
mod credential;
mod debts;
mod delegated;
mod descriptor_proxy;
mod doctor;
mod documented;
mod drop_ins;
mod ends;
mod environment;
mod epilogue;
mod epilogue_trust;
mod example_epilogues;
mod fault_table;
mod forged;
mod hand_back;
mod hand_over;
mod hostage;
mod hostile_start;
mod identity;
mod immunity;
mod injection;
mod job_ad;
mod job_proxy;
mod lcmaps;
mod leases;
mod log;
mod log_only;
mod lost_proxy;
mod metrics;
mod pool;
mod process_state;
mod rehearsal;
mod root_scopes;
mod shape;
mod siege;
mod signals;
mod state;
mod status;
mod stragglers;
mod terminal;
mod token;
mod tools;
mod vectors;
