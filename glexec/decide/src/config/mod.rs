//! The configuration as a value: what the site decided, defaults filled in.

mod convert;
mod credentials;
mod entries;
mod from_original;
mod from_toml;
mod keys;
mod log;
#[cfg(feature = "read")]
mod migrate;
mod reading;
#[cfg(feature = "read")]
mod show;
mod source_files;
#[cfg(test)]
mod tests;
mod words;

#[cfg(feature = "read")]
pub use migrate::{Lcmaps, lcmaps_database, migrated};
#[cfg(feature = "read")]
pub use show::{Documented, Shown, documented, shown};
pub use source_files::SourceFile;
use std::time::Duration;
pub(crate) use words::name as account_name;

/// Which of the two syntaxes a file is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// `/etc/glexec.toml`.
    Toml,
    /// `/etc/glexec.conf` of gLExec 0.9.
    Original,
}

/// Why a configuration cannot be used. The caller never sees this, the log and the admin do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The file, as its [`SourceFile`] calls it.
    pub path: String,
    /// 1-based line, 0 where it cannot be told.
    pub line: usize,
    /// 1-based column in characters, 0 where it cannot be told.
    pub column: usize,
    /// One sentence: what is wrong and what to do.
    pub sentence: String,
}

/// One entry of a white list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// `*`: everybody, with a warning each run.
    Everybody,
    /// `name`.
    Name(String),
    /// `.pool` or `prefix*`: this prefix and digits after it.
    Pool(String),
}

/// One entry of `preserve_env_variables`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// This name.
    Name(String),
    /// `PREFIX_*`: every name that begins with this (which ends in `_`).
    Prefix(String),
}

/// Enumerations of the words that a key takes.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $word:literal,)+ })+) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$each])* $variant),+ }

        impl $name {
            /// The words, as they are written in a file.
            const WORDS: &'static [&'static str] = &[$($word),+];

            /// What a word says.
            fn of(word: &str) -> Result<Self, String> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(keys::Kind::OneOf(Self::WORDS).unknown(word)),
                }
            }
        })+
    };
}

words! {
    /// What happens to processes that the payload left behind.
    Stragglers {
        /// They get TERM, then KILL.
        Kill = "kill",
        /// They are remembered and spared.
        Ignore = "ignore",
    }

    /// Where the payload starts.
    WorkingDirectory {
        /// The target's home.
        Home = "home",
        /// Where the caller was, else home; a pool account's home is shared, and `/` comes instead.
        Caller = "caller",
        /// Where the caller was, or nowhere.
        CallerOnly = "caller-only",
    }

    /// What the payload gets of the environment that a job brings along.
    JobEnvironment {
        /// What `preserve_env_variables` lists.
        Listed = "listed",
        /// All that its caller says is the job's own.
        All = "all",
    }

    /// What the payload gets of the caller's terminal.
    Terminal {
        /// A session without it.
        Detach = "detach",
        /// The original's way.
        Share = "share",
    }

    /// Where account look-ups go.
    AccountSource {
        /// The files where nsswitch.conf names no more than files and systemd, else the helper.
        Auto = "auto",
        /// /etc/passwd and /etc/group.
        Files = "files",
        /// The helper, whatever nsswitch.conf says.
        Nss = "nss",
    }

    /// Where the log goes.
    LogDestination {
        /// /dev/log.
        Syslog = "syslog",
        /// The journal's native socket, with fields.
        Journal = "journal",
        /// `log_file`.
        File = "file",
    }

    /// What the epilogue's environment is made of.
    EpilogueEnvironment {
        /// The payload's (as the original).
        Payload = "payload",
        /// HOME, USER, LOGNAME and SHELL of the identity the epilogue runs as, root's PATH, and nothing
        /// of the caller's but what the epilogue is told.
        Own = "own",
    }

    /// What a failing epilogue does to the exit code.
    EpilogueFailure {
        /// 202 or 204 (as the original).
        Fail = "fail",
        /// The payload's code is kept, the failure is logged.
        Report = "report",
    }

    /// Where the epilogue's output goes.
    EpilogueOutput {
        /// /dev/null (as the original).
        Null = "null",
        /// Line by line to the log.
        Log = "log",
    }
}

/// The epilogue's rules (docs/configuration.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpilogueRule {
    /// Absolute and canonical by its text; never empty.
    pub path: String,
    /// `epilogue_user`; `None` for root.
    pub user: Option<String>,
    /// `epilogue_group`; `None` for gid 0 and no trusted group.
    pub group: Option<String>,
    /// 1 s and more.
    pub timeout: Duration,
    /// Whose HOME it sees.
    pub environment: EpilogueEnvironment,
    /// What its failing does.
    pub failure: EpilogueFailure,
    /// Where its output goes.
    pub output: EpilogueOutput,
}

