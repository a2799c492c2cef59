//! The table of keys: every key there is, with its type, its default and what it is for. The
//! reading, the tables of docs/configuration.md and `glexec-admin show` come from it.

use super::words::nearest;
use super::{
    AccountSource, EpilogueEnvironment, EpilogueFailure, EpilogueOutput, JobEnvironment,
    LogDestination, Stragglers, Terminal, WorkingDirectory,
};
use std::fmt;

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// Outside every table.
    File,
    /// `[glexec]`.
    Glexec,
    /// `[mapping]`.
    Mapping,
    /// A row of `[[mapping.static]]`.
    Static,
    /// A row of `[[mapping.pool]]`.
    Pool,
    /// `[mapping.gridmap]`.
    Gridmap,
    /// `[mapping.lcmaps]`.
    Lcmaps,
    /// A row of `[[mapping.token]]`.
    Token,
}

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// True or false.
    Flag,
    /// A whole number: the least, the greatest, and the unit, with a blank before it, or what else
    /// is said of the range.
    Number(i64, i64, &'static str),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A text.
    Text,
    /// A list of texts.
    List,
    /// A list of these words.
    ListOf(&'static [&'static str]),
    /// A list of names, or a numbered series of them.
    Series,
    /// Anything.
    Any,
    /// A table of keys.
    Table(Section),
    /// A list of tables.
    Rows(Section),
}

