//! Sandboxes whose account is one of a pool's: one run of glexec holds it from setup to cleanup.

use crate::starter::{
    EXECUTE, PILOTS, Run, SANDBOX, fill, job, look, moving, program, put, wait_for,
};
use harness::accounts::{PILOT, WORK};
use harness::{ACTOR, EPILOGUE, GLEXEC, Limit, Look, Ran, Site, raw};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::Resource;
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use std::fs;
use std::io::{IoSlice, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const SECOND: &str = "/var/lib/condor/execute/dir_4712";
const SOCKET: &str = "/var/lib/condor/execute/dir_4711.condor/.condor_glexec.socket";

/// A site that maps the pilot to a pool of so many accounts, and has a job's sandbox.
fn pool_of(size: u32) -> Site {
    let site = Site::alone("");
    site.config(&format!(
        "[glexec]\nuser_white_list = [\"pilot\"]\nkill_grace = 5\nepilogue = \"{EPILOGUE}\"\n\
         [mapping]\nmethods = [\"pool\"]\n[[mapping.pool]]\ncaller = \"pilot\"\n\
         accounts = \"work[001-{size:03}]\"\n"
    ));
    fill(&site);
    site
}

fn prepared() -> Site {
    let site = pool_of(1);
    moving(&site, "setup").exited(0);
    site
}

fn second(site: &Site, name: &str) -> Ran {
    program(site, name, &[GLEXEC, "", SECOND, "1", "0"]).run()
}

/// Waits until something is so.
fn until(site: &Site, what: &str, is_so: impl Fn() -> bool) {
    let deadline = raw::now_ns() + 20_000_000_000;
    while !is_so() {
        assert!(raw::now_ns() < deadline, "{what}: never; {:#?}", site.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What the one epilogue that there was was told.
fn the_epilogue(site: &Site) -> Look {
    let mut all = site.epilogues();
    assert_eq!(all.len(), 1, "{:#?}", site.log());
    all.remove(0)
}

fn told(look: &Look, name: &str) -> String {
    let name = format!("GLEXEC_EPILOG_{name}=");
    let value = look.environment.iter().find_map(|entry| entry.strip_prefix(name.as_str()));
    value.unwrap_or_default().to_owned()
}

/// The process of the site that has this word of its command line.
fn process(site: &Site, word: &str) -> i32 {
    let has = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(word.as_bytes())
    };
    let found: Vec<i32> = site.processes().into_iter().filter(has).collect();
    assert_eq!(found.len(), 1, "{word}: {found:?}");
    found[0]
}

fn kill(site: &Site, pid: &str, signal: Signal) -> i32 {
    let number = (signal as i32).to_string();
    let proxy = format!("{PILOTS}/x509");
    program(site, "kill", &[GLEXEC, &proxy, pid, &number, "0", "0"]).run().code()
}

fn state_of(pid: &str) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

#[test]
fn every_call_of_a_sandbox_has_the_same_account_and_the_last_one_the_epilogue() {
    let site = prepared();
    let account = look(&site, SANDBOX).0;
    assert_eq!(account, WORK + 1);
    assert_eq!(look(&site, &format!("{SANDBOX}/input")).0, account);
    let script =
        "id -u > who; cat > output; echo $$ > pid; while [ ! -e go ]; do sleep 0.05; done; exit 7";
    let run = job(&site, script);
    let pid = wait_for(&site, &format!("{SANDBOX}/pid"));
    assert_eq!(kill(&site, &pid, Signal::SIGURG), 0);
    let new = "/home/pilot/new-proxy";
    site.file(new, "the new proxy\n", 0o600);
    site.own(new, (PILOT, PILOT));
    program(&site, "update_proxy", &[GLEXEC, new, "x509", SANDBOX]).run().exited(0);
    assert_eq!(look(&site, &format!("{SANDBOX}/x509")), (account, 0o600));
    assert_eq!(site.read(&format!("{PILOTS}/x509")), "the new proxy\n");
    site.file(&format!("{SANDBOX}/go"), "", 0o644);
    run.glexec.wait().exited(7);
    assert_eq!(site.epilogues().len(), 0, "the account is held");
    moving(&site, "cleanup").exited(0);
    assert_eq!(look(&site, SANDBOX), (PILOT, 0o755));
    assert_eq!(site.read(&format!("{SANDBOX}/who")), format!("{account}\n"));
    assert_eq!(site.read(&format!("{SANDBOX}/output")), "six\n");
    assert!(!site.path(PILOTS).exists());
    assert!(!site.path(&format!("{SANDBOX}/.condor_glexec.socket")).exists());
    // cleanup has waited for it.
    let epilogue = the_epilogue(&site);
    let as_told = ["TARGET_UID", "TARGET_RC", "RESULT"].map(|name| told(&epilogue, name));
    assert_eq!(as_told, [account.to_string(), "7".to_owned(), "exited".to_owned()]);
    assert!(site.processes_of(account).is_empty());
    // The pool has this one account, and it is free again.
    moving(&site, "setup").exited(0);
    moving(&site, "cleanup").exited(0);
    assert_eq!(told(&site.epilogues()[1], "TARGET_RC"), "0", "no job");
}

#[test]
fn the_epilogue_is_told_of_the_signal_that_the_job_died_of() {
    let site = prepared();
    job(&site, "kill -SEGV $$").glexec.wait().exited(139);
    moving(&site, "cleanup").exited(0);
    let epilogue = the_epilogue(&site);
    let as_told = ["TARGET_SIGNAL", "TARGET_RC", "RESULT"].map(|name| told(&epilogue, name));
    assert_eq!(as_told, ["11", "139", "killed"]);
}

#[test]
fn a_jobs_own_202_is_no_refusal_of_glexecs() {
    let site = prepared();
    job(&site, "exit 202").glexec.wait().exited(204);
    moving(&site, "cleanup").exited(0);
    assert_eq!(told(&the_epilogue(&site), "TARGET_RC"), "202");
}

#[test]
fn two_sandboxes_have_two_accounts_and_a_third_waits_for_one() {
    let site = pool_of(2);
    moving(&site, "setup").exited(0);
    let make = |path: &str| {
        site.directory(path, (PILOT, PILOT), 0o755);
        site.file(&format!("{path}/input"), "two\n", 0o600);
        site.own(&format!("{path}/input"), (PILOT, PILOT));
    };
    make(SECOND);
    second(&site, "setup").exited(0);
    assert_eq!([SANDBOX, SECOND].map(|path| look(&site, path).0), [WORK + 1, WORK + 2]);
    let third = format!("{EXECUTE}/dir_4713");
    make(&third);
    let ran = program(&site, "setup", &[GLEXEC, "", &third, "1", "0"]).run();
    assert!(ran.exited(3).error().contains("all 2 accounts"), "{ran:#?}");
    assert_eq!(look(&site, &format!("{third}/input")).0, PILOT, "it is where it was");
    second(&site, "cleanup").exited(0);
    program(&site, "setup", &[GLEXEC, "", &third, "0", "0"]).run().exited(0);
    assert_eq!(look(&site, &third).0, WORK + 2);
    assert_eq!(look(&site, SANDBOX).0, WORK + 1);
    program(&site, "cleanup", &[GLEXEC, "", &third, "0", "0"]).run().exited(0);
    moving(&site, "cleanup").exited(0);
    assert_eq!(site.epilogues().len(), 3);
}

/// The pilot can kill it, and so can a node that is out of memory.
#[test]
fn where_the_process_that_holds_the_account_is_killed_the_job_ends_and_nothing_is_left_of_it() {
    let site = prepared();
    let run = job(&site, "trap 'exit 5' TERM; echo $$ > pid; while :; do sleep 0.05; done");
    wait_for(&site, &format!("{SANDBOX}/pid"));
    raw::kill_as((PILOT, PILOT), process(&site, "hold"), libc::SIGKILL).unwrap();
    run.glexec.wait().exited(5);
    until(&site, "an epilogue", || site.epilogues().len() == 1);
    let epilogue = the_epilogue(&site);
    assert_eq!(["TARGET_RC", "RESULT"].map(|name| told(&epilogue, name)), ["5", "exited"]);
    assert!(!site.path(SANDBOX).exists(), "the account's next user would find it");
    let ran = moving(&site, "cleanup");
    assert!(ran.exited(1).error().contains("is gone"), "{ran:#?}");
    let mut run = Run::start(&site, &["-", "-", "-", "/bin/true"]);
    assert!(!run.hello());
    assert!(run.glexec.wait().exited(1).error().contains("cannot be asked"));
    assert_eq!(kill(&site, "999999999", Signal::SIGTERM), 2);
    assert_eq!(site.epilogues().len(), 1, "nothing of this has taken another account");
}

#[test]
fn a_sandbox_whose_starter_has_ended_is_given_up() {
    let site = pool_of(1);
    let setup = format!("/usr/libexec/glexec/condor_glexec_setup {GLEXEC} x509 {SANDBOX} 0 0");
    let script = format!("{setup} && echo up; read line");
    let (ours, theirs) = nix::unistd::pipe().unwrap();
    let starter = site.program(["/bin/sh", "-c", &script]).stdin_from(ours).start();
    starter.says("up");
    let run = job(&site, "echo $$ > pid; sleep 60");
    wait_for(&site, &format!("{SANDBOX}/pid"));
    assert_eq!(site.epilogues().len(), 0);
    drop(theirs);
    starter.wait();
    run.glexec.wait().exited(143);
    until(&site, "an epilogue", || site.epilogues().len() == 1);
    assert_eq!(told(&the_epilogue(&site), "TARGET_RC"), "143");
    until(&site, "the account's end", || site.processes_of(WORK + 1).is_empty());
    assert!(!site.path(SANDBOX).exists());
}

#[test]
fn what_a_killed_glexec_owes_a_sandbox_the_sweep_pays_once() {
    let site = prepared();
    let run = job(&site, "echo $$ > pid; sleep 60");
    wait_for(&site, &format!("{SANDBOX}/pid"));
    let admin = |words: &[&str]| {
        let call = site.program(["/usr/sbin/glexec-admin"]).words(words.iter().copied());
        call.by("root").run()
    };
    let ps: serde_json::Value = serde_json::from_str(&admin(&["ps", "--json"]).output()).unwrap();
    let glexec = i32::try_from(ps[0]["pid"].as_i64().unwrap()).unwrap();
    raw::kill_as((0, 0), glexec, libc::SIGKILL).unwrap();
    run.glexec.wait().exited(137);
    moving(&site, "cleanup").exited(1);
    assert_eq!(site.epilogues().len(), 0);
    admin(&["sweep"]).exited(0);
    let epilogue = the_epilogue(&site);
    assert_eq!(["TARGET_RC", "RESULT"].map(|name| told(&epilogue, name)), ["137", "lost"]);
}

/// `condor_ssh_to_job` runs a second program in a sandbox.
#[test]
fn what_runs_beside_a_job_is_not_the_job_and_does_not_end_it() {
    let site = prepared();
    let run = job(&site, "echo $$ > pid; while [ ! -e go ]; do sleep 0.05; done; exit 7");
    let pid = wait_for(&site, &format!("{SANDBOX}/pid"));
    let beside = "id -u > beside; setsid sleep 60 & echo $! > left; exit 3";
    job(&site, beside).glexec.wait().exited(3);
    assert_eq!(site.read(&format!("{SANDBOX}/beside")), format!("{}\n", WORK + 1));
    assert!(state_of(&pid).is_some_and(|state| state != 'Z'), "the job goes on");
    let left = wait_for(&site, &format!("{SANDBOX}/left"));
    let later = job(&site, "while [ ! -e end ]; do sleep 0.05; done; exit 4");
    site.file(&format!("{SANDBOX}/go"), "", 0o644);
    run.glexec.wait().exited(7);
    assert!(state_of(&left).is_some(), "whose it is nobody can tell yet");
    site.file(&format!("{SANDBOX}/end"), "", 0o644);
    later.glexec.wait().exited(4);
    assert_eq!(state_of(&left), None, "what is left behind ends with the last of them");
    moving(&site, "cleanup").exited(0);
    assert_eq!(told(&the_epilogue(&site), "TARGET_RC"), "7");
}

#[test]
fn the_job_is_signalled_by_the_pid_that_the_starter_knows() {
    let site = prepared();
    let count = "n=0; trap 'n=$((n+1)); echo $n > count' USR1; trap 'exit 9' TERM; \
                 setsid sleep 60 & echo $! > child; echo $$ > pid; while :; do sleep 0.05; done";
    let run = job(&site, count);
    let pid = wait_for(&site, &format!("{SANDBOX}/pid"));
    let child = wait_for(&site, &format!("{SANDBOX}/child"));
    let front = run.glexec.pid().to_string();
    assert_eq!(kill(&site, &front, Signal::SIGSTOP), 0);
    let stopped = || [&pid, &child].into_iter().all(|pid| state_of(pid) == Some('T'));
    until(&site, "a stop", stopped);
    assert_eq!(kill(&site, &front, Signal::SIGCONT), 0);
    until(&site, "a way on", || !stopped());
    // By the procd, and straight from the starter.
    assert_eq!(kill(&site, &front, Signal::SIGUSR1), 0);
    until(&site, "a first signal", || site.read(&format!("{SANDBOX}/count")) == "1\n");
    raw::kill_as((PILOT, PILOT), run.glexec.pid(), libc::SIGUSR1).unwrap();
    until(&site, "a second signal", || site.read(&format!("{SANDBOX}/count")) == "2\n");
    assert_eq!(kill(&site, &front, Signal::SIGTERM), 0);
    run.glexec.wait().exited(9);
    assert_eq!(state_of(&child), None);
    // A hard kill, which the starter's own process may get, too.
    for by_procd in [true, false] {
        let run = job(&site, &format!("echo $$ > pid.{by_procd}; sleep 60"));
        let pid = wait_for(&site, &format!("{SANDBOX}/pid.{by_procd}"));
        let front = run.glexec.pid();
        if by_procd {
            assert_eq!(kill(&site, &front.to_string(), Signal::SIGKILL), 0);
        } else {
            raw::kill_as((PILOT, PILOT), front, libc::SIGKILL).unwrap();
        }
        let ran = run.glexec.wait();
        assert!(ran.code == Some(137) || ran.signal == Some(9), "{ran:?}");
        until(&site, "the job's end", || state_of(&pid).is_none());
    }
    moving(&site, "cleanup").exited(0);
}

#[test]
fn a_cleanup_ends_a_job_that_still_runs() {
    let site = prepared();
    let run = job(&site, "trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done");
    wait_for(&site, &format!("{SANDBOX}/pid"));
    moving(&site, "cleanup").exited(0);
    run.glexec.wait().exited(137);
    assert_eq!(site.read(&format!("{SANDBOX}/input")), "six\n");
    assert_eq!(told(&the_epilogue(&site), "TARGET_RC"), "137");
}

/// The job runs as the same account as the process that starts it.
#[test]
fn a_job_that_ends_what_started_it_ends_itself() {
    let site = prepared();
    let run = job(
        &site,
        "echo $$ > pid; echo $PPID > above; while [ ! -e go ]; do sleep 0.05; done; kill -9 $PPID; sleep 60",
    );
    let above = wait_for(&site, &format!("{SANDBOX}/above"));
    let fd = format!("/proc/{above}/fd");
    let spy = site.program(["/bin/ls", &fd]).by_ids(WORK + 1, WORK + 1, &[]).run();
    assert!(spy.error().contains("Permission denied"), "its descriptors are the pilot's: {spy:?}");
    site.file(&format!("{SANDBOX}/go"), "", 0o644);
    run.glexec.wait().exited(137);
    until(&site, "an epilogue", || site.epilogues().len() == 1);
    assert_eq!(told(&the_epilogue(&site), "TARGET_SIGNAL"), "9");
    moving(&site, "cleanup").exited(1);
    assert_eq!(site.epilogues().len(), 1);
}

#[test]
fn nobody_but_the_pilot_has_anything_done_as_the_account() {
    let site = prepared();
    assert_eq!(look(&site, SOCKET), (PILOT, 0o700));
    // Whom its permissions let through the process behind it does not hear: root, here.
    let words = ["enter", "", SANDBOX, "/usr/bin/touch", "taken"];
    let text: String = words.iter().map(|word| format!("{word}\0")).collect();
    let mut stream = UnixStream::connect(site.path(SOCKET)).unwrap();
    let null = fs::File::open("/dev/null").unwrap();
    let rights = [null.as_raw_fd(); 3];
    let rights = [ControlMessage::ScmRights(&rights)];
    let length = u32::try_from(text.len()).unwrap().to_ne_bytes();
    let parts = [IoSlice::new(&length), IoSlice::new(text.as_bytes())];
    let to = stream.as_raw_fd();
    // It may have hung up by then.
    let _ = sendmsg::<()>(to, &parts, &rights, MsgFlags::MSG_NOSIGNAL, None);
    let heard = stream.read(&mut [0; 2]);
    assert!(matches!(heard, Ok(0) | Err(_)), "{heard:?}");
    assert!(!site.path(&format!("{SANDBOX}/taken")).exists());
    // The same by the pilot is done.
    let program = ["/usr/libexec/glexec/condor_glexec", "ask", PILOTS];
    site.program(program).words(words).run().exited(0);
    assert!(site.path(&format!("{SANDBOX}/taken")).exists());
    moving(&site, "cleanup").exited(0);
}

#[test]
fn a_setup_that_fails_gives_the_account_back() {
    let site = pool_of(1);
    site.mode(EXECUTE, 0o755);
    site.own(EXECUTE, (PILOT, PILOT));
    // The target cannot make a directory here.
    moving(&site, "setup").exited(2);
    assert_eq!(look(&site, &format!("{SANDBOX}/input")), (PILOT, 0o600));
    assert!(!site.path(PILOTS).exists() && !site.path(SOCKET).exists());
    assert!(!site.path(&format!("{SANDBOX}/.condor_glexec.socket")).exists());
    assert_eq!(told(&the_epilogue(&site), "TARGET_RC"), "0");
    site.mode(EXECUTE, 0o1777);
    moving(&site, "setup").exited(0);
    moving(&site, "cleanup").exited(0);
}

#[test]
fn a_setup_that_cannot_tell_how_many_accounts_there_are_gives_the_files_to_nobody() {
    let site = pool_of(2);
    let dies =
        "#!/bin/sh\ncase \"$*\" in *--check*) kill -KILL $$;; esac\nexec /usr/sbin/glexec \"$@\"\n";
    site.file("/usr/local/bin/dies", dies, 0o755);
    let ran = program(&site, "setup", &["/usr/local/bin/dies", "x509", SANDBOX, "0", "0"]).run();
    assert!(ran.exited(2).error().contains("glexec --check does not answer"), "{ran:#?}");
    assert_eq!(look(&site, &format!("{SANDBOX}/input")), (PILOT, 0o600));
    assert_eq!(site.epilogues().len(), 0, "there was no run");
}

#[test]
fn what_holds_an_account_keeps_nothing_of_the_starters_open() {
    let site = pool_of(1);
    let (read, write) = nix::unistd::pipe().unwrap();
    let words = [GLEXEC, "x509", SANDBOX, "0", "0"];
    let setup = program(&site, "setup", &words).passing(20, write).run();
    setup.exited(0);
    let mut end = [PollFd::new(read.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut end, PollTimeout::from(20_000u16)), Ok(1), "somebody holds the other end");
    moving(&site, "cleanup").exited(0);
}

#[test]
fn a_file_by_the_sockets_name_is_the_jobs_own_and_stays() {
    let site = pool_of(1);
    put(&site, ".condor_glexec.socket", "mine\n", 0o600);
    let ran = moving(&site, "setup");
    assert!(ran.exited(2).error().contains("no run can hold an account"), "{ran:#?}");
    assert_eq!(site.read(&format!("{SANDBOX}/.condor_glexec.socket")), "mine\n");
    assert_eq!(look(&site, &format!("{SANDBOX}/input")).0, PILOT);
    assert_eq!(site.epilogues().len(), 0, "there was no run");
}

#[test]
fn a_job_that_holds_its_account_starts_as_any_other() {
    let site = prepared();
    let wrapper = "/usr/libexec/glexec/condor_glexec_job_wrapper";
    let words = [GLEXEC, "x509", SANDBOX, wrapper, "input", "_out", "_err", ACTOR, "look"];
    let call = program(&site, "run", &words);
    // As the starter has set it for the job, and not for setup.
    let mut run = Run::by(call.limited(Limit::Hard(Resource::RLIMIT_CORE, 4096)));
    assert_eq!(run.talk("A=1"), "");
    run.glexec.wait().exited(0);
    let seen: Look = serde_json::from_str(&site.read(&format!("{SANDBOX}/_out"))).unwrap();
    assert_eq!((seen.blocked, seen.ignored), (0, 0));
    assert_eq!(seen.descriptors.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!((seen.ids[0], seen.umask), (seen.ids[2], 0o022), "a group of its own");
    assert_eq!(seen.limits["CORE"], (4096, 4096));
    assert_eq!(seen.uids, [WORK + 1; 4]);
    assert_eq!(seen.directory, SANDBOX);
    assert!(seen.environment.iter().any(|entry| entry == "A=1"));
    assert!(!seen.environment.iter().any(|entry| entry.contains("X509_USER_PROXY")));
    moving(&site, "cleanup").exited(0);
}
