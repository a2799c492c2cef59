//! What descends from a lingering glexec, which is its sub-reaper: signalled by descriptors that
//! stand for processes, killed only as its own children, whose pids nobody else can free.

use super::process::{self, stat_of};
use super::root::Root;
use super::sys;
use crate::contract::{Ending, ResourceUsage};
use crate::decide::entry::Birth;
use crate::decide::procfs::Stat;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, Uid, getpgid};
use std::os::fd::AsFd as _;

/// Who among the descendants is left alone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spared {
    /// Processes of ours that end by themselves or hang for ever in our stead: the one that
    /// closes descriptors, the messenger, an epilogue that cannot be killed. By birth: their
    /// numbers may be others' once they are reaped.
    pub(super) asides: [Option<Birth>; 3],
    /// The payload, which stays unreaped so that its pid and group stay reserved.
    pub(super) payload: Option<Pid>,
    /// The payload while somebody waits for its status: listed like others, and never reaped.
    pub(super) awaited: Option<Pid>,
    /// Whose processes are spared: the target's, where the site spares stragglers and only what
    /// an epilogue left is to be ended.
    pub(super) owner: Option<Uid>,
}

impl Spared {
    fn spares(&self, pid: Pid) -> bool {
        let by_owner = |owner: Uid| process::uids_of(pid).is_some_and(|[real, ..]| real == owner);
        let is_aside =
            |birth: &Birth| birth.pid == pid.as_raw() && process::birth(pid) == Some(*birth);
        self.asides.iter().flatten().any(is_aside)
            || self.payload == Some(pid)
            || self.owner.is_some_and(by_owner)
    }
}

/// A child of ours that has ended, as wait(2) tells it; `None` where it has not, or a tracer
/// holds its status back. It is not reaped.
pub(super) fn ended(pid: Pid) -> Option<(Ending, ResourceUsage)> {
    let flags = libc::WEXITED | libc::WNOWAIT;
    sys::wait(Some(pid), flags).ok().flatten().and_then(|waited| read(&waited))
}

/// Reaps a child of ours that has ended.
pub(super) fn reap(pid: Pid) -> Option<(Ending, ResourceUsage)> {
    sys::wait(Some(pid), libc::WEXITED).ok().flatten().and_then(|waited| read(&waited))
}

/// How a process ended; `None` for one that stopped or went on.
pub(super) fn ending_of(waited: &sys::Waited) -> Option<Ending> {
    let number = u8::try_from(waited.status & 0xff).ok()?;
    match waited.code {
        libc::CLD_EXITED => Some(Ending::Exited(number)),
        libc::CLD_KILLED => Some(Ending::Killed { signal: number, core: false }),
        libc::CLD_DUMPED => Some(Ending::Killed { signal: number, core: true }),
        _ => None,
    }
}

fn read(waited: &sys::Waited) -> Option<(Ending, ResourceUsage)> {
    let ending = ending_of(waited)?;
    let usage = ResourceUsage {
        user_us: waited.user_us,
        system_us: waited.system_us,
        max_rss_kib: waited.max_rss_kib,
    };
    Some((ending, usage))
}

/// How a child ended whose status a tracer holds back, from /proc.
pub(super) fn ended_under_tracer(_root: &Root, pid: Pid) -> Option<Ending> {
    let stat = stat_of(pid).filter(Stat::has_ended)?;
    Ending::from_wait_status(stat.exit_status)
}

/// Whether this process has any child that is not ended, or ended and not reaped.
pub(super) fn has_children() -> bool {
    let flags = libc::WEXITED | libc::WNOWAIT;
    !matches!(sys::wait(None, flags), Err(Errno::ECHILD))
}

/// Reaps orphans that ended while the payload runs, or they would pile up.
pub(super) fn reap_orphans(payload: Pid) {
    while let Ok(Some(waited)) = sys::wait(None, libc::WEXITED | libc::WNOWAIT) {
        if waited.pid == payload || reap(waited.pid).is_none() {
            return;
        }
    }
}

/// Our children that have not ended, without the spared ones. Those that have ended are reaped.
pub(super) fn living_children(spared: &Spared) -> Vec<Pid> {
    let all = process::children_of(Pid::this()).into_iter();
    let is_over = |pid: Pid| {
        if spared.awaited == Some(pid) { ended(pid).is_some() } else { reap(pid).is_some() }
    };
    all.filter(|pid| !spared.spares(*pid) && !is_over(*pid)).collect()
}

