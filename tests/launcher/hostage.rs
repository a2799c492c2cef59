//! Nobody can make an immune glexec, or a process of root's, wait for him: not by a pipe that is
//! full, a child that was there before, a lock, a close that hangs, or by being stopped.

use contract::{Reason, Record};
use harness::accounts::{PAYLOAD1, PILOT, WORK};
use harness::{Call, EPILOGUE, GLEXEC, Process, Running, Site};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::Resource;
use nix::unistd::{pipe2, write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

const STATE: &str = "/var/lib/glexec";

/// Waits for something that happens sooner or later.
fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !happened() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Fills a pipe to its last byte; who writes to it next waits.
fn fill(pipe: &OwnedFd) {
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    for size in [4096, 1] {
        while write(pipe, &vec![b'x'; size]).is_ok() {}
    }
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
}

/// A run of the site's, killed by root while its payload sleeps.
fn lost(site: &Site, job: &str) {
    let running = site.glexec(["sleep", "300"]).env("JOB", job).with_status().start();
    running.started();
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
}

fn sweep(site: &Site) -> harness::Ran {
    site.program(["/usr/sbin/glexec-admin", "sweep", "--now"]).by("root").run()
}

/// The names in the state directory that stand for runs.
fn runs(site: &Site) -> Vec<String> {
    let list = std::fs::read_dir(site.path(STATE)).unwrap();
    let names = list.map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("run.")).collect()
}

/// The caller ends this process, sooner or later: it never stays out of reach. So it counts among
/// the caller's processes, too.
fn stays_the_callers(running: Running<'_>, what: &str) {
    until(what, || running.has_ended() || running.signal_by("pilot", libc::SIGKILL) == Ok(()));
    running.wait();
}

#[test]
fn no_refusal_waits_for_its_caller_out_of_the_callers_reach() {
    let settings =
        format!("epilogue = \"{EPILOGUE}\"\nmax_runs_per_caller = 1\nhand_over = [\"D\"]");
    let busy = Site::with(&settings);
    busy.directory("/var/lib/site/scratch", (PILOT, PILOT), 0o755);
    let with_a_run = busy.glexec(["sleep", "300"]).with_status().with_control().start();
    with_a_run.started();
    let taken = Site::with(&settings.replace("= 1", "= 9"));
    taken.directory("/var/lib/site/scratch", (PILOT, PILOT), 0o755);
    let has_it = taken.glexec(["sleep", "300"]).env("D", "/var/lib/site/scratch").with_status();
    let has_it = has_it.with_control().start();
    has_it.started();
    let open = Site::with(&settings);
    open.mode(STATE, 0o755);
    let none: [&str; 0] = [];
    let cases: [(&str, &Site, &[&str], &[&str]); 8] = [
        ("no key", &open, &["--settle"], &none),
        ("a word that is no key", &open, &["--settle", "nonsense"], &none),
        ("a state directory that is open", &open, &["--settle", "JOB=1"], &none),
        ("unknown options", &open, &["--nonsense"], &none),
        ("a command that is not there", &open, &["/nonexistent"], &none),
        ("a state directory that is open, for a run", &open, &["true"], &none),
        ("too many runs", &busy, &["true"], &none),
        ("a directory that another run has", &taken, &["true"], &["D=/var/lib/site/scratch"]),
    ];
    for (what, site, words, environment) in cases {
        for options in ["", "--status-fd=7 --control-fd=6"] {
            let (read, full) = pipe2(OFlag::O_CLOEXEC).unwrap();
            fill(&full);
            let copy = || full.try_clone().unwrap();
            // 1 and 2, and with the options a status and a control descriptor, are one full pipe,
            // which the process itself has both ends of.
            let script = format!("exec $GLEXEC {options} \"$@\" 1>&7 2>&7 5<&0 0<&6");
            let mut call: Call<'_> = site.program(["/bin/sh", "-c", &script, "sh"]).words(words);
            call = call.env("GLEXEC", GLEXEC).passing(7, copy()).passing(6, read);
            for entry in environment {
                call = call.raw_env(*entry);
            }
            stays_the_callers(call.start(), &format!("{what} {options}"));
            let left: Vec<Process> = site
                .processes_of(0)
                .into_iter()
                .filter(|p| p.name.starts_with("glexec") && p.uids[0] == 0)
                .filter(|p| ![with_a_run.pid(), has_it.pid()].contains(&p.pid))
                .collect();
            assert_eq!(left, [], "{what} {options}: nobody out of reach is left");
        }
    }
    for run in [with_a_run, has_it] {
        run.order("KILL");
        run.wait();
    }
}

