//! Gives directories of the caller's to the target for a run, and back afterwards. That they go
//! back is owed like an epilogue: what could not be given back stays written down.

use super::root::Root;
use super::state::{StateDir, whole};
use super::supervisor::now;
use super::tree::{
    Entry, PATIENCE, Quarantine, Step, TakenOut, Trouble, Walk, Way, is_removed, pass,
};
use super::whereabouts::{Again, find_again, reach};
use contract::Reason;
use decide::config::StateRule;
use decide::entry::{Handed, Phase};
use decide::handover::{Disposition, Kind, Pair};
use decide::plan::{Linger, Plan};
use decide::refusal::Refusal;
use decide::reporter::{Level, Reporter};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, unlinkat};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use system::kernel;
use system::text::escaped;

/// Where what must not go back is put, in the state directory.
const QUARANTINE: &str = "quarantine";

/// A directory that is the caller's.
#[derive(Debug)]
pub(super) struct HandOver {
    /// Opened by `O_PATH`.
    directory: OwnedFd,
    /// What is written down of it.
    handed: Handed,
}

/// The directories of a run while the target has them.
#[derive(Debug)]
pub(super) struct DirectoryTransfer {
    state: StateDir,
    parties: Parties,
    held: Vec<(HandOver, Hold)>,
}

/// The lock on a directory: one run at a time.
#[derive(Debug)]
struct Hold {
    _file: OwnedFd,
    name: String,
}

/// Between whom: uid and gid.
#[derive(Debug, Clone, Copy)]
struct Parties {
    caller: (u32, u32),
    target: (u32, u32),
}

/// What did not go back as it was.
#[derive(Debug, Default)]
struct Tally {
    /// Taken out.
    quarantined: u32,
    /// Kept back by rule: what would lead astray and cannot be taken out.
    kept: u32,
    /// Could not be done, and is owed.
    failed: u32,
    /// The first of these.
    first: Option<String>,
}

fn refused(path: &[u8], what: &str) -> Refusal {
    let path = escaped(path);
    Refusal::new(Reason::HandOver, format!("{path} cannot be handed over: it {what}"))
        .hint("name a directory of yours on a local file system, by a path without links")
}

/// Opens the directories that the caller's variables name. Done with the caller's rights and
/// before anything is owed: a file system that hangs hangs the caller's own call.
///
/// # Errors
/// [`Reason::HandOver`].
pub(super) fn open(plan: &Plan, linger: &Linger) -> Result<Vec<HandOver>, Refusal> {
    let caller = plan.caller.uid().as_raw();
    let mut opened: Vec<HandOver> = Vec::new();
    for path in &linger.hand_over {
        let (directory, handed) = reach(path, caller).map_err(|why| refused(path, &why))?;
        if opened.iter().all(|other| !other.handed.is_same(&handed)) {
            opened.push(HandOver { directory, handed });
        }
    }
    Ok(opened)
}

impl HandOver {
    pub(super) fn number(&self) -> RawFd {
        self.directory.as_raw_fd()
    }

    fn owner(&self) -> Result<u32, Errno> {
        kernel::status_of(self.directory.as_fd(), true).map(|status| status.uid)
    }

    /// Gives it to the target: the directory first, so that the caller can change nothing of it
    /// any more, then what is in it; a directory always before what is in it. What is not given is
    /// not looked into, so that all that is the target's is below what is the target's.
    fn give(&self, root: &Root, parties: Parties) -> Result<(), String> {
        let (to, pair) = (parties.target, parties.pair());
        let told = |trouble: Trouble| trouble.told();
        let path = &self.handed.path.0;
        let changed = "given to the target";
        pass(root, &self.directory, to)
            .map_err(|e| format!("{} cannot be {changed} ({})", escaped(path), e.desc()))?;
        let mut walk = Walk::new(&self.directory, path, Way::Forth).map_err(told)?;
        while let Some(step) = walk.next() {
            let Entry { file, seen, name } = match step {
                Step::Entry(entry) => entry,
                Step::Left(..) => continue,
                Step::Trouble(trouble) => return Err(told(trouble)),
            };
            if seen.give(pair) != Disposition::Pass {
                continue;
            }
            pass(root, &file, to).map_err(|e| walk.trouble(&name, changed, e).told())?;
            if seen.kind == Kind::Directory {
                // What lies too deep stays the caller's.
                let _: bool = walk
                    .enter(file, name.clone())
                    .map_err(|e| walk.trouble(&name, "listed", e).told())?;
            }
        }
        Ok(())
    }

