//! Going through a directory that changes hands. Each entry is first looked at by a descriptor that
//! was opened without following anything, and then changed by the same descriptor. An error is
//! never the end of a list, and an entry that cannot be looked at is never none.

use super::root::Root;
use decide::handover::{Acl, Kind, Seen, leaves, reduced};
use nix::dir::{Dir, OwningIter};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, fstatat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, unlinkat};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant, SystemTime};
use system::kernel::{self, Status};
use system::process;
use system::text::escaped;

/// What lies deeper is not handed over: each level holds three descriptors, and the threshold sees
/// to 1024.
const DEEPEST: usize = 256;

/// How often a name is tried that is another entry's each time.
pub(super) const PATIENCE: usize = 32;

/// Where a walk hands things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Forth,
    Back,
}

/// What a walk meets.
pub(super) enum Step {
    Entry(Entry),
    /// A directory that was entered and has nothing more, with its name; whether all in it is done.
    Left(OwnedFd, CString, bool),
    /// An entry that cannot be looked at, or a directory that cannot be read to its end.
    Trouble(Trouble),
}

/// One entry, by its own descriptor.
pub(super) struct Entry {
    pub(super) file: OwnedFd,
    pub(super) seen: Seen,
    pub(super) name: CString,
}

/// What failed, and where.
#[derive(Debug)]
pub(super) struct Trouble {
    place: String,
    what: &'static str,
    errno: Errno,
}

/// What became of an entry that must not go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TakenOut {
    /// It is in the quarantine, or removed.
    Out,
    /// Somebody removed it before.
    Gone,
    /// It stays where it is: the quarantine is on another file system.
    Stays,
}

/// A directory that is being gone through.
struct Floor {
    /// Opened by `O_PATH`, and its name; the top of a walk has none of its own.
    file: Option<(OwnedFd, CString)>,
    listed: OwnedFd,
    /// Its mount and device, by which what is mounted in it is told.
    status: Status,
    names: Option<OwningIter>,
    /// Whether something in it could not be done.
    failed: bool,
}

/// Goes through a directory and those below it that are entered, without recursion.
pub(super) struct Walk<'h> {
    /// The path of the directory itself.
    own: &'h [u8],
    way: Way,
    levels: Vec<Floor>,
    failed: bool,
    attributes: Attributes,
    /// When it ends, whatever is left: who makes entries faster than they can be gone through must
    /// not hold up an epilogue, or a sweep. `None`: it has ended so.
    until: Option<Instant>,
}

/// What a walk may take; a million entries take half a minute.
const LONGEST: Duration = Duration::from_secs(120);

impl Trouble {
    pub(super) const fn errno(&self) -> Errno {
        self.errno
    }

    /// Whether it says that the name was another entry's than the one that was looked at.
    pub(super) fn is_of_another_kind(&self) -> bool {
        matches!(self.errno, Errno::ENOENT | Errno::EISDIR | Errno::ENOTDIR | Errno::ELOOP)
    }

    /// One clause.
    pub(super) fn told(&self) -> String {
        format!("{} cannot be {} ({})", self.place, self.what, self.errno.desc())
    }
}

impl<'h> Walk<'h> {
    /// # Errors
    /// Where the directory itself cannot be listed.
    pub(super) fn new(directory: &OwnedFd, own: &'h [u8], way: Way) -> Result<Self, Trouble> {
        let mut attributes = Attributes::default();
        let (levels, failed, until) = (Vec::new(), false, Some(Instant::now() + LONGEST));
        match list(directory, way, &mut attributes) {
            Ok((listed, status, names)) => {
                let names = Some(names);
                let floor = Floor { file: None, listed, status, names, failed: false };
                Ok(Self { own, way, levels: vec![floor], failed, attributes, until })
            }
            Err(errno) => {
                let walk = Self { own, way, levels, failed, attributes, until };
                Err(walk.trouble(c"", "listed", errno))
            }
        }
    }

    /// Whether everything so far was done.
    pub(super) const fn has_failed(&self) -> bool {
        self.failed
    }

