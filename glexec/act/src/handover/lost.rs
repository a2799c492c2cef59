//! The directories of a lost run go back.

use super::lock::{Others, hold, release};
use super::{HandOver, Holder, Parties, Tally, quarantine};
use crate::root::Root;
use crate::state::StateDir;
use crate::tree::{Owner, Quarantine};
use crate::whereabouts::{Again, find_again};
use decide::entry::{Entry, Handed, Person};
use decide::refusal::Refusal;
use decide::reporter::{Level, Reporter};
use system::text::escaped;

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
    entry: &Entry,
    same_boot: bool,
    reporter: &dyn Reporter,
) -> Returned {
    let owner = |person: &Person| {
        let gid = person.gids.first().copied();
        gid.map(|gid| Owner { uid: person.uid, gid })
    };
    let (Some(caller), Some(target)) = (owner(&entry.caller), owner(&entry.target)) else {
        let why = "no directory is handed back: the entry names no group of caller or target";
        return Returned { done: Err(why.to_owned()), busy: None };
    };
    let parties = Parties { caller, target };
    let quarantine = quarantine(state);
    let (mut tally, mut busy, mut why) = (Tally::default(), None, None);
    for handed in &entry.handed {
        let path = escaped(&handed.path.0);
        match one_again(root, state, handed, same_boot, parties, &quarantine) {
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
pub(crate) enum Regained {
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
pub(crate) fn one_again(
    root: &Root,
    state: &StateDir,
    handed: &Handed,
    same_boot: bool,
    parties: Parties,
    quarantine: &Quarantine,
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
    let others = Others { state, own: Vec::new() };
    let regained = match over.has(parties) {
        Ok(Holder::Run) => Ok(Regained::Back(over.back(root, parties, quarantine, &others))),
        // The directory itself goes last, and came first.
        Ok(Holder::Caller) => Ok(Regained::Before),
        Ok(Holder::Other) => Ok(Regained::Gone("it belongs to somebody else now")),
        Err(errno) => Err(format!("it cannot be looked at ({})", errno.desc())),
    };
    release(state, &hold);
    regained
}
