//! What the starter runs a job by: its `USER_JOB_WRAPPER`. A pilot's start-up, or a file that is read
//! after ours, may have put another there, and then the job would run as the starter's user.

use crate::settings::Settings;
use crate::starter::condor_program;
use adapter::{Answer, BoundedCommand};
use std::env::vars_os;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// It reads a few files.
const PATIENCE: Duration = Duration::from_secs(20);
const NAME: &str = "USER_JOB_WRAPPER";

/// Whether the starter that called this hook runs its job by glexec's wrapper.
///
/// # Errors
/// One clause: what it runs the job by, or why that cannot be known.
pub(crate) fn is_ours(settings: &Settings) -> Result<(), String> {
    let starter = nix::unistd::getppid();
    let words = fs::read(format!("/proc/{starter}/cmdline"))
        .map_err(|error| format!("the starter's command line cannot be read ({error})"))?;
    let named = settings.programs.condor_config_val.as_deref();
    let program = condor_program(named, "condor_config_val")
        .ok_or("condor_config_val is not there: name it in [programs]")?;
    let asked = BoundedCommand {
        program: &program,
        words: question(&words),
        // The starter's own environment: with it the program reads what the starter reads.
        environment: vars_os().collect(),
        ids: None,
        limit: PATIENCE,
        end_it: true,
    };
    let shown = program.display();
    let answer = asked.run().map_err(|error| format!("{shown} cannot be started: {error}"))?;
    let wrapper = understood(&answer).map_err(|why| format!("{shown} {why}"))?;
    judged(wrapper, settings)
}

/// The words by which `condor_config_val` looks a name up as this starter does (its manual page; the
/// startd gives a starter its local name).
fn question(starter: &[u8]) -> Vec<OsString> {
    let mut words = starter.split(|byte| *byte == 0);
    let local = words.find(|word| *word == b"-local-name").and_then(|_| words.next());
    let mut question: Vec<OsString> = vec!["-subsystem".into(), "STARTER".into()];
    if let Some(local) = local {
        question.extend(["-local-name".into(), OsStr::from_bytes(local).to_owned()]);
    }
    question.push(NAME.into());
    question
}

/// The wrapper; `None` where there is none.
fn understood(answer: &Answer) -> Result<Option<&str>, String> {
    let said = answer.stdout.trim();
    match answer.code {
        Some(0) => Ok(Some(said).filter(|said| !said.is_empty())),
        Some(1) if said.starts_with("Not defined") || answer.stderr.contains("Not defined") => {
            Ok(None)
        }
        Some(code) => Err(format!("failed with {code}: {}", answer.stderr.trim())),
        None => Err("has not answered".to_owned()),
    }
}

fn judged(wrapper: Option<&str>, settings: &Settings) -> Result<(), String> {
    let Some(wrapper) = wrapper else {
        return Err(format!("{NAME} is not set, and the job would run without glexec"));
    };
    let known = |path: &PathBuf| is_same(path, Path::new(wrapper));
    let outer = &settings.prepare.outer_wrappers;
    if known(&settings.programs.wrapper) || outer.iter().any(known) {
        return Ok(());
    }
    Err(format!("{NAME} is {wrapper}, and the job would run without glexec"))
}

fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    one == other || real(one).is_some_and(|one| Some(one) == real(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: Option<i32>, stdout: &str, stderr: &str) -> Answer {
        let [stdout, stderr] = [stdout, stderr].map(str::to_owned);
        Answer { code, stdout, stderr, late: code.is_none() }
    }

    #[test]
    fn a_starter_with_a_local_name_is_asked_for_by_it() {
        let words = question(b"condor_starter\0-f\0-local-name\0slot_type_1\0-a\0slot1_1\0host\0");
        assert_eq!(words, ["-subsystem", "STARTER", "-local-name", "slot_type_1", NAME]);
        let words = question(b"condor_starter\0-f\0-a\0slot1_1\0host\0");
        assert_eq!(words, ["-subsystem", "STARTER", NAME]);
        assert_eq!(question(b""), words);
    }

    #[test]
    fn only_an_answer_is_an_answer() {
        assert_eq!(understood(&answer(Some(0), "/w\n", "")), Ok(Some("/w")));
        assert_eq!(understood(&answer(Some(0), "\n", "")), Ok(None));
        for (stdout, stderr) in [("Not defined: X\n", ""), ("", "Not defined: X\n")] {
            assert_eq!(understood(&answer(Some(1), stdout, stderr)), Ok(None));
        }
        assert!(understood(&answer(Some(1), "", "no configuration")).is_err());
        assert!(understood(&answer(Some(127), "/w\n", "")).is_err());
        assert!(understood(&answer(None, "/w\n", "")).is_err());
    }

    #[test]
    fn another_wrapper_and_none_are_not_ours() {
        let mut settings = Settings::default();
        let ours = settings.programs.wrapper.to_str().unwrap().to_owned();
        assert_eq!(judged(Some(&ours), &settings), Ok(()));
        assert!(judged(None, &settings).unwrap_err().contains("not set"));
        let other = judged(Some("/home/pilot/condor_job_wrapper.sh"), &settings);
        assert!(other.unwrap_err().contains("is /home/pilot/condor_job_wrapper.sh"));
        settings.prepare.outer_wrappers = vec!["/site/wrapper".into()];
        assert_eq!(judged(Some("/site/wrapper"), &settings), Ok(()));
        assert!(judged(Some("/site/wrapper2"), &settings).is_err());
        // By another name, through links.
        settings.programs.wrapper = "/proc/self/root/bin/sh".into();
        assert_eq!(judged(Some("/bin/sh"), &settings), Ok(()));
    }
}
