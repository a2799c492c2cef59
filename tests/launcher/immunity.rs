//! Who may signal a lingering glexec: nobody but root where an epilogue is owed.

use crate::bracket::{all_four, status};
use crate::descriptor_proxy::descriptors;
use harness::accounts::PILOT;
use harness::{Process, Running, Site};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use std::os::fd::AsFd as _;
use std::time::Duration;

const SIGNALS: [i32; 6] =
    [libc::SIGKILL, libc::SIGSTOP, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGALRM];

fn sleeping<'a>(site: &'a Site, seconds: &str) -> Running<'a> {
    let script = format!("sleep {seconds}; exit 42");
    let running = site.glexec(["sh", "-c", &script]).with_status().start();
    running.started();
    running
}

#[test]
fn with_an_epilogue_no_signal_of_the_caller_reaches_glexec() {
    let site = Site::with_epilogue("");
    let running = sleeping(&site, "0.5");
    for signal in SIGNALS.into_iter().chain([
        libc::SIGUSR1,
        libc::SIGQUIT,
        libc::SIGSEGV,
        libc::SIGTSTP,
        33,
        64,
    ]) {
        assert_eq!(running.signal_by("pilot", signal), Err(Errno::EPERM), "signal {signal}");
    }
    let process = Process::of(running.pid()).unwrap();
    assert_eq!(process.uids[..3], [0, 0, 0], "real, effective and saved");
    running.wait().exited(42);
    assert_eq!(site.epilogues().len(), 1);
}

#[test]
fn with_an_epilogue_no_signal_of_the_payload_reaches_glexec() {
    let site = Site::with_epilogue("");
    let script = "for s in KILL STOP TERM INT HUP ALRM; do kill -$s $PPID && echo \"$s went through\"; done; exit 42";
    let ran = site.glexec(["sh", "-c", script]).run();
    ran.exited(42);
    assert_eq!(ran.output(), "");
    assert_eq!(ran.error().lines().filter(|l| !l.is_empty()).count(), 6, "six refusals: {ran:#?}");
    assert_eq!(site.epilogues().len(), 1);
}

#[test]
fn timers_that_the_caller_armed_before_do_nothing() {
    for lines in ["", "epilogue = \"/usr/libexec/site/epilogue\""] {
        let site = Site::with(lines);
        for which in [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF] {
            // Neither so short that it runs out before the first breath is drawn on a busy machine, nor
            // so long that it does not while the payload runs.
            for milliseconds in [150, 300] {
                let call = site.glexec(["sh", "-c", "sleep 0.5; exec actor look"]);
                let ran = call.timer(which, milliseconds).run();
                ran.exited(0);
                assert_eq!(ran.look().timer, 0, "nor does the payload inherit it");
            }
        }
    }
}

#[test]
fn a_cont_from_the_callers_session_is_ignored() {
    let site = Site::with_epilogue("");
    // kill(2) allows CONT to everybody of one's own session, whatever the ids.
    let payload = "trap 'echo cont; exit 9' CONT; i=0; while [ $i -lt 12 ]; do i=$((i+1)); sleep 0.05; done; exit 42";
    let script =
        "$GLEXEC sh -c \"$PAYLOAD\" & p=$!; sleep 0.3; kill -CONT $p && echo sent; wait $p";
    let ran = site.shell(script).env("PAYLOAD", payload).run();
    ran.exited(42);
    assert_eq!(ran.output(), "sent\n");
}

#[test]
fn without_an_epilogue_the_callers_term_reaches_the_payload() {
    let site = Site::new();
    let call = site.glexec(["sh", "-c", "trap 'exit 7' TERM; echo ready; i=0; while [ $i -lt 100 ]; do i=$((i+1)); sleep 0.05; done"]);
    let running = call.with_status().start();
    running.says("ready");
    running.signal_by("pilot", libc::SIGTERM).unwrap();
    running.wait().exited(7);
}

#[test]
fn without_an_epilogue_a_kill_of_the_caller_ends_glexec_and_the_payload_with_it() {
    let site = Site::new();
    let running = sleeping(&site, "20");
    let (_, payload) = running.started();
    running.signal_by("pilot", libc::SIGKILL).unwrap();
    assert_eq!(running.wait().signal, Some(libc::SIGKILL));
    std::thread::sleep(Duration::from_millis(300));
    let left = Process::of(payload).filter(|p| !p.is_zombie());
    assert_eq!(left, None, "the payload's parent-death signal");
}