    /// Gives it back: what is in a directory before the directory, so that the caller reaches
    /// nothing that has not been looked at, and a directory only where all in it is done, so that
    /// the next attempt finds the rest below what is still the target's.
    fn back(&self, root: &Root, parties: Parties, quarantine: &Quarantine) -> Tally {
        let (to, pair) = (parties.caller, parties.pair());
        let mut tally = Tally::default();
        let mut walk = match Walk::new(&self.directory, &self.handed.path.0, Way::Back) {
            Ok(walk) => walk,
            Err(trouble) if is_removed(&self.directory, trouble.errno()) => return tally,
            Err(trouble) => {
                tally.fail(&trouble);
                return tally;
            }
        };
        let changed = "given back";
        while let Some(step) = walk.next() {
            let done = match step {
                Step::Left(directory, name, true) => {
                    pass(root, &directory, to).map_err(|e| walk.trouble(&name, changed, e))
                }
                Step::Left(_, _, false) => Ok(()),
                Step::Entry(entry) => {
                    let done = entry_back(root, (&mut walk, quarantine), entry, (pair, to));
                    done.map(|taken| tally.count(taken))
                }
                Step::Trouble(trouble) => Err(trouble),
            };
            if let Err(trouble) = done {
                walk.fail();
                tally.fail(&trouble);
            }
        }
        if !walk.has_failed() {
            if let Err(errno) = pass(root, &self.directory, to) {
                tally.fail(&walk.trouble(c"", changed, errno));
            }
        }
        tally
    }
}

/// Gives back what has this name. It may be another entry's by the time something is done to it:
/// what it is then is looked at anew.
fn entry_back(
    root: &Root,
    (walk, quarantine): (&mut Walk<'_>, &Quarantine),
    entry: Entry,
    between: (Pair, (u32, u32)),
) -> Result<Option<TakenOut>, Trouble> {
    let name = entry.name.clone();
    let mut done = one_back(root, (walk, quarantine), entry, between);
    for _ in 0..PATIENCE {
        match &done {
            Err(trouble) if trouble.is_of_another_kind() => {}
            Ok(_) | Err(_) => break,
        }
        done = match walk.again(&name)? {
            Some(entry) => one_back(root, (walk, quarantine), entry, between),
            None => Ok(None),
        };
    }
    done
}

/// Gives one entry back, goes into it next, or takes it out; gives what became of what was to be
/// taken out.
fn one_back(
    root: &Root,
    (walk, quarantine): (&mut Walk<'_>, &Quarantine),
    entry: Entry,
    (pair, to): (Pair, (u32, u32)),
) -> Result<Option<TakenOut>, Trouble> {
    let Entry { file, seen, name } = entry;
    match seen.back(pair) {
        Disposition::Stay => return Ok(None),
        Disposition::Pass if seen.kind == Kind::Directory => {
            let entered = walk.enter(file, name.clone());
            if entered.map_err(|e| walk.trouble(&name, "listed", e))? {
                return Ok(None);
            }
        }
        Disposition::Pass => {
            if seen.kind == Kind::Regular {
                walk.close_to_others(&file).map_err(|e| walk.trouble(&name, "closed", e))?;
            }
            return pass(root, &file, to)
                .map(|()| None)
                .map_err(|e| walk.trouble(&name, "given back", e));
        }
        Disposition::Quarantine => {}
    }
    let taken = walk.take_out(root, (&name, seen.kind), quarantine);
    taken.map(Some).map_err(|e| walk.trouble(&name, "taken out", e))
}

/// Locks the directory; `None` where another run has it.
fn hold(handed: &Handed, state: &StateDir) -> Result<Option<Hold>, Refusal> {
    let (major, minor) = handed.device;
    let name = format!("handed.{major}.{minor}.{}", handed.inode);
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let unusable = |errno: Errno| state.unusable(&name, errno);
    for _ in 0..8 {
        let file = openat(state.descriptor(), name.as_str(), flags, mode).map_err(unusable)?;
        // This lock belongs to the open file: it goes along through a fork of glexec's own.
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK))) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(None),
            Err(errno) => return Err(unusable(errno)),
        }
        // Who had it before removes the name with the lock still held.
        if fstat(&file).map_err(unusable)?.st_nlink > 0 {
            return Ok(Some(Hold { _file: file, name }));
        }
    }
    Ok(None)
}

