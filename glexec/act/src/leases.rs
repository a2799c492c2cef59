//! Pool accounts: one for each lingering run, until its epilogue has ended. A lock in the state
//! directory says that an account is in use; an entry, that something of it is owed; a process
//! of its uid, that it is not as clean as it should be.

use super::account_processes;
use super::root::Root;
use super::state::{Claim, StateDir, user_of};
use contract::Reason;
use decide::config::StateRule;
use decide::refusal::Refusal;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::{UtimensatFlags, fstatat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::Uid;
use std::collections::BTreeSet;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use system::process;

/// An account that is this process's for as long as the value lives.
#[derive(Debug)]
pub struct Lease {
    /// Its lock belongs to the open file, not to the process: it goes along through a fork of
    /// glexec's own, ends with the last copy, and no exec keeps a copy.
    file: OwnedFd,
    /// Has it count as a run of the caller's until there is an entry that does.
    claim: Claim,
}

/// Takes the account that was unused longest among those that are free. Gives its place in the
/// list.
///
/// Its taker can be stopped by the caller until it is immune. So it first claims one of the
/// caller's runs: nobody holds more accounts in this way than by runs.
///
/// # Errors
/// [`Reason::NoFreeAccount`], [`Reason::State`], [`Reason::TooManyRuns`].
pub fn take(
    _root: &Root,
    directory: &StateDir,
    rule: &StateRule,
    accounts: &[Option<Uid>],
    caller: Uid,
) -> Result<(usize, Lease), Refusal> {
    let mut told = Told::default();
    let claim = directory.claim(caller, rule.most_runs, |name| told.note(name))?;
    for (at, uid) in told.candidates(directory, accounts) {
        let Some(file) = lock(directory, uid)? else { continue };
        // What died between our look and our lock has left its entry.
        let mut owes = false;
        directory.each_name(|name| owes |= user_of(name) == Some(uid))?;
        if owes || is_in_use(uid)? {
            continue;
        }
        let lease = Lease { file, claim };
        lease.touch();
        return Ok((at, lease));
    }
    Err(none_free(accounts))
}

/// Which account would be taken now; takes none.
///
/// # Errors
/// As [`take`].
pub fn peek(_: &Root, directory: &StateDir, accounts: &[Option<Uid>]) -> Result<usize, Refusal> {
    let mut told = Told::default();
    directory.each_name(|name| told.note(name))?;
    for (at, uid) in told.candidates(directory, accounts) {
        if !is_locked(directory, uid)? && !is_in_use(uid)? {
            return Ok(at);
        }
    }
    Err(none_free(accounts))
}

/// An account of a pool that was given to a run at least once.
#[derive(Debug, Clone, Copy)]
pub struct Lent {
    /// The account's uid.
    pub uid: Uid,
    /// Whether a run holds its lock.
    pub locked: bool,
    /// When it was last in use: seconds since 1970.
    pub used: u64,
}

/// Every account that a pool has given to a run.
///
/// # Errors
/// [`Reason::State`].
pub fn lent(_root: &Root, directory: &StateDir) -> Result<Vec<Lent>, Refusal> {
    let names = directory.names()?;
    let uids = names.iter().filter_map(|name| name.strip_prefix(ACCOUNT)?.parse().ok());
    let look = |uid| {
        let (uid, locked) = (Uid::from_raw(uid), is_locked(directory, Uid::from_raw(uid))?);
        let used = u64::try_from(last_used(directory, uid) / 1000).unwrap_or(0);
        Ok(Lent { uid, locked, used })
    };
    uids.map(look).collect()
}

/// Whether a process is of the account.
///
/// # Errors
/// [`Reason::NoProc`].
pub fn is_in_use(uid: Uid) -> Result<bool, Refusal> {
    has_process(uid).map_err(|errno| {
        Refusal::new(Reason::NoProc, "it cannot be told whether an account is free; see the log")
            .detail(format!("looking for processes of uid {uid} in /proc: {}", errno.desc()))
    })
}

fn none_free(accounts: &[Option<Uid>]) -> Refusal {
    let count = accounts.iter().flatten().count();
    let sentence = format!("all {count} accounts you could be mapped to are in use");
    Refusal::new(Reason::NoFreeAccount, sentence).hint("try again when a run has ended")
}

/// What the names in the state directory tell of accounts.
#[derive(Default)]
struct Told {
    /// The uids that entries name, those set aside included: their epilogue has not run.
    in_use: BTreeSet<u32>,
    /// Those that have a lock's file: every account that was ever used.
    known: BTreeSet<u32>,
}

impl Told {
    fn note(&mut self, name: &str) {
        self.known.extend(name.strip_prefix(ACCOUNT).and_then(|uid| uid.parse::<u32>().ok()));
        self.in_use.extend(user_of(name).map(Uid::as_raw));
    }

    /// The accounts that no entry names, the one that was unused longest first: those that were
    /// never used, in their order, and only then the others, for which it has to be looked at each.
    fn candidates(
        self,
        directory: &StateDir,
        accounts: &[Option<Uid>],
    ) -> impl Iterator<Item = (usize, Uid)> {
        let all = accounts.iter().enumerate().filter_map(|(at, uid)| Some((at, (*uid)?)));
        let free = all.filter(|(_, uid)| !self.in_use.contains(&uid.as_raw()));
        let is_known = |(_, uid): &(usize, Uid)| self.known.contains(&uid.as_raw());
        let (mut used, new): (Vec<_>, Vec<_>) = free.partition(is_known);
        let used = std::iter::once_with(move || {
            used.sort_by_cached_key(|(_, uid)| last_used(directory, *uid));
            used
        });
        new.into_iter().chain(used.flatten())
    }
}

fn is_locked(directory: &StateDir, uid: Uid) -> Result<bool, Refusal> {
    let name = name_of(uid);
    // An account that was never used has no file.
    directory.is_locked(&name).map(|locked| locked.unwrap_or(false))
}

/// What the name of an account's lock begins with; its uid follows.
const ACCOUNT: &str = "account.";

fn name_of(uid: Uid) -> String {
    format!("{ACCOUNT}{uid}")
}

/// Milliseconds since 1970; 0 for one that was never used. It is a preference and no more: where it
/// cannot be told, the account is asked for first.
fn last_used(directory: &StateDir, uid: Uid) -> i64 {
    let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
    fstatat(directory.descriptor(), name_of(uid).as_str(), flags).map_or(0, |stat| {
        stat.st_mtime.saturating_mul(1000).saturating_add(stat.st_mtime_nsec / 1_000_000)
    })
}

fn lock(directory: &StateDir, uid: Uid) -> Result<Option<OwnedFd>, Refusal> {
    let name = name_of(uid);
    let file = directory.open_lock(&name)?;
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&super::state::whole(libc::F_WRLCK))) {
        Ok(_) => Ok(Some(file)),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
        Err(errno) => Err(directory.unusable(&name, errno)),
    }
}

