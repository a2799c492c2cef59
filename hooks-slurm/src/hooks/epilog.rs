//! Epilog: run by slurmd as root at a job's end on each of its nodes.

use super::{Desk, NOTES, RECORDS, SCRATCH, SCRATCHES, ask, begun, check, runs, said};
use crate::dialect::{self, Job};
use crate::groups;
use crate::places::Base;
use crate::settings::{GLEXEC_ADMIN, Settings, seconds};
use crate::store::Store;
use crate::verdict::{self, Settlement, Swept};
use adapter::{Log, Urgency, remove_as_told};
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

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

/// Settles what the job's runs owe, and whatever else its user owes; waits for those that live. Gives
/// the site's fault.
fn settle(settings: &Settings, desk: &Desk<'_>, until: Instant) -> Option<String> {
    /// What other jobs owe is theirs to wait for: a sweep goes on without us.
    const OTHERS: Duration = Duration::from_secs(5);
    let mut settlement = settle_job(desk, until, None);
    // Runs of this user's that named no job, or another: paid where they are due.
    let others = sweep(desk.job.uid, Vec::new(), until.min(Instant::now() + OTHERS));
    let others = others.unwrap_or_default();
    others.notes.iter().for_each(|note| desk.say(Urgency::Notice, note));
    if settlement.live || others.live {
        let waited = runs::wait(settings, desk, until).inspect_err(|sentence| {
            desk.say(Urgency::Warning, sentence);
        });
        match waited {
            Ok(false) => {}
            Ok(true) => settlement = settle_job(desk, until, None),
            // Which runs are the job's could not be told: whoever names it is waited for.
            Err(_) => settlement = settle_job(desk, until, Some(settings.epilog.wait)),
        }
    }
    let fault = settlement.fault?;
    // What is wrong, by name, where the configuration or the epilogue is it.
    let left = until.saturating_duration_since(Instant::now()).max(seconds(5));
    let checked = check(None, left);
    let named = checked.ok().flatten().and_then(|checked| checked.fault().map(str::to_owned));
    Some(named.unwrap_or(fault))
}

/// Sweeps what names the job; with `wait` seconds for what lives.
fn settle_job(desk: &Desk<'_>, until: Instant, wait: Option<u32>) -> Settlement {
    let mut settlement = Settlement::default();
    for number in desk.job.numbers() {
        let mut words: Vec<OsString> = vec![format!("--job=SLURM_JOB_ID={number}").into()];
        words.extend(wait.map(|wait| format!("--wait={wait}").into()));
        settlement.add(
            sweep(desk.job.uid, words, until)
                .unwrap_or_else(|fault| Settlement { fault: Some(fault), ..Settlement::default() }),
        );
    }
    settlement.notes.iter().for_each(|note| desk.say(Urgency::Notice, note));
    settlement
}

fn sweep(uid: u32, mut words: Vec<OsString>, until: Instant) -> Result<Settlement, String> {
    words.splice(0..0, ["sweep".into(), "--json".into(), format!("--caller={uid}").into()]);
    let left = until.saturating_duration_since(Instant::now());
    // An epilogue that takes longer runs on, in a process group that Slurm does not end.
    let answer = ask(Path::new(GLEXEC_ADMIN), words, (left, false))?;
    if answer.late {
        let note = "the sweep goes on after the end of this epilog".to_owned();
        return Ok(Settlement { notes: vec![note], ..Settlement::default() });
    }
    let rows: Result<Vec<Swept>, _> = serde_json::from_str(&answer.stdout);
    rows.map(|rows| verdict::settlement(&rows)).map_err(|_| said(Path::new(GLEXEC_ADMIN), &answer))
}

/// Records go to the log and, where the site asks for it, to the controller.
fn hand_on(settings: &Settings, desk: &Desk<'_>) {
    let job = desk.job;
    let store = || Store::open(&settings.records.directory, settings.records.owner()?);
    let taken = store().and_then(|store| {
        match store.tidy()? {
            0 => {}
            old => desk.say(
                Urgency::Notice,
                &format!("{old} files of records removed that no job took in a week"),
            ),
        }
        let mut all = store.take(job.uid, job.id)?;
        if let Some(leader) = leader_elsewhere(settings, job)? {
            all.extend(store.take(job.uid, leader)?);
        }
        Ok(all)
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

/// The first job of a heterogeneous one, where no part of that one is on this node: what is filed
/// under its number is a component's, then.
fn leader_elsewhere(settings: &Settings, job: &Job) -> Result<Option<u32>, String> {
    let Some(leader) = job.leader.filter(|leader| *leader != job.id) else { return Ok(None) };
    let base = Base::open(&settings.records.notes, NOTES)?;
    let notes = dialect::notes_of(job.uid, leader);
    let here = base.has(&notes).map_err(|e| format!("{}/{notes}: {}", base.shown(), e.desc()))?;
    Ok((!here).then_some(leader))
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
    let records = &settings.records;
    let _lock = Base::open_of(&records.directory, RECORDS, records.owner()?)?.lock()?;
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