#[test]
fn a_refusal_after_the_caller_was_let_go_of_is_still_one_line_on_stderr() {
    let site = Site::with_epilogue("max_runs_per_caller = 1");
    let first = site.glexec(["sleep", "300"]).with_status().with_control().start();
    first.started();
    site.glexec(["true"]).with_status().run().stopped(Reason::TooManyRuns);
    site.glexec(["true"]).run().stopped(Reason::TooManyRuns);
    let from_a_shell = site.shell("sleep 300 & exec $GLEXEC true").run();
    from_a_shell.stopped(Reason::TooManyRuns);
    first.order("KILL");
    first.wait().exited(137);
}

#[test]
fn what_was_there_before_is_not_touched_by_a_settling_or_a_sweep() {
    let site = Site::with_epilogue("job_variables = [\"JOB\"]");
    for (who, command) in
        [("pilot", "exec $GLEXEC --settle JOB=7"), ("root", "exec /usr/sbin/glexec-admin sweep")]
    {
        lost(&site, "7");
        let before = site.epilogues().len();
        let ran = site.shell(&format!("sleep 300 & echo $!; {command}")).by(who).run();
        ran.exited(0);
        assert_eq!(site.epilogues().len(), before + 1, "it has paid: {ran:#?}");
        let sleeper: i32 = ran.output().lines().next().unwrap().parse().unwrap();
        let sleeper = Process::of(sleeper).filter(|process| !process.is_zombie());
        assert!(sleeper.is_some_and(|process| process.name == "sleep"), "{who}: it lives on");
    }
}

#[test]
fn a_stranger_who_settles_without_end_hides_no_debt_from_a_sweep() {
    let site = Site::with_epilogue("job_variables = [\"JOB\"]");
    let script = "while [ ! -e /tmp/enough ]; do $GLEXEC --settle x=y; done";
    let strangers: Vec<Running<'_>> = (0..3)
        .map(|_| {
            let call = site.shell(script).by("other");
            call.within_time(Duration::from_secs(120)).start()
        })
        .collect();
    for n in 1..=6 {
        lost(&site, "7");
        let ran = sweep(&site);
        ran.exited(0);
        assert!(ran.output().starts_with("paid"), "{n}: {ran:#?}");
        assert_eq!(site.epilogues().len(), n, "{ran:#?}");
    }
    site.file("/tmp/enough", "", 0o644);
    for stranger in strangers {
        stranger.wait().exited(0);
    }
}

#[test]
fn settling_is_not_done_where_an_own_entry_cannot_be_read() {
    let site = Site::with_epilogue("job_variables = [\"JOB\"]");
    let settle = |who: &str| site.program([GLEXEC, "--settle", "JOB=7"]).by(who).run();
    site.file(&format!("{STATE}/run.{PILOT}.{PAYLOAD1}.1.1"), "damaged\n", 0o600);
    settle("pilot").exited(202).said_one_sentence();
    settle("other").exited(0);
    std::fs::remove_file(site.path(&format!("{STATE}/run.{PILOT}.{PAYLOAD1}.1.1"))).unwrap();
    settle("pilot").exited(0);
    // Nor where it was set aside: its epilogue has not run.
    lost(&site, "7");
    let name = runs(&site).remove(0);
    std::fs::rename(
        site.path(&format!("{STATE}/{name}")),
        site.path(&format!("{STATE}/aside.{name}")),
    )
    .unwrap();
    settle("pilot").exited(202);
    site.program([GLEXEC, "--settle", "JOB=8"]).run().exited(0);
}

