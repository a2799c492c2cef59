//! Where a copy is, and what of a job names its sandbox. Pure but for [`check`],
//! [`all_of`] and the random part of a name.

use adapter::tree::{about, kind, look_here, names, open_directory, os};
use nix::sys::stat::SFlag;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the epilogue where the copy was, by `job_variables`.
pub(crate) const VARIABLE: &str = "GLEXEC_CONDOR_COPY";
const PREFIX: &str = "sandbox-";
const DIGITS: usize = 16;

/// A new one's path. That nobody can foresee it is why nobody else can be there first.
pub(super) fn new_in(directory: &Path) -> PathBuf {
    let random = RandomState::new().build_hasher().finish();
    directory.join(format!("{PREFIX}{random:0DIGITS$x}"))
}

/// Whether a path is that of a copy in this directory.
pub(crate) fn is_one(path: &Path, directory: &Path) -> bool {
    let name = path.strip_prefix(directory).ok().and_then(Path::to_str);
    let digits = name.and_then(|name| name.strip_prefix(PREFIX)).unwrap_or_default();
    digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The copies of this account in this directory that are older than the moment between their making
/// and their being held; what somebody else has put there is left out, and more names than one
/// machine has jobs.
///
/// # Errors
/// The path, and what the kernel says.
pub(crate) fn all_of(uid: u32, directory: &Path) -> io::Result<Vec<PathBuf>> {
    const MOST: usize = 4096;
    const MOMENT: u64 = 60;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?.as_secs();
    let is_old =
        |modified: i64| u64::try_from(modified).is_ok_and(|at| now.saturating_sub(at) > MOMENT);
    let opened = open_directory(directory)?;
    let names = names(opened.as_fd()).map_err(about(directory))?;
    let named = names.iter().filter(|name| is_one(&directory.join(os(name)), directory));
    let theirs = named.take(MOST).filter(|name| {
        // What cannot be looked at, because somebody mounts there or it is gone, is nobody's to remove.
        look_here(opened.as_fd(), name).is_ok_and(|stat| {
            stat.st_uid == uid && kind(&stat) == SFlag::S_IFDIR && is_old(stat.st_mtime)
        })
    });
    Ok(theirs.map(|name| directory.join(os(name))).collect())
}

/// Whether every account can have a directory of its own there.
///
/// # Errors
/// What is wrong, and what to do.
pub(crate) fn check(directory: &Path) -> Result<(), String> {
    const STICKY_FOR_ALL: u32 = 0o1003;
    let remedy = format!("install -d -o root -g root -m 1777 {}", directory.display());
    let data = fs::symlink_metadata(directory).map_err(|error| {
        format!("sandbox.directory: {}: {error}; {remedy}", directory.display())
    })?;
    if !data.is_dir() || data.uid() != 0 || data.mode() & STICKY_FOR_ALL != STICKY_FOR_ALL {
        return Err(format!(
            "sandbox.directory: {} must be root's directory of mode 1777; {remedy}",
            directory.display()
        ));
    }
    Ok(())
}

/// A word or a value that names the sandbox, or something in it, names the copy.
pub(super) fn moved(text: &OsStr, from: &Path, to: &Path) -> Option<OsString> {
    let rest = text.as_bytes().strip_prefix(from.as_os_str().as_bytes())?;
    if !rest.is_empty() && !rest.starts_with(b"/") {
        return None;
    }
    Some(OsString::from_vec([to.as_os_str().as_bytes(), rest].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_and_nothing_else_is() {
        let directory = Path::new("/var/spool/x");
        let place = new_in(directory);
        assert!(is_one(&place, directory), "{place:?}");
        assert_ne!(place, new_in(directory));
        for other in [
            "/var/spool/x",
            "/var/spool/x/sandbox-",
            "/var/spool/x/sandbox-0123456789abcde",
            "/var/spool/x/sandbox-0123456789abcdeg",
            "/var/spool/x/sandbox-0123456789abcdef/..",
            "/var/spool/x/../sandbox-0123456789abcdef",
            "/var/spool/sandbox-0123456789abcdef",
            "sandbox-0123456789abcdef",
            "/home/payload1",
        ] {
            assert!(!is_one(Path::new(other), directory), "{other}");
        }
    }

    #[test]
    fn what_names_the_sandbox_names_the_copy() {
        let to = |text: &str| moved(OsStr::new(text), Path::new("/e/dir_7"), Path::new("/c"));
        assert_eq!(to("/e/dir_7").unwrap(), "/c");
        assert_eq!(to("/e/dir_7/a b").unwrap(), "/c/a b");
        for other in ["/e/dir_77", "/e", "e/dir_7", "--in=/e/dir_7", ""] {
            assert_eq!(to(other), None, "{other}");
        }
    }

    #[test]
    fn a_directory_for_all_is_sticky() {
        assert!(check(Path::new("/nowhere/at/all")).unwrap_err().contains("install -d"));
        assert!(check(Path::new("/etc")).unwrap_err().contains("1777"));
        assert!(check(Path::new("/tmp")).is_ok());
    }
}
