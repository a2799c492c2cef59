//! `glexec-admin init`: writes a configuration that works, asks nothing, and says what comes next.

mod text;

use super::install;
use super::node;
use clap::{Args, ValueEnum};
use contract::Reason;
use decide::config::{Config, LogDestination, LogRule, RowCaller, Syntax};
use decide::refusal::Refusal;
use nix::unistd::Uid;
use observe::accounts::{AccountFiles, Lookups};
use observe::config_file::{self, Etc};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use system::file_trust::Trust;
use system::secure_open;

/// Where the log goes on a host with neither syslog nor journal; its directory is made.
const LOG_FILE: &str = "/var/log/glexec/log";

/// What is installed: it refuses everybody, and nobody has written anything in it.
const SAMPLE: &str = include_str!("../../../../conf/glexec.toml");

/// What glexec is to be called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Scheduler {
    /// Slurm's hooks (docs/slurm.md)
    Slurm,
    /// HTCondor's hooks (docs/htcondor.md)
    Condor,
    /// Whoever calls it
    None,
}

/// What is to be written.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// Whose hooks call glexec
    #[arg(long, value_enum)]
    scheduler: Scheduler,
    /// Who may call glexec: accounts, or @GROUP for everybody in a group
    #[arg(long, value_name = "USER", required = true, num_args = 1..)]
    caller: Vec<String>,
    /// Whom payloads run as: accounts, or one pool such as pool[001-064]
    #[arg(long, value_name = "ACCOUNT", required = true, num_args = 1..)]
    account: Vec<String>,
    /// Where to write it
    #[arg(long, value_name = "FILE", default_value = config_file::OURS)]
    output: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// Writes it; 0, or 1 where nothing is written.
pub(super) fn run(asked: &Asked) -> u8 {
    match written(asked) {
        Ok(told) => u8::from(!report::print(&told)),
        Err(stop) => {
            let detail = stop.detail.as_deref().unwrap_or(&stop.sentence);
            let word = stop.reason.word();
            let _ =
                writeln!(std::io::stderr(), "glexec-admin: {detail} ({word}); nothing was written");
            1
        }
    }
}

fn written(asked: &Asked) -> Result<String, Refusal> {
    let wrong = |sentence: String| Refusal::new(Reason::Usage, sentence);
    if !Uid::effective().is_root() {
        return Err(wrong("init is for root only; call it as root".to_owned()));
    }
    let Asked { scheduler, caller, account, output, force } = asked;
    let replace = *force || is_as_shipped(output);
    if !replace {
        is_free(output).map_err(wrong)?;
    }
    // What is wrong with a name is told before the log is tried.
    let read = |log: &LogRule| {
        let text = text::of(*scheduler, (caller, account), log).map_err(wrong)?;
        let config = Config::parse(text.as_bytes(), Syntax::Toml);
        let config =
            config.map_err(|bad| wrong(format!("what was asked for: {}", bad.sentence)))?;
        Ok((text, config))
    };
    read(&LogRule::default())?;
    let (log, place) = log_that_works()?;
    let (text, config) = read(&log)?;
    install::file(output, text.as_bytes(), (0o600, replace))
        .map_err(|error| wrong(format!("{} cannot be written: {error}", output.display())))?;
    let mut told = line("written", &output.display().to_string()) + &line("log", &place);
    told.extend(missing(&config)?.iter().map(|sentence| line("missing", sentence)));
    told.extend(next(*scheduler, &caller[..], output).iter().map(|step| line("next", step)));
    Ok(told)
}

fn line(name: &str, text: &str) -> String {
    format!("{name:<12} {text}\n")
}

/// Whether a file is there that is the sample, as a package puts it there.
fn is_as_shipped(output: &Path) -> bool {
    let Some(path) = output.to_str() else { return false };
    let text = secure_open::open_file(path, &Trust::default())
        .and_then(|file| secure_open::read(file, path, config_file::MOST));
    text.is_ok_and(|text| text == SAMPLE.as_bytes())
}