#[test]
fn only_one_settling_of_a_caller_is_under_way_and_each_debt_is_paid_once() {
    let script = "#!/bin/sh\nmkdir /var/lib/site/alone || echo two at a time >> /var/lib/site/log\n\
        echo paid >> /var/lib/site/log; sleep 0.2; rmdir /var/lib/site/alone\n";
    let site = Site::with_epilogue_script(script, "job_variables = [\"JOB\"]");
    for job in ["1", "2", "3"] {
        lost(&site, job);
    }
    let settling: Vec<Running<'_>> = ["1", "2", "3", "1", "2", "3"]
        .map(|job| site.program([GLEXEC, "--settle", &format!("JOB={job}")]).start())
        .into_iter()
        .collect();
    for one in settling {
        one.wait().exited(0);
    }
    assert_eq!(site.read("/var/lib/site/log"), "paid\n".repeat(3));
    assert_eq!(runs(&site), [""; 0]);
    assert!(site.read(&format!("{STATE}/settling.{PILOT}")).is_empty());
}

#[test]
fn who_only_looks_like_a_nested_run_is_killed_like_others() {
    // With the nested run's time: the epilogue's, three graces and ten seconds.
    let site = Site::with_epilogue("kill_grace = 1\nepilogue_timeout = 60");
    // A program that makes the payload root, as no site has one: then glexec itself, root's in
    // every id, waits on a full pipe to complain.
    site.install("/usr/bin/setpriv".as_ref(), "/usr/local/bin/rooted", 0o4755).unwrap();
    site.mode("/usr/local/bin", 0o755);
    let full = "exec perl -e 'pipe(R, W); fcntl(W, 1031, 4096); syswrite(W, \"x\" x 4096); \
        open(STDIN, \"<&R\"); open(STDERR, \">&W\"); exec @ARGV' ";
    let payload = format!(
        "{full} rooted --reuid 0 --regid 0 --clear-groups {GLEXEC} --nonsense & sleep 0.5; exit 5"
    );
    let start = Instant::now();
    let call = site.glexec(["sh", "-c", &payload]).with_status();
    let ran = call.within_time(Duration::from_secs(100)).run();
    ran.exited(5);
    let ended = ran.records.iter().any(|r| match r {
        Record::Stragglers { found, ended } => *found >= 1 && found == ended,
        _ => false,
    });
    assert!(ended, "{ran:#?}");
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
    assert_eq!(site.epilogues().len(), 1);
}

#[test]
fn a_reader_of_the_output_sees_its_end_with_the_payloads_whatever_the_others_are() {
    let script = "#!/bin/sh\nwhile [ ! -e /var/lib/site/go ]; do sleep 0.05; done\n";
    let site = Site::with_epilogue_script(script, "");
    site.directory("/tmp/memory", (PILOT, PILOT), 0o700);
    site.program(["/bin/mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/tmp/memory"])
        .by("root")
        .run()
        .exited(0);
    // /tmp is an overlay here, /tmp/memory a tmpfs: neither has a block device behind it.
    for place in ["/tmp", "/tmp/memory"] {
        for n in 0..8 {
            let script = format!("exec $GLEXEC echo hi 2>{place}/err{n} 0<>{place}/in{n}");
            let running = site.shell(&script).start();
            running.output_end();
            assert!(!running.has_ended(), "{place} {n}: the end came with the run's");
            site.file("/var/lib/site/go", "", 0o644);
            running.wait().exited(0);
            std::fs::remove_file(site.path("/var/lib/site/go")).unwrap();
        }
    }
}

#[test]
fn a_caller_that_is_stopped_on_its_way_holds_no_more_accounts_than_it_may_have_runs() {
    let site = Site::alone("");
    site.config(
        "[glexec]\nuser_white_list = [\"pilot\", \"busy\"]\nkill_grace = 1\nmax_runs_per_caller = 2\n\
         [mapping]\nmethods = [\"pool\"]\n\
         [[mapping.pool]]\ncaller = \"pilot\"\naccounts = \"work[001-004]\"\n\
         [[mapping.pool]]\ncaller = \"busy\"\naccounts = \"work[001-004]\"\n",
    );
    let strace = which::which("strace").expect("strace is missing: tests/run installs it");
    let claims = || {
        let list = std::fs::read_dir(site.path(STATE)).unwrap();
        let names = list.map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("claim.")).count()
    };
    let mut stopped: Vec<Running<'_>> = Vec::new();
    for n in 0..4 {
        let inject = "inject=fork,clone,clone3:signal=STOP:when=1";
        let call = site.program([strace.to_str().unwrap(), "-qq", "-o", "/dev/null", "-e", inject]);
        let run = call.words(["-u", "pilot", GLEXEC, "sleep", "300"]).by("root").start();
        if n < 2 {
            until("it has claimed a run", || {
                assert!(!run.has_ended(), "{:#?}", site.log());
                claims() == n + 1
            });
        } else {
            until("it is refused", || run.has_ended());
        }
        stopped.push(run);
    }
    assert_eq!(claims(), 2);
    site.glexec(["true"]).run().stopped(Reason::TooManyRuns);
    for _ in 0..2 {
        let ran = site.glexec(["id", "-u"]).by("busy").run();
        let uid: u32 = ran.exited(0).output().trim().parse().unwrap();
        assert!((WORK + 1..=WORK + 4).contains(&uid), "an account is left for others");
    }
    site.end_all();
    drop(stopped);
    site.glexec(["true"]).run().exited(0);
}

