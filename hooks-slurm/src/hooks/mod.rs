//! One function for each hook, from the process's environment to its exit code: those of tasks, of
//! nodes, and of the controller. Here is what several of them do.

mod controller;
mod node;
mod tasks;

pub use controller::epilog_ctld;
pub use node::{epilog, prolog, record};
pub use tasks::{task, task_epilog, task_prolog};

use crate::dialect::{self, Job, Variables};
use crate::settings::Programs;
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
/// A note is one line.
const LONGEST_NOTE: u64 = 4096;

fn variables() -> Variables {
    std::env::vars_os().collect()
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
