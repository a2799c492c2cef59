//! Orders on the control descriptor.

use contract::Record;
use harness::{Process, Site};
use std::time::{Duration, Instant};

const LISTENER: &str = "trap 'echo usr1' USR1; trap 'exit 7' TERM; echo ready; i=0; while [ $i -lt 300 ]; do i=$((i+1)); sleep 0.02; done";

fn state(pid: i32) -> char {
    Process::of(pid).map_or('-', |p| p.state)
}

fn becomes(pid: i32, states: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !states.contains(state(pid)) {
        assert!(Instant::now() < deadline, "{pid} is {}, not one of {states}", state(pid));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_caller_steers_an_immune_glexec_by_lines() {
    let site = Site::with_epilogue("");
    let running = site.glexec(["sh", "-c", LISTENER]).with_status().with_control().start();
    running.says("ready");
    let (_, payload) = running.started();
    running.order("USR1");
    running.says("usr1");
    running.order("STOP");
    // A shell whose child was stopped between vfork and exec waits for it uninterruptibly.
    becomes(payload, "TD");
    running.order("SIGCONT");
    becomes(payload, "SR");
    running.order("TERM");
    running.wait().exited(7);
    assert_eq!(site.epilogues().len(), 1);
}

#[test]
fn kill_reaches_every_descendant_and_the_epilogue_runs() {
    let site = Site::with_epilogue("");
    let running = site
        .glexec(["sh", "-c", "setsid sleep 20 & sleep 0.2; echo ready; wait"])
        .with_status()
        .with_control()
        .start();
    running.says("ready");
    let start = Instant::now();
    running.order("KILL");
    running.wait().exited(137);
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(site.processes_of(harness::accounts::PAYLOAD1), []);
    assert_eq!(site.epilogues()[0].variable("GLEXEC_EPILOG_TARGET_RC"), Some("137"));
}

#[test]
fn lines_that_are_no_orders_are_ignored_and_logged() {
    let site = Site::with_epilogue("");
    let running = site.glexec(["sh", "-c", LISTENER]).with_status().with_control().start();
    running.says("ready");
    for line in ["", "term", "15", "KILL 1", "KILL -1", "SEGV", "\u{1b}]0;x", &"x".repeat(5000)] {
        running.order(line);
    }
    std::thread::sleep(Duration::from_millis(200));
    assert!(!running.has_ended());
    running.order("TERM");
    let ran = running.wait();
    ran.exited(7);
    assert!(!ran.log.join("").contains('\u{1b}'), "{ran:#?}");
    // Nor is more kept of a line than an order has.
    let longest = ran.log.iter().map(|line| line.matches('x').count()).max();
    assert!(longest.is_some_and(|x| (10..200).contains(&x)), "{longest:?}: {ran:#?}");
}

#[test]
fn a_caller_that_is_gone_ends_the_payload_with_term_then_kill_and_the_epilogue_runs() {
    let site = Site::with_epilogue("kill_grace = 1");
    for (payload, code) in [(&["sh", "-c", LISTENER][..], 7), (&["actor", "endure", "9000"], 137)] {
        let before = site.epilogues().len();
        let mut running = site.glexec(payload).with_status().with_control().start();
        running.started();
        std::thread::sleep(Duration::from_millis(200));
        let start = Instant::now();
        running.control = None;
        running.wait().exited(code);
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        assert_eq!(site.epilogues().len(), before + 1);
    }
}

/// It has been asked to end, and had its time: nobody waits for it again.
#[test]
fn a_payload_that_was_asked_before_its_caller_was_gone_has_no_second_grace() {
    const GRACE: Duration = Duration::from_secs(6);
    let site = Site::with_epilogue(&format!("kill_grace = {}", GRACE.as_secs()));
    let mut running =
        site.glexec(["actor", "endure", "30000"]).with_status().with_control().start();
    running.started();
    std::thread::sleep(Duration::from_millis(200));
    running.order("TERM");
    std::thread::sleep(GRACE);
    assert!(!running.has_ended());
    let gone = Instant::now();
    running.control = None;
    running.wait().exited(137);
    assert!(gone.elapsed() < GRACE / 2, "{:?}", gone.elapsed());
    assert_eq!(site.epilogues()[0].variable("GLEXEC_EPILOG_TARGET_RC"), Some("137"));
}

#[test]
fn a_last_order_without_a_newline_before_the_end_is_no_order() {
    use std::io::Write as _;
    let site = Site::with_epilogue("kill_grace = 1");
    let mut running = site.glexec(["sh", "-c", LISTENER]).with_status().with_control().start();
    running.says("ready");
    let control = running.control.take().unwrap();
    std::fs::File::from(control).write_all(b"KILL").unwrap();
    // The end of the descriptor is what counts: TERM, which the payload answers.
    running.wait().exited(7);
}

#[test]
fn a_scheduler_that_signals_every_process_of_the_job_does_not_cut_the_wires() {
    let site = Site::with_epilogue("");
    let running = site.glexec(["sh", "-c", LISTENER]).with_status().with_control().start();
    running.says("ready");
    let (glexec, payload) = running.started();
    // Between glexec and the caller's descriptors stands a process with the caller's uid.
    let between: Vec<Process> = site
        .processes_of(harness::accounts::PILOT)
        .into_iter()
        .filter(|process| process.parent == glexec && process.pid != payload)
        .collect();
    assert_eq!(between.len(), 1, "{between:?}");
    for signal in [1, 2, 10, 12, 14, 15] {
        let text = format!("kill -{signal} {}", between[0].pid);
        site.program(["/bin/sh", "-c", &text]).by("root").run().exited(0);
    }
    std::thread::sleep(Duration::from_millis(100));
    running.order("USR1");
    running.says("usr1");
    running.order("TERM");
    let ran = running.wait();
    ran.exited(7);
    let last = ran.records.last();
    assert!(matches!(last, Some(Record::Finished { code: 7, .. })), "{last:?}");
}

#[test]
fn in_100_rounds_orders_that_meet_the_payloads_end_do_not_lose_its_code() {
    let site = Site::with_epilogue("");
    for round in 0..100 {
        let payload = format!("sleep 0.0{:02}; exit 7", round % 10);
        let running = site.glexec(["sh", "-c", &payload]).with_status().with_control().start();
        running.started();
        let start = Instant::now();
        while running.orders_if_heard("CONT") && start.elapsed() < Duration::from_secs(3) {}
        running.wait().exited(7);
    }
    assert_eq!(site.epilogues().len(), 100);
}

#[test]
fn where_the_site_says_so_the_payload_is_suspended_with_who_started_it() {
    for (rule, follows) in [("suspend_with_caller = true", true), ("", false)] {
        let site = Site::with_epilogue(rule);
        // The shell is the one that a pilot's starter may stop; glexec it may not.
        let text = "$GLEXEC sh -c 'sleep 100 & echo $$ $!; wait'; exit $?";
        let running = site.shell(text).start();
        running.says("\n");
        let pids: Vec<i32> =
            running.output_so_far().split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        running.signal_by("pilot", 19).unwrap();
        std::thread::sleep(Duration::from_millis(1200));
        for pid in &pids {
            assert_eq!(state(*pid) == 'T', follows, "{rule}: {pid} is {}", state(*pid));
        }
        running.signal_by("pilot", 18).unwrap();
        for pid in &pids {
            becomes(*pid, "SR");
        }
        site.program(["/bin/kill", "-9", &pids[1].to_string()]).by("root").run().exited(0);
        running.wait().exited(0);
        assert_eq!(site.epilogues().len(), 1);
    }
}
