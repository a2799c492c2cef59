//! One function for each hook: from the process's environment to its exit code.

use crate::dialect::{self, Job, Record, Variables};
use crate::places::Base;
use crate::settings::{Accounting, GLEXEC, GLEXEC_ADMIN, Programs, Settings, seconds};
use crate::store::Store;
use crate::verdict::{self, Admission, Checked, Fitness, Settlement, Swept};
use glexec::contract::{ADMIN_MUST_ACT, CALLER_MUST_ACT, Ending};
use glexec::hook::{Answer, Hold, Log, Tool, Urgency, end_as, rehearse};
use nix::unistd::Uid;
use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A rehearsal of one's own reads files, and at most asks the account helper.
const REHEARSAL: Duration = Duration::from_secs(20);
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
    let tool = Tool {
        program: Path::new(GLEXEC),
        words: vec!["--settle".into(), format!("SLURM_JOB_ID={job}").into()],
        environment: Vec::new(),
        ids: None,
        limit: seconds(settings.epilog.time_limit),
        end_it: false,
    };
    // What it cannot settle, the epilog does.
    let _ = tool.ask();
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
    let job: Option<u32> = variables.number("SLURM_JOB_ID");
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

/// TaskEpilog: one line on the job's stderr with what the payload did, from the epilogue's note.
pub fn task_epilog() -> u8 {
    let Ok(settings) = Settings::read() else { return 0 };
    let variables = variables();
    let Some(job) = variables.number("SLURM_JOB_ID") else { return 0 };
    let (step, task) = (variables.text("SLURM_STEP_ID"), variables.text("SLURM_PROCID"));
    let directory = dialect::notes_of(Uid::current().as_raw(), job);
    let line = noted(&settings.records.notes.join(directory).join(dialect::note_name(step, task)));
    if !line.is_empty() {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
    0
}

/// The line of a note of root's; empty where there is none.
fn noted(file: &Path) -> String {
    let mut note = String::new();
    if let Ok(open) = fs::File::open(file) {
        let _ = open.take(LONGEST_NOTE).read_to_string(&mut note);
    }
    note.lines().next().unwrap_or_default().to_owned()
}

/// Prolog: whether this node can serve, and what the job needs on it.
pub fn prolog() -> u8 {
    const LOG: Log = Log::new("glexec-slurm-prolog");
    let job = match Job::of(&variables()) {
        Ok(job) => job,
        Err(sentence) => return no_job(LOG, &sentence),
    };
    let desk = Desk { log: LOG, job: &job };
    let settings = match Settings::read() {
        Ok(settings) => settings,
        Err(sentence) => return desk.unfit(&Programs::default(), true, &sentence),
    };
    let unfit = |fault: &str| desk.unfit(&settings.programs, settings.prolog.drain, fault);
    let asked = check(Some(job.uid), seconds(settings.prolog.time_limit));
    let fitness = match asked {
        Ok(checked) => checked.fitness(),
        Err(sentence) => return unfit(&sentence),
    };
    let target = match fitness {
        Fitness::Serves(target) => target,
        Fitness::Unfit(fault) => return unfit(&fault),
        Fitness::UserRefused(sentence) => {
            desk.say(Urgency::Notice, &format!("uid {} may not run here: {sentence}", job.uid));
            None
        }
    };
    match prepare(&settings, &job, target.map(|target| (target.uid, target.gid))) {
        Ok(()) => 0,
        Err(fault) => unfit(&fault),
    }
}

/// Notes for the job's tasks, and the target's private directory.
fn prepare(settings: &Settings, job: &Job, target: Option<(u32, u32)>) -> Result<(), String> {
    // Root's: a user who could write below /run could fill it.
    let notes = dialect::notes_of(job.uid, job.id);
    let base = Base::open(&settings.records.notes, 0o755)?;
    base.give(&notes, (0, job.gid), 0o710)?;
    let (Some(scratch), Some(target)) = (&settings.scratch, target) else { return Ok(()) };
    // A name that no earlier job had: what is left under one may be busy, or its owner's still.
    let name = format!("{}.{}", job.id, std::process::id());
    Base::open(&scratch.base, 0o711)?.give(&name, target, 0o700)?;
    base.put(&notes, SCRATCH, &format!("{name}\n"))
}

/// Epilog: what is owed of the job is settled, its records are handed on, its places removed.
pub fn epilog() -> u8 {
    const LOG: Log = Log::new("glexec-slurm-epilog");
    let job = match Job::of(&variables()) {
        Ok(job) => job,
        Err(sentence) => return no_job(LOG, &sentence),
    };
    let desk = Desk { log: LOG, job: &job };
    let settings = match Settings::read() {
        Ok(settings) => settings,
        Err(sentence) => return desk.unfit(&Programs::default(), true, &sentence),
    };
    let until = Instant::now() + seconds(settings.epilog.time_limit);
    let fault = settle(&settings, &desk, until);
    hand_on(&settings, &desk);
    tidy(&settings, &desk, until.max(Instant::now() + seconds(5)));
    match fault {
        None => 0,
        Some(fault) => desk.unfit(&settings.programs, settings.epilog.drain, &fault),
    }
}

/// Sweeps the job's runs, then whatever else its user owes; gives the site's fault.
fn settle(settings: &Settings, desk: &Desk<'_>, until: Instant) -> Option<String> {
    let job = desk.job;
    let mut words: Vec<OsString> = vec![
        format!("--job=SLURM_JOB_ID={}", job.id).into(),
        format!("--wait={}", settings.epilog.wait).into(),
    ];
    let settlement = match sweep(job.uid, words, until) {
        Ok(settlement) => settlement,
        Err(fault) => Settlement { fault: Some(fault), notes: Vec::new() },
    };
    settlement.notes.iter().for_each(|note| desk.say(Urgency::Notice, note));
    // Runs of this user's that named no job, or another: paid where they are due.
    words = Vec::new();
    if let Ok(more) = sweep(job.uid, words, until) {
        let told = more.notes.iter().filter(|note| !note.starts_with("live"));
        told.for_each(|note| desk.say(Urgency::Notice, note));
    }
    let fault = settlement.fault?;
    // What is wrong, by name, where the configuration or the epilogue is it.
    let left = until.saturating_duration_since(Instant::now()).max(seconds(5));
    let checked = check(None, left);
    let named = checked.ok().and_then(|checked| checked.fault().map(str::to_owned));
    Some(named.unwrap_or(fault))
}

fn sweep(uid: u32, mut words: Vec<OsString>, until: Instant) -> Result<Settlement, String> {
    words.splice(0..0, ["sweep".into(), "--json".into(), format!("--caller={uid}").into()]);
    let left = until.saturating_duration_since(Instant::now());
    // An epilogue that takes longer runs on, in a process group that Slurm does not end.
    let answer = ask(Path::new(GLEXEC_ADMIN), words, (left, false))?;
    if answer.late {
        let note = "the sweep goes on after the end of this epilog".to_owned();
        return Ok(Settlement { fault: None, notes: vec![note] });
    }
    let rows: Result<Vec<Swept>, _> = serde_json::from_str(&answer.stdout);
    rows.map(|rows| verdict::settlement(&rows)).map_err(|_| said(Path::new(GLEXEC_ADMIN), &answer))
}

fn check(user: Option<u32>, limit: Duration) -> Result<Checked, String> {
    let mut words: Vec<OsString> = vec!["check".into(), "--json".into()];
    words.extend(user.map(|uid| format!("--as={uid}").into()));
    let answer = ask(Path::new(GLEXEC_ADMIN), words, (limit, true))?;
    serde_json::from_str(&answer.stdout).map_err(|_| said(Path::new(GLEXEC_ADMIN), &answer))
}

fn ask(
    program: &Path,
    words: Vec<OsString>,
    (limit, end_it): (Duration, bool),
) -> Result<Answer, String> {
    let environment = variables().text("SLURM_CONF").map(|file| ("SLURM_CONF".into(), file.into()));
    let environment = environment.into_iter().collect();
    let tool = Tool { program, words, environment, ids: None, limit, end_it };
    tool.ask().map_err(|error| format!("{} cannot be started: {error}", program.display()))
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

/// Records go to the log and, where the site asks for it, to the controller.
fn hand_on(settings: &Settings, desk: &Desk<'_>) {
    let job = desk.job;
    let taken = Store::open(&settings.records.directory).and_then(|store| {
        match store.tidy() {
            0 => {}
            old => desk.say(
                Urgency::Notice,
                &format!("{old} files of records removed that no job took in a week"),
            ),
        }
        store.take(job.uid, job.id)
    });
    let records = match taken {
        Ok(records) => dialect::latest(records),
        Err(sentence) => return desk.say(Urgency::Warning, &sentence),
    };
    for record in &records {
        desk.say(Urgency::Notice, &record.line());
    }
    if let Some(accounting) = &settings.accounting {
        let node = job.node.as_deref().unwrap_or("node");
        let text = serde_json::to_vec(&records).unwrap_or_default();
        if let Err(error) = put(&accounting.spool, &format!("{}.{node}.json", job.id), &text) {
            let spool = accounting.spool.display();
            desk.say(Urgency::Warning, &format!("{spool}: {error}; the accounting is not told"));
        }
    }
}

/// A whole file or none, over whatever has its name.
fn put(directory: &Path, name: &str, text: &[u8]) -> std::io::Result<()> {
    let fresh = directory.join(format!(".{name}.{}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&fresh)?;
    let done = file.write_all(text).and_then(|()| fs::rename(&fresh, directory.join(name)));
    done.inspect_err(|_| drop(fs::remove_file(&fresh)))
}

fn tidy(settings: &Settings, desk: &Desk<'_>, until: Instant) {
    let job = desk.job;
    let notes = dialect::notes_of(job.uid, job.id);
    if let Some(scratch) = &settings.scratch {
        let name = noted(&settings.records.notes.join(&notes).join(SCRATCH));
        let known = dialect::is_plain(&name);
        let away = || Base::open(&scratch.base, 0o711)?.remove(&name, until);
        if let Err(sentence) = if known { away() } else { Ok(()) } {
            desk.say(Urgency::Warning, &sentence);
        }
    }
    let away = || Base::open(&settings.records.notes, 0o755)?.remove(&notes, until);
    if let Err(sentence) = away() {
        desk.say(Urgency::Warning, &sentence);
    }
}

/// Called by hand, or by something that is not Slurm: nothing is wrong with the node.
fn no_job(log: Log, sentence: &str) -> u8 {
    log.say(Urgency::Error, sentence);
    complain(sentence);
    0
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

/// The epilogue, or what the site's own epilogue calls: keeps what the payload did.
pub fn record() -> u8 {
    const LOG: Log = Log::new("glexec-slurm-record");
    let kept = Settings::read().and_then(|settings| match Record::of(&variables())? {
        None => Ok(()),
        Some(record) => keep(&settings, &record),
    });
    match kept {
        Ok(()) => 0,
        Err(sentence) => {
            LOG.say(Urgency::Error, &sentence);
            complain(&sentence);
            1
        }
    }
}

/// For the epilog, and a note for TaskEpilog, without which nothing is lost.
fn keep(settings: &Settings, record: &Record) -> Result<(), String> {
    let name = dialect::note_name(record.step.as_deref(), record.task.as_deref());
    let text = dialect::note(record) + "\n";
    let notes = dialect::notes_of(record.caller_uid, record.job);
    let _ =
        Base::open(&settings.records.notes, 0o755).and_then(|base| base.put(&notes, &name, &text));
    if !Store::open(&settings.records.directory)?.add(record)? {
        // Nothing that a user does too often may cost a payload its exit code.
        let line = format!(
            "job {}: not kept, uid {} has too many records: {}",
            record.job,
            record.caller_uid,
            record.line()
        );
        Log::new("glexec-slurm-record").say(Urgency::Warning, &line);
    }
    Ok(())
}

/// EpilogSlurmctld: what the nodes' epilogs handed over goes to the accounting. Never a failure.
pub fn epilog_ctld() -> u8 {
    const LOG: Log = Log::new("glexec-slurm-epilog-ctld");
    let variables = variables();
    let job = Job::of(&variables);
    let told = Settings::read().and_then(|settings| {
        let job = job?;
        let Some(accounting) = &settings.accounting else { return Ok(()) };
        let nodes = variables.number("SLURM_JOB_NUM_NODES").unwrap_or(1);
        let until = Instant::now() + seconds(accounting.time_limit);
        forget_old(&accounting.spool);
        let records = gather(accounting, (job.id, nodes), until);
        let desk = Desk { log: LOG, job: &job };
        account(&settings, accounting, (&desk, &records), until)
    });
    if let Err(sentence) = told {
        LOG.say(Urgency::Warning, &sentence);
    }
    0
}

/// Waits for every node's file; takes what is there when the time is up.
fn gather(accounting: &Accounting, (job, nodes): (u32, usize), until: Instant) -> Vec<Record> {
    const NAP: Duration = Duration::from_millis(100);
    let begin = format!("{job}.");
    let mine = || -> Vec<PathBuf> {
        let all = fs::read_dir(&accounting.spool).into_iter().flatten().flatten();
        let names =
            all.filter(|entry| entry.file_name().to_str().is_some_and(|n| n.starts_with(&begin)));
        names.map(|entry| entry.path()).collect()
    };
    let mut files = mine();
    // The rest is the accounting's.
    let last = until.checked_sub(CONTROLLER).unwrap_or(until);
    while files.len() < nodes && Instant::now() < last {
        std::thread::sleep(NAP);
        files = mine();
    }
    let mut records = Vec::new();
    for file in files {
        let text = fs::read(&file).unwrap_or_default();
        records.extend(serde_json::from_slice::<Vec<Record>>(&text).unwrap_or_default());
        let _ = fs::remove_file(&file);
    }
    records
}

/// What came too late for its job.
fn forget_old(spool: &Path) {
    const OLD: Duration = Duration::from_secs(24 * 3600);
    for entry in fs::read_dir(spool).into_iter().flatten().flatten() {
        let age =
            entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        let ours = entry.file_name().to_string_lossy().contains(".json");
        if ours && age.is_some_and(|age| age > OLD) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// One call of sacctmgr, repeated until the accounting knows the job.
fn account(
    settings: &Settings,
    accounting: &Accounting,
    (desk, records): (&Desk<'_>, &[Record]),
    until: Instant,
) -> Result<(), String> {
    const PAUSE: Duration = Duration::from_millis(500);
    let Some(raw) = dialect::derived(records) else { return Ok(()) };
    let mut set: Vec<OsString> = Vec::new();
    if accounting.derived_exit_code {
        set.push(format!("derivedexitcode={raw}").into());
    }
    set.extend(
        accounting
            .comment
            .map(|field| format!("{}={}", field.word(), dialect::comment(records)).into()),
    );
    if set.is_empty() {
        return Ok(());
    }
    let sacctmgr = &settings.programs.sacctmgr;
    loop {
        let mut words: Vec<OsString> =
            ["-i", "modify", "job", "where"].map(OsString::from).to_vec();
        words.extend([format!("jobid={}", desk.job.id).into(), "set".into()]);
        words.extend(set.iter().cloned());
        let left = until.saturating_duration_since(Instant::now());
        let answer = ask(sacctmgr, words, (left.min(CONTROLLER), true))?;
        let modified = answer.code == Some(0) && answer.stdout.contains("Modified");
        if modified {
            return Ok(());
        }
        if until.saturating_duration_since(Instant::now()) < PAUSE {
            return Err(format!("job {}: {}", desk.job.id, said(sacctmgr, &answer)));
        }
        std::thread::sleep(PAUSE);
    }
}