/// Whether it is no child of ours any more: its status is gone.
pub(super) fn is_no_child(pid: Pid) -> bool {
    matches!(sys::wait(Some(pid), libc::WEXITED | libc::WNOWAIT), Err(Errno::ECHILD))
}

/// One of the run's processes, and under whom it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kin {
    pub(super) pid: Pid,
    parent: Pid,
}

/// Every living descendant without the spared ones and what is below them. A nested glexec that
/// owes something is one of them; what it has below it is its own affair unless `deep`.
pub(super) fn descendants(spared: &Spared, deep: bool) -> Vec<Kin> {
    const MOST: usize = 100_000;
    let own = Pid::this();
    let mut found: Vec<Kin> = Vec::new();
    let children = living_children(spared).into_iter();
    let mut todo: Vec<Kin> = children.map(|pid| Kin { pid, parent: own }).collect();
    while let Some(kin) = todo.pop() {
        if found.len() >= MOST {
            break;
        }
        if stat_of(kin.pid).is_some_and(|stat| !stat.has_ended()) {
            found.push(kin);
        }
        if deep || !process::is_nested_supervisor(kin.pid) {
            let below = process::children_of(kin.pid).into_iter();
            let below = below.filter(|pid| !spared.spares(*pid));
            todo.extend(below.map(|pid| Kin { pid, parent: kin.pid }));
        }
    }
    found
}

/// Sends a signal to one of the run's, and to nobody who has got its pid since: the descriptor
/// is opened first, then it is made sure that this process is still there, and still under whom
/// it was found, or under us.
pub(super) fn signal(_root: &Root, kin: Kin, number: i32) {
    let is_ours =
        || stat_of(kin.pid).is_some_and(|stat| [kin.parent, Pid::this()].contains(&stat.parent));
    let Ok(pidfd) = sys::pidfd(kin.pid) else {
        // Kernels before 5.3: at least the number is one of the run's now.
        if is_ours() {
            let _ = sys::kill(kin.pid.as_raw(), number);
        }
        return;
    };
    let mut ready = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    if is_ours() && poll(&mut ready, PollTimeout::ZERO) == Ok(0) {
        let _ = sys::signal_pidfd(pidfd.as_fd(), number);
    }
}

/// KILL to a child of ours, by its number: for kernels without pidfds nothing else is there.
/// That it is our child and not yet reaped reserves the number.
pub(super) fn kill_child(_root: &Root, child: Pid) {
    if matches!(sys::wait(Some(child), libc::WEXITED | libc::WNOWAIT), Ok(None)) {
        let _ = sys::kill(child.as_raw(), libc::SIGKILL);
    }
}

/// A signal for the payload: to its group, and to itself where it is in none of its own.
pub(super) fn forward(_root: &Root, payload: Pid, number: i32) {
    let to_group = sys::kill(-payload.as_raw(), number);
    if to_group.is_err() || getpgid(Some(payload)) != Ok(payload) {
        let _ = sys::kill(payload.as_raw(), number);
    }
}

/// KILL to the payload and its group.
pub(super) fn kill_payload(root: &Root, payload: Pid) {
    forward(root, payload, libc::SIGKILL);
}

/// KILL to everything below a nested glexec that had its time, so that it comes to its epilogue.
pub(super) fn kill_below(root: &Root, supervisor: Pid) {
    let under =
        |parent: Pid| process::children_of(parent).into_iter().map(move |pid| Kin { pid, parent });
    let mut todo: Vec<Kin> = under(supervisor).collect();
    while let Some(kin) = todo.pop() {
        // What runs as root below it is its epilogue, not its payload.
        let uids = process::uids_of(kin.pid);
        if !uids.is_none_or(|uids| uids.iter().any(|uid| uid.is_root())) {
            todo.extend(under(kin.pid));
            signal(root, kin, libc::SIGKILL);
        }
    }
}

/// A signal by the caller's order to one of the run. A nested glexec is asked to end, not killed.
pub(super) fn order(root: &Root, kin: Kin, number: i32) {
    let nested = number == libc::SIGKILL && process::is_nested_supervisor(kin.pid);
    signal(root, kin, if nested { libc::SIGTERM } else { number });
}

/// Whether there is a child besides the spared ones, by the kernel's word.
pub(super) fn has_others(spared: &Spared) -> bool {
    if spared.payload.is_none() && spared.asides == [None; 3] {
        return has_children();
    }
    !living_children(spared).is_empty()
}
