//! What the site decides of the job's ad, and a job that runs twice.

use crate::jobs::{all, done, job};
use crate::{HOOKED_PILOT, HOOKED_ROOT, PILOTS_CONFIG, ROOTS_CONFIG, with_hooks};
use harness::{Ad, Pool, accounts};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// Runs this text of a shell's with these settings of the hooks, in a pool whose starters admit
/// what HTCondor admits by itself.
fn ran(pool: &Pool, settings: &str, (script, lines): (&str, &str)) -> Ad {
    pool.file("/etc/glexec-condor.toml", settings, 0o644);
    let lines = format!("arguments = \"-c '{script}'\"\n{lines}");
    let ad = done(pool, pool.submit("pilot", &job("payload1", &lines)));
    assert!(ad.is_completed(), "{settings}: {ad:?}\n{}", pool.diagnosis());
    ad
}

/// The job's stderr.
fn error(pool: &Pool, ad: &Ad) -> String {
    pool.read(&format!("/home/pilot/err.{}.0", ad.get("ClusterId").unwrap_or_default()))
}

fn decides(pool: &Pool) {
    let chirp = "[attributes]\nprefix = \"ChirpGlexec\"\n";
    let by_code = format!("{chirp}[wrapper]\nsignal_exit = \"128\"\n");
    let ad = ran(pool, &by_code, ("kill -SEGV $$", ""));
    let told = (ad.number("ExitCode"), ad.get("ExitBySignal"));
    assert_eq!(told, (Some(139), Some("false")), "{ad:?}");
    let told = ["ChirpGlexecTargetSignal", "ChirpGlexecTargetRC"].map(|name| ad.number(name));
    assert_eq!(told, [Some(11), Some(139)], "{}", error(pool, &ad));
    assert_eq!(ad.get("ChirpGlexecEpilogue"), Some("ok"), "{}", error(pool, &ad));

    // Starter and shadow drop it, and say nothing.
    let ad = ran(pool, "", ("exit 7", ""));
    assert_eq!((ad.number("ExitCode"), all(&ad)), (Some(7), Vec::new()));

    let direct = "[attributes]\nby = \"set_job_attr\"\nprefix = \"Site\"\n";
    let ad = ran(pool, direct, ("exit 8", "+WantIOProxy = true"));
    let told = (ad.number("ExitCode"), ad.number("SiteTargetRC"), ad.get("SiteTargetUser"));
    assert_eq!(told, (Some(8), Some(8), Some("payload1")), "{}", error(pool, &ad));

    let ad = ran(pool, direct, ("exit 9", ""));
    assert_eq!((ad.number("ExitCode"), ad.get("SiteTargetRC")), (Some(9), None));
    assert!(error(pool, &ad).contains("needs WantRemoteUpdates"), "{}", error(pool, &ad));
}

/// Without the lines that let a job be told of more than HTCondor itself does.
fn unadmitted(config: &str) -> String {
    config
        .replace("CHIRP_DELAYED_UPDATE_PREFIX", "# CHIRP_DELAYED_UPDATE_PREFIX")
        .replace("    DEFAULT WantRemoteUpdates true\n", "")
}

#[test]
fn the_site_decides_how_a_signal_is_shown_and_how_attributes_are_sent() {
    decides(&with_hooks(Pool::root(&unadmitted(ROOTS_CONFIG))));
}

#[test]
fn the_site_decides_how_a_signal_is_shown_and_how_attributes_are_sent_with_a_pilot() {
    decides(&with_hooks(Pool::pilot(&unadmitted(PILOTS_CONFIG))));
}

/// Vacated, and at its second run it ends by itself.
fn runs_twice(pool: &Pool) {
    let script = "test -e /var/lib/site/again && exit 3; sleep 600";
    let lines = format!("arguments = \"-c '{script}'\"");
    let id = pool.submit("pilot", &job("keeper", &lines));
    let sleeps = || {
        let all = pool.processes_of(accounts::KEEPER);
        all.iter().any(|process| process.name == "sleep").then_some(())
    };
    pool.wait_until(LONG, sleeps);
    pool.file("/var/lib/site/again", "", 0o644);
    let told = pool.shell("root", &format!("condor_vacate_job {id}"));
    assert!(told.status.success(), "{told:?}");
    pool.wait_for(id, |ad| ad.is("GlexecTargetSignal", "15"), LONG);
    let ad = done(pool, id);
    let told = (ad.number("ExitCode"), ad.number("GlexecTargetRC"), ad.get("GlexecEpilogue"));
    assert_eq!(told, (Some(3), Some(3), Some("ok")), "{:?}", all(&ad));
    let signal = ad.get("GlexecTargetSignal").unwrap_or("undefined");
    assert_eq!(signal, "undefined", "{:?}", all(&ad));
}

#[test]
fn the_ad_is_the_last_runs() {
    runs_twice(&HOOKED_ROOT.get());
}

#[test]
fn the_ad_is_the_last_runs_with_a_pilot() {
    runs_twice(&HOOKED_PILOT.get());
}

/// The job's output cannot be sent: no update comes from its starter any more.
fn outlive_the_output(pool: &Pool) {
    let lines = "arguments = \"-c 'exit 7'\"\ntransfer_output_files = never-made";
    let id = pool.submit("pilot", &job("payload1", lines));
    let ad = done(pool, id);
    assert!(ad.is_held(), "{ad:?}\n{}", pool.diagnosis());
    assert_eq!(ad.number("HoldReasonCode"), Some(12), "{ad:?}");
    assert_eq!(ad.number("GlexecTargetRC"), Some(7), "{:?}", all(&ad));
    assert_eq!(ad.get("GlexecEpilogue"), Some("ok"), "{:?}", all(&ad));
    let refused = pool.submit("pilot", &job("payload1", lines).replace("/bin/sh", "/etc/passwd"));
    let ad = done(pool, refused);
    assert!(ad.is_held(), "{ad:?}\n{}", pool.diagnosis());
    assert_eq!(ad.number("GlexecRefusedCode"), Some(201), "{ad:?}");
    let sentence = ad.get("GlexecRefusedSentence").unwrap_or_default();
    assert!(sentence.contains("may not be executed"), "{:?}", all(&ad));
}

#[test]
fn attributes_outlive_a_failed_transfer_of_the_output() {
    outlive_the_output(&HOOKED_ROOT.get());
}

#[test]
fn attributes_outlive_a_failed_transfer_of_the_output_with_a_pilot() {
    outlive_the_output(&HOOKED_PILOT.get());
}

/// A job that was refused on one machine, and then runs on one that has no glexec.
#[test]
fn a_refusal_of_another_run_holds_no_job() {
    let pool = Pool::root(include_str!("../../conf/condor/60-glexec-access-point.config"));
    let refused = "+GlexecRefused = \"not-listed\"\n+GlexecRefusedCode = 203\n+GlexecRun = 1";
    let lines = format!("arguments = \"-c 'exit 7'\"\n{refused}");
    let ad = done(&pool, pool.submit("pilot", &job("payload1", &lines)));
    assert!(ad.is_completed(), "{ad:?}\n{}", pool.diagnosis());
    assert_eq!(ad.number("ExitCode"), Some(7), "{ad:?}");
}
