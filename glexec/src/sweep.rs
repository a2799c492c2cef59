//! Sweeping: what is read and opened before `act` pays a debt, for glexec-admin and `--settle`.

use crate::act::apart;
use crate::act::root::{Privilege, Root};
use crate::act::sink::Post;
use crate::act::state::{Settling, StateDir, is_of_caller};
use crate::act::sweep::{Settled, Sweep, Which};
use crate::decide::config::Config;
use crate::decide::entry::{RecordedRun, Trigger};
use crate::decide::refusal::Refusal;
use crate::decide::reporter::Reporter;
use crate::lookups::Lookups;
use crate::report::SiteReporter;
use crate::settings;
use contract::Reason;
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};
use system::Birth;

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
    /// What was set aside and is to be tried again, and nothing else.
    pub(crate) retry: Vec<String>,
    /// What was set aside and is to be dropped.
    pub(crate) drop: Vec<String>,
}

/// Pays what is owed.
///
/// # Errors
/// [`Reason::Usage`] for a word that is no `KEY=VALUE`; those of state directory and accounts.
pub(crate) fn sweep(
    root: &Root,
    (privilege, closers): (&Privilege, Vec<Birth>),
    (config, wanted): (&Config, &Wanted),
    reporter: &dyn Reporter,
) -> Result<Vec<(String, Settled)>, Refusal> {
    let job = pairs(&wanted.job)?;
    let directory = StateDir::open(root, &config.state)?;
    let identity = match &config.epilogue {
        Some(rule) => {
            let mut lookups = Lookups::open(root, Some(privilege), config.account_source)?;
            Some(lookups.epilogue(|| privilege.raise(), rule)?)
        }
        None => None,
    };
    let epilogue = config.epilogue.as_ref().zip(identity.as_ref());
    let mut sweep = Sweep::new((root, &directory), epilogue, config.kill_grace, reporter)?;
    sweep.asides = closers;
    let is_wanted = |recorded: &RecordedRun| {
        wanted.caller.is_none_or(|uid| recorded.entry.caller.uid == uid) && recorded.matches(&job)
    };
    let until = wanted.wait.map(|wait| Instant::now() + wait);
    // Who asks for one job wants it done, not scheduled.
    let at_once = wanted.now || !job.is_empty();
    let payer = match (wanted.by_caller, at_once) {
        (true, _) => Trigger::Caller,
        (false, true) => Trigger::RootAtOnce,
        (false, false) => Trigger::Root,
    };
    let mut rows = Vec::new();
    for name in &wanted.drop {
        rows.push(sweep.drop_aside(name)?);
    }
    let retried: Vec<String> =
        wanted.retry.iter().map(|name| sweep.take_up(name)).collect::<Result<_, _>>()?;
    let by_hand = !(wanted.drop.is_empty() && wanted.retry.is_empty());
    let is_named = |name: &str| {
        wanted.caller.is_none_or(|uid| is_of_caller(name, uid))
            && (!by_hand || retried.iter().any(|retried| retried == name))
    };
    if !by_hand || !retried.is_empty() {
        rows.extend(sweep.run(Which { named: &is_named, wanted: &is_wanted }, payer, until)?);
    }
    Ok(rows)
}

/// What became of one entry, as who asked is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) result: Became,
    pub(crate) detail: String,
}

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Became {
    Paid,
    Dropped,
    Later,
    Owed,
    Aside,
    Live,
    Odd,
}

impl Became {
    /// The word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Dropped => "dropped",
            Self::Later => "later",
            Self::Owed => "owed",
            Self::Aside => "aside",
            Self::Live => "live",
            Self::Odd => "odd",
        }
    }

    /// Whether something is owed still, for all that can be told.
    pub(crate) const fn is_owed(self) -> bool {
        matches!(self, Self::Later | Self::Owed | Self::Aside | Self::Odd)
    }
}

