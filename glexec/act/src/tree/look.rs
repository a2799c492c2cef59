//! What a directory has, each entry by a descriptor of its own.

use super::attributes::{Attributes, pass, take};
use super::quarantine::is_gone;
use super::{FileId, Floor, Owner, PATIENCE, Way};
use crate::root::Root;
use decide::handover::{FROZEN, Kind, Seen, leaves};
use nix::dir::{Dir, OwningIter};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fchmod};
use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use system::kernel::{self, Status};

/// Lists a directory, which is frozen first where it changes hands.
pub(crate) fn list(
    root: &Root,
    directory: &OwnedFd,
    way: Way,
    attributes: &mut Attributes,
) -> Result<(OwnedFd, Status, OwningIter), Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let listed = openat(directory, ".", flags, Mode::empty())?;
    match way {
        Way::Forth => freeze(root, &listed, None)?,
        Way::Back => freeze(root, &listed, Some(attributes))?,
        Way::Look => {}
    }
    let status = kernel::status_of(listed.as_fd(), true)?;
    let again = openat(directory, ".", flags, Mode::empty())?;
    Ok((listed, status, Dir::from_fd(again)?.into_iter()))
}

/// Makes a directory root's before anything in it changes hands: no process of its old or its new
/// owner's can take an entry out in between. What the target lets others do in it is taken away
/// with `attributes`, on the way back: they could put something there that has not been looked at.
/// The mark is set before the owner changes, so that a sweep knows the directory whenever glexec is
/// killed; its owner may have taken it off.
fn freeze(root: &Root, listed: &OwnedFd, attributes: Option<&mut Attributes>) -> Result<(), Errno> {
    let of_others = match attributes {
        Some(_) => Mode::S_IWGRP | Mode::S_IWOTH,
        None => Mode::empty(),
    };
    let mark = || {
        let mode = Mode::from_bits_truncate(kernel::status_of(listed.as_fd(), true)?.mode);
        let marked = (mode - of_others) | Mode::from_bits_truncate(FROZEN);
        if marked == mode { Ok(()) } else { fchmod(listed, marked) }
    };
    mark()?;
    take(root, listed, 0)?;
    if let Some(attributes) = attributes {
        attributes.reduce(listed)?;
        attributes.remove_default(listed)?;
    }
    mark()
}

/// Gives a frozen directory to whose it is. The mark goes last: without it, a sweep would leave the
/// directory root's for ever. Where it stays it does no harm.
pub(crate) fn thaw(root: &Root, listed: &OwnedFd, to: Owner) -> Result<(), Errno> {
    let mode = Mode::from_bits_truncate(kernel::status_of(listed.as_fd(), true)?.mode);
    pass(root, listed, to)?;
    let _ = fchmod(listed, mode - Mode::from_bits_truncate(FROZEN));
    Ok(())
}

/// Looks at one entry. `None` where it is no more, or where something is mounted there: that is
/// nobody's entry and is not asked anything.
pub(crate) fn look(
    floor: &Floor,
    name: &CStr,
    depth: usize,
    own: &[u8],
) -> Result<Option<(OwnedFd, Seen, FileId)>, Errno> {
    // Whoever exchanges names all the time must not make an error of it.
    for _ in 0..PATIENCE {
        match look_once(floor, name, depth, own) {
            Err(Errno::ENOENT) => {}
            looked => return looked,
        }
    }
    Err(Errno::ENOENT)
}

pub(crate) fn look_once(
    floor: &Floor,
    name: &CStr,
    depth: usize,
    own: &[u8],
) -> Result<Option<(OwnedFd, Seen, FileId)>, Errno> {
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
    let frozen = kind == Kind::Directory && is_frozen(&status);
    let (uid, links) = (status.uid, status.links);
    let seen = Seen { kind, uid, links, all_inside: false, leaves, frozen, anothers: false };
    Ok(Some((file, seen, FileId { device: status.device, inode: status.inode })))
}

/// Whether root has taken this directory from a target.
pub(crate) const fn is_frozen(status: &Status) -> bool {
    status.uid == 0 && status.mode & FROZEN != 0
}

/// Whether a name leads onto another mount.
pub(crate) fn is_mounted(floor: &Floor, name: &CStr) -> Result<bool, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let there = openat(&floor.listed, name, flags, Mode::empty())?;
    let there = kernel::status_of(there.as_fd(), false)?;
    // Where the kernel does not tell mounts, it is believed at once. Devices say nothing: on an
    // overlay each layer's files have their own.
    Ok(there.mount.is_none() || there.mount != floor.status.mount)
}

pub(crate) fn kind_of(status: &Status) -> Kind {
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
