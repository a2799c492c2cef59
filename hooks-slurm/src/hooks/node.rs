//! What runs as root on a node: Prolog, Epilog, and the epilogue's record.

use super::{Desk, SCRATCH, ask, complain, said, variables};
use crate::dialect::{self, Job, Record};
use crate::groups;
use crate::places::Base;
use crate::settings::{GLEXEC_ADMIN, Programs, Settings, seconds};
use crate::store::{Standing, Store};
use crate::verdict::{self, Checked, Fitness, Settlement, Swept};
use adapter::{Log, Urgency, remove_as_told};
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Modes of the directories in which records, notes and scratch directories are.
const RECORDS: u32 = 0o700;
const NOTES: u32 = 0o755;
const SCRATCHES: u32 = 0o711;

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

/// Notes for the job's tasks, and the target's private directory. Several slurmds of one machine may
/// do this at the same time for the same job: what one has made the other finds and uses.
fn prepare(settings: &Settings, job: &Job, target: Option<(u32, u32)>) -> Result<(), String> {
    let _lock = Base::open(&settings.records.directory, RECORDS)?.lock()?;
    // Root's: a user who could write below /run could fill it.
    let notes = dialect::notes_of(job.uid, job.id);
    let base = Base::open(&settings.records.notes, NOTES)?;
    base.ensure(&notes, (0, job.gid), 0o710)?;
    let (Some(scratch), Some(target)) = (&settings.scratch, target) else { return Ok(()) };
    let shared = Base::open(&scratch.base, SCRATCHES)?;
    let failed = |what: &dyn std::fmt::Display| format!("{}: {what}", scratch.base.display());
    let noted = base.read(&notes, SCRATCH).map_err(|error| failed(&error))?;
    if let Some(name) = noted.filter(|name| dialect::is_scratch(name)) {
        let usable = shared.is_of(&name, target.0).and_then(|is| Ok(is || !shared.has(&name)?));
        if usable.map_err(|errno| failed(&errno.desc()))? {
            return shared.ensure(&name, target, 0o700);
        }
    }
    // A name that no earlier job had: what is left under one may be busy, or its owner's still.
    let mut name = format!("{}.{}", job.id, std::process::id());
    while shared.has(&name).map_err(|errno| failed(&errno.desc()))? {
        name += ".1";
    }
    // The note comes first: what no note names is nobody's, and removed.
    if !base.put(&notes, SCRATCH, &format!("{name}\n"))? {
        return Err(format!("{}/{notes} has too many notes", base.shown()));
    }
    shared.ensure(&name, target, 0o700)
}

