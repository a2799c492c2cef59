//! Opens a file that root obeys: no link anywhere, nobody else may change it or its path.

use super::root::Root;
use crate::decide::trust::{Component, Trust, components};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{Gid, Uid};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Why a file cannot be trusted, or is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Untrusted {
    /// There is no such file.
    Missing(String),
    /// The caller has no descriptor left for it.
    Exhausted(String),
    /// One clause that names the component and what is wrong with it.
    Because(String),
}

impl Untrusted {
    /// The clause.
    pub(crate) fn clause(&self) -> &str {
        match self {
            Self::Missing(clause) | Self::Exhausted(clause) | Self::Because(clause) => clause,
        }
    }
}

/// Opens a regular file by an absolute canonical path, each component on its own, and judges
/// what was opened, never a name. Does not block on a FIFO and follows no link.
///
/// # Errors
/// [`Untrusted`], naming the component.
pub(crate) fn open_file(root: &Root, path: &str, trust: &Trust) -> Result<OwnedFd, Untrusted> {
    let (directory, name) = open_parent(root, path, trust)?;
    let flags = OFlag::O_RDONLY
        | OFlag::O_NONBLOCK
        | OFlag::O_NOFOLLOW
        | OFlag::O_CLOEXEC
        | OFlag::O_NOCTTY;
    let file = openat(&directory, name, flags, Mode::empty()).map_err(|e| refused(path, e))?;
    judge(&file, path, SFlag::S_IFREG, trust)?;
    Ok(file)
}

/// Opens the directory a path lies in, judged likewise, and gives the last name.
///
/// # Errors
/// [`Untrusted`], naming the component.
pub(crate) fn open_parent<'p>(
    _root: &Root,
    path: &'p str,
    trust: &Trust,
) -> Result<(OwnedFd, &'p str), Untrusted> {
    let because = |why: &str| Untrusted::Because(format!("{path} {why}"));
    let mut names = components(path).map_err(because)?;
    let last = names.pop().ok_or_else(|| because("has no name"))?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut shown = String::from("/");
    let mut directory = openat(AT_FDCWD, "/", flags, Mode::empty()).map_err(|e| refused("/", e))?;
    judge(&directory, &shown, SFlag::S_IFDIR, trust)?;
    for name in names {
        if shown.len() > 1 {
            shown.push('/');
        }
        shown.push_str(name);
        directory =
            openat(&directory, name, flags, Mode::empty()).map_err(|e| refused(&shown, e))?;
        judge(&directory, &shown, SFlag::S_IFDIR, trust)?;
    }
    Ok((directory, last))
}

/// Judges what a descriptor stands for.
///
/// # Errors
/// [`Untrusted::Because`], naming `shown`.
pub(crate) fn judge(
    opened: &OwnedFd,
    shown: &str,
    kind: SFlag,
    trust: &Trust,
) -> Result<(), Untrusted> {
    let stat = stat_of(opened).map_err(|e| refused(shown, e))?;
    let because = |why: &str| Untrusted::Because(format!("{shown} {why}"));
    if stat.st_mode & SFlag::S_IFMT.bits() != kind.bits() {
        let wanted = if kind == SFlag::S_IFREG { "regular file" } else { "directory" };
        return Err(because(&format!("is no {wanted}")));
    }
    let mode = stat.st_mode & 0o7777;
    let acl = if Component::needs_acl(mode) {
        acl_of(opened.as_fd()).map_err(|e| refused(shown, e))?
    } else {
        None
    };
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    Component { uid, gid, mode, acl }.judge(trust).map_err(|why| because(&why))
}

fn stat_of(opened: &OwnedFd) -> Result<FileStat, Errno> {
    fstat(opened).or_else(|_| fstatat(opened, "", AtFlags::AT_EMPTY_PATH))
}

/// The access ACL, by way of /proc because an `O_PATH` descriptor gives no attributes.
fn acl_of(opened: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Errno> {
    super::process::attribute(opened, c"system.posix_acl_access")
}

/// Reads a trusted file, up to `most` bytes.
///
/// # Errors
/// One clause where it is larger, or reading fails.
pub(crate) fn read(file: OwnedFd, path: &str, most: u64) -> Result<Vec<u8>, Untrusted> {
    let size = stat_of(&file).map_or(0, |stat| stat.st_size);
    let mut file = File::from(file);
    if u64::try_from(size).is_ok_and(|size| size > most) {
        return Err(Untrusted::Because(format!("{path} is larger than {most} bytes")));
    }
    // Room for one read to find the end, too.
    let mut text = Vec::with_capacity(usize::try_from(size).unwrap_or(0).saturating_add(64));
    (&mut file)
        .take(most + 1)
        .read_to_end(&mut text)
        .map_err(|e| Untrusted::Because(format!("{path} cannot be read: {e}")))?;
    if u64::try_from(text.len()).is_ok_and(|n| n > most) {
        return Err(Untrusted::Because(format!("{path} is larger than {most} bytes")));
    }
    Ok(text)
}

fn refused(shown: &str, errno: Errno) -> Untrusted {
    let because = |why: &str| Untrusted::Because(format!("{shown} {why}"));
    if errno == Errno::EMFILE {
        Untrusted::Exhausted(format!("no descriptor is left to open {shown}"))
    } else if errno == Errno::ENOENT {
        Untrusted::Missing(format!("{shown} does not exist"))
    } else if errno == Errno::ELOOP {
        because("is a symbolic link")
    } else if errno == Errno::ENOTDIR {
        // O_DIRECTORY with O_NOFOLLOW says this of a link, too.
        because("is a symbolic link or no directory")
    } else {
        because(&format!("cannot be opened: {}", errno.desc()))
    }
}

/// The permission bits of an open file; 0 where they cannot be told.
pub(crate) fn mode(file: &OwnedFd) -> u32 {
    stat_of(file).map_or(0, |stat| stat.st_mode & 0o7777)
}

/// The first bytes of an open file.
pub(crate) fn head(file: &OwnedFd) -> Vec<u8> {
    let mut head = [0u8; 256];
    let length = nix::sys::uio::pread(file, &mut head, 0).unwrap_or(0);
    head.get(..length).unwrap_or_default().to_vec()
}
