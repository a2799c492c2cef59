//! The runs that still live at a job's end: which of them are the job's, and waiting for those.

use super::{CONTROLLER, Desk, ask, began, said};
use crate::configuration::Configuration;
use crate::dialect::Job;
use crate::membership::{self, Membership, Reapers};
use crate::settings::{GLEXEC, GLEXEC_ADMIN, Settings, seconds};
use adapter::Urgency;
use nix::unistd::Pid;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};
use system::{Birth, process};

/// One row of `glexec-admin ps --json`.
#[derive(Debug, Deserialize)]
struct Run {
    name: String,
    state: String,
    pid: Option<i32>,
    payload_pid: Option<i32>,
    job: Vec<(String, String)>,
}

impl Run {
    /// Whether its task said that it is this job's, by a number that the job's tasks have.
    fn names(&self, job: &Job) -> bool {
        let mut numbers = job.numbers();
        numbers.any(|number| {
            let number = number.to_string();
            self.job.iter().any(|(key, value)| key == "SLURM_JOB_ID" && *value == number)
        })
    }
}

/// Waits until no run of the job lives, or the site's time for it is up; `false` where none did. A run
/// that says it is the job's and is not, for certain, is not waited for; one of which that cannot be
/// told is.
///
/// # Errors
/// One sentence where glexec-admin does not tell which runs live.
pub(super) fn wait(settings: &Settings, desk: &Desk<'_>, until: Instant) -> Result<bool, String> {
    let until = until.min(Instant::now() + seconds(settings.epilog.wait));
    let mut judge = Judge::new(settings, desk);
    let mut any = false;
    loop {
        let runs = living(desk.job.uid, until)?;
        let waited: Vec<Waited> = runs.iter().filter_map(|run| judge.waits_for(run)).collect();
        if waited.is_empty() {
            return Ok(any);
        }
        any = true;
        if !one_ends(&waited, until) {
            let whom: Vec<String> = waited.iter().map(Waited::to_string).collect();
            let text = format!(
                "not waited for any longer, with [epilog] wait = {}: {}",
                settings.epilog.wait,
                whom.join(", ")
            );
            desk.say(Urgency::Notice, &text);
            return Ok(any);
        }
    }
}

fn living(uid: u32, until: Instant) -> Result<Vec<Run>, String> {
    let left = until.saturating_duration_since(Instant::now()).max(CONTROLLER);
    let program = Path::new(GLEXEC_ADMIN);
    let answer = ask(program, vec!["ps".into(), "--json".into()], (left, true))?;
    let all: Vec<Run> = serde_json::from_str(&answer.stdout).map_err(|_| said(program, &answer))?;
    // The caller's uid is in the entry's name.
    let mine = format!("run.{uid}.");
    let is_mine = |run: &Run| run.state == "live" && run.name.starts_with(&mine);
    Ok(all.into_iter().filter(is_mine).collect())
}

/// Whether this is a glexec, by the file that it runs: its names are its caller's to choose.
fn is_glexec(pid: Pid) -> bool {
    let file = nix::fcntl::readlink(format!("/proc/{pid}/exe").as_str()).unwrap_or_default();
    let file = file.to_string_lossy();
    // It may have been replaced since.
    file.strip_suffix(" (deleted)").unwrap_or(&file) == GLEXEC
}

/// What is waited for.
#[derive(Debug, Clone, Copy)]
enum Waited {
    /// A run's glexec.
    Glexec(Pid),
    /// Whoever else has the run's entry: a sweep that pays what it owes, whose glexec is gone.
    Sweep,
}

impl fmt::Display for Waited {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Glexec(pid) => write!(to, "glexec of pid {pid}"),
            Self::Sweep => to.write_str("a sweep, or a run that cannot be seen from here"),
        }
    }
}

/// Sleeps until one of these has ended, or may have; `false` where the time is up first.
fn one_ends(waited: &[Waited], until: Instant) -> bool {
    const NAP: Duration = Duration::from_millis(50);
    /// How often it is looked whether a sweep has let go.
    const LOOK: Duration = Duration::from_millis(200);
    let births = || {
        let pids = waited.iter().filter_map(|one| match one {
            Waited::Glexec(pid) => Some(*pid),
            Waited::Sweep => None,
        });
        pids.map(|pid| process::birth(pid).ok().flatten())
    };
    let were: Vec<Option<Birth>> = births().collect();
    let sweeps = were.len() < waited.len();
    while Instant::now() < until {
        std::thread::sleep(if sweeps { LOOK } else { NAP });
        if sweeps || births().zip(&were).any(|(is, was)| is.is_none() || is != *was) {
            return true;
        }
    }
    false
}

/// Tells the job's runs from others.
struct Judge<'a> {
    settings: &'a Settings,
    desk: &'a Desk<'a>,
    began: Option<u64>,
    /// Whether Slurm has all of a job's processes in control groups; asked for once.
    grouped: Option<bool>,
    told: BTreeSet<String>,
}

impl<'a> Judge<'a> {
    fn new(settings: &'a Settings, desk: &'a Desk<'a>) -> Self {
        let began = began(settings, desk.job.uid, desk.job.id);
        Self { settings, desk, began, grouped: None, told: BTreeSet::new() }
    }

    /// What of a run is to be waited for.
    fn waits_for(&mut self, run: &Run) -> Option<Waited> {
        let pid = Pid::from_raw(run.pid?);
        let names = run.names(self.desk.job);
        if !is_glexec(pid) {
            // Another process has its number, or it is of another pid namespace.
            return names.then_some(Waited::Sweep);
        }
        let waits = match membership::of(pid, self.began, Reapers::OfThisHook) {
            // It has ended, and a sweep is at what it left.
            Ok(None) => return names.then_some(Waited::Sweep),
            Ok(Some(Membership::Of(job))) => job == self.desk.job.id,
            Ok(Some(Membership::Older)) => false,
            Ok(Some(Membership::Unknown)) => names && !self.is_in_no_group(run, pid),
            Err(_) => names,
        };
        // Tasks of all components of a heterogeneous job name the first one: that is no lie.
        let lies = names && !waits && self.desk.job.leader.is_none();
        if lies && self.told.insert(run.name.clone()) {
            let text =
                format!("not waited for: glexec of pid {pid} names this job and is not of it");
            self.desk.say(Urgency::Notice, &text);
        }
        waits.then_some(Waited::Glexec(pid))
    }

    /// Whether Slurm has every process of a job in a control group, and the run's payload, which
    /// cannot leave one as glexec may by the site's will (`supervisor_cgroup`), is in none.
    fn is_in_no_group(&mut self, run: &Run, glexec: Pid) -> bool {
        let Some(payload) = run.payload_pid.map(Pid::from_raw) else { return false };
        let is_its = process::stat_of(payload)
            .is_ok_and(|stat| stat.is_some_and(|stat| stat.parent == glexec && stat.state != b'Z'));
        is_its && matches!(membership::by_group(payload), Ok(Some(None))) && self.has_groups()
    }

    fn has_groups(&mut self) -> bool {
        if let Some(known) = self.grouped {
            return known;
        }
        let scontrol = &self.settings.programs.scontrol;
        let asked = ask(scontrol, vec!["show".into(), "config".into()], (CONTROLLER, true));
        let known = asked.is_ok_and(|answer| {
            Configuration::read(&answer.stdout).value("ProctrackType") == Some("proctrack/cgroup")
        });
        *self.grouped.insert(known)
    }
}