/// Lets a directory go: the name goes while its lock is still held. Where it stays, the next run
/// takes it as it is.
fn release(state: &StateDir, hold: &Hold) {
    let _ = unlinkat(state.descriptor(), hold.name.as_str(), UnlinkatFlags::NoRemoveDir);
}

fn quarantine(state: &StateDir) -> Quarantine {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let made = match mkdirat(state.descriptor(), QUARANTINE, Mode::S_IRWXU) {
        Err(Errno::EEXIST) => Ok(()),
        made => made,
    };
    let opened = || openat(state.descriptor(), QUARANTINE, flags, Mode::empty());
    Quarantine(made.and_then(|()| opened()))
}

impl Parties {
    const fn pair(&self) -> Pair {
        Pair { caller: self.caller.0, target: self.target.0 }
    }
}

impl Tally {
    fn fail(&mut self, trouble: &Trouble) {
        self.failed = self.failed.saturating_add(1);
        self.first.get_or_insert_with(|| trouble.told());
    }

    fn count(&mut self, taken: Option<TakenOut>) {
        match taken {
            Some(TakenOut::Out) => self.quarantined = self.quarantined.saturating_add(1),
            Some(TakenOut::Stays) => self.kept = self.kept.saturating_add(1),
            Some(TakenOut::Gone) | None => {}
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            quarantined: self.quarantined.saturating_add(other.quarantined),
            kept: self.kept.saturating_add(other.kept),
            failed: self.failed.saturating_add(other.failed),
            first: self.first.or(other.first),
        }
    }

    /// Says in the log what did not go back; a clause where something is still owed.
    fn tell(self, reporter: &dyn Reporter) -> Result<(), String> {
        let Self { quarantined, kept, failed, first } = self;
        let out = quarantined.saturating_add(kept);
        if out > 0 {
            let text = format!(
                "handed back all but {out} entries: {quarantined} to the quarantine of the state directory or removed, {kept} left as the target's"
            );
            reporter.log(Level::Warning, &text);
        }
        let Some(first) = first else { return Ok(()) };
        let why = format!("{failed} entries were not handed back, the first: {first}");
        reporter.log(Level::Error, &format!("{why}; a sweep tries again"));
        Err(why)
    }
}

impl DirectoryTransfer {
    /// Locks the directories for this run; nothing changes hands yet. `None` where there are
    /// none.
    ///
    /// # Errors
    /// [`Reason::HandOver`] where another run has one; [`Reason::State`].
    pub(super) fn hold(
        root: &Root,
        (plan, rule): (&Plan, Option<&StateRule>),
        opened: Vec<HandOver>,
    ) -> Result<Option<Self>, Refusal> {
        let (Some(rule), false) = (rule, opened.is_empty()) else { return Ok(None) };
        let ids = |uid: Uid, gid: Gid| (uid.as_raw(), gid.as_raw());
        let parties = Parties {
            caller: ids(plan.caller.uid(), plan.caller.gid()),
            target: ids(plan.target.uid(), plan.target.gid()),
        };
        let state = StateDir::open(root, rule)?;
        let mut transfer = Self { state, parties, held: Vec::new() };
        for over in opened {
            match transfer.hold_one(&over) {
                Ok(hold) => transfer.held.push((over, hold)),
                Err(stop) => {
                    transfer.release();
                    return Err(stop);
                }
            }
        }
        Ok(Some(transfer))
    }

    fn hold_one(&self, over: &HandOver) -> Result<Hold, Refusal> {
        let path = &over.handed.path.0;
        let busy = || refused(path, "is in the hands of another run");
        let hold = hold(&over.handed, &self.state)?.ok_or_else(busy)?;
        // Another run may have taken it, and died, since it was opened.
        match over.owner() {
            Ok(owner) if owner == self.parties.caller.0 => Ok(hold),
            Ok(_) => Err(busy()),
            Err(errno) => Err(refused(path, &format!("cannot be looked at ({})", errno.desc()))),
        }
    }

    /// What is to be written down before anything changes hands.
    pub(super) fn handed(&self) -> Vec<Handed> {
        self.held.iter().map(|(over, _)| over.handed.clone()).collect()
    }

    /// Gives everything to the target.
    ///
    /// # Errors
    /// [`Reason::HandOver`] where something cannot be given.
    pub(super) fn give(&self, root: &Root) -> Result<(), Refusal> {
        for (over, _) in &self.held {
            over.give(root, self.parties).map_err(|why| {
                refused(&over.handed.path.0, &format!("cannot change hands: {why}"))
            })?;
        }
        Ok(())
    }

