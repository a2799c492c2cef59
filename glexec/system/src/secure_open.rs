//! Opens a file that root obeys: no link anywhere, nobody else may change it or its path.

use crate::file_trust::{Component, Stranger, Trust, components};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{Gid, Uid};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Why a file cannot be trusted, or is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untrusted {
    /// There is no such file.
    Missing(String),
    /// The caller has no descriptor left for it.
    Exhausted(String),
    /// Somebody can change it who must not: who, and the clause.
    Changeable(Stranger, String),
    /// One clause that names the component and what is wrong with it.
    Because(String),
}

impl Untrusted {
    /// The clause.
    pub fn clause(&self) -> &str {
        match self {
            Self::Missing(clause)
            | Self::Exhausted(clause)
            | Self::Changeable(_, clause)
            | Self::Because(clause) => clause,
        }
    }

    /// The same with another clause.
    pub fn reworded(self, word: impl FnOnce(&str) -> String) -> Self {
        match self {
            Self::Missing(clause) => Self::Missing(word(&clause)),
            Self::Exhausted(clause) => Self::Exhausted(word(&clause)),
            Self::Changeable(who, clause) => Self::Changeable(who, word(&clause)),
            Self::Because(clause) => Self::Because(word(&clause)),
        }
    }
}

/// What was opened, and what fstat(2) said of it when it was judged.
#[derive(Debug)]
pub struct Opened {
    /// The file or directory.
    pub file: OwnedFd,
    /// Its status.
    pub stat: FileStat,
}

/// A file: never blocks on a FIFO, follows no link.
const FILE: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NOCTTY);
/// A directory on the way: follows no link.
const DIRECTORY: OFlag =
    OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Opens a regular file by an absolute canonical path, each component on its own, and judges
/// what was opened, never a name. Does not block on a FIFO and follows no link.
///
/// # Errors
/// [`Untrusted`], naming the component.
pub fn open_file(path: &str, trust: &Trust) -> Result<Opened, Untrusted> {
    let (directory, name) = open_parent(path, trust)?;
    open_in(&directory, name, path, trust)
}

/// Opens a regular file of a directory that has been judged, likewise; `path` is for the message.
///
/// # Errors
/// [`Untrusted`].
pub fn open_in(
    directory: &OwnedFd,
    name: &str,
    path: &str,
    trust: &Trust,
) -> Result<Opened, Untrusted> {
    let file = openat(directory, name, FILE, Mode::empty()).map_err(|e| refused(path, e))?;
    let stat = judge(&file, path, SFlag::S_IFREG, trust)?;
    Ok(Opened { file, stat })
}

/// Opens the directory a path lies in, judged likewise, and gives the last name.
///
/// # Errors
/// [`Untrusted`], naming the component.
pub fn open_parent<'p>(path: &'p str, trust: &Trust) -> Result<(OwnedFd, &'p str), Untrusted> {
    let because = |why: &str| Untrusted::Because(format!("{path} {why}"));
    let mut names = components(path).map_err(because)?;
    let last = names.pop().ok_or_else(|| because("has no name"))?;
    let mut shown = String::from("/");
    let mut directory =
        openat(AT_FDCWD, "/", DIRECTORY, Mode::empty()).map_err(|e| refused("/", e))?;
    judge(&directory, &shown, SFlag::S_IFDIR, trust)?;
    for name in names {
        if shown.len() > 1 {
            shown.push('/');
        }
        shown.push_str(name);
        directory =
            openat(&directory, name, DIRECTORY, Mode::empty()).map_err(|e| refused(&shown, e))?;
        judge(&directory, &shown, SFlag::S_IFDIR, trust)?;
    }
    Ok((directory, last))
}

/// What a path leads to, and what it is called there.
#[derive(Debug)]
pub struct Resolved {
    /// The file or directory.
    pub opened: Opened,
    /// Without links.
    pub path: String,
}

