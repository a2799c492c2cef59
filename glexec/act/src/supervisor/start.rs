//! From the plan to the payload's start.

use super::given::{self, Claim};
use super::{Open, RunContext};
use crate::cgroups::Leaf;
use crate::clock::now;
use crate::close_descriptors;
use crate::descriptor_proxy::{self, DescriptorProxy};
use crate::event_sources::EventSources;
use crate::handover::{DirectoryTransfer, HandOver};
use crate::launch::{Waiting, failed, leaf, leave_foreign, leave_the_job, write_down};
use crate::leases::Lease;
use crate::needs_proc::needs_dev_null;
use crate::payload::Place;
use crate::root::Root;
use crate::state::RunRecord;
use decide::entry::Phase;
use decide::plan::Linger;
use decide::refusal::Refusal;
use decide::reporter::{Level, Reporter};
use nix::unistd::{Pid, chdir};
use std::os::fd::OwnedFd;
use system::kernel;
use system::process;

/// A run of which everything is ready but the payload.
pub(crate) struct Begun {
    pub(super) root: Root,
    pub(super) watch: EventSources,
    pub(super) descriptor_proxy: Option<DescriptorProxy>,
    /// Processes that close descriptors in our stead.
    pub(super) closers: Vec<Pid>,
    pub(super) record: Option<RunRecord>,
    pub(super) transfer: Option<DirectoryTransfer>,
    pub(super) leaf: Option<Leaf>,
    /// Whether the payload's proxy is this run's to remove.
    pub(super) owns_proxy: bool,
    pub(super) since: u64,
}

/// Lets go of the caller's descriptors, becomes immune where something is owed, writes the run
/// down and gives its directories and its proxy to the target; where one of these fails, undoes what
/// was done.
///
/// In this order: while something may still wait for the caller (a close, a descriptor proxy's start)
/// this process is the caller's to end, and holds no lock but the account's, which counts as the
/// caller's run.
pub(crate) fn begin(
    context: &RunContext<'_>,
    mut open: Open<'_>,
    lifeline: Option<OwnedFd>,
    opened: Vec<HandOver>,
    waiting: &Waiting,
    reporter: &dyn Reporter,
) -> Result<Begun, Refusal> {
    let RunContext { plan, linger, privilege, .. } = context;
    close_descriptors::let_go_of(&plan.keep_fds);
    let (closed, closers) = close_descriptors::let_go_of_standard(privilege).map_err(|errno| {
        let other = || failed("letting go of the caller's descriptors", errno);
        needs_dev_null().err().unwrap_or_else(other)
    })?;
    // The payload's process has the caller's directory for itself.
    chdir("/").map_err(|errno| failed("leaving the caller's directory", errno))?;
    let owed = linger.state.is_some();
    let descriptor_proxy = match owed {
        true => descriptor_proxy::start(privilege, open.status, &mut open.orders)?,
        false => None,
    };
    let root = if owed { privilege.become_immune(&closed)? } else { privilege.raise()? };
    kernel::control(libc::PR_SET_CHILD_SUBREAPER, 1)
        .map_err(|e| failed("PR_SET_CHILD_SUBREAPER", e))?;
    let watch = EventSources::new(open.orders, lifeline).map_err(|e| failed("signalfd", e))?;
    let since = now();
    let transfer = DirectoryTransfer::hold(&root, plan, linger.state.as_ref(), opened)?;
    let shares = waiting.place == Place::Shared;
    let record = match write_down(&root, plan, linger, transfer.as_ref(), since, shares) {
        Ok(record) => record,
        Err(stop) => {
            transfer.into_iter().for_each(DirectoryTransfer::release);
            return Err(stop);
        }
    };
    context.lease.into_iter().for_each(Lease::is_written_down);
    let leaf = leaf(&root, linger, reporter);
    let given = transfer.as_ref().map_or(Ok(()), |transfer| transfer.give(&root));
    let mut claim = Claim::Nothing;
    let given = given.and_then(|()| given::proxy(&root, context, record.as_ref(), &mut claim));
    match given.and_then(|()| waiting.ready(&root, leaf.as_ref(), record.as_ref())) {
        Ok(()) => Ok(Begun {
            root,
            watch,
            descriptor_proxy,
            closers,
            record,
            transfer,
            leaf,
            owns_proxy: claim == Claim::Both,
            since,
        }),
        Err(stop) => {
            leaf.into_iter().for_each(Leaf::remove);
            let back = transfer.map_or(Phase::Back, |transfer| transfer.reclaim(&root, reporter));
            let gone = claim.is_given_up(&root, context, reporter);
            nothing_came_of_it(record.as_ref(), (&back, gone), reporter);
            Err(stop)
        }
    }
}

/// No epilogue is owed; but directories that are not all back are, and a proxy that is still there.
/// An entry that stays all the same is a debt too many, never one too few.
pub(crate) fn nothing_came_of_it(
    record: Option<&RunRecord>,
    (back, proxy_is_gone): (&Phase, bool),
    reporter: &dyn Reporter,
) {
    let Some(record) = record else { return };
    let noted = if *back == Phase::Back && proxy_is_gone {
        record.remove()
    } else {
        let nothing = Phase::Done { result: "nothing-started".to_owned(), code: None };
        record.add(&nothing).and_then(|()| record.add(back))
    };
    if let Err(errno) = noted {
        let text = format!("the entry of a run that was not started stays: {}", errno.desc());
        reporter.log(Level::Error, &text);
    }
}

/// Away from where the caller was, and out of its and its job's reach. Gives the control groups in
/// which this process is nobody's but root's.
pub(crate) fn settle_in(
    root: &Root,
    linger: &Linger,
    owed: bool,
    reporter: &dyn Reporter,
) -> Option<Vec<u8>> {
    leave_the_job(root, linger, reporter);
    if !owed {
        return None;
    }
    let safe = leave_foreign(root, None, reporter);
    // What the caller dictated of it would hold up the clean-up; the payload has it already.
    kernel::reset_priority();
    process::spare_from_oom();
    safe
}
