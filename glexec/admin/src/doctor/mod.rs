//! `glexec-admin doctor`: everything of `check`, and whether the scheduler beside it fits.

mod condor;
mod slurm;

use super::{check, explain, metrics, terminal};
use adapter::{Answer, BoundedCommand};
use contract::Reason;
use nix::unistd::Uid;
use serde::Serialize;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Level {
    /// Runs or jobs fail by it.
    #[serde(rename = "ERROR")]
    Error,
    /// It goes well until somebody needs it.
    #[serde(rename = "WARNING")]
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    /// glexec, slurm or condor.
    about: &'static str,
    /// What is wrong, and mostly what to do.
    text: String,
    /// What to do, by the reason that runs end with.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<&'static str>,
}

impl Finding {
    fn new(level: Level, about: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        let word = text.strip_suffix(')').and_then(|text| text.rsplit_once(" ("));
        let reason = word.and_then(|(_, word)| Reason::ALL.iter().find(|r| r.word() == word));
        let mend = reason.and_then(|reason| explain::mend(*reason));
        Self { level, about, text, mend }
    }

    fn error(about: &'static str, text: impl Into<String>) -> Self {
        Self::new(Level::Error, about, text)
    }

    fn warning(about: &'static str, text: impl Into<String>) -> Self {
        Self::new(Level::Warning, about, text)
    }
}

/// What was found, as JSON.
#[derive(Serialize)]
struct Report<'f> {
    healthy: bool,
    looked_at: &'f [&'static str],
    findings: &'f [Finding],
}

/// Prints what is wrong; 0 where nothing is that makes runs or jobs fail, else 1.
pub(super) fn run(json: bool) -> u8 {
    let (looked_at, findings) = all();
    let healthy = findings.iter().all(|finding| finding.level != Level::Error);
    let text = if json {
        let report = Report { healthy, looked_at: &looked_at, findings: &findings };
        serde_json::to_string(&report).unwrap_or_default() + "\n"
    } else {
        shown(&looked_at, &findings)
    };
    u8::from(!report::print(&text) || !healthy)
}

fn shown(looked_at: &[&str], findings: &[Finding]) -> String {
    let colours = terminal::has_colours();
    let mut text = String::new();
    for Finding { level, about, text: told, mend } in findings {
        let word = if *level == Level::Error { "ERROR" } else { "WARNING" };
        text += &format!("{} {about}: {told}\n", terminal::painted(word, 12, colours));
        text.extend(mend.map(|mend| format!("{:<12} mend: {mend}\n", "")));
    }
    let count = findings.len();
    let end = if count == 0 { "nothing is wrong".to_owned() } else { format!("{count} findings") };
    text + &format!("{:<12} {end}; looked at {}\n", "doctor", looked_at.join(", "))
}

fn all() -> (Vec<&'static str>, Vec<Finding>) {
    let mut looked_at = vec!["glexec"];
    if !Uid::effective().is_root() {
        let sentence = "the doctor is for root only; call it as root";
        return (looked_at, vec![Finding::error("glexec", sentence)]);
    }
    let mut findings: Vec<Finding> = check::wrong()
        .into_iter()
        .map(|(is_error, text)| {
            let level = if is_error { Level::Error } else { Level::Warning };
            Finding::new(level, "glexec", text)
        })
        .collect();
    findings.extend(nobody_sweeps());
    findings.extend(nothing_is_counted());
    if slurm::is_here() {
        looked_at.push("slurm");
        let known: Vec<String> = findings.iter().map(|finding| finding.text.clone()).collect();
        findings.extend(slurm::findings(&known));
    }
    if condor::is_here() {
        looked_at.push("condor");
        findings.extend(condor::findings());
    }
    (looked_at, findings)
}

/// What a killed run owes is paid by a timer, where systemd runs.
fn nobody_sweeps() -> Option<Finding> {
    const WANTED: &str = "/etc/systemd/system/timers.target.wants/glexec-sweep.timer";
    let config = observe::config_file::read().ok()?;
    let owes = config.epilogue.is_some() || !config.hand_over.is_empty();
    let here = Path::new("/run/systemd/system").is_dir();
    let enabled = Path::new(WANTED).symlink_metadata().is_ok();
    (owes && here && !enabled).then(|| {
        Finding::warning(
            "glexec",
            "glexec-sweep.timer is not enabled: what a killed run owes is paid by nobody, unless something else calls glexec-admin sweep; systemctl enable --now glexec-sweep.timer",
        )
    })
}

/// A timer that is enabled and counts nothing.
fn nothing_is_counted() -> Option<Finding> {
    const WANTED: &str = "/etc/systemd/system/timers.target.wants/glexec-metrics.timer";
    Path::new(WANTED).symlink_metadata().ok()?;
    let why = metrics::countable(observe::config_file::read().ok()?.log).err()?;
    Some(Finding::warning("glexec", format!("glexec-metrics.timer is enabled; {why}")))
}

/// Asks a program of root's.
fn ask(program: &str, words: &[&str], limit: Duration) -> Result<Answer, String> {
    let tool = BoundedCommand {
        program: Path::new(program),
        words: words.iter().map(OsString::from).collect(),
        environment: Vec::new(),
        ids: None,
        limit,
        end_it: true,
    };
    match tool.run() {
        Ok(answer) if answer.late => {
            Err(format!("{program} has not answered in {} s; run it by hand", limit.as_secs()))
        }
        Ok(answer) => Ok(answer),
        Err(error) => Err(format!("{program} cannot be started: {error}; install it, mode 0755")),
    }
}

/// Whether a file that root executes is root's, with every directory on the way.
fn is_of_root(path: &str) -> Result<(), String> {
    let kind = nix::sys::stat::SFlag::S_IFREG;
    let trust = system::file_trust::Trust::default();
    let found = system::secure_open::resolve(path, kind, &trust);
    let mode = found.map_err(|untrusted| untrusted.clause().to_owned())?.opened.stat.st_mode;
    if mode & 0o555 == 0o555 {
        Ok(())
    } else {
        Err(format!("{path} has mode {:04o}", mode & 0o7777))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_that_names_a_reason_has_that_reasons_mend() {
        let mend = |text: &str| Finding::error("glexec", text).mend;
        assert_eq!(mend("the file is gone (missing)"), explain::mend(Reason::ConfigMissing));
        assert!(mend("the file is gone (missing)").is_some());
        for text in ["nothing", "a word (nonsense)", "(missing) at the begin", "missing"] {
            assert_eq!(mend(text), None, "{text}");
        }
    }
}
