//! For a site where nothing may change its owner: the job's sandbox is copied to a directory of
//! the target's for the run, and back. One call of glexec does it all: what it starts is
//! `inside`, as the target, which takes the files in, runs the job's command and gives the files
//! back; the wrapper is `outside`, at the other end of a socket.
//!
//! On the socket, in order: the sandbox as a stream (`archive`) to the target; [`READY`], or one
//! line that says why not; the sandbox back; [`TAKEN`].

use std::ffi::OsStr;

mod inside;
mod outside;
mod place;

pub use inside::copy;
pub(crate) use outside::{CopyOutcome, SandboxCopy};
pub(crate) use place::{VARIABLE, all_of, check, is_one};

/// What the target says when it has everything.
const READY: &[u8] = b"ready\n";
/// What the wrapper says when it has everything.
const TAKEN: &[u8] = b"taken\n";
/// A sentence has so many characters at most, and its line so many bytes.
const LONGEST_SENTENCE: usize = 255;
const LONGEST_LINE: u64 = 4 * 256;
/// Where what comes back waits until all of it is here, and then what it takes the place of.
const WAITING: &str = ".glexec.back";
/// The starter's own, by name, where it has the same owner as the job's files: descriptors are open
/// on some of them, and the starter reads the others. The target has copies that do not come back.
const STARTERS: [&str; 9] = [
    "_condor_stdout",
    "_condor_stderr",
    ".job.ad",
    ".machine.ad",
    ".update.ad",
    ".execution_overlay.ad",
    ".chirp.config",
    ".condor_creds",
    WAITING,
];

fn names(all: &[&'static str]) -> Vec<&'static OsStr> {
    all.iter().map(|name| OsStr::new(*name)).collect()
}
