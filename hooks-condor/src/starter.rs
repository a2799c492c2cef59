//! What a hook has around it: the starter's variables, its standard error, and HTCondor's programs.

use crate::dialect::KEY;
use std::env::var_os;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

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

/// A program of HTCondor's: the one that the site names, or else the first that is there beside the
/// daemons or where distributions have it.
pub(crate) fn condor_program(named: Option<&Path>, name: &str) -> Option<PathBuf> {
    if let Some(path) = named {
        return Some(path.to_owned());
    }
    let bin = var_os("_CONDOR_BIN").map(PathBuf::from).filter(|bin| bin.is_absolute());
    let beside = bin.iter().flat_map(|bin| {
        ["", "../libexec/condor", "../libexec"].map(|directory| bin.join(directory).join(name))
    });
    let usual =
        ["/usr/libexec/condor", "/usr/bin"].map(|directory| Path::new(directory).join(name));
    beside.chain(usual).find(|path| path.is_file())
}
