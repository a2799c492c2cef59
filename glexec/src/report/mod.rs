//! Reports: the log for auditor and administrator, one line for the caller, records for hooks.
#![forbid(unsafe_code)]

mod audit;
mod rehearsal;
mod teller;
mod voice;

pub(crate) use rehearsal::rehearsal;
pub(crate) use teller::{Teller, not_logged};
pub(crate) use voice::{paths, print, version};