    /// Something in the current directory was not done: neither it nor what is above it changes
    /// hands.
    pub(super) fn fail(&mut self) {
        self.failed = true;
        if let Some(floor) = self.levels.last_mut() {
            floor.failed = true;
        }
    }

    /// What failed, at a name in the current directory.
    pub(super) fn trouble(&self, name: &CStr, what: &'static str, errno: Errno) -> Trouble {
        let above = self.levels.iter().filter_map(|floor| floor.file.as_ref());
        let names = above.map(|(_, name)| name.to_bytes()).chain([name.to_bytes()]);
        let names = std::iter::once(self.own).chain(names).filter(|name| !name.is_empty());
        let place = names.collect::<Vec<_>>().join(&b'/');
        Trouble { place: escaped(&place), what, errno }
    }

    pub(super) fn next(&mut self) -> Option<Step> {
        loop {
            let depth = self.levels.len().checked_sub(1)?;
            if self.until.take_if(|until| Instant::now() >= *until).is_some() {
                self.levels.iter_mut().for_each(|floor| floor.names = None);
                let trouble = self.trouble(c"", "gone through in time", Errno::ETIMEDOUT);
                return Some(Step::Trouble(trouble));
            }
            let floor = self.levels.last_mut()?;
            let name = match floor.names.as_mut().and_then(Iterator::next) {
                Some(Ok(entry)) => entry.file_name().to_owned(),
                // Nothing can be in it any more.
                Some(Err(errno)) if is_removed(&floor.listed, errno) => {
                    floor.names = None;
                    continue;
                }
                Some(Err(errno)) => {
                    // What else is in it stays unknown.
                    floor.names = None;
                    return Some(Step::Trouble(self.trouble(c"", "listed to its end", errno)));
                }
                None => {
                    let Floor { file, failed, .. } = self.levels.pop()?;
                    if failed {
                        self.fail();
                    }
                    match file {
                        Some((file, name)) => return Some(Step::Left(file, name, !failed)),
                        None => continue,
                    }
                }
            };
            if name.as_c_str() == c"." || name.as_c_str() == c".." {
                continue;
            }
            match look(floor, &name, (depth, self.own)) {
                Ok(Some((file, seen))) => return Some(Step::Entry(Entry { file, seen, name })),
                Ok(None) => {}
                Err(errno) => return Some(Step::Trouble(self.trouble(&name, "looked at", errno))),
            }
        }
    }

    /// Looks at a name of the current directory once more; `None` where it is no more.
    ///
    /// # Errors
    /// Where it cannot be looked at.
    pub(super) fn again(&self, name: &CStr) -> Result<Option<Entry>, Trouble> {
        let Some(floor) = self.levels.last() else { return Ok(None) };
        let place = (self.levels.len().saturating_sub(1), self.own);
        let looked = look(floor, name, place).map_err(|e| self.trouble(name, "looked at", e))?;
        Ok(looked.map(|(file, seen)| Entry { file, seen, name: name.to_owned() }))
    }

    /// Goes through this directory next; false where it is too deep.
    ///
    /// # Errors
    /// Where it cannot be listed.
    pub(super) fn enter(&mut self, file: OwnedFd, name: CString) -> Result<bool, Errno> {
        if self.levels.len() >= DEEPEST {
            return Ok(false);
        }
        let (listed, status, names) = match list(&file, self.way, &mut self.attributes) {
            Ok(listed) => listed,
            // Nothing can be in it, and nothing has to become of it.
            Err(errno) if is_removed(&file, errno) => return Ok(true),
            Err(errno) => return Err(errno),
        };
        let (file, names) = (Some((file, name)), Some(names));
        self.levels.push(Floor { file, listed, status, names, failed: false });
        Ok(true)
    }

    /// Takes from a file whatever lets in whom its mode does not.
    ///
    /// # Errors
    /// Those of the access control list's calls.
    pub(super) fn close_to_others(&mut self, file: &OwnedFd) -> Result<(), Errno> {
        self.attributes.reduce(file)
    }

