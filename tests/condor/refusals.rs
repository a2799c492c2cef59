//! What is refused is held with a sentence, and does not loop.

use crate::jobs::{all, done, job};
use crate::{HOOKED_PILOT, HOOKED_ROOT, PILOTS_CONFIG, with_hooks};
use harness::{Ad, CONFIG, JobId, Pool};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(90);

/// On hold with this code and words, and it was started once at most.
fn held(pool: &Pool, user: &str, (subcode, words): (i64, &[&str])) {
    let id = pool.submit(user, &job("payload1", "arguments = \"-c 'exit 0'\""));
    let ad = done(pool, id);
    assert!(ad.is_held(), "{ad:?}\n{}", pool.diagnosis());
    let told = (ad.number("HoldReasonCode"), ad.number("HoldReasonSubCode"));
    assert_eq!(told, (Some(19), Some(subcode)), "{ad:?}");
    let reason = ad.get("HoldReason").unwrap_or_default();
    assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
    assert!(ad.number("NumJobStarts").unwrap_or(0) <= 1, "{ad:?}");
}

#[test]
fn who_is_on_no_list_is_held_with_the_sentence() {
    held(&HOOKED_ROOT.get(), "other", (203, &["glexec on pool", "refused", "not-listed"]));
}

#[test]
fn with_a_pilot_refusals_and_a_broken_configuration_are_held_and_do_not_loop() {
    let pool = with_hooks(Pool::pilot(PILOTS_CONFIG));
    let good = pool.read(CONFIG);
    pool.file(CONFIG, &good.replace("\"pilot\", ", ""), 0o644);
    held(&pool, "other", (203, &["glexec on pool", "not-listed"]));
    pool.file(CONFIG, "[glexec\n", 0o644);
    held(&pool, "other", (202, &["glexec on pool", "malformed"]));
    pool.file(CONFIG, &good, 0o644);
    for (breaks, mends, word) in [
        ("chmod 755 /var/lib/glexec", "chmod 700 /var/lib/glexec", "state directory"),
        (
            "mount -t tmpfs -o size=8k,mode=0700 tmpfs /var/lib/glexec && ! head -c 65536 /dev/zero 2>/dev/null > /var/lib/glexec/x",
            "umount /var/lib/glexec",
            "state directory",
        ),
        ("chmod 777 /usr/libexec/site", "chmod 755 /usr/libexec/site", "epilogue"),
        ("chmod 755 /usr/sbin/glexec", "chmod 4755 /usr/sbin/glexec", "glexec"),
        ("mv /usr/sbin/glexec /root/", "mv /root/glexec /usr/sbin/", "cannot be started"),
    ] {
        assert!(pool.shell("root", breaks).status.success(), "{breaks}");
        held(&pool, "other", (202, &["glexec on pool", word]));
        assert!(pool.shell("root", mends).status.success(), "{mends}");
    }
    let to_file = "[glexec]\nlog_destination = \"file\"\nlog_file = \"/var/log/none/log\"";
    pool.file(CONFIG, &good.replacen("[glexec]", to_file, 1), 0o644);
    held(&pool, "other", (202, &["glexec on pool", "could not be logged (audit)"]));
    pool.file(CONFIG, &good, 0o644);
    pool.file("/etc/glexec-condor.toml", "[preparation]\n", 0o644);
    held(&pool, "other", (202, &["/etc/glexec-condor.toml:1", "preparation"]));
}

#[test]
fn a_job_that_asks_for_an_account_that_is_none_of_its_own_is_held_before_it_runs() {
    let pool = HOOKED_ROOT.get();
    let id = pool.submit("pilot", &job("nobody-knows", "arguments = \"-c 'exit 0'\""));
    let ad = done(&pool, id);
    assert!(ad.is_held(), "{ad:?} {:?}\n{}", all(&ad), pool.diagnosis());
    let told = (ad.number("HoldReasonCode"), ad.number("HoldReasonSubCode"));
    assert_eq!(told, (Some(19), Some(203)), "{ad:?}");
}

/// The hook before does not know the job's command: it is the run that is refused.
fn refused_when_it_is_to_run(pool: &Pool) -> (JobId, Ad) {
    let lines = "arguments = \"-c 'exit 7'\"";
    let id = pool.submit("pilot", &job("payload1", lines).replace("/bin/sh", "/etc/passwd"));
    let ad = done(pool, id);
    assert!(ad.is_held(), "{ad:?} {:?}\n{}", all(&ad), pool.diagnosis());
    let reason = ad.get("HoldReason").unwrap_or_default();
    assert!(reason.contains("may not be executed by the mapped account"), "{reason}");
    (id, ad)
}

