//! Reports: the log for auditor and administrator, one line for the caller, records for hooks.
#![forbid(unsafe_code)]

mod audit;
mod rehearsal;
mod teller;
mod voice;

pub(crate) use rehearsal::rehearsal;
pub(crate) use teller::Teller;
pub(crate) use voice::{paths, print, version};
