//! What descends from a lingering glexec, which is its sub-reaper: signalled by descriptors that
//! stand for processes, killed only as its own children, whose pids nobody else can free.

use super::process::{self, stat_of};
use super::root::Root;
use super::sys;
use crate::contract::{Ending, ResourceUsage};
use crate::decide::procfs::Stat;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, Uid, getpgid};
use std::os::fd::AsFd as _;

/// Who among the descendants is left alone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spared {
    /// The process that closes descriptors in our stead: it ends by itself or hangs for ever.
    pub(super) aside: Option<Pid>,
    /// The payload, which stays unreaped so that its pid and group stay reserved.
    pub(super) payload: Option<Pid>,
    /// Whose processes are spared: the target's, where the site spares stragglers and only what
    /// an epilogue left is to be ended.
    pub(super) owner: Option<Uid>,
}

impl Spared {
    fn spares(&self, pid: Pid) -> bool {
        let by_owner = |owner: Uid| process::uids_of(pid).is_some_and(|[real, ..]| real == owner);
        self.aside == Some(pid) || self.payload == Some(pid) || self.owner.is_some_and(by_owner)
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
    all.filter(|pid| !spared.spares(*pid) && !is_over(*pid)).collect()
}

/// Reaps it where it has ended; whether it has.
fn is_over(pid: Pid) -> bool {
    reap(pid).is_some()
}

/// Every living descendant without the spared ones and what is below them. A nested glexec that
/// owes something is one of them; what it has below it is its own affair unless `deep`.
pub(super) fn descendants(spared: &Spared, deep: bool) -> Vec<Pid> {
    const MOST: usize = 100_000;
    let mut found: Vec<Pid> = Vec::new();
    let mut todo = living_children(spared);
    while let Some(pid) = todo.pop() {
        if found.len() >= MOST {
            break;
        }
        if stat_of(pid).is_some_and(|stat| !stat.has_ended()) {
            found.push(pid);
        }
        if deep || !process::is_nested_supervisor(pid) {
            todo.extend(process::children_of(pid).into_iter().filter(|pid| !spared.spares(*pid)));
        }
    }
    found
}

/// Sends a signal to a descendant, and to nobody who has got its pid since: the descriptor is
/// opened first, then it is made sure that this process is ours and still there.
pub(super) fn signal(_root: &Root, pid: Pid, number: i32) {
    let Ok(pidfd) = sys::pidfd(pid) else {
        // Kernels before 5.3: at least the number is a descendant's now.
        if process::is_descendant(pid) {
            let _ = sys::kill(pid.as_raw(), number);
        }
        return;
    };
    let mut ready = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    if process::is_descendant(pid) && poll(&mut ready, PollTimeout::ZERO) == Ok(0) {
        let _ = sys::signal_pidfd(pidfd.as_fd(), number);
    }
}

/// KILL to a child of ours. Its pid is reserved until we reap it.
pub(super) fn kill_child(_root: &Root, child: Pid) {
    let _ = sys::kill(child.as_raw(), libc::SIGKILL);
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
    let mut todo = process::children_of(supervisor);
    while let Some(pid) = todo.pop() {
        // What runs as root below it is its epilogue, not its payload.
        let is_roots =
            process::uids_of(pid).is_none_or(|uids| uids.iter().any(|uid| uid.is_root()));
        if !is_roots {
            todo.extend(process::children_of(pid));
            signal(root, pid, libc::SIGKILL);
        }
    }
}

/// A signal by the caller's order to one of the run. A nested glexec is asked to end, not killed.
pub(super) fn order(root: &Root, pid: Pid, number: i32) {
    let nested = number == libc::SIGKILL && process::is_nested_supervisor(pid);
    signal(root, pid, if nested { libc::SIGTERM } else { number });
}

/// Whether there is a child besides the spared ones, by the kernel's word.
pub(super) fn has_others(spared: &Spared) -> bool {
    if spared.payload.is_none() && spared.aside.is_none() {
        return has_children();
    }
    !living_children(spared).is_empty()
}
