//! The lingering glexec: forks, waits, forwards, ends what is left, runs the epilogue.

use super::cgroups::Leaf;
use super::channel::Hearing;
use super::companion::Companion;
use super::epilogue::{self, Stage};
use super::family::{self, Spared};
use super::handover::{self, HandOver, Hands};
use super::launch::{Launched, failed, launch, leaf, leave_the_job, write_down};
use super::messenger::{self, Messenger};
use super::named::{Orders, StatusStream};
use super::payload::{Place, Start};
use super::root::{Privilege, Root};
use super::state::Ledger;
use super::stragglers::{self, Ears, Graces, UNKILLABLE};
use super::sys::{self};
use super::threshold::Restore;
use super::watch::Watch;
use super::{letgo, mirror, process, remains};
use crate::contract::{Ending, EpilogueResult, Reason, Record, ResourceUsage};
use crate::decide::config;
use crate::decide::ended::{Ended, Leftovers};
use crate::decide::entry::{Birth, Phase};
use crate::decide::last_word::Late;
use crate::decide::plan::{Linger, Plan};
use crate::decide::stop::Stop;
use crate::decide::vigil::{Clocks, Stage as Progress, Vigil};
use crate::decide::witness::{Level, Witness};
use nix::unistd::{Pid, chdir, getpgrp, getsid, setpgid};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::time::{Duration, Instant, SystemTime};

/// A run to be seen through.
#[derive(Debug)]
pub(crate) struct Charge<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) linger: &'a Linger,
    pub(crate) restore: &'a Restore,
    pub(crate) privilege: &'a Privilege,
}

/// What stays open of this process.
#[derive(Debug)]
pub(crate) struct Open<'a> {
    pub(crate) orders: Option<Orders>,
    pub(crate) status: Option<&'a StatusStream<'a>>,
    /// Numbers of all others: log, lease, what the payload keeps.
    pub(crate) kept: Vec<RawFd>,
}

impl Open<'_> {
    /// Every number that stays open.
    fn numbers(&self, more: &[Option<RawFd>]) -> Vec<RawFd> {
        let mut all = self.kept.clone();
        all.extend(self.orders.as_ref().map(Orders::number));
        all.extend(self.status.and_then(StatusStream::number));
        all.extend(more.iter().flatten());
        all
    }
}

/// What is left to do once the end is logged.
#[derive(Debug)]
pub(crate) struct Rest {
    /// The entry, to be removed where all is paid.
    pub(crate) ledger: Option<Ledger>,
    /// Who hands the last record on.
    pub(crate) messenger: Option<Messenger>,
}

/// Runs the payload and everything after it.
///
/// # Errors
/// Where nothing was started: [`Reason::NoProc`], [`Reason::Switch`], [`Reason::Internal`].
pub(crate) fn linger(
    charge: &Charge<'_>,
    open: Open<'_>,
    witness: &dyn Witness,
) -> Result<(Ended, Rest), Stop> {
    if !process::proc_is_usable() {
        return Err(Stop::new(Reason::NoProc, "there is no usable /proc, which lingering needs"));
    }
    let (mut run, hearing, start) = Run::start(charge, open, witness)?;
    let (ending, mut usage) = run.until_the_end(hearing);
    run.vigil.stage = Progress::After;
    run.witness.status(&match ending {
        Ok(ending) => Record::payload(ending, usage),
        Err(code) => Record::not_started(code),
    });
    let (stragglers, last) = run.clear();
    let ending = match last {
        Some((ending_at_last, all)) => {
            usage = all;
            ending.map(|_| ending_at_last)
        }
        None => ending,
    };
    let Leftovers { found, ended } = stragglers;
    run.witness.status(&Record::Stragglers { found, ended });
    if found != ended {
        run.witness.log(Level::Warning, &format!("{} stragglers are left", found - ended));
    }
    run.note_phase(&Phase::ended(ending, usage, found, now()));
    if let Some(hands) = run.hands.take() {
        hands.back(&run.root, run.witness);
    }
    let mut whole = Ended { ending, usage, stragglers, epilogue: None };
    whole.epilogue = run.epilogue(&whole, start);
    Ok((whole, Rest { ledger: run.ledger, messenger: run.messenger }))
}

/// A run under way.
pub(super) struct Run<'a> {
    pub(super) charge: &'a Charge<'a>,
    /// Held throughout: the parent's death signal asks for the right to signal the payload at
    /// the time of the death. Without a debt the real uid is the caller's, who may signal us.
    pub(super) root: Root,
    pub(super) witness: &'a dyn Witness,
    pub(super) watch: Watch,
    pub(super) vigil: Vigil,
    pub(super) payload: Pid,
    pub(super) pidfd: Option<OwnedFd>,
    /// The clock that runs, if one does.
    pub(super) until: Option<Instant>,
    /// When the payload got its first TERM.
    pub(super) asked: Option<Instant>,
    pub(super) hurry: bool,
    /// Processes of ours that are no stragglers.
    pub(super) asides: [Option<Birth>; 3],
    /// Whether the payload could not be killed.
    pub(super) gave_up: bool,
    pub(super) messenger: Option<Messenger>,
    pub(super) oom_score: Option<String>,
    pub(super) nonsense: u32,
    /// The entry in the state directory, where something is owed.
    pub(super) ledger: Option<Ledger>,
    /// The directories that the target has.
    pub(super) hands: Option<Hands>,
    /// The payload's own control group.
    pub(super) leaf: Option<Leaf>,
    /// Whose suspension the payload shares.
    pub(super) companion: Option<Companion>,
}

