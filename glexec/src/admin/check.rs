//! `glexec-admin check`: what a configuration grants, and what is wrong with it.

use super::rehearse::Rehearsal;
use super::{epilogue, grants, rehearse};
use crate::act::root::Root;
use crate::act::state::StateDir;
use crate::contract::Reason;
use crate::decide::config::{Config, Listed, Syntax};
use crate::decide::stop::Stop;
use crate::lookups::Lookups;
use crate::{act, report, settings};
use nix::unistd::AccessFlags;
use serde::Serialize;
use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// What is asked of a check.
pub(super) struct Asked {
    /// Another file than the site's.
    pub(super) config: Option<PathBuf>,
    /// Whom a run is rehearsed for.
    pub(super) user: Option<String>,
    pub(super) json: bool,
}

/// Validates the configuration and shows what it grants; 0 where it is usable, else 1. What a
/// user is told of a rehearsal does not count.
pub(super) fn run(asked: Asked) -> u8 {
    let mut findings = Findings::default();
    let good = check(asked.config, &mut findings).is_ok() && findings.errors() == 0;
    let rehearsal = asked.user.map(|user| rehearse::as_user(&user));
    let text = if asked.json {
        // A program wants what is wrong; the grants of a large site are long.
        let told = ["ERROR", "WARNING", "notice"];
        findings.rows.retain(|row| told.contains(&row.name.as_str()));
        let report = Report { usable: good, findings: &findings.rows, rehearsal };
        serde_json::to_string(&report).unwrap_or_default() + "\n"
    } else {
        let lines = findings.rows.iter().map(|row| format!("{:<12} {}\n", row.name, row.text));
        lines.collect::<String>() + &rehearsal.map(|told| told.text()).unwrap_or_default()
    };
    u8::from(!report::print(&text) || !good)
}

/// A check as JSON.
#[derive(Serialize)]
struct Report<'a> {
    usable: bool,
    findings: &'a [Row],
    #[serde(skip_serializing_if = "Option::is_none")]
    rehearsal: Option<Rehearsal>,
}

/// One line of what was found; `ERROR` and `WARNING` are names like others.
#[derive(Serialize)]
struct Row {
    name: String,
    text: String,
}

/// What was found.
#[derive(Default)]
pub(super) struct Findings {
    rows: Vec<Row>,
}

impl Findings {
    pub(super) fn line(&mut self, name: &str, value: &str) {
        self.rows.push(Row { name: name.to_owned(), text: value.to_owned() });
    }

    pub(super) fn warn(&mut self, what: &str) {
        self.line("WARNING", what);
    }

    pub(super) fn error(&mut self, what: &str) {
        self.line(ERROR, what);
    }

    pub(super) fn stop(&mut self, stop: &Stop) {
        let detail = stop.detail.as_deref().unwrap_or(&stop.sentence);
        self.error(&format!("{detail} ({})", stop.reason.word()));
    }

    fn errors(&self) -> usize {
        self.rows.iter().filter(|row| row.name == ERROR).count()
    }
}

const ERROR: &str = "ERROR";

fn check(file: Option<PathBuf>, findings: &mut Findings) -> Result<(), Stop> {
    let root = Root::without_rights();
    let read = match &file {
        Some(path) => read_any(path),
        None => settings::read(&root),
    };
    let config = read.inspect_err(|stop| findings.stop(stop))?;
    let shown = file.map_or_else(|| "the site's".to_owned(), |path| path.display().to_string());
    findings.line("config", &format!("{shown}: understood"));
    config.notices.iter().for_each(|notice| findings.line("notice", notice));
    white_lists(&config, findings);
    let lookups = Lookups::open(&root, None, config.account_source);
    let mut lookups = lookups.inspect_err(|stop| findings.stop(stop))?;
    let targets = grants::mapping(&config, &mut lookups, findings);
    state(&root, &config, findings);
    hand_over(&config, findings);
    epilogue::check(&root, &config, (&mut lookups, &targets), findings);
    installation(&config, findings);
    Ok(())
}