    /// Takes an entry of the current directory out: into the quarantine where that is on the same
    /// file system. Elsewhere what holds nothing is removed, and a directory is closed: nothing in
    /// it has been looked at.
    ///
    /// # Errors
    /// Where it is neither taken out nor closed.
    pub(super) fn take_out(
        &self,
        root: &Root,
        (name, kind): (&CStr, Kind),
        quarantine: &Quarantine,
    ) -> Result<TakenOut, Errno> {
        let Some(Floor { listed, .. }) = self.levels.last() else { return Err(Errno::EINVAL) };
        let gone = |errno: Errno| {
            if is_gone(listed, name, errno) { Ok(TakenOut::Gone) } else { Err(errno) }
        };
        match quarantine.take(listed, name) {
            Ok(()) => Ok(TakenOut::Out),
            Err(Errno::EXDEV) => match kind {
                Kind::Other | Kind::Link => {
                    match unlinkat(listed, name, UnlinkatFlags::NoRemoveDir) {
                        Ok(()) => Ok(TakenOut::Out),
                        Err(errno) => gone(errno),
                    }
                }
                Kind::Directory => {
                    seal(root, listed, name).map_or_else(gone, |()| Ok(TakenOut::Stays))
                }
                Kind::Regular => Ok(TakenOut::Stays),
            },
            Err(errno) => gone(errno),
        }
    }
}

/// Where what must not go back is put.
#[derive(Debug)]
pub(super) struct Quarantine(pub(super) Result<OwnedFd, Errno>);

impl Quarantine {
    fn take(&self, from: &OwnedFd, name: &CStr) -> Result<(), Errno> {
        let into = self.0.as_ref().map_err(|errno| *errno)?;
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanoseconds = since.map_or(0, |d| d.as_nanos());
        let own = nix::unistd::getpid();
        // A coarse clock says the same twice, and rename(2) replaces what is there.
        for n in 0..1000 {
            let to = format!("{nanoseconds:x}.{own}.{n}");
            match fstatat(into, to.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Err(Errno::ENOENT) => return renameat(from, name, into, to.as_str()),
                Ok(_) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::EEXIST)
    }
}

/// A directory that could not be taken out is nobody's way.
fn seal(root: &Root, listed: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV);
    let directory = openat2(listed, name, how)?;
    pass(root, &directory, (0, 0))?;
    fchmod(&directory, Mode::S_IRWXU)
}

/// That a name is no more is believed where two calls say so.
fn is_gone(directory: &OwnedFd, name: &CStr, errno: Errno) -> bool {
    let again = || fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW);
    errno == Errno::ENOENT && matches!(again(), Err(Errno::ENOENT))
}

/// Lists a directory. On the way back nobody but its owner may write in it from here on, nor in
/// what is made in it: whom the target has let in could put something into it that has not been
/// looked at, while the caller works with it.
fn list(
    directory: &OwnedFd,
    way: Way,
    attributes: &mut Attributes,
) -> Result<(OwnedFd, Status, OwningIter), Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let listed = openat(directory, ".", flags, Mode::empty())?;
    if way == Way::Back {
        attributes.reduce(&listed)?;
        attributes.remove_default(&listed)?;
    }
    let status = kernel::status_of(listed.as_fd(), true)?;
    let mode = Mode::from_bits_truncate(status.mode);
    let of_others = Mode::S_IWGRP | Mode::S_IWOTH;
    if way == Way::Back && mode.intersects(of_others) {
        fchmod(&listed, mode - of_others)?;
    }
    let again = openat(directory, ".", flags, Mode::empty())?;
    Ok((listed, status, Dir::from_fd(again)?.into_iter()))
}

/// Looks at one entry. `None` where it is no more, or where something is mounted there: that is
/// nobody's entry and is not asked anything.
fn look(
    floor: &Floor,
    name: &CStr,
    place: (usize, &[u8]),
) -> Result<Option<(OwnedFd, Seen)>, Errno> {
    // Whoever exchanges names all the time must not make an error of it.
    for _ in 0..PATIENCE {
        match look_once(floor, name, place) {
            Err(Errno::ENOENT) => {}
            looked => return looked,
        }
    }
    Err(Errno::ENOENT)
}

