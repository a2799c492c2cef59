//! The configuration: which of the two files, and what lies in the directory beside it, opened as
//! root, read as a value.

use contract::Reason;
use decide::config::{Config, LogRule, Malformed, SourceFile, Syntax};
use decide::database::account_by_name;
use decide::refusal::Refusal;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag};
use std::os::fd::OwnedFd;
use system::file_trust::Trust;
use system::secure_open::{self, Untrusted};

/// Ours.
pub const OURS: &str = "/etc/glexec.toml";
/// The original's, read where ours is absent.
pub const ORIGINAL: &str = "/etc/glexec.conf";
/// What lies here adds to whichever of them counts, in the order of the names' bytes.
pub const DIRECTORY: &str = "/etc/glexec.d";
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

/// The files that count, read and not looked at yet: that needs no right of root's.
#[derive(Debug)]
pub struct Source {
    files: Vec<SourceFile>,
    /// Whether the first belongs to the account that the original read it as.
    of_account: bool,
}

impl Source {
    /// Opens and reads them.
    ///
    /// # Errors
    /// [`Reason::ConfigMissing`], [`Reason::ConfigUntrusted`].
    pub fn open(etc: &Etc) -> Result<Self, Refusal> {
        let mut source = match etc.read(OURS, MOST) {
            Ok(text) => Self::of(OURS, text, Syntax::Toml, false),
            Err(Untrusted::Missing(_)) => Self::open_original(etc)?,
            Err(untrusted) => return Err(refused(&untrusted)),
        };
        etc.add_drop_ins(&mut source.files).map_err(|untrusted| refused(&untrusted))?;
        Ok(source)
    }

    /// What they say.
    ///
    /// # Errors
    /// [`Reason::ConfigMalformed`].
    pub fn into_config(self) -> Result<Config, Refusal> {
        let mut config = Config::read(&self.files).map_err(|bad| malformed(&bad))?;
        if self.of_account {
            config.notices.push(format!(
                "{ORIGINAL} belongs to account {ORIGINAL_ACCOUNT}, which is root's equal by that"
            ));
        }
        Ok(config)
    }

    /// The files, in the order in which they are read.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// What they say of the log, as far as they can be read, where they cannot be used.
    pub fn log_rule(&self) -> Option<LogRule> {
        LogRule::of_what_can_be_read(&self.files)
    }

    fn of(path: &str, text: Vec<u8>, syntax: Syntax, of_account: bool) -> Self {
        Self { files: vec![SourceFile { path: path.to_owned(), text, syntax }], of_account }
    }

    fn open_original(etc: &Etc) -> Result<Self, Refusal> {
        let original = |text, of_account| Self::of(ORIGINAL, text, Syntax::Original, of_account);
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

    /// Adds the files of [`DIRECTORY`]; where it is not there, none.
    fn add_drop_ins(&self, files: &mut Vec<SourceFile>) -> Result<(), Untrusted> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let failed = |errno| secure_open::refused(DIRECTORY, errno);
        let etc = self.0.as_ref().map_err(Clone::clone)?;
        let directory = match openat(etc, "glexec.d", flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(()),
            directory => directory.map_err(failed)?,
        };
        secure_open::judge(&directory, DIRECTORY, SFlag::S_IFDIR, &Trust::default())?;
        let mut names = Vec::new();
        for entry in Dir::openat(&directory, ".", flags, Mode::empty()).map_err(failed)?.iter() {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            names.extend(is_drop_in(&name).then_some(name));
        }
        names.sort_unstable();
        for name in names {
            let path = format!("{DIRECTORY}/{name}");
            let file = secure_open::open_in(&directory, &name, &path, &Trust::default())?;
            let text = secure_open::read(file, &path, MOST)?;
            files.push(SourceFile { path, text, syntax: Syntax::Toml });
        }
        Ok(())
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

/// Whether a file of this name in [`DIRECTORY`] is read. Editors begin the names of their locks and
/// copies with a dot.
pub fn is_drop_in(name: &str) -> bool {
    name.ends_with(".toml") && !name.starts_with('.')
}

/// A configuration that is not understood, for the log.
pub fn malformed(bad: &Malformed) -> Refusal {
    let detail = format!("{}:{}:{}: {}", bad.path, bad.line, bad.column, bad.sentence);
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
