//! Of which job a process is, by what its user cannot choose: the control group that Slurm put it
//! into, the slurmstepd that it descends from, and its age. The variables of a task are its user's.

use nix::errno::Errno;
use nix::unistd::{Pid, Uid};
use system::process;

/// What is known of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
    /// Of the job with this number; of a heterogeneous job, that of the component.
    Of(u32),
    /// It, or who started it, was there before the job that was asked for.
    Older,
    /// That cannot be told: it was left behind by whoever started it, in no control group of Slurm's.
    Unknown,
}

/// A process and those that it descends from, nearest first.
#[derive(Debug)]
struct Ancestor {
    /// Clock ticks since the boot.
    start: u64,
    /// Where it is a slurmstepd: of which job.
    stepd: Option<u32>,
    /// Whether its age says nothing: it may be what starts jobs, or what reaps their orphans.
    reaper: bool,
}

/// Whose age says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reapers {
    /// From which this hook descends, too: it is started by what starts jobs.
    OfThisHook,
    /// Root's: this hook descends from the process itself.
    Roots,
}

/// Looks at a process; `began` is when the job that is asked for began (see [`now`]).
///
/// # Errors
/// The kernel's; `None` where the process is gone.
pub(crate) fn of(
    pid: Pid,
    began: Option<u64>,
    reapers: Reapers,
) -> Result<Option<Membership>, Errno> {
    let Some(job) = by_group(pid)? else { return Ok(None) };
    if let Some(job) = job {
        return Ok(Some(Membership::Of(job)));
    }
    let lineage = lineage(pid, reapers)?;
    Ok((!lineage.is_empty()).then(|| judge(&lineage, began)))
}

/// The job whose control group a process is in, where it is in one; `None` where it is gone.
///
/// # Errors
/// The kernel's.
pub(crate) fn by_group(pid: Pid) -> Result<Option<Option<u32>>, Errno> {
    match process::read_text(&format!("/proc/{pid}/cgroup")) {
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        text => text.map(|text| Some(grouped(&text))),
    }
}

/// The job of the slurmstepd from which this process descends, as far as it can be told: for a task,
/// the component of a heterogeneous job, where the variables name the first one.
pub(crate) fn of_this_task() -> Option<u32> {
    let above = lineage(Pid::this(), Reapers::Roots).ok()?;
    above.iter().find_map(|ancestor| ancestor.stepd)
}

/// Whether a slurmstepd has started this process itself: to whom it sends a task's signals.
pub(crate) fn is_the_task() -> bool {
    stepd(nix::unistd::getppid()).is_ok_and(|job| job.is_some())
}

/// Processes of this user's and of that name, as the kernel cuts it, in the job's control group, that
/// no slurmstepd has above them any more: whoever started them is gone.
///
/// # Errors
/// Where the kernel does not say which processes there are.
pub(crate) fn orphans(job: u32, name: &str) -> Result<Vec<Pid>, Errno> {
    let own = Uid::current();
    let is_one = |pid: &Pid| {
        let named =
            process::read_text(&format!("/proc/{pid}/comm")).is_ok_and(|n| n.trim() == name);
        named
            && process::uids_of(*pid).is_ok_and(|ids| ids.is_some_and(|ids| ids.contains(&own)))
            && by_group(*pid) == Ok(Some(Some(job)))
            && lineage(*pid, Reapers::Roots)
                .is_ok_and(|above| above.iter().all(|ancestor| ancestor.stepd.is_none()))
    };
    Ok(process::all()?.into_iter().filter(is_one).collect())
}

/// Whether this process descends from that one.
pub(crate) fn is_above_us(pid: i32) -> bool {
    ancestors(Pid::this()).is_ok_and(|above| above.iter().any(|(above, _)| above.as_raw() == pid))
}

/// When this process was started: clock ticks since the boot.
///
/// # Errors
/// The kernel's.
pub(crate) fn now() -> Result<u64, Errno> {
    process::own_birth(Pid::this()).map(|birth| birth.start)
}

