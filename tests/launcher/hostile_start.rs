//! What a hostile caller leaves in the process before glexec draws its first breath.

use contract::Reason;
use harness::{Limit, Ran, Site, may_raise_limits};
use nix::sys::resource::Resource;
use std::fs::File;
use std::time::Duration;

#[test]
fn signals_that_the_caller_ignored_or_blocked_do_not_hang_or_lose_the_code() {
    let site = Site::with_epilogue("");
    let every: Vec<i32> =
        (1..=64).filter(|n| ![libc::SIGKILL, libc::SIGSTOP].contains(n)).collect();
    for signals in [&[libc::SIGCHLD][..], &[libc::SIGTERM, libc::SIGUSR1], &every] {
        let soon = Duration::from_secs(5);
        let ran = site.glexec(["actor", "look"]).ignoring(signals).within_time(soon).run();
        assert_eq!(
            (ran.exited(0).look().ignored, ran.look().blocked),
            (0, 0),
            "ignored {signals:?}"
        );
        let ran = site.glexec(["actor", "look"]).blocking(signals).within_time(soon).run();
        assert_eq!(
            (ran.exited(0).look().ignored, ran.look().blocked),
            (0, 0),
            "blocked {signals:?}"
        );
        site.glexec(["actor", "exit", "42"]).ignoring(signals).blocking(signals).run().exited(42);
        site.glexec(["actor", "die", "15"]).ignoring(signals).blocking(signals).run().exited(143);
    }
    let saw = site.epilogues();
    assert_eq!(saw.len(), 12, "one for each run");
    for saw in saw {
        assert_eq!((saw.ignored, saw.blocked), (0, 0), "the epilogue has default signals");
    }
}

#[test]
fn ignored_signals_are_undone_where_no_descriptor_is_left_to_look_which_they_are() {
    let site = Site::with_epilogue("");
    let signals = [libc::SIGCHLD, libc::SIGUSR1, 64];
    // 0 to 2 are all that it may have open when it looks; it raises that afterwards.
    let call = site.glexec(["/bin/true"]).ignoring(&signals);
    // The payload's loader fails for want of one; the epilogue has what root's program has.
    call.limited(Limit::Soft(Resource::RLIMIT_NOFILE, 3)).run().exited(127);
    let saw = site.epilogues();
    assert_eq!(saw.iter().map(|saw| saw.ignored).collect::<Vec<_>>(), [0]);
}

#[test]
fn the_payload_has_a_default_sigpipe() {
    for lines in ["", "linger = false"] {
        let site = Site::with(lines);
        let ran = site
            .glexec(["grep", "-E", "SigIgn|SigBlk", "/proc/self/status"])
            .ignoring(&[libc::SIGPIPE])
            .run();
        let zero = "0000000000000000";
        assert_eq!(ran.output().split_whitespace().filter(|w| *w == zero).count(), 2, "{ran:#?}");
        site.glexec(["sh", "-c", "yes | head -1; exit 7"]).run().exited(7);
    }
}

#[test]
fn closed_standard_descriptors_are_dev_null_and_never_a_file_of_glexecs() {
    let site =
        Site::with_epilogue("log_destination = \"file\"\nlog_file = \"/var/log/glexec/log\"");
    let script = "echo out; echo err >&2; exec actor look-into";
    site.directory("/var/lib/site", (0, 0), 0o777);
    for closed in [&[0][..], &[1], &[2], &[0, 1], &[1, 2], &[0, 2], &[0, 1, 2]] {
        site.file(harness::SAW, "", 0o666);
        site.glexec(["sh", "-c", script]).closing(closed).run().exited(0);
        let payload = site.epilogues().remove(0);
        let numbers: Vec<i32> = payload.descriptors.keys().copied().filter(|n| *n < 200).collect();
        assert_eq!(numbers, [0, 1, 2], "closed {closed:?}: {:?}", payload.descriptors);
        for fd in closed {
            assert_eq!(payload.descriptors[fd], "/dev/null", "closed {closed:?}");
        }
    }
    let log = site.read("/var/log/glexec/log");
    assert!(!log.lines().any(|line| line == "out" || line == "err"), "{log}");
    assert!(log.contains("pilot"), "{log}");
}

