//! The plan: everything that will be done, as a value. Showing it is the rehearsal.

use super::config::{
    CgroupRule, Config, EpilogueFailure, EpilogueOutput, StateRule, Stragglers, WorkingDirectory,
};
use super::entry::{Bytes, Entry, Handed, Place, VERSION};
use super::environment::Environ;
use super::epilogue_identity::EpilogueIdentity;
use super::facts::{Account, Caller, CallerDirectory};
use super::proxy_copy::ProxyCopy;
use super::refusal::Refusal;
use super::target::Target;
use contract::{Invocation, Reason};
use std::ffi::{CString, OsStr};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;
use system::Birth;
use system::text::{cut, escaped};

/// What a caller asked for: its words and its variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its words.
    pub invocation: Invocation,
    /// Its variables.
    pub environ: Environ,
    /// Where the caller was; `None` where that directory is gone.
    pub directory: CallerDirectory,
    /// What this run is called wherever it is told of, and no other on this node.
    pub run_id: String,
}

/// A command found for the target: the path to execute and what it is behind all links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What is executed.
    pub path: CString,
    /// Where that leads to.
    pub resolved: Vec<u8>,
}

/// An epilogue that will run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epilogue {
    /// Its absolute path.
    pub path: String,
    /// As whom it runs, and who may change it.
    pub identity: EpilogueIdentity,
    /// 1 s and more.
    pub timeout: Duration,
    /// What its failing does.
    pub failure: EpilogueFailure,
    /// Where its output goes.
    pub output: EpilogueOutput,
    /// All variables that are known before the payload starts.
    pub environment: Vec<CString>,
}

/// What a lingering glexec owes and how long it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linger {
    /// What happens to what the payload leaves behind.
    pub stragglers: Stragglers,
    /// Between TERM and KILL.
    pub kill_grace: Duration,
    /// From a scheduler's TERM to KILL.
    pub term_grace: Option<Duration>,
    /// Whether the payload is stopped while the process that started glexec is.
    pub suspend_with_caller: bool,
    /// What runs after the payload.
    pub epilogue: Option<Epilogue>,
    /// Where glexec and the payload go.
    pub cgroups: CgroupRule,
    /// Where the run is remembered, where it owes something.
    pub state: Option<StateRule>,
    /// Where runs within the payload are remembered that owe something.
    pub nested: Option<StateRule>,
    /// Directories that the target has for the run.
    pub hand_over: Vec<Vec<u8>>,
}

/// Become the payload, or stay as its parent. An epilogue without lingering cannot be said.
#[expect(clippy::large_enum_variant, reason = "one of it in a run, and never moved about")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launch {
    /// Become the payload.
    Replace,
    /// Stay as its parent.
    Linger(Linger),
    /// No root, no switch: the mapping is logged and the caller runs its own command.
    LogOnly,
}

/// Everything that will be done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Plan {
    /// What the run is called everywhere.
    pub run_id: String,
    /// Whether the target is one of a pool's accounts.
    pub of_pool: bool,
    /// The subject of the credential that was verified for it.
    pub subject: Option<String>,
    /// The payload's proxy.
    pub proxy: Option<ProxyCopy>,
    /// Who calls.
    pub caller: Caller,
    /// Whom the payload runs as.
    pub target: Target,
    /// The payload's words.
    pub argv: Vec<CString>,
    /// What is executed.
    pub command: Found,
    /// The payload's environment.
    pub environment: Vec<CString>,
    /// Tried in order, as the target; the last is `/`.
    pub directories: Vec<CString>,
    /// Its soft limit of the stack, in bytes, where the caller says one; `u64::MAX` for none.
    pub stack: Option<u64>,
    /// How it is started.
    pub launch: Launch,
    /// Whether the payload gets a session of its own.
    pub detach_terminal: bool,
    /// What an epilogue is told of the run, as far as it is known now; empty without one.
    pub told: Vec<CString>,
    /// Whether the target's account is this run's alone.
    pub exclusive: bool,
    /// The job's keys: names and values.
    pub job: Vec<(String, Vec<u8>)>,
    /// Descriptors above 2 that the payload keeps.
    pub keep_fds: Vec<RawFd>,
    /// Nothing on the caller's stderr.
    pub silent: bool,
}

impl Plan {
    /// The epilogue, where one is owed.
    pub const fn epilogue(&self) -> Option<&Epilogue> {
        match &self.launch {
            Launch::Linger(linger) => linger.epilogue.as_ref(),
            Launch::Replace | Launch::LogOnly => None,
        }
    }
}

/// What only the process that lingers knows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervisor {
    /// Where its pids mean something.
    pub place: Place,
    /// Its own process.
    pub birth: Birth,
    /// Its session.
    pub session: i32,
    /// Its process group.
    pub group: i32,
    /// Seconds since 1970.
    pub since: u64,
    /// Whether the payload is in its group.
    pub shares_group: bool,
}

/// What was found out for a plan, besides what the caller asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Who calls.
    pub caller: Caller,
    /// Whom the payload runs as.
    pub target: Target,
    /// Whether the target is one of a pool's accounts.
    pub of_pool: bool,
    /// Whether it was taken for this run alone.
    pub exclusive: bool,
    /// The subject of the caller's credential, where one was read.
    pub subject: Option<String>,
    /// The proxy that the payload gets.
    pub proxy: Option<ProxyCopy>,
    /// What is executed.
    pub command: Found,
    /// Where the payload may begin, in order.
    pub directories: Vec<CString>,
    /// As whom an epilogue runs; where the site has none or glexec does not linger, nobody.
    pub epilogue: Option<EpilogueIdentity>,
}