#[test]
fn rehearsals_and_looks_for_commands_do_not_make_an_account_busy() {
    let site = Site::alone("");
    site.config(
        "[glexec]\nuser_white_list = [\"pilot\"]\nkill_grace = 1\n[mapping]\nmethods = [\"pool\"]\n\
         [[mapping.pool]]\ncaller = \"pilot\"\naccounts = \"work[001-001]\"\n",
    );
    // Somebody who looks for a command for ever, with the account's effective uid.
    let strace = which::which("strace").expect("strace is missing: tests/run installs it");
    let words = ["-qq", "-o", "/dev/null", "-e", "inject=faccessat,faccessat2:signal=STOP:when=1"];
    let call = site.program([strace.to_str().unwrap()]).words(words);
    let looking = call.words(["-u", "pilot", GLEXEC, "--check", "true"]).by("root").start();
    until("it looks", || {
        let all = site.processes_of(WORK + 1).into_iter();
        all.filter(|p| p.name == "glexec" && matches!(p.state, 'T' | 't')).count() == 1
    });
    let ran = site.glexec(["id", "-u"]).run();
    assert_eq!(ran.exited(0).output().trim(), (WORK + 1).to_string());
    site.end_all();
    drop(looking);
}

#[test]
fn the_end_of_a_caller_is_heard_behind_a_flood_of_orders() {
    for lines in ["", "epilogue = \"/usr/libexec/site/epilogue\""] {
        let site = Site::with(&format!("kill_grace = 1\n{lines}"));
        let payload = "use POSIX; $SIG{TERM} = 'IGNORE'; for (1..400) { last if !fork } \
            $| = 1; print \"up\\n\"; sleep 1000 while 1";
        let call = site.glexec(["/usr/bin/perl", "-e", payload]).with_status().with_control();
        let mut running = call.within_time(Duration::from_secs(120)).start();
        running.says(&"up\n".repeat(400));
        let control = running.control.take().unwrap();
        fcntl(&control, FcntlArg::F_SETPIPE_SZ(1 << 20)).unwrap();
        fcntl(&control, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let orders = b"STOP\nCONT\n".repeat(400);
        let mut sent = 0;
        while let Ok(length) = write(&control, &orders) {
            sent += length;
        }
        assert!(sent > 1 << 19, "{sent} bytes of orders");
        let start = Instant::now();
        drop(control);
        running.wait();
        assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
        assert_eq!(site.processes_of(PAYLOAD1), []);
    }
}

#[test]
fn processes_that_fork_and_end_without_pause_neither_hold_up_the_run_nor_the_clearing() {
    let comets = "use POSIX; setsid(); for (1..60) { if (!fork) { while (1) { my $p = fork; exit 0 if $p; \
        select undef, undef, undef, 0.001 if !defined $p } } } exit 0";
    for lines in ["", "payload_cgroup = \"auto\""] {
        let site = Site::with_epilogue(&format!("kill_grace = 0\n{lines}"));
        let script = format!("(ulimit -u 300; perl -e '{comets}'); sleep 0.5; exit 5");
        let call = site.glexec(["sh", "-c", &script]).with_status();
        let ran = call.within_time(Duration::from_secs(120)).run();
        ran.exited(5);
        assert_eq!(site.epilogues().len(), 1);
        let ended = ran.records.iter().any(|r| match r {
            Record::Stragglers { found, ended } => *found >= 1 && found == ended,
            _ => false,
        });
        assert!(ended || lines.is_empty(), "in a group of its own nobody is left: {ran:#?}");
        if ended {
            assert_eq!(site.processes_of(PAYLOAD1), [], "{lines}");
        }
        site.end_all();
    }
}

#[test]
fn many_lost_runs_are_ended_side_by_side() {
    let site = Site::with_epilogue("kill_grace = 4\nmax_runs_per_caller = 64");
    let runs: Vec<Running<'_>> = (0..8)
        .map(|_| {
            // What ignores TERM and has left glexec's death signal behind.
            let script = "trap '' TERM; (setsid sleep 300 >/dev/null 2>&1 </dev/null) & \
                sh -c 'trap \"\" TERM; echo up; while :; do sleep 300; done' </dev/null & wait";
            let running = site.glexec(["sh", "-c", script]).with_status().start();
            running.says("up");
            running
        })
        .collect();
    for running in runs {
        running.signal_by("root", libc::SIGKILL).unwrap();
        running.wait();
    }
    let start = Instant::now();
    let call = site.program(["/usr/sbin/glexec-admin", "sweep", "--now"]).by("root");
    let ran = call.within_time(Duration::from_secs(120)).run();
    ran.exited(0);
    assert_eq!(site.epilogues().len(), 8);
    // One after another they would take eight graces.
    assert!(start.elapsed() < Duration::from_secs(24), "{:?}", start.elapsed());
}

#[test]
fn a_sweep_waits_a_moment_for_another_that_has_an_entry() {
    let script = "#!/bin/sh\necho begin >> /var/lib/site/log\nsleep 0.7\n";
    let site = Site::with_epilogue_script(script, "");
    lost(&site, "1");
    let first = site.program(["/usr/sbin/glexec-admin", "sweep"]).by("root").start();
    until("the first pays", || !site.read("/var/lib/site/log").is_empty());
    let second = sweep(&site);
    assert_eq!(second.exited(0).output(), "", "the first has paid, and nobody lives: {second:#?}");
    first.wait().exited(0);
    assert_eq!(site.read("/var/lib/site/log"), "begin\n");
}

#[test]
fn a_socket_to_the_kernel_is_no_status_stream() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let site = Site::with_epilogue("");
    let netlink =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let ran = site.glexec(["true"]).option("--status-fd=7").passing(7, netlink).run();
    ran.exited(201).said_one_sentence();
    assert!(site.epilogues().is_empty());
}

