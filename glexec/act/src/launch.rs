//! From a plan to a payload that is under way, written down before it may run.

use super::cgroups::{self, Leaf};
use super::close_descriptors;
use super::exec_status::{self, Failure, GateOpener, Released, StatusReader, Step};
use super::handover::DirectoryTransfer;
use super::payload::{Place, Start, become_payload, die_with, say_why};
use super::root::{Privilege, Root};
use super::state::{self, RunRecord, StateDir};
use contract::Reason;
use decide::entry::Phase;
use decide::plan::{Linger, Plan, Supervisor};
use decide::refusal::Refusal;
use decide::reporter::{Level, Reporter};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, setpgid, write};
use std::os::fd::AsFd as _;
use std::time::Duration;
use system::Birth;
use system::kernel::{self, Side};
use system::process;

/// Writes the run down where it owes something.
///
/// # Errors
/// [`Reason::State`], [`Reason::TooManyRuns`], [`Reason::NoProc`].
pub(super) fn write_down(
    root: &Root,
    plan: &Plan,
    linger: &Linger,
    transfer: Option<&DirectoryTransfer>,
    since: u64,
    shares_group: bool,
) -> Result<Option<RunRecord>, Refusal> {
    let Some(rule) = &linger.state else { return Ok(None) };
    let supervisor = supervisor(since, shares_group)?;
    let directory = StateDir::open(root, rule)?;
    let handed = transfer.map(DirectoryTransfer::handed).unwrap_or_default();
    directory.begin(&plan.entry(supervisor, handed), rule.most_runs).map(Some)
}

/// What only this process knows of itself.
///
/// # Errors
/// [`Reason::NoProc`].
pub(super) fn supervisor(since: u64, shares_group: bool) -> Result<Supervisor, Refusal> {
    let pid = Pid::this();
    let stat = process::stat_of(pid).ok().flatten().ok_or_else(super::needs_proc::no_proc)?;
    Ok(Supervisor {
        place: state::place().ok_or_else(super::needs_proc::no_proc)?,
        birth: Birth { pid: pid.as_raw(), start: stat.start },
        session: stat.session,
        group: stat.group,
        since,
        shares_group,
    })
}

/// A control group for the payload where the site wants one and it can be had.
pub(super) fn leaf(root: &Root, linger: &Linger, reporter: &dyn Reporter) -> Option<Leaf> {
    let leaf = linger.cgroups.payload.then(|| Leaf::new(root))?;
    leaf.map_err(|why| {
        reporter.log(Level::Notice, &format!("no control group for the payload: {why}"));
    })
    .ok()
}

/// Out of the job's control groups, where the site wants that and it can be had.
pub(super) fn leave_the_job(root: &Root, linger: &Linger, reporter: &dyn Reporter) {
    let Some(group) = &linger.cgroups.supervisor else { return };
    let failed = cgroups::leave_the_job(root, group);
    if !failed.is_empty() {
        let text = format!("glexec stays in the job's control group: {}", failed.join("; "));
        reporter.log(Level::Notice, &text);
    }
}

/// Out of control groups that somebody else than root can change: who owes something must be
/// nobody's to freeze. Gives the groups that it is in where all are root's alone; `safe` are those
/// that were when it was asked before.
pub fn leave_foreign(root: &Root, safe: Option<&[u8]>, reporter: &dyn Reporter) -> Option<Vec<u8>> {
    let failed = match cgroups::leave_foreign(root, safe) {
        cgroups::Left::Safe(groups) => return Some(groups),
        cgroups::Left::Exposed(failed) => failed,
    };
    let text = format!(
        "others than root can freeze or kill this process by its control group: {}; start what calls glexec in a group that is root's alone",
        failed.join("; ")
    );
    reporter.log(Level::Warning, &text);
    None
}

/// The process that will be the payload, while it waits: it has the caller's ids, root's way back
/// and the caller's descriptors, which the process that lingers lets go of before it is immune.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) pid: Pid,
    /// Where it will stand among process groups and sessions.
    pub(super) place: Place,
    reader: StatusReader,
    key: GateOpener,
}

