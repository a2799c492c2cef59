//! The configuration: which of the two files, opened as root, read as a value.

use crate::act::root::Root;
use crate::act::trusted::{self, Untrusted};
use crate::contract::Reason;
use crate::decide::config::{Config, Syntax};
use crate::decide::database::account_by_name;
use crate::decide::stop::Stop;
use crate::decide::trust::Trust;

/// Ours.
pub(crate) const OURS: &str = "/etc/glexec.toml";
/// The original's, read where ours is absent.
pub(crate) const ORIGINAL: &str = "/etc/glexec.conf";
/// The account that the original ran as while it read its configuration.
const ORIGINAL_ACCOUNT: &str = "glexec";
/// More than this is no configuration.
pub(crate) const MOST: u64 = 1 << 20;
/// More than this is no account database that is read from a file at every run.
const MOST_ACCOUNTS: u64 = 64 << 20;

/// Reads the site's configuration.
///
/// # Errors
/// [`Reason::ConfigMissing`], [`Reason::ConfigUntrusted`], [`Reason::ConfigMalformed`].
pub(crate) fn read(root: &Root) -> Result<Config, Stop> {
    match text(root, OURS, &Trust::default()) {
        Ok(text) => parse(&text, OURS, Syntax::Toml),
        Err(Untrusted::Missing(_)) => read_original(root),
        Err(untrusted) => Err(refused(&untrusted)),
    }
}

fn read_original(root: &Root) -> Result<Config, Stop> {
    let untrusted = match text(root, ORIGINAL, &Trust::default()) {
        Ok(text) => return parse(&text, ORIGINAL, Syntax::Original),
        Err(Untrusted::Missing(_)) => {
            let detail = format!("neither {OURS} nor {ORIGINAL} exists; write one of them");
            return Err(Stop::configuration(Reason::ConfigMissing, detail));
        }
        Err(untrusted) => untrusted,
    };
    // Seen in production: the file belongs to the account that read it.
    let passwd = accounts_file(root, "/etc/passwd")?;
    let account = account_by_name(&passwd, ORIGINAL_ACCOUNT).filter(|a| !a.uid.is_root());
    let account = account.ok_or_else(|| refused(&untrusted))?;
    let trust = Trust { user: Some(account.uid), ..Trust::default() };
    let text = text(root, ORIGINAL, &trust).map_err(|untrusted| refused(&untrusted))?;
    let mut config = parse(&text, ORIGINAL, Syntax::Original)?;
    config.notices.push(format!(
        "{ORIGINAL} belongs to account {ORIGINAL_ACCOUNT}, which is root's equal by that"
    ));
    Ok(config)
}

fn text(root: &Root, path: &str, trust: &Trust) -> Result<Vec<u8>, Untrusted> {
    trusted::read(trusted::open_file(root, path, trust)?, path, MOST)
}

/// A configuration's text as a value; `path` is for the message.
///
/// # Errors
/// [`Reason::ConfigMalformed`] with line and column for the log.
pub(crate) fn parse(text: &[u8], path: &str, syntax: Syntax) -> Result<Config, Stop> {
    Config::parse(text, syntax).map_err(|bad| {
        let detail = format!("{path}:{}:{}: {}", bad.line, bad.column, bad.sentence);
        Stop::configuration(Reason::ConfigMalformed, detail)
    })
}

fn refused(untrusted: &Untrusted) -> Stop {
    if let Untrusted::Exhausted(clause) = untrusted {
        let sentence = "too many open files: no descriptor is left for glexec";
        return Stop::new(Reason::Limits, sentence)
            .detail(clause)
            .hint("close some, or raise RLIMIT_NOFILE where the job is started");
    }
    Stop::configuration(Reason::ConfigUntrusted, untrusted.clause())
}

/// /etc/passwd or /etc/group, whole.
///
/// # Errors
/// [`Reason::Accounts`].
pub(crate) fn accounts_file(root: &Root, path: &str) -> Result<Vec<u8>, Stop> {
    trusted::open_file(root, path, &Trust::default())
        .and_then(|file| trusted::read(file, path, MOST_ACCOUNTS))
        .map_err(|untrusted| {
            Stop::new(Reason::Accounts, "the account database cannot be read; see the log")
                .detail(untrusted.clause())
        })
}