/// The log's rules (docs/configuration.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRule {
    /// Where to.
    pub destination: LogDestination,
    /// With [`LogDestination::File`]: absolute.
    pub file: Option<String>,
    /// 0 (nothing) to 5 (everything).
    pub level: u8,
    /// The syslog facility's number, as in syslog(3) (`LOG_DAEMON` is 3).
    pub facility: u8,
    /// Nothing on the caller's stderr.
    pub silent: bool,
}

/// Before there is a configuration: what an empty one says.
impl Default for LogRule {
    fn default() -> Self {
        let destination = LogDestination::Syslog;
        Self { destination, file: None, level: 3, facility: 3, silent: false }
    }
}

/// The state directory's rules (docs/configuration.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRule {
    /// Absolute and canonical by its text.
    pub directory: String,
    /// Whether what is written survives a loss of power.
    pub sync: bool,
    /// Lingering runs of one caller that owe something.
    pub most_runs: u32,
}

/// The control groups' rules (docs/configuration.md).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CgroupRule {
    /// Where the lingering glexec moves itself, from each hierarchy's mount on.
    pub supervisor: Option<String>,
    /// Whether the payload gets a leaf of version 2 of its own.
    pub payload: bool,
}

/// Who a static row is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowCaller {
    /// This account.
    User(String),
    /// `@group`: everybody in this group.
    Group(String),
}

/// One row of `[[mapping.static]]`, or a line `caller = account` of the original's syntax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticRow {
    /// Its place among the rows of its kind, or among all lines.
    pub at: usize,
    /// Who it is for.
    pub caller: RowCaller,
    /// Never empty; `GLEXEC_TARGET_USER` picks one, else the first.
    pub accounts: Vec<String>,
    /// The target's groups by name, instead of the account database's; the first is no more
    /// primary than the others.
    pub groups: Option<Vec<String>>,
}

/// One row of `[[mapping.pool]]`, or a line `caller = pool[001-064]` of the original's syntax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRow {
    /// Its place among the rows of its kind, or among all lines.
    pub at: usize,
    /// Who it is for.
    pub caller: RowCaller,
    /// Never empty; one of them for each run.
    pub accounts: Accounts,
}

/// The accounts of a pool, each at its place from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accounts {
    /// By their names.
    Listed(Vec<String>),
    /// `prefix`, one of these numbers with so many digits, `suffix`: thousands of names that nobody
    /// has to spell out.
    Series {
        /// Before the number.
        prefix: String,
        /// After it.
        suffix: String,
        /// How many digits it has.
        width: usize,
        /// The number of place 0.
        first: usize,
        /// The greatest number.
        last: usize,
    },
}

impl Accounts {
    /// The name at a place.
    pub fn name(&self, place: usize) -> Option<String> {
        match self {
            Self::Listed(names) => names.get(place).cloned(),
            Self::Series { prefix, suffix, width, first, last } => {
                let number = first.checked_add(place).filter(|number| number <= last)?;
                Some(format!("{prefix}{number:0width$}{suffix}"))
            }
        }
    }

    /// Every name, in order.
    pub fn names(&self) -> impl Iterator<Item = String> {
        (0..).map_while(|place| self.name(place))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Listed(names) => names.len(),
            Self::Series { first, last, .. } => (*last + 1).saturating_sub(*first),
        }
    }
}

/// A mapping method that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// `[[mapping.static]]`.
    Static,
    /// `[[mapping.pool]]`.
    Pool,
    /// `[mapping.gridmap]`.
    Gridmap,
    /// The site's own LCMAPS.
    Lcmaps,
    /// `[[mapping.token]]`.
    Token,
    /// The lines of `[mapping]` in the original's syntax, accounts and pools in one order.
    Lines,
}

/// What of credentials is accepted, whichever method maps by them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialRule {
    /// The authorities that certificates are verified against.
    pub ca_dir: String,
    /// The words of the credentials that are accepted.
    pub accept: Vec<&'static str>,
}

/// What LCMAPS is told, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LcmapsRule {
    /// An absolute path, or a name that the dynamic linker finds.
    pub library: String,
    /// Its database, absolute.
    pub database: String,
    /// Where its lines go as well, absolute.
    pub log_file: Option<String>,
    /// 0 to 5.
    pub debug_level: u8,
    /// Names of policies with `:` between them; `None` for all.
    pub policies: Option<String>,
    /// Whether it verifies VOMS attributes.
    pub verifies_attributes: bool,
    /// The servers whose attributes are believed, absolute.
    pub vomsdir: String,
}

