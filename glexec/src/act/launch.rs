//! From a plan to a payload that is under way, written down before it may run.

use super::cgroups::{self, Leaf};
use super::channel::{self, Hearing};
use super::handover::Hands;
use super::letgo;
use super::payload::{Start, become_payload};
use super::process;
use super::root::Root;
use super::state::{self, Ledger, StateDir};
use super::sys::{self, Side};
use crate::contract::Reason;
use crate::decide::entry::Phase;
use crate::decide::plan::{Linger, Plan, Supervisor};
use crate::decide::stop::Stop;
use crate::decide::witness::{Level, Witness};
use nix::errno::Errno;
use nix::unistd::{Pid, getpgrp, getsid};

/// Writes the run down where it owes something.
///
/// # Errors
/// [`Reason::State`], [`Reason::TooManyRuns`], [`Reason::NoProc`].
pub(super) fn write_down(
    root: &Root,
    plan: &Plan,
    (linger, hands): (&Linger, Option<&Hands>),
    since: u64,
) -> Result<Option<Ledger>, Stop> {
    let Some(rule) = &linger.state else { return Ok(None) };
    let unknown = || Stop::new(Reason::NoProc, "there is no usable /proc, which lingering needs");
    let supervisor = Supervisor {
        place: state::place().ok_or_else(unknown)?,
        birth: process::birth(Pid::this()).ok_or_else(unknown)?,
        session: getsid(None).map_or(0, Pid::as_raw),
        group: getpgrp().as_raw(),
        since,
    };
    let directory = StateDir::open(root, rule)?;
    let handed = hands.map(Hands::handed).unwrap_or_default();
    directory.begin(&plan.entry(supervisor, handed), rule.most_runs).map(Some)
}

/// A control group for the payload where the site wants one and it can be had.
pub(super) fn leaf(root: &Root, linger: &Linger, witness: &dyn Witness) -> Option<Leaf> {
    let leaf = linger.cgroups.payload.then(|| Leaf::new(root))?;
    leaf.map_err(|why| {
        witness.log(Level::Notice, &format!("no control group for the payload: {why}"));
    })
    .ok()
}

/// Out of the job's control groups, where the site wants that and it can be had.
pub(super) fn leave_the_job(root: &Root, linger: &Linger, witness: &dyn Witness) {
    let Some(group) = &linger.cgroups.supervisor else { return };
    let failed = cgroups::leave_the_job(root, group);
    if !failed.is_empty() {
        let text = format!("glexec stays in the job's control group: {}", failed.join("; "));
        witness.log(Level::Notice, &text);
    }
}

/// A payload under way.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) payload: Pid,
    pub(super) hearing: Hearing,
    /// The process that closes descriptors in our stead, where one is needed.
    pub(super) aside: Option<Pid>,
}

/// Forks the payload. Nothing runs that the entry does not know: the child waits until its pid
/// and birth are written down.
///
/// # Errors
/// [`Reason::Internal`], [`Reason::State`].
pub(super) fn launch(
    root: &Root,
    start: &Start<'_>,
    ledger: Option<&Ledger>,
) -> Result<Launched, Stop> {
    let (hearing, telling) = channel::pair().map_err(|e| failed("pipe", e))?;
    let gate = ledger.map(|_| channel::gate()).transpose().map_err(|e| failed("pipe", e))?;
    let payload = match sys::fork().map_err(|e| failed("fork", e))? {
        Side::Parent(payload) => payload,
        Side::Child => {
            if gate.is_none_or(|(latch, key)| latch.wait(key)) {
                telling.tell(become_payload(root, start));
            }
            sys::exit_now(127)
        }
    };
    // While the child waits it holds the same descriptors, so that no close here is a last one,
    // which could hang.
    letgo::let_go_of(&start.plan.keep_fds);
    let let_go = letgo::let_go_of_standard()
        .map_err(|errno| failed("letting go of the caller's descriptors", errno));
    let ready = let_go.and_then(|aside| {
        let cgroup = start.leaf.map(|leaf| leaf.path.clone());
        ledger.map_or(Ok(()), |ledger| note_start(ledger, payload, cgroup)).map(|()| aside)
    });
    match ready {
        Ok(aside) => {
            if let Some((_, key)) = gate {
                key.turn();
            }
            Ok(Launched { payload, hearing, aside })
        }
        Err(stop) => {
            let _ = sys::kill(payload.as_raw(), libc::SIGKILL);
            let _ = sys::wait_for(payload);
            Err(stop)
        }
    }
}

fn note_start(ledger: &Ledger, payload: Pid, cgroup: Option<String>) -> Result<(), Stop> {
    let birth = process::birth(payload).ok_or(Errno::ESRCH);
    birth.and_then(|payload| ledger.add(&Phase::Started { payload, cgroup })).map_err(|errno| {
        Stop::new(Reason::State, "the state directory cannot be used; see the log")
            .detail(format!("writing the payload's start down: {}", errno.desc()))
    })
}

/// Something that never fails did, before anything was started.
pub(super) fn failed(what: &str, errno: Errno) -> Stop {
    Stop::new(Reason::Internal, "glexec could not start the payload; see the log")
        .detail(format!("{what}: {}", errno.desc()))
}
