//! Nothing is lost: what a glexec owes that is gone is paid by a sweep, at least once to its end
//! and never two at a time.

use contract::{Reason, Record};
use harness::accounts::{OTHER, PILOT};
use harness::{EPILOGUE, GLEXEC, Look, Process, Ran, Running, Site, raw};
use std::collections::HashMap;
use std::time::{Duration, Instant};

const STATE: &str = "/var/lib/glexec";

/// The names in the state directory, without those that were never finished: nothing of them
/// ran, and a sweep removes them once they are old.
fn entries(site: &Site) -> Vec<String> {
    let list = std::fs::read_dir(site.path(STATE)).unwrap();
    let mut names: Vec<_> = list.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with("new."));
    names.sort_unstable();
    names
}

fn admin(site: &Site, words: &[&str]) -> Ran {
    site.program(["/usr/sbin/glexec-admin"]).words(words).by("root").run()
}

/// Sweeps, and asserts that nothing is owed afterwards.
fn sweep(site: &Site) -> String {
    let ran = admin(site, &["sweep", "--now"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(entries(site), [""; 0], "nothing is left: {ran:#?}");
    ran.output()
}

/// What an epilogue was told: RESULT, TARGET_RC, ATTEMPT.
fn told(look: &Look) -> [String; 3] {
    ["RESULT", "TARGET_RC", "ATTEMPT"]
        .map(|name| look.variable(&format!("GLEXEC_EPILOG_{name}")).unwrap_or("-").to_owned())
}

/// Waits for something that happens sooner or later.
fn until(mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !happened() {
        assert!(Instant::now() < deadline, "it did not happen within 30 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn killed(running: Running<'_>) {
    running.signal_by("root", libc::SIGKILL).unwrap();
    assert_eq!(running.wait().signal, Some(libc::SIGKILL));
}

#[test]
fn a_run_that_ends_by_itself_leaves_no_entry() {
    let site = Site::with_epilogue("");
    let running = site.glexec(["sleep", "0.3"]).with_status().start();
    running.started();
    let names = entries(&site);
    assert!(names.len() == 1 && names[0].starts_with("run.42001.42002."), "{names:?}");
    running.wait().exited(0);
    assert_eq!(entries(&site), [""; 0]);
    let plain = Site::new();
    let running = plain.glexec(["sleep", "0.2"]).with_status().start();
    running.started();
    assert_eq!(entries(&plain), [""; 0], "who owes nothing is not written down");
    running.wait().exited(0);
}

#[test]
fn killed_while_the_payload_runs_the_epilogue_is_paid_by_a_sweep_once() {
    let site = Site::with_epilogue("job_variables = [\"JOB\"]");
    let call = site.glexec(["sh", "-c", "sleep 20"]).env("JOB", "4711").env("GLEXEC_NOTE", "kept");
    let running = call.with_status().start();
    let (glexec, payload) = running.started();
    killed(running);
    let shown = admin(&site, &["ps", "--json"]);
    for part in ["owed", "\"phase\":\"payload\"", "pilot", "payload1", "4711", "sh -c sleep 20"] {
        assert!(shown.output().contains(part), "{part} in {shown:#?}");
    }
    assert!(sweep(&site).contains("paid"));
    let saw = site.epilogues();
    assert_eq!(saw.len(), 1);
    assert_eq!(told(&saw[0]), ["lost", "137", "1"]);
    let variable = |name: &str| saw[0].variable(name).unwrap_or("-").to_owned();
    assert_eq!(variable("GLEXEC_EPILOG_GLEXEC_PID"), glexec.to_string());
    assert_eq!(variable("GLEXEC_EPILOG_TARGET_PID"), payload.to_string());
    assert_eq!(variable("GLEXEC_EPILOG_JOB_JOB"), "4711");
    assert_eq!(variable("GLEXEC_EPILOG_ARGV2"), "sleep 20");
    assert_eq!(
        (variable("GLEXEC_NOTE"), variable("HOME")),
        ("kept".into(), "/home/payload1".into())
    );
    assert_eq!((&saw[0].uids, &saw[0].gids, &saw[0].groups), (&vec![0; 4], &vec![0; 4], &vec![]));
    assert!(sweep(&site).is_empty(), "nothing is paid twice");
    assert_eq!(site.epilogues().len(), 1);
}

/// Kills glexec by strace as it comes to a system call; with an error the call is not made. Its
/// children are not traced.
fn kill_at(site: &Site, call: &str) {
    let strace = which::which("strace").expect("strace is missing: tests/run installs it");
    let inject = format!("inject={call}");
    let words =
        ["-qq", "-o", "/dev/null", "-e", &inject, "-u", "pilot", GLEXEC, "sh", "-c", "exit 42"];
    site.program([strace.to_str().unwrap()]).words(words).by("root").run();
}

#[test]
fn killed_before_the_payload_may_run_or_before_the_entry_is_removed_the_epilogue_has_run_once() {
    let dies = "error=EIO:signal=KILL:when=1";
    for (point, call, want) in [
        ("just before the payload is let go", "setpgid", ["lost", "137", "1"]),
        ("just before the entry is removed", "unlink,unlinkat", ["exited", "42", "1"]),
    ] {
        let site = Site::with_epilogue("");
        kill_at(&site, &format!("{call}:{dies}"));
        assert_eq!(entries(&site).len(), 1, "{point}");
        sweep(&site);
        let saw = site.epilogues();
        assert_eq!(saw.iter().map(told).collect::<Vec<_>>(), [want], "{point}");
    }
}

#[test]
fn killed_at_any_system_call_the_epilogue_has_run_to_its_end_after_a_sweep() {
    let script = "#!/bin/sh\necho begin >> /var/lib/site/log\necho end >> /var/lib/site/log\n";
    let site = Site::with_epilogue_script(script, "kill_grace = 1");
    let count = |word: &str| site.read("/var/lib/site/log").lines().filter(|l| *l == word).count();
    let (mut owed, mut again) = (0, 0);
    for (calls, most) in [
        ("fork,vfork,clone,clone3", 4),
        ("write,writev", 14),
        ("rename,renameat,renameat2", 1),
        ("waitid", 12),
        ("poll,ppoll", 8),
        ("pidfd_open", 4),
        ("dup2,dup3", 4),
        ("prlimit64,setpriority,sched_setaffinity,chdir", 8),
        ("unlink,unlinkat", 1),
        ("sendto,sendmsg", 3),
    ] {
        for when in 1..=most {
            for how in ["signal=KILL", "error=EIO:signal=KILL"] {
                let (begun, ended) = (count("begin"), count("end"));
                kill_at(&site, &format!("{calls}:{how}:when={when}"));
                let debts = entries(&site).len();
                sweep(&site);
                let at = format!("{calls} {how} {when}");
                if debts > 0 {
                    owed += 1;
                    assert!(count("end") > ended, "{at}: it has run to its end");
                }
                assert_eq!(site.processes_of(42_002), [], "{at}: nothing is left");
                again += usize::from(count("begin") - begun > 1);
            }
        }
    }
    assert!(owed > 20, "kills that left a debt: {owed}; of these run again: {again}");
}

#[test]
fn killed_while_stragglers_are_ended_the_recorded_code_is_told() {
    let site = Site::with_epilogue("kill_grace = 20");
    let script = "setsid sh -c 'trap \"\" TERM; echo up; sleep 20' & sleep 0.3; exit 42";
    let running = site.glexec(["sh", "-c", script]).with_status().start();
    running.says("up");
    running.record(|r| matches!(r, Record::Payload { .. }));
    killed(running);
    let quick = site.read(harness::CONFIG).replace("kill_grace = 20", "kill_grace = 1");
    site.config(&quick);
    sweep(&site);
    assert_eq!(site.epilogues().iter().map(told).collect::<Vec<_>>(), [["lost", "42", "1"]]);
}

#[test]
fn killed_while_the_epilogue_runs_it_runs_again_and_never_beside_itself() {
    let script = "#!/bin/sh\n\
        echo begin $GLEXEC_EPILOG_ATTEMPT $GLEXEC_EPILOG_TARGET_RC $GLEXEC_EPILOG_RESULT >> /var/lib/site/log\n\
        sleep 1\necho end $GLEXEC_EPILOG_ATTEMPT >> /var/lib/site/log\n";
    let site = Site::with_epilogue_script(script, "");
    let running = site.glexec(["actor", "exit", "42"]).with_status().start();
    running.record(|r| matches!(r, Record::Payload { .. }));
    std::thread::sleep(Duration::from_millis(300));
    killed(running);
    sweep(&site);
    std::thread::sleep(Duration::from_millis(1200));
    let log = site.read("/var/lib/site/log");
    assert_eq!(
        log, "begin 1 42 exited\nbegin 2 42 lost\nend 2\n",
        "the first never came to its end"
    );
}

#[test]
fn an_epilogue_that_is_ended_from_outside_is_owed_and_run_again() {
    let script = "#!/bin/sh\necho $$ begin $GLEXEC_EPILOG_ATTEMPT $GLEXEC_EPILOG_TARGET_RC >> /var/lib/site/log\n\
        [ $GLEXEC_EPILOG_ATTEMPT -gt 1 ] || sleep 5\necho end >> /var/lib/site/log\n";
    for signal in [15, 9] {
        let site = Site::with_epilogue_script(script, "");
        let running = site.glexec(["actor", "exit", "42"]).with_status().start();
        let log = "/var/lib/site/log";
        let deadline = Instant::now() + Duration::from_secs(5);
        while !site.read(log).contains("begin") && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let text = format!("kill -{signal} $(cut -d ' ' -f 1 {log})");
        site.program(["/bin/sh", "-c", &text]).by("root").run().exited(0);
        running.wait().exited(202);
        assert_eq!(entries(&site).len(), 1, "signal {signal}");
        sweep(&site);
        let lines: Vec<String> = site
            .read(log)
            .lines()
            .map(|l| l.split(' ').skip(1).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(lines, ["begin 1 42", "begin 2 42", ""], "signal {signal}");
        assert_eq!(entries(&site).len(), 0);
    }
}

#[test]
fn a_sweep_of_one_caller_leaves_the_others_debts() {
    let site = Site::with_epilogue("user_white_list = [\"pilot\", \"busy\"]");
    for who in ["pilot", "busy"] {
        let running = site.glexec(["sleep", "20"]).by(who).with_status().start();
        running.started();
        killed(running);
    }
    admin(&site, &["sweep", "--caller", &harness::accounts::BUSY.to_string()]).exited(0);
    let callers: Vec<_> = site
        .epilogues()
        .iter()
        .map(|e| e.variable("GLEXEC_EPILOG_GLEXEC_USER").unwrap().to_owned())
        .collect();
    assert_eq!((callers, entries(&site).len()), (vec!["busy".to_owned()], 1));
    assert_eq!(admin(&site, &["sweep", "--caller", "busy"]).code(), 2);
}

#[test]
fn a_sweep_that_is_killed_leaves_the_debt_to_the_next() {
    let script = "#!/bin/sh\necho begin $GLEXEC_EPILOG_ATTEMPT >> /var/lib/site/log\nsleep 0.6\necho end >> /var/lib/site/log\n";
    let site = Site::with_epilogue_script(script, "");
    let running = site.glexec(["sleep", "20"]).with_status().start();
    running.started();
    killed(running);
    let first = site.program(["/usr/sbin/glexec-admin", "sweep"]).by("root").start();
    until(|| !site.read("/var/lib/site/log").is_empty());
    // The process that pays first: it goes on where only who waits for it is killed.
    let all = site.processes_of(0).into_iter();
    for paying in all.filter(|p| p.name == "glexec-settle") {
        raw::kill(paying.pid, libc::SIGKILL).unwrap();
    }
    first.wait().exited(2);
    sweep(&site);
    assert_eq!(site.read("/var/lib/site/log"), "begin 1\nbegin 2\nend\n");
}

#[test]
fn two_sweeps_at_once_run_each_epilogue_once() {
    let site = Site::with_epilogue("");
    for n in 1..=4 {
        let who = format!("payload{n}");
        let running =
            site.glexec(["sleep", "20"]).env("GLEXEC_TARGET_USER", &who).with_status().start();
        running.started();
        killed(running);
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| admin(&site, &["sweep"]));
        }
    });
    sweep(&site);
    assert_eq!(site.epilogues().len(), 4);
}

#[test]
fn a_sweep_leaves_runs_that_live_alone_and_waits_for_them_where_asked() {
    let site = Site::with_epilogue("");
    let running = site.glexec(["sleep", "1"]).with_status().start();
    running.started();
    let ran = admin(&site, &["sweep"]);
    assert!(ran.exited(0).output().contains("live"), "{ran:#?}");
    assert_eq!(admin(&site, &["sweep", "--wait", "0"]).code(), 3);
    assert!(site.epilogues().is_empty());
    let ran = admin(&site, &["sweep", "--wait", "10"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    running.wait().exited(0);
    assert_eq!(site.epilogues().len(), 1);
    assert_eq!(told(&site.epilogues()[0]), ["exited", "0", "1"]);
}

#[test]
fn what_is_left_of_a_lost_payload_is_ended_before_its_epilogue() {
    let site = Site::with_epilogue("kill_grace = 1");
    let script = "trap '' TERM; (trap '' TERM HUP; sleep 30) & echo up; sleep 30";
    let running = site.glexec(["sh", "-c", script]).with_status().start();
    running.says("up");
    killed(running);
    std::thread::sleep(Duration::from_millis(100));
    assert!(!site.processes_of(42_002).is_empty(), "its group has outlived it");
    sweep(&site);
    assert_eq!(site.processes_of(42_002), []);
    assert_eq!(site.epilogues().len(), 1);
}

#[test]
fn a_job_is_swept_by_its_keys_and_a_caller_settles_its_own() {
    let site = Site::with_epilogue("job_variables = [\"JOB\"]");
    for job in ["1", "2", "3"] {
        let running = site.glexec(["sleep", "20"]).env("JOB", job).with_status().start();
        running.started();
        killed(running);
    }
    let jobs = |site: &Site| -> Vec<String> {
        let all = site.epilogues();
        all.iter().map(|e| e.variable("GLEXEC_EPILOG_JOB_JOB").unwrap().to_owned()).collect()
    };
    admin(&site, &["sweep", "--job", "JOB=2"]).exited(0);
    assert_eq!(jobs(&site), ["2"]);
    let settle =
        |who: &str, words: &[&str]| site.program([GLEXEC, "--settle"]).words(words).by(who).run();
    settle("busy", &["JOB=1"]).exited(0);
    settle("other", &["JOB=1"]).exited(0);
    assert_eq!(jobs(&site), ["2"], "not theirs");
    settle("pilot", &["JOB=9"]).exited(0);
    settle("pilot", &[]).exited(201);
    settle("pilot", &["nonsense"]).exited(201);
    settle("pilot", &["JOB=1"]).exited(0);
    assert_eq!(jobs(&site), ["2", "1"]);
    assert_eq!(admin(&site, &["sweep", "--job", "x"]).code(), 2);
    assert_eq!(entries(&site).len(), 1);
}

#[test]
fn a_settling_goes_on_whatever_becomes_of_who_asked_for_it() {
    let script =
        "#!/bin/sh\necho begin >> /var/lib/site/log\nsleep 1\necho done >> /var/lib/site/log\n";
    let site = Site::with_epilogue_script(script, "job_variables = [\"JOB\"]");
    let running = site.glexec(["sleep", "20"]).env("JOB", "1").with_status().start();
    running.started();
    killed(running);
    let settling = site.program([GLEXEC, "--settle", "JOB=1"]).start();
    until(|| site.read("/var/lib/site/log").contains("begin"));
    // Who waits is the caller's; who pays is nobody's but root's.
    let process = Process::of(settling.pid()).unwrap();
    assert_eq!(process.uids[0], PILOT, "{process:?}");
    let all = site.processes_of(0).into_iter();
    let of_root = all.filter(|p| p.name == "glexec-settle" && p.uids[0] == 0);
    let paying: Vec<i32> = of_root.map(|p| p.pid).collect();
    assert_eq!(paying.len(), 1, "{paying:?}");
    for signal in [libc::SIGKILL, libc::SIGSTOP, libc::SIGTERM] {
        let sent = raw::kill_as((PILOT, PILOT), paying[0], signal);
        assert_eq!(sent, Err(nix::errno::Errno::EPERM), "{signal}");
    }
    settling.signal_by("pilot", libc::SIGKILL).unwrap();
    settling.wait();
    until(|| entries(&site).is_empty());
    assert_eq!(site.read("/var/lib/site/log"), "begin\ndone\n");
}

#[test]
fn where_the_program_that_pays_is_missing_everybody_who_asks_for_it_is_told() {
    const SETTLE: &str = "/usr/libexec/glexec/glexec-settle";
    let site = Site::with_epilogue("job_variables = [\"JOB\"]");
    let running = site.glexec(["sleep", "20"]).env("JOB", "1").with_status().start();
    running.started();
    killed(running);
    let check = || site.program(["/usr/sbin/glexec-admin", "check"]).by("root").run();
    assert!(!check().output().contains("install it"));
    let broken = [
        (format!("mv {SETTLE} /tmp/kept"), format!("mv /tmp/kept {SETTLE}")),
        (format!("chmod 777 {SETTLE}"), format!("chmod 700 {SETTLE}")),
    ];
    for (damage, mend) in broken {
        site.program(["/bin/sh", "-c", &damage]).by("root").run().exited(0);
        let told = check();
        told.exited(1);
        assert!(told.output().contains(SETTLE) && told.output().contains("install it"), "{told:?}");
        let swept = admin(&site, &["sweep"]);
        assert_eq!(swept.code(), 2);
        let told = String::from_utf8_lossy(&swept.stderr).into_owned();
        assert!(told.contains(SETTLE), "{told}");
        site.program([GLEXEC, "--settle", "JOB=1"]).run().exited(202);
        let owed = entries(&site).into_iter().filter(|name| name.starts_with("run."));
        assert_eq!(owed.count(), 1);
        site.program(["/bin/sh", "-c", &mend]).by("root").run().exited(0);
    }
    assert_eq!(admin(&site, &["sweep"]).code(), 0);
    assert!(!entries(&site).iter().any(|name| name.starts_with("run.")));
}

#[test]
fn an_epilogue_that_was_not_trusted_is_still_owed_and_tried_again() {
    let site = Site::with_epilogue("");
    let running = site.glexec(["sh", "-c", "sleep 0.5; exit 42"]).with_status().start();
    running.started();
    site.mode(EPILOGUE, 0o777);
    running.wait().exited(202);
    assert_eq!(entries(&site).len(), 1);
    assert_eq!(admin(&site, &["sweep", "--now"]).code(), 1);
    let pausing = admin(&site, &["sweep"]);
    assert!(pausing.exited(1).output().contains("later"), "{pausing:#?}");
    site.mode(EPILOGUE, 0o755);
    sweep(&site);
    assert_eq!(told(&site.epilogues()[0]), ["lost", "42", "3"]);
    // After five attempts a person has to look.
    let running = site.glexec(["sh", "-c", "sleep 0.4; exit 42"]).with_status().start();
    running.started();
    site.mode(EPILOGUE, 0o777);
    running.wait().exited(202);
    for _ in 0..6 {
        assert_eq!(admin(&site, &["sweep", "--now"]).code(), 1);
    }
    assert!(entries(&site)[0].starts_with("aside.run."), "{:?}", entries(&site));
    let shown = admin(&site, &["ps"]);
    assert!(shown.exited(0).output().contains("aside"), "{shown:#?}");
}

const WITH_EPILOGUE: &str = "epilogue = \"/usr/libexec/site/epilogue\"";

/// What a run is called.
fn id_of(running: &Running<'_>) -> String {
    match running.record(|record| matches!(record, Record::Started { .. })) {
        Record::Started { run_id, .. } => run_id,
        other => panic!("{other:?}"),
    }
}

/// A run whose debt was set aside; its id.
fn set_aside(site: &Site) -> String {
    let running = site.glexec(["sleep", "20"]).with_status().start();
    running.started();
    let id = id_of(&running);
    killed(running);
    site.settings("");
    assert_eq!(admin(site, &["sweep"]).code(), 1);
    assert!(entries(site).iter().any(|name| name.starts_with("aside.")));
    assert!(site.epilogues().is_empty());
    id
}

#[test]
fn without_an_epilogue_in_the_configuration_a_debt_is_set_aside() {
    let site = Site::with_epilogue("");
    set_aside(&site);
}

#[test]
fn what_was_set_aside_is_tried_again_or_dropped_by_its_name_or_its_runs_id() {
    let site = Site::with_epilogue("");
    let [by_id, dropped] = [(); 2].map(|()| {
        site.settings(WITH_EPILOGUE);
        set_aside(&site)
    });
    let shown = admin(&site, &["ps"]);
    let text = shown.exited(0).output();
    let seconds = |word: &str| word.strip_suffix('s').is_some_and(|n| n.parse::<u64>().is_ok());
    assert!(text.starts_with("STATE ") && text.contains(&by_id), "{text}");
    assert_eq!(text.split_whitespace().filter(|word| seconds(word)).count(), 2, "{text}");
    for wrong in ["aside.run.1.2.3.4", "run", "1.2.3", ""] {
        for how in ["--retry", "--drop"] {
            let ran = admin(&site, &["sweep", how, wrong]);
            assert!(
                String::from_utf8_lossy(&ran.exited(2).stderr)
                    .contains("is no run that was set aside"),
                "{ran:#?}"
            );
        }
    }
    site.settings(WITH_EPILOGUE);
    assert_eq!(admin(&site, &["sweep"]).code(), 1, "what was set aside is nobody's to try");
    assert!(site.epilogues().is_empty());
    admin(&site, &["sweep", "--retry", &by_id]).exited(0);
    let told = site.epilogues();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].variable("GLEXEC_EPILOG_RUN_ID"), Some(by_id.as_str()));
    let [name] = &entries(&site)[..] else { panic!("{:?}", entries(&site)) };
    let bare = name.strip_prefix("aside.").unwrap();
    let ran = admin(&site, &["sweep", "--drop", bare, "--json"]);
    assert!(ran.exited(0).output().contains("\"dropped\""), "{ran:#?}");
    assert!(entries(&site).is_empty());
    assert_eq!(site.epilogues().len(), 1, "{dropped} is not run any more");
    assert!(site.log().iter().any(|line| line.contains(bare) && line.contains("dropped by hand")));
}

#[test]
fn a_debt_that_is_tried_again_by_hand_has_five_attempts_again() {
    let site = Site::with_epilogue("");
    let id = set_aside(&site);
    site.settings(WITH_EPILOGUE);
    site.mode(EPILOGUE, 0o777);
    admin(&site, &["sweep", "--retry", &id]).exited(1);
    for _ in 0..5 {
        assert!(entries(&site)[0].starts_with("run."), "{:?}", entries(&site));
        assert_eq!(admin(&site, &["sweep", "--now"]).code(), 1);
    }
    assert!(entries(&site)[0].starts_with("aside."), "{:?}", entries(&site));
}

#[test]
fn one_id_names_a_run_in_log_status_stream_epilogue_and_entry() {
    let site = Site::with_epilogue("");
    let running = site.glexec(["sh", "-c", "sleep 0.5; exit 3"]).with_status().start();
    running.started();
    let id = id_of(&running);
    let live = admin(&site, &["ps", "--json"]).output();
    assert!(live.contains(&format!("\"run_id\":\"{id}\"")), "{live}");
    let ran = running.wait();
    ran.exited(3);
    assert_eq!(site.epilogues()[0].variable("GLEXEC_EPILOG_RUN_ID"), Some(id.as_str()));
    let word = format!("run={id}");
    let lines = ran.log.iter().filter(|line| line.split(' ').any(|part| part == word));
    assert_eq!(lines.count(), 2, "begin and end: {ran:#?}");
    let other = site.glexec(["sleep", "0.3"]).with_status().start();
    assert_ne!(id_of(&other), id, "another run has another");
}

#[test]
fn files_that_are_none_of_ours_are_reported_and_kept() {
    let site = Site::with_epilogue("");
    let running = site.glexec(["sleep", "20"]).with_status().start();
    running.started();
    killed(running);
    let good = entries(&site).remove(0);
    let text = site.read(&format!("{STATE}/{good}"));
    let put =
        |name: &str, text: &[u8], mode: u32| site.file(&format!("{STATE}/{name}"), text, mode);
    put("run.1.garbage", b"\x00\xff garbage", 0o600);
    put("run.1.empty", b"", 0o600);
    put("run.1.truncated", &text.as_bytes()[..text.len() / 3], 0o600);
    put("run.1.future", b"{\"version\":99,\"what\":[]}\n", 0o600);
    put("run.1.readable", text.as_bytes(), 0o644);
    put("run.1.foreign", text.as_bytes(), 0o600);
    site.own(&format!("{STATE}/run.1.foreign"), (PILOT, 0));
    put("run.1.linked", text.as_bytes(), 0o600);
    let second = site.path(&format!("{STATE}/linked"));
    std::fs::hard_link(site.path(&format!("{STATE}/run.1.linked")), second).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", site.path(&format!("{STATE}/run.1.link"))).unwrap();
    site.directory(&format!("{STATE}/run.1.directory"), (0, 0), 0o700);
    site.program(["/usr/bin/mkfifo", "-m", "600", &format!("{STATE}/run.1.fifo")]).by("root").run();
    let start = Instant::now();
    let ran = admin(&site, &["sweep"]);
    assert!(start.elapsed() < Duration::from_secs(5));
    let shown = ran.exited(1).output();
    for name in [
        "garbage",
        "empty",
        "truncated",
        "future",
        "readable",
        "foreign",
        "link",
        "linked",
        "directory",
        "fifo",
    ] {
        let name = format!("run.1.{name}");
        assert!(
            shown.lines().any(|l| l.starts_with("odd") && l.contains(&name)),
            "{name} in {shown}"
        );
        assert!(entries(&site).contains(&name), "{name} is kept");
    }
    assert!(shown.contains("version 99"), "{shown}");
    assert!(!entries(&site).contains(&good), "the good one is paid: {shown}");
    assert_eq!(site.epilogues().len(), 1);
    assert!(site.read("/etc/passwd").contains("pilot"));
}

#[test]
fn a_state_directory_that_is_not_roots_alone_stops_a_run_that_owes_something() {
    let stopped = |site: &Site| {
        let ran = site.glexec(["sh", "-c", "echo started"]).with_status().run();
        ran.stopped(Reason::State);
        assert_eq!(ran.output(), "");
        assert!(site.epilogues().is_empty());
    };
    let site = Site::with_epilogue("");
    site.mode(STATE, 0o755);
    stopped(&site);
    let site = Site::with_epilogue("");
    site.own(STATE, (OTHER, 0));
    stopped(&site);
    site.glexec(["--check", "true"]).run().stopped(Reason::State);
    let site = Site::with_epilogue("state_dir = \"/var/lib/elsewhere\"");
    std::os::unix::fs::symlink(STATE, site.path("/var/lib/elsewhere")).unwrap();
    stopped(&site);
    let site = Site::with_epilogue("state_dir = \"/var/lib/fresh\"\nstate_sync = true");
    site.glexec(["actor", "exit", "42"]).run().exited(42);
    assert_eq!(
        std::fs::read_dir(site.path("/var/lib/fresh")).unwrap().count(),
        0,
        "made, and empty"
    );
    let site = Site::with_epilogue("");
    site.shell("mount -t tmpfs -o size=4k,mode=0700 tmpfs /var/lib/glexec && head -c 4096 /dev/zero > /var/lib/glexec/full; chmod 600 /var/lib/glexec/full").by("root").run().exited(0);
    stopped(&site);
}

#[test]
fn a_caller_has_no_more_runs_than_the_site_allows() {
    let site = Site::with_epilogue("max_runs_per_caller = 3");
    let runs: Vec<_> = (0..3).map(|_| site.glexec(["sleep", "1"]).with_status().start()).collect();
    for run in &runs {
        run.started();
    }
    let ran = site.glexec(["true"]).with_status().run();
    ran.stopped(Reason::TooManyRuns);
    site.glexec(["--check", "true"]).run().stopped(Reason::TooManyRuns);
    site.glexec(["true"]).by("busy").run().exited(0);
    for run in runs {
        run.wait().exited(0);
    }
    site.glexec(["true"]).run().exited(0);
}

/// What became of one job's epilogue: which attempts came to their end, and whether one of them was
/// a sweep's.
#[derive(Debug, Default)]
struct Paid {
    attempts: Vec<u32>,
    lost: bool,
}

fn paid(site: &Site) -> HashMap<String, Paid> {
    let mut all: HashMap<String, Paid> = HashMap::new();
    for line in site.read("/var/lib/site/paid").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [job, attempt, result] = words[..] else { panic!("{line:?}") };
        let of = all.entry(job.to_owned()).or_default();
        of.attempts.push(attempt.parse().unwrap());
        of.lost |= result == "lost";
    }
    all
}

#[test]
fn of_200_random_kills_under_a_load_of_16_nothing_is_lost_or_paid_twice_without_a_kill() {
    const LANES: usize = 16;
    const ROUNDS: usize = 13;
    let script = "#!/bin/sh\ncd /var/lib/site\nexec 9> lock.$GLEXEC_EPILOG_JOB_JOB\n\
        flock -n 9 || echo $GLEXEC_EPILOG_JOB_JOB >> beside\n\
        echo $GLEXEC_EPILOG_JOB_JOB $GLEXEC_EPILOG_ATTEMPT $GLEXEC_EPILOG_RESULT >> paid\n";
    let site = Site::with_epilogue_script(script, "job_variables = [\"JOB\"]\nkill_grace = 1");
    let quick = "sleep 0.05 & sleep 0.03; exit 3";
    // The jobs that owed something, and whether their glexec came to its own end.
    let expected = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            let (site, expected) = (&site, &expected);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let job = format!("{lane}.{round}");
                    let who = format!("payload{}", 1 + lane % 6);
                    // However slow the machine is, every third is killed while it owes something.
                    let certain = round % 3 == 0;
                    let script = if certain { "sleep 0.05 & sleep 20" } else { quick };
                    let call = site.glexec(["sh", "-c", script]);
                    let running =
                        call.env("JOB", &job).env("GLEXEC_TARGET_USER", &who).with_status().start();
                    let wait = (lane * 7919 + round * 104_729) % 90;
                    if certain {
                        running.started();
                    }
                    std::thread::sleep(Duration::from_millis(wait as u64));
                    let _ = running.signal_by("root", libc::SIGKILL);
                    let ran = running.wait();
                    // What was killed before it owed anything, or refused, owes nothing.
                    let owed = ran.code == Some(3) || !ran.records.is_empty();
                    if owed {
                        expected.lock().unwrap().push((job, ran.code == Some(3)));
                    }
                }
            });
        }
    });
    let deadline = Instant::now() + Duration::from_secs(60);
    while !entries(&site).is_empty() && Instant::now() < deadline {
        admin(&site, &["sweep", "--now"]);
    }
    assert_eq!(entries(&site), [""; 0]);
    let paid = paid(&site);
    let expected = expected.into_inner().unwrap();
    for (job, by_itself) in &expected {
        let Some(Paid { attempts, lost }) = paid.get(job) else { panic!("{job} is lost") };
        assert!(attempts.is_sorted_by(|a, b| a < b), "{job}: {attempts:?}");
        assert!(!by_itself || (attempts == &[1] && !lost), "{job}: {attempts:?}, {lost}");
    }
    assert_eq!(site.read("/var/lib/site/beside"), "", "two at a time");
    let debts = paid.values().filter(|paid| paid.lost).count();
    assert!(debts >= 80, "{debts} debts among {} runs", expected.len());
    for n in 1..=6 {
        assert_eq!(site.processes_of(harness::accounts::named(&format!("payload{n}")).uid), []);
    }
}

#[test]
fn what_was_never_finished_is_removed_once_it_is_old_and_not_before() {
    let site = Site::with_epilogue("");
    let name = format!("{STATE}/new.run.1.2.3.4");
    site.file(&name, "{", 0o600);
    admin(&site, &["sweep"]).exited(0);
    assert!(site.path(&name).exists(), "somebody may be at it");
    site.program(["/usr/bin/touch", "-d", "2 minutes ago", &name]).by("root").run().exited(0);
    admin(&site, &["ps"]).exited(0);
    assert!(site.path(&name).exists(), "ps changes nothing");
    admin(&site, &["sweep"]).exited(0);
    assert!(!site.path(&name).exists());
}
