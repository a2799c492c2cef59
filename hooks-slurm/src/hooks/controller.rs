//! What runs as SlurmUser on the controller: EpilogSlurmctld.

use super::{CONTROLLER, Desk, ask, said, variables};
use crate::dialect::{self, Job, Record};
use crate::settings::{Accounting, Settings, seconds};
use adapter::{Log, Urgency};
use std::ffi::OsString;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LOG: Log = Log::new("glexec-slurm-epilog-ctld");

/// EpilogSlurmctld: what the nodes' epilogs handed over goes to the accounting. Never a failure.
pub fn epilog_ctld() -> u8 {
    let variables = variables();
    let job = Job::of(&variables);
    let told = Settings::read().and_then(|settings| {
        let job = job?;
        let Some(accounting) = &settings.accounting else { return Ok(()) };
        let nodes = variables.number("SLURM_JOB_NUM_NODES").unwrap_or(1);
        let until = Instant::now() + seconds(accounting.time_limit);
        forget_old(&accounting.spool)?;
        let records = gather(accounting, job.id, nodes, until)?;
        let desk = Desk { log: LOG, job: &job };
        account(&settings, accounting, &desk, &records, until)
    });
    if let Err(sentence) = told {
        LOG.say(Urgency::Warning, &sentence);
    }
    0
}

/// What is in the directory that the nodes write to.
///
/// # Errors
/// One sentence where it cannot be read to its end: that is never "empty".
fn entries(spool: &Path) -> Result<Vec<DirEntry>, String> {
    let read = fs::read_dir(spool).and_then(Iterator::collect);
    read.map_err(|error: std::io::Error| {
        format!(
            "[accounting] spool {}: {error}; it must be a directory that SlurmUser can read and write, on every node and on the controller",
            spool.display()
        )
    })
}

/// Waits for every node's file; takes what is there when the time is up.
///
/// # Errors
/// One sentence where the directory cannot be read.
fn gather(
    accounting: &Accounting,
    job: u32,
    nodes: usize,
    until: Instant,
) -> Result<Vec<Record>, String> {
    const NAP: Duration = Duration::from_millis(100);
    let begin = format!("{job}.");
    let mine = || -> Result<Vec<PathBuf>, String> {
        let all = entries(&accounting.spool)?.into_iter();
        let names =
            all.filter(|entry| entry.file_name().to_str().is_some_and(|n| n.starts_with(&begin)));
        Ok(names.map(|entry| entry.path()).collect())
    };
    let mut files = mine()?;
    // The rest is the accounting's.
    let last = until.checked_sub(CONTROLLER).unwrap_or(until);
    while files.len() < nodes && Instant::now() < last {
        std::thread::sleep(NAP);
        files = mine()?;
    }
    let mut records = Vec::new();
    for file in files {
        let read = fs::read(&file).map_err(|error| error.to_string()).and_then(|text| {
            serde_json::from_slice::<Vec<Record>>(&text).map_err(|error| error.to_string())
        });
        match read {
            Ok(more) => {
                records.extend(more);
                let _ = fs::remove_file(&file);
            }
            // It stays a day, for whoever looks what became of the job.
            Err(why) => {
                LOG.say(Urgency::Warning, &format!("{}: {why}", file.display()));
            }
        }
    }
    Ok(records)
}

/// What came too late for its job.
fn forget_old(spool: &Path) -> Result<(), String> {
    const OLD: Duration = Duration::from_secs(24 * 3600);
    for entry in entries(spool)? {
        let age =
            entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        let ours = entry.file_name().to_string_lossy().contains(".json");
        if ours && age.is_some_and(|age| age > OLD) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// One call of sacctmgr, repeated until the accounting knows the job.
fn account(
    settings: &Settings,
    accounting: &Accounting,
    desk: &Desk<'_>,
    records: &[Record],
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_that_cannot_be_read_is_not_an_empty_one() {
        let spool = Path::new("/proc/self/status/spool");
        let sentence = entries(spool).unwrap_err();
        assert!(sentence.contains("/proc/self/status/spool") && sentence.contains("SlurmUser"));
        assert_eq!(forget_old(spool), Err(sentence));
    }
}
