//! Letting go of what is the caller's: a reader of the payload's output must see its end when
//! the payload ends, and no file system of a user may hold a lingering glexec up.

use super::descendants;
use super::root::Privilege;
use contract::Ending;
use decide::mounts::closes_at_once;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{SFlag, fstat, makedev};
use nix::unistd::{Pid, getppid, pipe2, read, write};
use std::os::fd::{OwnedFd, RawFd};
use std::time::{Duration, Instant};
use system::kernel::{self, Side};
use system::process;

/// Proof that 0, 1 and 2 of this process are /dev/null: nothing it writes, reads or closes there
/// can wait for anybody. Who is immune must have it ([`super::root::Privilege::become_immune`]).
#[derive(Debug)]
pub struct DescriptorsClosed(());

/// Closes every descriptor above 2 but these. Done before anything is owed: a close that hangs
/// hangs the caller's own call and nothing else.
///
/// # Errors
/// `ENOENT` where neither the kernel (before 5.9) nor /proc can tell what is open.
pub(super) fn close_all_but(kept: &[RawFd]) -> Result<(), Errno> {
    let mut kept: Vec<u32> = kept.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    kept.sort_unstable();
    kept.dedup();
    let mut first = 3;
    let ends = kept.iter().filter(|fd| **fd >= 3).copied().chain([u32::MAX]);
    for end in ends {
        let last = if end == u32::MAX { end } else { end - 1 };
        if first <= last && kernel::close_between(first, last) == Err(Errno::ENOSYS) {
            return close_one_by_one(&kept);
        }
        first = end.saturating_add(1);
    }
    Ok(())
}

/// Closes what only the payload keeps: pipes and sockets, whose closing never waits.
pub(super) fn let_go_of(numbers: &[RawFd]) {
    numbers.iter().copied().for_each(kernel::close_number);
}

/// Kernels before 5.9.
fn close_one_by_one(kept: &[u32]) -> Result<(), Errno> {
    let open = process::open_descriptors().map_err(|_| Errno::ENOENT)?.into_iter();
    let closes =
        open.filter(|fd| *fd > 2 && !u32::try_from(*fd).is_ok_and(|fd| kept.contains(&fd)));
    closes.for_each(kernel::close_number);
    Ok(())
}

/// Puts /dev/null in the place of 0, 1 and 2, and looks that it is there. Done before this process
/// is immune, before it owes or locks anything.
///
/// Where closing one of them asks a file system that may not answer (FUSE, NFS), a process with
/// the caller's ids does it and may hang in our stead; these processes come back, for they are no
/// stragglers.
///
/// # Errors
/// Of /dev/null, fork(2) and unshare(2); `ETIMEDOUT` where a descriptor is not replaced in time.
pub(super) fn let_go_of_standard(
    privilege: &Privilege,
) -> Result<(DescriptorsClosed, Vec<Pid>), Errno> {
    let null = process::dev_null()?;
    let (at_once, slow): (Vec<RawFd>, Vec<RawFd>) = (0..=2).partition(|fd| is_quick(*fd));
    let closers =
        if slow.is_empty() { Vec::new() } else { replace_beside(privilege, &null, &slow)? };
    at_once.into_iter().try_for_each(|fd| process::put(&null, fd))?;
    if (0..=2).all(is_null) { Ok((DescriptorsClosed(()), closers)) } else { Err(Errno::EBADF) }
}

/// For each of these descriptors a process that shares this one's table puts `null` in its place.
/// The kernel replaces the entry first and then tells the file system, so that only the other
/// process waits. Then this process takes a table of its own, and the rest of the old one is closed
/// by a process without anything to wait for: who hangs keeps no pipe, lock or log of ours open.
fn replace_beside(
    privilege: &Privilege,
    null: &OwnedFd,
    slow: &[RawFd],
) -> Result<Vec<Pid>, Errno> {
    const PATIENCE: Duration = Duration::from_secs(10);
    const LOOK: u8 = 1;
    let (wait, go) = pipe2(OFlag::O_CLOEXEC)?;
    let cleaner = beside(privilege, || {
        let cleared = read(&wait, &mut [0u8; 1]).and_then(|_| close_all_but(&[]));
        kernel::exit_now(u8::from(cleared.is_err()))
    })?;
    let mut closers = Vec::new();
    for fd in slow {
        // An error shows: the descriptor is not /dev/null then.
        closers.push(beside(privilege, || {
            let _ = process::put(null, *fd);
        })?);
    }
    let until = Instant::now() + PATIENCE;
    while !slow.iter().copied().all(is_null) {
        if Instant::now() >= until {
            return Err(Errno::ETIMEDOUT);
        }
        // Nothing tells of it but a look.
        poll(&mut [], PollTimeout::from(LOOK)).or_else(ignore_interruption)?;
    }
    unshare(CloneFlags::CLONE_FILES)?;
    write(&go, b".")?;
    // Who is still there keeps nothing of ours only where this one has done its work: the caller may
    // have ended or stopped it.
    loop {
        match descendants::reap(cleaner) {
            Some((Ending::Exited(0), _)) => return Ok(closers),
            Some(_) => return Err(Errno::ECANCELED),
            None if Instant::now() >= until => return Err(Errno::ETIMEDOUT),
            None => poll(&mut [], PollTimeout::from(LOOK)).or_else(ignore_interruption)?,
        };
    }
}

/// The proof, in a program that was executed with /dev/null as 0, 1 and 2; `None` where it was not.
pub(super) fn found_closed() -> Option<DescriptorsClosed> {
    (0..=2).all(is_null).then_some(DescriptorsClosed(()))
}

fn ignore_interruption(errno: Errno) -> Result<i32, Errno> {
    if errno == Errno::EINTR { Ok(0) } else { Err(errno) }
}

/// A process with the caller's ids and this process's table of descriptors that does `work` and
/// ends; and ends with this process, as long as it does not hang.
fn beside(privilege: &Privilege, work: impl FnOnce()) -> Result<Pid, Errno> {
    let parent = Pid::this();
    match privilege.fork_sharing_descriptors()? {
        Side::Parent(pid) => Ok(pid),
        Side::Child => {
            let kill = u64::from(libc::SIGKILL.unsigned_abs());
            let ready =
                privilege.give_up().and_then(|()| kernel::control(libc::PR_SET_PDEATHSIG, kill));
            if ready.is_err() || getppid() != parent {
                kernel::exit_now(1)
            }
            work();
            kernel::exit_now(0)
        }
    }
}

pub(super) fn is_null(fd: RawFd) -> bool {
    fstat(kernel::borrow(fd)).is_ok_and(|stat| {
        stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits()
            && stat.st_rdev == makedev(1, 3)
    })
}

/// Pipes, sockets, devices and files of a local disk or of memory; not FUSE, NFS and their like.
/// What cannot be told is not quick.
fn is_quick(fd: RawFd) -> bool {
    let Ok((kind, device)) = kernel::kind_and_device(kernel::borrow(fd)) else { return false };
    match SFlag::from_bits_truncate(kind) {
        SFlag::S_IFIFO | SFlag::S_IFSOCK | SFlag::S_IFCHR => true,
        // A block device is behind it: no file system of a user's.
        SFlag::S_IFREG if device.0 != 0 => true,
        SFlag::S_IFREG => process::read_text("/proc/self/mountinfo")
            .is_ok_and(|mounts| closes_at_once(&mounts, device)),
        _ => false,
    }
}
