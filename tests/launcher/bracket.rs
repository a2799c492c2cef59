//! Who is root, and when: between a raise and its lowering, and nowhere else.

use contract::Reason;
use harness::accounts::{EXTRA_GROUPS, GRID, KEEPERS, OTHER, PAYLOAD1, PILOT, WORK};
use harness::tamper::{Fault, Spot};
use harness::{ACTOR, GLEXEC, Limit, Ran, Running, Site};
use nix::errno::Errno;
use nix::sys::resource::Resource;
use std::collections::HashMap;

/// One system call, by whom, and with which effective uid it was begun.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) pid: i32,
    pub(crate) text: String,
    pub(crate) euid: u32,
}

impl Call {
    pub(crate) fn is(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.text.strip_prefix(name).is_some_and(|r| r.starts_with('(')))
    }
}

/// The system calls of a run of `pilot`'s, with what strace tells of its processes' uids.
pub(crate) fn traced(site: &Site, words: &[&str]) -> Vec<Call> {
    let strace = which::which("strace").expect("strace is missing: tests/run installs it");
    let call = site.program([strace.to_str().unwrap(), "-f", "-qq", "-s", "200"]);
    let call = call.words(["-o", "/tmp/uids", "-u", "pilot", GLEXEC]).words(words.iter().copied());
    let ran = call.by("root").with_status().with_control().run();
    let text = site.read("/tmp/uids");
    assert!(!text.is_empty(), "{ran:#?}");
    with_uids(&whole(&text))
}

/// Each call in one line, where another process's came between its begin and its end.
fn whole(text: &str) -> Vec<(i32, String)> {
    let mut begun = HashMap::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        let (pid, call) = line.split_once(' ').unwrap_or_default();
        let (pid, call) = (pid.parse().unwrap(), call.trim_start());
        if let Some(begin) = call.strip_suffix("<unfinished ...>") {
            begun.insert(pid, begin.trim_end().to_owned());
        } else if let Some((_, end)) = call.split_once(" resumed>") {
            lines.push((pid, begun.remove(&pid).unwrap_or_default() + end));
        } else {
            lines.push((pid, call.to_owned()));
        }
    }
    lines
}

fn with_uids(lines: &[(i32, String)]) -> Vec<Call> {
    let result = |text: &str| text.rsplit_once("= ")?.1.split(' ').next()?.parse::<i32>().ok();
    let is_fork = |text: &str| ["fork(", "vfork(", "clone("].iter().any(|f| text.starts_with(f));
    let births = lines.iter().filter(|(_, text)| is_fork(text));
    let parents: HashMap<i32, i32> =
        births.filter_map(|(pid, text)| Some((result(text)?, *pid))).collect();
    let mut euids: HashMap<i32, u32> = HashMap::new();
    let mut calls = Vec::new();
    for (pid, text) in lines {
        // A child may be heard of before its parent's fork has come back.
        let parents = parents.get(pid).and_then(|parent| euids.get(parent)).copied();
        let euid = *euids.entry(*pid).or_insert(parents.unwrap_or(PILOT));
        calls.push(Call { pid: *pid, text: text.clone(), euid });
        let done = result(text) == Some(0);
        let words: Vec<&str> = text.split(['(', ',', ')']).map(str::trim).collect();
        if words[0] == "setresuid" && done && words[2] != "-1" {
            euids.insert(*pid, words[2].parse().unwrap());
        }
        // A child has what its parent had then: when it is heard of, its parent may be lowered again.
        if is_fork(text) {
            result(text).map(|child| euids.entry(child).or_insert(euid));
        }
        if words[0] == "execve" && done && text.contains(GLEXEC) {
            euids.insert(*pid, 0);
        }
    }
    calls
}

