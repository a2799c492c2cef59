//! What descends from a lingering glexec, which is its sub-reaper: signalled by descriptors that
//! stand for processes, killed only as its own children, whose pids nobody else can free.

use super::nested::Nested;
use super::root::Root;
use contract::{Ending, ResourceUsage};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, Uid, getpgid};
use std::os::fd::AsFd as _;
use std::time::Instant;
use system::Birth;
use system::kernel;
use system::proc_format::Stat;
use system::process::{self, stat_of};

/// Who among the descendants is left alone.
#[derive(Debug, Clone, Default)]
pub struct Exempt {
    /// Processes of ours that end by themselves or hang for ever in our stead: those that close
    /// descriptors, the descriptor proxy, an epilogue that cannot be killed. By birth: their numbers may
    /// be others' once they are reaped.
    pub asides: Vec<Birth>,
    /// The payload, which stays unreaped so that its pid and group stay reserved.
    pub payload: Option<Pid>,
    /// The payload while somebody waits for its status: listed like others, and never reaped.
    pub awaited: Option<Pid>,
    /// Whose processes are spared: the target's, where the site spares stragglers and only what
    /// an epilogue left is to be ended.
    pub owner: Option<Uid>,
    /// Tells runs within the payload that have an epilogue of their own to run.
    pub nested: Nested,
}

impl Exempt {
    /// Where the kernel does not say who it is, it is spared: it may be one of these.
    fn spares(&self, pid: Pid) -> bool {
        let by_owner = |owner: Uid| match process::uids_of(pid) {
            Ok(uids) => uids.is_some_and(|[real, ..]| real == owner),
            Err(_) => true,
        };
        let is_aside = |birth: &Birth| {
            birth.pid == pid.as_raw() && process::birth(pid).map_or(true, |now| now == Some(*birth))
        };
        self.asides.iter().any(is_aside)
            || self.payload == Some(pid)
            || self.owner.is_some_and(by_owner)
    }
}

/// A child of ours that has ended, as wait(2) tells it; `None` where it has not, or a tracer
/// holds its status back. It is not reaped.
pub(super) fn ended(pid: Pid) -> Option<(Ending, ResourceUsage)> {
    let flags = libc::WEXITED | libc::WNOWAIT;
    kernel::wait(Some(pid), flags).ok().flatten().and_then(|waited| read(&waited))
}

/// Reaps a child of ours that has ended.
pub(super) fn reap(pid: Pid) -> Option<(Ending, ResourceUsage)> {
    kernel::wait(Some(pid), libc::WEXITED).ok().flatten().and_then(|waited| read(&waited))
}

/// How a process ended; `None` for one that stopped or went on.
pub(super) fn ending_of(waited: &kernel::Waited) -> Option<Ending> {
    let number = u8::try_from(waited.status & 0xff).ok()?;
    match waited.code {
        libc::CLD_EXITED => Some(Ending::Exited(number)),
        libc::CLD_KILLED => Some(Ending::Killed { signal: number, core: false }),
        libc::CLD_DUMPED => Some(Ending::Killed { signal: number, core: true }),
        _ => None,
    }
}

fn read(waited: &kernel::Waited) -> Option<(Ending, ResourceUsage)> {
    let ending = ending_of(waited)?;
    let usage = ResourceUsage {
        user_us: waited.user_us,
        system_us: waited.system_us,
        max_rss_kib: waited.max_rss_kib,
    };
    Some((ending, usage))
}

/// How a child ended whose status a tracer holds back, from /proc; `None` also where /proc does
/// not say, and it is asked again.
pub(super) fn ended_under_tracer(_root: &Root, pid: Pid) -> Option<Ending> {
    let stat = stat_of(pid).ok().flatten().filter(Stat::has_ended)?;
    Ending::from_wait_status(stat.exit_status)
}

/// Whether this process has any child that is not ended, or ended and not reaped.
pub(super) fn has_children() -> bool {
    let flags = libc::WEXITED | libc::WNOWAIT;
    !matches!(kernel::wait(None, flags), Err(Errno::ECHILD))
}

/// Reaps orphans that ended while the payload runs, or they would pile up: so many at a time that
/// who makes them without end does not keep us from anything else. True where there may be more.
pub(super) fn reap_orphans(payload: Pid) -> bool {
    const MOST: usize = 256;
    for _ in 0..MOST {
        match kernel::wait(None, libc::WEXITED | libc::WNOWAIT) {
            Ok(Some(waited)) if waited.pid != payload && reap(waited.pid).is_some() => {}
            _ => return false,
        }
    }
    true
}

/// Our children that have not ended, without the spared ones. Those that have ended are reaped.
///
/// # Errors
/// Where the kernel does not say.
pub(super) fn living_children(spared: &Exempt) -> Result<Vec<Pid>, Errno> {
    let all = process::own_children()?.into_iter();
    let is_over = |pid: Pid| {
        if spared.awaited == Some(pid) { ended(pid).is_some() } else { reap(pid).is_some() }
    };
    Ok(all.filter(|pid| !spared.spares(*pid) && !is_over(*pid)).collect())
}

/// Whether it is no child of ours any more: its status is gone.
pub(super) fn is_no_child(pid: Pid) -> bool {
    matches!(kernel::wait(Some(pid), libc::WEXITED | libc::WNOWAIT), Err(Errno::ECHILD))
}

