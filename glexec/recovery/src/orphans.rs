//! What is left of runs whose glexec is gone: found by what their entries recorded, never by a pid
//! alone, and ended by descriptors that stand for processes. All lost runs are ended side by side:
//! one look at /proc serves all of them, and one grace.

use act::cgroups::Leaf;
use act::held_processes::{Seen, UNKILLABLE, held, look, wait_for_all};
use act::root::Root;
use contract::variables::{epilogue, of_epilogue};
use decide::recorded_run::RecordedRun;
use nix::errno::Errno;
use nix::unistd::{Pid, Uid};
use std::time::{Duration, Instant};
use system::process;

/// A fork storm is hunted for so many rounds.
const ROUNDS: usize = 200;

/// A lost run whose processes are to be ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lost<'s> {
    /// What was written down of it.
    pub recorded: &'s RecordedRun,
    /// Whether pids of the entry mean what they say here: same boot, same pid namespace.
    pub pids: bool,
    /// As whom epilogues run today.
    pub epilogue_user: Uid,
}

/// How many processes of a lost run cannot be ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Of its payload.
    pub payload: usize,
    /// Of an epilogue that was interrupted.
    pub epilogue: usize,
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
        let name = of_epilogue(epilogue::GLEXEC_PID);
        let mark = format!("{name}={}", self.recorded.entry.glexec.pid);
        has_variable(seen.pid, &mark).ok()
    }
}

/// Whether a process was given this environment entry at its exec. To be asked of root's and the
/// site's own processes only: any other could have put memory there that a file system of its own
/// serves, and whoever reads it waits for that.
///
/// # Errors
/// Where the kernel does not say.
fn has_variable(pid: Pid, entry: &str) -> Result<bool, Errno> {
    let block = match process::read_text(&format!("/proc/{pid}/environ")) {
        Err(Errno::ENOENT) => String::new(),
        read => read?,
    };
    if block.is_empty() && process::stat_of(pid)?.is_some_and(|stat| !stat.has_ended()) {
        // In the middle of an exec it has none yet.
        return Err(Errno::EAGAIN);
    }
    Ok(block.split('\0').any(|found| found == entry))
}

/// Ends what is left of these runs, payloads and interrupted epilogues: TERM for the payloads'
/// processes, one `grace` for all, KILL. Gives for each run how many processes cannot be ended;
/// where the kernel does not say, at least one.
pub(crate) fn end(root: &Root, lost: &[Lost<'_>], grace: Duration) -> Vec<Left> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use decide::entry::{Entry, Person, Phase, Place, VERSION};
    use nix::errno::Errno;
    use nix::unistd::Pid;
    use std::process::{Command, Stdio};
    use system::Birth;
    use system::process::stat_of;

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
            proxy: None,
        };
        let epilogue = Birth { pid: 999, start: 5 };
        let phases = vec![Phase::Attempt { number: 1, at: 0, epilogue, within: false }];
        RecordedRun { entry, phases }
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
        while has_variable(pid, "") == Err(Errno::EAGAIN) {
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
