//! System calls that fail, or that lie: the payload runs as the target to the last id, or not
//! at all.

use harness::accounts::{EXTRA_GROUPS, PAYLOAD1};
use harness::{GLEXEC, Look, Site};

/// Runs `actor look` with one call of the launcher's tampered with; what the payload saw, if any.
fn tampered(site: &Site, how: &str) -> (i32, Option<Look>) {
    let strace = which::which("strace").expect("strace is missing: tests/run installs it");
    let inject = format!("inject={how}");
    let words =
        ["-f", "-qq", "-o", "/dev/null", "-e", &inject, "-u", "pilot", GLEXEC, "actor", "look"];
    let ran = site.program([strace.to_str().unwrap()]).words(words).by("root").run();
    let look = (!ran.stdout.is_empty()).then(|| ran.look());
    (ran.code.unwrap_or(-1), look)
}

fn is_the_target(look: &Look) -> bool {
    let groups: Vec<u32> = look.groups.iter().copied().filter(|g| *g != PAYLOAD1).collect();
    look.uids == [PAYLOAD1; 4]
        && look.gids == [PAYLOAD1; 4]
        && groups == EXTRA_GROUPS
        && look.capabilities[..3] == [0; 3]
}

#[test]
fn an_identity_call_that_fails_or_lies_never_gives_a_payload_another_identity() {
    let site = Site::with("linger = false");
    let (code, look) = tampered(&site, "setresuid:error=EAGAIN:when=1000");
    assert!(code == 0 && look.is_some_and(|l| is_the_target(&l)), "without tampering it runs");
    let mut stopped = 0;
    for call in ["setgroups", "setresgid", "setresuid"] {
        for lie in ["error=EAGAIN", "error=EPERM", "retval=0"] {
            for when in 1..=14 {
                let how = format!("{call}:{lie}:when={when}");
                match tampered(&site, &how) {
                    (_, Some(look)) => assert!(is_the_target(&look), "{how}: {look:#?}"),
                    (code, None) => {
                        assert!((201..=203).contains(&code), "{how}: {code}");
                        stopped += 1;
                    }
                }
            }
        }
    }
    assert!(stopped >= 9, "each call matters at least once: {stopped}");
}

#[test]
fn a_lingering_run_is_as_careful() {
    let site = Site::with_epilogue("");
    for call in ["setgroups", "setresgid", "setresuid"] {
        for lie in ["error=EAGAIN", "retval=0"] {
            for when in 1..=12 {
                let how = format!("{call}:{lie}:when={when}");
                let (_, look) = tampered(&site, &how);
                assert!(look.is_none_or(|look| is_the_target(&look)), "{how}");
            }
        }
    }
    // Whatever was tampered with: an epilogue that ran, ran as root with no groups.
    for saw in site.epilogues() {
        assert_eq!((saw.uids, saw.gids, saw.groups), (vec![0; 4], vec![0; 4], vec![]));
    }
}
