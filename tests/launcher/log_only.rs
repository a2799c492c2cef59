//! Log-only mode: glexec not setuid, nothing switched, everything else as always.

use contract::Reason;
use harness::accounts::{GRID, PILOT};
use harness::{GLEXEC, Site};

fn without_setuid(lines: &str) -> Site {
    let site = Site::with(lines);
    site.mode(GLEXEC, 0o555);
    site
}

#[test]
fn the_mapping_is_logged_and_the_payload_runs_as_its_caller() {
    let site = without_setuid("log_only = true");
    let ran = site.glexec(["actor", "look"]).env("SECRET", "x").with_status().run();
    let look = ran.exited(0).look();
    assert_eq!((look.uids.clone(), look.gids.clone()), (vec![PILOT; 4], vec![PILOT; 4]));
    assert!(look.groups.contains(&GRID), "the caller's own groups: {:?}", look.groups);
    assert_eq!((look.variable("USER"), look.variable("SECRET")), (Some("pilot"), None));
    assert_eq!(look.directory, "/home/pilot");
    assert_eq!(look.descriptors.len(), 3, "{:?}", look.descriptors);
    let begin = ran.log.iter().find(|l| l.contains("mapped_user(payload1)"));
    assert!(
        begin.is_some_and(|l| l.contains("real_user(pilot)") && l.contains("log-only")),
        "{ran:#?}"
    );
    site.glexec(["actor", "exit", "202"]).run().exited(202);
}

#[test]
fn who_is_refused_otherwise_is_refused_here() {
    let site = without_setuid("log_only = true");
    site.glexec(["true"]).by("other").with_status().run().stopped(Reason::NotListed);
    let ghost = site.glexec(["true"]).env("GLEXEC_TARGET_USER", "ghost");
    ghost.with_status().run().stopped(Reason::TargetUnknown);
    site.glexec(["nonexistent"]).with_status().run().stopped(Reason::CommandNotFound);
}

#[test]
fn without_the_key_nothing_runs_and_with_both_key_and_bit_nothing_does_either() {
    let site = without_setuid("");
    site.glexec(["echo", "x"]).with_status().run().stopped(Reason::NotSetuid);
    let site = Site::with("log_only = true");
    site.glexec(["echo", "x"]).with_status().run().stopped(Reason::ConfigMalformed);
}