impl<'a> Run<'a> {
    fn start(
        charge: &'a Charge<'a>,
        mut open: Open<'_>,
        witness: &'a dyn Witness,
    ) -> Result<(Self, Hearing, u64), Stop> {
        let Charge { plan, linger, restore, privilege } = charge;
        let detach = plan.detach_terminal && process::has_terminal();
        let owed = linger.state.is_some();
        let opened = handover::open(plan, linger)?;
        let companion = Companion::wanted(linger.suspend_with_caller);
        let strangers = family::has_children();
        let lifeline = strangers.then(|| mirror::split(privilege, owed)).transpose()?;
        let messenger = match owed {
            true => messenger::start(privilege, open.status, &mut open.orders)?,
            false => None,
        };
        let_go(&open, (lifeline.as_ref(), messenger.as_ref()), &opened);
        let root = if owed { privilege.become_immune()? } else { privilege.raise()? };
        sys::control(libc::PR_SET_CHILD_SUBREAPER, 1)
            .map_err(|e| failed("PR_SET_CHILD_SUBREAPER", e))?;
        let watch = Watch::new(open.orders, lifeline).map_err(|e| failed("signalfd", e))?;
        let place = if detach { Place::OwnSession } else { Place::OwnGroup };
        let since = now();
        let hands = Hands::hold(&root, (plan, linger.state.as_ref()), opened)?;
        let leaf = leaf(&root, linger, witness);
        let start = Start { plan, restore, place, parent: Some(Pid::this()), leaf: leaf.as_ref() };
        let begun = begin(charge, (&root, &start, since), (hands, witness));
        let Begun { launched, ledger, hands } = match begun {
            Ok(begun) => begun,
            Err(stop) => {
                leaf.into_iter().for_each(Leaf::remove);
                return Err(stop);
            }
        };
        let Launched { payload, hearing, aside } = launched;
        if place == Place::OwnGroup {
            // Whoever comes first: the child does it too.
            let _ = setpgid(payload, payload);
        }
        let oom_score = settle_in(&root, linger, owed, witness);
        let run = Self {
            charge,
            root,
            witness,
            watch,
            vigil: Vigil::new(Clocks::of(linger.kill_grace, linger.term_grace)),
            payload,
            pidfd: sys::pidfd(payload).ok(),
            until: None,
            asked: None,
            hurry: false,
            asides: [
                aside.and_then(process::birth),
                messenger.as_ref().and_then(|messenger| messenger.birth),
                None,
            ],
            gave_up: false,
            oom_score,
            nonsense: 0,
            messenger,
            ledger,
            hands,
            leaf,
            companion,
        };
        Ok((run, hearing, since))
    }

    /// Ends or counts what was left behind, then reaps the payload. Its status is final now,
    /// whatever a tracer that was among them did.
    fn clear(&mut self) -> (Leftovers, Option<(Ending, ResourceUsage)>) {
        let mut spared =
            Spared { asides: self.asides, payload: Some(self.payload), ..Spared::default() };
        if self.charge.linger.stragglers == config::Stragglers::Ignore {
            let found = u32::try_from(family::descendants(&spared, true).len()).unwrap_or(u32::MAX);
            return (Leftovers { found, ended: 0 }, family::reap(self.payload));
        }
        let graces = self.graces();
        let (watch, vigil, hurry) = (&mut self.watch, &mut self.vigil, &mut self.hurry);
        let mut ears = Ears { watch, vigil, hurry };
        let mut left = stragglers::clear(&self.root, &mut ears, &spared, graces);
        let last = family::reap(self.payload);
        // The list of children is exact only while none comes or goes; that there are none, the
        // kernel says for certain.
        spared.payload = last.is_none().then_some(self.payload);
        for _ in 0..8 {
            if left.found != left.ended || !family::has_others(&spared) {
                break;
            }
            let more = stragglers::clear(&self.root, &mut ears, &spared, graces);
            left.found = left.found.saturating_add(more.found);
            left.ended = left.ended.saturating_add(more.ended);
        }
        if left.found == left.ended && family::has_others(&spared) {
            // Whatever it is, the kernel says that it is there.
            left.found = left.found.saturating_add(1);
        }
        if self.gave_up && last.is_none() {
            left.found = left.found.saturating_add(1);
        }
        if let Some(leaf) = self.leaf.take() {
            // The tree has had its grace; whoever left the tree is in here still.
            let inside = leaf.count();
            let empty = leaf.kill(&self.root, UNKILLABLE);
            left.found = left.found.saturating_add(u32::try_from(inside).unwrap_or(u32::MAX));
            let gone = if empty { inside } else { inside.saturating_sub(leaf.count()) };
            left.ended = left.ended.saturating_add(u32::try_from(gone).unwrap_or(u32::MAX));
            leaf.remove();
        }
        if self.charge.plan.exclusive {
            let (found, kept) = remains::clear_account(&self.root, self.charge.plan.target.uid());
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            left.found = left.found.saturating_add(count(found));
            left.ended = left.ended.saturating_add(count(found.saturating_sub(kept)));
        }
        (left, last)
    }

