//! Where account look-ups go: the files, or the helper.

use glexec::contract::Reason;
use harness::Site;

#[test]
fn the_helper_gives_the_same_identity_as_the_files() {
    let site = Site::with_epilogue("");
    let seen = |site: &Site| {
        let look = site.glexec(["actor", "look"]).run().look();
        (look.uids, look.gids, look.groups, look.environment)
    };
    let files = seen(&site);
    for lines in
        ["account_source = \"nss\"", "account_source = \"files\"", "account_source = \"auto\""]
    {
        site.settings(&format!("epilogue = \"{}\"\n{lines}", harness::EPILOGUE));
        assert_eq!(seen(&site), files, "{lines}");
    }
    // More than files and systemd: asked of the helper.
    site.file("/etc/nsswitch.conf", "passwd: files sss\ngroup: files sss\n", 0o644);
    assert_eq!(seen(&site), files);
    let all = site.epilogues();
    let names = |n: usize| {
        ["GLEXEC_USER", "GLEXEC_GROUP", "TARGET_GROUP", "TARGET_SGIDS"]
            .map(|v| all[n].variable(&format!("GLEXEC_EPILOG_{v}")).map(str::to_owned))
    };
    assert!((1..all.len()).all(|n| names(n) == names(0)), "{all:#?}");
}

#[test]
fn a_helper_that_fails_hangs_or_lies_makes_nobody_a_target() {
    use std::time::{Duration, Instant};
    let site = Site::with("account_source = \"nss\"");
    let helper = "/usr/libexec/glexec/glexec-accounts";
    for (what, script, codes) in [
        ("exits 1", "#!/bin/sh\nexit 1\n", &[202][..]),
        ("says nothing", "#!/bin/sh\nexit 0\n", &[202, 203]),
        ("says rubbish", "#!/bin/sh\nhead -c 100000 /dev/zero\n", &[202]),
        ("never ends", "#!/bin/sh\nsleep 60\n", &[202]),
        ("talks without end", "#!/bin/sh\nexec yes\n", &[202]),
    ] {
        site.file(helper, script, 0o755);
        let start = Instant::now();
        let ran = site.glexec(["true"]).with_status().run();
        assert!(codes.contains(&ran.code()), "{what}: {ran:#?}");
        ran.said_one_sentence();
        assert!(start.elapsed() < Duration::from_secs(25), "{what}: {:?}", start.elapsed());
    }
    std::fs::remove_file(site.path(helper)).unwrap();
    site.glexec(["true"]).with_status().run().stopped(Reason::Accounts);
}

#[test]
fn the_helper_is_run_with_the_callers_rights_and_a_clean_environment() {
    let site = Site::with("account_source = \"nss\"");
    site.directory("/var/lib/site", (0, 0), 0o1777);
    site.file("/usr/libexec/glexec/glexec-accounts", "#!/usr/local/bin/actor look-into\n", 0o755);
    let call = site
        .glexec(["true"])
        .by("busy")
        .env("LD_PRELOAD", "/tmp/x.so")
        .env("GLEXEC_NOTE", "x")
        .umask(0);
    let call = call.passing(7, std::fs::File::open("/etc/passwd").unwrap());
    let ran = call.run();
    assert!(matches!(ran.code, Some(202 | 203)), "{ran:#?}");
    let saw = site.epilogues().remove(0);
    assert!(saw.uids.iter().all(|uid| *uid != 0), "{saw:#?}");
    assert_eq!(saw.capabilities[1..3], [0, 0]);
    assert!(
        saw.environment.iter().all(|e| !e.starts_with("LD_") && !e.starts_with("GLEXEC_")),
        "{:?}",
        saw.environment
    );
    assert!(saw.descriptors.keys().all(|fd| *fd <= 2), "{:?}", saw.descriptors);
}

#[test]
fn a_caller_in_group_0_can_be_looked_up_by_the_helper_too() {
    let site = Site::with("account_source = \"nss\"");
    site.glexec(["actor", "exit", "7"]).by_ids(harness::accounts::PILOT, 0, &[0]).run().exited(7);
}

#[test]
fn an_account_database_that_cannot_be_used_is_the_sites_fault() {
    let site = Site::with("account_source = \"files\"");
    let good = site.read("/etc/passwd");
    site.mode("/etc/passwd", 0o666);
    let open = site.glexec(["true"]).run();
    assert!(matches!(open.code, Some(202)), "writable by everybody: {open:#?}");
    let huge = format!("x:{}\n{good}", "y".repeat(10 << 20));
    site.file("/etc/passwd", huge, 0o644);
    let start = std::time::Instant::now();
    let ran = site.glexec(["true"]).run();
    assert!(matches!(ran.code, Some(0 | 202)), "{ran:#?}");
    assert!(start.elapsed() < std::time::Duration::from_secs(2));
    std::fs::remove_file(site.path("/etc/passwd")).unwrap();
    site.glexec(["true"]).run().exited(202).said_one_sentence();
}
