//! Trees of files that somebody else may be changing: listed, opened, moved and removed from
//! descriptor to descriptor, so that no link in them is followed and no mount in them is entered.

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2, renameat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmod, fchmodat, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Instant;

/// How deep a tree is walked: each level is an open descriptor.
pub const DEEPEST: usize = 200;

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
/// The permissions of its owner that a directory must have to be emptied.
const OWNERS: Mode = Mode::S_IRWXU;

/// An error with the name of what it is about.
pub fn about(name: impl AsRef<OsStr>) -> impl FnOnce(Errno) -> io::Error {
    move |errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("{:?}: {}", name.as_ref(), errno.desc()))
    }
}

/// A name as the rest of the world has names.
#[must_use]
pub fn os(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}

/// Opens a directory that is none of a link.
///
/// # Errors
/// The path, and what the kernel says.
pub fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    open(path, DIRECTORY, Mode::empty()).map_err(about(path))
}

/// The same for a directory of one's own, which is to be read and emptied whatever its permissions
/// are: they become its owner's.
///
/// # Errors
/// The path, and what the kernel says.
pub fn open_own_directory(path: &Path) -> io::Result<OwnedFd> {
    let opened = open_own(AT_FDCWD, path, DIRECTORY).map_err(about(path))?;
    make_writable(opened.as_fd()).map_err(about(path))?;
    Ok(opened)
}

/// The names in a directory, all of them or an error.
///
/// # Errors
/// The kernel's.
pub fn names(directory: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut list = Dir::openat(directory, c".", flags, Mode::empty())?;
    let mut all = Vec::new();
    for entry in list.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            all.push(name.to_owned());
        }
    }
    Ok(all)
}

/// What is under a name, a link itself included.
///
/// # Errors
/// The kernel's.
pub fn look(directory: BorrowedFd<'_>, name: &CStr) -> Result<FileStat, Errno> {
    fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// The same without asking another file system that is mounted there, which need not answer.
///
/// # Errors
/// The kernel's; EXDEV where something is mounted there.
pub fn look_here(directory: BorrowedFd<'_>, name: &CStr) -> Result<FileStat, Errno> {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC);
    match openat2(directory, name, how.resolve(ResolveFlag::RESOLVE_NO_XDEV)) {
        // Before Linux 5.6.
        Err(Errno::ENOSYS) => look(directory, name),
        opened => fstat(&opened?),
    }
}

/// Which kind of file it is.
#[must_use]
pub fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Opens what is one's own, also where its permissions keep its owner out.
///
/// # Errors
/// The kernel's.
pub fn open_own<P: ?Sized + nix::NixPath>(
    directory: BorrowedFd<'_>,
    name: &P,
    what: OFlag,
) -> Result<OwnedFd, Errno> {
    // O_NONBLOCK: in the meantime it may have become a FIFO.
    let flags = what | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let opened = || openat(directory, name, flags, Mode::empty());
    or_as_owner(directory, name, what, &opened)
}

/// Once more with the owner's permissions, where the first try is refused.
fn or_as_owner<P: ?Sized + nix::NixPath>(
    directory: BorrowedFd<'_>,
    name: &P,
    what: OFlag,
    opened: &dyn Fn() -> Result<OwnedFd, Errno>,
) -> Result<OwnedFd, Errno> {
    match opened() {
        Err(Errno::EACCES) => {
            let is_directory = what.contains(OFlag::O_DIRECTORY);
            let mode = if is_directory { OWNERS } else { Mode::S_IRUSR | Mode::S_IWUSR };
            // Through a link that took its place it changes what its owner may change anyway.
            fchmodat(directory, name, mode, FchmodatFlags::FollowSymlink)?;
            opened()
        }
        other => other,
    }
}

/// Opens a directory of one's own that is on the device of the one it is in: on another there are
/// other people's files, or nobody who answers. Writable for its owner from then on.
///
/// # Errors
/// The kernel's; EXDEV where something is mounted there.
pub fn enter(directory: BorrowedFd<'_>, name: &CStr, device: u64) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new().flags(DIRECTORY).resolve(ResolveFlag::RESOLVE_NO_XDEV);
    let opened = or_as_owner(directory, name, DIRECTORY, &|| openat2(directory, name, how));
    let inner = match opened {
        // Before Linux 5.6.
        Err(Errno::ENOSYS) => open_own(directory, name, DIRECTORY)?,
        opened => opened?,
    };
    if fstat(&inner)?.st_dev != device {
        return Err(Errno::EXDEV);
    }
    make_writable(inner.as_fd())?;
    Ok(inner)
}

fn make_writable(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    if fstat(directory)?.st_mode & OWNERS.bits() == OWNERS.bits() {
        return Ok(());
    }
    fchmod(directory, OWNERS)
}

/// Moves an entry to another directory. The kernel wants a directory that gets another parent to be
/// writable: one that is not is so for the time of the move.
///
/// # Errors
/// The kernel's; the entry is where it was.
pub fn shift(
    from: BorrowedFd<'_>,
    name: &CStr,
    to: BorrowedFd<'_>,
    new: &CStr,
) -> Result<(), Errno> {
    match renameat(from, name, to, new) {
        Err(Errno::EACCES) => {}
        other => return other,
    }
    let stat = look(from, name)?;
    if kind(&stat) != SFlag::S_IFDIR {
        return Err(Errno::EACCES);
    }
    let mode = Mode::from_bits_truncate(stat.st_mode);
    fchmodat(from, name, mode | OWNERS, FchmodatFlags::FollowSymlink)?;
    let moved = renameat(from, name, to, new);
    let (at, name) = if moved.is_ok() { (to, new) } else { (from, name) };
    fchmodat(at, name, mode, FchmodatFlags::FollowSymlink)?;
    moved
}

/// Removes all that is in a directory, but for these names at its top. What cannot be removed stays,
/// and everything else goes.
///
/// # Errors
/// The first name that stays, and why.
pub fn clear(directory: BorrowedFd<'_>, keep: &[&OsStr]) -> io::Result<()> {
    clear_until(directory, keep, None)
}

/// The same for so long.
///
/// # Errors
/// The first name that stays, and why; [`io::ErrorKind::TimedOut`] where the time was up first.
pub fn clear_until(
    directory: BorrowedFd<'_>,
    keep: &[&OsStr],
    until: Option<Instant>,
) -> io::Result<()> {
    let device = fstat(directory).map_err(about("a directory"))?.st_dev;
    // What is nested too deep is moved up here, and gone in one of the next rounds.
    let mut remover = Remover { top: directory, device, until, moved: 0, stays: None };
    loop {
        let before = remover.moved;
        remover.stays = None;
        for name in names(directory).map_err(about("a directory"))? {
            if !keep.contains(&os(&name)) {
                remover.remove(directory, &name, 0)?;
            }
        }
        if remover.moved == before {
            return remover.stays.map_or(Ok(()), Err);
        }
    }
}

/// Removes one entry of a directory, whatever it is; that it is not there is no error.
///
/// # Errors
/// The first name that stays, and why.
pub fn remove_entry(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(errno) => return Err(about(os(name))(errno)),
    }
    let inner = open_own(directory, name, DIRECTORY).map_err(about(os(name)))?;
    make_writable(inner.as_fd()).map_err(about(os(name)))?;
    clear(inner.as_fd(), &[])?;
    unlinkat(directory, name, UnlinkatFlags::RemoveDir).map_err(about(os(name)))
}

