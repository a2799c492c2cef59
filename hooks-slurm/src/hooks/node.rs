//! What runs as root on a node: Prolog, Epilog, and the epilogue's record.

use super::{Desk, SCRATCH, ask, complain, noted, said, variables};
use crate::dialect::{self, Job, Record};
use crate::places::Base;
use crate::settings::{GLEXEC_ADMIN, Programs, Settings, seconds};
use crate::store::Store;
use crate::verdict::{self, Checked, Fitness, Settlement, Swept};
use glexec::hook::{Log, Urgency};
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Prolog: whether this node can serve, and what the job needs on it.
pub fn prolog() -> u8 {
    match begun(Log::new("glexec-slurm-prolog")) {
        Ok((log, job, settings)) => look_and_prepare(&Desk { log, job: &job }, &settings),
        Err(code) => code,
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

fn look_and_prepare(desk: &Desk<'_>, settings: &Settings) -> u8 {
    let job = desk.job;
    let unfit = |fault: &str| desk.unfit(&settings.programs, settings.prolog.drain, fault);
    let asked = check(Some(job.uid), seconds(settings.prolog.time_limit));
    let fitness = match asked {
        Ok(Some(checked)) => checked.fitness(),
        Ok(None) => {
            desk.say(Urgency::Warning, "the node could not be looked at in time; the job goes on");
            Fitness::Serves(None)
        }
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
    // Of a pool, the account that would be next may be another job's by the time this one runs.
    let target = target.filter(|target| !target.pool);
    match prepare(settings, job, target.map(|target| (target.uid, target.gid))) {
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
    let (log, job, settings) = match begun(Log::new("glexec-slurm-epilog")) {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    let desk = Desk { log, job: &job };
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
    let named = checked.ok().flatten().and_then(|checked| checked.fault().map(str::to_owned));
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
