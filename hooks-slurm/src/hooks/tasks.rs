//! What runs as the submitter: the task wrapper, TaskProlog, TaskEpilog.

use super::{SCRATCH, complain, noted, variables};
use crate::dialect::{self, Variables};
use crate::membership;
use crate::settings::{GLEXEC, Settings, seconds};
use crate::verdict::{self, Admission};
use adapter::{BoundedCommand, Hold, end_as, rehearse};
use contract::{ADMIN_MUST_ACT, CALLER_MUST_ACT, Ending};
use nix::unistd::Uid;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

/// A rehearsal of one's own reads files, and at most asks the account helper.
const REHEARSAL: Duration = Duration::from_secs(20);

/// The task wrapper, `glexec-slurm-task COMMAND [ARG…]`: runs the command by glexec and ends as
/// it ended.
pub fn task(words: Vec<OsString>) -> ! {
    let settings = Settings::read().unwrap_or_else(|sentence| {
        complain(&format!("{sentence}; tell the site"));
        end_as(Ending::Exited(ADMIN_MUST_ACT))
    });
    if words.is_empty() {
        complain("usage: glexec-slurm-task COMMAND [ARG...]");
        end_as(Ending::Exited(CALLER_MUST_ACT));
    }
    let variables = variables();
    let named = settings.task.keep_descriptors.iter();
    let keep = named.filter_map(|name| variables.number(name)).filter(|fd| *fd > 2).collect();
    let hold = Hold {
        program: Path::new(GLEXEC),
        words,
        keep,
        set: Vec::new(),
        // It says "prolog_task" to every payload where a TaskProlog is configured.
        unset: vec!["SLURM_SCRIPT_CONTEXT".into()],
    };
    match hold.run() {
        Ok(held) => {
            if matches!(held.glexec, Some(Ending::Killed { .. })) {
                settle_own(&settings, &variables);
            }
            let end = verdict::task(&held, settings.task.signal_exit);
            if let Some(sentence) = end.sentence {
                complain(&sentence);
            }
            end_as(end.ending)
        }
        Err(error) => {
            complain(&format!("{GLEXEC} cannot be started: {error}; tell the site"));
            end_as(Ending::Exited(ADMIN_MUST_ACT))
        }
    }
}

/// glexec was killed and this process was not (the OOM killer, somebody by hand): what is left of
/// the payload would keep the step's output open, and the epilogue need not wait for the job's end.
fn settle_own(settings: &Settings, variables: &Variables) {
    let Some(job) = variables.number::<u32>("SLURM_JOB_ID") else { return };
    let tool = BoundedCommand {
        program: Path::new(GLEXEC),
        words: vec!["--settle".into(), format!("SLURM_JOB_ID={job}").into()],
        environment: Vec::new(),
        ids: None,
        limit: seconds(settings.epilog.time_limit),
        end_it: false,
    };
    // What it cannot settle, the epilog does.
    let _ = tool.run();
}

/// TaskProlog: variables for the task, and a veto where glexec would refuse its user.
pub fn task_prolog() -> u8 {
    let mut out = String::new();
    let code = match Settings::read() {
        Ok(settings) => admit(&settings, &variables(), &mut out),
        Err(sentence) => {
            out += &dialect::print(&format!("[glexec-slurm]: {sentence}; tell the site"));
            ADMIN_MUST_ACT
        }
    };
    // slurmstepd reads this pipe for directives, and stderr with it: nothing else is written.
    let _ = std::io::stdout().write_all(out.as_bytes());
    code
}

fn admit(settings: &Settings, variables: &Variables, out: &mut String) -> u8 {
    let exports = &settings.task_prolog.export;
    exports
        .iter()
        .filter_map(|(name, value)| dialect::export(name, value))
        .for_each(|line| *out += &line);
    let job = job_of_task(variables);
    if let (Some(scratch), Some(job)) = (&settings.scratch, job) {
        let notes = dialect::notes_of(Uid::current().as_raw(), job);
        let name = noted(&settings.records.notes.join(notes).join(SCRATCH));
        let directory = scratch.base.join(&name);
        let line = directory.to_str().and_then(|value| dialect::export(&scratch.variable, value));
        *out += &line.filter(|_| !name.is_empty()).unwrap_or_default();
    }
    if !settings.task_prolog.veto {
        return 0;
    }
    let records = rehearse(Path::new(GLEXEC), Vec::new(), REHEARSAL).unwrap_or_default();
    match verdict::admission(&records) {
        Admission::Granted => 0,
        Admission::Vetoed(code, sentence) => {
            *out += &dialect::print(&format!("[glexec-slurm]: {sentence}"));
            code
        }
    }
}

/// The job whose notes are this task's: of a heterogeneous one the component, which no variable names.
fn job_of_task(variables: &Variables) -> Option<u32> {
    membership::of_this_task().or_else(|| variables.number("SLURM_JOB_ID"))
}

/// TaskEpilog: one line on the job's stderr with what the payload did, from the epilogue's note.
pub fn task_epilog() -> u8 {
    let Ok(settings) = Settings::read() else { return 0 };
    let variables = variables();
    let Some(job) = job_of_task(&variables) else { return 0 };
    let (step, task) = (variables.text("SLURM_STEP_ID"), variables.text("SLURM_PROCID"));
    let directory = dialect::notes_of(Uid::current().as_raw(), job);
    let line = noted(&settings.records.notes.join(directory).join(dialect::note_name(step, task)));
    if !line.is_empty() {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
    0
}
