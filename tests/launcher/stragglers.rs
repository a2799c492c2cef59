//! What a payload leaves behind is ended before the epilogue starts.

use contract::Record;
use harness::{EPILOGUE, Site, accounts};
use std::time::{Duration, Instant};

/// Which processes of the target the counting epilogue met, one entry for each run.
fn counts(site: &Site) -> Vec<Vec<String>> {
    let text = site.read("/var/lib/site/count");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const COUNTING: &str = "#!/usr/local/bin/actor count-into\n";

fn storms(kill_grace: u32, runs: usize) {
    const LANES: usize = 5;
    let site = Site::with_epilogue_script(COUNTING, &format!("kill_grace = {kill_grace}"));
    std::thread::scope(|scope| {
        for lane in 1..=LANES {
            let site = &site;
            scope.spawn(move || {
                for _ in 0..runs / LANES {
                    let call = site.glexec(["actor", "storm", "5"]).with_status();
                    let ran = call.env("GLEXEC_TARGET_USER", &format!("payload{lane}")).run();
                    ran.exited(5);
                    let found = ran.records.iter().find_map(|record| match record {
                        Record::Stragglers { found, ended } => Some((*found, *ended)),
                        _ => None,
                    });
                    let (found, ended) = found.unwrap_or_else(|| panic!("{ran:#?}"));
                    assert!(
                        found >= 20 && ended >= found,
                        "found {found}, ended {ended}: {ran:#?}"
                    );
                }
            });
        }
    });
    let counts = counts(&site);
    assert_eq!(counts.len(), runs, "each run had its epilogue");
    let left: Vec<_> = counts.iter().filter(|names| !names.is_empty()).collect();
    assert!(left.is_empty(), "in {} of {runs} runs something was left: {left:#?}", left.len());
}

#[test]
fn a_payload_that_forks_in_a_loop_and_ignores_term_leaves_nothing_in_50_of_50_runs() {
    storms(1, 50);
}

#[test]
fn a_fork_storm_is_ended_without_a_grace_as_well() {
    storms(0, 20);
}

#[test]
fn a_daemon_that_heeds_term_is_ended_by_term_within_the_grace() {
    let site = Site::with_epilogue_script(COUNTING, "kill_grace = 10");
    let daemon = "trap 'echo heard >> /tmp/heard; exit 0' TERM; while :; do sleep 0.02; done";
    let script =
        format!("setsid sh -c \"{daemon}\" </dev/null >/dev/null 2>&1 & sleep 0.3; exit 5");
    let start = Instant::now();
    site.glexec(["sh", "-c", &script]).run().exited(5);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "no grace was waited out: {:?}",
        start.elapsed()
    );
    assert_eq!(site.read("/tmp/heard"), "heard\n");
    assert_eq!(counts(&site), [Vec::<String>::new()]);
}

/// Waits in a payload until what it has started last is stopped.
const STOPPED: &str = "until grep -q '^State:.T' /proc/$!/status; do sleep 0.02; done";

#[test]
fn stopped_stragglers_hear_their_term_and_are_ended_where_they_do_not_heed_it() {
    let site = Site::with_epilogue_script(COUNTING, "kill_grace = 20");
    let daemon =
        "trap 'echo heard >> /tmp/heard; exit 0' TERM; kill -STOP $$; while :; do sleep 0.02; done";
    let script = format!("setsid sh -c \"$1\" </dev/null >/dev/null 2>&1 & {STOPPED}; exit 5");
    let start = Instant::now();
    site.glexec(["sh", "-c", &script, "sh", daemon]).run().exited(5);
    assert_eq!(site.read("/tmp/heard"), "heard\n");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    site.settings(&format!("epilogue = \"{EPILOGUE}\"\nkill_grace = 1"));
    let deaf = format!(
        "setsid sh -c 'trap \"\" TERM; kill -STOP $$; sleep 300' </dev/null >/dev/null 2>&1 & {STOPPED}; exit 5"
    );
    site.glexec(["sh", "-c", &deaf]).run().exited(5);
    assert_eq!(counts(&site), [Vec::<String>::new(), Vec::new()]);
}