/// A value in /proc/PID/status.
pub(crate) fn status(pid: i32, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The same id, four times.
pub(crate) fn all_four(id: u32) -> String {
    [id.to_string().as_str(); 4].join(" ")
}

#[test]
fn every_raise_is_lowered_again_and_what_is_the_callers_is_done_as_the_caller() {
    let site = Site::new();
    let calls = traced(&site, &["--status-fd=9", "--control-fd=8", "actor", "exit", "3"]);
    let first = calls[0].pid;
    let fork = calls.iter().position(|c| c.pid == first && c.is(&["fork", "vfork", "clone"]));
    let before: Vec<&Call> =
        calls[..fork.expect("a payload")].iter().filter(|call| call.pid == first).collect();
    // Lowered by the threshold, and raised and lowered in turn from then on; the fork is root's.
    let switches: Vec<&&Call> = before.iter().filter(|call| call.is(&["setresuid"])).collect();
    let [lowers, turns @ ..] = &switches[..] else { panic!("{before:#?}") };
    assert!(lowers.text.starts_with(&format!("setresuid(-1, {PILOT}, 0)")), "{lowers:#?}");
    assert!(turns.len() >= 3, "{turns:#?}");
    for pair in turns.windows(2) {
        let euids = [pair[0].euid, pair[1].euid];
        let raised_and_lowered = euids.contains(&0) && (euids[0] != 0 || euids[1] != 0);
        // As the target a command is looked for, within one raise.
        let looks = pair.iter().any(|call| call.text.contains(&PAYLOAD1.to_string()));
        assert!(raised_and_lowered || looks, "{pair:#?}");
    }
    for named in ["/proc/self/fd/9", "/proc/self/fd/8"] {
        let opened = before.iter().find(|c| c.text.contains(named) && c.text.starts_with("open"));
        assert_eq!(opened.map(|call| call.euid), Some(PILOT), "{named}: {before:#?}");
    }
    let child = calls.iter().find(|c| c.pid != first && c.is(&["read", "poll", "ppoll"]));
    let child = child.expect("it waits to be the payload");
    assert_eq!(child.euid, PILOT, "{child:#?}");
}

#[test]
fn a_caller_names_nothing_that_only_root_could_reach() {
    let site = Site::with("hand_over = [\"D\"]\nworking_directory = \"caller\"");
    let mine = "/home/payload2/mine";
    site.directory(mine, (PILOT, PILOT), 0o755);
    site.file("/home/payload2/tool", "#!/bin/sh\nexit 7\n", 0o755);
    let started = ["sh", "-c", "echo started"];
    let ran = site.glexec(started).env("D", mine).with_status().run();
    ran.stopped(Reason::HandOver).exited(201);
    let ran = site.glexec(["/home/payload2/tool"]).with_status().run();
    ran.stopped(Reason::CommandNotExecutable).exited(201);
    // Where the caller may go, the same is handed over and run.
    site.mode("/home/payload2", 0o755);
    site.glexec(started).env("D", mine).run().exited(0);
    site.glexec(["/home/payload2/tool"]).run().exited(7);
}

#[test]
fn a_command_is_looked_for_with_the_targets_ids_and_groups_and_no_other() {
    let site = Site::new();
    for (group, code) in [(EXTRA_GROUPS[0], 7), (PAYLOAD1, 7), (GRID, 201), (PILOT, 201), (0, 201)]
    {
        site.file("/usr/local/bin/tool", "#!/bin/sh\nexit 7\n", 0o750);
        site.own("/usr/local/bin/tool", (0, group));
        let ran = site.glexec(["/usr/local/bin/tool"]).with_status().run();
        assert_eq!(ran.code(), code, "group {group}: {ran:#?}");
    }
}

#[test]
fn a_command_in_a_directory_that_is_handed_over_is_looked_for_as_the_caller() {
    let site = Site::with("hand_over = [\"D\"]");
    let directory = "/var/lib/site/scratch";
    site.directory(directory, (PILOT, PILOT), 0o755);
    let tool = format!("{directory}/tool");
    site.file(&tool, "#!/bin/sh\nexit 7\n", 0o700);
    for (owner, code) in [(PILOT, 7), (OTHER, 201)] {
        site.own(&tool, (owner, owner));
        let ran = site.glexec([tool.as_str()]).env("D", directory).run();
        assert_eq!(ran.code(), code, "{owner}: {ran:#?}");
    }
}

fn lingers(site: &Site) -> (Running<'_>, i32, i32) {
    let call = site.glexec(["sleep", "300"]).with_status().with_control();
    let running = call.limited(Limit::Soft(Resource::RLIMIT_CORE, 1 << 20)).start();
    let (glexec, payload) = running.started();
    (running, glexec, payload)
}

#[test]
fn a_lingering_glexec_has_the_ids_of_the_table_and_writes_no_core() {
    let core = |pid: i32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = text.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        line.split_whitespace().nth(4).unwrap().to_owned()
    };
    let owed = format!("epilogue = \"{}\"", harness::EPILOGUE);
    let root = |caller: u32| format!("{caller} 0 0 0");
    for (lines, uids, gid, groups) in
        [("", root(PILOT), PILOT, GRID.to_string()), (&owed, root(0), 0, String::new())]
    {
        let site = Site::with(lines);
        // A setgid bit gives nothing.
        site.own(GLEXEC, (0, KEEPERS));
        site.mode(GLEXEC, 0o6755);
        let (running, glexec, payload) = lingers(&site);
        assert_eq!(status(glexec, "Uid"), uids, "{lines}");
        assert_eq!(status(glexec, "Gid"), all_four(gid), "{lines}");
        assert_eq!(status(glexec, "Groups"), groups, "{lines}");
        assert_eq!((core(glexec), core(payload)), ("0".to_owned(), (1 << 20).to_string()));
        running.order("KILL");
        running.wait().exited(137);
    }
}

