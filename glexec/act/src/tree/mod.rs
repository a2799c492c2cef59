//! Going through a directory that changes hands. Each entry is first looked at by a descriptor that
//! was opened without following anything, and then changed by the same descriptor. An error is
//! never the end of a list, and an entry that cannot be looked at is never none.

mod attributes;
mod look;
mod quarantine;

use super::root::Root;
pub(crate) use attributes::{Attributes, pass};
use decide::entry::Handed;
use decide::handover::{Kind, Seen};
pub(crate) use look::{is_frozen, list, look, thaw};
use nix::dir::OwningIter;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
pub(crate) use quarantine::{Quarantine, is_gone, seal};
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use system::kernel::Status;
use system::text::escaped;

/// What lies deeper is not handed over: each level holds two descriptors, and where names are counted
/// two walks go down at once; 1024 are open at most.
const DEEPEST: usize = 240;

/// How often a name is tried that is another entry's each time.
const PATIENCE: usize = 32;

/// Where a walk hands things, or that it only looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Forth,
    Back,
    Look,
}

/// What is done to a directory that a walk enters, for a message.
pub(crate) const ENTERED: &str = "made root's and listed";

/// What a walk meets.
pub(crate) enum Step {
    Entry(Entry),
    /// A directory that was entered, or the top, and has nothing more, with its name (the top's is
    /// empty); whether all in it is done.
    Left(OwnedFd, CString, bool),
    /// An entry that cannot be looked at, or a directory that cannot be read to its end.
    Trouble(Trouble),
}

/// One entry, by its own descriptor.
pub(crate) struct Entry {
    pub(crate) file: OwnedFd,
    pub(crate) seen: Seen,
    pub(crate) name: CString,
    /// What all its names have in common.
    pub(crate) id: FileId,
}

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId {
    /// Major and minor number of its device.
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
}

/// Whose a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owner {
    pub(crate) const ROOT: Self = Self { uid: 0, gid: 0 };
}

impl From<&Handed> for FileId {
    fn from(handed: &Handed) -> Self {
        Self { device: handed.device, inode: handed.inode }
    }
}

/// What failed, and where.
#[derive(Debug)]
pub(crate) struct Trouble {
    place: String,
    what: &'static str,
    errno: Errno,
}

/// What became of an entry that must not go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakenOut {
    /// It is in the quarantine, or removed.
    Out,
    /// Somebody removed it before.
    Gone,
    /// It stays where it is: the quarantine is on another file system.
    Stays,
}

/// A directory that is being gone through.
pub(super) struct Floor {
    /// Empty for the top of a walk.
    name: CString,
    listed: OwnedFd,
    /// Its mount and device, by which what is mounted in it is told.
    status: Status,
    names: Option<OwningIter>,
    /// Whether something in it could not be done.
    failed: bool,
}

/// Goes through a directory and those below it that are entered, without recursion.
pub(crate) struct Walk<'h> {
    /// The path of the directory itself.
    own: &'h [u8],
    root: &'h Root,
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
    pub(crate) const fn errno(&self) -> Errno {
        self.errno
    }

    /// One clause.
    pub(crate) fn told(&self) -> String {
        format!("{} cannot be {} ({})", self.place, self.what, self.errno.desc())
    }
}

impl<'h> Walk<'h> {
    /// # Errors
    /// Where the directory itself cannot be listed.
    pub(crate) fn new(
        root: &'h Root,
        directory: &OwnedFd,
        own: &'h [u8],
        way: Way,
    ) -> Result<Self, Trouble> {
        let (attributes, until) = (Attributes::default(), Some(Instant::now() + LONGEST));
        let mut walk = Self { own, root, levels: Vec::new(), failed: false, attributes, until };
        match list(root, directory, way, &mut walk.attributes) {
            Ok((listed, status, names)) => {
                let (name, names) = (CString::default(), Some(names));
                walk.levels.push(Floor { name, listed, status, names, failed: false });
                Ok(walk)
            }
            Err(errno) => Err(walk.trouble(c"", ENTERED, errno)),
        }
    }

    /// The directory itself, as it is listed.
    pub(crate) fn top(&self) -> Option<&OwnedFd> {
        self.levels.first().map(|floor| &floor.listed)
    }

    /// Something in the current directory was not done: neither it nor what is above it changes
    /// hands.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
        if let Some(floor) = self.levels.last_mut() {
            floor.failed = true;
        }
    }

    /// What failed, at a name in the current directory.
    pub(crate) fn trouble(&self, name: &CStr, what: &'static str, errno: Errno) -> Trouble {
        let above = self.levels.iter().map(|floor| floor.name.to_bytes());
        let names = above.chain([name.to_bytes()]);
        let names = std::iter::once(self.own).chain(names).filter(|name| !name.is_empty());
        let place = names.collect::<Vec<_>>().join(&b'/');
        Trouble { place: escaped(&place), what, errno }
    }

    pub(crate) fn next(&mut self) -> Option<Step> {
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
                    let Floor { name, listed, failed, .. } = self.levels.pop()?;
                    if failed {
                        self.fail();
                    }
                    return Some(Step::Left(listed, name, !failed));
                }
            };
            if name.as_c_str() == c"." || name.as_c_str() == c".." {
                continue;
            }
            match look(floor, &name, depth, self.own) {
                Ok(Some((file, seen, id))) => {
                    return Some(Step::Entry(Entry { file, seen, name, id }));
                }
                Ok(None) => {}
                Err(errno) => return Some(Step::Trouble(self.trouble(&name, "looked at", errno))),
            }
        }
    }

    /// Goes through this directory next; false where it is too deep. Unless it is only looked at it
    /// is frozen, and [`thaw`] is to give it to whose it becomes.
    ///
    /// # Errors
    /// Where it cannot be frozen or listed.
    pub(crate) fn enter(&mut self, file: &OwnedFd, name: CString, way: Way) -> Result<bool, Errno> {
        if self.levels.len() >= DEEPEST {
            return Ok(false);
        }
        let (listed, status, names) = match list(self.root, file, way, &mut self.attributes) {
            Ok(listed) => listed,
            // Nothing can be in it, and nothing has to become of it.
            Err(errno) if is_removed(file, errno) => return Ok(true),
            Err(errno) => return Err(errno),
        };
        self.levels.push(Floor { name, listed, status, names: Some(names), failed: false });
        Ok(true)
    }

    /// Takes from a file whatever lets in whom its mode does not.
    ///
    /// # Errors
    /// Those of the access control list's calls.
    pub(crate) fn close_to_others(&mut self, file: &OwnedFd) -> Result<(), Errno> {
        self.attributes.reduce(file)
    }

    /// Takes an entry of the current directory out: into the quarantine where that is on the same
    /// file system. Elsewhere what holds nothing is removed, and a directory is closed: nothing in
    /// it has been looked at.
    ///
    /// # Errors
    /// Where it is neither taken out nor closed.
    pub(crate) fn take_out(
        &self,
        root: &Root,
        name: &CStr,
        kind: Kind,
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

/// Whether a directory that cannot be listed any more was removed: nothing can be in it.
pub(crate) fn is_removed(directory: &OwnedFd, errno: Errno) -> bool {
    errno == Errno::ENOENT
        && fstat(directory)
            .or_else(|_| fstatat(directory, "", AtFlags::AT_EMPTY_PATH))
            .is_ok_and(|stat| stat.st_nlink == 0)
}
