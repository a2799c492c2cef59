//! Reaching a directory by its path, and knowing it again when its run is gone: after a new mount,
//! and after a boot, where device numbers say nothing.

use decide::entry::{Bytes, Handed, Handle, Made, Sameness};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::sys::statfs::{FUSE_SUPER_MAGIC, FsType, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, fstatfs};
use nix::unistd::{Uid, fchownat};
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use system::kernel::{self, Status};
use system::proc_format::{MountKey, mount_type};
use system::process;

/// What is found where a directory was.
#[derive(Debug)]
pub(super) enum Again {
    /// Itself, and what is known of it now.
    Itself(OwnedFd, Handed),
    /// It is not there any more, for certain; why.
    Gone(&'static str),
    /// It cannot be told; why.
    Unknown(String),
}

/// A directory of the caller's, and what is written down of it.
///
/// # Errors
/// A clause that fits behind its path.
pub(super) fn reach(path: &[u8], caller: u32) -> Result<(OwnedFd, Handed), String> {
    let cannot = |e: Errno| format!("cannot be opened ({})", e.desc());
    let looked = |e: Errno| format!("cannot be looked at ({})", e.desc());
    let down_to_it = || -> Result<(OwnedFd, Vec<Status>), String> {
        let Way { down, end } = descend(path, false).map_err(cannot)?;
        Ok((end.map_err(cannot)?, down))
    };
    let (mut directory, mut down) = down_to_it()?;
    let kind = fstatfs(&directory).map_err(looked)?.filesystem_type();
    if kind == FUSE_SUPER_MAGIC {
        return Err("is on a file system that a user serves".to_owned());
    }
    let owner = |directory: &OwnedFd| kernel::status_of(directory.as_fd(), true).map_err(looked);
    if owner(&directory)?.uid == caller && kind == OVERLAYFS_SUPER_MAGIC {
        // An overlay copies a directory of a lower layer at its first change of owner, and those
        // above with it: they are born again by that, and nobody would know them.
        let own = Some(Uid::from_raw(caller));
        fchownat(&directory, c"", own, None, AtFlags::AT_EMPTY_PATH).map_err(looked)?;
        (directory, down) = down_to_it()?;
    }
    let status = owner(&directory)?;
    if status.uid != caller {
        return Err("is not yours".to_owned());
    }
    let volatile = kind == TMPFS_MAGIC || kind == RAMFS_MAGIC;
    let handed = Handed { volatile, ..known(path, &directory, &status, &down) };
    Ok((directory, handed))
}

/// ramfs, which the C libraries do not name (linux/magic.h).
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// The directory of a lost run, where it is the one that was written down, and no other that has
/// its name now.
pub(super) fn find_again(handed: &Handed, same_boot: bool) -> Again {
    let path = &handed.path.0;
    if handed.volatile && !same_boot {
        return Again::Gone("its file system went with the last boot");
    }
    let failed = |errno: Errno| Again::Unknown(format!("it cannot be reached ({})", errno.desc()));
    let Way { down, end } = match descend(path, true) {
        Ok(way) => way,
        Err(Errno::EXDEV) => {
            let why = "a file system that a user serves is mounted on the way";
            return Again::Unknown(why.to_owned());
        }
        Err(errno) => return failed(errno),
    };
    // The directory above the name that was looked for last.
    let above = down.len().saturating_sub(if end.is_ok() { 2 } else { 1 });
    let unchanged = same_boot && is_as_before(&down, above, handed);
    let still_above =
        down.get(above).is_some_and(|status| handed.was_above(above, made(status), unchanged));
    let directory = match end {
        Ok(directory) => directory,
        Err(Errno::ENOENT) if still_above => return Again::Gone("it was removed"),
        Err(Errno::ENOTDIR) if still_above => {
            return Again::Gone("something else has its name");
        }
        Err(errno @ (Errno::ENOENT | Errno::ENOTDIR)) => {
            let why = "perhaps its file system is not mounted";
            return Again::Unknown(format!("it is not there ({}); {why}", errno.desc()));
        }
        Err(errno) => return failed(errno),
    };
    let status = match kernel::status_of(directory.as_fd(), false) {
        Ok(status) => status,
        Err(errno) => return failed(errno),
    };
    let now = known(path, &directory, &status, &down);
    match handed.known_in(&now) {
        Sameness::Same => Again::Itself(directory, now),
        Sameness::Other if still_above => Again::Gone("another directory has its name"),
        Sameness::Other => {
            let why = "another directory is there; perhaps its own file system is not mounted";
            Again::Unknown(why.to_owned())
        }
        Sameness::Unknown => {
            let why = "it cannot be told from another directory that has its name";
            Again::Unknown(why.to_owned())
        }
    }
}

/// Whether an open directory is where it was handed over, at the end of its path.
pub(super) fn is_still(directory: &OwnedFd, handed: &Handed) -> bool {
    let identity = |directory: &OwnedFd| {
        let status = kernel::status_of(directory.as_fd(), false).ok();
        status.map(|status| (status.device, status.inode))
    };
    let there = descend(&handed.path.0, true).and_then(|way| way.end);
    let (now, there) = (identity(directory), there.ok().and_then(|there| identity(&there)));
    now.is_some() && now == there
}

/// Where the devices of one boot are the same, down to this directory, nothing was mounted or
/// unmounted on the way.
fn is_as_before(down: &[Status], above: usize, handed: &Handed) -> bool {
    // The devices that are told begin below `/`.
    let now = down.iter().skip(1).take(above).map(|status| status.device);
    handed.devices.len() >= above && now.eq(handed.devices.iter().take(above).copied())
}

const fn made(status: &Status) -> Made {
    (status.inode, status.born)
}

fn known(path: &[u8], directory: &OwnedFd, status: &Status, down: &[Status]) -> Handed {
    // Without a handle it is known again by less, and by nothing else than what is the same.
    let handle = kernel::handle_of(directory.as_fd()).ok();
    let (above, own) = down.split_at(down.len().saturating_sub(1));
    Handed {
        path: Bytes(path.to_vec()),
        device: status.device,
        inode: status.inode,
        born: status.born,
        devices: above.iter().skip(1).chain(own).map(|status| status.device).collect(),
        above: above.iter().map(made).collect(),
        handle: handle.map(|(kind, bytes)| Handle { kind, bytes: Bytes(bytes) }),
        volatile: false,
    }
}

/// A way down a path: every directory that was entered, `/` the first, and the last one itself or
/// why it could not be entered.
struct Way {
    down: Vec<Status>,
    end: Result<OwnedFd, Errno>,
}

/// From the root directory down, each name on its own, and no link followed. Who is wary asks no
/// file system that a user serves: it may never answer.
///
/// # Errors
/// EINVAL for a path that names no directory in this way; EXDEV where a wary one meets such a file
/// system; statx(2)'s and those of /proc.
fn descend(path: &[u8], wary: bool) -> Result<Way, Errno> {
    let rest = path.strip_prefix(b"/").ok_or(Errno::EINVAL)?;
    let mut names = rest.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).peekable();
    names.peek().ok_or(Errno::EINVAL)?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut at = openat(AT_FDCWD, "/", flags, Mode::empty())?;
    let mut last = kernel::status_of(at.as_fd(), false)?;
    let mut down = vec![last];
    for name in names {
        if name == b".." || name == b"." {
            return Err(Errno::EINVAL);
        }
        let name = OsStr::from_bytes(name);
        match openat(&at, name, flags, Mode::empty()) {
            Ok(next) => at = next,
            Err(errno) => return Ok(Way { end: Err(confirmed(&at, name, errno)), down }),
        }
        let status = kernel::status_of(at.as_fd(), false)?;
        if wary && status.device != last.device && is_served_by_a_user(&status)? {
            return Err(Errno::EXDEV);
        }
        last = status;
        down.push(last);
    }
    Ok(Way { down, end: Ok(at) })
}

