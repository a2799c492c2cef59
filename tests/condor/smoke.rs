//! That the pools work, and glexec in them.

use crate::{PILOT, ROOT};
use harness::{Ad, Pool, accounts};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// Runs a shell's text as a job of this account's, to its end.
fn ran(pool: &Pool, user: &str, text: &str) -> Ad {
    let job = pool.submit(user, &shell_job(text));
    let ad = pool.wait_for(job, |ad| ad.is_completed() || ad.is_held(), LONG);
    assert!(ad.is_completed(), "{ad:?}\n{}", pool.diagnosis());
    ad
}

/// A submit description; no quote of either kind in the text.
fn shell_job(text: &str) -> String {
    format!(
        "executable = /bin/sh\ntransfer_executable = False\narguments = \"-c '{text}'\"\n\
         should_transfer_files = YES\nwhen_to_transfer_output = ON_EXIT\n\
         output = out.$(Cluster)\nerror = err.$(Cluster)\n\
         request_cpus = 1\nrequest_memory = 16\nrequest_disk = 1024\n"
    )
}

fn tells_exit_codes(pool: &Pool) {
    for code in ["0", "7"] {
        let ad = ran(pool, "other", &format!("exit {code}"));
        assert_eq!(ad.get("ExitCode"), Some(code), "{ad:?}");
        assert_eq!(ad.get("ExitBySignal"), Some("false"), "{ad:?}");
    }
}

fn tells_signals(pool: &Pool) {
    let ad = ran(pool, "other", "kill -TERM $$");
    assert_eq!(
        (ad.get("ExitBySignal"), ad.get("ExitSignal")),
        (Some("true"), Some("15")),
        "{ad:?}"
    );
}

/// The job runs as `runner`, who has no other.
fn removes(pool: &Pool, runner: u32) {
    let job = pool.submit("friend", &shell_job("sleep 987 & wait"));
    let sleeps = || {
        let all = pool.processes_of(runner);
        all.iter().any(|process| process.name == "sleep").then_some(())
    };
    pool.wait_until(LONG, sleeps);
    let told = pool.shell("friend", &format!("condor_rm {job}"));
    assert!(told.status.success(), "{told:?}");
    let ad = pool.wait_for(job, harness::Ad::is_removed, LONG);
    assert_eq!(ad.get("Owner"), Some("friend"), "{ad:?}");
    pool.wait_until(LONG, || {
        pool.processes_of(runner).iter().all(|process| process.name != "sleep").then_some(())
    });
}

/// `pilot` is on glexec's white list, and mapped to `payload1`.
fn runs_glexec(pool: &Pool, submitter: &str) {
    let ad = ran(pool, submitter, "exec /usr/sbin/glexec /usr/bin/id -u");
    assert_eq!(ad.get("ExitCode"), Some("0"), "{ad:?}\n{}", pool.diagnosis());
    let out = format!("/home/{submitter}/out.{}", ad.get("ClusterId").unwrap());
    assert_eq!(pool.read(&out), format!("{}\n", accounts::PAYLOAD1));
    assert!(!pool.epilogues().is_empty(), "{:#?}", pool.log());
    assert!(pool.log().iter().any(|line| line.contains("pilot->payload1")), "{:#?}", pool.log());
}

/// What the next job meets is what was written last.
fn takes_new_lines(pool: &Pool, runner: &str) {
    let wrapper = "#!/bin/sh\nid -un >/tmp/wrapped\nexec \"$@\"\n";
    pool.file("/usr/libexec/site/wrapper", wrapper, 0o755);
    pool.reconfigure("USER_JOB_WRAPPER = /usr/libexec/site/wrapper\nMOUNT_UNDER_SCRATCH =");
    let ad = ran(pool, "other", "exit 3");
    assert_eq!(ad.get("ExitCode"), Some("3"), "{ad:?}");
    assert_eq!(pool.read("/tmp/wrapped"), format!("{runner}\n"), "{}", pool.diagnosis());
}

#[test]
fn exit_codes_are_in_the_ad() {
    tells_exit_codes(&ROOT.get());
}

#[test]
fn exit_codes_are_in_the_ad_with_a_pilot() {
    tells_exit_codes(&PILOT.get());
}

#[test]
fn a_signal_is_in_the_ad() {
    tells_signals(&ROOT.get());
}

#[test]
fn a_signal_is_in_the_ad_with_a_pilot() {
    tells_signals(&PILOT.get());
}

#[test]
fn a_removed_job_leaves_no_process() {
    removes(&ROOT.get(), accounts::named("friend").uid);
}

#[test]
fn a_removed_job_leaves_no_process_with_a_pilot() {
    removes(&PILOT.get(), accounts::PILOT);
}

#[test]
fn glexec_runs_in_a_job() {
    runs_glexec(&ROOT.get(), "pilot");
}

#[test]
fn glexec_runs_in_a_job_with_a_pilot() {
    runs_glexec(&PILOT.get(), "other");
}

#[test]
fn a_wrapper_is_taken_up_by_the_next_job() {
    takes_new_lines(&Pool::root(""), "other");
}

#[test]
fn a_wrapper_is_taken_up_by_the_next_job_with_a_pilot() {
    takes_new_lines(&Pool::pilot(""), "pilot");
}