fn look_once(
    floor: &Floor,
    name: &CStr,
    (depth, own): (usize, &[u8]),
) -> Result<Option<(OwnedFd, Seen)>, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_XDEV);
    let file = match openat2(&floor.listed, name, how) {
        Ok(file) => file,
        Err(Errno::EXDEV) if is_mounted(floor, name)? => return Ok(None),
        Err(errno) if is_gone(&floor.listed, name, errno) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let status = kernel::status_of(file.as_fd(), true)?;
    let kind = kind_of(&status);
    let leaves = match kind {
        Kind::Link => leaves(readlinkat(&file, c"")?.as_bytes(), depth, own),
        Kind::Directory | Kind::Regular | Kind::Other => false,
    };
    Ok(Some((file, Seen { kind, uid: status.uid, links: status.links, leaves })))
}

/// Whether a name leads onto another mount.
fn is_mounted(floor: &Floor, name: &CStr) -> Result<bool, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let there = openat(&floor.listed, name, flags, Mode::empty())?;
    let there = kernel::status_of(there.as_fd(), false)?;
    // Where the kernel does not tell mounts, it is believed at once. Devices say nothing: on an
    // overlay each layer's files have their own.
    Ok(there.mount.is_none() || there.mount != floor.status.mount)
}

fn kind_of(status: &Status) -> Kind {
    let kind = SFlag::from_bits_truncate(status.mode & SFlag::S_IFMT.bits());
    if kind == SFlag::S_IFDIR {
        Kind::Directory
    } else if kind == SFlag::S_IFREG {
        Kind::Regular
    } else if kind == SFlag::S_IFLNK {
        Kind::Link
    } else {
        Kind::Other
    }
}

/// Changes the owner of what a descriptor stands for; the setuid bit and capabilities of a file
/// are taken away by the kernel in the same step (chown(2)).
pub(super) fn pass(_root: &Root, file: &OwnedFd, (uid, gid): (u32, u32)) -> Result<(), Errno> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    fchownat(file, c"", uid, gid, AtFlags::AT_EMPTY_PATH)
}

/// Access control lists, by way of /proc because an `O_PATH` descriptor gives no attributes: one
/// call a file where there is none.
#[derive(Debug, Default)]
struct Attributes {
    room: Vec<u8>,
    /// The file system has none, and all of a walk is on one file system.
    unknown: bool,
}

impl Attributes {
    fn reduce(&mut self, file: &OwnedFd) -> Result<(), Errno> {
        /// The most that an attribute can be (xattr(7)).
        const MOST: usize = 65_536;
        const NAME: &CStr = c"system.posix_acl_access";
        if self.unknown {
            return Ok(());
        }
        self.room.resize(MOST, 0);
        let path = process::descriptor_name(file.as_fd()).ok_or(Errno::EINVAL)?;
        match kernel::attribute_into(&path, NAME, &mut self.room) {
            Ok(length) => match reduced(self.room.get(..length).unwrap_or_default()) {
                Acl::Plain => Ok(()),
                Acl::Reduced(plain) => kernel::set_attribute(&path, NAME, Some(&plain)),
                Acl::Odd => Err(Errno::EBADMSG),
            },
            Err(Errno::ENODATA) => Ok(()),
            Err(Errno::EOPNOTSUPP) => {
                self.unknown = true;
                Ok(())
            }
            Err(errno) => Err(errno),
        }
    }

    /// What a directory gives to whatever is made in it.
    fn remove_default(&self, directory: &OwnedFd) -> Result<(), Errno> {
        if self.unknown {
            return Ok(());
        }
        let path = process::descriptor_name(directory.as_fd()).ok_or(Errno::EINVAL)?;
        match kernel::set_attribute(&path, c"system.posix_acl_default", None) {
            Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(()),
            done => done,
        }
    }
}

/// Whether a directory that cannot be listed any more was removed: nothing can be in it.
pub(super) fn is_removed(directory: &OwnedFd, errno: Errno) -> bool {
    errno == Errno::ENOENT
        && fstat(directory)
            .or_else(|_| fstatat(directory, "", AtFlags::AT_EMPTY_PATH))
            .is_ok_and(|stat| stat.st_nlink == 0)
}