/// `[mapping.gridmap]`: by a credential's subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridmapRule {
    /// Subjects and what they are mapped to.
    pub grid_mapfile: String,
    /// Leases of pool accounts; `None` where nobody is mapped to a pool.
    pub gridmapdir: Option<String>,
    /// Subjects that are refused.
    pub ban_file: Option<String>,
}

/// `[[mapping.token]]`: an issuer of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerRow {
    /// Its name, as its tokens have it.
    pub issuer: String,
    /// Its public keys, an absolute path.
    pub keys: String,
    /// For one of these a token must be; never empty.
    pub audiences: Vec<String>,
    /// Each of these its scope must have.
    pub scopes: Vec<String>,
}

/// By which tokens callers are mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRule {
    /// Whose; never empty.
    pub issuers: Vec<IssuerRow>,
    /// Issuers and subjects and what they are mapped to, an absolute path.
    pub mapfile: String,
    /// By so many seconds an issuer's clock may differ.
    pub skew: u32,
}

/// `[mapping]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Asked in this order.
    pub methods: Vec<Means>,
    /// Names of callers and subjects that are refused before every method.
    pub banned: Vec<String>,
    /// The static rows, in file order.
    pub rows: Vec<StaticRow>,
    /// The pool rows, in file order.
    pub pools: Vec<PoolRow>,
    /// Which credentials are accepted, where any counts.
    pub credential: Option<CredentialRule>,
    /// How their subjects are mapped.
    pub gridmap: Option<GridmapRule>,
    /// How LCMAPS is asked.
    pub lcmaps: Option<LcmapsRule>,
    /// Which tokens are accepted, where any counts.
    pub token: Option<TokenRule>,
    /// Who may present a credential without its private key.
    pub without_key: Vec<Listed>,
}

impl Default for Mapping {
    fn default() -> Self {
        let methods = vec![Means::Static];
        let (banned, rows, pools) = (Vec::new(), Vec::new(), Vec::new());
        let (credential, gridmap, lcmaps, token) = (None, None, None, None);
        let without_key = Vec::new();
        Self { methods, banned, rows, pools, credential, gridmap, lcmaps, token, without_key }
    }
}

/// Everything the site decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whether glexec stays until the payload has ended.
    pub linger: bool,
    /// Who may call.
    pub user_white_list: Vec<Listed>,
    /// Whose members may call.
    pub group_white_list: Vec<Listed>,
    /// What the payload keeps of its caller's environment.
    pub preserve: Vec<Kept>,
    /// And of what the caller says is the job's own.
    pub job_environment: JobEnvironment,
    /// What runs after the payload.
    pub epilogue: Option<EpilogueRule>,
    /// Where lines go.
    pub log: LogRule,
    /// The payload's PATH, and where commands are looked for.
    pub path: String,
    /// Where the payload starts.
    pub working_directory: WorkingDirectory,
    /// The lowest uid that a target may have.
    pub min_target_uid: u32,
    /// What happens to what the payload leaves behind.
    pub stragglers: Stragglers,
    /// Between TERM and KILL.
    pub kill_grace: Duration,
    /// From a scheduler's TERM to KILL; `None` leaves that to the scheduler.
    pub term_grace: Option<Duration>,
    /// What the payload gets of its caller's terminal.
    pub terminal: Terminal,
    /// Whether nothing is switched, and all is told.
    pub log_only: bool,
    /// Whether the payload gets every descriptor of its caller's.
    pub keep_descriptors: bool,
    /// Whether the payload is stopped while the process that started glexec is.
    pub suspend_with_caller: bool,
    /// Where accounts are looked up.
    pub account_source: AccountSource,
    /// Where runs are written down.
    pub state: StateRule,
    /// The control groups.
    pub cgroups: CgroupRule,
    /// Names copied from the caller's environment into `GLEXEC_EPILOG_JOB_<NAME>`.
    pub job_variables: Vec<String>,
    /// Variables of the caller's that name directories to be given to the target for the run.
    pub hand_over: Vec<String>,
    /// Whether the payload gets a copy of the proxy.
    pub create_target_proxy: bool,
    /// Whether that is removed when the payload has ended.
    pub remove_target_proxy: bool,
    /// Who becomes whom.
    pub mapping: Mapping,
    /// What the administrator should know: ignored keys, clamped values, deprecated settings.
    pub notices: Vec<String>,
}

impl Config {
    /// Reads a configuration's files: what each says, together.
    ///
    /// # Errors
    /// [`Malformed`] with path, line and column where a text is not understood, a key is unknown
    /// (TOML) or stands in two files, a value is out of range, or something is asked for that is
    /// not there yet.
    pub fn read(files: &[SourceFile]) -> Result<Self, Malformed> {
        let texts = source_files::Texts::of(files)?;
        let config = reading::file(&texts).and_then(convert::config);
        config.map_err(|bad| texts.malformed(&bad))
    }
}
