//! A payload cannot type into its caller's terminal.

use harness::{Running, Site};
use std::io::Write as _;
use std::time::{Duration, Instant};

#[test]
fn the_payload_has_no_controlling_terminal_and_cannot_type_into_the_callers() {
    for lines in ["", "linger = false", "epilogue = \"/usr/libexec/site/epilogue\""] {
        let site = Site::with(lines);
        let running = site.glexec(["actor", "type"]).on_terminal().start();
        let ran = running.wait();
        let output = ran.exited(0).output();
        assert!(output.contains("tty: no"), "{lines}: {output}");
        assert!(!output.contains("Ok"), "{lines}: {output}");
    }
}

#[test]
fn the_payload_stays_in_glexecs_session_where_there_is_no_terminal() {
    let site = Site::with_epilogue("");
    let ran = site.glexec(["actor", "look"]).with_status().run();
    let [pid, _, group, session] = ran.look().ids;
    let told = site.epilogues().remove(0);
    assert_eq!(told.variable("GLEXEC_EPILOG_GLEXEC_SID"), Some(session.to_string().as_str()));
    assert_eq!(group, pid, "a group of its own");
    assert_ne!(session, pid);
}

#[test]
fn an_interrupt_typed_on_the_terminal_reaches_the_payload_and_the_epilogue_runs() {
    for lines in ["", "epilogue = \"/usr/libexec/site/epilogue\""] {
        let site = Site::with(lines);
        let script = "trap 'echo interrupted; exit 7' INT; echo ready; i=0; while [ $i -lt 100 ]; do i=$((i+1)); sleep 0.05; done";
        let running = site.glexec(["sh", "-c", script]).on_terminal().start();
        running.says("ready");
        std::thread::sleep(Duration::from_millis(50));
        let terminal = running.terminal.as_ref().unwrap().try_clone().unwrap();
        std::fs::File::from(terminal).write_all(&[3]).unwrap();
        running.says("interrupted");
        running.wait().exited(7);
        assert_eq!(site.epilogues().len(), usize::from(!lines.is_empty()));
    }
}

#[test]
fn a_terminal_is_shared_where_the_site_wants_the_originals_way() {
    let site = Site::with("terminal = \"share\"");
    let ran = site.glexec(["actor", "look"]).on_terminal().start().wait();
    let text = ran.exited(0).output();
    let look: harness::Look =
        serde_json::from_str(text.trim()).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_ne!(look.terminal, 0);
}

/// A shell on a terminal, which has told that it is ready.
fn shell(site: &Site) -> Running<'_> {
    let shell = site.program(["/bin/bash", "--norc", "--noprofile", "-i"]).on_terminal();
    let running = shell.env("PS1", "outer> ").start();
    running.says("outer> ");
    running
}

fn types(running: &Running<'_>, text: &[u8]) {
    let terminal = running.terminal.as_ref().unwrap().try_clone().unwrap();
    std::fs::File::from(terminal).write_all(text).unwrap();
}

/// Waits until a program of this name has the terminal.
fn has_the_terminal(site: &Site, running: &Running<'_>, name: &str) {
    let terminal = running.terminal.as_ref().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let group = nix::unistd::tcgetpgrp(terminal).unwrap();
        let inside = |pid: &i32| {
            let of = nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(*pid)));
            let told = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            of == Ok(group) && told.trim() == name
        };
        if site.processes().iter().any(inside) {
            return;
        }
        assert!(Instant::now() < deadline, "{name} never had the terminal: {running:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The ways in which a terminal is shared: with and without a lingering glexec, and with one that
/// owes an epilogue.
const SHARED: [&str; 3] = [
    "terminal = \"share\"\nlinger = false",
    "terminal = \"share\"",
    "terminal = \"share\"\nepilogue = \"/usr/libexec/site/epilogue\"",
];

#[test]
fn a_payload_that_shares_the_terminal_stops_and_goes_on_with_the_callers_shell() {
    for lines in SHARED {
        let site = Site::with(lines);
        let running = shell(&site);
        // It reads what is typed.
        types(&running, b"/usr/sbin/glexec sh -c 'read line; echo got-$line; exec sleep 1000'\n");
        running.says("; exec sleep 1000'");
        types(&running, b"word\n");
        running.says("got-word");
        // Twice: stopped, and going on before and behind the shell.
        types(&running, b"\x1a");
        running.says("Stopped");
        types(&running, b"bg; echo in-the-$((40 + 2))-background\n");
        running.says("in-the-42-background");
        types(&running, b"jobs -r | wc -l | sed s/^/running-/\n");
        running.says("running-1");
        types(&running, b"fg\n");
        has_the_terminal(&site, &running, "sleep");
        types(&running, b"\x03");
        types(&running, b"echo code-$?-end\n");
        running.says("code-130-end");
        types(&running, b"exit 0\n");
        running.wait().exited(0);
        assert_eq!(site.epilogues().len(), usize::from(lines.contains("epilogue")), "{lines}");
    }
}

#[test]
fn a_shell_within_has_job_control_of_its_own_and_can_be_suspended() {
    for lines in SHARED {
        let site = Site::with(lines);
        let running = shell(&site);
        types(&running, b"/usr/sbin/glexec bash --norc --noprofile -i\n");
        types(&running, b"echo id-$(id -un)-\n");
        running.says("id-payload1-");
        types(&running, b"sleep 1000\n");
        has_the_terminal(&site, &running, "sleep");
        types(&running, b"\x1a");
        running.says("Stopped                 sleep 1000");
        types(&running, b"kill %1; suspend\n");
        running.says("Stopped                 /usr/sbin/glexec");
        types(&running, b"fg\n");
        types(&running, b"echo again-$(id -un)-\n");
        running.says("again-payload1-");
        types(&running, b"exit 7\n");
        types(&running, b"echo code-$?-end\n");
        running.says("code-7-end");
        types(&running, b"exit 0\n");
        running.wait().exited(0);
    }
}

#[test]
fn one_word_to_go_on_is_enough_whoever_says_it() {
    // The shell's to the group and the status proxy's may come as one: the shell's alone must do,
    // also for a payload that has left the group.
    let site = Site::with(SHARED[2]);
    let running = shell(&site);
    // No shell: it would take the terminal when it goes on, and keep it in its death.
    let script = "setpgrp(0, 0); kill q(STOP), $$; sleep 1000";
    types(&running, format!("/usr/sbin/glexec perl -e '{script}'\n").as_bytes());
    running.says("Stopped                 /usr/sbin/glexec");
    let status = |pid: i32, key: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.trim().to_owned()
    };
    let payload = site.processes_of(harness::accounts::PAYLOAD1)[0].pid;
    assert!(status(payload, "State:").starts_with('T'));
    let run = status(payload, "PPid:");
    types(&running, format!("kill -CONT {run}\n").as_bytes());
    let deadline = Instant::now() + Duration::from_secs(30);
    while status(payload, "State:").starts_with('T') {
        assert!(Instant::now() < deadline, "the payload stands still");
        std::thread::sleep(Duration::from_millis(5));
    }
    types(&running, b"fg\n");
    has_the_terminal(&site, &running, "glexec");
    harness::raw::kill(payload, nix::libc::SIGKILL).unwrap();
    types(&running, b"echo code-$?-end\n");
    running.says("code-137-end");
    types(&running, b"exit 0\n");
    running.wait().exited(0);
    assert_eq!(site.epilogues().len(), 1);
}

