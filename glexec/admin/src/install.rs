//! Writing a file of root's whole or not at all.

use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Uid, UnlinkatFlags, linkat, unlinkat};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Error, ErrorKind, Result, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use system::file_trust::Trust;
use system::secure_open;

/// Writes a file under another name and gives it its own when it is whole and on the disk.
///
/// # Errors
/// Where a file of that name is there and `replace` is false, or it cannot be written.
pub(super) fn file(path: &Path, text: &[u8], (mode, replace): (u32, bool)) -> Result<()> {
    // Who can write where root does could have root write something else.
    within(path, &Trust::default(), |directory, name| {
        file_in(directory, name, text, (mode, replace))
    })
}

/// The same, replacing what is there, where each directory on the way may belong to anybody:
/// Debian's /var/lib/prometheus is not root's. No link is followed, so its owner can have nothing
/// written but this file, into a directory of his own.
///
/// # Errors
/// Where a directory can be written by more than its owner, or the file cannot be written.
pub(super) fn beside_others(path: &Path, text: &[u8], mode: u32) -> Result<()> {
    let above = path.ancestors().skip(1).filter_map(|above| above.symlink_metadata().ok());
    let members = above.map(|meta| Uid::from_raw(meta.uid())).collect();
    let trust = Trust { members, ..Trust::default() };
    within(path, &trust, |directory, name| file_in(directory, name, text, (mode, true)))
}

/// Opens a file that is there for its lock, or makes it.
///
/// # Errors
/// Where others than root can write there, or it cannot be opened.
pub(super) fn lock_file(path: &Path) -> Result<File> {
    within(path, &Trust::default(), |directory, name| {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(File::from(openat(directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?))
    })
}

/// Does something in the directory that a path leads to, if it can be trusted.
fn within<T>(
    path: &Path,
    trust: &Trust,
    work: impl FnOnce(&OwnedFd, &str) -> Result<T>,
) -> Result<T> {
    let refused = |why: &str| Error::new(ErrorKind::InvalidInput, why.to_owned());
    let shown = std::path::absolute(path)?;
    let shown = shown.to_str().ok_or_else(|| refused("it is not UTF-8"))?;
    let (directory, name) =
        secure_open::open_parent(shown, trust).map_err(|untrusted| refused(untrusted.clause()))?;
    // Again, for fsync(2).
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = openat(&directory, ".", flags, Mode::empty())?;
    work(&directory, name)
}

fn file_in(
    directory: &OwnedFd,
    name: &str,
    text: &[u8],
    (mode, replace): (u32, bool),
) -> Result<()> {
    let fresh = OsString::from(format!(".{name}.{}", std::process::id()));
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(mode);
    let opened = openat(directory, fresh.as_os_str(), flags, mode)?;
    let names = (&fresh, OsString::from(name));
    let placed = place(opened, (text, mode), directory, names, replace);
    if placed.is_err() || !replace {
        let _ = unlinkat(directory, fresh.as_os_str(), UnlinkatFlags::NoRemoveDir);
    }
    placed
}

fn place(
    opened: OwnedFd,
    (text, mode): (&[u8], Mode),
    directory: &OwnedFd,
    (fresh, name): (&OsString, OsString),
    replace: bool,
) -> Result<()> {
    // Whatever the umask says.
    fchmod(&opened, mode)?;
    let mut file = File::from(opened);
    file.write_all(text)?;
    file.sync_all()?;
    if replace {
        renameat(directory, fresh.as_os_str(), directory, name.as_os_str())?;
    } else {
        // Fails where the name is taken, by whatever.
        let flags = AtFlags::empty();
        linkat(directory, fresh.as_os_str(), directory, name.as_os_str(), flags)?;
    }
    Ok(nix::unistd::fsync(directory.as_fd())?)
}

/// Makes a directory of root's where it is not there; whether it can be used is seen when it is.
pub(super) fn directory(path: &Path, mode: u32) {
    let _ = std::fs::DirBuilder::new().mode(mode).create(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_only_where_that_is_asked_for_and_nothing_else_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.toml");
        let open = || std::fs::OpenOptions::new().read(true).open(&path).unwrap();
        let file = |path: &Path, text: &[u8], how| {
            let mut opened = std::fs::OpenOptions::new();
            let above = opened.read(true).open(path.parent().unwrap()).unwrap();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap();
            file_in(&OwnedFd::from(above), name, text, how)
        };
        let read = || std::io::read_to_string(open()).unwrap();
        file(&path, b"one", (0o600, false)).unwrap();
        let again = file(&path, b"two", (0o600, false)).unwrap_err();
        assert_eq!((again.kind(), read()), (ErrorKind::AlreadyExists, "one".to_owned()));
        file(&path, b"three", (0o640, true)).unwrap();
        assert_eq!((read(), path.metadata().unwrap().mode() & 0o777), ("three".to_owned(), 0o640));
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(file(&link, b"four", (0o600, false)).is_err());
        file(&link, b"five", (0o600, true)).unwrap();
        assert!(!link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(read(), "three");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
        // Who can write there could have something else written.
        let error = super::file(&path, b"six", (0o600, true)).unwrap_err();
        assert!(error.to_string().contains("writable by everybody"), "{error}");
        assert!(super::file(Path::new("/"), b"", (0o600, true)).is_err());
    }
}
