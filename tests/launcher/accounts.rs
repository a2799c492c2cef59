//! Where account look-ups go: the files, or the helper.

use contract::Reason;
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
    service(&site, "NSS_STATUS_NOTFOUND", "NSS_STATUS_NOTFOUND");
    site.file("/etc/nsswitch.conf", "passwd: files trial\ngroup: files trial\n", 0o644);
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
    // The caller's in all but the real uid, so that the caller may not trace it.
    let busy = harness::accounts::named("busy");
    assert_eq!(saw.uids, [65_534, busy.uid, busy.uid, busy.uid]);
    assert_eq!(saw.gids, [busy.gid; 4]);
    assert_eq!(saw.groups, busy.groups);
    assert_eq!(saw.capabilities[1..3], [0, 0]);
    assert!(
        saw.environment.iter().all(|e| !e.starts_with("LD_") && !e.starts_with("GLEXEC_")),
        "{:?}",
        saw.environment
    );
    assert!(saw.descriptors.keys().all(|fd| *fd <= 2), "{:?}", saw.descriptors);
    // For root it runs as nobody.
    std::fs::remove_file(site.path(harness::SAW)).unwrap();
    site.glexec(["true"]).by("root").run();
    let saw = site.epilogues().remove(0);
    assert_eq!((saw.uids, saw.gids), (vec![65_533, 65_534, 65_534, 65_534], vec![65_534; 4]));
    assert_eq!(saw.groups, [0; 0]);
}