fn judge(lineage: &[Ancestor], began: Option<u64>) -> Membership {
    if let Some(job) = lineage.iter().find_map(|ancestor| ancestor.stepd) {
        return Membership::Of(job);
    }
    let mut own = lineage.iter().take_while(|ancestor| !ancestor.reaper);
    let older = |ancestor: &Ancestor| began.is_some_and(|began| ancestor.start < began);
    if own.any(older) { Membership::Older } else { Membership::Unknown }
}

/// A process and those above it with when they were started; the first one of all is none of them.
fn ancestors(pid: Pid) -> Result<Vec<(Pid, u64)>, Errno> {
    const DEEPEST: usize = 10_000;
    let (mut at, mut all) = (pid, Vec::new());
    while at.as_raw() > 1 && all.len() < DEEPEST {
        let Some(stat) = process::stat_of(at)? else { break };
        all.push((at, stat.start));
        at = stat.parent;
    }
    Ok(all)
}

fn lineage(pid: Pid, reapers: Reapers) -> Result<Vec<Ancestor>, Errno> {
    let ours = ancestors(Pid::this())?;
    let all = ancestors(pid)?.into_iter();
    all.map(|(at, start)| {
        let reaper = at != pid
            && match reapers {
                Reapers::OfThisHook => ours.contains(&(at, start)),
                Reapers::Roots => is_roots(at)?,
            };
        Ok(Ancestor { start, stepd: stepd(at)?, reaper })
    })
    .collect()
}

/// Whether it is root's, by all its ids.
fn is_roots(pid: Pid) -> Result<bool, Errno> {
    let ids = process::uids_of(pid)?;
    Ok(ids.is_some_and(|ids| ids.iter().all(|id| id.is_root())))
}

/// The job of a process that is a slurmstepd: root's, and of that name. A user can give what is
/// setuid such words, and not such a program.
fn stepd(pid: Pid) -> Result<Option<u32>, Errno> {
    let words = match process::read_text(&format!("/proc/{pid}/cmdline")) {
        Err(Errno::ENOENT | Errno::ESRCH) => return Ok(None),
        words => words?,
    };
    let Some(job) = titled(&words) else { return Ok(None) };
    let program = match nix::fcntl::readlink(format!("/proc/{pid}/exe").as_str()) {
        Ok(program) => is_slurmstepd(&program.to_string_lossy()),
        // A task's hook may not look; it asks for itself, and nobody relies on its answer.
        Err(Errno::EACCES) => !Uid::effective().is_root(),
        Err(_) => false,
    };
    Ok((program && is_roots(pid)?).then_some(job))
}

fn is_slurmstepd(program: &str) -> bool {
    // A package that is updated replaces it.
    let path = program.strip_suffix(" (deleted)").unwrap_or(program);
    path.rsplit('/').next().is_some_and(|name| name.starts_with("slurmstepd"))
}

/// `slurmstepd: [7.batch]`.
fn titled(words: &str) -> Option<u32> {
    words.strip_prefix("slurmstepd: [").and_then(|rest| number(rest, '.'))
}

/// The job in the lines of /proc/PID/cgroup: `slurm/uid_1000/job_7` of version 1, with the node's name
/// where several slurmds run, or `slurmstepd.scope/job_7` of version 2.
fn grouped(lines: &str) -> Option<u32> {
    let paths = lines.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.into_iter().find_map(|path| {
        let names: Vec<&str> = path.split('/').collect();
        // What systemd gives a user's own manager to divide, the user may name like Slurm's.
        if names.contains(&"user.slice") {
            return None;
        }
        names.windows(3).find_map(|names| {
            let [tree, middle, last] = names else { return None };
            let first = *tree == "slurm" || tree.starts_with("slurm_");
            if first && middle.starts_with("uid_") {
                return job(last);
            }
            tree.ends_with("slurmstepd.scope").then(|| job(middle)).flatten()
        })
    })
}

