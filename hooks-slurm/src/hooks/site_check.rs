//! `glexec-slurm-prolog --check`: whether Slurm's configuration, glexec's and the hooks' fit each other.

use super::slurm_conf::{self, Value};
use super::{CONTROLLER, ask, check, said};
use crate::configuration::Configuration;
use crate::findings::{self, Finding, Hook, Program};
use crate::places::Base;
use crate::settings::{FILE, GLEXEC_ADMIN, Programs, Settings};
use nix::sys::stat::SFlag;
use nix::unistd::Uid;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use system::file_trust::Trust;
use system::secure_open;

/// Where the hooks are installed.
const INSTALLED: &str = "/usr/libexec/glexec";

/// The keys of slurm.conf that name hooks, which program of ours each should run, and what becomes of
/// jobs where it does not. What nobody needs has no such clause.
const HOOKS: [(&str, &str, Option<&str>); 5] = [
    ("Prolog", "glexec-slurm-prolog", Some("jobs meet a fault of the site's, and not the node")),
    (
        "Epilog",
        "glexec-slurm-epilog",
        Some("nobody waits for runs at a job's end, or keeps their records"),
    ),
    ("TaskProlog", "glexec-slurm-task-prolog", None),
    ("TaskEpilog", "glexec-slurm-task-epilog", None),
    ("EpilogSlurmctld", "glexec-slurm-epilog-ctld", None),
];

/// Prints what is wrong on this node, a line each: 1 where jobs would fail or others than root could
/// choose what root runs, or where that cannot be told, else 0.
pub fn check_site() -> u8 {
    let findings = if Uid::effective().is_root() {
        all()
    } else {
        vec![Finding::Error("this check is for root only; call it as root".to_owned())]
    };
    let mut out = std::io::stdout();
    let told = findings.iter().try_for_each(|finding| writeln!(out, "{finding}"));
    let wrong = findings.iter().any(|finding| matches!(finding, Finding::Error(_)));
    u8::from(wrong || told.is_err())
}

fn all() -> Vec<Finding> {
    let error = |text: String| vec![Finding::Error(text)];
    let mut found = match check(None, CONTROLLER) {
        Ok(Some(checked)) => {
            checked.fault().map(|fault| error(fault.to_owned())).unwrap_or_default()
        }
        Ok(None) => error("glexec-admin check has not answered in time; run it by hand".to_owned()),
        Err(sentence) => error(sentence),
    };
    let settings = Settings::read().unwrap_or_else(|sentence| {
        found.push(Finding::Error(sentence));
        Settings::default()
    });
    found.extend(of_places(&settings));
    let slurm = match told_by_slurm(&settings.programs) {
        Ok(slurm) => slurm,
        Err(sentence) => {
            found.push(Finding::Error(sentence));
            return found;
        }
    };
    match told_by_glexec() {
        Ok(glexec) => found.extend(findings::of_settings(&slurm, &glexec, &settings)),
        Err(sentence) => found.push(Finding::Error(sentence)),
    }
    let hooks: Vec<Hook> =
        HOOKS.iter().map(|(key, ours, why)| hook(&slurm, key, ours, *why)).collect();
    for (hook, (key, _, why)) in hooks.iter().zip(HOOKS) {
        let wanted = why.is_some() || key == "EpilogSlurmctld" && settings.accounting.is_some();
        if wanted || !hook.values.is_empty() {
            found.extend(findings::of_hook(hook));
        }
    }
    match slurm_conf::lines(&slurm, HOOKS.map(|(key, ..)| key)) {
        Ok(lines) => found.extend(findings::of_lines(&lines, &hooks)),
        Err(sentence) => found.push(Finding::Error(sentence)),
    }
    found.extend(of_spool(&slurm, &settings));
    // Tasks run it as their users.
    let task = program(&format!("{INSTALLED}/glexec-slurm-task"), true);
    found.extend(task.fault.map(|fault| Finding::Error(format!("{} {fault}", task.path))));
    found
}