#[test]
fn no_descriptor_of_the_callers_reaches_payload_or_epilogue() {
    let site = Site::with_epilogue("");
    let mut call = site.glexec(["actor", "look"]);
    for number in 3..150 {
        call = call.passing(
            number,
            File::open("/etc/hostname").or_else(|_| File::open("/etc/passwd")).unwrap(),
        );
    }
    let payload = call.run().look();
    assert_eq!(
        payload.descriptors.keys().copied().collect::<Vec<_>>(),
        [0, 1, 2],
        "{:?}",
        payload.descriptors
    );
    let saw = site.epilogues().remove(0);
    let null = |n: i32| (n, "/dev/null".to_owned());
    assert_eq!(saw.descriptors.into_iter().collect::<Vec<_>>(), [null(0), null(1), null(2)]);
}

/// Either everything, epilogue included, or 201 `limits` and nothing: never a half of it.
fn full_success_or_refusal(site: &Site, ran: &Ran, epilogues_before: usize) {
    let epilogues = site.epilogues().len() - epilogues_before;
    if may_raise_limits() {
        assert_ne!(ran.code, Some(201), "glexec may raise it: {ran:#?}");
        assert_eq!(epilogues, 1, "{ran:#?}");
    } else {
        ran.stopped(Reason::Limits);
        assert_eq!(epilogues, 0, "{ran:#?}");
    }
}

#[test]
fn a_soft_limit_binds_the_payload_and_neither_glexec_nor_the_epilogue() {
    let site = Site::with_epilogue("");
    let wide = |look: &harness::Look, name: &str| look.limits[name].0;
    let limits = [
        (Resource::RLIMIT_FSIZE, "FSIZE", 0),
        (Resource::RLIMIT_NOFILE, "NOFILE", 4),
        (Resource::RLIMIT_STACK, "STACK", 1 << 16),
        (Resource::RLIMIT_CPU, "CPU", 5),
        (Resource::RLIMIT_DATA, "DATA", 16 << 20),
        (Resource::RLIMIT_AS, "AS", 64 << 20),
        (Resource::RLIMIT_NPROC, "NPROC", 500),
    ];
    for (n, (resource, name, value)) in limits.into_iter().enumerate() {
        // `look` of the payload shows the caller's own limit; NOFILE 4 leaves it no room to look.
        let ran = site.glexec([
            "prlimit",
            "--noheadings",
            "--raw",
            "--output",
            "SOFT",
            &format!("--{}", name.to_lowercase()),
        ]);
        let ran = ran.limited(Limit::Soft(resource, value)).run();
        let shown: u64 =
            ran.exited(0).output().trim().parse().unwrap_or_else(|_| panic!("{name}: {ran:#?}"));
        assert_eq!(shown, value, "{name} for the payload");
        let saw = site.epilogues();
        assert_eq!(saw.len(), n + 1, "{name}");
        assert!(wide(&saw[n], name) > value, "{name} for the epilogue: {}", wide(&saw[n], name));
    }
}

#[test]
fn a_hard_limit_that_is_too_low_is_raised_or_stops_the_run_before_anything_starts() {
    let site = Site::with_epilogue("");
    for (resource, value) in [
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_FSIZE, 10),
        (Resource::RLIMIT_STACK, 1 << 16),
        (Resource::RLIMIT_NOFILE, 16),
        (Resource::RLIMIT_CPU, 3),
        (Resource::RLIMIT_AS, 64 << 20),
        (Resource::RLIMIT_DATA, 16 << 20),
    ] {
        let before = site.epilogues().len();
        let ran = site.glexec(["true"]).limited(Limit::Hard(resource, value)).run();
        full_success_or_refusal(&site, &ran, before);
    }
}