#[test]
fn orphans_that_have_ended_do_not_pile_up_while_the_payload_runs() {
    let site = Site::new();
    let script = "for (1..60) { if (!fork) { fork; exit 0 } } 1 while wait > 0; \
        $| = 1; print \"done\\n\"; sleep 300";
    let call = site.glexec(["/usr/bin/perl", "-e", script]).with_status().with_control();
    let running = call.start();
    let (glexec, payload) = running.started();
    running.says("done");
    let orphans = || {
        let all = harness::processes(accounts::PAYLOAD1).into_iter();
        all.filter(|process| process.parent == glexec && process.pid != payload).count()
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while orphans() > 0 {
        assert!(Instant::now() < deadline, "{} orphans", orphans());
        std::thread::sleep(Duration::from_millis(10));
    }
    running.order("KILL");
    running.wait().exited(137);
}

#[test]
fn without_an_epilogue_nothing_is_left_either() {
    let site = Site::with("kill_grace = 0");
    let call = site.glexec(["actor", "storm", "5"]).env("GLEXEC_TARGET_USER", "payload6");
    call.run().exited(5);
    assert_eq!(site.processes_of(accounts::named("payload6").uid), [], "after glexec's end");
}

#[test]
fn stragglers_are_spared_where_the_site_says_so() {
    let site = Site::with_epilogue_script(COUNTING, "stragglers = \"ignore\"");
    let script = "setsid sleep 5 </dev/null >/dev/null 2>&1 & sleep 0.2; exit 5";
    let start = Instant::now();
    site.glexec(["sh", "-c", script]).run().exited(5);
    assert!(start.elapsed() < Duration::from_secs(4), "nobody waits for it");
    let left = counts(&site).remove(0);
    assert!(left.len() == 1 && left[0].starts_with("sleep:"), "{left:?}");
}

#[test]
fn a_payload_traced_by_its_own_grandchild_is_seen_to_end_and_keeps_its_code() {
    for stubborn in ["", "stubborn"] {
        let site = Site::with_epilogue(" ");
        let start = Instant::now();
        let ran = site.glexec(["actor", "traced", "42", stubborn]).with_status().run();
        ran.exited(42);
        assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
        let saw = site.epilogues();
        assert_eq!(saw.len(), 1);
        assert_eq!(saw[0].variable("GLEXEC_EPILOG_TARGET_RC"), Some("42"));
    }
}

#[test]
fn children_that_were_there_before_are_never_waited_for_signalled_or_counted() {
    let site = Site::with_epilogue_script(COUNTING, "");
    let start = Instant::now();
    let call = site.glexec(["actor", "exit", "42"]).with_status();
    let ran = call.with_child(Duration::from_secs(4)).run();
    ran.exited(42);
    assert!(start.elapsed() < Duration::from_secs(3), "the child sleeps on: {:?}", start.elapsed());
    assert!(
        !ran.records.iter().any(|r| matches!(r, Record::Stragglers { found, .. } if *found > 0)),
        "{ran:#?}"
    );
    // The stranger's own end is nobody's business: it comes while the payload runs.
    let call =
        site.glexec(["sh", "-c", "sleep 0.6; exit 43"]).with_child(Duration::from_millis(200));
    call.run().exited(43);
}

#[test]
fn a_glexec_that_became_of_a_shell_with_a_running_glexec_leaves_that_one_alone() {
    let site = Site::with_epilogue("");
    let script = "$GLEXEC sh -c 'sleep 1.5; exit 7' & exec $GLEXEC sh -c 'exit 42'";
    let start = harness::raw::now_ns();
    let ran = site.shell(script).run();
    let took = Duration::from_nanos(ran.exited(42).ended_ns - start);
    assert!(took < Duration::from_millis(1400), "{took:?}");
    let deadline = Instant::now() + Duration::from_secs(5);
    while site.epilogues().len() < 2 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let codes: Vec<_> = site
        .epilogues()
        .iter()
        .map(|e| e.variable("GLEXEC_EPILOG_TARGET_RC").map(str::to_owned))
        .collect();
    assert_eq!(codes, [Some("42".to_owned()), Some("7".to_owned())]);
}

#[test]
fn a_glexec_within_a_payload_gets_its_own_time_to_run_its_epilogue() {
    let site = Site::with_epilogue("kill_grace = 2\nuser_white_list = [\"pilot\", \"payload1\"]");
    let text = site.read(harness::CONFIG)
        + "\n[[mapping.static]]\ncaller = \"payload1\"\naccount = \"payload2\"\n";
    site.config(&text);
    let script = "setsid /usr/sbin/glexec sleep 20 </dev/null >/dev/null 2>&1 & sleep 0.5; exit 5";
    site.glexec(["sh", "-c", script]).run().exited(5);
    let who: Vec<_> = site
        .epilogues()
        .iter()
        .map(|e| e.variable("GLEXEC_EPILOG_TARGET_USER").map(str::to_owned))
        .collect();
    assert_eq!(who, [Some("payload2".to_owned()), Some("payload1".to_owned())], "inner first");
    assert!(site.read(EPILOGUE).starts_with("#!"));
}

/// Two runs, one in the other's payload, and an epilogue that sleeps longer than the outer grace.
fn nested(lines: &str) -> Site {
    let script = "#!/bin/sh\necho begin $GLEXEC_EPILOG_TARGET_USER >> /var/lib/site/log\n\
        [ $GLEXEC_EPILOG_TARGET_USER = payload1 ] || sleep 4\n\
        echo end $GLEXEC_EPILOG_TARGET_USER >> /var/lib/site/log\n";
    let lines =
        format!("{lines}\nepilogue_timeout = 60\nuser_white_list = [\"pilot\", \"payload1\"]");
    let site = Site::with_epilogue_script(script, &lines);
    let text = site.read(harness::CONFIG)
        + "\n[[mapping.static]]\ncaller = \"payload1\"\naccount = \"payload2\"\n";
    site.config(&text);
    site
}

const INNER_FIRST: &str = "begin payload2\nend payload2\nbegin payload1\nend payload1\n";

#[test]
fn a_nested_run_whose_payload_ignores_term_comes_to_the_end_of_its_epilogue() {
    for grace in [1, 0] {
        let site = nested(&format!("kill_grace = {grace}"));
        let inner = "trap \"\" TERM; echo up > /tmp/up; while :; do sleep 0.05; done";
        let script = format!(
            "setsid /usr/sbin/glexec sh -c '{inner}' </dev/null >/dev/null 2>&1 & \
             while [ ! -e /tmp/up ]; do sleep 0.02; done; exit 5"
        );
        let start = Instant::now();
        let call = site.glexec(["sh", "-c", &script]).with_status();
        let running = call.within_time(Duration::from_secs(120)).start();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !site.read("/var/lib/site/log").contains("begin payload2") {
            assert!(Instant::now() < deadline, "the inner epilogue does not begin");
            std::thread::sleep(Duration::from_millis(10));
        }
        // Whatever wakes the outer run meanwhile: the inner one's epilogue is none of its payload.
        running.signal_by("root", libc::SIGUSR1).unwrap();
        running.wait().exited(5);
        assert_eq!(site.read("/var/lib/site/log"), INNER_FIRST, "{grace}");
        // What is below it had KILL after the outer grace, not when the inner run's time was up.
        assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
    }
}

#[test]
fn the_order_kill_ends_a_nested_run_and_spares_its_epilogue() {
    let site = nested("kill_grace = 1");
    let script = "/usr/sbin/glexec sh -c 'echo up; exec sleep 300' & sleep 300";
    let call = site.glexec(["sh", "-c", script]).with_status().with_control();
    let running = call.within_time(Duration::from_secs(60)).start();
    running.says("up");
    running.order("KILL");
    running.wait().exited(137);
    assert_eq!(site.read("/var/lib/site/log"), INNER_FIRST);
}

#[test]
fn a_name_with_brackets_and_newlines_confuses_nobody() {
    let site = Site::with_epilogue_script(COUNTING, "kill_grace = 1");
    let script = "cp /bin/sleep '/tmp/a) S 1 (\n'; setsid '/tmp/a) S 1 (\n' 9 </dev/null >/dev/null 2>&1 & sleep 0.3; exit 5";
    site.glexec(["sh", "-c", script]).run().exited(5);
    assert_eq!(counts(&site), [Vec::<String>::new()]);
}
