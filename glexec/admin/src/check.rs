//! `glexec-admin check`: what a configuration grants, and what is wrong with it.

use super::findings::{ERROR, Findings, Row, WARNING};
use super::rehearse::Rehearsal;
use super::{advice, credentials, epilogue, grants, node, rehearse, terminal};
use contract::Reason;
use decide::config::{Config, Listed, SourceFile, Syntax};
use decide::refusal::Refusal;
use observe::accounts::{AccountFiles, Lookups};
use observe::config_file::{self, Etc, Source};

use serde::Serialize;
use std::ffi::OsStr;
use std::io::Read as _;
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
    let good = check(&asked, &mut findings).is_ok() && findings.errors() == 0;
    let rehearsal = asked.user.map(|user| rehearse::as_user(&user));
    let text = if asked.json {
        // A program wants what is wrong; the grants of a large site are long.
        let told = [ERROR, WARNING, "notice"];
        findings.rows.retain(|row| told.contains(&row.name.as_str()));
        let report = Report { usable: good, findings: &findings.rows, rehearsal };
        serde_json::to_string(&report).unwrap_or_default() + "\n"
    } else {
        let colours = terminal::has_colours();
        let name = |row: &Row| terminal::painted(&row.name, 12, colours);
        let lines = findings.rows.iter().map(|row| format!("{} {}\n", name(row), row.text));
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

/// What is wrong with the configuration in force and with the node: whether it is an error, else a
/// warning, and the sentence.
pub(super) fn wrong() -> Vec<(bool, String)> {
    let mut findings = Findings::default();
    // What stopped it stands among them.
    let _ = check(&Asked { config: None, user: None, json: false }, &mut findings);
    let wrong =
        findings.rows.into_iter().filter(|row| [ERROR, WARNING].contains(&row.name.as_str()));
    wrong.map(|row| (row.name == ERROR, row.text)).collect()
}

fn check(asked: &Asked, findings: &mut Findings) -> Result<(), Refusal> {
    let config = match &asked.config {
        Some(path) => read_any(path).map(|config| (config, vec![path.display().to_string()])),
        None => site_config(findings),
    };
    let (config, files) = config.inspect_err(|stop| findings.stop(stop))?;
    files.iter().for_each(|file| findings.line("config", &format!("{file}: understood")));
    config.notices.iter().for_each(|notice| findings.line("notice", notice));
    node::kernels_files(&config, findings);
    white_lists(&config, findings);
    node::log(&config, findings);
    let files = AccountFiles::read(&Etc::open());
    let lookups = Lookups::new(None, files, config.account_source);
    let mut lookups = lookups.inspect_err(|stop| findings.stop(stop))?;
    let targets = grants::mapping(&config, &mut lookups, findings);
    credentials::check(&config, &mut lookups, findings);
    // A prolog asks for every job, and can do without what is no fault of the node's.
    if asked.user.is_none() || !asked.json {
        advice::check(&config, &mut lookups, findings);
    }
    node::state(&config, findings);
    node::hand_over(&config, findings);
    epilogue::check(&config, (&mut lookups, &targets), findings);
    node::installation(&config, lookups.asks_helper(), findings);
    if asked.user.is_none() && asked.config.is_none() && findings.errors() == 0 {
        node::run_of_somebody(&config, &mut lookups, findings);
    }
    Ok(())
}

/// The configuration in force, and its files.
fn site_config(findings: &mut Findings) -> Result<(Config, Vec<String>), Refusal> {
    let source = Source::open(&Etc::open())?;
    let files: Vec<String> = source.files().iter().map(|file| file.path.clone()).collect();
    let config = source.into_config()?;
    let first = files.first().map_or("", String::as_str);
    if first == config_file::OURS && std::fs::symlink_metadata(config_file::ORIGINAL).is_ok() {
        findings.warn(&format!(
            "{} is not read, because {first} is there; remove one of them",
            config_file::ORIGINAL
        ));
    }
    others_than_drop_ins(findings);
    Ok((config, files))
}

/// What lies beside the drop-ins and is not read.
fn others_than_drop_ins(findings: &mut Findings) {
    let directory = config_file::DIRECTORY;
    let listed = std::fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let listed = match listed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => return findings.error(&format!("{directory} cannot be listed: {error}")),
        Ok(listed) => listed,
    };
    let names = listed.iter().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| !config_file::is_drop_in(name)).collect();
    names.sort_unstable();
    for name in names {
        findings.warn(&format!(
            "{directory}/{name} is not read: a name there must end in .toml and begin with no dot; rename it, or take it away"
        ));
    }
}

/// A file that is not in force yet: whoever it belongs to.
fn read_any(path: &PathBuf) -> Result<Config, Refusal> {
    let name = path.display().to_string();
    let unusable = |e: std::io::Error| {
        Refusal::configuration(Reason::ConfigMissing, format!("{name} cannot be read: {e}"))
    };
    let mut text = Vec::new();
    let file = std::fs::OpenOptions::new().read(true).open(path).map_err(unusable)?;
    file.take(config_file::MOST).read_to_end(&mut text).map_err(unusable)?;
    let original = path.extension() == Some(OsStr::new("conf"));
    let syntax = if original { Syntax::Original } else { Syntax::Toml };
    Config::read(&[SourceFile { path: name, text, syntax }])
        .map_err(|bad| config_file::malformed(&bad))
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
