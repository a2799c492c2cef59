//! What the kernel offers, as plain values: system calls that no safe crate has, the texts of /proc,
//! files opened with care, signals as values.
//!
//! Nothing here decides who may do what, and nothing here knows whether it is root. All unsafe code
//! of glexec is in [`kernel`].
#![deny(unsafe_code)]

mod birth;
pub mod file_trust;
pub mod kernel;
pub mod proc_format;
pub mod process;
pub mod secure_open;
pub mod signal_info;
pub mod text;

pub use birth::Birth;