/// That nothing is replaced or put out of force.
fn is_free(output: &Path) -> Result<(), String> {
    let is_there = |path: &Path| std::fs::symlink_metadata(path).is_ok();
    if is_there(output) {
        return Err(format!(
            "{} is there; --force replaces it, --output FILE writes another",
            output.display()
        ));
    }
    if output == Path::new(config_file::OURS) && is_there(Path::new(config_file::ORIGINAL)) {
        return Err(format!(
            "{} is there and would not be read any more; --force writes {} all the same",
            config_file::ORIGINAL,
            config_file::OURS
        ));
    }
    Ok(())
}

/// The first destination that takes a line on this host, and what it is.
fn log_that_works() -> Result<(LogRule, String), Refusal> {
    let mut last = None;
    for destination in [LogDestination::Syslog, LogDestination::Journal, LogDestination::File] {
        let file = (destination == LogDestination::File).then(|| LOG_FILE.to_owned());
        if let Some(directory) = file.as_ref().and_then(|file| Path::new(file).parent()) {
            install::directory(directory, 0o700);
        }
        let rule = LogRule { destination, file, ..LogRule::default() };
        match node::takes_a_line(&rule, "glexec-admin init: the log takes a line") {
            Ok(place) => return Ok((rule, place)),
            Err(stop) => last = Some(stop),
        }
    }
    Err(last.unwrap_or_else(|| report::not_logged("no log was tried")))
}

/// Accounts and groups that are named and do not exist: nobody makes them here.
fn missing(config: &Config) -> Result<Vec<String>, Refusal> {
    let files = AccountFiles::read(&Etc::open());
    let mut lookups = Lookups::new(None, files, config.account_source)?;
    let mut told = Vec::new();
    let mapping = &config.mapping;
    let rows = mapping.rows.iter().map(|row| &row.caller);
    for caller in rows.chain(mapping.pools.iter().map(|pool| &pool.caller)) {
        match caller {
            RowCaller::User(name) if lookups.as_caller(name)?.is_none() => {
                told.push(format!("account {name}, a caller; make it, as with useradd"));
            }
            RowCaller::Group(name) if lookups.members(name)?.is_none() => {
                told.push(format!("group {name}, of callers; make it, as with groupadd"));
            }
            RowCaller::User(_) | RowCaller::Group(_) => {}
        }
    }
    let listed = mapping.rows.first().map(|row| row.accounts.clone());
    let pool = mapping.pools.first().map(|pool| pool.accounts.names().collect::<Vec<_>>());
    let targets = listed.or(pool).unwrap_or_default();
    let gone = lookups.missing(&targets)?;
    if let Some(first) = gone.first() {
        let count = gone.len();
        let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
        told.push(format!("account {first}{more}, of payloads; make them, as with useradd"));
    }
    Ok(told)
}

fn next(scheduler: Scheduler, callers: &[String], output: &Path) -> Vec<String> {
    let mut steps = Vec::new();
    if output != Path::new(config_file::OURS) {
        let (from, to) = (output.display(), config_file::OURS);
        steps.push(format!("glexec-admin check --config {from}, and then install it as {to}"));
    }
    steps.push("glexec-admin check".to_owned());
    let by_name = callers.iter().find(|caller| !caller.starts_with('@'));
    let caller = by_name.map(|name| format!(" --caller {name}")).unwrap_or_default();
    steps.push(format!("glexec-admin selftest{caller}"));
    match scheduler {
        Scheduler::Slurm => steps.push(
            "docs/slurm.md, from slurm.conf on; then /usr/libexec/glexec/glexec-slurm-prolog --check"
                .to_owned(),
        ),
        Scheduler::Condor => steps.push("docs/htcondor.md, from condor's configuration on".to_owned()),
        Scheduler::None => {}
    }
    steps
}
