//! Gives back the directories that a lost run had, and removes the payload's proxy.

use act::clock::now;
use act::handover::{Returned, outcome, return_directories};
use act::root::Root;
use act::state::{RunRecord, StateDir};
use act::target_proxy::{self, Removed};
use decide::entry::Phase;
use decide::recorded_run::{Owed, RecordedRun, Trigger};
use decide::reporter::{Level, Reporter};
use system::text::escaped;

/// Whether the directories of a lost run are the caller's again, and its proxy is gone.
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
    let note = |phase: &Phase| {
        if let Err(errno) = record.add(phase) {
            let text = format!("a phase could not be written down: {}", errno.desc());
            reporter.log(Level::Error, &text);
        }
    };
    let proxy = match recorded.proxy_is_gone() {
        true => Ok(()),
        false => remove_proxy(root, recorded, reporter).map(|()| note(&Phase::ProxyGone)),
    };
    let within = payer == Trigger::Caller;
    if recorded.is_handed_back() {
        let Err(why) = proxy else { return HandBack::Done };
        note(&outcome(Err(why.clone()), number, within));
        return HandBack::Owed(why);
    }
    let Returned { done, busy } =
        return_directories(root, state, &recorded.entry, same_boot, reporter);
    if let (Ok(()), Some(busy)) = (&done, busy) {
        // It costs no attempt: how long the other run takes says nothing of this debt.
        return HandBack::Owed(busy);
    }
    if done.is_ok() && proxy.is_err() {
        note(&Phase::Back);
    }
    let done = done.and(proxy);
    note(&outcome(done.clone(), number, within));
    done.map_or_else(HandBack::Owed, |()| HandBack::Done)
}

/// Removes the file that the entry knows, as its payload's account, and no other.
fn remove_proxy(
    root: &Root,
    recorded: &RecordedRun,
    reporter: &dyn Reporter,
) -> Result<(), String> {
    let Some(owed) = &recorded.entry.proxy else { return Ok(()) };
    let path = escaped(&owed.path.0);
    let removed =
        target_proxy::remove_lost(root, &recorded.entry.target, owed, recorded.proxy_file());
    match removed {
        Ok(Removed::Gone) => Ok(()),
        Ok(Removed::Another) => {
            let text = format!("{path} is another file than a lost run's proxy; it is left there");
            reporter.log(Level::Notice, &text);
            Ok(())
        }
        Err(why) => Err(format!("the payload's proxy {path} is not removed: {why}")),
    }
}