#[test]
fn a_stranger_makes_no_process_of_roots_by_settling() {
    let site = Site::with_epilogue("");
    let ran = site.program([GLEXEC, "--settle", "JOB=1"]).by("other").run();
    ran.exited(0);
    let names: Vec<_> = std::fs::read_dir(site.path(STATE)).unwrap().collect();
    assert!(names.is_empty(), "nor a file: {names:?}");
}

/// Runs something with its output on a file whose last close never ends.
fn with_a_file_that_hangs<'s>(site: &'s Site, directory: &str) -> Running<'s> {
    let script = format!(
        "exec $GLEXEC --status-fd=9 --control-fd=8 sleep 300 >{directory}/f 2>&1 <{directory}/f"
    );
    let running = site.shell(&script).with_status().with_control().start();
    running.started();
    running
}

#[test]
fn a_file_system_that_never_answers_a_close_keeps_no_epilogue_from_running() {
    let site = Site::with_epilogue("kill_grace = 1");
    let sleepy = harness::Sleepy::mount(&site, "/tmp/sleepy");
    let mut running = with_a_file_that_hangs(&site, "/tmp/sleepy");
    let (glexec, _) = running.started();
    for fd in 0..=2 {
        let open = std::fs::read_link(format!("/proc/{glexec}/fd/{fd}")).unwrap();
        assert_eq!(open.display().to_string(), "/dev/null", "descriptor {fd}");
    }
    sleepy.is_waited_for(1);
    // Who waits for it is the caller's, and nobody's straggler; so is the descriptor proxy.
    let beside = crate::descriptor_proxy::helpers(&site, glexec);
    assert!(beside.len() >= 2, "{beside:?}");
    assert!(beside.iter().all(|process| process.uids == [PILOT; 4]), "{beside:?}");
    running.control = None;
    let left = running.record(|record| matches!(record, Record::Stragglers { .. }));
    assert!(matches!(left, Record::Stragglers { found: 0, .. }), "{left:?}");
    until("the epilogue has run", || site.epilogues().len() == 1);
    until("the run has ended", || running.has_ended());
    assert_eq!(runs(&site), [""; 0], "and it is paid");
    drop(sleepy);
    running.wait();
}

