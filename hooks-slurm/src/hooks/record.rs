//! The epilogue's record: what a payload did, kept until its job's end.

use super::{NOTES, began, complain, variables};
use crate::dialect::{self, Record};
use crate::membership::{self, Membership, Reapers};
use crate::places::Base;
use crate::settings::Settings;
use crate::store::{Standing, Store};
use adapter::{Log, RecordField, Urgency};
use nix::unistd::Pid;
use std::env::var_os;

const LOG: Log = Log::new("glexec-slurm-record");

/// The epilogue, or what the site's own epilogue calls: keeps what the payload did.
pub fn record() -> u8 {
    let kept = Settings::read().and_then(|settings| match Record::of(&variables())? {
        None => Ok(()),
        Some(mut record) => match job_of(&settings, &record) {
            Some(job) => {
                record.job = job;
                record.more = RecordField::of(&settings.records.fields, |name| var_os(name));
                keep(&settings, &record)
            }
            None => {
                let text = format!(
                    "names job {} and is not of it, nor kept for it: {}",
                    record.job,
                    record.line()
                );
                LOG.say(Urgency::Notice, &text);
                Ok(())
            }
        },
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

/// The job of a record's run: as Slurm put or started its glexec, from which the epilogue descends,
/// and where that cannot be told, as its task said. `None` where it is not of the job that it names.
fn job_of(settings: &Settings, record: &Record) -> Option<u32> {
    // What is paid later is paid by another process, which may be of another job.
    if !membership::is_above_us(record.glexec_pid) {
        return Some(record.job);
    }
    let began = began(settings, record.caller_uid, record.job);
    match membership::of(Pid::from_raw(record.glexec_pid), began, Reapers::Roots) {
        Ok(Some(Membership::Of(job))) => Some(job),
        Ok(Some(Membership::Older)) => None,
        Ok(Some(Membership::Unknown) | None) | Err(_) => Some(record.job),
    }
}

/// For the epilog, and a note for TaskEpilog, without which nothing is lost.
fn keep(settings: &Settings, record: &Record) -> Result<(), String> {
    let name = dialect::note_name(record.step.as_deref(), record.task.as_deref());
    let text = dialect::note(record) + "\n";
    let notes = dialect::notes_of(record.caller_uid, record.job);
    let owner = settings.records.owner()?;
    let noted = Base::open(&settings.records.notes, NOTES).and_then(|base| {
        let known = base.is_of(&notes, owner).map_err(|e| format!("{notes}: {}", e.desc()))?;
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
    if !Store::open(&settings.records.directory, owner)?.add(record, standing)? {
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