#[test]
fn any_small_number_of_descriptors_is_full_success_or_refusal() {
    let site = Site::with_epilogue("");
    for number in 0..=6 {
        let call = site.glexec(["/bin/true"]).limited(Limit::Soft(Resource::RLIMIT_NOFILE, number));
        let ran = call.within_time(Duration::from_secs(5)).run();
        if number < 3 && harness::flavour() == "musl" {
            // musl's start-up code looks at 0, 1 and 2 with one poll(2), which the kernel refuses
            // for more descriptors than the limit, and ends the program. Nothing has run by then.
            assert_eq!((ran.signal, ran.output().as_str()), (Some(libc::SIGSEGV), ""), "{ran:#?}");
            assert!(ran.log.is_empty() && site.epilogues().is_empty(), "{ran:#?}");
            continue;
        }
        // The payload's loader opens libraries: with no descriptor left it fails by itself.
        let own = if number <= 3 { 127 } else { 0 };
        ran.exited(own);
        let before = site.epilogues().len();
        let call = site.glexec(["/bin/true"]).limited(Limit::Hard(Resource::RLIMIT_NOFILE, number));
        let ran = call.within_time(Duration::from_secs(5)).run();
        if number > 3 || may_raise_limits() {
            full_success_or_refusal(&site, &ran, before);
        } else {
            // Not one descriptor is left to log with, and no right to have more.
            ran.exited(201).said_one_sentence();
            assert_eq!(site.epilogues().len(), before);
        }
    }
}

#[test]
fn the_callers_process_limit_does_not_stop_glexec_or_the_epilogue() {
    let site = Site::with_epilogue("");
    site.glexec(["actor", "exit", "42"])
        .limited(Limit::Hard(Resource::RLIMIT_NPROC, 50))
        .run()
        .exited(42);
    assert_eq!(site.epilogues().len(), 1);
}

#[test]
fn slack_and_priority_of_the_caller_do_not_bind_the_epilogue() {
    let site = Site::with_epilogue("");
    let ran = site.glexec(["actor", "look"]).slack(20_000_000_000).nice(19).umask(0).run();
    let payload = ran.exited(0).look();
    assert_eq!((payload.nice, payload.umask), (19, 0), "the payload keeps what is the caller's");
    let saw = site.epilogues().remove(0);
    assert_eq!((saw.nice, saw.umask, saw.slack), (0, 0o022, 50_000));
}

#[test]
fn with_a_huge_timer_slack_a_grace_does_not_take_longer() {
    let site = Site::with_epilogue("kill_grace = 1");
    let start = std::time::Instant::now();
    site.glexec(["actor", "storm", "5"]).slack(30_000_000_000).run().exited(5);
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}

#[test]
fn keys_of_the_callers_session_are_out_of_reach() {
    for lines in ["", "linger = false"] {
        let site = Site::with(lines);
        let seen = site.program([harness::ACTOR, "look"]).keyring().run().look();
        assert!(seen.keyring.1, "the caller itself has the secret: {:?}", seen.keyring);
        let payload = site.glexec(["actor", "look"]).keyring().run().look();
        assert!(!payload.keyring.1, "{:?}", payload.keyring);
        assert!(!payload.keyring.0.contains("e2e-login"), "{:?}", payload.keyring);
    }
    let site = Site::with_epilogue("");
    site.glexec(["actor", "look"]).keyring().run().exited(0);
    let saw = site.epilogues().remove(0);
    assert!(!saw.keyring.1 && !saw.keyring.0.contains("e2e-login"), "{:?}", saw.keyring);
}

#[test]
fn inheritable_capabilities_of_the_caller_reach_nobody() {
    for (lines, epilogues) in
        [("epilogue = \"/usr/libexec/site/epilogue\"", 1), ("linger = false", 0)]
    {
        let site = Site::with(lines);
        let own = site.program([harness::ACTOR, "look"]).inheritable_capabilities().run().look();
        assert_ne!(own.capabilities[0], 0, "the caller itself has some");
        let payload = site.glexec(["actor", "look"]).inheritable_capabilities().run().look();
        let [inheritable, permitted, effective, _, ambient] = payload.capabilities[..] else {
            panic!()
        };
        assert_eq!([inheritable, permitted, effective, ambient], [0; 4]);
        let saw = site.epilogues();
        assert_eq!(saw.len(), epilogues);
        assert!(saw.iter().all(|saw| saw.capabilities[0] == 0 && saw.capabilities[4] == 0));
    }
}

#[test]
fn securebits_of_the_caller_do_not_let_capabilities_survive_the_switch() {
    // SECBIT_NO_SETUID_FIXUP: a change of uid would then keep every capability.
    for lines in ["", "linger = false"] {
        let site = Site::with(lines);
        // Were they left as they are, the proof of the payload's identity would end the run.
        let payload = site.glexec(["actor", "look"]).securebits(0x4).run();
        assert_eq!(payload.exited(0).look().capabilities[..3], [0; 3], "{lines}");
    }
}