/// Runs glexec with each call of this name in its first process told to have given `value`.
fn lies(site: &Site, (call, value): (&str, i64), hostile: bool) -> Vec<Ran> {
    let run = |spot: Option<&Spot>| {
        let call = site.tamper(spot, "pilot", &[GLEXEC, "actor", "look"]);
        if hostile { call.securebits(0x4).run() } else { call.run() }
    };
    run(None).exited(0);
    let calls = site.tampering().unwrap().calls.remove("glexec").unwrap();
    let count = calls.iter().filter(|made| *made == call).count();
    let spots = (1..=count).map(|nth| Spot {
        process: "glexec".to_owned(),
        call: call.to_owned(),
        nth,
        fault: Fault::Gives(value),
    });
    let runs = spots.map(|spot| {
        let ran = run(Some(&spot));
        assert!(site.tampering().unwrap().struck.is_some(), "{spot}");
        ran
    });
    runs.collect()
}

#[test]
fn who_is_said_to_be_immune_and_is_not_does_not_start_a_payload() {
    let site = Site::with_epilogue("");
    let runs = lies(&site, ("setresuid", 0), false);
    // The last one takes the real uid; before it, root's effective uid is taken for that.
    let last = runs.last().expect("calls");
    assert_eq!((last.code(), last.output().as_str()), (202, ""), "{last:#?}");
}

#[test]
fn descriptors_that_are_said_to_be_replaced_and_are_not_end_the_run() {
    let site = Site::with_epilogue("");
    let mut stopped = 0;
    for call in ["dup2", "dup3"] {
        // 0 is /dev/null in any case; 1 and 2 are pipes.
        let runs = lies(&site, (call, 1), false);
        stopped += runs.iter().filter(|ran| ran.code() == 202 && ran.stdout.is_empty()).count();
    }
    assert_eq!(stopped, 2);
}

#[test]
fn capabilities_that_survive_a_lie_about_securebits_end_the_run() {
    let site = Site::with("linger = false");
    let runs = lies(&site, ("prctl", 0), true);
    let refused = runs.iter().filter(|ran| ran.code() == 202 && ran.stdout.is_empty()).count();
    // That there are none to be cleared, and that they are.
    assert_eq!(refused, 2, "{runs:#?}");
    let others = runs.iter().filter(|ran| ran.code() == 0);
    others.for_each(|ran| assert_eq!(ran.look().capabilities[..3], [0; 3]));
}

