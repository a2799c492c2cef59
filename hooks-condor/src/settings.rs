//! The site's file for the hooks: `/etc/glexec-condor.toml`. Without it all defaults hold.

use adapter::{RecordField, SignalExit, SiteFile};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// Where it is.
pub(crate) const FILE: SiteFile = SiteFile("/etc/glexec-condor.toml");

/// The whole file.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) programs: Programs,
    pub(crate) wrapper: Wrapper,
    pub(crate) prepare: Prepare,
    pub(crate) exit: Exit,
    pub(crate) attributes: Attributes,
    pub(crate) sandbox: Sandbox,
    pub(crate) records: Records,
}

/// Absolute paths: hooks have no PATH.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Programs {
    pub(crate) glexec: PathBuf,
    /// None: looked for beside the daemons and where distributions have it.
    pub(crate) condor_chirp: Option<PathBuf>,
    /// None: looked for in the same places.
    pub(crate) condor_config_val: Option<PathBuf>,
    /// What a rewritten job runs.
    pub(crate) wrapper: PathBuf,
    /// What runs as the target where the sandbox is copied.
    pub(crate) copy: PathBuf,
}

impl Default for Programs {
    fn default() -> Self {
        Self {
            glexec: "/usr/sbin/glexec".into(),
            condor_chirp: None,
            condor_config_val: None,
            wrapper: "/usr/libexec/glexec/glexec-condor-wrapper".into(),
            copy: "/usr/libexec/glexec/glexec-condor-copy".into(),
        }
    }
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Wrapper {
    pub(crate) signal_exit: SignalExit,
    /// The file among a job's credentials by which it is mapped; none: no token is passed on.
    pub(crate) token: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Prepare {
    /// Seconds for all of it: HTCondor has no limit.
    pub(crate) time_limit: u32,
    /// How often what may pass is tried again.
    pub(crate) retries: u32,
    /// Seconds before the first of these; longer before each later one.
    pub(crate) retry_delay: u32,
    /// Whether what has not passed by then holds the job, instead of sending it back to the queue.
    pub(crate) hold_on_initial_failure: bool,
    /// Whether the job's command becomes the wrapper with the command behind it.
    pub(crate) rewrite: bool,
    /// Wrappers of the site's that run glexec's: a `USER_JOB_WRAPPER` may be one of these.
    pub(crate) outer_wrappers: Vec<PathBuf>,
}

impl Default for Prepare {
    fn default() -> Self {
        Self {
            time_limit: 120,
            retries: 3,
            retry_delay: 5,
            hold_on_initial_failure: true,
            rewrite: false,
            outer_wrappers: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Exit {
    /// Seconds that the job's living runs are waited for.
    pub(crate) wait: u32,
}

impl Default for Exit {
    fn default() -> Self {
        Self { wait: 20 }
    }
}

/// What the job's ad is told.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Attributes {
    pub(crate) send: bool,
    /// What their names begin with.
    pub(crate) prefix: String,
    pub(crate) by: By,
    /// Seconds for each of them.
    pub(crate) time_limit: u32,
}

impl Default for Attributes {
    fn default() -> Self {
        Self { send: true, prefix: "Glexec".to_owned(), by: By::default(), time_limit: 8 }
    }
}

/// How the payload gets at the job's sandbox.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Way {
    /// It is the payload's for the run: glexec's `hand_over`.
    #[default]
    #[serde(rename = "hand-over")]
    HandOver,
    /// It has a copy.
    #[serde(rename = "copy")]
    Copy,
}

/// Where the payload works.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Sandbox {
    pub(crate) way: Way,
    /// Where the copies are: every target makes one of its own there.
    pub(crate) directory: PathBuf,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self { way: Way::default(), directory: "/var/spool/glexec-condor".into() }
    }
}

/// What an epilogue leaves for the hook after it.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Records {
    /// Where they are that an epilogue without root's rights leaves.
    pub(crate) directory: PathBuf,
    /// Whose that is: the account of glexec's `epilogue_user`; none: the epilogue is root's, and
    /// leaves its record in the sandbox.
    pub(crate) owner: Option<String>,
    /// What a record has beside what every record has.
    pub(crate) fields: Vec<RecordField>,
}

impl Default for Records {
    fn default() -> Self {
        Self { directory: "/var/lib/glexec-condor".into(), owner: None, fields: Vec::new() }
    }
}