/// Forks the process that will be the payload. It waits, and dies with this one.
///
/// # Errors
/// [`Reason::Internal`].
pub(super) fn fork_payload(privilege: &Privilege, start: &Start<'_>) -> Result<Waiting, Refusal> {
    let (reader, writer) = exec_status::pair().map_err(|e| failed("pipe", e))?;
    let (latch, key) = exec_status::gate().map_err(|e| failed("pipe", e))?;
    match privilege.fork().map_err(not_forked)? {
        Side::Parent(pid) => Ok(Waiting { pid, place: start.place, reader, key }),
        Side::Child => {
            // Who hangs while it closes something for the parent may hold the other end of the
            // gate open, so the parent's death has to tell by itself.
            let ready = privilege.lower_again().map_err(Failure::at(Step::Uid)).and_then(|()| {
                start.parent.map_or(Ok(()), die_with).map_err(Failure::at(Step::Parent))
            });
            if let Err(failure) = ready {
                writer.tell(failure);
                kernel::exit_now(127)
            }
            match latch.wait(key) {
                Released::Go => {
                    let failure = match privilege.raise_for_good() {
                        Ok(root) => become_payload(&root, start, Some(&writer)),
                        Err(_) => Failure { step: Step::Start, errno: Errno::EPERM },
                    };
                    writer.tell(failure);
                    say_why(start.plan, failure);
                }
                Released::Say(line) => say(privilege, &line),
                // What was not let go was not started, whoever hears it.
                Released::End => {
                    writer.tell(Failure { step: Step::Start, errno: Errno::ECANCELED });
                }
            }
            kernel::exit_now(127)
        }
    }
}

/// Says a line to the caller as nobody else than the caller: it may take for ever.
fn say(privilege: &Privilege, line: &[u8]) {
    // With nothing of the run's: no log, no account's lock.
    let alone = close_descriptors::close_all_but(&[])
        .and_then(|()| privilege.give_up())
        .and_then(|()| kernel::control(libc::PR_SET_PDEATHSIG, 0));
    if alone.is_ok() {
        kernel::set_mask(0);
        let _ = write(kernel::borrow(2), line);
    }
}

impl Waiting {
    /// Writes the payload's pid and birth down, and lets it go: nothing runs that the entry does
    /// not know. Gives what tells of its exec.
    ///
    /// # Errors
    /// [`Reason::State`], [`Reason::Internal`]; it still waits then.
    pub(super) fn ready(
        &self,
        root: &Root,
        leaf: Option<&Leaf>,
        record: Option<&RunRecord>,
    ) -> Result<(), Refusal> {
        let cgroup = leaf.map(|leaf| leaf.path.clone());
        record.map_or(Ok(()), |record| note_start(record, self.pid, cgroup))?;
        // Last, so that where anything failed the group is empty and can be removed.
        leaf.map_or(Ok(()), |leaf| leaf.admit(root, self.pid))
            .map_err(|e| failed("moving the payload into its control group", e))
    }

    /// Lets it go.
    pub(super) fn go(self) -> (Pid, StatusReader) {
        if self.place == Place::OwnGroup {
            // Whoever comes first: the child does it too.
            let _ = setpgid(self.pid, self.pid);
        }
        self.key.turn();
        (self.pid, self.reader)
    }

    /// Nothing will be started. What the caller is to read on stderr the waiting process says:
    /// this one has let go of stderr. It is waited for a moment, and never for the caller.
    pub(super) fn refuse(self, stop: Refusal, reporter: &dyn Reporter) -> Refusal {
        const MOMENT: Duration = Duration::from_secs(1);
        match reporter.complaint(&stop) {
            Some(line) => self.key.say(&line),
            // It is our child and not reaped: the number is its own.
            None => drop(kernel::kill(self.pid.as_raw(), libc::SIGKILL)),
        }
        if let Ok(pidfd) = kernel::pidfd(self.pid) {
            let timeout = PollTimeout::try_from(MOMENT).unwrap_or(PollTimeout::ZERO);
            let _ = poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout);
        }
        stop.said()
    }
}

fn note_start(record: &RunRecord, payload: Pid, cgroup: Option<String>) -> Result<(), Refusal> {
    let birth = process::own_birth(payload);
    birth.and_then(|payload| record.add(&Phase::Started { payload, cgroup })).map_err(|errno| {
        Refusal::new(Reason::State, "the state directory cannot be used; see the log")
            .detail(format!("writing the payload's start down: {}", errno.desc()))
    })
}

/// No process can be made.
pub(super) fn not_forked(errno: Errno) -> Refusal {
    if errno == Errno::EAGAIN {
        let sentence = "no process can be started: you have as many as you may (RLIMIT_NPROC)";
        return Refusal::new(Reason::Limits, sentence).hint("wait until some of yours have ended");
    }
    failed("fork", errno)
}

/// Something that never fails did, before anything was started.
pub(super) fn failed(what: &str, errno: Errno) -> Refusal {
    Refusal::new(Reason::Internal, "glexec could not start the payload; see the log")
        .detail(format!("{what}: {}", errno.desc()))
}
