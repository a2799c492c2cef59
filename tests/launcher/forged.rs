//! What a sweep believes: nobody is signalled by a number that says nothing, and whoever is ended is
//! asked first.

use crate::siege::Locked;
use harness::accounts::{PAYLOAD1, PILOT};
use harness::{EPILOGUE, GLEXEC, Process, Ran, Running, Site, raw};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const STATE: &str = "/var/lib/glexec";

fn admin(site: &Site, words: &[&str]) -> Ran {
    let call = site.program(["/usr/sbin/glexec-admin"]).words(words).by("root");
    call.within_time(Duration::from_secs(60)).run()
}

fn entries(site: &Site) -> Vec<String> {
    let list = std::fs::read_dir(site.path(STATE)).unwrap();
    let names = list.map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("run.")).collect()
}

fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !happened() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A run of `pilot`'s with this payload, killed by root; its entry stays.
fn lost(site: &Site, payload: &str) {
    let call = site.glexec(["sh", "-c", payload]).env("JOB", "1");
    let running = call.with_status().start();
    running.says("up");
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
}

/// The entry that a lost run has left: its name and its lines.
fn left(site: &Site) -> (String, Vec<Value>) {
    lost(site, "echo up; exec sleep 300");
    let name = entries(site).remove(0);
    let text = site.read(&format!("{STATE}/{name}"));
    (name, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn put(site: &Site, name: &str, lines: &[Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    site.file(&format!("{STATE}/{name}"), text, 0o600);
}

/// When a process was born, as an entry has it.
fn birth(pid: i32) -> Value {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after = text.rsplit_once(')').unwrap().1;
    let start: u64 = after.split_whitespace().nth(19).unwrap().parse().unwrap();
    json!({"pid": pid, "start": start})
}

fn lives(pid: i32) -> bool {
    Process::of(pid).is_some_and(|process| !process.is_zombie())
}

/// Somebody's process that leads its own group and session.
fn bystander<'s>(site: &'s Site, who: &str) -> Running<'s> {
    let running = site.program(["/bin/sh", "-c", "echo up; exec sleep 300"]).by(who).start();
    running.says("up");
    running
}

/// A process whose group's and session's leader is gone: the leader's pid, and its own.
fn orphan(site: &Site, who: &str, variable: Option<i32>) -> (i32, i32) {
    let script = "sleep 300 </dev/null >/dev/null 2>&1 & echo $$ $!";
    let call = site.program(["/bin/sh", "-c", script]).by(who);
    let call = match variable {
        Some(pid) => call.env("GLEXEC_EPILOG_GLEXEC_PID", &pid.to_string()),
        None => call,
    };
    let ran = call.run();
    let pids: Vec<i32> = ran.output().split_whitespace().map(|n| n.parse().unwrap()).collect();
    // Until it has executed sleep it is a shell, with the same environment.
    until("it sleeps", || Process::of(pids[1]).is_some_and(|process| process.name == "sleep"));
    (pids[0], pids[1])
}

#[test]
fn an_entry_whose_numbers_are_not_its_own_has_nobody_signalled() {
    let site = Site::with_epilogue("kill_grace = 1");
    let (name, lines) = left(&site);
    let forged = |payload: &Value, change: &dyn Fn(&mut Value)| {
        let mut lines = lines.clone();
        lines.retain(|line| line["phase"].is_null() || line["phase"] == "started");
        lines[1]["payload"] = payload.clone();
        change(&mut lines[0]);
        put(&site, &name, &lines);
        let before = site.epilogues().len();
        admin(&site, &["sweep", "--now"]).exited(0);
        assert_eq!(site.epilogues().len(), before + 1, "it is paid all the same");
    };
    let same = |_: &mut Value| {};
    let targets = bystander(&site, "payload1");
    let others = bystander(&site, "other");
    let (leader, member) = orphan(&site, "payload1", None);
    let its = birth(targets.pid());
    forged(&its, &|entry| entry["place"]["boot"] = json!("another"));
    assert!(lives(targets.pid()), "by an entry of another boot");
    forged(&its, &|entry| entry["place"]["pid_namespace"] = json!(1));
    assert!(lives(targets.pid()), "by an entry of another pid namespace");
    let before = its["start"].as_u64().unwrap() - 1;
    forged(&json!({"pid": targets.pid(), "start": before}), &same);
    assert!(lives(targets.pid()), "who has got the payload's pid since");
    let after = birth(member)["start"].as_u64().unwrap() + 1;
    forged(&json!({"pid": leader, "start": after}), &same);
    assert!(lives(member), "who is older than the payload, in the group of its number");
    forged(&birth(others.pid()), &same);
    assert!(lives(others.pid()), "who is not of the target's uid");
    // And by the right numbers both are ended.
    forged(&json!({"pid": leader, "start": after - 1}), &same);
    assert!(!lives(member), "the group's");
    forged(&its, &same);
    assert!(!lives(targets.pid()), "the payload itself");
}

#[test]
fn the_session_of_a_lost_epilogue_is_ended_where_it_knows_of_the_run_and_not_otherwise() {
    let site = Site::with_epilogue("kill_grace = 1");
    let (name, mut lines) = left(&site);
    let glexec = i32::try_from(lines[0]["glexec"]["pid"].as_i64().unwrap()).unwrap();
    lines.truncate(2);
    for (variable, survives) in [(None, true), (Some(glexec + 1), true), (Some(glexec), false)] {
        let (leader, member) = orphan(&site, "root", variable);
        let start = birth(member)["start"].clone();
        let epilogue = json!({"pid": leader, "start": start});
        let attempt = json!({"phase": "attempt", "number": 1, "at": 0, "epilogue": epilogue});
        put(&site, &name, &[&lines[..], &[attempt]].concat());
        admin(&site, &["sweep", "--now"]).exited(0);
        assert_eq!(lives(member), survives, "{variable:?}");
    }
    assert_eq!(site.epilogues().len(), 3);
}

#[test]
fn what_is_left_of_a_lost_payload_hears_term_in_a_sweep_stopped_or_not() {
    let site = Site::with_epilogue("kill_grace = 20");
    let heeds = |name: &str| {
        format!(
            "(trap 'sleep 0.3; echo {name} >> /tmp/heard; exit 0' TERM; \
             sh -c 'echo $PPID' > /tmp/{name}.new; mv /tmp/{name}.new /tmp/{name}; \
             while :; do sleep 0.05; done) & "
        )
    };
    let payload = heeds("runs")
        + &heeds("stopped")
        + "while ! [ -e /tmp/runs -a -e /tmp/stopped ]; do sleep 0.02; done; echo up; sleep 300";
    lost(&site, &payload);
    // Stopped from outside: a group that is orphaned with a stopped process in it has a HUP.
    let stopped: i32 = site.read("/tmp/stopped").trim().parse().unwrap();
    raw::kill(stopped, libc::SIGSTOP).unwrap();
    until("it is stopped", || Process::of(stopped).is_some_and(|process| process.state == 'T'));
    let start = Instant::now();
    admin(&site, &["sweep", "--now"]).exited(0);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    let text = site.read("/tmp/heard");
    let mut heard: Vec<&str> = text.lines().collect();
    heard.sort_unstable();
    assert_eq!(heard, ["runs", "stopped"]);
    assert_eq!(site.processes_of(PAYLOAD1), []);
}

#[test]
fn a_sweep_runs_no_epilogue_for_whoever_could_change_it_today() {
    let site = Site::with_epilogue("");
    lost(&site, "echo up; exec sleep 300");
    for identity in ["epilogue_user = \"payload1\"", "epilogue_group = \"grid\""] {
        site.settings(&format!("epilogue = \"{EPILOGUE}\"\n{identity}"));
        let ran = admin(&site, &["sweep", "--now"]);
        ran.exited(1);
        assert!(ran.output().starts_with("owed"), "{ran:#?}");
        assert!(site.epilogues().is_empty(), "{identity}");
    }
    site.settings(&format!("epilogue = \"{EPILOGUE}\""));
    admin(&site, &["sweep", "--now"]).exited(0);
    assert_eq!(site.epilogues().len(), 1);
}

#[test]
fn attempts_of_the_caller_cost_root_none_and_who_asks_for_one_job_waits_for_no_pause() {
    let site = Site::with_epilogue("job_variables = [\"JOB\"]");
    lost(&site, "echo up; exec sleep 300");
    let result = |words: &[&str]| {
        let ran = admin(&site, words);
        ran.output().split_whitespace().next().unwrap_or("nothing").to_owned()
    };
    site.mode(EPILOGUE, 0o777);
    for _ in 0..3 {
        site.program([GLEXEC, "--settle", "JOB=1"]).run().exited(202);
    }
    assert_eq!(result(&["sweep"]), "owed", "root's first attempt is due at once");
    assert_eq!(result(&["sweep"]), "later", "its second is not");
    assert_eq!(
        result(&["sweep", "--job", "JOB=1"]),
        "owed",
        "but where this very job is asked for"
    );
    site.mode(EPILOGUE, 0o755);
    assert_eq!(result(&["sweep", "--job", "JOB=1"]), "paid");
    assert_eq!(site.epilogues().len(), 1);
}

#[test]
fn what_was_set_aside_is_paid_by_no_sweep() {
    let site = Site::with_epilogue("");
    lost(&site, "echo up; exec sleep 300");
    let name = entries(&site).remove(0);
    let path = |name: &str| site.path(&format!("{STATE}/{name}"));
    std::fs::rename(path(&name), path(&format!("aside.{name}"))).unwrap();
    admin(&site, &["sweep", "--now"]).exited(1);
    assert_eq!(entries(&site), [format!("aside.{name}")]);
    assert!(site.epilogues().is_empty());
}

#[test]
fn with_state_sync_the_entry_and_its_name_are_on_the_disk_before_the_run_goes_on() {
    let strace = which::which("strace").expect("strace is missing: tests/run installs it");
    for (lines, entry, names) in [("state_sync = true", 5, 1), ("state_sync = false", 0, 0)] {
        let site = Site::with_epilogue(lines);
        let call = site.program([strace.to_str().unwrap(), "-f", "-y", "-qq", "-o", "/tmp/sync"]);
        let call = call.words(["-e", "trace=fsync,fdatasync,syncfs", "-u", "pilot", GLEXEC]);
        call.words(["actor", "exit", "7"]).by("root").run().exited(7);
        let text = site.read("/tmp/sync");
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!(count(&format!("<{STATE}>")), names, "the directory: {text}");
        // The begin, the payload and its end, the epilogue and its end.
        assert_eq!(count("run.42001.42002."), entry, "{text}");
    }
}

#[test]
fn no_epilogue_runs_beside_one_that_cannot_be_ended() {
    let script = "#!/bin/sh\necho begin >> /var/lib/site/log\nexec cat < /var/lib/site/fifo\n";
    let site = Site::with_epilogue_script(script, "kill_grace = 1");
    site.program(["/usr/bin/mkfifo", "/var/lib/site/fifo"]).by("root").run().exited(0);
    let fifo = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(site.path("/var/lib/site/fifo"))
        .unwrap();
    let running = site.glexec(["true"]).with_status().start();
    until("the epilogue reads", || {
        site.processes_of(0).iter().any(|process| process.name == "cat")
    });
    // It dies in the kernel, at the last close of its stdin, and is not dead for that.
    let locked = Locked::new(fifo.into());
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    let ran = admin(&site, &["sweep", "--now"]);
    assert!(ran.exited(1).output().contains("cannot be ended"), "{ran:#?}");
    assert_eq!(site.read("/var/lib/site/log"), "begin\n");
    drop(locked);
    site.epilogue("#!/bin/sh\necho again >> /var/lib/site/log\n");
    admin(&site, &["sweep", "--now"]).exited(0);
    assert_eq!(site.read("/var/lib/site/log"), "begin\nagain\n");
}

#[test]
fn a_directory_whose_file_system_went_with_its_boot_is_owed_no_more() {
    let site = Site::with_epilogue("hand_over = [\"D\"]");
    let (place, directory) = ("/var/lib/site/scratch", "/var/lib/site/scratch/d");
    site.directory(place, (PILOT, PILOT), 0o755);
    let mount =
        format!("mount -t tmpfs tmpfs {place} && install -d -o {PILOT} -g {PILOT} {directory}");
    site.shell(&mount).by("root").run().exited(0);
    let call = site.glexec(["sh", "-c", "echo up; exec sleep 300"]).env("D", directory);
    let running = call.with_status().start();
    running.says("up");
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    site.shell(&format!("umount {place}")).by("root").run().exited(0);
    let ran = admin(&site, &["sweep", "--now"]);
    assert!(ran.exited(1).output().starts_with("owed"), "it may be mounted again: {ran:#?}");
    let name = entries(&site).remove(0);
    let text = site.read(&format!("{STATE}/{name}"));
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(text.contains(boot.trim()), "{text}");
    site.file(&format!("{STATE}/{name}"), text.replace(boot.trim(), "another"), 0o600);
    admin(&site, &["sweep", "--now"]).exited(0);
    assert_eq!(entries(&site), [""; 0]);
}
