//! Sweeping: what is read and opened before `act` pays a debt, for glexec-admin and `--settle`.

use crate::act::root::{Privilege, Root};
use crate::act::state::StateDir;
use crate::act::sweep::{Settled, Sweep};
use crate::contract::Reason;
use crate::decide::config::Config;
use crate::decide::entry::{Payer, Story};
use crate::decide::stop::Stop;
use crate::decide::witness::Witness;
use crate::lookups::Lookups;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

/// Which entries, and how patiently.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// `KEY=VALUE` words that must all match.
    pub(crate) job: Vec<OsString>,
    /// Only this caller's.
    pub(crate) caller: Option<u32>,
    /// How long those that live are waited for.
    pub(crate) wait: Option<Duration>,
    /// Without the pauses between attempts.
    pub(crate) now: bool,
    /// By the caller, whose scheduler may end this, too.
    pub(crate) by_caller: bool,
}

/// Pays what is owed.
///
/// # Errors
/// [`Reason::Usage`] for a word that is no `KEY=VALUE`; those of state directory and accounts.
pub(crate) fn sweep(
    root: &Root,
    privilege: Option<&Privilege>,
    (config, wanted): (&Config, &Wanted),
    witness: &dyn Witness,
) -> Result<Vec<(String, Settled)>, Stop> {
    let job: Vec<(&OsStr, &OsStr)> =
        wanted.job.iter().map(|word| pair(word)).collect::<Result<_, _>>()?;
    let directory = StateDir::open(root, &config.state)?;
    let identity = match &config.epilogue {
        Some(rule) => Some(Lookups::open(root, privilege, config.account_source)?.epilogue(rule)?),
        None => None,
    };
    let epilogue = config.epilogue.as_ref().zip(identity.as_ref());
    let mut sweep = Sweep::new((root, &directory), epilogue, config.kill_grace, witness)?;
    let is_wanted = |story: &Story| {
        wanted.caller.is_none_or(|uid| story.entry.caller.uid == uid) && story.matches(&job)
    };
    let until = wanted.wait.map(|wait| Instant::now() + wait);
    // Who asks for one job wants it done, not scheduled.
    let at_once = wanted.now || !job.is_empty();
    let payer = match (wanted.by_caller, at_once) {
        (true, _) => Payer::Caller,
        (false, true) => Payer::RootAtOnce,
        (false, false) => Payer::Root,
    };
    sweep.run(&is_wanted, payer, until)
}

fn pair(word: &OsStr) -> Result<(&OsStr, &OsStr), Stop> {
    let bytes = word.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
    let split = at.and_then(|at| Some((bytes.get(..at)?, bytes.get(at + 1..)?)));
    split.map(|(key, value)| (OsStr::from_bytes(key), OsStr::from_bytes(value))).ok_or_else(|| {
        Stop::new(Reason::Usage, "a job's key is given as KEY=VALUE")
            .hint("for instance SLURM_JOB_ID=4711")
    })
}
