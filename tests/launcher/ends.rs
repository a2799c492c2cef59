//! How a payload ends, and who is told what: exit codes, signals, with and without lingering.

use contract::Record;
use harness::{Process, Ran, Running, Site, raw};
use std::time::{Duration, Instant};

/// What a run ended as, from the three who are told: the caller, the status stream, the epilogue.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    caller: Option<i32>,
    finished: u8,
    result: String,
    code: Option<u8>,
    signal: Option<u8>,
    epilogue: Vec<(&'static str, Option<String>)>,
}

const SHOWN: [&str; 4] = ["TARGET_RC", "RESULT", "TARGET_SIGNAL", "TARGET_CORE_DUMPED"];

/// `epilogues` is how many had run before this one.
fn told(site: &Site, ran: &Ran, epilogues: usize) -> Told {
    let payload = ran.records.iter().find_map(|record| match record {
        Record::Payload { result, code, signal, .. } => Some((result.clone(), *code, *signal)),
        _ => None,
    });
    let (result, code, signal) = payload.unwrap_or_else(|| panic!("no payload record: {ran:#?}"));
    let Some(Record::Finished { code: finished, dropped: 0 }) = ran.records.last() else {
        panic!("the last record is not `finished`: {ran:#?}");
    };
    let saw = site.epilogues();
    assert_eq!(saw.len(), epilogues + 1, "one epilogue for each run: {ran:#?}");
    let saw = saw.last().unwrap();
    let variable = |name| saw.variable(&format!("GLEXEC_EPILOG_{name}")).map(str::to_owned);
    let epilogue = SHOWN.map(|name| (name, variable(name))).to_vec();
    Told { caller: ran.code, finished: *finished, result, code, signal, epilogue }
}

fn expected(exited: Option<u8>, signal: Option<u8>) -> Told {
    let code = exited.unwrap_or_else(|| 128 + signal.unwrap());
    let folded = if (201..=204).contains(&code) { 204 } else { code };
    let result = if exited.is_some() { "exited" } else { "killed" };
    let epilogue = [
        Some(code.to_string()),
        Some(result.to_owned()),
        signal.map(|n| n.to_string()),
        Some("0".to_owned()),
    ];
    Told {
        caller: Some(i32::from(folded)),
        finished: folded,
        result: result.to_owned(),
        code: exited,
        signal,
        epilogue: SHOWN.into_iter().zip(epilogue).collect(),
    }
}

