//! What hostile callers and payloads try so that the clean-up does not take place: each was shown
//! to work once.

use contract::{Reason, Record};
use harness::{Limit, Site, raw};
use nix::sys::resource::Resource;
use nix::sys::socket::{setsockopt, sockopt};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A pipe that is locked for as long as this lives.
pub(crate) struct Locked {
    peer: Option<UnixStream>,
    splicer: Option<JoinHandle<()>>,
}

impl Locked {
    pub(crate) fn new(pipe: OwnedFd) -> Self {
        let (idle, peer) = UnixStream::pair().unwrap();
        let splicer = std::thread::spawn(move || raw::splice(idle.as_raw_fd(), pipe.as_raw_fd()));
        std::thread::sleep(Duration::from_millis(50));
        Self { peer: Some(peer), splicer: Some(splicer) }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.peer = None;
        let _ = self.splicer.take().map(JoinHandle::join);
    }
}

fn epilogue_within(site: &Site, time: Duration) {
    let deadline = Instant::now() + time;
    while site.epilogues().is_empty() {
        assert!(Instant::now() < deadline, "no epilogue within {time:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_status_or_control_pipe_that_the_caller_locks_holds_nothing_up() {
    for option in ["--status-fd=7", "--control-fd=7"] {
        let site = Site::with_epilogue("");
        let (read, write) = nix::unistd::pipe().unwrap();
        let theirs = if option.contains("status") { &write } else { &read };
        let call = site.glexec(["sh", "-c", "sleep 0.5; exit 5"]).option(option);
        let running = call.passing(7, theirs.try_clone().unwrap()).start();
        std::thread::sleep(Duration::from_millis(250));
        let locked = Locked::new(write.try_clone().unwrap());
        epilogue_within(&site, Duration::from_secs(3));
        running.wait().exited(5);
        drop(locked);
    }
}

#[test]
fn a_control_socket_that_lingers_at_its_close_holds_nothing_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for shut in [false, true] {
        let site = Site::with_epilogue("kill_grace = 1");
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        let forever = libc::linger { l_onoff: 1, l_linger: 10_000 };
        setsockopt(&ours, sockopt::Linger, &forever).unwrap();
        ours.set_nonblocking(true).unwrap();
        while std::io::Write::write(&mut &ours, &[b'x'; 65_536]).is_ok() {}
        let call = site.glexec(["sh", "-c", "sleep 0.3; exit 5"]).option("--control-fd=7");
        let running = call.passing(7, ours).start();
        if shut {
            std::thread::sleep(Duration::from_millis(100));
            peer.shutdown(std::net::Shutdown::Write).unwrap();
        }
        epilogue_within(&site, Duration::from_secs(3));
        let ran = running.wait();
        assert!(matches!(ran.code, Some(5 | 143)), "{ran:#?}");
        drop(peer);
    }
}

#[test]
fn a_daemon_that_looks_like_a_zombie_and_a_long_chain_are_ended_soon() {
    let site = Site::with_epilogue_script("#!/usr/local/bin/actor count-into\n", "kill_grace = 1");
    for payload in [&["actor", "headless", "5"][..], &["actor", "chain", "400", "5"]] {
        let start = Instant::now();
        let ran = site.glexec(payload).env("GLEXEC_TARGET_USER", "payload5").with_status().run();
        ran.exited(5);
        assert!(start.elapsed() < Duration::from_secs(6), "{payload:?}: {:?}", start.elapsed());
        let counted = ran.records.iter().any(|r| match r {
            Record::Stragglers { found, ended } => *found >= 1 && found == ended,
            _ => false,
        });
        assert!(counted, "{payload:?}: {ran:#?}");
        let uid = harness::accounts::named("payload5").uid;
        assert_eq!(harness::processes(uid).len(), 0, "{payload:?}");
    }
    assert!(site.read("/var/lib/site/count").lines().all(|line| line == "[]"));
}

#[test]
fn a_child_from_before_whose_end_sends_no_signal_is_left_alone_too() {
    let site = Site::with_epilogue("kill_grace = 0");
    let start = Instant::now();
    let call = site.glexec(["actor", "exit", "42"]).with_status();
    let ran = call.with_silent_child(Duration::from_secs(3)).run();
    ran.exited(42);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let none = ran.records.iter().any(|r| matches!(r, Record::Stragglers { found: 0, .. }));
    assert!(none, "{ran:#?}");
}

#[test]
fn a_proc_of_another_pid_namespace_is_no_proc() {
    let site = Site::with_epilogue("");
    let script = "exec unshare --pid --fork setpriv --reuid 42001 --regid 42001 --clear-groups $GLEXEC sh -c 'echo started'";
    let ran = site.shell(script).by("root").run();
    ran.exited(202).said_one_sentence();
    assert!(ran.log.iter().any(|line| line.contains(Reason::NoProc.word())), "{ran:#?}");
}

#[test]
fn a_directory_for_temporary_files_that_the_caller_chose_is_the_payloads_alone() {
    for lines in ["", "epilogue_environment = \"own\""] {
        let site = Site::with_epilogue(lines);
        let look = site.glexec(["actor", "look"]).env("GLEXEC_TMPDIR", "/tmp/mine").run().look();
        assert_eq!(look.variable("TMPDIR"), Some("/tmp/mine"));
        assert_eq!(site.epilogues()[0].variable("TMPDIR"), None);
    }
}

#[test]
fn a_signal_whose_sender_the_kernel_forgot_is_not_roots() {
    let site = Site::with_epilogue("");
    let payload = "trap 'echo cont; exit 9' CONT; i=0; while [ $i -lt 12 ]; do i=$((i+1)); sleep 0.05; done; exit 42";
    let script =
        "$GLEXEC sh -c \"$PAYLOAD\" & p=$!; sleep 0.3; kill -CONT $p && echo sent; wait $p";
    let call = site.shell(script).env("PAYLOAD", payload);
    let ran = call.limited(Limit::Soft(Resource::RLIMIT_SIGPENDING, 0)).run();
    ran.exited(42);
    assert_eq!(ran.output(), "sent\n");
}

#[test]
fn a_table_full_of_descriptors_is_the_callers_fault_and_not_the_sites() {
    let site = Site::with_epilogue("");
    let script =
        "$^F = 1_000_000; while (open(my $f, '<', '/dev/null')) { push @f, $f } exec @ARGV";
    let call = site.program(["/usr/bin/perl", "-e", script, harness::GLEXEC, "true"]);
    let ran = call.limited(Limit::Hard(Resource::RLIMIT_NOFILE, 1024)).run();
    ran.exited(201).said_one_sentence();
    assert!(site.epilogues().is_empty());
}

#[test]
fn a_payload_that_cannot_be_killed_is_counted_and_the_epilogue_runs() {
    let site = Site::with_epilogue("kill_grace = 1");
    let (read, write) = nix::unistd::pipe().unwrap();
    let call = site.glexec(["sleep", "60"]).stdin_from(read).with_status().with_control();
    let mut running = call.start();
    running.started();
    // It dies in the kernel, at the last close of its stdin, and is not dead for that.
    let locked = Locked::new(write);
    running.control = None;
    epilogue_within(&site, Duration::from_secs(25));
    let ran = running.wait();
    drop(locked);
    ran.exited(137);
    assert!(ran.log.iter().any(|l| l.contains("cannot be killed")), "{ran:#?}");
}

#[test]
fn an_epilogue_that_cannot_be_killed_does_not_hold_the_run_for_ever() {
    let script = "#!/bin/sh\nexec cat < /var/lib/site/fifo\n";
    let site = Site::with_epilogue_script(script, "epilogue_timeout = 1\nkill_grace = 1");
    site.program(["/usr/bin/mkfifo", "/var/lib/site/fifo"]).by("root").run().exited(0);
    let fifo = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(site.path("/var/lib/site/fifo"))
        .unwrap();
    let locked = Locked::new(fifo.into());
    let start = Instant::now();
    let ran = site.glexec(["actor", "exit", "42"]).with_status().run();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    drop(locked);
    ran.exited(202);
}