/// Commands of `condor_chirp`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum By {
    /// At once where the job has `WantRemoteUpdates` or `WantIOProxy`, else with its next update.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// With the job's next update; needs `CHIRP_DELAYED_UPDATE_PREFIX`.
    #[serde(rename = "set_job_attr_delayed")]
    Delayed,
    /// At once; needs `WantRemoteUpdates = true` in the job.
    #[serde(rename = "set_job_attr")]
    Direct,
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
            ("programs.glexec", &programs.glexec),
            ("programs.wrapper", &programs.wrapper),
            ("programs.copy", &programs.copy),
            ("sandbox.directory", &self.sandbox.directory),
            ("records.directory", &self.records.directory),
        ];
        paths.extend(programs.condor_chirp.as_ref().map(|path| ("programs.condor_chirp", path)));
        let config_val = programs.condor_config_val.as_ref();
        paths.extend(config_val.map(|path| ("programs.condor_config_val", path)));
        let outer = &self.prepare.outer_wrappers;
        paths.extend(outer.iter().map(|path| ("prepare.outer_wrappers", path)));
        FILE.absolute(paths.into_iter().map(|(key, path)| (key, path.as_path())))?;
        let prefix = &self.attributes.prefix;
        let name = prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && prefix.starts_with(|c: char| c.is_ascii_alphabetic());
        if !name {
            return Err(format!(
                "{FILE}: attributes.prefix must be letters, digits and _, a letter first"
            ));
        }
        if self.wrapper.token.as_ref().is_some_and(|name| !is_file_name(name)) {
            return Err(format!(
                "{FILE}: wrapper.token must be the name of a file in _CONDOR_CREDS, such as \"scitokens.use\""
            ));
        }
        if self.prepare.time_limit == 0 || self.attributes.time_limit == 0 {
            return Err(format!("{FILE}: a time_limit must be at least 1 second"));
        }
        // Who asks what a job owes is ended at this limit, before it has paid anything.
        if self.exit.wait == 0 {
            return Err(format!("{FILE}: exit.wait must be at least 1 second"));
        }
        Ok(self)
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && ![".", ".."].contains(&name)
}

/// Seconds as a span.
pub(crate) const fn seconds(number: u32) -> Duration {
    Duration::from_secs(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        let settings: Result<Settings, _> = toml::from_str(text);
        settings.map_err(|e| e.message().to_owned())?.checked()
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        let settings = parse("").unwrap();
        assert_eq!(settings.wrapper.signal_exit, SignalExit::Reraise);
        assert_eq!((settings.prepare.retries, settings.prepare.retry_delay), (3, 5));
        assert!(settings.prepare.hold_on_initial_failure);
    }

    #[test]
    fn unknown_keys_relative_paths_and_odd_prefixes_are_errors() {
        for (text, word) in [
            ("[wrapper]\nsignal_exti = \"128\"", "signal_exti"),
            ("[programs]\nglexec = \"glexec\"", "programs.glexec"),
            ("[wrapper]\ntoken = \"../x\"", "wrapper.token"),
            ("[wrapper]\ntoken = \"\"", "wrapper.token"),
            ("[attributes]\nprefix = \"A B\"", "attributes.prefix"),
            ("[attributes]\nprefix = \"\"", "attributes.prefix"),
            ("[prepare]\ntime_limit = 0", "time_limit"),
            ("[sandbox]\ndirectory = \"spool\"", "sandbox.directory"),
            ("[programs]\ncondor_config_val = \"x\"", "programs.condor_config_val"),
            ("[prepare]\nouter_wrappers = [\"/x\", \"y\"]", "prepare.outer_wrappers"),
            ("[sandbox]\nway = \"link\"", "link"),
            ("[records]\ndirectory = \"x\"", "records.directory"),
            ("[records]\nfields = [\"args\"]", "args"),
            ("[exit]\nwait = 0", "exit.wait"),
        ] {
            assert!(parse(text).unwrap_err().contains(word), "{text}");
        }
    }

    #[test]
    fn the_sample_is_understood_and_says_the_defaults() {
        let sample = include_str!("../../conf/condor/glexec-condor.toml");
        let written = parse(sample).unwrap();
        assert_eq!(format!("{written:?}"), format!("{:?}", parse("").unwrap()));
        let all = sample.replace("\n#condor_c", "\ncondor_c").replace("\n#outer", "\nouter");
        let all = parse(&all).unwrap();
        assert!(all.programs.condor_chirp.is_some() && all.programs.condor_config_val.is_some());
        assert_eq!(all.prepare.outer_wrappers.len(), 1);
    }
}
