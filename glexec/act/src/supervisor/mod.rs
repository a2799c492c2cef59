//! The lingering glexec: forks, waits, forwards, ends what is left, runs the epilogue.

mod given;
mod start;

use super::caller_descriptors::{Orders, StatusStream};
use super::cgroups::Leaf;
use super::descendants::{self, Exempt};
use super::descriptor_proxy::DescriptorProxy;
use super::epilogue::{self, EpilogueContext};
use super::event_sources::EventSources;
use super::exec_status::StatusReader;
use super::handover::{self, DirectoryTransfer, HandOver};
use super::launch::{failed, fork_payload};
use super::leases::Lease;
use super::nested::Nested;
use super::parent_watch::ParentWatch;
use super::payload::{Place, Start};
use super::root::{Privilege, Root};
use super::state::RunRecord;
use super::status_proxy::Stops;
use super::stragglers::{self, EventWait, Graces, UNKILLABLE};
use super::threshold::Restore;
use super::{account_processes, close_descriptors, status_proxy};
use crate::clock::now;
use contract::{Ending, EpilogueResult, Record, ResourceUsage};
use decide::config;
use decide::ended::{Ended, Leftovers};
use decide::entry::Phase;
use decide::epilogue_environment::Late;
use decide::plan::{Linger, Plan};
use decide::refusal::Refusal;
use decide::reporter::{Level, Reporter};
use decide::state_machine::{Clocks, Progress, StateMachine};
use nix::unistd::{Pid, getpgrp, getsid};
pub(crate) use start::{Begun, begin, settle_in};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};
use system::Birth;
use system::kernel;
use system::process;

/// A run to be seen through.
#[derive(Debug)]
pub struct RunContext<'a> {
    /// What is to be done.
    pub plan: &'a Plan,
    /// How it lingers.
    pub linger: &'a Linger,
    /// What the payload gets back of its caller's.
    pub restore: &'a Restore,
    /// The right to be root.
    pub privilege: &'a Privilege,
    /// The target's account, where it is this run's alone.
    pub lease: Option<&'a Lease>,
    /// What is in the payload's proxy, where it is to have one.
    pub proxy: Option<&'a [u8]>,
}

/// What stays open of this process.
#[derive(Debug)]
pub struct Open<'a> {
    /// The control descriptor.
    pub orders: Option<Orders>,
    /// The status descriptor.
    pub status: Option<&'a StatusStream>,
    /// Numbers of all others: log, lease, what the payload keeps.
    pub kept: Vec<RawFd>,
}

impl Open<'_> {
    /// Every number that stays open.
    fn numbers(&self) -> Vec<RawFd> {
        let mut all = self.kept.clone();
        all.extend(self.orders.as_ref().map(Orders::number));
        all.extend(self.status.and_then(StatusStream::number));
        all
    }
}

/// What is left to do once the end is logged, with the right for it.
#[derive(Debug)]
pub struct Rest {
    /// What the run was seen through with: the end is logged as root.
    pub root: Root,
    /// The entry, to be removed where all is paid.
    pub record: Option<RunRecord>,
    /// Who hands the last record on.
    pub descriptor_proxy: Option<DescriptorProxy>,
}

