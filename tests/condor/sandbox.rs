//! The sandbox: input and output by file transfer, and what must not be seen.

use crate::jobs::{all, done, job};
use crate::{HOOKED_PILOT, HOOKED_ROOT};
use harness::{Pool, Process, accounts};
use std::time::Duration;

const SCRIPT: &str = "#!/bin/sh
set -e
test -O . && test -r input
cat input > 'out put'
cat input > ärger
(umask 077; cat input > private)
cp input program; chmod 755 program
mkdir deep; cp input deep/file; ln -s file deep/link
/usr/local/bin/actor look > look.json
exit 9
";

pub(crate) fn transfers(pool: &Pool, home: &str) {
    pool.file(&format!("{home}/script"), SCRIPT, 0o755);
    pool.file(&format!("{home}/input"), "the input\n", 0o644);
    let lines = "transfer_input_files = input\n\
        transfer_output_files = out put, ärger, private, program, deep, look.json";
    let text = job("payload1", lines)
        .replace("executable = /bin/sh", "executable = script")
        .replace("transfer_executable = False", "transfer_executable = True");
    let id = pool.submit("pilot", &text);
    let ad = done(pool, id);
    assert!(ad.is_completed(), "{ad:?} {:?}\n{}", all(&ad), pool.diagnosis());
    assert_eq!(ad.number("ExitCode"), Some(9), "{ad:?} {}", pool.diagnosis());
    for name in ["out put", "ärger", "private", "program", "deep/file", "deep/link"] {
        assert_eq!(pool.read(&format!("{home}/{name}")), "the input\n", "{name}");
    }
    let modes = pool.shell("root", &format!("stat -c %a {home}/private {home}/program"));
    assert_eq!(String::from_utf8_lossy(&modes.stdout), "600\n755\n");
    let look = pool.read(&format!("{home}/look.json"));
    assert!(look.contains("_CONDOR_SCRATCH_DIR") && look.contains("TMPDIR="), "{look}");
    let seen = pool.read(harness::SAW);
    for secret in ["CONDOR_PRIVATE_", "CONDOR_INHERIT"] {
        assert!(!look.contains(secret) && !seen.contains(secret), "{secret}");
    }
}

#[test]
fn the_payload_reads_its_input_and_its_output_comes_back() {
    transfers(&HOOKED_ROOT.get(), "/home/pilot");
}

#[test]
fn the_payload_reads_its_input_and_its_output_comes_back_with_a_pilot() {
    transfers(&HOOKED_PILOT.get(), "/home/pilot");
}

/// A starter that leaves in the middle of the transfer ends no job: it is evicted, and runs again
/// for ever.
fn ends_once(pool: &Pool, home: &str) {
    let lines = "arguments = \"-c 'echo said; echo wrote >file; exit 5'\"\n\
        transfer_output_files = file\ntransfer_output_remaps = \"file=once\"";
    let id = pool.submit("pilot", &job("payload1", lines));
    let ad = done(pool, id);
    assert!(ad.is_completed(), "{ad:?}\n{}", pool.diagnosis());
    let told = ["ExitCode", "NumJobStarts", "NumShadowStarts"].map(|name| ad.number(name));
    assert_eq!(told, [Some(5), Some(1), Some(1)], "{ad:?}\n{}", pool.diagnosis());
    assert_eq!(pool.read(&format!("{home}/out.{id}")), "said\n");
    assert_eq!(pool.read(&format!("{home}/once")), "wrote\n");
    let events = pool.read(&format!("{home}/log.{}", id.cluster));
    for event in ["\n022 ", "\n024 ", "\n004 "] {
        assert!(!events.contains(event), "{events}");
    }
    // Whoever reads the record finds the job by it.
    let recorded = |line: &String| line.contains("-record[") && line.contains("]: dir_");
    assert!(pool.log().iter().any(recorded), "{:#?}", pool.log());
    // Other tests have jobs here: what serves one of them has its starter.
    let orphan = |process: &Process| {
        let parent = Process::of(process.parent);
        process.name.starts_with("glexec-condor-")
            && parent.is_none_or(|parent| parent.name != "condor_starter")
    };
    pool.wait_until(Duration::from_secs(20), || {
        let all = pool.processes_of(accounts::PILOT);
        (!all.iter().any(orphan)).then_some(())
    });
}

#[test]
fn a_job_ends_once_and_with_its_output() {
    ends_once(&HOOKED_ROOT.get(), "/home/pilot");
}

#[test]
fn a_job_ends_once_and_with_its_output_with_a_pilot() {
    ends_once(&HOOKED_PILOT.get(), "/home/pilot");
}

pub(crate) fn chirps(pool: &Pool, home: &str) {
    let lines = "arguments = \"-c '/usr/libexec/condor/condor_chirp set_job_attr_delayed ChirpOfPayload 7'\"";
    let id = pool.submit("pilot", &job("payload1", lines));
    let ad = done(pool, id);
    assert_eq!(ad.number("ExitCode"), Some(0), "{ad:?} {}", pool.read(&format!("{home}/err.{id}")));
    assert_eq!(ad.number("ChirpOfPayload"), Some(7), "{ad:?}");
    // All that is new in a sandbox comes back: not what condor_chirp needs there.
    assert_eq!(pool.read(&format!("{home}/.chirp.config")), "");
}

#[test]
fn a_payload_writes_into_its_ad() {
    chirps(&HOOKED_ROOT.get(), "/home/pilot");
}

#[test]
fn a_payload_writes_into_its_ad_with_a_pilot() {
    chirps(&HOOKED_PILOT.get(), "/home/pilot");
}

/// A directory and a second name of a file in it, as git and conda make them.
fn links_come_back(pool: &Pool) {
    let script = "mkdir o; echo z > o/z; ln o/z hl; exit 22";
    let lines = format!("arguments = \"-c '{script}'\"\ntransfer_output_files = o, hl");
    let ad = done(pool, pool.submit("pilot", &job("payload1", &lines)));
    assert_eq!(ad.number("ExitCode"), Some(22), "{ad:?}\n{}", pool.diagnosis());
    for name in ["o/z", "hl"] {
        assert_eq!(pool.read(&format!("/home/pilot/{name}")), "z\n", "{name}");
    }
}

#[test]
fn files_with_two_names_come_back() {
    links_come_back(&HOOKED_ROOT.get());
}

#[test]
fn files_with_two_names_come_back_with_a_pilot() {
    links_come_back(&HOOKED_PILOT.get());
}
