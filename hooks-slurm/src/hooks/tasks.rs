//! What runs as the submitter: the task wrapper, TaskProlog, TaskEpilog.

use super::{SCRATCH, complain, noted, slurm_conf, variables};
use crate::configuration::Configuration;
use crate::dialect::{self, Variables};
use crate::membership;
use crate::settings::{GLEXEC, Settings, seconds};
use crate::verdict::{self, Admission};
use adapter::{BoundedCommand, Hold, Lifetime, end_as, rehearse};
use contract::variables::{JOB_ENVIRONMENT, TMPDIR};
use contract::{ADMIN_MUST_ACT, CALLER_MUST_ACT, Ending};
use nix::unistd::{AccessFlags, Pid, Uid, access};
use std::env::{split_paths, var_os};
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A rehearsal of one's own reads files, and at most asks the account helper.
const REHEARSAL: Duration = Duration::from_secs(20);

/// The task wrapper, `glexec-slurm-task COMMAND [ARG…]`: runs the command by glexec and ends as
/// it ended.
pub fn task(mut words: Vec<OsString>) -> ! {
    if let Some(command) = words.first_mut() {
        *command = located(command);
    }
    run(words, Vec::new())
}

/// As srun and the shell find a command, by the job's PATH; glexec would look in the site's. What is not
/// there is left to glexec.
fn located(command: &OsStr) -> OsString {
    let path = var_os("PATH").filter(|_| !command.as_bytes().contains(&b'/')).unwrap_or_default();
    let may_run = |file: &PathBuf| file.is_file() && access(file, AccessFlags::X_OK).is_ok();
    // An empty entry is the working directory.
    let files = split_paths(&path).map(|directory| Path::new(".").join(directory).join(command));
    files.filter(|_| !path.is_empty()).find(may_run).map_or_else(|| command.into(), Into::into)
}

/// Runs a command by glexec, with these descriptors besides those that the site names, and ends as it
/// ended.
pub(super) fn run(words: Vec<OsString>, own: Vec<RawFd>) -> ! {
    let settings = Settings::read().unwrap_or_else(|sentence| {
        complain(&format!("{sentence}; tell the site"));
        end_as(Ending::Exited(ADMIN_MUST_ACT))
    });
    if words.is_empty() {
        complain("usage: glexec-slurm-task COMMAND [ARG...]");
        end_as(Ending::Exited(CALLER_MUST_ACT));
    }
    let variables = variables();
    if is_out_of_reach(&variables) {
        complain(
            "not started by Slurm itself, but by a shell or another program: on scancel, or at the time limit, Slurm kills this run without TERM; put exec or srun in front of this command, or tell the site of TaskEpilog",
        );
    }
    let named = settings.task.keep_descriptors.iter();
    let named = named.filter_map(|name| variables.number(name)).filter(|fd| *fd > 2);
    let keep = named.chain(own).collect();
    let hold = Hold {
        program: Path::new(GLEXEC),
        words,
        input: None,
        keep,
        set: told(),
        // It says "prolog_task" to every payload where a TaskProlog is configured.
        unset: vec!["SLURM_SCRIPT_CONTEXT".into()],
        lifetime: Lifetime::Parent,
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

/// Slurm gives a task its submitter's environment and nothing that is not the task's, so all of it is
/// the payload's. A submitter who has something to keep from the payload (a pilot, its token) names
/// what the payload gets. TMPDIR does not pass the exec of a setuid program.
fn told() -> Vec<(OsString, OsString)> {
    const ALL: &str = "*";
    let all = var_os(JOB_ENVIRONMENT).is_none().then(|| (JOB_ENVIRONMENT.into(), ALL.into()));
    let own = var_os("TMPDIR").filter(|_| var_os(TMPDIR).is_none());
    all.into_iter().chain(own.map(|directory| (TMPDIR.into(), directory))).collect()
}

/// Whether Slurm would kill this wrapper without TERM: with control groups it sends other signals than
/// KILL to processes that slurmstepd has started itself, and kills all others when those have ended.
/// A TaskEpilog of ours gives them time before that.
fn is_out_of_reach(variables: &Variables) -> bool {
    const FILE: &str = "/etc/slurm/slurm.conf";
    const OURS: &str = "glexec-slurm-task-epilog";
    let grouped = matches!(membership::by_group(Pid::this()), Ok(Some(Some(_))));
    if !grouped || membership::is_the_task() {
        return false;
    }
    let file = variables.text("SLURM_CONF").unwrap_or(FILE);
    let slurm = Configuration::read(&format!("SLURM_CONF = {file}"));
    // What the file says is good enough for a warning. Where it cannot be read, that is given.
    let lines = slurm_conf::lines(&slurm, ["TaskEpilog"]).unwrap_or_default();
    !lines.last().is_some_and(|line| line.value.ends_with(OURS))
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

/// Slurm kills what is left of a step's control group after this hook. A wrapper whose shell has died,
/// of TERM for one, ends its run as it should be ended, and needs time for it.
fn wait_for_orphans(job: u32, limit: Duration) {
    const NAP: Duration = Duration::from_millis(50);
    /// As the kernel cuts it: TASK_COMM_LEN of linux/sched.h.
    const WRAPPER: &str = "glexec-slurm-ta";
    // slurmstepd, and this hook with it, is in the job's group. Without one Slurm signals everybody.
    if membership::by_group(Pid::this()) != Ok(Some(Some(job))) {
        return;
    }
    let until = Instant::now() + limit;
    let left = || membership::orphans(job, WRAPPER).is_ok_and(|orphans| !orphans.is_empty());
    while Instant::now() < until && left() {
        std::thread::sleep(NAP);
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
    wait_for_orphans(job, seconds(settings.task_epilog.wait));
    let (step, task) = (variables.text("SLURM_STEP_ID"), variables.text("SLURM_PROCID"));
    let directory = dialect::notes_of(Uid::current().as_raw(), job);
    let line = noted(&settings.records.notes.join(directory).join(dialect::note_name(step, task)));
    if !line.is_empty() {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
    0
}