    /// Gives everything back and lets it go; gives the phase that says whether that debt is paid.
    pub(super) fn reclaim(self, root: &Root, reporter: &dyn Reporter) -> Phase {
        let quarantine = quarantine(&self.state);
        let all = self.held.iter().map(|(over, _)| over.back(root, self.parties, &quarantine));
        let done = all.fold(Tally::default(), Tally::and).tell(reporter);
        self.release();
        outcome(done, (1, true))
    }

    /// Lets the directories go as they are.
    pub(super) fn release(self) {
        self.held.iter().for_each(|(_, hold)| release(&self.state, hold));
    }
}

/// What is written down of an attempt to give directories back: its number, and whether the
/// caller's scheduler could reach it.
pub fn outcome(done: Result<(), String>, (number, within): (u32, bool)) -> Phase {
    match done {
        Ok(()) => Phase::Back,
        Err(why) => Phase::NotBack { number, at: now(), why, within },
    }
}

/// What came of the directories of a lost run.
#[derive(Debug)]
pub struct Returned {
    /// Why some of them could not be given back, where that is so.
    pub done: Result<(), String>,
    /// That one of them is in the hands of another run.
    pub busy: Option<String>,
}

/// Gives back every directory that this lost run had, where it is found again.
pub fn return_directories(
    root: &Root,
    state: &StateDir,
    (entry, same_boot): (&decide::entry::Entry, bool),
    reporter: &dyn Reporter,
) -> Returned {
    let ids = |person: &decide::entry::Person| {
        (person.uid, person.gids.first().copied().unwrap_or(person.uid))
    };
    let parties = Parties { caller: ids(&entry.caller), target: ids(&entry.target) };
    let quarantine = quarantine(state);
    let (mut tally, mut busy, mut why) = (Tally::default(), None, None);
    for handed in &entry.handed {
        let path = escaped(&handed.path.0);
        match one_again(root, (state, handed, same_boot), (parties, &quarantine)) {
            Ok(Regained::Back(counted)) => tally = tally.and(counted),
            Ok(Regained::Before) => {}
            Ok(Regained::Gone(what)) => {
                reporter.log(Level::Notice, &format!("{path} is not handed back: {what}"));
            }
            Ok(Regained::Busy) => busy = Some(format!("{path} is in the hands of another run")),
            Err(what) => {
                let text = format!("{path} is not handed back: {what}; a sweep tries again");
                reporter.log(Level::Error, &text);
                why.get_or_insert(format!("{path} is not handed back: {what}"));
            }
        }
    }
    let done = tally.tell(reporter).and(why.map_or(Ok(()), Err));
    Returned { done, busy }
}

/// What became of one directory of a lost run.
enum Regained {
    Back(Tally),
    /// It was given back before.
    Before,
    Gone(&'static str),
    Busy,
}

/// Gives one directory back where it is found again.
///
/// # Errors
/// A clause where that is still owed.
fn one_again(
    root: &Root,
    (state, handed, same_boot): (&StateDir, &Handed, bool),
    (parties, quarantine): (Parties, &Quarantine),
) -> Result<Regained, String> {
    let clause = |stop: Refusal| stop.detail.unwrap_or(stop.sentence);
    let (directory, now) = match find_again(handed, same_boot) {
        Again::Itself(directory, now) => (directory, now),
        Again::Unknown(why) => return Err(why),
        Again::Gone(what) => {
            // The lost run's own lock has nobody who removes it.
            if let Some(hold) = hold(handed, state).map_err(clause)? {
                release(state, &hold);
            }
            return Ok(Regained::Gone(what));
        }
    };
    // By the numbers that it has now, as every other run does.
    let Some(hold) = hold(&now, state).map_err(clause)? else { return Ok(Regained::Busy) };
    let over = HandOver { directory, handed: now };
    let regained = match over.owner() {
        Ok(owner) if owner == parties.target.0 => {
            Ok(Regained::Back(over.back(root, parties, quarantine)))
        }
        // The directory itself goes last, and came first.
        Ok(owner) if owner == parties.caller.0 => Ok(Regained::Before),
        Ok(_) => Ok(Regained::Gone("it belongs to somebody else now")),
        Err(errno) => Err(format!("it cannot be looked at ({})", errno.desc())),
    };
    release(state, &hold);
    regained
}