    fn graces(&self) -> Graces {
        let kill = self.charge.linger.kill_grace;
        let epilogue = self.charge.linger.epilogue.as_ref().map_or(Duration::ZERO, |e| e.timeout);
        Graces { kill, nested: epilogue + 3 * kill + Duration::from_secs(10) }
    }

    /// Adds a phase to the entry. Where that fails, nothing stops for it: what is owed is done
    /// by this very process.
    pub(super) fn note_phase(&self, phase: &Phase) {
        let noted = self.ledger.as_ref().map_or(Ok(()), |ledger| ledger.add(phase));
        if let Err(errno) = noted {
            let text = format!("a phase could not be written down: {}", errno.desc());
            self.witness.log(Level::Error, &text);
        }
    }

    fn epilogue(&mut self, so_far: &Ended, start: u64) -> Option<(EpilogueResult, Duration)> {
        let epilogue = self.charge.linger.epilogue.as_ref()?;
        let late = Late {
            glexec_pid: Pid::this().as_raw(),
            glexec_session: getsid(None).map_or(0, Pid::as_raw),
            glexec_group: getpgrp().as_raw(),
            payload_pid: self.payload.as_raw(),
            ending: so_far.ending,
            usage: so_far.usage,
            stragglers: so_far.stragglers.found,
            start,
            end: now(),
            attempt: 1,
            lost: false,
        };
        let spares = self.charge.linger.stragglers == config::Stragglers::Ignore;
        let stage = Stage {
            spared: Spared {
                asides: self.asides,
                payload: self.gave_up.then_some(self.payload),
                awaited: None,
                owner: spares.then(|| self.charge.plan.target.uid()),
            },
            graces: self.graces(),
            oom_score: self.oom_score.clone(),
            environment: epilogue.environment.iter().cloned().chain(late.variables()).collect(),
            epilogue,
            ledger: self.ledger.as_ref(),
            attempt: 1,
            within: true,
        };
        let (watch, vigil, hurry) = (&mut self.watch, &mut self.vigil, &mut self.hurry);
        let mut ears = Ears { watch, vigil, hurry };
        let (result, took) = epilogue::run(&self.root, &mut ears, &stage, self.witness);
        self.witness.status(&Record::epilogue(result, took.as_secs_f64()));
        Some((result, took))
    }
}

/// Closes all that is the caller's and that nothing here needs.
fn let_go(
    open: &Open<'_>,
    (lifeline, messenger): (Option<&OwnedFd>, Option<&Messenger>),
    opened: &[HandOver],
) {
    let mut more = vec![lifeline.map(OwnedFd::as_raw_fd), messenger.and_then(Messenger::number)];
    more.extend(opened.iter().map(|over| Some(over.number())));
    letgo::close_all_but(&open.numbers(&more));
}

/// A run that has begun.
struct Begun {
    launched: Launched,
    ledger: Option<Ledger>,
    hands: Option<Hands>,
}

/// Writes the run down, gives its directories to the target, starts the payload; and where one of
/// these fails, undoes what was done.
fn begin(
    charge: &Charge<'_>,
    (root, start, since): (&Root, &Start<'_>, u64),
    (hands, witness): (Option<Hands>, &dyn Witness),
) -> Result<Begun, Stop> {
    let ledger = match write_down(root, charge.plan, (charge.linger, hands.as_ref()), since) {
        Ok(ledger) => ledger,
        Err(stop) => {
            hands.into_iter().for_each(Hands::release);
            return Err(stop);
        }
    };
    let given = hands.as_ref().map_or(Ok(()), |hands| hands.forth(root));
    match given.and_then(|()| launch(root, start, ledger.as_ref())) {
        Ok(launched) => Ok(Begun { launched, ledger, hands }),
        Err(stop) => {
            hands.into_iter().for_each(|hands| hands.back(root, witness));
            // Nothing came of it: nothing is owed.
            let _ = ledger.map(|ledger| ledger.remove());
            Err(stop)
        }
    }
}

/// Away from where the caller was, and out of its and its job's reach. Gives what the OOM killer
/// thought of this process before.
fn settle_in(root: &Root, linger: &Linger, owed: bool, witness: &dyn Witness) -> Option<String> {
    let _ = chdir("/");
    leave_the_job(root, linger, witness);
    if !owed {
        return None;
    }
    // What the caller dictated of it would hold up the clean-up; the payload has it already.
    sys::reset_priority();
    process::spare_from_oom(root)
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
