//! What is left of runs whose glexec is gone: found by what their entries recorded, never by a pid
//! alone, and ended by descriptors that stand for processes. All lost runs are ended side by side:
//! one look at /proc serves all of them, and one grace.

use super::cgroups::Leaf;
use super::descendants;
use super::identity::assume_effective;
use super::root::Root;
use decide::entry::RecordedRun;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, Uid};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};
use system::Birth;
use system::kernel::{self, Side};
use system::proc_format::Stat;
use system::process::{self, stat_of};

/// What KILL is given to take effect.
const UNKILLABLE: Duration = Duration::from_secs(10);
/// A fork storm is hunted for so many rounds.
const ROUNDS: usize = 200;

/// A lost run whose processes are to be ended.
#[derive(Debug, Clone, Copy)]
pub struct Lost<'s> {
    /// What was written down of it.
    pub recorded: &'s RecordedRun,
    /// Whether pids of the entry mean what they say here: same boot, same pid namespace.
    pub pids: bool,
    /// As whom epilogues run today.
    pub epilogue_user: Uid,
}

/// How many processes of a lost run cannot be ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Of its payload.
    pub payload: usize,
    /// Of an epilogue that was interrupted.
    pub epilogue: usize,
}

/// A process, as a look at /proc found it.
#[derive(Debug)]
struct Seen {
    pid: Pid,
    stat: Stat,
    uids: [Uid; 3],
}

/// All processes but this one.
///
/// # Errors
/// Where the kernel does not say: what is not seen is not "not there".
fn look() -> Result<Vec<Seen>, Errno> {
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

impl Lost<'_> {
    /// Whether a process is the payload's: in the group or session it led, or, where the account
    /// was this run's alone, of its uid. In any case it is of the target's uid.
    fn has(&self, seen: &Seen, all: &[Seen]) -> bool {
        let entry = &self.recorded.entry;
        let target = Uid::from_raw(entry.target.uid);
        let led = || {
            self.pids
                && self.recorded.payload().is_some_and(|payload| {
                    let shared = entry.shares_group.then_some(entry.group);
                    seen.is_of(payload, all)
                        || shared.is_some_and(|group| seen.is_in(group, payload, all))
                })
        };
        seen.uids.contains(&target) && (entry.exclusive || led())
    }

    /// Whether a process is of the epilogue that was interrupted: the next one must not run beside
    /// it. Without its leader a session's number could be another's by now: what is in it must know
    /// of this run. `None` where that cannot be told: it is counted then, and not ended.
    fn has_epilogue(&self, seen: &Seen, all: &[Seen]) -> Option<bool> {
        let Some(epilogue) = self.recorded.epilogue().filter(|_| self.pids) else {
            return Some(false);
        };
        if !seen.is_of(epilogue, all) {
            return Some(false);
        }
        if all.iter().any(|other| other.birth() == epilogue) {
            return Some(true);
        }
        // An interrupted epilogue is root's or its configured user's. A session of anybody else's that
        // has its number now is not it, and anybody else's memory is not touched.
        let is_the_sites = |uid: &Uid| uid.is_root() || *uid == self.epilogue_user;
        if !seen.uids.iter().all(is_the_sites) {
            return Some(false);
        }
        let mark = format!("GLEXEC_EPILOG_GLEXEC_PID={}", self.recorded.entry.glexec.pid);
        process::has_variable(seen.pid, &mark).ok()
    }
}

impl Seen {
    const fn birth(&self) -> Birth {
        Birth { pid: self.pid.as_raw(), start: self.stat.start }
    }

    /// Whether this is that process, or in the group or session it led. A number that somebody else
    /// has got since says nothing: it is free only once group and session are empty.
    fn is_of(&self, leader: Birth, all: &[Self]) -> bool {
        let other = |seen: &Self| seen.pid.as_raw() == leader.pid && seen.birth() != leader;
        let led = [self.stat.group, self.stat.session, self.pid.as_raw()].contains(&leader.pid);
        led && self.stat.start >= leader.start && !other(self) && !all.iter().any(other)
    }