/// What comes of an absent key.
#[cfg_attr(not(feature = "read"), allow(dead_code, reason = "words for who asks what it means"))]
#[derive(Debug, Clone, Copy)]
pub(super) enum Unset {
    /// This value, in the original's syntax.
    Is(&'static str),
    /// What these words say.
    Means(&'static str),
}

/// Whether a key works.
#[cfg_attr(not(feature = "read"), allow(dead_code, reason = "words for who asks how much"))]
#[derive(Debug, Clone, Copy)]
pub(super) enum There {
    /// It does.
    Yes,
    /// Some of it does: what.
    Partly(&'static str),
    /// Beside this key, where a word is named beside that value of it; else it is without effect.
    Beside(&'static str, Option<&'static str>),
    /// With this value only; the sentence for any other.
    Only(&'static str, &'static str),
    /// It is accepted and has no effect: why.
    Idle(&'static str),
    /// It is refused: the sentence.
    No(&'static str),
}

/// One row of the table.
#[derive(Debug)]
pub(super) struct Key {
    /// Where it stands.
    pub(super) section: Section,
    /// Its name.
    pub(super) name: &'static str,
    /// What it takes.
    pub(super) kind: Kind,
    /// Its default.
    pub(super) unset: Unset,
    /// Whether it works.
    pub(super) there: There,
    /// What it is for.
    #[cfg(feature = "read")]
    pub(super) help: &'static str,
}

/// 7 days are the most: more is a slip of the pen, and clock arithmetic stays far from overflow.
const SECONDS: Kind = Number(0, 604_800, " s (7 days)");
const SECONDS_FROM_1: Kind = Number(1, 604_800, " s (7 days)");
/// -1 means "leave it" to setresuid(2): it is nobody's uid.
const UIDS: Kind = Number(1, 4_294_967_294, "; root is never a target");
const LOCKS: Kind = Kind::OneOf(&["flock", "fcntl", "disabled"]);
const ACCEPTED: Kind = Kind::ListOf(&["rfc3820", "plain", "legacy"]);
const METHODS: Kind = Kind::ListOf(&["static", "pool", "gridmap", "lcmaps", "token"]);

const NO_LCAS: &str = "LCAS is gone; use the LCMAPS ban plug-in or `banned` in [mapping]";
const NO_SWITCH: &str = "glexec is one static program, and LCMAPS cannot be loaded into the process that becomes the payload; write \"glexec\" and take lcmaps_posix_enf out of the policy: LCMAPS maps, and glexec changes the ids";
const IDLE_VERIFY: &str = "glexec has LCMAPS map and compares the ids itself";
const IDLE_LOG_LEVEL: &str = "`lcmaps_debug_level` is what counts";
const NO_VOMS: There = There::No(
    "VOMS attributes are LCMAPS's to verify; map with \"lcmaps\" in `methods` and remove the key",
);
const IDLE_LCAS: There = There::Idle("LCAS is gone and `use_lcas` is false");
const IDLE_LOCK: There = There::Idle("proxies are read whole and written by rename");
const WITH_EPILOGUE: There = There::Beside("epilogue", None);
const TO_FILE: There = There::Beside("log_destination", Some("file"));

/// `name: type = default, whether it works, "help";`, section by section.
macro_rules! keys {
    ($([$section:ident] $($name:ident: $kind:expr => $unset:expr, $there:expr, $help:literal;)+)+) => {
        /// Every key, section by section in the order of docs/configuration.md.
        pub(super) const KEYS: &[Key] = &[$($(Key {
            section: Section::$section,
            name: stringify!($name),
            kind: $kind,
            unset: $unset,
            there: $there,
            #[cfg(feature = "read")]
            help: $help,
        },)+)+];
    };
}

use Kind::{Any, Flag, List, Number, OneOf, Rows, Series, Text};
use There::{Idle, Only, Partly, Yes};
use Unset::{Is, Means};

keys! {
[File]
glexec: Kind::Table(Section::Glexec) => Means("all defaults"), Yes, "everything but the mapping";
mapping: Kind::Table(Section::Mapping) => Means("nobody is mapped"), Yes, "who becomes whom";

[Glexec]
linger: Flag => Is("true"), Yes, "stay as the payload's parent, or become the payload";
user_white_list: List => Is(""), Yes, "who may call glexec";
group_white_list: List => Is(""), Yes, "groups whose members may call glexec";
preserve_env_variables: List => Is(""), Yes, "variables of the caller that the payload gets";
user_identity_switch_by: OneOf(&["glexec", "lcmaps"]) => Is("glexec"),
    Only("glexec", NO_SWITCH), "who changes the ids";
epilogue: Text => Means("none"), Yes, "program run after the payload";
epilogue_user: Text => Means("root"), WITH_EPILOGUE, "account the epilogue runs as and may belong to";
epilogue_group: Text => Means("gid 0, no group trusted"), WITH_EPILOGUE,
    "group the epilogue runs as, whose members may own and change it";
epilogue_timeout: SECONDS => Is("300"), WITH_EPILOGUE, "how long an epilogue may run";
create_target_proxy: Flag => Is("true"), Yes, "copy the proxy for the payload";
omission_private_key_white_list: List => Is(""), Yes,
    "callers whose credential may lack the key";
lock_mechanism: LOCKS => Is("flock"), IDLE_LOCK, "old name of `target_lock_mechanism`";
input_lock_mechanism: LOCKS => Is("flock"), IDLE_LOCK, "proxies are read whole";
target_lock_mechanism: LOCKS => Is("flock"), IDLE_LOCK, "proxies are written by rename";
log_destination: OneOf(LogDestination::WORDS) => Is("syslog"), Yes, "where the log goes";
log_file: Text => Means("none"), TO_FILE, "the log with `log_destination = \"file\"`";
log_level: Number(0, 5, "") => Is("3"), Yes,
    "0 nothing, 1 errors, 2 warnings, 3 notices, 4 information, 5 everything";
syslog_facility: Text => Is("LOG_DAEMON"), Yes, "a facility of syslog(3)";
silent_logging: Flag => Is("false"), Yes, "nothing on the caller's stderr";
lcmaps_db_file: Text => Is("/etc/lcmaps/lcmaps-glexec.db"), Yes, "LCMAPS's policies and plug-ins";
lcmaps_log_file: Text => Means("none"), Yes, "where LCMAPS's own lines go, besides its complaints, which are in the log";
lcmaps_debug_level: Number(0, 5, "") => Is("4"), Yes, "what LCMAPS says, up to 5 everything";
lcmaps_log_level: Number(0, 5, "") => Is("4"), Idle(IDLE_LOG_LEVEL), "of LCMAPS";
lcmaps_get_account_policy: Text => Means("all of the database"), Yes, "LCMAPS's policies that are asked, with `:` between them";
lcmaps_verify_account_policy: Text => Means("none"), Idle(IDLE_VERIFY), "of LCMAPS";
lcmaps_voms_verification: Flag => Is("true"), Yes, "whether LCMAPS verifies VOMS attributes before it believes them";
use_lcas: Flag => Is("false"), Only("false", NO_LCAS), "LCAS is gone";
lcas_db_file: Any => Means("none"), IDLE_LCAS, "of LCAS";
lcas_log_file: Any => Means("none"), IDLE_LCAS, "of LCAS";
lcas_debug_level: Any => Means("none"), IDLE_LCAS, "of LCAS";
lcas_log_level: Any => Means("none"), IDLE_LCAS, "of LCAS";
path: Text => Is("/usr/local/bin:/usr/bin:/bin"), Yes, "the payload's PATH, in which COMMAND is looked up";
working_directory: OneOf(WorkingDirectory::WORDS) => Is("home"), Yes, "where the payload starts";
min_target_uid: UIDS => Is("100"), Yes, "lower targets are refused";
stragglers: OneOf(Stragglers::WORDS) => Is("kill"), Yes, "what happens to what the payload left behind";
kill_grace: SECONDS => Is("10"), Yes, "from TERM to KILL";
term_grace: SECONDS_FROM_1 => Means("none"), Yes, "from a forwarded TERM to KILL";
terminal: OneOf(Terminal::WORDS) => Is("detach"), Yes, "what the payload gets of the caller's terminal";
max_runs_per_caller: Number(1, 1_000_000, "") => Is("512"), Yes, "lingering runs of one caller that owe something";
log_only: Flag => Is("false"), Yes, "not installed setuid: log and run as the caller";
keep_descriptors: Flag => Is("false"), Yes, "allow `--keep-fd`";
suspend_with_caller: Flag => Is("false"), Yes,
    "stop the payload, and all that descends from it, while the process that started glexec is stopped";
state_sync: Flag => Is("false"), Yes, "fsync what is written into the state directory";
account_source: OneOf(AccountSource::WORDS) => Is("auto"), Yes, "where accounts are looked up";
payload_cgroup: OneOf(&["never", "auto"]) => Is("never"), Yes, "a control group for the payload";
job_environment: OneOf(JobEnvironment::WORDS) => Is("listed"), Yes, "what the payload gets of a job's own environment";
epilogue_environment: OneOf(EpilogueEnvironment::WORDS) => Is("payload"), Yes, "whose variables the epilogue gets";
epilogue_failure: OneOf(EpilogueFailure::WORDS) => Is("fail"), Yes, "what comes of an epilogue that fails";
epilogue_output: OneOf(EpilogueOutput::WORDS) => Is("null"), Yes, "where the epilogue's output goes";
state_dir: Text => Is("/var/lib/glexec"), Yes, "where lingering runs that owe something are remembered";
supervisor_cgroup: Text => Means("none"), Yes, "control group of the lingering glexec";
remove_target_proxy: Flag => Is("true"), Yes, "remove the payload's proxy when the payload has ended";
job_variables: List => Is(""), Yes, "variables of the caller that the epilogue gets as `GLEXEC_EPILOG_JOB_<NAME>`";
hand_over: List => Is(""), Yes, "variables of the caller that name directories to be given to the target for the run";

[Mapping]
methods: METHODS => Is("static"), Yes,
    "asked in this order, the first that knows the caller gives";
banned: List => Is(""), Partly("subjects only with \"gridmap\", \"lcmaps\" or \"token\" in `methods`"),
    "callers that are refused before every method";
static: Rows(Section::Static) => Means("none"), Yes, "rows `[[mapping.static]]`";
pool: Rows(Section::Pool) => Means("none"), Yes, "rows `[[mapping.pool]]`";
gridmap: Kind::Table(Section::Gridmap) => Means("none"), Yes, "table `[mapping.gridmap]`";
lcmaps: Kind::Table(Section::Lcmaps) => Means("all defaults"), Yes, "table `[mapping.lcmaps]`";
token: Rows(Section::Token) => Means("none"), Yes, "rows `[[mapping.token]]`";
token_mapfile: Text => Means("needed with \"token\""), Yes, "issuers and subjects of tokens and what they are mapped to";
token_clock_skew: Number(0, 600, " s") => Is("60"), Yes, "by how much the clocks of issuers may differ";

[Static]
caller: Text => Means("must be there"), Yes, "an account, or `@group` for everybody in it";
account: Text => Means("this or `accounts`"), Yes, "the target";
accounts: List => Means("this or `account`"), Yes, "targets: `GLEXEC_TARGET_USER` picks one, else the first";
groups: List => Means("those of the account database"), Yes, "the target's groups by name";

[Pool]
caller: Text => Means("must be there"), Yes, "an account, or `@group` for everybody in it";
accounts: Series => Means("must be there"), Yes, "the pool's accounts, at most 10000";

[Gridmap]
grid_mapfile: Text => Means("must be there"), Yes, "subjects and what they are mapped to";
gridmapdir: Text => Means("none: nobody is mapped to a pool"), Yes, "leases of pool accounts";
ban_file: Text => Means("none"), Yes, "subjects that are refused";
ca_dir: Text => Means("must be there"), Yes, "authorities that certificates are verified against";
accept: ACCEPTED => Is("rfc3820"), Partly("only \"rfc3820\" and \"plain\""), "which credentials are accepted";
groupmapfile: Any => Means("none"), NO_VOMS, "VOMS attributes and what they are mapped to";
vomsdir: Any => Means("none"), NO_VOMS, "servers whose VOMS attributes are believed";

[Lcmaps]
library: Text => Is("liblcmaps_return_account_from_pem.so.0"), Yes, "LCMAPS's library";
ca_dir: Text => Is("/etc/grid-security/certificates"), Yes, "authorities that certificates are verified against";
vomsdir: Text => Is("/etc/grid-security/vomsdir"), Yes, "servers whose VOMS attributes are believed";
accept: ACCEPTED => Is("rfc3820"), Partly("only \"rfc3820\" and \"plain\""), "which credentials are accepted";

[Token]
issuer: Text => Means("must be there"), Yes, "an issuer of tokens, as `iss` has it";
keys: Text => Means("must be there"), Yes, "its public keys: a JWK Set, or one key in PEM";
audience: List => Means("must be there"), Yes, "what this site is called: a token is for one of these (`aud`)";
scope: List => Is("compute.create"), Yes, "what a token must allow: each of these (`scope`)";
}

/// What a key takes, as a document or an error says it.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |words: &[&str]| format!("\"{}\"", words.join("\" or \""));
        match self {
            Self::Flag => f.write_str("true or false"),
            Self::Number(least, most, unit) => write!(f, "{least} to {most}{unit}"),
            Self::OneOf(known) => f.write_str(&words(known)),
            Self::Text => f.write_str("a text"),
            Self::List => f.write_str("a list of texts"),
            Self::ListOf(known) => write!(f, "a list of {}", words(known)),
            Self::Series => f.write_str("a list of names, or a series such as \"pool[001-064]\""),
            Self::Any => f.write_str("anything"),
            Self::Table(_) => f.write_str("a table"),
            Self::Rows(_) => f.write_str("a list of tables"),
        }
    }
}

/// The keys of a section.
pub(super) fn of(section: Section) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section == section)
}

/// The key of this name.
pub(super) fn find(section: Section, name: &str) -> Option<&'static Key> {
    of(section).find(|key| key.name == name)
}

/// The key that a `KEY_add` adds to: a list, but for those of rows, each of which is one file's.
pub(super) fn added_to(section: Section, name: &str) -> Option<&'static Key> {
    let key = find(section, name.strip_suffix("_add")?)?;
    let is_list = matches!(key.kind, List | Kind::ListOf(_));
    (is_list && !matches!(section, Section::Static | Section::Pool | Section::Token)).then_some(key)
}

/// What is said after a key that is not known: which was probably meant, or which there are.
pub(super) fn meant(section: Section, unknown: &str) -> String {
    let known: Vec<&str> = of(section).map(|key| key.name).collect();
    match nearest(unknown, &known) {
        Some(key) => format!("; did you mean `{key}`?"),
        None if known.len() < 10 => format!("; here are known `{}`", known.join("`, `")),
        None => "; the known ones are in docs/configuration.md".to_owned(),
    }
}