impl From<(String, Settled)> for Row {
    fn from((name, settled): (String, Settled)) -> Self {
        let (result, detail) = match settled {
            Settled::Paid(word) => (Became::Paid, word),
            Settled::Dropped => (Became::Dropped, "nothing of it is run".to_owned()),
            Settled::Later(at) => (Became::Later, format!("next attempt not before {at}")),
            Settled::Failed(why) => (Became::Owed, why),
            Settled::Aside(why) => (Became::Aside, why),
            Settled::Live(pid) => (Became::Live, format!("pid {pid}")),
            Settled::Odd(why) => (Became::Odd, why),
        };
        Self { name, result, detail }
    }
}

/// Has a process of root's own pay what is wanted, and waits for what it says. The lock is held for as
/// long as it pays. Who is ended while it waits ends nothing.
///
/// # Errors
/// Those of [`sweep`], told by the process, and those of starting it.
pub(crate) fn in_a_process_apart(
    privilege: &Privilege,
    lock: Option<&Settling>,
    wanted: &Wanted,
) -> Result<Vec<Row>, Refusal> {
    let apart = apart::start(privilege, lock, |root, closers| {
        told(&swept(root, (privilege, closers), (wanted, lock)))
    })?;
    heard(&apart.answer()?)
}

/// Pays, and logs it where the site wants it.
fn swept(
    root: &Root,
    (privilege, closers): (&Privilege, Vec<Birth>),
    (wanted, lock): (&Wanted, Option<&Settling>),
) -> Result<Vec<Row>, Refusal> {
    let config = settings::read(root)?;
    let early = Post::syslog(Some(privilege));
    let post = Post::open(Some(privilege), &config.log);
    let reporter = SiteReporter::new(&early, Uid::current().to_string());
    if let Ok(post) = &post {
        reporter.use_log(&config.log, post);
    }
    let settled = sweep(root, (privilege, closers), (&config, wanted), &reporter)?;
    if let Some(lock) = lock {
        StateDir::open(root, &config.state)?.is_settled(lock);
    }
    Ok(settled.into_iter().map(Row::from).collect())
}

/// What the process apart says: the rows, or why there are none.
#[derive(Serialize, Deserialize)]
enum Answer {
    Rows(Vec<Row>),
    Stopped { reason: String, sentence: String, detail: Option<String> },
}

fn told(swept: &Result<Vec<Row>, Refusal>) -> Vec<u8> {
    let said = match swept {
        Ok(rows) => Answer::Rows(rows.clone()),
        Err(stop) => Answer::Stopped {
            reason: stop.reason.word().to_owned(),
            sentence: stop.sentence.clone(),
            detail: stop.detail.clone(),
        },
    };
    // Who hears nothing is told that something is owed.
    serde_json::to_vec(&said).unwrap_or_default()
}

/// Reads what the process apart said.
///
/// # Errors
/// Why it has not paid; [`Reason::State`] where it says nothing that can be understood.
fn heard(answer: &[u8]) -> Result<Vec<Row>, Refusal> {
    match serde_json::from_slice(answer) {
        Ok(Answer::Rows(rows)) => Ok(rows),
        Ok(Answer::Stopped { reason, sentence, detail }) => {
            let known = Reason::ALL.iter().find(|known| known.word() == reason);
            let stop = Refusal::new(known.copied().unwrap_or(Reason::State), sentence);
            Err(detail.into_iter().fold(stop, Refusal::detail))
        }
        Err(e) => {
            Err(Refusal::new(Reason::State, "what is owed could not be settled; see the log")
                .detail(format!("the process that settles: {e}")))
        }
    }
}

/// The `KEY=VALUE` words of a job.
///
/// # Errors
/// [`Reason::Usage`] for a word that is none.
pub(crate) fn pairs(words: &[OsString]) -> Result<Vec<(&OsStr, &OsStr)>, Refusal> {
    words.iter().map(|word| pair(word)).collect()
}

fn pair(word: &OsStr) -> Result<(&OsStr, &OsStr), Refusal> {
    let bytes = word.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
    let split = at.and_then(|at| Some((bytes.get(..at)?, bytes.get(at + 1..)?)));
    split.map(|(key, value)| (OsStr::from_bytes(key), OsStr::from_bytes(value))).ok_or_else(|| {
        Refusal::new(Reason::Usage, "a job's key is given as KEY=VALUE")
            .hint("for instance SLURM_JOB_ID=4711")
    })
}
