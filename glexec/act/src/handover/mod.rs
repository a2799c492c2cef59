//! Gives directories of the caller's to the target for a run, and back afterwards. That they go
//! back is owed like an epilogue: what could not be given back stays written down.

mod links;
mod lock;
mod lost;
mod transfer;

use super::root::Root;
use super::state::StateDir;
use super::tree::{
    ENTERED, Entry, Owner, Quarantine, Step, TakenOut, Trouble, Walk, Way, is_frozen, is_removed,
    pass, thaw,
};
use super::whereabouts::{Again, find_again, is_still, reach};
use contract::Reason;
use decide::entry::Handed;
use decide::handover::{Disposition, Kind, Pair, Seen};
use decide::plan::{Linger, Plan};
use decide::refusal::Refusal;
use decide::reporter::{Level, Reporter};
use links::Links;
use lock::Others;
pub use lost::{Returned, return_directories};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use system::kernel;
use system::text::escaped;
pub(crate) use transfer::DirectoryTransfer;
pub use transfer::outcome;

/// Where what must not go back is put, in the state directory.
const QUARANTINE: &str = "quarantine";

/// A directory that is the caller's.
#[derive(Debug)]
pub(crate) struct HandOver {
    /// Opened by `O_PATH`.
    directory: OwnedFd,
    /// What is written down of it.
    handed: Handed,
}

/// Who has a directory.
enum Holder {
    /// The target, or root on its way back.
    Run,
    Caller,
    Other,
}

/// Between whom.
#[derive(Debug, Clone, Copy)]
struct Parties {
    caller: Owner,
    target: Owner,
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
    /// Directories that are gone from their places, and why: a line of the log for each.
    gone: Vec<String>,
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
pub(crate) fn open(plan: &Plan, linger: &Linger) -> Result<Vec<HandOver>, Refusal> {
    let caller = plan.caller.uid().as_raw();
    let mut opened: Vec<HandOver> = Vec::new();
    for path in &linger.hand_over {
        let (directory, handed) = reach(path, caller).map_err(|why| refused(path, &why))?;
        if opened.iter().all(|other| !other.handed.is_same(&handed)) {
            opened.push(HandOver { directory, handed });
        }
    }
    // What is in another one goes back with it, and is not moved elsewhere any more by then.
    opened.sort_by_key(|over| over.handed.above.len());
    Ok(opened)
}

impl HandOver {
    pub(crate) fn number(&self) -> RawFd {
        self.directory.as_raw_fd()
    }

    /// A directory of root's without the mark is nobody's of this run: it was closed, or taken by the
    /// site.
    fn has(&self, parties: Parties) -> Result<Holder, Errno> {
        let status = kernel::status_of(self.directory.as_fd(), true)?;
        Ok(match status.uid {
            uid if uid == parties.target.uid || is_frozen(&status) => Holder::Run,
            uid if uid == parties.caller.uid => Holder::Caller,
            _ => Holder::Other,
        })
    }

    /// Gives it to the target. What is not given is not looked into, so that all that is the
    /// target's is below what is the target's, or root's for the moment.
    fn give(&self, root: &Root, parties: Parties) -> Result<(), String> {
        let (to, pair) = (parties.target, parties.pair());
        let told = |trouble: Trouble| trouble.told();
        let path = &self.handed.path.0;
        let changed = "given to the target";
        let mut walk = Walk::new(root, &self.directory, path, Way::Forth).map_err(told)?;
        let mut links = Links::new(root, self, parties, Way::Forth);
        while let Some(step) = walk.next() {
            let Entry { file, seen, name, .. } = match step {
                Step::Entry(entry) => links.judged(entry),
                Step::Left(directory, name, _) => {
                    thaw(root, &directory, to)
                        .map_err(|e| walk.trouble(&name, changed, e).told())?;
                    continue;
                }
                Step::Trouble(trouble) => return Err(told(trouble)),
            };
            if seen.give(pair) != Disposition::Pass {
                continue;
            }
            if seen.kind == Kind::Directory {
                // What lies too deep stays the caller's.
                let _: bool = walk
                    .enter(&file, name.clone(), Way::Forth)
                    .map_err(|e| walk.trouble(&name, ENTERED, e).told())?;
            } else {
                pass(root, &file, to).map_err(|e| walk.trouble(&name, changed, e).told())?;
            }
        }
        Ok(())
    }

    /// Gives it back. Each directory is root's from before it is looked at until all in it is done:
    /// neither the target's processes nor the caller's can change it in between, and where
    /// something in it fails it stays so, for the next attempt to find.
    fn back(
        &self,
        root: &Root,
        parties: Parties,
        quarantine: &Quarantine,
        others: &Others<'_>,
    ) -> Tally {
        let mut tally = Tally::default();
        match self.has(parties) {
            Ok(Holder::Caller) => return tally,
            Ok(Holder::Other) => {
                tally.gone.push(self.not_back("it belongs to somebody else now"));
                return tally;
            }
            Ok(Holder::Run) | Err(_) => {}
        }
        let mut walk = match Walk::new(root, &self.directory, &self.handed.path.0, Way::Back) {
            Ok(walk) => walk,
            Err(trouble) if is_removed(&self.directory, trouble.errno()) => return tally,
            Err(trouble) => {
                tally.fail(&trouble);
                return tally;
            }
        };
        if let Err(tally) = self.is_in_its_place(root, parties, &walk) {
            return tally;
        }
        let mut links = Links::new(root, self, parties, Way::Back);
        while let Some(step) = walk.next() {
            let done = match step {
                Step::Left(directory, name, true) => thaw(root, &directory, parties.caller)
                    .map_err(|e| walk.trouble(&name, "given back", e)),
                Step::Left(_, _, false) => Ok(()),
                Step::Entry(entry) => {
                    let entry = apart(&walk, others, links.judged(entry), parties);
                    let done = entry
                        .and_then(|entry| one_back(root, &mut walk, quarantine, entry, parties));
                    done.map(|taken| tally.count(taken))
                }
                Step::Trouble(trouble) => Err(trouble),
            };
            if let Err(trouble) = done {
                walk.fail();
                tally.fail(&trouble);
            }
        }
        tally
    }

