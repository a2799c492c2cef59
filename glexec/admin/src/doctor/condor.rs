//! HTCondor's side: whether every job goes through glexec.

use super::{Finding, ask, is_of_root};
use decide::config::Config;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Where HTCondor's configuration begins.
const CONFIGURATION: &str = "/etc/condor/condor_config";
/// What tells a value of it.
const ASKED: &str = "/usr/bin/condor_config_val";
const LIMIT: Duration = Duration::from_secs(20);
/// Where the hooks are installed.
const HOOKS: &str = "/usr/libexec/glexec";

/// What a value must be.
enum Wanted {
    /// A hook's file, one of these.
    Hook(&'static [&'static str]),
    /// This word, in whatever case.
    Word(&'static str),
    /// Something with this in it.
    Part(&'static str),
}

/// What is asked, what the answer must be, and what becomes of jobs otherwise.
const KEYS: [(&str, Wanted, &str); 9] = [
    ("USER_JOB_WRAPPER", Wanted::Hook(&["glexec-condor-wrapper"]), "jobs run without glexec"),
    ("STARTER_JOB_HOOK_KEYWORD", Wanted::Word("GLEXEC"), "no hook of glexec's is called"),
    (
        "GLEXEC_HOOK_PREPARE_JOB_BEFORE_TRANSFER",
        Wanted::Hook(&["glexec-condor-prepare-transfer"]),
        "jobs meet a fault of the site's when they are to run",
    ),
    (
        "GLEXEC_HOOK_PREPARE_JOB",
        Wanted::Hook(&["glexec-condor-prepare"]),
        "jobs meet a fault of the site's when they are to run",
    ),
    (
        "GLEXEC_HOOK_JOB_EXIT",
        Wanted::Hook(&["glexec-condor-exit", "glexec-condor-exit-stay"]),
        "what a killed job owes waits for the sweep",
    ),
    (
        "CHIRP_DELAYED_UPDATE_PREFIX",
        Wanted::Part("Glexec"),
        "no attribute Glexec* reaches a job's ad",
    ),
    ("DISABLE_SETUID", Wanted::Word("False"), "glexec is not root in a job"),
    (
        "USE_PID_NAMESPACES",
        Wanted::Word("False"),
        "glexec is not the payload's parent for HTCondor",
    ),
    (
        "ENABLE_SSH_TO_JOB",
        Wanted::Word("False"),
        "a shell in a job is one of the job's user, not of its payload's",
    ),
];

/// Whether this is a machine of HTCondor's.
pub(super) fn is_here() -> bool {
    Path::new(CONFIGURATION).exists()
}

/// What is wrong.
pub(super) fn findings() -> Vec<Finding> {
    let mut values = BTreeMap::new();
    for (key, ..) in &KEYS {
        match ask(ASKED, &[key], LIMIT) {
            Ok(answer) if answer.code == Some(0) => {
                values.insert(*key, answer.stdout.trim().to_owned());
            }
            // That a key is not defined is an answer; else nothing is known.
            Ok(answer) if format!("{}{}", answer.stdout, answer.stderr).contains("Not defined") => {
            }
            Ok(answer) => {
                let said = answer.stderr.lines().next().unwrap_or("nothing");
                let text = format!(
                    "{ASKED} {key} says: {said}; HTCondor's configuration cannot be looked at"
                );
                return vec![Finding::error("condor", text)];
            }
            Err(sentence) => return vec![Finding::error("condor", sentence)],
        }
    }
    let mut found: Vec<Finding> =
        KEYS.iter().filter_map(|key| of_key(key, values.get(key.0).map(String::as_str))).collect();
    if let Ok(config) = observe::config_file::read() {
        found.extend(of_glexec(&config));
    }
    found
}

fn of_key((key, wanted, otherwise): &(&str, Wanted, &str), value: Option<&str>) -> Option<Finding> {
    let is = value.map_or_else(|| "not defined".to_owned(), |value| format!("= {value}"));
    let mend = "include conf/condor/50-glexec.config last";
    let wrong = |wanted: &str| {
        let text = format!("{key} is {is} and not {wanted}: {otherwise}; {mend}");
        Some(Finding::error("condor", text))
    };
    match wanted {
        Wanted::Word(word) if value.is_some_and(|value| value.eq_ignore_ascii_case(word)) => None,
        Wanted::Word(word) => wrong(word),
        Wanted::Part(part) if value.is_some_and(|value| value.contains(part)) => None,
        Wanted::Part(part) => wrong(&format!("something with {part}*")),
        Wanted::Hook(names) => {
            let ours = |name: &&str| value == Some(format!("{HOOKS}/{name}").as_str());
            if !names.iter().any(ours) {
                return wrong(&format!("{HOOKS}/{}", names.join(" or ")));
            }
            let why = is_of_root(value.unwrap_or_default()).err()?;
            let text = format!(
                "{key} is {is}, which cannot be used ({why}); install it as root's, mode 0755"
            );
            Some(Finding::error("condor", text))
        }
    }
}

/// What HTCondor's jobs want of `/etc/glexec.toml`.
fn of_glexec(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    if !config.linger {
        let text = "`linger` = false: no epilogue runs and nothing is recorded; set it to true";
        found.push(Finding::error("condor", text));
    }
    if !config.job_variables.iter().any(|name| name == "_CONDOR_SCRATCH_DIR") {
        let text = "`job_variables` lacks \"_CONDOR_SCRATCH_DIR\": the hook at a job's end does not find what is owed; add it";
        found.push(Finding::warning("condor", text));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(key: &str, value: Option<&str>) -> Option<String> {
        let key = KEYS.iter().find(|(name, ..)| *name == key).expect(key);
        of_key(key, value).map(|finding| finding.text)
    }

    #[test]
    fn a_value_is_right_or_is_told_with_what_it_should_be() {
        assert_eq!(said("DISABLE_SETUID", Some("false")), None);
        assert_eq!(said("CHIRP_DELAYED_UPDATE_PREFIX", Some("Chirp*, Glexec*")), None);
        for (key, value, part) in [
            ("DISABLE_SETUID", Some("True"), "is = True and not False: glexec is not root"),
            ("DISABLE_SETUID", None, "is not defined and not False"),
            ("CHIRP_DELAYED_UPDATE_PREFIX", Some("Chirp*"), "something with Glexec*"),
            ("USER_JOB_WRAPPER", Some("/bin/wrapper"), "jobs run without glexec; include"),
            ("USER_JOB_WRAPPER", None, "and not /usr/libexec/glexec/glexec-condor-wrapper"),
            ("GLEXEC_HOOK_JOB_EXIT", Some("/x"), "glexec-condor-exit or glexec-condor-exit-stay"),
        ] {
            let text = said(key, value).expect(key);
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