/// Its trouble is mended, and it is released: what was has no hold on it.
fn runs_when_released(pool: &Pool, id: JobId) {
    let mend = format!("condor_qedit {id} Cmd '\"/bin/sh\"' && condor_release {id}");
    let told = pool.shell("root", &mend);
    assert!(told.status.success(), "{told:?}");
    let ad = pool.wait_for(id, |ad| ad.is_completed() || ad.number("NumHolds") > Some(1), LONG);
    assert!(ad.is_completed(), "{ad:?} {:?}\n{}", all(&ad), pool.diagnosis());
    let told = (ad.number("ExitCode"), ad.number("GlexecTargetRC"));
    assert_eq!(told, (Some(7), Some(7)), "{:?}", all(&ad));
    let refused = |(name, value): &(&str, &str)| name.contains("Refused") && *value != "undefined";
    assert!(!all(&ad).iter().any(refused), "{:?}", all(&ad));
}

#[test]
fn what_is_refused_after_the_rehearsal_is_held_by_its_attributes() {
    let pool = HOOKED_ROOT.get();
    let (id, ad) = refused_when_it_is_to_run(&pool);
    assert_eq!(ad.number("GlexecRefusedCode"), Some(201), "{:?}", all(&ad));
    assert_eq!(ad.number("HoldReasonSubCode"), Some(201), "{ad:?}");
    runs_when_released(&pool, id);
}

/// The starter of a pilot gives such a job up and sends no last update: what it told at once is there.
#[test]
fn what_is_refused_after_the_rehearsal_comes_again_and_is_held_by_the_queue_with_a_pilot() {
    let pool = HOOKED_PILOT.get();
    let (id, ad) = refused_when_it_is_to_run(&pool);
    assert_eq!(ad.number("GlexecRefusedCode"), Some(201), "{:?}", all(&ad));
    let told = ["HoldReasonCode", "HoldReasonSubCode"].map(|name| ad.number(name));
    assert_eq!(told, [Some(26), Some(201)], "{ad:?}");
    let log = pool.read(&format!("/home/pilot/log.{}", id.cluster));
    let events = log.split("\n...\n").filter(|event| event.starts_with("021 "));
    let told: Vec<&str> = events.filter(|event| event.contains("(201 command-not-exec")).collect();
    assert_eq!(i64::try_from(told.len()).ok(), ad.number("NumJobStarts"), "{log}");
    runs_when_released(&pool, id);
}

#[test]
fn an_epilogue_that_fails_is_in_the_ad() {
    let pool = with_hooks(Pool::pilot(PILOTS_CONFIG));
    pool.file(harness::EPILOGUE, "#!/bin/sh\nexit 3\n", 0o755);
    let id = pool.submit("other", &job("payload1", "arguments = \"-c 'exit 7'\""));
    let ad = done(&pool, id);
    assert_eq!(ad.number("ExitCode"), Some(202), "{ad:?}");
    assert_eq!(ad.number("GlexecTargetRC"), Some(7), "{:?}", all(&ad));
    assert_eq!(ad.get("GlexecEpilogue"), Some("exit 3"), "{:?}", all(&ad));
}

/// Below a directory that the target may not enter it would run in its account's home, and leave its
/// output there for the next job.
#[test]
fn a_sandbox_below_a_closed_directory_holds_the_job_and_names_it() {
    let pool = with_hooks(Pool::pilot(PILOTS_CONFIG));
    let mode = |mode: u32| {
        let pilot = harness::accounts::PILOT;
        pool.directory("/home/pilot/condor", (pilot, pilot), mode);
    };
    mode(0o700);
    let script = "arguments = \"-c 'pwd; echo x > made; exit 0'\"";
    let ad = done(&pool, pool.submit("other", &job("payload1", script)));
    assert!(ad.is_held(), "{ad:?}\n{}", pool.diagnosis());
    let told = (ad.number("HoldReasonCode"), ad.number("HoldReasonSubCode"));
    assert_eq!(told, (Some(19), Some(202)), "{ad:?}");
    let reason = ad.get("HoldReason").unwrap_or_default();
    let names = reason.contains("/home/pilot/condor ") && reason.contains("directory-closed");
    assert!(names, "{reason}");
    assert!(!pool.shell("root", "ls /home/payload1/made").status.success());
    mode(0o711);
    let id = pool.submit("other", &job("payload1", script));
    let ad = done(&pool, id);
    assert_eq!(ad.number("ExitCode"), Some(0), "{ad:?}\n{}", pool.diagnosis());
    let said = pool.read(&format!("/home/other/out.{id}"));
    assert!(said.starts_with("/home/pilot/condor/execute/dir_"), "{said}");
}
