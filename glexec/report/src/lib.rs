//! Reports: the log for auditor and administrator, one line for the caller, records for hooks.
#![forbid(unsafe_code)]

mod audit;
mod rehearsal;
mod site_reporter;
mod voice;

pub use rehearsal::rehearsal;
pub use site_reporter::{SiteReporter, not_logged};
pub use voice::{paths, print, version};