/// Opens a regular file or a directory by an absolute path that may lead through links, as
/// `/bin/sh` does. A link is as good as the directory that holds it: each such directory is
/// judged, and everything that a link leads to.
///
/// # Errors
/// [`Untrusted`], naming the component.
pub fn resolve(path: &str, kind: SFlag, trust: &Trust) -> Result<Resolved, Untrusted> {
    /// As the kernel (path_resolution(7)).
    const MOST_LINKS: u32 = 40;
    let because = |why: &str| Untrusted::Because(format!("{path} {why}"));
    let wants_file = kind == SFlag::S_IFREG;
    if !path.starts_with('/') || (wants_file && path.ends_with('/')) {
        return Err(because("is no absolute path of a file"));
    }
    let file = openat(AT_FDCWD, "/", DIRECTORY, Mode::empty()).map_err(|e| refused("/", e))?;
    let stat = judge(&file, "/", SFlag::S_IFDIR, trust)?;
    // Everything that was opened on the way, and what it is called up to there.
    let mut way = vec![Resolved { opened: Opened { file, stat }, path: String::new() }];
    let mut left = backwards(path);
    let mut links = 0;
    while let Some(name) = left.pop() {
        if name == ".." {
            way.truncate(way.len().saturating_sub(1).max(1));
            continue;
        }
        let at = way.last().ok_or_else(|| because("leads nowhere"))?;
        let shown = format!("{}/{name}", at.path);
        let (flags, kind) = if wants_file && left.is_empty() {
            (FILE, SFlag::S_IFREG)
        } else {
            (DIRECTORY, SFlag::S_IFDIR)
        };
        match openat(&at.opened.file, name.as_str(), flags, Mode::empty()) {
            Ok(file) => {
                let stat = judge(&file, &shown, kind, trust)?;
                way.push(Resolved { opened: Opened { file, stat }, path: shown });
            }
            // A link, or no directory.
            Err(errno @ (Errno::ELOOP | Errno::ENOTDIR)) => {
                let target = readlinkat(&at.opened.file, name.as_str());
                let target = target.map_err(|_| refused(&shown, errno))?;
                let target = target.into_string().map_err(|_| because("leads to no UTF-8"))?;
                links += 1;
                if links > MOST_LINKS {
                    return Err(because("leads through too many links"));
                }
                // What /proc calls a link leads elsewhere than its text says.
                if fstatfs(&at.opened.file).map_err(|e| refused(&shown, e))?.filesystem_type()
                    == PROC_SUPER_MAGIC
                {
                    return Err(because("leads through a link of /proc"));
                }
                if target.starts_with('/') {
                    way.truncate(1);
                }
                left.extend(backwards(&target));
            }
            Err(errno) => return Err(refused(&shown, errno)),
        }
    }
    let mut found = way.pop().ok_or_else(|| because("leads nowhere"))?;
    if way.is_empty() {
        found.path = "/".to_owned();
    }
    Ok(found)
}

/// The names in a path, the last first.
fn backwards(path: &str) -> Vec<String> {
    let names = path.split('/').rev().filter(|name| !matches!(*name, "" | "."));
    names.map(str::to_owned).collect()
}

/// Judges what a descriptor stands for. Gives what fstat(2) says of it.
///
/// # Errors
/// [`Untrusted::Because`] or [`Untrusted::Changeable`], naming `shown`.
pub fn judge(
    opened: &OwnedFd,
    shown: &str,
    kind: SFlag,
    trust: &Trust,
) -> Result<FileStat, Untrusted> {
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
    let judged = Component { uid, gid, mode, acl }.judge(trust);
    judged.map_err(|(who, why)| Untrusted::Changeable(who, format!("{shown} {why}")))?;
    Ok(stat)
}

/// Judges what a directory has under a name, without opening it where the answer does not hang on
/// an ACL; what is not there is nobody's to change.
///
/// # Errors
/// [`Untrusted`], naming `shown`.
pub fn judge_in(
    directory: &OwnedFd,
    name: &str,
    shown: &str,
    kind: SFlag,
) -> Result<(), Untrusted> {
    let trust = Trust::default();
    let stat = match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => return Ok(()),
        stat => stat.map_err(|e| refused(shown, e))?,
    };
    let mode = stat.st_mode & 0o7777;
    if Component::needs_acl(mode) {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened =
            openat(directory, name, flags, Mode::empty()).map_err(|e| refused(shown, e))?;
        return judge(&opened, shown, kind, &trust).map(drop);
    }
    if stat.st_mode & SFlag::S_IFMT.bits() != kind.bits() {
        return Err(Untrusted::Because(format!("{shown} is of another kind")));
    }
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    let judged = Component { uid, gid, mode, acl: None }.judge(&trust);
    judged.map_err(|(who, why)| Untrusted::Changeable(who, format!("{shown} {why}")))
}

fn stat_of(opened: &OwnedFd) -> Result<FileStat, Errno> {
    fstat(opened).or_else(|_| fstatat(opened, "", AtFlags::AT_EMPTY_PATH))
}

/// The access ACL, by way of /proc because an `O_PATH` descriptor gives no attributes.
fn acl_of(opened: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Errno> {
    crate::process::attribute(opened, c"system.posix_acl_access")
}

/// Reads a trusted file, up to `most` bytes.
///
/// # Errors
/// One clause where it is larger, or reading fails.
pub fn read(opened: Opened, path: &str, most: u64) -> Result<Vec<u8>, Untrusted> {
    const SMALL: usize = 64 << 10;
    let Opened { file, stat } = opened;
    let too_large = || Untrusted::Because(format!("{path} is larger than {most} bytes"));
    let failed = |why: String| Untrusted::Because(format!("{path} cannot be read: {why}"));
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size > most {
        return Err(too_large());
    }
    let size = usize::try_from(size).unwrap_or(0);
    // Room for one read to find the end, too: where it gives what the file has and no more, that
    // was all. A large one is worth no zeros.
    let mut text = Vec::with_capacity(size.saturating_add(64));
    if size <= SMALL {
        text.resize(size.saturating_add(64), 0);
        let got = nix::unistd::read(&file, &mut text).map_err(|e| failed(e.desc().to_owned()))?;
        text.truncate(got);
        if got == size {
            return Ok(text);
        }
    }
    let left = (most + 1).saturating_sub(u64::try_from(text.len()).unwrap_or(0));
    File::from(file).take(left).read_to_end(&mut text).map_err(|e| failed(e.to_string()))?;
    if u64::try_from(text.len()).is_ok_and(|n| n > most) {
        return Err(too_large());
    }
    Ok(text)
}

/// Why `shown` cannot be opened.
pub fn refused(shown: &str, errno: Errno) -> Untrusted {
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
