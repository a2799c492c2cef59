//! The runs that still live at a job's end: which of them are the job's, and waiting for those.

use super::{BEGAN, CONTROLLER, Desk, NOTES, ask, boot, said};
use crate::dialect::{self, Configuration, Job};
use crate::membership::{self, Membership, Reapers};
use crate::places::Base;
use crate::settings::{GLEXEC_ADMIN, Settings, seconds};
use adapter::Urgency;
use nix::unistd::Pid;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};
use system::process;

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

/// Waits until no run of the job lives, or the site's time for it is up. A run that says it is the
/// job's and is not, for certain, is not waited for; one of which that cannot be told is.
///
/// # Errors
/// One sentence where glexec-admin does not tell which runs live.
pub(super) fn wait(settings: &Settings, desk: &Desk<'_>, until: Instant) -> Result<(), String> {
    let until = until.min(Instant::now() + seconds(settings.epilog.wait));
    let mut judge = Judge::new(settings, desk);
    loop {
        let runs = living(desk.job.uid, until)?;
        let waited: Vec<Pid> = runs.iter().filter_map(|run| judge.waits_for(run)).collect();
        if waited.is_empty() {
            return Ok(());
        }
        if !one_ends(&waited, until) {
            let pids: Vec<String> = waited.iter().map(Pid::to_string).collect();
            let text = format!(
                "not waited for any longer, with [epilog] wait = {}: glexec of pid {}",
                settings.epilog.wait,
                pids.join(", ")
            );
            desk.say(Urgency::Notice, &text);
            return Ok(());
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

/// Sleeps until one of these processes is gone; `false` where the time is up first.
fn one_ends(pids: &[Pid], until: Instant) -> bool {
    const NAP: Duration = Duration::from_millis(50);
    let birth = |pid: &Pid| process::birth(*pid).ok().flatten();
    let births: Vec<_> = pids.iter().map(birth).collect();
    loop {
        if births.iter().any(Option::is_none) || pids.iter().map(birth).ne(births.iter().copied()) {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(NAP);
    }
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
        let notes = dialect::notes_of(desk.job.uid, desk.job.id);
        let line = Base::open(&settings.records.notes, NOTES)
            .ok()
            .and_then(|base| base.read(&notes, BEGAN).ok().flatten());
        let began = line.zip(boot()).and_then(|(line, boot)| dialect::began_in(&line, &boot));
        Self { settings, desk, began, grouped: None, told: BTreeSet::new() }
    }

    /// The glexec of a run that is to be waited for.
    fn waits_for(&mut self, run: &Run) -> Option<Pid> {
        let pid = Pid::from_raw(run.pid?);
        let names = run.names(self.desk.job);
        let waits = match membership::of(pid, self.began, Reapers::OfThisHook) {
            // It has ended, and a sweep is at what it left.
            Ok(None) => return None,
            Ok(Some(Membership::Of(job))) => job == self.desk.job.id,
            Ok(Some(Membership::Older)) => false,
            Ok(Some(Membership::Unknown)) => names && !self.is_in_no_group(run, pid),
            Err(_) => names,
        };
        if names && !waits && self.told.insert(run.name.clone()) {
            let text =
                format!("not waited for: glexec of pid {pid} names this job and is not of it");
            self.desk.say(Urgency::Notice, &text);
        }
        waits.then_some(pid)
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