#[test]
fn a_right_answer_is_believed_of_a_trusted_helper_that_succeeds_and_is_brief_and_of_no_other() {
    let site = Site::with("account_source = \"nss\"");
    let (helper, real) = ("/usr/libexec/glexec/glexec-accounts", "/usr/libexec/glexec/real");
    std::fs::rename(site.path(helper), site.path(real)).unwrap();
    let answers = |then: &str| format!("#!/bin/sh\n{real} \"$@\" || exit 1\n{then}\n");
    let run = || site.glexec(["actor", "exit", "7"]).with_status().run();
    site.file(helper, answers("exit 0"), 0o755);
    run().exited(7);
    site.file(helper, answers("exit 1"), 0o755);
    run().stopped(Reason::Accounts);
    // 17 MiB of a comment.
    site.file(helper, answers("head -c 17825792 /dev/zero | tr '\\0' '#'"), 0o755);
    run().stopped(Reason::Accounts);
    site.file(helper, answers("head -c 1000000 /dev/zero | tr '\\0' '#'"), 0o755);
    run().exited(7);
    site.file(helper, answers("exit 0"), 0o755);
    for (mode, owner) in [(0o757, (0, 0)), (0o775, (0, harness::accounts::PILOT))] {
        site.own(helper, owner);
        site.mode(helper, mode);
        run().stopped(Reason::Accounts);
    }
    site.own(helper, (harness::accounts::OTHER, 0));
    site.mode(helper, 0o755);
    run().stopped(Reason::Accounts);
    site.own(helper, (0, 0));
    site.mode("/usr/libexec/glexec", 0o777);
    run().stopped(Reason::Accounts);
    site.mode("/usr/libexec/glexec", 0o755);
    run().exited(7);
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

/// Builds and installs the name service `trial`, which says this of an account's groups, having
/// added 42777, and that of any account or group by name or id.
fn service(site: &Site, of_groups: &str, of_names: &str) {
    let text = format!(
        r#"
#include <nss.h>
#include <errno.h>
#include <stddef.h>
#define ARGS void *result, char *room, size_t length, int *errnop
#define SAY(status) {{ if ((status) < 0) *errnop = ECONNREFUSED; return status; }}
int _nss_trial_initgroups_dyn(const char *user, int group, long *start, long *size, int **gids,
                              long limit, int *errnop)
{{ if ({of_groups} == NSS_STATUS_SUCCESS && *start < *size) (*gids)[(*start)++] = 42777; SAY({of_groups}) }}
int _nss_trial_getpwnam_r(const char *name, ARGS) SAY({of_names})
int _nss_trial_getpwuid_r(int id, ARGS) SAY({of_names})
int _nss_trial_getgrnam_r(const char *name, ARGS) SAY({of_names})
int _nss_trial_getgrgid_r(int id, ARGS) SAY({of_names})
"#
    );
    site.file("/tmp/trial.c", text, 0o644);
    let build = "gcc -shared -fPIC -o /usr/lib/libnss_trial.so.2 /tmp/trial.c";
    site.shell(build).by("root").env("PATH", "/usr/bin:/bin").run().exited(0);
}

fn names_a_service(site: &Site, name: &str) {
    let log = site.log();
    assert!(log.iter().any(|line| line.contains(&format!("{name}: "))), "{log:#?}");
}

#[test]
fn a_name_service_that_is_down_takes_no_group_from_a_payload_without_a_word() {
    let site = Site::new();
    let groups = |site: &Site| site.glexec(["actor", "look"]).run().look().groups;
    let files = groups(&site);
    let switch = |text: &str| site.file("/etc/nsswitch.conf", text, 0o644);
    switch("passwd: files\ngroup: files trial\n");
    for fails in ["NSS_STATUS_TRYAGAIN", "NSS_STATUS_UNAVAIL"] {
        service(&site, fails, "NSS_STATUS_NOTFOUND");
        site.glexec(["true"]).with_status().run().stopped(Reason::Accounts);
        names_a_service(&site, "trial");
    }
    service(&site, "NSS_STATUS_NOTFOUND", "NSS_STATUS_NOTFOUND");
    assert_eq!(groups(&site), files);
    service(&site, "NSS_STATUS_SUCCESS", "NSS_STATUS_NOTFOUND");
    assert!(groups(&site).contains(&42_777));
    // One that is not there at all: the site has to install it or to take it out of the line.
    switch("passwd: files\ngroup: files absent\n");
    site.glexec(["true"]).with_status().run().stopped(Reason::Accounts);
    names_a_service(&site, "absent");
    // Which is never asked: the files know the account's groups, and that is the end of the line.
    switch("passwd: files\ngroup: files trial\ninitgroups: files absent\n");
    assert_eq!(groups(&site), files);
    // systemd's may be named without being there.
    service(&site, "NSS_STATUS_NOTFOUND", "NSS_STATUS_NOTFOUND");
    switch("passwd: files systemd trial\ngroup: files systemd trial\n");
    assert_eq!(groups(&site), files);
}

#[test]
fn an_account_that_a_service_cannot_tell_is_not_unknown() {
    let site = Site::with("epilogue_user = \"absent\"\nepilogue = \"/usr/libexec/site/epilogue\"");
    for (says, reason) in [
        ("NSS_STATUS_UNAVAIL", Reason::Accounts),
        ("NSS_STATUS_TRYAGAIN", Reason::Accounts),
        ("NSS_STATUS_NOTFOUND", Reason::EpilogueIdentity),
    ] {
        service(&site, "NSS_STATUS_NOTFOUND", says);
        // Whatever the order is: the C library remembers the last answer alone.
        for line in ["files trial", "trial files"] {
            let switch = format!("passwd: {line}\ngroup: files trial\n");
            site.file("/etc/nsswitch.conf", switch, 0o644);
            let ran = site.glexec(["true"]).with_status().run();
            ran.stopped(reason);
        }
    }
}

#[test]
fn a_group_file_that_cannot_be_opened_takes_no_group_from_a_payload() {
    let site = Site::with("account_source = \"nss\"");
    let strace = which::which("strace").expect("strace is missing: tests/run installs it");
    let strace = strace.to_str().unwrap();
    let files = site.glexec(["actor", "look"]).run().look().groups;
    let (mut refused, mut came) = (0, true);
    for (error, times) in
        [("EMFILE", ""), ("EIO", ""), ("ENOENT", ""), ("EACCES", ""), ("EMFILE", "+")]
    {
        for when in 1..40 {
            let how = format!("inject=openat:error={error}:when={when}{times}");
            let words = ["-f", "-qq", "-o", "/tmp/trace", "-P", "/etc/group", "-e", "trace=openat"];
            let call = site.program([strace]).words(words);
            let ran = call
                .words(["-e", &how, "-u", "pilot", harness::GLEXEC, "actor", "look"])
                .by("root")
                .run();
            came = site.read("/tmp/trace").contains("(INJECTED)");
            if ran.stdout.is_empty() {
                refused += 1;
                assert_eq!(ran.code, Some(202), "{how}: {ran:#?}");
            } else {
                assert_eq!(ran.look().groups, files, "{how}");
            }
            if !came {
                break;
            }
        }
    }
    assert!(refused > 5 && !came, "{refused}");
}

/// Without it the files would be all there is.
#[test]
fn an_nsswitch_file_that_cannot_be_read_is_not_taken_for_none() {
    let site = Site::new();
    let strace = which::which("strace").expect("strace is missing: tests/run installs it");
    let switch = "/etc/nsswitch.conf";
    for (how, code) in [
        ("open,openat:error=EMFILE:when=1", 202),
        ("open,openat:error=EIO:when=1", 202),
        ("read,readv:error=EIO:when=1", 202),
        ("open,openat:error=ENOENT:when=1", 0),
    ] {
        let inject = format!("inject={how}");
        let words = ["-f", "-qq", "-o", "/dev/null", "-P", switch, "-e", &inject, "-u", "pilot"];
        let call = site.program([strace.to_str().unwrap()]).words(words);
        let ran = call.words([harness::GLEXEC, "true"]).by("root").run();
        ran.exited(code);
        assert!(ran.log.iter().any(|line| line.contains("nsswitch.conf cannot be read")));
    }
}