#[test]
fn who_hangs_at_a_close_in_a_dead_glexecs_stead_keeps_no_lock_of_its_entry() {
    let site = Site::with_epilogue("kill_grace = 1");
    let sleepy = harness::Sleepy::mount(&site, "/tmp/sleepy");
    let running = with_a_file_that_hangs(&site, "/tmp/sleepy");
    sleepy.is_waited_for(1);
    running.signal_by("root", libc::SIGKILL).unwrap();
    until("it has ended", || running.has_ended());
    let call = site.program(["/usr/sbin/glexec-admin", "sweep", "--now"]).by("root");
    let ran = call.within_time(Duration::from_secs(90)).run();
    ran.exited(0);
    assert!(ran.output().starts_with("paid"), "{ran:#?}");
    assert_eq!(site.epilogues().len(), 1);
    drop(sleepy);
    running.wait();
}

#[test]
fn who_settles_answers_as_the_caller_and_waits_for_no_reader_out_of_its_reach() {
    let script = "#!/bin/sh\necho paid >> /var/lib/site/log\n";
    let site = Site::with_epilogue_script(script, "job_variables = [\"JOB\"]");
    lost(&site, "7");
    let entry = site.read(&format!("{STATE}/{}", runs(&site)[0]));
    for n in 1..=150 {
        site.file(&format!("{STATE}/run.{PILOT}.{PAYLOAD1}.{n}.1"), &entry, 0o600);
    }
    // Over its quota of pipes a user's next one is small; and who is to read it is stopped.
    let caller = format!(
        "for (1..1100) {{ pipe(my $r, my $w) or die; push @p, $r, $w }} \
         my $p = fork; if (!$p) {{ exec '{GLEXEC}', '--settle', 'JOB=7' }} \
         select undef, undef, undef, 0.01 while !-e '/var/lib/site/log'; \
         kill 'STOP', $p; $| = 1; print \"stopped\\n\"; sleep 1000"
    );
    let call = site.program(["/usr/bin/perl", "-e", &caller]);
    let running = call.limited(harness::Limit::Soft(Resource::RLIMIT_NOFILE, 4096)).start();
    running.says("stopped");
    until("all is paid", || runs(&site).is_empty());
    until("nobody out of the caller's reach waits for it", || {
        let all = site.processes_of(0).into_iter();
        all.filter(|p| p.name.starts_with("glexec") && p.uids[0] == 0 && !p.is_zombie()).count()
            == 0
    });
    assert_eq!(site.read("/var/lib/site/log").lines().count(), 151);
}

#[test]
fn an_account_is_free_again_whoever_of_a_refused_run_is_left() {
    let site = Site::alone("");
    site.directory("/var/lib/site/scratch", (PILOT, PILOT), 0o755);
    site.config(
        "[glexec]\nuser_white_list = [\"pilot\"]\nkill_grace = 1\nhand_over = [\"D\"]\n\
         [mapping]\nmethods = [\"pool\"]\n[[mapping.pool]]\ncaller = \"pilot\"\n\
         accounts = \"work[001-002]\"\n",
    );
    let call = site.glexec(["sleep", "300"]).env("D", "/var/lib/site/scratch");
    let has_it = call.with_status().with_control().start();
    has_it.started();
    // The process that says why to a full pipe stays for as long as its caller likes.
    let (_read, full) = pipe2(OFlag::O_CLOEXEC).unwrap();
    fill(&full);
    let refused: Vec<Running<'_>> = (0..3)
        .map(|_| {
            let call = site.shell("exec $GLEXEC true 2>&7").env("D", "/var/lib/site/scratch");
            call.passing(7, full.try_clone().unwrap()).start()
        })
        .collect();
    until("all are refused", || {
        site.log().iter().filter(|line| line.contains("exit_code=20")).count() == 3
    });
    assert!(refused.iter().all(|run| !run.has_ended()), "they wait for a reader");
    site.glexec(["true"]).run().exited(0);
    has_it.order("KILL");
    has_it.wait();
}
