//! Pool accounts: one for each lingering run, until its epilogue has ended. A lock in the state
//! directory says that an account is in use; an entry, that something of it is owed; a process
//! of its uid, that it is not as clean as it should be.

use super::process;
use super::root::Root;
use super::state::{StateDir, user_of};
use crate::contract::Reason;
use crate::decide::stop::Stop;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{Mode, UtimensatFlags, fstatat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::Uid;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

/// An account that is this process's for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Its lock belongs to the open file, not to the process: it goes along through a fork of
    /// glexec's own, ends with the last copy, and no exec keeps a copy.
    file: OwnedFd,
}

/// Takes the account that was unused longest among those that are free. Gives its place in the
/// list.
///
/// # Errors
/// [`Reason::NoFreeAccount`], [`Reason::State`].
pub(crate) fn take(
    root: &Root,
    directory: &StateDir,
    accounts: &[Uid],
) -> Result<(usize, Lease), Stop> {
    for (at, uid) in candidates(directory, accounts)? {
        let Some(lease) = lock(directory, uid)? else { continue };
        // What died between our look and our lock has left its entry.
        if users(directory)?.contains(&uid) || has_process(root, uid) {
            continue;
        }
        lease.touch();
        return Ok((at, lease));
    }
    Err(none_free(accounts.len()))
}

/// Which account would be taken now; takes none.
///
/// # Errors
/// As [`take`].
pub(crate) fn peek(root: &Root, directory: &StateDir, accounts: &[Uid]) -> Result<usize, Stop> {
    let is_free = |uid: Uid| !is_locked(directory, uid) && !has_process(root, uid);
    let mut candidates = candidates(directory, accounts)?.into_iter();
    let found = candidates.find(|(_, uid)| is_free(*uid));
    found.map(|(at, _)| at).ok_or_else(|| none_free(accounts.len()))
}

fn none_free(count: usize) -> Stop {
    let sentence = format!("all {count} accounts you could be mapped to are in use");
    Stop::new(Reason::NoFreeAccount, sentence).hint("try again when a run has ended")
}

/// The accounts that no entry names, the one that was unused longest first.
fn candidates(directory: &StateDir, accounts: &[Uid]) -> Result<Vec<(usize, Uid)>, Stop> {
    let in_use = users(directory)?;
    let free = accounts.iter().copied().enumerate().filter(|(_, uid)| !in_use.contains(uid));
    let mut free: Vec<_> = free.collect();
    free.sort_by_cached_key(|(_, uid)| last_used(directory, *uid));
    Ok(free)
}

fn is_locked(directory: &StateDir, uid: Uid) -> bool {
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let name = name_of(uid);
    let Ok(file) = nix::fcntl::openat(directory.descriptor(), name.as_str(), flags, Mode::empty())
    else {
        return false;
    };
    let mut asked = super::state::whole(libc::F_WRLCK);
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut asked)).is_err()
        || i32::from(asked.l_type) != libc::F_UNLCK
}

/// The uids that entries name, those set aside included: their epilogue has not run.
fn users(directory: &StateDir) -> Result<Vec<Uid>, Stop> {
    Ok(directory.names()?.iter().filter_map(|name| user_of(name)).collect())
}

fn name_of(uid: Uid) -> String {
    format!("account.{uid}")
}

/// Seconds since 1970; 0 for one that was never used.
fn last_used(directory: &StateDir, uid: Uid) -> i64 {
    let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
    fstatat(directory.descriptor(), name_of(uid).as_str(), flags).map_or(0, |stat| {
        stat.st_mtime.saturating_mul(1000).saturating_add(stat.st_mtime_nsec / 1_000_000)
    })
}

fn lock(directory: &StateDir, uid: Uid) -> Result<Option<Lease>, Stop> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let name = name_of(uid);
    let file = nix::fcntl::openat(directory.descriptor(), name.as_str(), flags, mode)
        .map_err(|e| directory.unusable(&name, e))?;
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&super::state::whole(libc::F_WRLCK))) {
        Ok(_) => Ok(Some(Lease { file })),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
        Err(errno) => Err(directory.unusable(&name, errno)),
    }
}

/// Whether any process has this uid, real, effective or saved.
pub(super) fn has_process(_root: &Root, uid: Uid) -> bool {
    process::all().into_iter().any(|pid| {
        let ended = process::stat_of(pid).is_none_or(|stat| stat.has_ended());
        !ended && process::uids_of(pid).is_some_and(|uids| uids.contains(&uid))
    })
}

impl Lease {
    /// Remembers that the account was in use until now.
    pub(crate) fn touch(&self) {
        let now = TimeSpec::UTIME_NOW;
        let _ = futimens(&self.file, &now, &now);
    }

    /// The descriptor that must stay open.
    pub(crate) fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// Remembers that an account was in use until now, by a run that is swept.
pub(super) fn touch(directory: &StateDir, uid: Uid) {
    let now = TimeSpec::UTIME_NOW;
    let follow = UtimensatFlags::NoFollowSymlink;
    let _ = utimensat(directory.descriptor(), name_of(uid).as_str(), &now, &now, follow);
}
