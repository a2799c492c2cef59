//! The configuration: which of the two files, opened as root, read as a value.

use contract::Reason;
use decide::config::{self, Config, LogRule, Malformed, Shown, Syntax};
use decide::database::account_by_name;
use decide::refusal::Refusal;
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

/// The site's configuration, and which file it is.
#[derive(Debug)]
pub struct InForce {
    /// What it says.
    pub config: Config,
    /// Its path.
    pub file: &'static str,
    /// Whether there is a second file, which is not read.
    pub idle: bool,
}

/// Reads the site's configuration.
///
/// # Errors
/// [`Reason::ConfigMissing`], [`Reason::ConfigUntrusted`], [`Reason::ConfigMalformed`].
pub fn read() -> Result<Config, Refusal> {
    Source::open()?.into_config()
}

/// The same, for who asks which file that is.
///
/// # Errors
/// As [`read`].
pub fn in_force() -> Result<InForce, Refusal> {
    let file = Source::open()?.file;
    let idle = file == OURS && nix::sys::stat::lstat(ORIGINAL).is_ok();
    Ok(InForce { config: read()?, file, idle })
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
    pub fn open() -> Result<Self, Refusal> {
        match text(OURS, &Trust::default()) {
            Ok(text) => Ok(Self { text, file: OURS, syntax: Syntax::Toml, of_account: false }),
            Err(Untrusted::Missing(_)) => Self::open_original(),
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

    /// What it says key by key, and the file's name, for who asks.
    ///
    /// # Errors
    /// [`Reason::ConfigMalformed`].
    pub fn shown(&self) -> Result<(Vec<Shown>, &'static str), Refusal> {
        let shown = config::shown(&self.text, self.syntax);
        Ok((shown.map_err(|bad| malformed(self.file, &bad))?, self.file))
    }

    /// What it says of the log, as far as it can be read, where it cannot be used.
    pub fn log_rule(&self) -> Option<LogRule> {
        LogRule::of_what_can_be_read(&self.text, self.syntax)
    }

    fn open_original() -> Result<Self, Refusal> {
        let original =
            |text, of_account| Self { text, file: ORIGINAL, syntax: Syntax::Original, of_account };
        let untrusted = match text(ORIGINAL, &Trust::default()) {
            Ok(text) => return Ok(original(text, false)),
            Err(Untrusted::Missing(_)) => {
                let detail = format!("neither {OURS} nor {ORIGINAL} exists; write one of them");
                return Err(Refusal::configuration(Reason::ConfigMissing, detail));
            }
            Err(untrusted) => untrusted,
        };
        // Seen in production: the file belongs to the account that read it.
        let passwd = accounts_file("/etc/passwd")?;
        let account = account_by_name(&passwd, ORIGINAL_ACCOUNT).filter(|a| !a.uid.is_root());
        let account = account.ok_or_else(|| refused(&untrusted))?;
        let trust = Trust { user: Some(account.uid), ..Trust::default() };
        let text = text(ORIGINAL, &trust).map_err(|untrusted| refused(&untrusted))?;
        Ok(original(text, true))
    }
}

fn text(path: &str, trust: &Trust) -> Result<Vec<u8>, Untrusted> {
    secure_open::read(secure_open::open_file(path, trust)?, path, MOST)
}

/// A configuration's text as a value; `path` is for the message.
///
/// # Errors
/// [`Reason::ConfigMalformed`] with line and column for the log.
pub fn parse(text: &[u8], path: &str, syntax: Syntax) -> Result<Config, Refusal> {
    Config::parse(text, syntax).map_err(|bad| malformed(path, &bad))
}

fn malformed(path: &str, bad: &Malformed) -> Refusal {
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

/// /etc/passwd or /etc/group, whole.
///
/// # Errors
/// [`Reason::Accounts`].
pub fn accounts_file(path: &str) -> Result<Vec<u8>, Refusal> {
    secure_open::open_file(path, &Trust::default())
        .and_then(|file| secure_open::read(file, path, MOST_ACCOUNTS))
        .map_err(|untrusted| {
            Refusal::new(Reason::Accounts, "the account database cannot be read; see the log")
                .detail(untrusted.clause())
        })
}
