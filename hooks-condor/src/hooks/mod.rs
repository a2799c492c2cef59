//! One function for each program: from the process's environment to its exit code.

mod exit;
mod prepare;
mod record;
mod wrapper;

pub use exit::{exit, exit_stay};
pub use prepare::{prepare, prepare_transfer};
pub use record::record;
pub use wrapper::wrapper;
