//! What becomes of jobs whose wrapper and hooks are glexec's, with the files of conf/condor.

use crate::{HOOKED_PILOT, HOOKED_ROOT, PILOTS_CONFIG, ROOTS_CONFIG, with_hooks};
use harness::{Ad, JobId, Pool};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(90);

/// The lines of a submission that all jobs have; `account` is the target.
pub(crate) fn job(account: &str, lines: &str) -> String {
    format!(
        "executable = /bin/sh\ntransfer_executable = False\n\
         should_transfer_files = YES\nwhen_to_transfer_output = ON_EXIT\n\
         environment = \"GLEXEC_TARGET_USER={account}\"\n\
         output = out.$(Cluster).$(Process)\nerror = err.$(Cluster).$(Process)\n\
         log = log.$(Cluster)\nrequest_cpus = 1\nrequest_memory = 16\nrequest_disk = 1024\n{lines}\n"
    )
}

/// Waits for one job's end.
pub(crate) fn done(pool: &Pool, job: JobId) -> Ad {
    pool.wait_for(job, |ad| ad.is_completed() || ad.is_held() || ad.is_removed(), LONG)
}

fn exit_codes(pool: &Pool) {
    // As many as there are, some at a time.
    let lines = "arguments = \"-c 'exit $(Process)'\"\nqueue 256";
    let first = pool.submit("pilot", &job("payload1", lines));
    for (at, code) in (0u32..).zip(0..=255u8) {
        let ad = done(pool, JobId { process: at, ..first });
        assert!(ad.is_completed(), "{ad:?}\n{}", pool.diagnosis());
        assert_eq!(ad.number("ExitCode"), Some(code.into()), "{ad:?}");
        assert_eq!(ad.get("ExitBySignal"), Some("false"), "{ad:?}");
        assert_eq!(ad.number("GlexecTargetRC"), Some(code.into()), "{:?}", all(&ad));
        assert_eq!(ad.get("GlexecTargetUser"), Some("payload1"), "{:?}", all(&ad));
        assert_eq!(ad.get("GlexecEpilogue"), Some("ok"), "{:?}", all(&ad));
        assert!(ad.get("GlexecCpuSeconds").is_some() && ad.number("GlexecMaxRssKiB") > Some(0));
    }
}

/// What the adapters told the ad.
pub(crate) fn all(ad: &Ad) -> Vec<(&str, &str)> {
    ad.all().filter(|(name, _)| name.starts_with("Glexec")).collect()
}

fn signals(pool: &Pool) {
    const SIGNALS: [u8; 6] = [1, 9, 10, 11, 15, 24];
    let list: Vec<String> = SIGNALS.iter().map(u8::to_string).collect();
    let lines = format!("arguments = \"-c 'kill -$(N) $$'\"\nqueue N in ({})", list.join(" "));
    let first = pool.submit("pilot", &job("payload1", &lines));
    for (at, signal) in (0u32..).zip(SIGNALS) {
        let ad = done(pool, JobId { process: at, ..first });
        let told = (ad.get("ExitBySignal"), ad.number("ExitSignal"));
        assert_eq!(told, (Some("true"), Some(signal.into())), "{ad:?}\n{}", pool.diagnosis());
        assert_eq!(ad.number("GlexecTargetSignal"), Some(signal.into()), "{:?}", all(&ad));
        assert_eq!(ad.number("GlexecTargetRC"), Some(128 + i64::from(signal)), "{:?}", all(&ad));
    }
}

/// Without USER_JOB_WRAPPER: the hook before the job makes the wrapper its command.
#[test]
fn a_rewritten_job_needs_no_wrapper_of_the_pools() {
    let config = PILOTS_CONFIG.replace("USER_JOB_WRAPPER", "# USER_JOB_WRAPPER");
    let pool = with_hooks(Pool::pilot(&config));
    let hooks = include_str!("../../conf/condor/glexec-condor.toml");
    let hooks = hooks.replace("rewrite = false", "rewrite = true");
    pool.file("/etc/glexec-condor.toml", &hooks, 0o644);
    pool.file("/home/pilot/script", "#!/bin/sh\ntest $# = 2 && id -un && exit 9\n", 0o755);
    let text = job("payload1", "arguments = \"'a b' c\"")
        .replace("executable = /bin/sh", "executable = script")
        .replace("transfer_executable = False", "transfer_executable = True");
    for text in [job("payload1", "arguments = \"-c 'id -un; exit 9'\""), text] {
        let id = pool.submit("pilot", &text);
        let ad = done(&pool, id);
        assert_eq!(ad.number("ExitCode"), Some(9), "{ad:?}\n{}", pool.diagnosis());
        assert_eq!(pool.read(&format!("/home/pilot/out.{id}")), "payload1\n");
    }
}

#[test]
fn exit_codes_and_what_the_payload_did_are_in_the_ad() {
    exit_codes(&HOOKED_ROOT.get());
}

#[test]
fn exit_codes_and_what_the_payload_did_are_in_the_ad_with_a_pilot() {
    exit_codes(&HOOKED_PILOT.get());
}

#[test]
fn deaths_by_signals_are_in_the_ad() {
    signals(&HOOKED_ROOT.get());
}

#[test]
fn deaths_by_signals_are_in_the_ad_with_a_pilot() {
    signals(&HOOKED_PILOT.get());
}

/// What the submitter wrote reaches the payload, as without glexec; what only the starter knows does not.
fn has_its_own_environment(pool: &Pool) {
    let script = "echo $FOO; echo $PATH; echo $LD_LIBRARY_PATH; echo $OMP_NUM_THREADS; \
                  echo $PYTHON_CPU_COUNT; echo ${SITE_SECRET-none}; echo $HOME; env | grep -c INHERIT";
    let text = job("payload1", &format!("arguments = \"-c '{script}'\"")).replace(
        "environment = \"",
        "environment = \"FOO='a b' PATH=/opt/mine:/usr/bin:/bin LD_LIBRARY_PATH=/opt/mine HOME=/evil ",
    );
    let id = pool.submit("pilot", &text);
    let ad = done(pool, id);
    let said = pool.read(&format!("/home/pilot/out.{id}"));
    let want =
        ["a b", "/opt/mine:/usr/bin:/bin", "/opt/mine", "1", "1", "none", "/home/payload1", "0"];
    assert_eq!(said.lines().collect::<Vec<_>>(), want, "{ad:?}\n{}", pool.diagnosis());
}

/// Beside what a job brings, what a pilot's start-up may have put there.
const STARTERS: &str = "STARTER_JOB_ENVIRONMENT = \"SITE_SECRET=x\"\n";

#[test]
fn a_jobs_own_environment_is_its_payloads() {
    has_its_own_environment(&with_hooks(Pool::root(&format!("{ROOTS_CONFIG}{STARTERS}"))));
}

#[test]
fn a_jobs_own_environment_is_its_payloads_with_a_pilot() {
    has_its_own_environment(&with_hooks(Pool::pilot(&format!("{PILOTS_CONFIG}{STARTERS}"))));
}