#[test]
fn root_may_kill_glexec_and_the_payload_dies_with_it() {
    let site = Site::with_epilogue("");
    let running = sleeping(&site, "20");
    let (_, payload) = running.started();
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(Process::of(payload).filter(|p| !p.is_zombie()), None);
}

#[test]
fn nobody_can_look_into_a_lingering_glexec() {
    use std::os::unix::fs::MetadataExt as _;
    let site = Site::with_epilogue("");
    let running = sleeping(&site, "1");
    let proc = format!("/proc/{}", running.pid());
    assert_eq!(std::fs::metadata(format!("{proc}/environ")).unwrap().uid(), 0);
    let tries = format!(
        "cat {proc}/environ {proc}/mem; readlink {proc}/exe {proc}/fd/0 {proc}/cwd; echo done"
    );
    for who in ["pilot", "payload1"] {
        let ran = site.shell(&tries).by(who).run();
        assert_eq!(ran.output(), "done\n", "{who}: {ran:#?}");
    }
    running.wait().exited(42);
}

#[test]
fn a_lingering_glexec_holds_nothing_of_the_callers() {
    let site = Site::with_epilogue("");
    let running = site
        .glexec(["sleep", "1"])
        .with_status()
        .within("/home/pilot")
        .inheritable_capabilities()
        .start();
    let (glexec, _) = running.started();
    std::thread::sleep(Duration::from_millis(100));
    let proc = format!("/proc/{glexec}");
    let cwd = std::fs::read_link(format!("{proc}/cwd")).unwrap();
    let root = site.path("/");
    assert_eq!(
        std::fs::canonicalize(&cwd).unwrap().display().to_string(),
        "/",
        "cwd {cwd:?} of {root:?}"
    );
    for fd in 0..=2 {
        let link = std::fs::read_link(format!("{proc}/fd/{fd}")).unwrap();
        assert_eq!(link.display().to_string(), "/dev/null", "descriptor {fd}");
    }
    let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
    let field = |name: &str| {
        status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned()
    };
    assert_eq!(field("Groups:"), "", "no supplementary groups");
    assert_eq!(field("Gid:"), "0\t0\t0\t0");
    assert_eq!(field("CapInh:"), "0000000000000000");
    assert_eq!(field("CapAmb:"), "0000000000000000");
    running.wait().exited(0);
}

#[test]
fn none_of_the_callers_descriptors_is_open_in_a_lingering_glexec_or_in_its_mirror() {
    let owed = format!("epilogue = \"{}\"", harness::EPILOGUE);
    for lines in ["", &owed] {
        for mirrored in [false, true] {
            let what = format!("{lines}, with a mirror: {mirrored}");
            let site = Site::with(lines);
            let (read, write) = nix::unistd::pipe().unwrap();
            let mut call =
                site.glexec(["sleep", "300"]).within("/home/pilot").with_status().with_control();
            for number in 10..25 {
                call = call.passing(number, std::fs::File::open("/etc/passwd").unwrap());
            }
            call = call.passing(25, write);
            if mirrored {
                call = call.with_child(Duration::from_secs(300));
            }
            let running = call.start();
            let (glexec, _) = running.started();
            assert_eq!(glexec != running.pid(), mirrored, "{what}");
            // Nobody has it any more: neither glexec, nor its mirror, nor the payload.
            let mut ended = [PollFd::new(read.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut ended, 10_000u16), Ok(1), "{what}: somebody has it still");
            assert_eq!(nix::unistd::read(&read, &mut [0]), Ok(0), "{what}");
            for pid in [glexec, running.pid()] {
                let open = descriptors(pid);
                let files: Vec<_> = open.values().filter(|to| to.ends_with("/passwd")).collect();
                assert!(files.is_empty(), "{what}: {open:?}");
                assert!((0..=2).all(|fd| open[&fd] == "/dev/null"), "{what}: {open:?}");
                let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
                assert_eq!(cwd.display().to_string(), "/", "{what}");
            }
            let of_the_mirror = if lines.is_empty() { PILOT } else { 0 };
            if mirrored {
                assert_eq!(status(running.pid(), "Uid"), all_four(of_the_mirror), "{what}");
            }
            let may = running.signal_by("pilot", 0);
            assert_eq!(may.is_ok(), lines.is_empty(), "{what}: {may:?}");
            running.order("KILL");
            running.wait().exited(137);
        }
    }
    let site = Site::with("linger = false");
    let mut call = site.glexec(["actor", "look"]);
    for number in 10..25 {
        call = call.passing(number, std::fs::File::open("/etc/passwd").unwrap());
    }
    let seen = call.run().look().descriptors;
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [0, 1, 2], "{seen:?}");
}