/// Runs the payload and everything after it.
///
/// # Errors
/// Where nothing was started: `NoProc`, `Switch`, `Internal`.
pub fn linger(
    context: &RunContext<'_>,
    open: Open<'_>,
    reporter: &dyn Reporter,
) -> Result<(Ended, Rest), Refusal> {
    let (mut run, reader, start) = Run::start(context, open, reporter)?;
    let (ending, mut usage) = run.until_the_end(reader);
    run.machine.progress = Progress::After;
    run.stops.iter().for_each(|stops| stops.go_on(&run.root));
    // Before anybody is told, and before the time that stragglers take: who is killed meanwhile must
    // not have a sweep tell another code.
    let noted = run.note_phase(&Phase::ended(ending, usage, 0, now()));
    let noted = noted.then_some((ending, usage, 0));
    run.reporter.status(&match ending {
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
    run.reporter.status(&Record::Stragglers { found, ended });
    if found != ended {
        run.reporter.log(Level::Warning, &format!("{} stragglers are left", found - ended));
    }
    // What stands there already needs no second line.
    if noted != Some((ending, usage, found)) {
        run.note_phase(&Phase::ended(ending, usage, found, now()));
    }
    let handed_back = run.directories_are_back();
    let mut whole = Ended { ending, usage, stragglers, epilogue: None, handed_back };
    whole.epilogue = run.epilogue(&whole, start);
    whole.handed_back &= run.proxy_is_gone();
    let (record, descriptor_proxy) = (run.record, run.descriptor_proxy);
    Ok((whole, Rest { root: run.root, record, descriptor_proxy }))
}

/// A run under way.
pub(crate) struct Run<'a> {
    pub(crate) context: &'a RunContext<'a>,
    /// Held throughout: the parent's death signal asks for the right to signal the payload at
    /// the time of the death. Without a debt the real uid is the caller's, who may signal us.
    pub(crate) root: Root,
    pub(crate) reporter: &'a dyn Reporter,
    pub(crate) watch: EventSources,
    pub(crate) machine: StateMachine,
    pub(crate) payload: Pid,
    pub(crate) pidfd: Option<OwnedFd>,
    /// The clock that runs, if one does.
    pub(crate) until: Option<Instant>,
    /// When the payload got its first TERM.
    pub(crate) asked: Option<Instant>,
    pub(crate) hurry: bool,
    /// Processes of ours that are no stragglers.
    pub(crate) asides: Vec<Birth>,
    /// Tells runs within the payload that owe something.
    nested: Nested,
    /// Whether the payload could not be killed.
    pub(crate) gave_up: bool,
    pub(crate) descriptor_proxy: Option<DescriptorProxy>,
    pub(crate) nonsense: u32,
    /// The entry in the state directory, where something is owed.
    pub(crate) record: Option<RunRecord>,
    /// The directories that the target has.
    pub(crate) transfer: Option<DirectoryTransfer>,
    /// The payload's own control group.
    pub(crate) leaf: Option<Leaf>,
    /// Whether the payload's proxy is this run's to remove.
    owns_proxy: bool,
    /// Whose suspension the payload shares.
    pub(crate) parent: Option<ParentWatch>,
    /// The status proxy, where the payload shares the caller's terminal, and with it glexec's process
    /// group.
    pub(crate) stops: Option<Stops>,
    /// The control groups in which this process is nobody's but root's.
    safe: Option<Vec<u8>>,
}

impl<'a> Run<'a> {
    fn start(
        context: &'a RunContext<'a>,
        open: Open<'_>,
        reporter: &'a dyn Reporter,
    ) -> Result<(Self, StatusReader, u64), Refusal> {
        let RunContext { plan, linger, restore, privilege, .. } = context;
        let terminal = process::has_terminal();
        let place = match (terminal, plan.detach_terminal) {
            (false, _) => Place::OwnGroup,
            (true, true) => Place::OwnSession,
            (true, false) => Place::Shared,
        };
        let shares = place == Place::Shared;
        let opened = handover::open(plan, linger)?;
        let parent = ParentWatch::wanted(linger.suspend_with_caller);
        let strangers = descendants::has_children();
        let owed = linger.state.is_some();
        let status_proxy = (strangers || shares)
            .then(|| status_proxy::split(privilege, owed, shares, &open.kept))
            .transpose()?;
        let (lifeline, stops) = status_proxy.map_or((None, None), |m| (Some(m.lifeline), m.stops));
        let mut kept = open.numbers();
        kept.extend(lifeline.iter().map(AsRawFd::as_raw_fd));
        kept.extend(stops.iter().map(Stops::number).chain(opened.iter().map(HandOver::number)));
        close_descriptors::close_all_but(&kept)
            .map_err(|e| failed("closing the caller's descriptors", e))?;
        let start = Start { plan, restore, place, parent: Some(Pid::this()) };
        let waiting = fork_payload(privilege, &start)?;
        let begun = match begin(context, open, lifeline, opened, &waiting, reporter) {
            Ok(begun) => begun,
            // The caller's stderr is the waiting process's by now.
            Err(stop) => return Err(waiting.refuse(stop, reporter)),
        };
        let Begun { root, watch, descriptor_proxy, closers, record, transfer, leaf, .. } = begun;
        // Before the payload may run: from then on somebody could want to freeze who owes something.
        let safe = settle_in(&root, linger, owed, reporter);
        let (payload, reader) = waiting.go();
        // One that has hung up on its work and whose birth cannot be told is a straggler like others.
        let closers = closers.into_iter().filter_map(|pid| process::own_birth(pid).ok());
        let proxies = descriptor_proxy.as_ref().and_then(|proxy| proxy.birth);
        let run = Self {
            context,
            root,
            reporter,
            watch,
            machine: StateMachine::new(Clocks::of(linger.kill_grace, linger.term_grace)),
            payload,
            pidfd: kernel::pidfd(payload).ok(),
            until: None,
            asked: None,
            hurry: false,
            asides: closers.chain(proxies).collect(),
            nested: Nested::of(linger.nested.as_ref()),
            gave_up: false,
            nonsense: 0,
            descriptor_proxy,
            record,
            transfer,
            leaf,
            owns_proxy: begun.owns_proxy,
            parent,
            stops,
            safe,
        };
        Ok((run, reader, begun.since))
    }

    /// Ends or counts what was left behind, then reaps the payload. Its status is final now,
    /// whatever a tracer that was among them did.
    fn clear(&mut self) -> (Leftovers, Option<(Ending, ResourceUsage)>) {
        let mut spared = Exempt { payload: Some(self.payload), ..self.spared() };
        if self.context.linger.stragglers == config::Stragglers::Ignore {
            let until = Instant::now() + UNKILLABLE;
            let left = descendants::descendants(&self.root, &spared, true, until).processes.len();
            let found = u32::try_from(left).unwrap_or(u32::MAX);
            return (Leftovers { found, ended: 0 }, descendants::reap(self.payload));
        }
        let graces = self.graces();
        let (watch, machine, hurry) = (&mut self.watch, &mut self.machine, &mut self.hurry);
        let mut events = EventWait { watch, machine, hurry };
        let leaf = self.leaf.as_ref();
        let mut left = stragglers::clear(&self.root, &mut events, &spared, leaf, graces);
        let last = descendants::reap(self.payload);
        // The list of children is exact only while none comes or goes; that there are none, the
        // kernel says for certain.
        spared.payload = last.is_none().then_some(self.payload);
        let mut rounds = 0..8;
        while left.found == left.ended && descendants::has_others(&spared) {
            if rounds.next().is_none() {
                // waitid(2) reports a child that the look into /proc missed: it counts.
                left.found = left.found.saturating_add(1);
                break;
            }
            let more = stragglers::clear(&self.root, &mut events, &spared, leaf, graces);
            left.found = left.found.saturating_add(more.found);
            left.ended = left.ended.saturating_add(more.ended);
        }
        if self.gave_up && last.is_none() {
            left.found = left.found.saturating_add(1);
        }
        if let Some(leaf) = self.leaf.take() {
            // The tree has had its grace; whoever left the tree is in here still.
            let inside = leaf.count();
            let empty = leaf.kill(&self.root, UNKILLABLE);
            // What cannot be counted is one at least that is left, or nobody where all are gone.
            let stays = if empty { 0 } else { leaf.count().unwrap_or(1).max(1) };
            let inside = inside.unwrap_or(stays).max(stays);
            left.found = left.found.saturating_add(u32::try_from(inside).unwrap_or(u32::MAX));
            let gone = inside - stays;
            left.ended = left.ended.saturating_add(u32::try_from(gone).unwrap_or(u32::MAX));
            leaf.remove();
        }
        if self.context.plan.exclusive {
            let (found, kept) =
                account_processes::clear_account(&self.root, self.context.plan.target.uid());
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            left.found = left.found.saturating_add(count(found));
            left.ended = left.ended.saturating_add(count(found.saturating_sub(kept)));
        }
        (left, last)
    }

    /// Who is nobody's straggler in any case.
    pub(crate) fn spared(&self) -> Exempt {
        let (asides, nested) = (self.asides.clone(), self.nested.clone());
        Exempt { asides, nested, ..Exempt::default() }
    }

    fn graces(&self) -> Graces {
        let kill = self.context.linger.kill_grace;
        let epilogue = self.context.linger.epilogue.as_ref().map_or(Duration::ZERO, |e| e.timeout);
        Graces { kill, nested: epilogue + 3 * kill + Duration::from_secs(10) }
    }

    /// Adds a phase to the entry; whether it stands there now. Where that fails, nothing stops for
    /// it: what is owed is done by this very process.
    pub(crate) fn note_phase(&self, phase: &Phase) -> bool {
        let noted = self.record.as_ref().map_or(Ok(()), |record| record.add(phase));
        if let Err(errno) = noted {
            let text = format!("a phase could not be written down: {}", errno.desc());
            self.reporter.log(Level::Error, &text);
        }
        noted.is_ok()
    }

    fn epilogue(&mut self, so_far: &Ended, start: u64) -> Option<(EpilogueResult, Duration)> {
        let epilogue = self.context.linger.epilogue.as_ref()?;
        let late = Late {
            glexec_pid: Pid::this().as_raw(),
            glexec_session: getsid(None).map_or(0, Pid::as_raw),
            glexec_group: getpgrp().as_raw(),
            payload_pid: self.payload.as_raw(),
            payload_group: match self.stops {
                Some(_) => getpgrp().as_raw(),
                None => self.payload.as_raw(),
            },
            ending: so_far.ending,
            usage: so_far.usage,
            stragglers: so_far.stragglers.found,
            start,
            end: now(),
            attempt: 1,
            lost: false,
        };
        let spares = self.context.linger.stragglers == config::Stragglers::Ignore;
        let context = EpilogueContext {
            spared: Exempt {
                payload: self.gave_up.then_some(self.payload),
                owner: spares.then(|| self.context.plan.target.uid()),
                ..self.spared()
            },
            graces: self.graces(),
            environment: epilogue.environment.iter().cloned().chain(late.variables()).collect(),
            epilogue,
            record: self.record.as_ref(),
            attempt: 1,
            within: true,
            safe: self.safe.as_deref(),
        };
        let (watch, machine, hurry) = (&mut self.watch, &mut self.machine, &mut self.hurry);
        let mut events = EventWait { watch, machine, hurry };
        let (result, took) = epilogue::run(&self.root, &mut events, &context, self.reporter);
        self.reporter.status(&Record::epilogue(result, took.as_secs_f64()));
        Some((result, took))
    }
}