/// One of the run's processes, and under whom it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descendant {
    pub(super) pid: Pid,
    parent: Pid,
}

/// What a look at the descendants brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) processes: Vec<Descendant>,
    /// Whether the look was whole: where the kernel did not say, or time was up, there may be more.
    pub(super) whole: bool,
}

impl Tree {
    /// Whether nobody is there, for all that can be told.
    pub(super) fn is_empty(&self) -> bool {
        self.whole && self.processes.is_empty()
    }
}

/// Every living descendant without the spared ones and what is below them. A nested run that owes
/// something is one of them; what it has below it is its own affair unless `deep`. Where it is
/// `until`, the look ends.
pub(super) fn descendants(root: &Root, spared: &Exempt, deep: bool, until: Instant) -> Tree {
    const MOST: usize = 100_000;
    let Ok(children) = living_children(spared) else { return Tree::default() };
    let mut tree = Tree { processes: Vec::new(), whole: true };
    let mut todo: Vec<Descendant> =
        children.into_iter().map(|pid| Descendant { pid, parent: Pid::this() }).collect();
    while let Some(descendant) = todo.pop() {
        if tree.processes.len() >= MOST || Instant::now() >= until {
            tree.whole = false;
            break;
        }
        match stat_of(descendant.pid) {
            Ok(Some(stat)) if !stat.has_ended() => tree.processes.push(descendant),
            Ok(_) => {}
            Err(_) => tree.whole = false,
        }
        if deep || !spared.nested.is(root, descendant.pid) {
            match process::children_of(descendant.pid) {
                Ok(below) => {
                    let below = below.into_iter().filter(|pid| !spared.spares(*pid));
                    todo.extend(below.map(|pid| Descendant { pid, parent: descendant.pid }));
                }
                Err(_) => tree.whole = false,
            }
        }
    }
    tree
}

/// Sends a signal to one of the run's, and to nobody who has got its pid since: the descriptor
/// is opened first, then it is made sure that this process is still there, and still under whom
/// it was found, or under us.
pub(super) fn signal(_root: &Root, descendant: Descendant, number: i32) {
    let is_ours = || {
        let stat = stat_of(descendant.pid).ok().flatten();
        stat.is_some_and(|stat| [descendant.parent, Pid::this()].contains(&stat.parent))
    };
    let Ok(pidfd) = kernel::pidfd(descendant.pid) else {
        // Kernels before 5.3: at least the number is one of the run's now.
        if is_ours() {
            let _ = kernel::kill(descendant.pid.as_raw(), number);
        }
        return;
    };
    let mut ready = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    if is_ours() && poll(&mut ready, PollTimeout::ZERO) == Ok(0) {
        let _ = kernel::signal_pidfd(pidfd.as_fd(), number);
    }
}

/// KILL to a child of ours, by its number: for kernels without pidfds nothing else is there.
/// That it is our child and not yet reaped reserves the number.
pub(super) fn kill_child(_root: &Root, child: Pid) {
    if matches!(kernel::wait(Some(child), libc::WEXITED | libc::WNOWAIT), Ok(None)) {
        let _ = kernel::kill(child.as_raw(), libc::SIGKILL);
    }
}

/// A signal for the payload: to its group, and to itself where it is in none of its own.
pub(super) fn forward(_root: &Root, payload: Pid, number: i32) {
    let to_group = kernel::kill(-payload.as_raw(), number);
    if to_group.is_err() || getpgid(Some(payload)) != Ok(payload) {
        let _ = kernel::kill(payload.as_raw(), number);
    }
}

/// KILL to the payload and its group.
pub(super) fn kill_payload(root: &Root, payload: Pid) {
    forward(root, payload, libc::SIGKILL);
}

/// KILL to everything below a nested glexec that had its time, so that it comes to its epilogue.
/// What cannot be seen now is seen in the next round.
pub(super) fn kill_below(root: &Root, supervisor: Pid) {
    let under = |parent: Pid| {
        let below = process::children_of(parent).unwrap_or_default().into_iter();
        below.map(move |pid| Descendant { pid, parent })
    };
    let mut todo: Vec<Descendant> = under(supervisor).collect();
    while let Some(descendant) = todo.pop() {
        // What runs as root below it is its epilogue, not its payload.
        let uids = process::uids_of(descendant.pid).ok().flatten();
        if uids.is_some_and(|uids| uids.iter().all(|uid| !uid.is_root())) {
            todo.extend(under(descendant.pid));
            signal(root, descendant, libc::SIGKILL);
        }
    }
}

/// A signal by the caller's order to one of the run. A nested glexec is asked to end, not killed.
pub(super) fn order(root: &Root, spared: &Exempt, descendant: Descendant, number: i32) {
    let nested = number == libc::SIGKILL && spared.nested.is(root, descendant.pid);
    signal(root, descendant, if nested { libc::SIGTERM } else { number });
}

/// Whether there is a child besides the spared ones, by the kernel's word.
pub(super) fn has_others(spared: &Exempt) -> bool {
    if spared.payload.is_none() && spared.asides.is_empty() {
        return has_children();
    }
    living_children(spared).map_or(true, |children| !children.is_empty())
}
