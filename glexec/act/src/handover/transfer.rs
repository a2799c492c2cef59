//! The directories of a run while the target has them.

use super::lock::{Hold, Others, hold, release};
use super::{HandOver, Holder, Parties, Tally, quarantine, refused};
use crate::clock::now;
use crate::root::Root;
use crate::state::StateDir;
use crate::tree::{FileId, Owner};
use decide::config::StateRule;
use decide::entry::{Handed, Phase};
use decide::plan::Plan;
use decide::refusal::Refusal;
use decide::reporter::Reporter;
use nix::unistd::{Gid, Uid};

/// The directories of a run while the target has them.
#[derive(Debug)]
pub(crate) struct DirectoryTransfer {
    state: StateDir,
    parties: Parties,
    held: Vec<(HandOver, Hold)>,
}

impl DirectoryTransfer {
    /// Locks the directories for this run; nothing changes hands yet. `None` where there are
    /// none.
    ///
    /// # Errors
    /// [`Reason::HandOver`](contract::Reason::HandOver) where another run has one; [`Reason::State`](contract::Reason::State).
    pub(crate) fn hold(
        root: &Root,
        plan: &Plan,
        rule: Option<&StateRule>,
        opened: Vec<HandOver>,
    ) -> Result<Option<Self>, Refusal> {
        let (Some(rule), false) = (rule, opened.is_empty()) else { return Ok(None) };
        let owner = |uid: Uid, gid: Gid| Owner { uid: uid.as_raw(), gid: gid.as_raw() };
        let parties = Parties {
            caller: owner(plan.caller.uid(), plan.caller.gid()),
            target: owner(plan.target.uid(), plan.target.gid()),
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
        match over.has(self.parties) {
            Ok(Holder::Caller) => Ok(hold),
            Ok(Holder::Run | Holder::Other) => Err(busy()),
            Err(errno) => Err(refused(path, &format!("cannot be looked at ({})", errno.desc()))),
        }
    }

    /// What is to be written down before anything changes hands.
    pub(crate) fn handed(&self) -> Vec<Handed> {
        self.held.iter().map(|(over, _)| over.handed.clone()).collect()
    }

    /// Gives everything to the target.
    ///
    /// # Errors
    /// [`Reason::HandOver`](contract::Reason::HandOver) where something cannot be given.
    pub(crate) fn give(&self, root: &Root) -> Result<(), Refusal> {
        for (over, _) in &self.held {
            over.give(root, self.parties).map_err(|why| {
                refused(&over.handed.path.0, &format!("cannot change hands: {why}"))
            })?;
        }
        Ok(())
    }

    /// Gives everything back and lets it go; gives the phase that says whether that debt is paid.
    pub(crate) fn reclaim(self, root: &Root, reporter: &dyn Reporter) -> Phase {
        let quarantine = quarantine(&self.state);
        let own = self.held.iter().map(|(over, _)| FileId::from(&over.handed)).collect();
        let others = Others { state: &self.state, own };
        let all = self.held.iter();
        let all = all.map(|(over, _)| over.back(root, self.parties, &quarantine, &others));
        let done = all.fold(Tally::default(), Tally::and).tell(reporter);
        self.release();
        outcome(done, 1, true)
    }

    /// Lets the directories go as they are.
    pub(crate) fn release(self) {
        self.held.iter().for_each(|(_, hold)| release(&self.state, hold));
    }
}

/// What is written down of an attempt to give directories back: its number, and whether the
/// caller's scheduler could reach it.
pub fn outcome(done: Result<(), String>, number: u32, within: bool) -> Phase {
    match done {
        Ok(()) => Phase::Back,
        Err(why) => Phase::NotBack { number, at: now(), why, within },
    }
}
