//! The site's file for the hooks: `/etc/glexec-slurm.toml`. Without it all defaults hold.

use adapter::{RecordField, SignalExit, SiteFile};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Where it is.
pub(crate) const FILE: SiteFile = SiteFile("/etc/glexec-slurm.toml");

/// The whole file.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) programs: Programs,
    pub(crate) task: Task,
    pub(crate) prolog: Prolog,
    pub(crate) task_prolog: TaskProlog,
    pub(crate) task_epilog: TaskEpilog,
    pub(crate) epilog: Epilog,
    pub(crate) scratch: Option<Scratch>,
    pub(crate) records: Records,
    pub(crate) accounting: Option<Accounting>,
}

/// glexec's own paths are fixed: what is checked is what runs.
pub(crate) const GLEXEC: &str = "/usr/sbin/glexec";
/// Looks after glexec.
pub(crate) const GLEXEC_ADMIN: &str = "/usr/sbin/glexec-admin";

/// Absolute paths: hooks have no PATH.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Programs {
    pub(crate) scontrol: PathBuf,
    pub(crate) sacctmgr: PathBuf,
}

impl Default for Programs {
    fn default() -> Self {
        Self { scontrol: "/usr/bin/scontrol".into(), sacctmgr: "/usr/bin/sacctmgr".into() }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Task {
    pub(crate) signal_exit: SignalExit,
    /// Variables that hold the number of a descriptor the payload needs.
    pub(crate) keep_descriptors: Vec<String>,
}

impl Default for Task {
    fn default() -> Self {
        Self { signal_exit: SignalExit::default(), keep_descriptors: vec!["PMI_FD".to_owned()] }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Prolog {
    /// Seconds for all that the prolog asks.
    pub(crate) time_limit: u32,
    /// Whether a site's fault drains the node with a reason.
    pub(crate) drain: bool,
}

impl Default for Prolog {
    fn default() -> Self {
        Self { time_limit: 30, drain: true }
    }
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TaskProlog {
    /// Whether a task whose user may not map here is stopped.
    pub(crate) veto: bool,
    /// Variables for the task.
    pub(crate) export: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TaskEpilog {
    /// Seconds that wrappers are given whose shell is gone, before Slurm kills what is left of a step.
    pub(crate) wait: u32,
}

impl Default for TaskEpilog {
    fn default() -> Self {
        Self { wait: 30 }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Epilog {
    /// Seconds that runs of the job which still live are waited for.
    pub(crate) wait: u32,
    /// Seconds for all that the epilog does; owed epilogues that take longer go on without it.
    pub(crate) time_limit: u32,
    /// Whether a site's fault drains the node with a reason.
    pub(crate) drain: bool,
}

impl Default for Epilog {
    fn default() -> Self {
        Self { wait: 60, time_limit: 120, drain: true }
    }
}

/// A private directory for the target of each job.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scratch {
    /// Where: root's, on a local disk.
    pub(crate) base: PathBuf,
    /// The variable that tells the payload.
    #[serde(default = "scratch_variable")]
    pub(crate) variable: String,
}

fn scratch_variable() -> String {
    contract::variables::TMPDIR.to_owned()
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Records {
    /// Where records of payloads are kept until the job's end: root's alone.
    pub(crate) directory: PathBuf,
    /// Where jobs have a directory for notes of their tasks.
    pub(crate) notes: PathBuf,
    /// Whose both are: the account of glexec's `epilogue_user`; none: root.
    pub(crate) owner: Option<String>,
    /// What a record has beside what every record has.
    pub(crate) fields: Vec<RecordField>,
}

impl Records {
    /// uid of the records' owner.
    ///
    /// # Errors
    /// One sentence where there is no such account, or where it cannot be looked up.
    pub(crate) fn owner(&self) -> Result<u32, String> {
        self.owner.as_ref().map_or(Ok(0), |name| FILE.epilogue_user("records.owner", name))
    }
}

impl Default for Records {
    fn default() -> Self {
        Self {
            directory: "/var/lib/glexec-slurm".into(),
            notes: "/run/glexec-slurm".into(),
            owner: None,
            fields: Vec::new(),
        }
    }
}

/// What Slurm's accounting is told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Accounting {
    /// Directory that nodes and controller share, through which the epilogs hand records over.
    pub(crate) spool: PathBuf,
    /// Whether the highest status of a payload becomes the job's derived exit code.
    #[serde(default)]
    pub(crate) derived_exit_code: bool,
    /// Which comment of the job says what the payloads did; none: no comment.
    #[serde(default)]
    pub(crate) comment: Option<CommentField>,
    /// Seconds that the controller waits for the nodes' records and for the accounting.
    #[serde(default = "patience")]
    pub(crate) time_limit: u32,
}

const fn patience() -> u32 {
    180
}

/// Fields of a job's accounting record (sacctmgr(1), "Specifications for Job").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CommentField {
    /// The administrator's.
    AdminComment,
    /// The user's.
    Comment,
}

impl CommentField {
    /// As sacctmgr calls it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::AdminComment => "admincomment",
            Self::Comment => "comment",
        }
    }
}

impl Settings {
    /// Reads the site's file.
    ///
    /// # Errors
    /// One sentence that names the file, the line, or the key.
    pub(crate) fn read() -> Result<Self, String> {
        let settings: Self = FILE.read()?.unwrap_or_default();
        settings.checked()
    }

    fn checked(self) -> Result<Self, String> {
        let programs = &self.programs;
        let mut paths = vec![
            ("programs.scontrol", &programs.scontrol),
            ("programs.sacctmgr", &programs.sacctmgr),
            ("records.directory", &self.records.directory),
            ("records.notes", &self.records.notes),
        ];
        paths.extend(self.scratch.as_ref().map(|scratch| ("scratch.base", &scratch.base)));
        paths.extend(self.accounting.as_ref().map(|to| ("accounting.spool", &to.spool)));
        FILE.absolute(paths.into_iter().map(|(key, path)| (key, path.as_path())))?;
        if let Some(scratch) = &self.scratch {
            if scratch.base == self.records.notes || scratch.base == self.records.directory {
                return Err(format!("{FILE}: scratch.base must be a directory of its own"));
            }
            if scratch.variable.is_empty()
                || crate::dialect::export(&scratch.variable, "").is_none()
            {
                return Err(format!("{FILE}: scratch.variable is no name of a variable"));
            }
        }
        for (name, value) in &self.task_prolog.export {
            if crate::dialect::export(name, value).is_none() || name.is_empty() {
                let name = name.escape_debug();
                return Err(format!(
                    "{FILE}: task_prolog.export.{name}: Slurm takes one line, and a name without ="
                ));
            }
        }
        Ok(self)
    }
}

/// Seconds as a span.
pub(crate) const fn seconds(number: u32) -> Duration {
    Duration::from_secs(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        toml_text(text)?.checked()
    }

    fn toml_text(text: &str) -> Result<Settings, String> {
        toml::from_str(text).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        let settings = parse("").unwrap();
        assert_eq!(settings.task.signal_exit, SignalExit::Reraise);
        assert_eq!(settings.task.keep_descriptors, ["PMI_FD"]);
        assert!(settings.scratch.is_none() && settings.accounting.is_none());
    }

    #[test]
    fn unknown_keys_relative_paths_and_lines_in_values_are_errors() {
        assert!(parse("[task]\nsignal_exti = \"128\"").is_err());
        assert!(parse("[scratch]\nbase = \"scratch\"").unwrap_err().contains("scratch.base"));
        assert!(
            parse("[task_prolog.export]\nA = \"x\\nexport LD_PRELOAD=/x\"")
                .unwrap_err()
                .contains("export.A")
        );
    }

    #[test]
    fn the_sample_is_understood() {
        parse(include_str!("../../conf/slurm/glexec-slurm.toml")).unwrap();
        let all = include_str!("../../conf/slurm/glexec-slurm.toml").replace("\n#[", "\n[");
        let uncommented: String = all
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => rest,
                _ => line,
            })
            .map(|line| format!("{line}\n"))
            .collect();
        parse(&uncommented).unwrap();
    }
}
