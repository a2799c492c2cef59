//! Prolog: run by slurmd as root before a job's first process on a node.

use super::{BEGAN, Desk, NOTES, RECORDS, SCRATCH, SCRATCHES, begun, boot, check};
use crate::dialect::{self, Job};
use crate::membership;
use crate::places::Base;
use crate::settings::{Settings, seconds};
use crate::verdict::Fitness;
use adapter::{Log, Urgency};

/// Prolog: whether this node can serve, and what the job needs on it.
pub fn prolog() -> u8 {
    match begun(Log::new("glexec-slurm-prolog")) {
        Ok((log, job, settings)) => look_and_prepare(&Desk { log, job: &job }, &settings),
        Err(code) => code,
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
    let owner = settings.records.owner()?;
    let _lock = Base::open_of(&settings.records.directory, RECORDS, owner)?.lock()?;
    // Not the job's user's, who could fill what is below /run.
    let notes = dialect::notes_of(job.uid, job.id);
    let base = Base::open(&settings.records.notes, NOTES)?;
    base.ensure(&notes, (owner, job.gid), 0o710)?;
    note_begin(&base, &notes)?;
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

/// When the job began: what is older than its first Prolog of this boot is not of it. Without this
/// note less is known of a run, and it is rather waited for.
fn note_begin(base: &Base, notes: &str) -> Result<(), String> {
    let failed = |what: &dyn std::fmt::Display| format!("{}/{notes}: {what}", base.shown());
    let (Some(boot), Ok(now)) = (boot(), membership::now()) else { return Ok(()) };
    let noted = base.read(notes, BEGAN).map_err(|error| failed(&error))?;
    if noted.is_none_or(|line| dialect::began_in(&line, &boot).is_none()) {
        base.put(notes, BEGAN, &dialect::began(now, &boot))?;
    }
    Ok(())
}