#[test]
fn a_payload_that_is_killed_while_it_stands_still_ends_its_run_without_the_shell() {
    for lines in SHARED {
        let site = Site::with(lines);
        let running = shell(&site);
        types(&running, b"/usr/sbin/glexec sleep 1000\n");
        has_the_terminal(&site, &running, "sleep");
        types(&running, b"\x1a");
        running.says("Stopped");
        let payload = site.processes_of(harness::accounts::PAYLOAD1)[0].pid;
        harness::raw::kill(payload, nix::libc::SIGKILL).unwrap();
        let is_glexec = |pid: &i32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.trim() == "glexec"
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        // The shell reaps it at its next prompt, and that is not asked for.
        let stands = || {
            site.processes().iter().filter(|pid| is_glexec(pid)).any(|pid| {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                !stat.contains(") Z ")
            })
        };
        while stands() {
            assert!(Instant::now() < deadline, "{lines}: glexec stands still");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(site.epilogues().len(), usize::from(lines.contains("epilogue")), "{lines}");
        types(&running, b"exit 0\n");
        running.says("exit");
        drop(running);
    }
}

#[test]
fn what_shares_the_terminal_may_stand_in_a_pipeline() {
    let site = Site::with(SHARED[2]);
    let running = shell(&site);
    // Both read the terminal, one after the other.
    let line = "/usr/sbin/glexec sh -c 'read a </dev/tty; echo $a' | (read b; read c </dev/tty; echo $b-$c-)\n";
    types(&running, line.as_bytes());
    running.says("$b-$c-)");
    types(&running, b"one\n");
    types(&running, b"two\n");
    running.says("one-two-");
    types(&running, b"exit 0\n");
    running.wait().exited(0);
}

#[test]
fn a_payload_that_shares_the_terminal_is_ended_with_its_children_when_glexec_is_killed() {
    let site = Site::with(SHARED[2]);
    let script = "trap '' HUP; sleep 1000 & sleep 1000 & wait";
    let running = site.glexec(["sh", "-c", script]).on_terminal().with_status().start();
    let (glexec, payload) = running.started();
    let group = |pid: i32| nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid))).unwrap();
    assert_eq!(group(glexec), group(payload));
    while site.processes_of(harness::accounts::PAYLOAD1).len() < 3 {
        std::thread::sleep(Duration::from_millis(5));
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(glexec), nix::sys::signal::SIGKILL).unwrap();
    running.wait();
    site.program(["/usr/sbin/glexec-admin", "sweep", "--now"]).by("root").run().exited(0);
    assert!(site.processes_of(harness::accounts::PAYLOAD1).is_empty());
    let told = site.epilogues().remove(0);
    assert_eq!(told.variable("GLEXEC_EPILOG_RESULT"), Some("lost"));
    let group = group(std::process::id().try_into().unwrap()).as_raw().to_string();
    assert_ne!(told.variable("GLEXEC_EPILOG_TARGET_PGID"), Some(group.as_str()));
}