#[test]
fn every_exit_code_is_told_alike_to_caller_epilogue_and_status_stream() {
    let site = Site::with_epilogue("");
    let mut wrong = Vec::new();
    for code in 0..=255u8 {
        let ran = site.glexec(["actor", "exit", &code.to_string()]).with_status().run();
        let told = told(&site, &ran, usize::from(code));
        if told != expected(Some(code), None) {
            wrong.push((code, told));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Runs a payload that sends itself this signal; wakes it where that stopped it.
fn die(site: &Site, signal: i32) -> Ran {
    let running = site.glexec(["actor", "die", &signal.to_string()]).with_status().start();
    if [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&signal) {
        let (_, payload) = running.started();
        let deadline = Instant::now() + Duration::from_secs(5);
        while !running.has_ended() && Instant::now() < deadline {
            match Process::of(payload) {
                Some(process) if process.state == 'T' => {
                    raw::kill(payload, libc::SIGCONT).unwrap();
                    break;
                }
                Some(_) => std::thread::sleep(Duration::from_millis(1)),
                None => break,
            }
        }
    }
    running.wait()
}

/// Signals whose default is not to end a process: the payload goes on and exits 77.
const HARMLESS: [i32; 8] = [
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

#[test]
fn every_signal_is_told_alike_to_caller_epilogue_and_status_stream() {
    let site = Site::with_epilogue("");
    let mut wrong = Vec::new();
    for signal in 1..=64 {
        let told = told(&site, &die(&site, signal), signal as usize - 1);
        let want = if HARMLESS.contains(&signal) {
            expected(Some(77), None)
        } else {
            expected(None, Some(signal as u8))
        };
        if told != want {
            wrong.push((signal, told));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn without_an_epilogue_the_caller_sees_the_same_codes() {
    let site = Site::new();
    for code in [0, 1, 42, 126, 127, 128, 137, 200, 201, 202, 203, 204, 205, 255] {
        let ran = site.glexec(["actor", "exit", &code.to_string()]).run();
        let folded = if (201..=204).contains(&code) { 204 } else { code };
        ran.exited(folded);
        assert!(ran.stderr.is_empty(), "{ran:#?}");
    }
    for signal in [1, 2, 6, 9, 11, 13, 14, 15, 31, 34, 64] {
        die(&site, signal).exited(128 + signal);
    }
}

#[test]
fn without_lingering_the_caller_sees_the_payload_as_it_ended() {
    let site = Site::with("linger = false");
    for code in [0, 1, 42, 126, 127, 200, 201, 202, 203, 204, 255] {
        site.glexec(["actor", "exit", &code.to_string()]).run().exited(code);
    }
    for signal in [1, 2, 6, 9, 11, 13, 15, 34, 64] {
        let ran = site.glexec(["actor", "die", &signal.to_string()]).run();
        assert_eq!((ran.code, ran.signal), (None, Some(signal)), "{ran:#?}");
    }
}

#[test]
fn a_core_that_the_kernel_wrote_is_told() {
    use harness::Limit;
    use nix::sys::resource::Resource;
    let site = Site::with_epilogue("");
    let piped = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap().starts_with('|');
    let call = site.glexec(["actor", "die", "6"]).with_status();
    let ran = call.limited(Limit::Soft(Resource::RLIMIT_CORE, 100 << 20)).run();
    ran.exited(128 + 6);
    let core = ran.records.iter().any(|r| matches!(r, Record::Payload { core_dumped: true, .. }));
    let saw = site.epilogues();
    let told = saw[0].variable("GLEXEC_EPILOG_TARGET_CORE_DUMPED");
    assert_eq!(told, Some(if core { "1" } else { "0" }), "both are told the same: {ran:#?}");
    // A core helper of the host's may refuse; a plain file in the target's home it cannot.
    assert!(core || piped, "the payload had the limit for a core: {ran:#?}");
}

fn end_of_output(site: &Site) -> (Duration, Duration) {
    let running = site.glexec(["actor", "last-words"]).with_status().start();
    let end = running.output_end();
    let still = !running.has_ended();
    let ran = running.wait();
    ran.exited(0);
    let said: u64 = ran.output().trim().parse().unwrap();
    assert!(still, "the end of the output was not seen before glexec's own: {ran:#?}");
    (Duration::from_nanos(end.saturating_sub(said)), Duration::from_nanos(ran.ended_ns - end))
}

#[test]
fn a_reader_of_the_output_sees_its_end_within_50_ms_although_the_epilogue_sleeps_2_s() {
    let site = Site::alone(&format!("epilogue = \"{}\"", harness::EPILOGUE));
    site.epilogue("#!/bin/sh\nsleep 2\n");
    // On a busy machine one may be late; who waited for the epilogue would be so each time.
    let mut latest = Vec::new();
    for _ in 0..8 {
        let (late, after) = end_of_output(&site);
        assert!(late < Duration::from_secs(1), "the end came {late:?} after the payload's");
        assert!(after > Duration::from_millis(800), "the epilogue slept: {after:?}");
        latest.push(late);
        if late < Duration::from_millis(50) {
            return;
        }
    }
    panic!("the end came {latest:?} after the payload's");
}

#[test]
fn all_three_standard_descriptors_are_let_go_while_the_payload_runs() {
    use std::io::{Read as _, Write as _};
    let site = Site::with_epilogue("");
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let call = site.glexec(["sh", "-c", "exec <&- >&- 2>&-; exec sleep 3"]);
    let running: Running<'_> = call.stdin_from(theirs).with_status().start();
    running.started();
    let (mut ours, start) = (ours, Instant::now());
    ours.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    assert_eq!(ours.read(&mut [0u8; 8]).unwrap(), 0, "nobody holds the socket any more");
    assert!(ours.write_all(b"x").is_err());
    running.output_end();
    assert!(start.elapsed() < Duration::from_secs(2) && !running.has_ended());
    let (_, payload) = running.started();
    raw::kill(payload, libc::SIGKILL).unwrap();
    running.wait().exited(137);
}