/// A file that is not in force yet: whoever it belongs to.
fn read_any(path: &PathBuf) -> Result<Config, Stop> {
    let name = path.display().to_string();
    let unusable = |e: std::io::Error| {
        Stop::configuration(Reason::ConfigMissing, format!("{name} cannot be read: {e}"))
    };
    let mut text = Vec::new();
    let file = std::fs::OpenOptions::new().read(true).open(path).map_err(unusable)?;
    file.take(settings::MOST).read_to_end(&mut text).map_err(unusable)?;
    let original = path.extension() == Some(OsStr::new("conf"));
    settings::parse(&text, &name, if original { Syntax::Original } else { Syntax::Toml })
}

fn white_lists(config: &Config, findings: &mut Findings) {
    let lists = [("users", &config.user_white_list), ("groups", &config.group_white_list)];
    for (name, list) in lists {
        let words: Vec<String> = list.iter().map(shown).collect();
        findings.line(
            "white list",
            &format!(
                "{name}: {}",
                if words.is_empty() { "none".to_owned() } else { words.join(", ") }
            ),
        );
        if list.contains(&Listed::Everybody) {
            findings.warn(&format!("every caller is admitted by the white list of {name}"));
        }
    }
    if config.user_white_list.is_empty() && config.group_white_list.is_empty() {
        findings.warn("nobody may call glexec: both white lists are empty");
    }
}

fn shown(entry: &Listed) -> String {
    match entry {
        Listed::Everybody => "*".to_owned(),
        Listed::Name(name) => name.clone(),
        Listed::Pool(prefix) => format!("{prefix}<digits>"),
    }
}

/// Where runs are remembered, and what is owed now.
fn state(root: &Root, config: &Config, findings: &mut Findings) {
    let needed = config.epilogue.is_some()
        || !config.mapping.pools.is_empty()
        || !config.hand_over.is_empty();
    if !needed || config.log_only {
        return;
    }
    if !nix::unistd::Uid::effective().is_root() {
        return findings.warn("not root: the state directory was not looked at");
    }
    match StateDir::open(root, &config.state).and_then(|directory| directory.entries()) {
        Ok(entries) => {
            if let Err(errno) =
                nix::unistd::access(config.state.directory.as_str(), AccessFlags::W_OK)
            {
                let (directory, why) = (&config.state.directory, errno.desc());
                findings.error(&format!("{directory} cannot be written to: {why} (state)"));
            }
            let aside = entries.iter().filter(|name| name.starts_with("aside.")).count();
            let (directory, runs) = (&config.state.directory, entries.len());
            findings.line("state", &format!("{directory}: {runs} entries; see glexec-admin ps"));
            if aside > 0 {
                findings
                    .warn(&format!("{aside} owed epilogues are set aside; see glexec-admin ps"));
            }
        }
        Err(stop) => findings.stop(&stop),
    }
}

/// Handing directories over counts on the kernel's rule for hard links (proc_sys_fs(5)).
fn hand_over(config: &Config, findings: &mut Findings) {
    const RULE: &str = "/proc/sys/fs/protected_hardlinks";
    if config.hand_over.is_empty() {
        return;
    }
    findings.line("hand_over", &config.hand_over.join(", "));
    let mut value = String::new();
    let file = std::fs::OpenOptions::new().read(true).open(RULE);
    let read = file.and_then(|file| file.take(16).read_to_string(&mut value));
    if read.is_err() || value.trim() != "1" {
        findings.warn("hand_over without fs.protected_hardlinks = 1: set it with sysctl");
    }
}

fn installation(config: &Config, findings: &mut Findings) {
    const PROGRAM: &str = "/usr/sbin/glexec";
    let Ok(meta) = std::fs::symlink_metadata(PROGRAM) else {
        return findings.warn(&format!("{PROGRAM} is not there"));
    };
    let (owner, mode) = (meta.uid(), meta.mode() & 0o7777);
    findings.line("program", &format!("{PROGRAM} owner {owner} mode {mode:04o}"));
    let setuid = owner == 0 && mode & 0o4000 != 0;
    if !setuid && !config.log_only {
        findings.error(&format!("{PROGRAM} is not setuid root; every run ends with 202"));
    }
    if setuid && config.log_only {
        findings.error("log_only = true with a setuid program: every run ends with 202");
    }
    if mode & 0o022 != 0 {
        findings.error(&format!("{PROGRAM} is writable by others than its owner"));
    }
    let helpers = OsStr::new(act::helper::DIRECTORY).as_bytes();
    findings.line("helpers", &String::from_utf8_lossy(helpers));
}
