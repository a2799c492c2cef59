//! What is left of a run whose glexec is gone: found by what the entry recorded, never by a pid
//! alone, and ended by descriptors that stand for processes.

use super::cgroups::Leaf;
use super::identity::assume_effective;
use super::process::{self, stat_of};
use super::root::Root;
use super::sys::{self, Side};
use crate::decide::entry::{Birth, Story};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, Uid};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// What KILL is given to take effect.
const UNKILLABLE: Duration = Duration::from_secs(10);
/// A fork storm is hunted for so many rounds.
const ROUNDS: usize = 200;

/// Ends the payload's group and session, and, where its account was this run's alone, everything
/// of its uid: TERM, `grace`, KILL. Gives how many cannot be ended.
/// `pids` tells whether recorded pids mean what they say here.
pub(super) fn end_payload(root: &Root, story: &Story, (grace, pids): (Duration, bool)) -> usize {
    let target = Uid::from_raw(story.entry.target.uid);
    let (payload, exclusive) = (story.payload(), story.entry.exclusive);
    let is_ours = |pid: Pid| {
        let uids = process::uids_of(pid).is_some_and(|uids| uids.contains(&target));
        uids && (exclusive || pids && payload.is_some_and(|birth| is_of(pid, birth)))
    };
    let left = end(root, &is_ours, grace);
    let leaf = story.cgroup().filter(|_| pids).and_then(|path| Leaf::of(root, path));
    leaf.map_or(left, |leaf| {
        let stuck = if leaf.kill(root, UNKILLABLE) { 0 } else { leaf.count() };
        leaf.remove();
        left.max(stuck)
    })
}

/// Ends everything of an account that was one run's alone, whatever tree it has left: KILL to
/// all of them at once, from a process that none of them can reach. Gives how many were found
/// and how many are left.
pub(super) fn clear_account(root: &Root, uid: Uid) -> (usize, usize) {
    let is_ours = |pid: Pid| process::uids_of(pid).is_some_and(|uids| uids.contains(&uid));
    let found = held(&is_ours).len();
    let until = Instant::now() + UNKILLABLE;
    let mut left = held(&is_ours);
    while !left.is_empty() && Instant::now() < until {
        kill_all(root, uid);
        wait_for_all(left, Instant::now() + Duration::from_millis(100));
        left = held(&is_ours);
    }
    (found, left.len())
}

/// In a child: KILL to every process whose real or saved uid is this one. The child's own real
/// and saved uid are nobody's, so it hits none of root's, and nothing of the account hits it.
fn kill_all(root: &Root, uid: Uid) {
    const NOBODYS: [u32; 2] = [u32::MAX - 1, 65_533];
    match sys::fork() {
        Ok(Side::Child) => {
            for apart in NOBODYS {
                let who = Uid::from_raw(apart);
                if apart != uid.as_raw() && assume_effective(root, who, uid).is_ok() {
                    sys::kill_every_process_of_euid();
                    break;
                }
            }
            sys::exit_now(0)
        }
        Ok(Side::Parent(child)) => drop(sys::wait_for(child)),
        Err(_) => {}
    }
}

/// Kills an epilogue that its glexec did not outlive, and its session: it was interrupted, and
/// the next one must not run beside it.
pub(super) fn end_epilogue(root: &Root, story: &Story) -> usize {
    let Some(epilogue) = story.epilogue() else { return 0 };
    let mark = format!("GLEXEC_EPILOG_GLEXEC_PID={}", story.entry.glexec.pid);
    let is_ours = |pid: Pid| {
        let leader = process::birth(Pid::from_raw(epilogue.pid));
        // Without its leader a session's number could be another's by now: what is in it must
        // know of this run.
        is_of(pid, epilogue) && (leader == Some(epilogue) || process::has_variable(pid, &mark))
    };
    end(root, &is_ours, Duration::ZERO)
}

/// Whether a process is this one, or in the group or session it led. A number that somebody else
/// has got since says nothing: it is free only once group and session are empty.
fn is_of(pid: Pid, leader: Birth) -> bool {
    let alive = process::birth(Pid::from_raw(leader.pid));
    if alive.is_some_and(|birth| birth != leader) {
        return false;
    }
    stat_of(pid).is_some_and(|stat| {
        let led = [stat.group, stat.session].contains(&leader.pid) || pid.as_raw() == leader.pid;
        led && stat.start >= leader.start && !stat.has_ended()
    })
}

fn end(root: &Root, is_ours: &dyn Fn(Pid) -> bool, grace: Duration) -> usize {
    let first = held(is_ours);
    if first.is_empty() {
        return 0;
    }
    if !grace.is_zero() {
        for (_, pidfd) in &first {
            send(root, pidfd, libc::SIGTERM);
            send(root, pidfd, libc::SIGCONT);
        }
        wait_for_all(first, Instant::now() + grace);
    }
    let until = Instant::now() + UNKILLABLE;
    for _ in 0..ROUNDS {
        let left = held(is_ours);
        if left.is_empty() {
            return 0;
        }
        left.iter().for_each(|(_, pidfd)| send(root, pidfd, libc::SIGKILL));
        wait_for_all(left, until);
        if Instant::now() >= until {
            break;
        }
    }
    held(is_ours).len()
}

/// The processes that are ours, each with a descriptor that was opened before it was looked at.
fn held(is_ours: &dyn Fn(Pid) -> bool) -> Vec<(Pid, OwnedFd)> {
    let own = Pid::this();
    let pids = process::all().into_iter().filter(|pid| *pid != own && is_ours(*pid));
    let opened = pids.filter(|pid| stat_of(*pid).is_some_and(|stat| !stat.has_ended()));
    let opened = opened.filter_map(|pid| Some((pid, sys::pidfd(pid).ok()?)));
    // Once more: the number may have changed hands before the descriptor was opened.
    opened.filter(|(pid, _)| is_ours(*pid)).collect()
}

fn send(_root: &Root, pidfd: &OwnedFd, signal: i32) {
    let _ = sys::signal_pidfd(pidfd.as_fd(), signal);
}

fn wait_for_all(mut held: Vec<(Pid, OwnedFd)>, until: Instant) {
    while !held.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut polled: Vec<PollFd<'_>> =
            held.iter().map(|(_, fd)| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
        let _ = poll(&mut polled, timeout);
        let gone: Vec<bool> = polled.iter().map(|p| p.any().unwrap_or(true)).collect();
        drop(polled);
        let mut gone = gone.into_iter();
        held.retain(|_| !gone.next().unwrap_or(false));
    }
}