/// Epilog: what is owed of the job is settled, its records are handed on, its places removed.
pub fn epilog() -> u8 {
    if let Some(code) = remove_as_told(&std::env::args_os().skip(1).collect::<Vec<_>>()) {
        return code;
    }
    let (log, job, settings) = match begun(Log::new("glexec-slurm-epilog")) {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    let desk = Desk { log, job: &job };
    let until = Instant::now() + seconds(settings.epilog.time_limit);
    let fault = settle(&settings, &desk, until);
    hand_on(&settings, &desk);
    tidy(&settings, &desk, until.max(Instant::now() + seconds(5)));
    if let Err(sentence) = groups::remove_empty(job.node.as_deref(), job.uid, job.id) {
        desk.say(Urgency::Notice, &sentence);
    }
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
        match store.tidy()? {
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

/// Removes the job's places, and what earlier jobs have left behind.
fn tidy(settings: &Settings, desk: &Desk<'_>, until: Instant) {
    const OTHERS: Duration = Duration::from_secs(5);
    let forgotten = forget(settings, desk.job, until).unwrap_or_else(|sentence| {
        desk.say(Urgency::Warning, &sentence);
        Forgotten::default()
    });
    let Some(scratch) = &settings.scratch else { return };
    let shared = match Base::open(&scratch.base, SCRATCHES) {
        Ok(shared) => shared,
        Err(sentence) => return desk.say(Urgency::Warning, &sentence),
    };
    if let Some(Err(sentence)) = forgotten.own.map(|name| shared.remove(&name, until)) {
        desk.say(Urgency::Warning, &sentence);
    }
    let until = until.min(Instant::now() + OTHERS);
    let (mut gone, mut stays) = (0, None);
    for name in forgotten.nobodys {
        if Instant::now() >= until {
            break;
        }
        match shared.remove(&name, until) {
            Ok(()) => gone += 1,
            Err(sentence) => drop(stays.get_or_insert(sentence)),
        }
    }
    if gone > 0 {
        let text =
            format!("{gone} directories removed that earlier jobs left in {}", shared.shown());
        desk.say(Urgency::Notice, &text);
    }
    if let Some(sentence) = stays {
        desk.say(Urgency::Warning, &sentence);
    }
}

/// Scratch directories that nobody uses any more.
#[derive(Default)]
struct Forgotten {
    /// The job's.
    own: Option<String>,
    /// Those that no note names, in another order for each process: one that cannot be removed, or
    /// not in time, does not keep the others.
    nobodys: Vec<String>,
}

/// Removes the job's notes, and with them the claim to its scratch directory.
fn forget(settings: &Settings, job: &Job, until: Instant) -> Result<Forgotten, String> {
    let _lock = Base::open(&settings.records.directory, RECORDS)?.lock()?;
    let base = Base::open(&settings.records.notes, NOTES)?;
    let failed = |what: &dyn std::fmt::Display| format!("{}: {what}", base.shown());
    let noted = |notes: &str| {
        let name = base.read(notes, SCRATCH).map_err(|error| failed(&error))?;
        Ok::<_, String>(name.filter(|name| dialect::is_scratch(name)))
    };
    let notes = dialect::notes_of(job.uid, job.id);
    let own = noted(&notes)?;
    base.remove(&notes, until)?;
    let Some(scratch) = &settings.scratch else { return Ok(Forgotten::default()) };
    let all = base.names().map_err(|errno| failed(&errno.desc()))?;
    let used: Vec<Option<String>> =
        all.iter().map(|notes| noted(notes)).collect::<Result<_, _>>()?;
    let shared = Base::open(&scratch.base, SCRATCHES)?;
    let mut nobodys = shared.names().map_err(|errno| format!("{}: {errno}", shared.shown()))?;
    nobodys.retain(|name| {
        dialect::is_scratch(name)
            && own.as_ref() != Some(name)
            && !used.contains(&Some(name.clone()))
    });
    nobodys.sort_unstable();
    if let Some(turn) =
        usize::try_from(std::process::id()).ok().and_then(|id| id.checked_rem(nobodys.len()))
    {
        nobodys.rotate_left(turn);
    }
    Ok(Forgotten { own, nobodys })
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
    const LOG: Log = Log::new("glexec-slurm-record");
    let name = dialect::note_name(record.step.as_deref(), record.task.as_deref());
    let text = dialect::note(record) + "\n";
    let notes = dialect::notes_of(record.caller_uid, record.job);
    let noted = Base::open(&settings.records.notes, NOTES).and_then(|base| {
        let known = base.is_of(&notes, 0).map_err(|e| format!("{notes}: {}", e.desc()))?;
        base.put(&notes, &name, &text)?;
        Ok(known)
    });
    let standing = match noted {
        Ok(true) => Standing::Known,
        Ok(false) => Standing::Claimed,
        Err(sentence) => {
            LOG.say(Urgency::Warning, &sentence);
            Standing::Claimed
        }
    };
    if !Store::open(&settings.records.directory)?.add(record, standing)? {
        // Nothing that a user does too often may cost a payload its exit code.
        let line = format!(
            "job {}: not kept, there are too many records of {}: {}",
            record.job,
            match standing {
                Standing::Known => "it".to_owned(),
                Standing::Claimed => format!("jobs unknown here of uid {}", record.caller_uid),
            },
            record.line()
        );
        LOG.say(Urgency::Warning, &line);
    }
    Ok(())
}