fn job(name: &str) -> Option<u32> {
    name.strip_prefix("job_").and_then(|rest| number(&format!("{rest}."), '.'))
}

/// The digits before `end`.
fn number(text: &str, end: char) -> Option<u32> {
    let (digits, _) = text.split_once(end)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ancestor(start: u64, stepd: Option<u32>, reaper: bool) -> Ancestor {
        Ancestor { start, stepd, reaper }
    }

    #[test]
    fn slurms_own_groups_say_of_which_job() {
        for (lines, job) in [
            ("6:freezer:/slurm_n1/uid_7/job_12/step_0\n0::/\n", Some(12)),
            ("6:freezer:/slurm/uid_7/job_12\n", Some(12)),
            ("0::/system.slice/slurmstepd.scope/job_5/step_batch/user/task_0\n", Some(5)),
            ("0::/system.slice/n1_slurmstepd.scope/job_5/step_0\n", Some(5)),
            ("0::/system.slice/slurmd.service\n", None),
            ("0::/user.slice/job_5/step_0\n", None),
            ("0::/user.slice/user-7.slice/user@7.service/slurmstepd.scope/job_5/x\n", None),
            ("1:name=systemd:/user.slice/user-7.slice/slurm/uid_7/job_5\n", None),
            ("6:freezer:/slurm/uid_7/job_x\n6:cpu:/slurm/job_3\n", None),
            ("", None),
        ] {
            assert_eq!(grouped(lines), job, "{lines}");
        }
    }

    #[test]
    fn only_a_slurmstepds_title_names_a_job() {
        assert_eq!(titled("slurmstepd: [12.batch]\0\0"), Some(12));
        assert_eq!(titled("slurmstepd: [12.0]   "), Some(12));
        for other in
            ["slurmstepd: [12+1.0]", "slurmstepd: [x.0]", "slurmstepd: [12", "sleep\0[12.0]"]
        {
            assert_eq!(titled(other), None, "{other}");
        }
        assert!(is_slurmstepd("/usr/sbin/slurmstepd") && is_slurmstepd("/x/slurmstepd (deleted)"));
        assert!(!is_slurmstepd("/usr/bin/sudo") && !is_slurmstepd("/slurmstepd/su"));
    }

    #[test]
    fn who_descends_from_a_slurmstepd_is_of_its_job_and_who_is_older_than_the_job_is_not() {
        let young = || ancestor(20, None, false);
        let table = [
            (
                vec![young(), ancestor(15, Some(7), false), ancestor(1, None, true)],
                Membership::Of(7),
            ),
            // A job of before: its slurmstepd says so, however old it is.
            (vec![young(), ancestor(5, Some(6), false)], Membership::Of(6)),
            (vec![young(), ancestor(5, None, false), ancestor(1, None, true)], Membership::Older),
            (vec![ancestor(9, None, false)], Membership::Older),
            (vec![ancestor(10, None, false)], Membership::Unknown),
            // An orphan, with the process that reaps such.
            (vec![young(), ancestor(1, None, true)], Membership::Unknown),
        ];
        for (lineage, membership) in table {
            assert_eq!(judge(&lineage, Some(10)), membership, "{lineage:?}");
        }
        assert_eq!(judge(&[ancestor(1, None, false)], None), Membership::Unknown);
    }

    #[test]
    fn a_test_is_of_no_job_and_older_than_one_that_begins_later() {
        let own = now().unwrap();
        let of_us = of(Pid::this(), Some(own + 1), Reapers::OfThisHook).unwrap();
        assert_eq!(of_us, Some(Membership::Older));
        assert!(is_above_us(Pid::this().as_raw()) && !is_above_us(1));
        let nobody = of(Pid::from_raw(i32::MAX), None, Reapers::Roots);
        assert_eq!(nobody.unwrap(), None);
    }
}