fn told_by_slurm(programs: &Programs) -> Result<Configuration, String> {
    let answer = ask(&programs.scontrol, vec!["show".into(), "config".into()], (CONTROLLER, true))?;
    let slurm = Configuration::read(&answer.stdout);
    match slurm.value("SLURM_CONF") {
        Some(_) if answer.code == Some(0) => Ok(slurm),
        _ => Err(format!(
            "slurm.conf in force cannot be looked at: {}; is slurmctld running?",
            said(&programs.scontrol, &answer)
        )),
    }
}

/// What is in force of glexec's keys: `key = value  # origin`.
fn told_by_glexec() -> Result<BTreeMap<String, String>, String> {
    let answer = ask(Path::new(GLEXEC_ADMIN), vec!["show".into()], (CONTROLLER, true))?;
    if answer.code != Some(0) {
        return Err(said(Path::new(GLEXEC_ADMIN), &answer));
    }
    let lines = answer.stdout.lines().filter_map(|line| line.rsplit_once("  # "));
    let pairs = lines.filter_map(|(pair, _)| pair.split_once(" = "));
    Ok(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

fn hook(
    slurm: &Configuration,
    key: &'static str,
    ours: &str,
    without: Option<&'static str>,
) -> Hook {
    let values = slurm.values(key);
    let of_users = key.starts_with("Task");
    let paths = values.iter().flat_map(|value| Value::of(value).paths());
    let programs = paths.map(|path| program(&path, of_users)).collect();
    let without = without.unwrap_or("it does nothing");
    Hook { key, values, programs, ours: format!("{INSTALLED}/{ours}"), without }
}

/// A program of root's; `of_users`: which users execute.
fn program(path: &str, of_users: bool) -> Program {
    let found = secure_open::resolve(path, SFlag::S_IFREG, &Trust::default());
    let (file, fault) = match found {
        Ok(found) => {
            let mode = found.opened.stat.st_mode;
            let (needed, whom) = if of_users { (0o555, "everybody") } else { (0o500, "root") };
            let fault = (mode & needed != needed).then(|| {
                format!("cannot be read and executed by {whom}, and Slurm takes that for a failure; chmod 755 {}", found.path)
            });
            (Some(found.path), fault)
        }
        Err(untrusted) => {
            let clause = untrusted.clause();
            (None, Some(format!("cannot be used ({clause}); mend that, and give it mode 0755")))
        }
    };
    Program { path: path.to_owned(), file, fault }
}

/// Directories that Prolog and Epilog make things in. What is not there yet is made in the one above.
fn of_places(settings: &Settings) -> Vec<Finding> {
    let owner = match settings.records.owner() {
        Ok(owner) => owner,
        Err(fault) => return vec![Finding::Error(fault)],
    };
    let mut places = vec![&settings.records.directory, &settings.records.notes];
    places.extend(settings.scratch.as_ref().map(|scratch| &scratch.base));
    let faults = places.into_iter().filter_map(|path| {
        let there =
            if path.symlink_metadata().is_ok() { Some(path.as_path()) } else { path.parent() };
        let fault = Base::open_of(there?, 0o700, owner).err()?;
        Some(Finding::Error(format!("{fault} ({FILE}); the Prolog of every job fails by it")))
    });
    faults.collect()
}

/// What nodes and controller share of the records.
fn of_spool(slurm: &Configuration, settings: &Settings) -> Option<Finding> {
    let spool = &settings.accounting.as_ref()?.spool;
    // `slurm(902)`.
    let user = slurm.value("SlurmUser").and_then(|user| user.split_once('('));
    let uid = user.and_then(|(_, uid)| uid.trim_end_matches(')').parse().ok());
    let trust = Trust { user: uid.map(Uid::from_raw), ..Trust::default() };
    let path = spool.to_str().unwrap_or_default();
    let fault = secure_open::resolve(path, SFlag::S_IFDIR, &trust).err()?;
    Some(Finding::Warning(format!(
        "{FILE}: [accounting] spool: {}; nothing reaches the accounting; make it a directory of SlurmUser's, on every node and the controller",
        fault.clause()
    )))
}
