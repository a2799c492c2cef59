//! Signals that reach a lingering glexec are the payload's.

use harness::{Process, Site};
use std::time::{Duration, Instant};

/// A payload that says which signals it hears, until it hears TERM.
const LISTENER: &str = "for s in HUP INT QUIT USR1 USR2 ALRM WINCH; do trap \"echo $s\" $s; done; trap 'echo TERM; exit 7' TERM; echo ready; i=0; while [ $i -lt 200 ]; do i=$((i+1)); sleep 0.02; done";

#[test]
fn each_signal_of_root_is_forwarded_once_and_the_run_goes_on() {
    let site = Site::with_epilogue("");
    let running = site.glexec(["sh", "-c", LISTENER]).with_status().start();
    running.says("ready");
    let names = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("USR1", 10),
        ("USR2", 12),
        ("ALRM", 14),
        ("WINCH", 28),
    ];
    for (name, number) in names {
        running.signal_by("root", number).unwrap();
        running.says(name);
    }
    running.signal_by("root", 15).unwrap();
    let ran = running.wait();
    ran.exited(7);
    assert_eq!(ran.output(), "ready\nHUP\nINT\nQUIT\nUSR1\nUSR2\nALRM\nWINCH\nTERM\n");
    assert_eq!(site.epilogues().len(), 1);
}

#[test]
fn after_any_signal_of_root_the_epilogue_has_run_once_and_the_payload_is_gone() {
    let site = Site::with_epilogue("kill_grace = 1");
    let mut runs = 0;
    for signal in (1..=64).filter(|n| ![libc::SIGKILL, libc::SIGSTOP].contains(n)) {
        let running = site.glexec(["sh", "-c", "sleep 0.3; exit 3"]).with_status().start();
        let (_, payload) = running.started();
        running.signal_by("root", signal).unwrap();
        if [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&signal) {
            std::thread::sleep(Duration::from_millis(50));
            // The whole group was stopped: the shell and its sleep.
            let _ = harness::raw::kill(-payload, libc::SIGCONT);
        }
        let ran = running.wait();
        assert!(
            matches!(ran.code, Some(3)) || ran.code == Some(128 + signal),
            "signal {signal}: {ran:#?}"
        );
        runs += 1;
        assert_eq!(site.epilogues().len(), runs, "signal {signal}: {ran:#?}");
        assert_eq!(Process::of(payload), None, "signal {signal}");
    }
}

#[test]
fn a_term_is_followed_by_cont_so_that_a_stopped_payload_hears_it() {
    let site = Site::new();
    let running = site
        .glexec(["sh", "-c", "trap 'exit 7' TERM; echo ready; kill -STOP $$; sleep 300; exit 1"])
        .with_status()
        .start();
    running.says("ready");
    let (_, payload) = running.started();
    let deadline = Instant::now() + Duration::from_secs(30);
    while Process::of(payload).is_some_and(|p| p.state != 'T') {
        assert!(Instant::now() < deadline, "it is never stopped");
        std::thread::sleep(Duration::from_millis(2));
    }
    running.signal_by("pilot", libc::SIGTERM).unwrap();
    running.wait().exited(7);
}

#[test]
fn a_forwarded_term_starts_no_clock_unless_the_site_says_so() {
    let site = Site::with("kill_grace = 1");
    let running = site.glexec(["actor", "endure", "1800"]).with_status().start();
    running.says("enduring");
    running.signal_by("pilot", libc::SIGTERM).unwrap();
    running.wait().exited(5);

    let site = Site::with_epilogue("term_grace = 1");
    let start = Instant::now();
    let running = site.glexec(["actor", "endure", "9000"]).with_status().start();
    running.says("enduring");
    running.signal_by("root", libc::SIGTERM).unwrap();
    running.wait().exited(137);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(site.epilogues().len(), 1);
}