/// Whether any process is of this uid, real, effective or saved. A glexec that has taken the uid
/// for a look, with root's saved uid and the caller's real one, is not the account's.
fn has_process(uid: Uid) -> Result<bool, Errno> {
    if account_processes::is_nobody(uid) {
        return Ok(false);
    }
    for pid in process::all()? {
        let Some([real, effective, saved]) = process::uids_of(pid)? else { continue };
        let looks = effective == uid && real != uid && saved.is_root();
        if [real, effective, saved].contains(&uid)
            && !looks
            && process::stat_of(pid)?.is_some_and(|stat| !stat.has_ended())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Drop for Lease {
    /// Gives the account back whoever still has a copy of its file: a process of this run's that
    /// the caller has stopped on its way, for one.
    fn drop(&mut self) {
        let _ = fcntl(&self.file, FcntlArg::F_OFD_SETLK(&super::state::whole(libc::F_UNLCK)));
    }
}

impl Lease {
    /// There is an entry now that counts as the caller's run, and as the account's use.
    pub(super) fn is_written_down(&self) {
        self.claim.end();
    }

    /// Remembers that the account was in use until now.
    pub fn touch(&self) {
        let now = TimeSpec::UTIME_NOW;
        // Only the order of the next ones hangs on it.
        let _ = futimens(&self.file, &now, &now);
    }

    /// The descriptors that must stay open.
    pub fn numbers(&self) -> [RawFd; 3] {
        let [directory, claim] = self.claim.numbers();
        [self.file.as_raw_fd(), directory, claim]
    }
}

/// Remembers that an account was in use until now, by a run that is swept.
pub fn touch(directory: &StateDir, uid: Uid) {
    let now = TimeSpec::UTIME_NOW;
    let follow = UtimensatFlags::NoFollowSymlink;
    // Only the order of the next ones hangs on it.
    let _ = utimensat(directory.descriptor(), name_of(uid).as_str(), &now, &now, follow);
}