    /// Whether it is in this group, which was there before the payload, came after the payload, and
    /// is of no run that lives: a pipeline has several of them in one group.
    fn is_in(&self, group: i32, payload: Birth, all: &[Self]) -> bool {
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
struct Held {
    birth: Birth,
    handle: Handle,
}

impl Held {
    /// Sends it a signal. Who is gone needs none, and who is not shows at the next look.
    fn signal(&self, _root: &Root, signal: i32) {
        let _ = match &self.handle {
            Handle::Descriptor(pidfd) => kernel::signal_pidfd(pidfd.as_fd(), signal),
            Handle::Number => match process::birth(Pid::from_raw(self.birth.pid)) {
                Ok(now) if now == Some(self.birth) => kernel::kill(self.birth.pid, signal),
                Ok(_) | Err(_) => Ok(()),
            },
        };
    }
}

/// Ends what is left of these runs, payloads and interrupted epilogues: TERM for the payloads'
/// processes, one `grace` for all, KILL. Gives for each run how many processes cannot be ended;
/// where the kernel does not say, at least one.
pub fn end(root: &Root, lost: &[Lost<'_>], grace: Duration) -> Vec<Left> {
    let left = end_processes(root, lost, grace);
    let with_leaf = |(lost, left): (&Lost<'_>, Left)| {
        let payload = left.payload.max(end_leaf(root, lost));
        Left { payload, ..left }
    };
    lost.iter().zip(left).map(with_leaf).collect()
}

fn end_leaf(root: &Root, lost: &Lost<'_>) -> usize {
    let leaf = match lost.recorded.cgroup().filter(|_| lost.pids).map(|path| Leaf::of(root, path)) {
        None | Some(Ok(None)) => return 0,
        Some(Ok(Some(leaf))) => leaf,
        Some(Err(_)) => return 1,
    };
    let stuck = if leaf.kill(root, UNKILLABLE) { 0 } else { leaf.count().unwrap_or(1).max(1) };
    leaf.remove();
    stuck
}

fn end_processes(root: &Root, lost: &[Lost<'_>], grace: Duration) -> Vec<Left> {
    let unknown = || vec![Left { payload: 1, epilogue: 1 }; lost.len()];
    let Ok(first) = look() else { return unknown() };
    if !grace.is_zero() {
        let of_payloads = |seen: &Seen| lost.iter().any(|lost| lost.has(seen, &first));
        let held = held(first.iter().filter(|seen| of_payloads(seen)));
        for process in &held {
            process.signal(root, libc::SIGTERM);
            process.signal(root, libc::SIGCONT);
        }
        wait_for_all(held, Instant::now() + grace);
    }
    let until = Instant::now() + UNKILLABLE;
    let mut all_held = true;
    for _ in 0..ROUNDS {
        // Who is not ended for an error is not one that cannot be ended: the entry stays.
        let Ok(all) = look() else { return unknown() };
        let is_ours = |seen: &Seen| {
            lost.iter()
                .any(|lost| lost.has(seen, &all) || lost.has_epilogue(seen, &all) == Some(true))
        };
        let ours: Vec<&Seen> = all.iter().filter(|seen| is_ours(seen)).collect();
        if ours.is_empty() {
            break;
        }
        let count = ours.len();
        let held = held(ours.into_iter());
        all_held = held.len() == count;
        held.iter().for_each(|process| process.signal(root, libc::SIGKILL));
        wait_for_all(held, until);
        if Instant::now() >= until {
            break;
        }
    }
    let Ok(all) = look() else { return unknown() };
    let count = |lost: &Lost<'_>| Left {
        payload: all.iter().filter(|seen| lost.has(seen, &all)).count(),
        epilogue: all.iter().filter(|seen| lost.has_epilogue(seen, &all) != Some(false)).count(),
    };
    let left: Vec<Left> = lost.iter().map(count).collect();
    let some_left = left.iter().any(|left| *left != Left::default());
    if some_left && !all_held { unknown() } else { left }
}

/// Those that still are who they were. Who cannot be held now is seen at the next look.
fn held<'s>(seen: impl Iterator<Item = &'s Seen>) -> Vec<Held> {
    seen.filter_map(|seen| seen.hold().ok().flatten()).collect()
}

/// Waits until all have ended, or it is `until`.
fn wait_for_all(mut held: Vec<Held>, until: Instant) {
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

/// Ends everything of an account that was one run's alone, whatever tree it has left: KILL to
/// all of them at once, from a process that none of them can reach. Gives how many were found
/// and how many are left; where the kernel does not say, at least one.
pub(super) fn clear_account(root: &Root, uid: Uid) -> (usize, usize) {
    if is_nobody(root, uid) {
        return (0, 0);
    }
    let of_account = || {
        let all = look()?.into_iter();
        Ok::<_, Errno>(all.filter(|seen| seen.uids.contains(&uid)).collect::<Vec<_>>())
    };
    let Ok(mut left) = of_account() else { return (1, 1) };
    let found = left.len();
    let until = Instant::now() + UNKILLABLE;
    while !left.is_empty() && Instant::now() < until {
        kill_all(root, uid);
        wait_for_all(held(left.iter()), Instant::now() + Duration::from_millis(100));
        let Ok(again) = of_account() else { return (found, 1) };
        left = again;
    }
    (found.max(left.len()), left.len())
}

/// Whether no process has this real uid, by the kernel's own word: a look at every process in /proc
/// takes 15 ms where there are a thousand. Who has it as effective and saved uid alone runs a program
/// that is set to it, and could begin that at any time. A zombie counts as a process. False where it
/// cannot be told.
pub(super) fn is_nobody(_root: &Root, uid: Uid) -> bool {
    // Much hangs on it: two calls have to say so.
    let none = || kernel::has_process_of(uid) == Ok(false);
    none() && none()
}

/// In a child: KILL to every process whose real or saved uid is this one. The child's own real
/// and saved uid are nobody's, so it hits none of root's, and nothing of the account hits it.
fn kill_all(root: &Root, uid: Uid) {
    const NOBODYS: [u32; 2] = [u32::MAX - 1, 65_533];
    match kernel::fork() {
        Ok(Side::Child) => {
            for apart in NOBODYS {
                let who = Uid::from_raw(apart);
                if apart != uid.as_raw() && assume_effective(root, who, uid).is_ok() {
                    kernel::kill_every_process_of_euid();
                    break;
                }
            }
            kernel::exit_now(0)
        }
        Ok(Side::Parent(child)) => {
            let _ = kernel::wait_for_end(child);
            descendants::reap(child);
        }
        // Who is left shows at the next look.
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use decide::entry::{Entry, Person, Phase, Place, VERSION};
    use std::process::{Command, Stdio};

    fn interrupted() -> RecordedRun {
        let person = |uid| Person { name: String::new(), uid, gids: vec![uid] };
        let entry = Entry {
            version: VERSION,
            run_id: String::new(),
            place: Place { boot: String::new(), pid_namespace: 0 },
            glexec: Birth { pid: 4711, start: 1 },
            session: 1,
            group: 1,
            since: 0,
            caller: person(41),
            target: person(42),
            shares_group: false,
            exclusive: false,
            owes_epilogue: true,
            command: String::new(),
            job: vec![],
            environment: vec![],
            told: vec![],
            handed: vec![],
        };
        let epilogue = Birth { pid: 999, start: 5 };
        let phases = vec![Phase::Attempt { number: 1, at: 0, epilogue, within: false }];
        RecordedRun { entry, phases }
    }

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

    #[test]
    fn who_has_processes_is_told_by_the_kernel() {
        let own = nix::unistd::getuid();
        let root = Root::without_rights();
        assert!(!is_nobody(&root, Uid::from_raw(0)), "there always is one of root's");
        assert!(!is_nobody(&root, own));
        assert!(is_nobody(&root, Uid::from_raw(3_999_999_999)));
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "no payload, and run without privilege")]
    fn without_its_leader_an_epilogues_session_is_known_by_the_memory_of_the_sites_processes_alone()
    {
        let recorded = interrupted();
        let lost = Lost { recorded: &recorded, pids: true, epilogue_user: Uid::from_raw(77) };
        let mut marked = Command::new("sleep")
            .arg("1000")
            .env("GLEXEC_EPILOG_GLEXEC_PID", "4711")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(i32::try_from(marked.id()).unwrap());
        let mut stat = stat_of(pid).unwrap().unwrap();
        stat.session = 999;
        // Its parent may be told of the exec before the environment is there.
        while process::has_variable(pid, "") == Err(Errno::EAGAIN) {
            std::thread::yield_now();
        }
        let seen = |uid: u32| Seen { pid, stat, uids: [Uid::from_raw(uid); 3] };
        let verdicts = [0, 77, 42, 41, 43].map(|uid| lost.has_epilogue(&seen(uid), &[]));
        let mixed = [77, 42].map(|real| {
            let uids = [real, 0, 0].map(Uid::from_raw);
            lost.has_epilogue(&Seen { uids, ..seen(0) }, &[])
        });
        marked.kill().unwrap();
        marked.wait().unwrap();
        assert_eq!(verdicts, [Some(true), Some(true), Some(false), Some(false), Some(false)]);
        assert_eq!(mixed, [Some(true), Some(false)], "a setuid program");
    }
}
