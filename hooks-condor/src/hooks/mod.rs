//! One function for each program: from the process's environment to its exit code.

mod exit;
mod prepare;
mod record;
mod wrapper;

pub use exit::{exit, exit_stay};
pub use prepare::prepare;
pub use record::record;
pub use wrapper::wrapper;

use crate::dialect::KEY;
use std::env::var_os;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

/// An ad is some ten KiB.
pub(crate) const LONGEST_AD: u64 = 4 << 20;

pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "[glexec-condor]: {text}");
}

pub(crate) fn scratch() -> Option<PathBuf> {
    var_os(KEY).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// As the kernel calls it; no secret of the site's.
pub(crate) fn node() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "this node".to_owned() } else { name.to_owned() }
}
