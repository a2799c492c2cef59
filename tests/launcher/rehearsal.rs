//! `--check`: everything up to the plan, nothing done.

use glexec::contract::Reason;
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
