//! `glexec-admin metrics`: what the log file and the state directory tell, in numbers.
//!
//! The setuid program counts nothing. Each run has its lines in the log anyway, written as root before
//! and after the payload; a journal beside it would be a second file that every caller makes longer.

mod families;
mod line;
mod log_files;
mod totals;

use super::{install, runs};
use contract::EpilogueResult;
use decide::config::{LogDestination, LogRule};
use decide::refusal::Refusal;
use decide::reporter::Level;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;
use observe::config_file;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use system::file_trust::Trust;
use system::secure_open::{self, Untrusted};
use totals::{Counter, Totals};

/// Root's alone: what is counted so far.
const DIRECTORY: &str = "/var/lib/glexec-metrics";
const TOTALS: &str = "/var/lib/glexec-metrics/totals.json";
const LOCK: &str = "/var/lib/glexec-metrics/lock";
/// The most that is read of it: some hundred numbers, and 1 KiB for each log file.
const MOST: u64 = 4 << 20;
/// It could not be done.
const CANNOT: u8 = 2;
/// `launch=` in the first line of a run.
const LAUNCHES: [&str; 3] = ["linger", "replace", "log-only"];

/// `epilogue=` in the last one.
fn results() -> [&'static str; 5] {
    [
        EpilogueResult::Ok,
        EpilogueResult::Exit(1),
        EpilogueResult::Signal(1),
        EpilogueResult::Timeout,
        EpilogueResult::NotStarted,
    ]
    .map(EpilogueResult::word)
}

/// Counts on, and prints or writes every metric; 0, or 2 where it could not be done: then the file
/// stays as it was.
pub(super) fn run(textfile: Option<&Path>, json: bool) -> u8 {
    match counted().and_then(|families| told(textfile, &families, json)) {
        Ok(code) => code,
        Err(sentence) => {
            let _ = writeln!(std::io::stderr(), "glexec-admin: {sentence}");
            CANNOT
        }
    }
}

fn told(textfile: Option<&Path>, families: &[families::Family], json: bool) -> Result<u8, String> {
    if let Some(path) = textfile {
        if path.extension().is_none_or(|end| end != "prom") {
            let shown = path.display();
            return Err(format!(
                "{shown}: node_exporter reads no file whose name does not end in .prom; call it glexec.prom"
            ));
        }
        install::beside_others(path, families::text(families).as_bytes(), 0o644)
            .map_err(|e| format!("{} cannot be written: {e}", path.display()))?;
    }
    let text = match (json, textfile) {
        (true, _) => serde_json::to_string(families).map_err(|e| e.to_string())? + "\n",
        (false, None) => families::text(families),
        (false, Some(_)) => return Ok(0),
    };
    Ok(u8::from(!report::print(&text)))
}

fn counted() -> Result<Vec<families::Family>, String> {
    if !Uid::effective().is_root() {
        return Err("metrics is for root only; call it as root".to_owned());
    }
    let log_file = log_file()?;
    let runs = states().map_err(|stop| sentence(&stop))?;
    let _lock = lock()?;
    let mut totals = read_totals()?;
    let known = std::mem::take(&mut totals.files);
    let (files, gaps) = log_files::follow(&log_file, &known, &mut |line| totals.count(line))?;
    totals.add(Counter::Gaps, "", gaps);
    totals.files = files;
    install::file(Path::new(TOTALS), totals.text()?.as_bytes(), (0o600, true))
        .map_err(|e| format!("{TOTALS} cannot be written: {e}; nothing was counted"))?;
    Ok(families::all(&totals, &runs))
}

/// The file that has every line that counts.
fn log_file() -> Result<String, String> {
    countable(config_file::read().map_err(|stop| sentence(&stop))?.log)
}

/// The file in which a rule has every line that counts.
///
/// # Errors
/// One sentence: why there is none, and what to write.
pub(super) fn countable(rule: LogRule) -> Result<String, String> {
    let path = rule.file.filter(|_| rule.destination == LogDestination::File).ok_or(
        "metrics are counted from a log file of root's, for anybody can write to syslog: write `log_destination = \"file\"` and a `log_file` into /etc/glexec.toml",
    )?;
    if rule.level >= Level::Notice as u8 {
        return Ok(path);
    }
    Err(format!(
        "with `log_level = {}` no run is logged that goes well: write `log_level = 3` into /etc/glexec.toml",
        rule.level
    ))
}

/// How many entries of the state directory are in each state.
fn states() -> Result<Vec<(&'static str, usize)>, Refusal> {
    let rows = runs::states()?;
    let count = |state| rows.iter().filter(|row| **row == state).count();
    Ok(["live", "owed", "aside", "odd"].map(|state| (state, count(state))).to_vec())
}

/// One at a time: two would count the same lines.
fn lock() -> Result<Flock<File>, String> {
    install::directory(Path::new(DIRECTORY), 0o700);
    let failed = |e: std::io::Error| format!("{LOCK}: {e}; {DIRECTORY} must be root's, mode 0700");
    let file = install::lock_file(Path::new(LOCK)).map_err(failed)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        let why = if errno == nix::errno::Errno::EWOULDBLOCK {
            "another glexec-admin metrics is counting; call this again when it has ended"
        } else {
            errno.desc()
        };
        format!("{LOCK}: {why}")
    })
}

fn read_totals() -> Result<Totals, String> {
    let unusable = |why: &str| {
        format!("{why}; correct that, or remove {TOTALS}: then everything is counted from 0 again")
    };
    let opened = match secure_open::open_file(TOTALS, &Trust::default()) {
        Err(Untrusted::Missing(_)) => return Ok(Totals::default()),
        opened => opened.map_err(|untrusted| unusable(untrusted.clause()))?,
    };
    let text = secure_open::read(opened, TOTALS, MOST);
    let text = text.map_err(|untrusted| unusable(untrusted.clause()))?;
    Totals::from_text(&text).map_err(|why| unusable(&format!("{TOTALS} cannot be read: {why}")))
}

/// An administrator reads the detail at once.
fn sentence(stop: &Refusal) -> String {
    let detail = stop.detail.as_deref().unwrap_or(&stop.sentence);
    format!("{detail} ({})", stop.reason.word())
}