    /// Looks, now that it is root's, whether the target has moved it away while it had it: what the
    /// target has put somewhere does not become the caller's there.
    fn is_in_its_place(&self, root: &Root, parties: Parties, walk: &Walk<'_>) -> Result<(), Tally> {
        if is_still(&self.directory, &self.handed) || is_in_one_of(parties.caller.uid, walk) {
            return Ok(());
        }
        let mut tally = Tally::default();
        match find_again(&self.handed, true) {
            Again::Itself(..) => return Ok(()),
            Again::Unknown(why) => tally.owe(|| self.not_back(&why)),
            Again::Gone(why) => match walk.top().map(|top| thaw(root, top, parties.target)) {
                Some(Err(e)) => tally.fail(&walk.trouble(c"", "left to the target", e)),
                Some(Ok(())) | None => tally.gone.push(self.not_back(why)),
            },
        }
        Err(tally)
    }

    fn not_back(&self, why: &str) -> String {
        format!("{} is not handed back: {why}", escaped(&self.handed.path.0))
    }
}

/// Gives back what is no directory, unless it has more names than it was seen with: then it is the
/// target's as before, and false. The target's processes can link it until its owner has changed.
fn pass_but_to_new_names(
    root: &Root,
    file: &OwnedFd,
    links: u32,
    parties: Parties,
) -> Result<bool, Errno> {
    pass(root, file, parties.caller)?;
    if kernel::status_of(file.as_fd(), true)?.links <= links {
        return Ok(true);
    }
    pass(root, file, parties.target).map(|()| false)
}

/// Whether a walk's directory is in one of this uid's where nobody else makes a name: then whoever
/// has moved it there was not the target.
fn is_in_one_of(uid: u32, walk: &Walk<'_>) -> bool {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let above = walk.top().and_then(|top| openat(top, "..", flags, Mode::empty()).ok());
    let status = above.and_then(|above| kernel::status_of(above.as_fd(), true).ok());
    let of_others = (Mode::S_IWGRP | Mode::S_IWOTH).bits();
    status.is_some_and(|status| status.uid == uid && status.mode & of_others == 0)
}

/// The entry, with whether another run has it in its hands where that matters: a directory that the
/// target has let somebody make here may be handed over in a call of glexec's of his.
fn apart(
    walk: &Walk<'_>,
    others: &Others<'_>,
    entry: Entry,
    parties: Parties,
) -> Result<Entry, Trouble> {
    let Entry { seen, id, .. } = entry;
    if seen.kind != Kind::Directory || seen.back(parties.pair()) != Disposition::Pass {
        return Ok(entry);
    }
    match others.have(id) {
        Ok(anothers) => Ok(Entry { seen: Seen { anothers, ..seen }, ..entry }),
        Err(errno) => Err(walk.trouble(&entry.name, "looked at", errno)),
    }
}

/// Gives one entry back, goes into it next, or takes it out; gives what became of what was to be
/// taken out.
fn one_back(
    root: &Root,
    walk: &mut Walk<'_>,
    quarantine: &Quarantine,
    entry: Entry,
    parties: Parties,
) -> Result<Option<TakenOut>, Trouble> {
    let Entry { file, seen, name, .. } = entry;
    match seen.back(parties.pair()) {
        Disposition::Stay => return Ok(None),
        Disposition::Pass if seen.kind == Kind::Directory => {
            let entered = walk.enter(&file, name.clone(), Way::Back);
            if entered.map_err(|e| walk.trouble(&name, ENTERED, e))? {
                return Ok(None);
            }
        }
        Disposition::Pass => {
            if seen.kind == Kind::Regular {
                walk.close_to_others(&file).map_err(|e| walk.trouble(&name, "closed", e))?;
            }
            let given = pass_but_to_new_names(root, &file, seen.links, parties);
            if given.map_err(|e| walk.trouble(&name, "given back", e))? {
                return Ok(None);
            }
        }
        Disposition::Quarantine => {}
    }
    let taken = walk.take_out(root, &name, seen.kind, quarantine);
    taken.map(Some).map_err(|e| walk.trouble(&name, "taken out", e))
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
        Pair { caller: self.caller.uid, target: self.target.uid }
    }
}

impl Tally {
    fn fail(&mut self, trouble: &Trouble) {
        self.owe(|| trouble.told());
    }

    fn owe(&mut self, why: impl FnOnce() -> String) {
        self.failed = self.failed.saturating_add(1);
        self.first.get_or_insert_with(why);
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
            gone: self.gone.into_iter().chain(other.gone).collect(),
        }
    }

    /// Says in the log what did not go back; a clause where something is still owed.
    fn tell(self, reporter: &dyn Reporter) -> Result<(), String> {
        let Self { quarantined, kept, failed, first, gone } = self;
        gone.iter().for_each(|text| reporter.log(Level::Warning, text));
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