#[test]
fn a_signal_to_the_whole_group_is_heard_once() {
    let site = Site::new();
    let payload = "n=0; trap 'n=$((n+1))' USR1; trap 'echo heard $n; exit 7' TERM; echo ready; i=0; while [ $i -lt 200 ]; do i=$((i+1)); sleep 0.02; done";
    let running = site.glexec(["sh", "-c", payload]).with_status().start();
    running.says("ready");
    let pilot = harness::accounts::named("pilot");
    harness::raw::kill_as((pilot.uid, pilot.gid), -running.pid(), libc::SIGUSR1).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    running.signal_by("pilot", libc::SIGTERM).unwrap();
    let ran = running.wait();
    ran.exited(7);
    assert_eq!(ran.output(), "ready\nheard 1\n");
}

#[test]
fn a_payload_that_signals_its_parent_does_not_hear_itself() {
    let site = Site::with("user_white_list = [\"pilot\", \"payload1\"]");
    let text = site.read(harness::CONFIG)
        + "\n[[mapping.static]]\ncaller = \"payload1\"\naccount = \"payload1\"\n";
    site.config(&text);
    // Without an epilogue glexec keeps the caller's real uid: another uid may not signal it, but a
    // caller that is its own target may. Either way nothing comes back.
    let script = "trap 'echo echo; exit 9' TERM; kill -TERM $PPID 2>/dev/null && echo sent; \
        sleep 0.3; exit 42";
    for (caller, output) in [("pilot", ""), ("payload1", "sent\n")] {
        let ran = site.glexec(["sh", "-c", script]).by(caller).run();
        ran.exited(42);
        assert_eq!(ran.output(), output, "{caller}");
    }
}

#[test]
fn a_signal_to_a_mirror_reaches_the_payload() {
    let site = Site::new();
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done";
    let call = site.glexec(["sh", "-c", script]).with_status();
    let running = call.with_child(Duration::from_secs(300)).start();
    running.says("ready");
    assert_ne!(running.started().0, running.pid(), "the run is another process");
    running.signal_by("pilot", libc::SIGTERM).unwrap();
    running.wait().exited(7);
}

#[test]
fn a_payload_that_left_its_group_still_hears() {
    let site = Site::new();
    // It leads its group, so it can only go over to another one; somebody may stay in the first.
    for stays in ["", "if (!($a = fork)) { sleep 300; exit }"] {
        let script = format!(
            "use POSIX; {stays} if (!($b = fork)) {{ setpgid(0, 0); sleep 300; exit }} \
             setpgid($b, $b); setpgid(0, $b) or die; \
             $SIG{{TERM}} = sub {{ kill 'KILL', $b; kill 'KILL', $a if $a; exit 7 }}; \
             $| = 1; print getpgrp() == $$ ? \"still\" : \"ready\", \"\\n\"; sleep 300; exit 1"
        );
        let running = site.glexec(["perl", "-e", &script]).with_status().start();
        running.says("ready");
        running.signal_by("pilot", libc::SIGTERM).unwrap();
        running.wait().exited(7);
    }
}

#[test]
fn a_term_during_the_epilogue_harms_nothing_and_a_second_one_of_root_skips_no_epilogue() {
    let site =
        Site::with_epilogue_script("#!/bin/sh\nsleep 1\necho done >> /var/lib/site/done\n", "");
    let running = site.glexec(["actor", "exit", "42"]).with_status().start();
    running.record(|r| matches!(r, contract::Record::Payload { .. }));
    std::thread::sleep(Duration::from_millis(200));
    for _ in 0..3 {
        running.signal_by("root", libc::SIGTERM).unwrap();
    }
    running.wait().exited(42);
    assert_eq!(site.read("/var/lib/site/done"), "done\n");
}

#[test]
fn a_second_term_of_root_skips_what_is_left_of_the_graces() {
    let site = Site::with_epilogue("kill_grace = 20");
    let start = Instant::now();
    let running = site.glexec(["actor", "storm", "42"]).with_status().start();
    running.record(|r| matches!(r, contract::Record::Payload { .. }));
    std::thread::sleep(Duration::from_millis(200));
    for _ in 0..2 {
        running.signal_by("root", libc::SIGTERM).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    running.wait().exited(42);
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    assert_eq!(site.epilogues().len(), 1);
}
