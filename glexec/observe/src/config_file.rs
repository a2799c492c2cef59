//! The configuration: which of the two files, opened as root, read as a value.

use contract::Reason;
use decide::config::{Config, LogRule, Malformed, Syntax};
use decide::database::account_by_name;
use decide::refusal::Refusal;
use std::os::fd::OwnedFd;
use system::file_trust::Trust;
use system::secure_open::{self, Untrusted};

/// Ours.
pub const OURS: &str = "/etc/glexec.toml";
/// The original's, read where ours is absent.
pub const ORIGINAL: &str = "/etc/glexec.conf";
/// The account that the original ran as while it read its configuration.
const ORIGINAL_ACCOUNT: &str = "glexec";
/// More than this is no configuration.
pub const MOST: u64 = 1 << 20;
/// More than this is no account database that is read from a file at every run.
const MOST_ACCOUNTS: u64 = 64 << 20;

/// Reads the site's configuration.
///
/// # Errors
/// [`Reason::ConfigMissing`], [`Reason::ConfigUntrusted`], [`Reason::ConfigMalformed`].
pub fn read() -> Result<Config, Refusal> {
    Source::open(&Etc::open())?.into_config()
}

/// The file that counts, read and not looked at yet: that needs no right of root's.
#[derive(Debug)]
pub struct Source {
    text: Vec<u8>,
    file: &'static str,
    syntax: Syntax,
    /// Whether it belongs to the account that the original read it as.
    of_account: bool,
}

impl Source {
    /// Opens and reads it.
    ///
    /// # Errors
    /// [`Reason::ConfigMissing`], [`Reason::ConfigUntrusted`].
    pub fn open(etc: &Etc) -> Result<Self, Refusal> {
        match etc.read(OURS, MOST) {
            Ok(text) => Ok(Self { text, file: OURS, syntax: Syntax::Toml, of_account: false }),
            Err(Untrusted::Missing(_)) => Self::open_original(etc),
            Err(untrusted) => Err(refused(&untrusted)),
        }
    }

    /// What it says.
    ///
    /// # Errors
    /// [`Reason::ConfigMalformed`].
    pub fn into_config(self) -> Result<Config, Refusal> {
        let mut config = parse(&self.text, self.file, self.syntax)?;
        if self.of_account {
            config.notices.push(format!(
                "{ORIGINAL} belongs to account {ORIGINAL_ACCOUNT}, which is root's equal by that"
            ));
        }
        Ok(config)
    }

    /// Its text, in which syntax that is, and which file, for who asks.
    pub fn parts(&self) -> (&[u8], Syntax, &'static str) {
        (&self.text, self.syntax, self.file)
    }

    /// What it says of the log, as far as it can be read, where it cannot be used.
    pub fn log_rule(&self) -> Option<LogRule> {
        LogRule::of_what_can_be_read(&self.text, self.syntax)
    }

    fn open_original(etc: &Etc) -> Result<Self, Refusal> {
        let original =
            |text, of_account| Self { text, file: ORIGINAL, syntax: Syntax::Original, of_account };
        let untrusted = match etc.read(ORIGINAL, MOST) {
            Ok(text) => return Ok(original(text, false)),
            Err(Untrusted::Missing(_)) => {
                let detail = format!("neither {OURS} nor {ORIGINAL} exists; write one of them");
                return Err(Refusal::configuration(Reason::ConfigMissing, detail));
            }
            Err(untrusted) => untrusted,
        };
        // Seen in production: the file belongs to the account that read it.
        let passwd = etc.accounts("/etc/passwd")?;
        let account = account_by_name(&passwd, ORIGINAL_ACCOUNT).filter(|a| !a.uid.is_root());
        let account = account.ok_or_else(|| refused(&untrusted))?;
        let trust = Trust { user: Some(account.uid), ..Trust::default() };
        let text = secure_open::open_file(ORIGINAL, &trust)
            .and_then(|file| secure_open::read(file, ORIGINAL, MOST));
        Ok(original(text.map_err(|untrusted| refused(&untrusted))?, true))
    }
}

/// `/etc`, walked to and judged once for all that is read there; or why it is not trusted.
#[derive(Debug)]
pub struct Etc(Result<OwnedFd, Untrusted>);

impl Etc {
    /// Opens it.
    pub fn open() -> Self {
        Self(secure_open::open_parent(OURS, &Trust::default()).map(|(directory, _)| directory))
    }

    /// A file of it, whole.
    fn read(&self, path: &str, most: u64) -> Result<Vec<u8>, Untrusted> {
        let directory = self.0.as_ref().map_err(Clone::clone)?;
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        let file = secure_open::open_in(directory, name, path, &Trust::default())?;
        secure_open::read(file, path, most)
    }

    /// /etc/passwd or /etc/group, whole.
    ///
    /// # Errors
    /// [`Reason::Accounts`].
    pub(crate) fn accounts(&self, path: &str) -> Result<Vec<u8>, Refusal> {
        self.read(path, MOST_ACCOUNTS).map_err(|untrusted| {
            Refusal::new(Reason::Accounts, "the account database cannot be read; see the log")
                .detail(untrusted.clause())
        })
    }
}

/// A configuration's text as a value; `path` is for the message.
///
/// # Errors
/// [`Reason::ConfigMalformed`] with line and column for the log.
pub fn parse(text: &[u8], path: &str, syntax: Syntax) -> Result<Config, Refusal> {
    Config::parse(text, syntax).map_err(|bad| malformed(path, &bad))
}

/// A configuration that is not understood, for the log; `path` is its file.
pub fn malformed(path: &str, bad: &Malformed) -> Refusal {
    let detail = format!("{path}:{}:{}: {}", bad.line, bad.column, bad.sentence);
    Refusal::configuration(Reason::ConfigMalformed, detail)
}

fn refused(untrusted: &Untrusted) -> Refusal {
    if let Untrusted::Exhausted(clause) = untrusted {
        return exhausted(clause);
    }
    let detail = match untrusted {
        Untrusted::Changeable(..) => format!(
            "{}; nobody but root may be able to change it or a directory above it",
            untrusted.clause()
        ),
        Untrusted::Missing(_) | Untrusted::Exhausted(_) | Untrusted::Because(_) => {
            untrusted.clause().to_owned()
        }
    };
    Refusal::configuration(Reason::ConfigUntrusted, detail)
}

/// The caller has left no descriptor free.
pub(crate) fn exhausted(clause: &str) -> Refusal {
    let sentence = "too many open files: no descriptor is left for glexec";
    Refusal::new(Reason::Limits, sentence)
        .detail(clause)
        .hint("close some, or raise RLIMIT_NOFILE where the job is started")
}
