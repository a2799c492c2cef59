//! `--settle`: what is owed of the caller's own finished runs is paid.

use super::Walk;
use act::apart;
use act::state::StateDir;
use contract::{Reason, Record};
use decide::config::Config;
use decide::refusal::{Refusal, powerless};
use decide::reporter::Reporter as _;
use decide::settling::{Became, Wanted, pairs};
use std::ffi::OsString;

/// `--settle`: has what is owed of the caller's own finished runs paid whose job keys match. Who
/// asks needs to be on no list: it is the site's clean-up that is run, not the caller's command. It
/// is run by a process of root's own; this one stays the caller's and waits for the answer.
///
/// # Errors
/// [`Reason::Usage`] for words that are no keys; those of the process that settles;
/// [`Reason::State`] where something is still owed.
pub(super) fn settle(walk: &Walk<'_>, config: &Config, job: &[OsString]) -> Result<u8, Refusal> {
    if job.is_empty() {
        let usage = Refusal::new(Reason::Usage, "--settle needs the job's keys");
        return Err(usage.hint("--settle KEY=VALUE..."));
    }
    pairs(job)?;
    let privilege = walk.rights.as_ref().map_err(|reason| powerless(*reason))?;
    let caller = privilege.caller();
    let rows = loop {
        let lock = {
            let root = privilege.raise()?;
            let directory = StateDir::open(&root, &config.state)?;
            directory.knows(caller)?.then(|| directory.settling(caller)).transpose()?
        };
        let Some(lock) = lock else { break Vec::new() };
        if lock.wait()? {
            let (job, caller) = (job.to_vec(), Some(caller.as_raw()));
            let wanted = Wanted { job, caller, by_caller: true, ..Wanted::default() };
            break apart::start(privilege, Some(&lock), &wanted)?.answer()?;
        }
    };
    let count = |of: fn(Became) -> bool| {
        u32::try_from(rows.iter().filter(|row| of(row.result)).count()).unwrap_or(u32::MAX)
    };
    let (paid, live) = (count(|b| b == Became::Paid), count(|b| b == Became::Live));
    let owed = count(Became::is_owed);
    walk.reporter.status(&Record::Settled { paid, live, owed });
    match owed {
        0 => Ok(0),
        count => Err(Refusal::new(Reason::State, format!("{count} runs still owe something"))
            .hint("the log says why; the site has to act")),
    }
}
