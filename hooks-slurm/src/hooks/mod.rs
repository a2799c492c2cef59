//! One function for each hook, from the process's environment to its exit code: those of tasks, of
//! nodes, and of the controller. Here is what several of them do.

mod controller;
mod epilog;
mod prolog;
mod record;
mod runs;
mod script;
mod site_check;
mod slurm_conf;
mod tasks;

pub use controller::epilog_ctld;
pub use epilog::epilog;
pub use prolog::prolog;
pub use record::record;
pub use script::script;
pub use site_check::check_site;
pub use tasks::{task, task_epilog, task_prolog};

use crate::dialect::{self, Job, Variables};
use crate::places::Base;
use crate::settings::{GLEXEC_ADMIN, Programs, Settings};
use crate::verdict::Checked;
use adapter::{Answer, BoundedCommand, Log, Urgency};
use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

/// scontrol speaks with the controller.
const CONTROLLER: Duration = Duration::from_secs(10);
/// The note that names the job's scratch directory.
const SCRATCH: &str = "scratch";
/// The note that says when the job began on this node.
const BEGAN: &str = "began";
/// Modes of the directories in which records, notes and scratch directories are.
const RECORDS: u32 = 0o700;
const NOTES: u32 = 0o755;
const SCRATCHES: u32 = 0o711;
/// A note is one line.
const LONGEST_NOTE: u64 = 4096;

fn variables() -> Variables {
    std::env::vars_os().collect()
}

/// Which boot of the machine this is.
fn boot() -> Option<String> {
    let text = system::process::read_text("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|boot| !boot.is_empty())
}

/// When a job began on this node, by the Prolog's note.
fn began(settings: &Settings, uid: u32, job: u32) -> Option<u64> {
    let base = Base::open(&settings.records.notes, NOTES).ok()?;
    let line = base.read(&dialect::notes_of(uid, job), BEGAN).ok()??;
    dialect::began_in(&line, &boot()?)
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "[glexec-slurm]: {text}");
}

/// The line of a note of root's; empty where there is none.
fn noted(file: &Path) -> String {
    let mut note = String::new();
    if let Ok(open) = fs::File::open(file) {
        let _ = open.take(LONGEST_NOTE).read_to_string(&mut note);
    }
    note.lines().next().unwrap_or_default().to_owned()
}

fn ask(
    program: &Path,
    words: Vec<OsString>,
    (limit, end_it): (Duration, bool),
) -> Result<Answer, String> {
    let environment = variables().text("SLURM_CONF").map(|file| ("SLURM_CONF".into(), file.into()));
    let environment = environment.into_iter().collect();
    let tool = BoundedCommand { program, words, environment, ids: None, limit, end_it };
    tool.run().map_err(|error| format!("{} cannot be started: {error}", program.display()))
}

/// What it complained of, under its own name.
fn said(program: &Path, answer: &Answer) -> String {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if answer.late {
        return format!("{name} has not answered in time");
    }
    let line = answer.stderr.lines().next().unwrap_or("it said nothing");
    let bare = line.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix(": "));
    format!("{name}: {}", bare.unwrap_or(line))
}

/// Whom a root hook speaks for.
struct Desk<'a> {
    log: Log,
    job: &'a Job,
}

impl Desk<'_> {
    fn say(&self, urgency: Urgency, text: &str) {
        self.log.say(urgency, &format!("job {}: {text}", self.job.id));
    }

    /// Drains the node with a reason that says what is wrong; Slurm's own, when this program
    /// fails, would be "Prolog error". Gives the exit code.
    fn unfit(&self, programs: &Programs, drain: bool, fault: &str) -> u8 {
        self.say(Urgency::Error, fault);
        // slurmd logs what a failing hook prints.
        complain(fault);
        if let (true, Some(node)) = (drain, &self.job.node) {
            let words = vec![
                "update".into(),
                format!("nodename={node}").into(),
                "state=drain".into(),
                format!("reason={}", dialect::drain_reason(fault)).into(),
            ];
            match ask(&programs.scontrol, words, (CONTROLLER, true)) {
                Ok(answer) if answer.code == Some(0) => {}
                Ok(answer) => self.say(Urgency::Warning, &said(&programs.scontrol, &answer)),
                Err(sentence) => self.say(Urgency::Warning, &sentence),
            }
        }
        1
    }
}

/// The job and the site's file, or what the hook ends with: called by hand, or by something that
/// is not Slurm, it has nothing to say of the node.
fn begun(log: Log) -> Result<(Log, Job, Settings), u8> {
    let job = Job::of(&variables()).map_err(|sentence| {
        log.say(Urgency::Error, &sentence);
        complain(&sentence);
        0
    })?;
    match Settings::read() {
        Ok(settings) => Ok((log, job, settings)),
        Err(sentence) => Err(Desk { log, job: &job }.unfit(&Programs::default(), true, &sentence)),
    }
}

/// `None` where the time was up first: the job's user can delay what runs as that user, so that is
/// no fault of the node's.
fn check(user: Option<u32>, limit: Duration) -> Result<Option<Checked>, String> {
    let mut words: Vec<OsString> = vec!["check".into(), "--json".into()];
    words.extend(user.map(|uid| format!("--as={uid}").into()));
    let answer = ask(Path::new(GLEXEC_ADMIN), words, (limit, true))?;
    if answer.late {
        return Ok(None);
    }
    let checked = serde_json::from_str(&answer.stdout);
    checked.map(Some).map_err(|_| said(Path::new(GLEXEC_ADMIN), &answer))
}
