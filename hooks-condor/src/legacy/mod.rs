//! The programs that HTCondor 7.1.3 to 8.8 called where `GLEXEC_JOB` was on, for a starter that
//! still does; and a pilot factory's self-test. docs/htcondor-legacy.md is the guide. "Facts" with
//! a number are the sections of the project's facts about HTCondor.
//!
//! `dialect` and `verdict` are pure; `timeout_io` waits for a sandbox on its way;
//! `programs` and `holder` run as the pilot, `target`, `server` and `wrapper` as the target; `request`
//! is what `holder` asks of `server` where a sandbox has an account of a pool.

mod dialect;
mod holder;
mod limits;
mod programs;
mod request;
mod selftest;
mod server;
mod target;
mod timeout_io;
mod verdict;
mod wrapper;

pub use programs::condor_glexec;
pub use selftest::selftest;

use std::io::Write as _;

/// What the target says when it has unpacked a whole sandbox.
const UNPACKED: &[u8] = b"unpacked\n";
/// What the pilot says when it has a whole sandbox.
const TAKEN: &[u8] = b"taken\n";
/// What the target says when it has sent a signal, or has a new proxy.
const OBEYED: &[u8] = b"obeyed\n";

/// One line on standard error, which the starter puts into the hold reason.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "[condor_glexec]: {text}");
}
