//! Letting go of what is the caller's: a reader of the payload's output must see its end when
//! the payload ends, and no file system of a user may hold a lingering glexec up.

use super::process;
use super::sys::{self, Side};
use super::threshold::open_descriptors;
use nix::errno::Errno;
use nix::sys::stat::SFlag;
use nix::unistd::Pid;
use std::os::fd::{OwnedFd, RawFd};

/// Closes every descriptor above 2 but these. Done before anything is owed: a close that hangs
/// hangs the caller's own call and nothing else.
pub(super) fn close_all_but(kept: &[RawFd]) {
    let mut kept: Vec<u32> = kept.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    kept.sort_unstable();
    kept.dedup();
    let mut first = 3;
    let ends = kept.iter().filter(|fd| **fd >= 3).copied().chain([u32::MAX]);
    for end in ends {
        let last = if end == u32::MAX { end } else { end - 1 };
        if first <= last && sys::close_between(first, last) == Err(Errno::ENOSYS) {
            return close_one_by_one(&kept);
        }
        first = end.saturating_add(1);
    }
}

/// Closes what only the payload keeps: pipes and sockets, whose closing never waits.
pub(super) fn let_go_of(numbers: &[RawFd]) {
    numbers.iter().copied().for_each(sys::close_number);
}

/// Kernels before 5.9.
fn close_one_by_one(kept: &[u32]) {
    let open = open_descriptors().unwrap_or_default().into_iter();
    let closes =
        open.filter(|fd| *fd > 2 && !u32::try_from(*fd).is_ok_and(|fd| kept.contains(&fd)));
    closes.for_each(sys::close_number);
}

/// Puts /dev/null in the place of 0, 1 and 2. Where closing one of them asks a file system that
/// may not answer, a process that shares the descriptors does it and may hang in our stead; its
/// pid is returned, for it is no straggler.
///
/// # Errors
/// Of /dev/null or fork(2).
pub(super) fn let_go_of_standard() -> Result<Option<Pid>, Errno> {
    let null = process::dev_null()?;
    if (0..=2).all(closes_at_once) {
        return put_null(&null).map(|()| None);
    }
    match sys::fork_sharing_descriptors()? {
        Side::Parent(pid) => Ok(Some(pid)),
        Side::Child => {
            let _ = put_null(&null);
            sys::exit_now(0)
        }
    }
}

fn put_null(null: &OwnedFd) -> Result<(), Errno> {
    (0..=2).try_for_each(|fd| process::put(null, fd))
}

/// Pipes, sockets, devices and files of a local disk; not FUSE, NFS and their like, which have
/// no block device (major number 0).
fn closes_at_once(fd: RawFd) -> bool {
    let Ok((kind, major)) = sys::kind_and_device(sys::borrow(fd)) else { return false };
    match SFlag::from_bits_truncate(kind) {
        SFlag::S_IFIFO | SFlag::S_IFSOCK | SFlag::S_IFCHR => true,
        SFlag::S_IFREG => major != 0,
        _ => false,
    }
}
