//! `--check`: everything up to the plan, log and state directory tried, nothing started.

use contract::Reason;
use harness::Site;

#[test]
fn a_rehearsal_shows_what_would_happen_and_does_nothing() {
    let site = Site::with_epilogue("");
    let call = site
        .glexec(["--check", "sh", "-c", "echo ran > /tmp/ran"])
        .env("GLEXEC_NOTE", "secret-value");
    let ran = call.run();
    let shown = ran.exited(0).output();
    for part in [
        "payload1",
        "42002",
        "42110",
        "42111",
        "/home/payload1",
        "GLEXEC_NOTE",
        "epilogue",
        "trusted",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(!shown.contains("secret-value"), "names, no values: {shown}");
    assert!(site.read("/tmp/ran").is_empty());
    assert!(site.epilogues().is_empty());
}

#[test]
fn a_rehearsal_ends_as_the_run_would() {
    let site = Site::with_epilogue("");
    let check = |words: &[&str]| site.glexec(["--check"]).words(words).run();
    check(&["nonexistent"]).exited(201).said_one_sentence();
    check(&[]).exited(201).said_one_sentence();
    site.glexec(["--check", "true"]).by("other").run().stopped(Reason::NotListed);
    site.glexec(["--check", "true"])
        .env("GLEXEC_TARGET_USER", "root")
        .run()
        .stopped(Reason::TargetNotAdmitted);
    site.mode(harness::EPILOGUE, 0o777);
    let ran = check(&["true"]);
    ran.exited(202);
    let all = ran.output() + &ran.error();
    assert!(!all.contains(harness::EPILOGUE), "a caller learns trusted or not, no paths: {all}");
    site.config("[glexec]\nlingr = true\n");
    check(&["true"]).stopped(Reason::ConfigMalformed);
}

#[test]
fn a_rehearsal_starts_nothing_as_the_target() {
    let site = Site::new();
    let uid = harness::accounts::PAYLOAD1;
    site.glexec(["--check", "sleep", "5"]).run().exited(0);
    assert_eq!(site.processes_of(uid), []);
}

/// The names in the state directory.
fn remembered(site: &Site) -> Vec<String> {
    let names = site.shell("ls -A /var/lib/glexec").by("root").run().output();
    names.lines().map(str::to_owned).collect()
}

#[test]
fn rehearsals_without_end_and_killed_at_any_moment_fill_nothing_and_are_no_runs() {
    let site = Site::with_epilogue("max_runs_per_caller = 1");
    let strace = which::which("strace").expect("strace is missing: tests/run installs it");
    let strace = strace.to_str().unwrap();
    // Dead with its file made, written, emptied: what comes before the name goes.
    for (call, when) in [("ftruncate", 1), ("ftruncate", 2), ("unlinkat", 1)].repeat(4) {
        let inject = format!("inject={call}:signal=KILL:when={when}");
        let words = ["-qq", "-o", "/tmp/trace", "-e", &inject, "-u", "pilot", harness::GLEXEC];
        let killed =
            site.program([strace]).words(words).words(["--check", "true"]).by("root").run();
        assert_ne!(killed.code, Some(0), "{call} {when}: {killed:#?}");
    }
    let left = remembered(&site);
    assert_eq!(left, ["new.trial.42001.0"], "what a killed one has left is used again");
    let ps = site.program(["/usr/sbin/glexec-admin", "ps", "--json"]).by("root").run();
    assert_eq!(ps.exited(0).output().trim(), "[]");
    let sweep = site.program(["/usr/sbin/glexec-admin", "sweep"]).by("root").run();
    sweep.exited(0);
    site.glexec(["actor", "exit", "7"]).run().exited(7);
    // One that is let be leaves nothing.
    site.glexec(["--check", "true"]).run().exited(0);
    assert_eq!(remembered(&site), Vec::<String>::new());
}

#[test]
fn a_stopped_rehearsal_holds_up_nobody_and_each_leaves_one_short_line() {
    let site = Site::with_epilogue("");
    let long = "x".repeat(60_000);
    let ran = site.glexec(["--check", "true", &long]).run();
    let line = ran.exited(0).log.last().cloned().unwrap_or_default();
    assert!(line.contains("rehearsal: real_user(pilot)") && line.len() < 400, "{line}");
    // Locks of somebody else's on every name that a rehearsal tries: it goes on, and so does a run.
    let held = "for n in 0 1 2 3; do : > /var/lib/glexec/new.trial.42001.$n; done; \
        exec perl -MFcntl=:DEFAULT,:flock -e '$l = pack(\"s s x4 q q l x4\", 1, 0, 0, 0, 0); \
        for (0..3) { open($f[$_], \"+<\", \"/var/lib/glexec/new.trial.42001.$_\") or die; fcntl($f[$_], F_SETLK, $l) or die } \
        open(F, \">\", \"/tmp/held\"); close F; sleep 60'";
    let holder = site.shell(held).by("root").start();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !site.path("/tmp/held").exists() {
        assert!(std::time::Instant::now() < until, "nobody holds the locks");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let begin = std::time::Instant::now();
    site.glexec(["--check", "true"]).run().exited(0);
    assert!(begin.elapsed() < std::time::Duration::from_secs(2), "{:?}", begin.elapsed());
    site.glexec(["actor", "exit", "7"]).run().exited(7);
    drop(holder);
}

#[test]
fn help_and_version_are_for_everybody_and_the_paths_for_root() {
    let site = Site::new();
    for who in ["pilot", "other"] {
        let ran = site.glexec(["--help"]).by(who).run();
        assert!(ran.exited(0).output().contains("--status-fd"), "{ran:#?}");
        assert_eq!(site.glexec(["-h"]).by(who).run().exited(0).output(), ran.output());
        let ran = site.glexec(["--version"]).by(who).run();
        let told = ran.exited(0).output();
        let flavour = ["musl)\n", "glibc)\n"].iter().any(|flavour| told.ends_with(flavour));
        assert!(told.starts_with("glexec 0.1.0 (") && flavour, "{told}");
        site.glexec(["-v"]).by(who).run().exited(0);
        assert_ne!(site.glexec(["-V"]).by(who).run().code(), 0);
    }
    let ran = site.glexec(["-V"]).by("root").run();
    assert!(ran.exited(0).output().contains("/etc/glexec.toml"), "{ran:#?}");
}

#[test]
fn help_is_there_without_any_configuration() {
    let site = Site::new();
    std::fs::remove_file(site.path(harness::CONFIG)).unwrap();
    site.glexec(["--help"]).run().exited(0);
    site.glexec(["--version"]).run().exited(0);
}
