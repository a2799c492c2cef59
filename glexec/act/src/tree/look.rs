//! What a directory has, each entry by a descriptor of its own.

use super::attributes::Attributes;
use super::quarantine::is_gone;
use super::{Floor, Identity, PATIENCE, Way};
use decide::handover::{Kind, Seen, leaves};
use nix::dir::{Dir, OwningIter};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fchmod};
use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use system::kernel::{self, Status};

/// Lists a directory. On the way back nobody but its owner may write in it from here on, nor in
/// what is made in it: whom the target has let in could put something into it that has not been
/// looked at, while the caller works with it.
pub(crate) fn list(
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
pub(crate) fn look(
    floor: &Floor,
    name: &CStr,
    depth: usize,
    own: &[u8],
) -> Result<Option<(OwnedFd, Seen, Identity)>, Errno> {
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
) -> Result<Option<(OwnedFd, Seen, Identity)>, Errno> {
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
    let seen = Seen { kind, uid: status.uid, links: status.links, all_inside: false, leaves };
    Ok(Some((file, seen, (status.device, status.inode))))
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
