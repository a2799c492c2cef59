//! The epilogue: when it runs, as whom, how long, and what its end means.

use contract::{Reason, Record};
use harness::accounts::{KEEPER, KEEPERS};
use harness::{Ran, Site};
use std::time::{Duration, Instant};

fn result(ran: &Ran) -> (String, Option<u8>) {
    let found = ran.records.iter().find_map(|record| match record {
        Record::Epilogue { result, code, .. } => Some((result.clone(), *code)),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no epilogue record: {ran:#?}"))
}

#[test]
fn the_epilogue_runs_as_root_with_nothing_of_the_callers_or_the_payloads() {
    let site = Site::with_epilogue("");
    site.glexec(["true"]).by("busy").within("/home/busy").umask(0o777).run().exited(0);
    let saw = site.epilogues().remove(0);
    assert_eq!((&saw.uids, &saw.gids), (&vec![0; 4], &vec![0; 4]));
    assert_eq!(saw.groups, [0; 0], "no supplementary groups");
    assert_eq!(
        (saw.directory.as_str(), saw.umask, saw.nice, saw.blocked, saw.ignored),
        ("/", 0o022, 0, 0, 0)
    );
    let [pid, parent, group, session] = saw.ids;
    assert_eq!((group, session), (pid, pid), "a session of its own");
    assert_eq!(saw.variable("GLEXEC_EPILOG_GLEXEC_PID"), Some(parent.to_string().as_str()));
    assert_eq!((saw.terminal, saw.timer), (0, 0));
    assert_eq!(saw.descriptors.into_values().collect::<Vec<_>>(), ["/dev/null"; 3]);
}

#[test]
fn an_epilogue_user_or_group_that_is_not_named_is_root_and_group_0() {
    let site = Site::with_epilogue("");
    site.directory("/var/lib/site", (KEEPER, KEEPERS), 0o775);
    for (lines, uid, gid) in [
        ("", 0, 0),
        ("epilogue_user = \"keeper\"", KEEPER, 0),
        ("epilogue_group = \"keepers\"", 0, KEEPERS),
        ("epilogue_user = \"keeper\"\nepilogue_group = \"keepers\"", KEEPER, KEEPERS),
    ] {
        site.settings(&format!("epilogue = \"/usr/libexec/site/epilogue\"\n{lines}"));
        let _ = std::fs::remove_file(site.path(harness::SAW));
        let ran = site.glexec(["actor", "exit", "7"]).with_status().run();
        ran.exited(7);
        let saw = site.epilogues().remove(0);
        let ids = (saw.uids, saw.gids, saw.groups);
        assert_eq!(ids, (vec![uid; 4], vec![gid; 4], vec![]), "{lines}");
        let rights = saw.capabilities[1..3].iter().any(|set| *set != 0);
        assert_eq!(rights, uid == 0, "{lines}: {:?}", saw.capabilities);
    }
}

#[test]
fn an_identity_that_the_epilogue_cannot_take_is_refused_before_the_payload_starts() {
    let site = Site::with_epilogue("");
    // A container whose user namespace ends below the account of the epilogue.
    let container = r#"
        mkfifo -m 666 /tmp/ready /tmp/go
        unshare -U sh -c 'echo >/tmp/ready; read x </tmp/go; exec "$GLEXEC" "$@"' sh "$@" &
        read x </tmp/ready
        echo 0 0 50000 >/proc/$!/uid_map && echo 0 0 50000 >/proc/$!/gid_map && echo >/tmp/go
        wait $!"#;
    for (user, code, output) in [("keeper", 7, "started\n"), ("vast", 202, "")] {
        site.settings(&format!(
            "user_white_list = [\"root\"]\nepilogue = \"/usr/libexec/site/epilogue\"\nepilogue_user = \"{user}\""
        ));
        site.directory("/var/lib/site", (KEEPER, KEEPERS), 0o775);
        let words = ["sh", "sh", "-c", "echo started; exit 7"];
        let ran = site.shell(&format!("rm -f /tmp/ready /tmp/go{container}")).words(words);
        let ran = ran.by("root").run();
        assert_eq!((ran.code(), ran.output().as_str()), (code, output), "{user}: {ran:#?}");
    }
    assert_eq!(site.epilogues().len(), 1);
    let log = site.log().join("\n");
    assert!(log.contains("epilogue_user") && log.contains("cannot run"), "{log}");
}

#[test]
fn caller_or_target_as_the_epilogues_own_identity_is_a_configuration_fault() {
    let site = Site::with_epilogue("epilogue_user = \"keeper\"\nepilogue_group = \"keepers\"");
    for target in ["keeper", "friend"] {
        let call = site.glexec(["true"]).env("GLEXEC_TARGET_USER", target);
        call.with_status().run().stopped(Reason::EpilogueIdentity);
    }
    site.settings("epilogue = \"/usr/libexec/site/epilogue\"\nepilogue_group = \"grid\"");
    site.glexec(["true"]).with_status().run().stopped(Reason::EpilogueIdentity);
    site.settings("epilogue = \"/usr/libexec/site/epilogue\"\nepilogue_user = \"pilot\"");
    site.glexec(["true"]).with_status().run().stopped(Reason::EpilogueIdentity);
    assert!(site.epilogues().is_empty());
}

#[test]
fn a_failing_epilogue_is_202_and_204_where_it_exits_201_to_204() {
    let site = Site::with_epilogue("");
    for (end, caller, told) in [
        ("exit 0", 42, ("ok", Some(0))),
        ("exit 1", 202, ("exit", Some(1))),
        ("exit 200", 202, ("exit", Some(200))),
        ("exit 201", 204, ("exit", Some(201))),
        ("exit 202", 204, ("exit", Some(202))),
        ("exit 203", 204, ("exit", Some(203))),
        ("exit 204", 204, ("exit", Some(204))),
        ("exit 205", 202, ("exit", Some(205))),
        ("exit 255", 202, ("exit", Some(255))),
        ("kill -9 $$", 202, ("signal", Some(9))),
        ("kill -TERM $$", 202, ("signal", Some(15))),
        ("ulimit -c 0; kill -SEGV $$", 202, ("signal", Some(11))),
    ] {
        site.epilogue(&format!("#!/bin/sh\n{end}\n"));
        let ran = site.glexec(["actor", "exit", "42"]).with_status().run();
        ran.exited(caller);
        assert_eq!(result(&ran), (told.0.to_owned(), told.1), "{end}");
        let payload =
            ran.records.iter().any(|r| matches!(r, Record::Payload { code: Some(42), .. }));
        assert!(payload, "the payload's own code is on the status stream: {ran:#?}");
        assert!(ran.log.iter().any(|line| line.contains("42")), "and in the log: {ran:#?}");
    }
}

#[test]
fn where_failures_are_only_reported_the_payloads_code_is_kept() {
    let site = Site::with_epilogue("epilogue_failure = \"report\"");
    for end in ["exit 1", "exit 203", "kill -9 $$"] {
        site.epilogue(&format!("#!/bin/sh\n{end}\n"));
        let ran = site.glexec(["actor", "exit", "42"]).with_status().run();
        ran.exited(42);
        assert_ne!(result(&ran).0, "ok");
        assert!(ran.log.iter().any(|line| line.contains("epilogue")), "{ran:#?}");
    }
}

#[test]
fn an_epilogue_that_hangs_is_ended_and_so_is_what_it_left_behind() {
    let site = Site::with_epilogue("epilogue_timeout = 1\nkill_grace = 1");
    let stubborn = "#!/bin/sh\ntrap '' TERM HUP INT\nsetsid sleep 25 &\n(sleep 25 &)\nyes | cat >/dev/null &\nwhile :; do sleep 1; done\n";
    for (script, seconds) in [("#!/bin/sh\nsleep 30\n", 2.9), (stubborn, 5.0)] {
        site.epilogue(script);
        let start = Instant::now();
        let ran = site.glexec(["actor", "exit", "42"]).with_status().run();
        ran.exited(202);
        assert!(start.elapsed().as_secs_f64() < seconds, "{:?}", start.elapsed());
        assert_eq!(result(&ran), ("timeout".to_owned(), None));
        assert_eq!(names(&site), [""; 0], "nobody is left");
    }
}

#[test]
fn an_epilogue_whose_time_is_up_hears_term_with_its_group_and_has_its_grace() {
    let script = "#!/bin/sh\ncd /var/lib/site\n\
        trap 'echo term >> log; sleep 1; echo end >> log; exit 0' TERM\n\
        sh -c 'trap \"echo group >> log\" TERM; while :; do sleep 0.05; done' &\n\
        while :; do sleep 0.05; done\n";
    let lines = "epilogue_timeout = 1\nkill_grace = 3";
    let site = Site::with_epilogue_script(script, lines);
    let ran = site.glexec(["actor", "exit", "42"]).with_status().run();
    ran.exited(202);
    assert_eq!(result(&ran), ("timeout".to_owned(), None));
    let log = site.read("/var/lib/site/log");
    let at = |word: &str| log.lines().position(|line| line == word);
    assert!(at("term") < at("end") && at("term").is_some(), "{log}");
    assert!(at("group") < at("end") && at("group").is_some(), "with it, not after it: {log}");
    assert_eq!(names(&site), [""; 0], "its group had KILL afterwards");
    // One that is stopped hears it, too.
    let site = Site::with_epilogue_script(
        "#!/bin/sh\ntrap 'echo heard >> /var/lib/site/log; exit 0' TERM\nkill -STOP $$\n\
         while :; do sleep 0.05; done\n",
        lines,
    );
    site.glexec(["actor", "exit", "42"]).run().exited(202);
    assert_eq!(site.read("/var/lib/site/log"), "heard\n");
}

#[test]
fn an_epilogue_that_is_silent_is_timed_out_though_its_output_is_waited_for() {
    let lines = "epilogue_output = \"log\"\nepilogue_timeout = 1\nkill_grace = 1";
    let site = Site::with_epilogue_script("#!/bin/sh\necho hello\nexec sleep 300\n", lines);
    let start = Instant::now();
    site.glexec(["actor", "exit", "42"]).run().exited(202);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn two_terms_of_root_shorten_the_epilogues_own_grace() {
    let script = "#!/bin/sh\ntrap '' TERM\necho > /var/lib/site/up\nwhile :; do sleep 0.05; done\n";
    let site = Site::with_epilogue_script(script, "epilogue_timeout = 1\nkill_grace = 25");
    let start = Instant::now();
    let running = site.glexec(["actor", "exit", "42"]).with_status().start();
    until("the epilogue runs", || site.path("/var/lib/site/up").exists());
    for _ in 0..2 {
        running.signal_by("root", libc::SIGTERM).unwrap();
        // Two that are pending are one.
        std::thread::sleep(Duration::from_millis(200));
    }
    running.wait().exited(202);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[test]
fn an_epilogue_dies_with_its_glexec() {
    let script = "#!/bin/sh\necho $$ > /var/lib/site/pid\nexec sleep 300\n";
    let site = Site::with_epilogue_script(script, "");
    let running = site.glexec(["actor", "exit", "42"]).with_status().start();
    let pid = || site.read("/var/lib/site/pid").trim().parse::<i32>().ok();
    until("the epilogue runs", || pid().is_some());
    let pid = pid().unwrap();
    assert!(harness::Process::of(pid).is_some());
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    until("it is dead, without any sweep", || {
        harness::Process::of(pid).is_none_or(|process| process.is_zombie())
    });
}

#[test]
fn the_epilogue_and_what_it_starts_die_of_a_sigpipe() {
    let script = "#!/bin/sh\ngrep SigIgn /proc/self/status > /var/lib/site/ignored\n";
    let site = Site::with_epilogue_script(script, "");
    site.glexec(["true"]).run().exited(0);
    assert_eq!(site.read("/var/lib/site/ignored"), format!("SigIgn:\t{}\n", "0".repeat(16)));
}

fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !happened() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn names(site: &Site) -> Vec<String> {
    site.processes().into_iter().filter_map(|p| harness::Process::of(p).map(|p| p.name)).collect()
}

#[test]
fn an_epilogue_that_ends_itself_in_time_leaves_no_daemon_behind() {
    let site = Site::with_epilogue("kill_grace = 1");
    site.epilogue(
        "#!/bin/sh\nsetsid sh -c 'trap \"\" TERM; sleep 25' </dev/null >/dev/null 2>&1 &\nexit 0\n",
    );
    site.glexec(["actor", "exit", "42"]).run().exited(42);
    assert_eq!(names(&site), [""; 0]);
}

#[test]
fn an_epilogue_that_can_no_longer_be_started_is_202_and_the_payloads_code_is_not_lost() {
    let site = Site::with_epilogue("");
    for script in ["#!/nonexistent/interpreter\n", "no interpreter at all\n", ""] {
        site.epilogue("#!/bin/sh\n");
        let waiting = "while ! [ -e /tmp/go ]; do sleep 0.05; done; exit 42";
        let running = site.glexec(["sh", "-c", waiting]).with_status().start();
        running.started();
        site.epilogue(script);
        site.file("/tmp/go", "", 0o644);
        let ran = running.wait();
        ran.exited(202);
        std::fs::remove_file(site.path("/tmp/go")).unwrap();
        assert_eq!(result(&ran).0, "not-started", "{script:?}");
        let payload =
            ran.records.iter().any(|r| matches!(r, Record::Payload { code: Some(42), .. }));
        assert!(payload, "{ran:#?}");
    }
}

#[test]
fn an_epilogue_runs_also_for_a_payload_that_could_not_be_started_after_the_fork() {
    let site = Site::with_epilogue("");
    site.file("/tmp/script", "#!/nonexistent/interpreter\n", 0o755);
    let ran = site.glexec(["/tmp/script"]).with_status().run();
    if ran.code == Some(201) {
        assert!(site.epilogues().is_empty(), "seen before the fork: nothing is owed");
    } else {
        assert!(matches!(ran.code, Some(126 | 127)), "{ran:#?}");
        let saw = site.epilogues().remove(0);
        assert_eq!(saw.variable("GLEXEC_EPILOG_RESULT"), Some("not-started"));
        assert_eq!(saw.variable("GLEXEC_EPILOG_TARGET_RC"), Some(ran.code().to_string().as_str()));
    }
}

#[test]
fn what_the_epilogue_prints_goes_to_the_log_where_the_site_says_so() {
    let site = Site::with_epilogue("epilogue_output = \"log\"");
    site.epilogue("#!/bin/sh\necho cleaned \"$GLEXEC_EPILOG_TARGET_USER\"\nprintf 'odd \\033[31m\\n' >&2\nprintf 'no newline'\n");
    let ran = site.glexec(["actor", "exit", "42"]).run();
    ran.exited(42);
    assert!(ran.stdout.is_empty() && ran.stderr.is_empty(), "{ran:#?}");
    let log = ran.log.join("\n");
    assert!(
        log.contains("cleaned payload1") && log.contains("odd") && log.contains("no newline"),
        "{log}"
    );
    assert!(!log.contains('\u{1b}'), "{log:?}");
}

#[test]
fn an_epilogue_that_prints_without_end_is_bounded() {
    let site =
        Site::with_epilogue("epilogue_output = \"log\"\nepilogue_timeout = 2\nkill_grace = 1");
    site.epilogue("#!/bin/sh\nexec yes 0123456789012345678901234567890123456789\n");
    let start = Instant::now();
    let ran = site.glexec(["actor", "exit", "42"]).run();
    ran.exited(202);
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    let bytes: usize = ran.log.iter().map(String::len).sum();
    assert!(bytes < 2 << 20, "{bytes} bytes of log");
}