impl Plan {
    /// What is remembered of the run.
    pub fn entry(&self, supervisor: Supervisor, handed: Vec<Handed>) -> Entry {
        let Supervisor { place, birth, session, group, since, shares_group } = supervisor;
        let words: Vec<String> = self.argv.iter().map(|word| escaped(word.as_bytes())).collect();
        Entry {
            version: VERSION,
            run_id: self.run_id.clone(),
            place,
            glexec: birth,
            session,
            group,
            since,
            caller: self.caller.person(),
            target: self.target.person(),
            shares_group,
            exclusive: self.exclusive,
            owes_epilogue: self.epilogue().is_some(),
            command: cut(words.join(" "), 1024),
            job: self.job.iter().map(|(k, v)| (k.clone(), Bytes(v.clone()))).collect(),
            environment: self.environment.iter().map(Bytes::from).collect(),
            told: self.told.iter().map(Bytes::from).collect(),
            handed,
            proxy: self.proxy.as_ref().and_then(ProxyCopy::owed),
        }
    }
}

/// Where COMMAND may be: as it is, below the caller's directory, or along the site's `path`.
///
/// # Errors
/// [`Reason::NoCommand`]; [`Reason::DirectoryGone`] for a relative path from nowhere.
pub fn candidates(request: &Request, path: &str) -> Result<Vec<CString>, Refusal> {
    let word = request.invocation.words.first().map(|w| w.as_bytes());
    let word = word.filter(|w| !w.is_empty()).ok_or_else(|| {
        Refusal::new(Reason::NoCommand, "there is no command to run")
            .hint("usage: glexec [OPTION...] [--] COMMAND [ARG...]")
    })?;
    let beside = |directory: &[u8]| CString::new([directory, b"/", word].concat()).ok();
    let found: Vec<Option<CString>> = if word.starts_with(b"/") {
        vec![CString::new(word).ok()]
    } else if word.contains(&b'/') {
        let directory = request.directory.as_deref().ok_or_else(|| {
            let sentence = "the working directory is gone and the command is relative to it";
            Refusal::new(Reason::DirectoryGone, sentence)
                .hint("give the command as an absolute path")
        })?;
        vec![beside(directory.as_os_str().as_bytes())]
    } else {
        path.split(':').map(|directory| beside(directory.as_bytes())).collect()
    };
    Ok(found.into_iter().flatten().collect())
}

/// The directories to be handed over, as the caller names them. Who runs its payload as itself has
/// its directories anyway.
pub fn given(config: &Config, environ: &Environ, as_itself: bool) -> Vec<Vec<u8>> {
    let names = if as_itself { &[][..] } else { &config.hand_over };
    let given = names.iter().filter_map(|name| environ.get(name)).map(<[u8]>::to_vec);
    given.filter(|path| !path.is_empty()).collect()
}

/// Whether the command is in a directory that is handed over: then the target cannot look for it
/// yet, and will have what its owner has.
pub fn within(given: &[Vec<u8>], candidates: &[CString]) -> bool {
    let below = |path: &Path| given.iter().any(|directory| is_at_or_below(directory, path));
    candidates.iter().any(|path| below(Path::new(OsStr::from_bytes(path.as_bytes()))))
}

fn is_at_or_below(directory: &[u8], path: &Path) -> bool {
    path.starts_with(OsStr::from_bytes(directory))
}

/// Compares the mapping with the ids of the deprecated verify mode.
///
/// # Errors
/// [`Reason::IdsDiffer`].
pub fn verify_ids(invocation: &Invocation, target: &Target) -> Result<(), Refusal> {
    let (uid, gid) = (target.uid().as_raw(), target.gid().as_raw());
    match invocation.verify {
        Some(ids) if (ids.uid, ids.gid) != (uid, gid) => {
            let sentence = format!("you are not mapped to uid {} gid {}", ids.uid, ids.gid);
            let detail = format!("the mapping gives uid {uid} gid {gid}");
            Err(Refusal::new(Reason::IdsDiffer, sentence).detail(detail))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whose home and shell the payload has.
#[must_use]
pub fn own_account<'a>(config: &Config, caller: &'a Caller, target: &'a Target) -> &'a Account {
    match caller.account() {
        Some(account) if config.log_only => account,
        Some(_) | None => target.account(),
    }
}

/// Where the payload begins.
#[derive(Debug)]
pub struct Begin {
    /// In the first of these that it may enter.
    pub directories: Vec<CString>,
    /// In a directory that is handed over: that cannot be tried before the target has it.
    pub within_given: bool,
}

impl Begin {
    /// For a payload of this target; `of_pool`: one of a pool's accounts, whose home is the next
    /// payload's, too.
    ///
    /// Who has a directory for the run begins there or not at all: elsewhere the payload would find
    /// none of its files, and what it makes would be lost or somebody else's.
    #[must_use]
    pub fn new(
        config: &Config,
        request: &Request,
        account: &Account,
        of_pool: bool,
        given: &[Vec<u8>],
    ) -> Self {
        let rule = config.working_directory;
        let callers = request.directory.as_deref().filter(|_| rule != WorkingDirectory::Home);
        let is_given = |path| given.iter().any(|directory| is_at_or_below(directory, path));
        let within_given = callers.is_some_and(is_given);
        let alone = within_given || rule == WorkingDirectory::CallerOnly;
        let home = (rule == WorkingDirectory::Home || !of_pool).then_some(account.home.as_os_str());
        let others = [home, Some(OsStr::new("/"))].into_iter().flatten().filter(|_| !alone);
        let directories = callers
            .map(Path::as_os_str)
            .into_iter()
            .chain(others)
            .filter(|directory| directory.as_bytes().starts_with(b"/"))
            .filter_map(|directory| CString::new(directory.as_bytes()).ok())
            .collect();
        Self { directories, within_given }
    }
}
