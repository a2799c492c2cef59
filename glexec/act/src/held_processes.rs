//! Processes that are not children of this one: a look at /proc finds them, a descriptor stands for
//! each of them, and signals are sent by that.

use super::root::Root;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, Uid};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};
use system::Birth;
use system::kernel;
use system::proc_format::Stat;
use system::process::{self, stat_of};

/// What KILL is given to take effect.
pub const UNKILLABLE: Duration = Duration::from_secs(10);

/// A process, as a look at /proc found it.
#[derive(Debug)]
pub struct Seen {
    /// Its pid.
    pub pid: Pid,
    /// What /proc/PID/stat says.
    pub stat: Stat,
    /// Real, effective and saved uid.
    pub uids: [Uid; 3],
}

/// All processes but this one.
///
/// # Errors
/// Where the kernel does not say: what is not seen is not "not there".
pub fn look() -> Result<Vec<Seen>, Errno> {
    let own = Pid::this();
    let mut all = Vec::new();
    for pid in process::all()?.into_iter().filter(|pid| *pid != own) {
        // Who ends between the two reads is gone.
        let (Some(stat), Some(uids)) = (stat_of(pid)?, process::uids_of(pid)?) else { continue };
        if !stat.has_ended() {
            all.push(Seen { pid, stat, uids });
        }
    }
    Ok(all)
}

impl Seen {
    /// Which process it is, whatever becomes of its number.
    pub const fn birth(&self) -> Birth {
        Birth { pid: self.pid.as_raw(), start: self.stat.start }
    }

    /// Whether this is that process, or in the group or session it led. A number that somebody else
    /// has got since says nothing: it is free only once group and session are empty.
    pub fn is_of(&self, leader: Birth, all: &[Self]) -> bool {
        let other = |seen: &Self| seen.pid.as_raw() == leader.pid && seen.birth() != leader;
        let led = [self.stat.group, self.stat.session, self.pid.as_raw()].contains(&leader.pid);
        led && self.stat.start >= leader.start && !other(self) && !all.iter().any(other)
    }

    /// Whether it is in this group, which was there before the payload, came after the payload, and
    /// is of no run that lives: a pipeline has several of them in one group.
    pub fn is_in(&self, group: i32, payload: Birth, all: &[Self]) -> bool {
        let got_the_number =
            |seen: &Self| seen.pid.as_raw() == group && seen.stat.start > payload.start;
        self.stat.group == group
            && self.stat.start >= payload.start
            && !all.iter().any(got_the_number)
            && !self.has_supervisor_in(group, all)
    }

    /// Whether a process above it is a glexec of this group, by its effective uid: root's.
    fn has_supervisor_in(&self, group: i32, all: &[Self]) -> bool {
        let parent_of = |seen: &Self| all.iter().find(|above| above.pid == seen.stat.parent);
        let mut above = parent_of(self);
        // No chain is longer than the list, unless pids were used again while it was made.
        for _ in all {
            let Some(seen) = above else { return false };
            let [_, effective, _] = seen.uids;
            if seen.stat.group == group && effective.is_root() {
                return true;
            }
            above = parent_of(seen);
        }
        true
    }

    /// What stands for this process and for no other; `None` where it is gone.
    fn hold(&self) -> Result<Option<Held>, Errno> {
        let handle = match kernel::pidfd(self.pid) {
            Ok(pidfd) => Handle::Descriptor(pidfd),
            Err(Errno::ESRCH) => return Ok(None),
            // Kernels before 5.3.
            Err(Errno::ENOSYS) => Handle::Number,
            Err(errno) => return Err(errno),
        };
        // The number may have changed hands before the descriptor was opened.
        let same = process::birth(self.pid)? == Some(self.birth());
        Ok(same.then_some(Held { birth: self.birth(), handle }))
    }
}

#[derive(Debug)]
enum Handle {
    Descriptor(OwnedFd),
    Number,
}

/// A process that is to end.
#[derive(Debug)]
pub struct Held {
    birth: Birth,
    handle: Handle,
}

impl Held {
    /// Sends it a signal. Who is gone needs none, and who is not shows at the next look.
    pub fn signal(&self, _root: &Root, signal: i32) {
        let _ = match &self.handle {
            Handle::Descriptor(pidfd) => kernel::signal_pidfd(pidfd.as_fd(), signal),
            Handle::Number => match process::birth(Pid::from_raw(self.birth.pid)) {
                Ok(now) if now == Some(self.birth) => kernel::kill(self.birth.pid, signal),
                Ok(_) | Err(_) => Ok(()),
            },
        };
    }
}

/// Those that still are who they were. Who cannot be held now is seen at the next look.
pub fn held<'s>(seen: impl Iterator<Item = &'s Seen>) -> Vec<Held> {
    seen.filter_map(|seen| seen.hold().ok().flatten()).collect()
}

/// Waits until all have ended, or it is `until`.
pub fn wait_for_all(mut held: Vec<Held>, until: Instant) {
    /// Between two looks at processes without a descriptor.
    const LOOK: Duration = Duration::from_millis(50);
    while !held.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let by_number = held.iter().any(|held| matches!(held.handle, Handle::Number));
        let left = if by_number { left.min(LOOK) } else { left };
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let descriptors = held.iter().filter_map(|held| match &held.handle {
            Handle::Descriptor(pidfd) => Some(pidfd.as_fd()),
            Handle::Number => None,
        });
        let mut polled: Vec<PollFd<'_>> =
            descriptors.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let _ = poll(&mut polled, timeout);
        let gone: Vec<bool> = polled.iter().map(|p| p.any().unwrap_or(true)).collect();
        drop(polled);
        let mut gone = gone.into_iter();
        held.retain(|held| match &held.handle {
            Handle::Descriptor(_) => !gone.next().unwrap_or(false),
            Handle::Number => {
                let now = stat_of(Pid::from_raw(held.birth.pid));
                !matches!(now, Ok(None))
                    && !now.is_ok_and(|stat| stat.is_some_and(|stat| stat.has_ended()))
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_group_that_runs_share_only_what_no_run_supervises_is_the_lost_ones() {
        let own = stat_of(Pid::this()).unwrap().unwrap();
        let seen = |pid, parent, uid, start| {
            let stat = Stat { parent: Pid::from_raw(parent), group: 500, start, ..own };
            Seen { pid: Pid::from_raw(pid), stat, uids: [Uid::from_raw(uid); 3] }
        };
        let payload = Birth { pid: 510, start: 10 };
        // The lost one's child; another run, its payload, and that one's child; one that was before.
        let orphan = seen(511, 1, 42, 11);
        let (run, other, child) =
            (seen(520, 1, 0, 12), seen(521, 520, 42, 12), seen(522, 521, 42, 13));
        let before = seen(505, 1, 42, 9);
        let all = [orphan, run, other, child, before];
        let [orphan, _, other, child, before] = &all;
        let is = |seen: &Seen| seen.is_in(500, payload, &all);
        assert_eq!([orphan, other, child, before].map(is), [true, false, false, false]);
        assert!(!all[0].is_in(501, payload, &all));
    }
}
