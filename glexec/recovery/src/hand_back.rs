//! Gives back the directories that a lost run had.

use act::handover::{Returned, outcome, return_directories};
use act::root::Root;
use act::state::{RunRecord, StateDir};
use act::supervisor::now;
use decide::recorded_run::{Owed, RecordedRun, Trigger};
use decide::reporter::{Level, Reporter};

/// Whether the directories of a lost run are the caller's again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HandBack {
    /// They are, or there were none.
    Done,
    /// Not due before: seconds since 1970.
    Later(u64),
    /// Still owed; why.
    Owed(String),
    /// Tried often enough: somebody has to look.
    Hopeless,
}

/// Gives back what a lost run had, where that is due, and writes down what came of it.
pub(crate) fn give_back(
    root: &Root,
    (state, record, recorded): (&StateDir, &RunRecord, &RecordedRun),
    (payer, same_boot): (Trigger, bool),
    reporter: &dyn Reporter,
) -> HandBack {
    let number = match recorded.hand_back(now(), payer) {
        Owed::Paid => return HandBack::Done,
        Owed::Later(at) => return HandBack::Later(at),
        Owed::Hopeless => return HandBack::Hopeless,
        Owed::Due(number) => number,
    };
    let Returned { done, busy } =
        return_directories(root, state, &recorded.entry, same_boot, reporter);
    if let (Ok(()), Some(busy)) = (&done, busy) {
        // It costs no attempt: how long the other run takes says nothing of this debt.
        return HandBack::Owed(busy);
    }
    let phase = outcome(done.clone(), number, payer == Trigger::Caller);
    if let Err(errno) = record.add(&phase) {
        let text = format!("a phase could not be written down: {}", errno.desc());
        reporter.log(Level::Error, &text);
    }
    done.map_or_else(HandBack::Owed, |()| HandBack::Done)
}