/// Removes a directory of one's own, with all that is in it.
///
/// # Errors
/// The first name that stays, and why.
pub fn remove(path: &Path) -> io::Result<()> {
    let directory = open_own_directory(path)?;
    clear(directory.as_fd(), &[])?;
    unlinkat(AT_FDCWD, path, UnlinkatFlags::RemoveDir).map_err(about(path))
}

struct Remover<'a> {
    top: BorrowedFd<'a>,
    /// Its file system.
    device: u64,
    until: Option<Instant>,
    moved: u32,
    /// The first that could not be removed.
    stays: Option<io::Error>,
}

impl Remover<'_> {
    /// An error only where the time is up.
    fn remove(&mut self, directory: BorrowedFd<'_>, name: &CStr, depth: usize) -> io::Result<()> {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "there is too much in it"));
        }
        match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EISDIR | Errno::EPERM) => {}
            Err(errno) => return self.stays(name, errno),
        }
        if depth >= DEEPEST {
            self.moved += 1;
            let new = CString::new(format!(".glexec-{}-{}", std::process::id(), self.moved));
            let moved = shift(directory, name, self.top, &new.unwrap_or_default());
            return moved.or_else(|errno| self.stays(name, errno));
        }
        let inner = match enter(directory, name, self.device) {
            Ok(inner) => inner,
            // Somebody else removes it, too.
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return self.stays(name, errno),
        };
        let all = match names(inner.as_fd()) {
            Ok(all) => all,
            Err(errno) => return self.stays(name, errno),
        };
        for below in all {
            self.remove(inner.as_fd(), &below, depth + 1)?;
        }
        match unlinkat(directory, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => self.stays(name, errno),
        }
    }

    /// Remembered, and the rest goes on.
    fn stays(&mut self, name: &CStr, errno: Errno) -> io::Result<()> {
        self.stays.get_or_insert_with(|| about(os(name))(errno));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::mkdirat;
    use std::os::unix::fs::symlink;

    fn deep(top: &Path, levels: usize, mode: Mode) {
        let mut all = vec![open_directory(top).unwrap()];
        for _ in 0..levels {
            let at = all.last().unwrap();
            mkdirat(at, "d", OWNERS).unwrap();
            let next = openat(at, "d", OFlag::O_DIRECTORY, Mode::empty()).unwrap();
            all.push(next);
        }
        for at in all.iter().skip(1).rev() {
            fchmod(at, mode).unwrap();
        }
    }

    #[test]
    fn a_deep_tree_and_links_in_it_are_removed_and_nothing_behind_the_links() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("kept"), "x").unwrap();
        let base = tempfile::tempdir().unwrap();
        let tree = base.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        deep(&tree, 900, Mode::from_bits_truncate(0o555));
        symlink(outside.path(), tree.join("link")).unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists() && outside.path().join("kept").exists());
        assert!(remove(&tree).is_err());
    }

    #[test]
    fn the_time_of_a_removal_is_bounded() {
        let base = tempfile::tempdir().unwrap();
        std::fs::write(base.path().join("x"), "").unwrap();
        let directory = open_directory(base.path()).unwrap();
        let late = clear_until(directory.as_fd(), &[], Some(Instant::now())).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        clear_until(directory.as_fd(), &[], None).unwrap();
    }
}