#[test]
fn who_ends_an_account_and_is_still_root_ends_nobody() {
    let site = Site::alone("");
    site.config(
        "[glexec]\nuser_white_list = [\"pilot\"]\nkill_grace = 1\n[mapping]\nmethods = [\"pool\"]\n\
         [[mapping.pool]]\ncaller = \"pilot\"\naccounts = \"work[001-001]\"\n",
    );
    // In a pid namespace of its own: who is root and kills everybody it may, kills everybody. The
    // account has a process that is not in the run's tree.
    let account = WORK + 1;
    let script = format!(
        "sleep 300 & bystander=$!\n\
         {ACTOR} tamper \"$SPOT\" pilot {GLEXEC} sh -c 'touch /tmp/up; while [ ! -e /tmp/go ]; do sleep 0.02; done' & run=$!\n\
         while [ ! -e /tmp/up ]; do sleep 0.02; done\n\
         setpriv --reuid {account} --regid {account} --clear-groups sleep 300 & its=$!\n\
         while ! grep -q '^Uid:.{account}' /proc/$its/status; do sleep 0.02; done\n\
         touch /tmp/go; wait $run\n\
         kill -0 $its 2>/dev/null && echo the account lives\n\
         kill -0 $bystander && echo the bystander lives; kill -9 $bystander $its; true\n"
    );
    let run = |spot: &str| {
        for file in ["/tmp/up", "/tmp/go"] {
            let _ = std::fs::remove_file(site.path(file));
        }
        let words = ["/usr/bin/unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let call = site.program(words).words(["sh", "-c", &script]).env("SPOT", spot);
        call.by("root").run()
    };
    let ran = run("nothing");
    assert_eq!(ran.output(), "the bystander lives\n", "{ran:#?}");
    let told = site.tampering().unwrap();
    let kills =
        |calls: &Vec<String>| ["setresuid", "kill"].iter().all(|c| calls.iter().any(|m| m == c));
    let mut killers = told.calls.iter().filter(|(name, calls)| *name != "glexec" && kills(calls));
    let (killer, _) = killers.next().unwrap_or_else(|| panic!("{told:#?}"));
    for fault in ["gives-0", "EPERM"] {
        let ran = run(&format!("{killer}:setresuid:1:{fault}"));
        let struck = site.tampering().unwrap().struck;
        assert!(struck.is_some(), "{ran:#?}");
        assert_eq!(ran.output(), "the bystander lives\n", "{struck:?}: {ran:#?}");
    }
}

#[test]
fn a_glexec_that_cannot_be_lowered_ends() {
    let site = Site::new();
    let run = |spot: Option<&Spot>| {
        site.tamper(spot, "pilot", &[GLEXEC, "--check", "actor", "look"]).run()
    };
    run(None).exited(0);
    let calls = site.tampering().unwrap().calls.remove("glexec").unwrap();
    let switches = calls.iter().filter(|call| *call == "setresuid").count();
    assert!(switches >= 5, "{calls:?}");
    // Which of them raise, and which lower.
    let strace = ["/usr/bin/strace", "-qq", "-e", "setresuid", "-o", "/tmp/ids", "-u", "pilot"];
    let words = strace.iter().copied().chain([GLEXEC, "--check", "actor", "look"]);
    site.program(words).by("root").run().exited(0);
    let ids = site.read("/tmp/ids");
    let raises: Vec<bool> = ids.lines().map(|line| line.contains("(-1, 0, -1)")).collect();
    assert_eq!(raises.len(), switches, "{ids}");
    for (at, raises) in raises.into_iter().enumerate() {
        let (process, call) = ("glexec".to_owned(), "setresuid".to_owned());
        let spot = Spot { process, call, nth: at + 1, fault: Fault::Fails(Errno::EAGAIN) };
        let ran = run(Some(&spot));
        // A line that cannot be sent as root is sent as the caller.
        assert!(ran.code() == 202 || raises && ran.code() == 0, "{spot}: {ran:#?}");
    }
}