/// That a name stands for no directory is believed where two calls say so: much hangs on it.
fn confirmed(at: &OwnedFd, name: &OsStr, errno: Errno) -> Errno {
    let directory = SFlag::S_IFDIR.bits();
    match (errno, fstatat(at, name, AtFlags::AT_SYMLINK_NOFOLLOW)) {
        (Errno::ENOENT, Err(Errno::ENOENT)) => Errno::ENOENT,
        // Of a link O_DIRECTORY with O_NOFOLLOW says ENOTDIR, too.
        (Errno::ENOTDIR | Errno::ELOOP, Ok(stat))
            if stat.st_mode & SFlag::S_IFMT.bits() != directory =>
        {
            Errno::ENOTDIR
        }
        (Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP, _) => Errno::EAGAIN,
        (errno, _) => errno,
    }
}

/// Whether the file system that a directory is on is a FUSE one. The directory is open already, so
/// its mount is in the list, but for one that was taken away in this very moment; a subvolume of
/// btrfs has a device that is in no list, so on kernels that do not tell the mount's number an
/// unknown device is none of FUSE's.
fn is_served_by_a_user(status: &Status) -> Result<bool, Errno> {
    let mounts = process::read_text("/proc/self/mountinfo")?;
    let key = status.mount.map_or(MountKey::Device(status.device), MountKey::Number);
    let unknown = matches!(key, MountKey::Number(_));
    Ok(mount_type(&mounts, key).map_or(unknown, |kind| kind.starts_with("fuse")))
}
