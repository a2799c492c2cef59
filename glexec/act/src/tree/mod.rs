//! Going through a directory that changes hands. Each entry is first looked at by a descriptor that
//! was opened without following anything, and then changed by the same descriptor. An error is
//! never the end of a list, and an entry that cannot be looked at is never none.

mod attributes;
mod look;
mod quarantine;

use super::root::Root;
pub(crate) use attributes::{Attributes, pass};
use decide::handover::{Kind, Seen};
pub(crate) use look::{list, look};
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

/// What lies deeper is not handed over: each level holds three descriptors, and the threshold sees
/// to 1024.
const DEEPEST: usize = 256;

/// How often a name is tried that is another entry's each time.
pub(crate) const PATIENCE: usize = 32;

/// Where a walk hands things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Forth,
    Back,
}

/// What a walk meets.
pub(crate) enum Step {
    Entry(Entry),
    /// A directory that was entered and has nothing more, with its name; whether all in it is done.
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
    pub(crate) identity: Identity,
}

/// Device and inode.
pub(crate) type Identity = ((u32, u32), u64);

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
pub(crate) struct Walk<'h> {
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
    pub(crate) const fn errno(&self) -> Errno {
        self.errno
    }

    /// Whether it says that the name was another entry's than the one that was looked at.
    pub(crate) fn is_of_another_kind(&self) -> bool {
        matches!(self.errno, Errno::ENOENT | Errno::EISDIR | Errno::ENOTDIR | Errno::ELOOP)
    }

    /// One clause.
    pub(crate) fn told(&self) -> String {
        format!("{} cannot be {} ({})", self.place, self.what, self.errno.desc())
    }
}

impl<'h> Walk<'h> {
    /// # Errors
    /// Where the directory itself cannot be listed.
    pub(crate) fn new(directory: &OwnedFd, own: &'h [u8], way: Way) -> Result<Self, Trouble> {
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
    pub(crate) const fn has_failed(&self) -> bool {
        self.failed
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
        let above = self.levels.iter().filter_map(|floor| floor.file.as_ref());
        let names = above.map(|(_, name)| name.to_bytes()).chain([name.to_bytes()]);
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
            match look(floor, &name, depth, self.own) {
                Ok(Some((file, seen, identity))) => {
                    return Some(Step::Entry(Entry { file, seen, name, identity }));
                }
                Ok(None) => {}
                Err(errno) => return Some(Step::Trouble(self.trouble(&name, "looked at", errno))),
            }
        }
    }

    /// Looks at a name of the current directory once more; `None` where it is no more.
    ///
    /// # Errors
    /// Where it cannot be looked at.
    pub(crate) fn again(&self, name: &CStr) -> Result<Option<Entry>, Trouble> {
        let Some(floor) = self.levels.last() else { return Ok(None) };
        let looked = look(floor, name, self.levels.len().saturating_sub(1), self.own)
            .map_err(|e| self.trouble(name, "looked at", e))?;
        let entry = |(file, seen, identity)| Entry { file, seen, name: name.to_owned(), identity };
        Ok(looked.map(entry))
    }

    /// Goes through this directory next; false where it is too deep.
    ///
    /// # Errors
    /// Where it cannot be listed.
    pub(crate) fn enter(&mut self, file: OwnedFd, name: CString) -> Result<bool, Errno> {
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
