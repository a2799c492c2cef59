//! The state of a process that root's own program starts with, compared as a whole: under a caller
//! who has set nothing, and under one who has set everything that can be set.

use contract::{Reason, Record};
use harness::accounts::named;
use harness::{Call, EPILOGUE, Limit, Site, State, TOLD, may_raise_limits};
use nix::sys::resource::Resource;
use std::fmt::Write as _;

/// A site whose epilogue tells all of its state.
fn site(lines: &str) -> Site {
    let site = Site::with(&format!("epilogue = \"{EPILOGUE}\"\n{lines}"));
    site.epilogue("#!/usr/local/bin/actor state-into\n");
    site
}

fn last(site: &Site) -> State {
    let text = site.read(TOLD);
    serde_json::from_str(text.lines().last().expect("an epilogue ran")).unwrap()
}

/// Every field in which two states differ, a line each, without those that `may` differ.
fn differences(one: &State, other: &State, may: &dyn Fn(&str) -> bool) -> String {
    let mut told = String::new();
    let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (was, is) = (one.get(name), other.get(name));
        if was != is && !may(name) {
            writeln!(told, "{name}: {was:?}, {is:?}").unwrap();
        }
    }
    told
}

/// What differs between two epilogues whatever the caller does.
fn may_differ(name: &str) -> bool {
    let told = name.strip_prefix("environment: GLEXEC_EPILOG_").unwrap_or_default();
    // Which processes they were, when, and what the payload used.
    let run = told.ends_with("_PID")
        || told.ends_with("PGID")
        || told.ends_with("_SID")
        || told.ends_with("_TIME")
        || ["RUN_ID", "USER_SECONDS", "SYSTEM_SECONDS", "MAX_RSS_KIB"].contains(&told);
    // Binds no process of root's; where glexec may not raise limits the caller's is what there is.
    let processes = name == "limit: Max processes" && !may_raise_limits();
    run || processes
}

/// Hard limits as low as glexec takes them, and soft ones below.
fn limited(call: Call<'_>) -> Call<'_> {
    let mut hard = vec![
        (Resource::RLIMIT_STACK, 8 << 20),
        (Resource::RLIMIT_NOFILE, 1024),
        (Resource::RLIMIT_MEMLOCK, 1 << 16),
        (Resource::RLIMIT_SIGPENDING, 1024),
        (Resource::RLIMIT_MSGQUEUE, 819_200),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NPROC, 500),
    ];
    if may_raise_limits() {
        hard = vec![
            (Resource::RLIMIT_STACK, 1 << 20),
            (Resource::RLIMIT_NOFILE, 64),
            (Resource::RLIMIT_MEMLOCK, 0),
            (Resource::RLIMIT_SIGPENDING, 1),
            (Resource::RLIMIT_MSGQUEUE, 0),
            (Resource::RLIMIT_CORE, 0),
            (Resource::RLIMIT_NPROC, 500),
            (Resource::RLIMIT_RSS, 0),
            (Resource::RLIMIT_LOCKS, 0),
            (Resource::RLIMIT_FSIZE, 1 << 20),
            (Resource::RLIMIT_CPU, 600),
        ];
    }
    let soft = [
        (Resource::RLIMIT_STACK, 1 << 18),
        (Resource::RLIMIT_NOFILE, 64),
        (Resource::RLIMIT_MEMLOCK, 0),
        (Resource::RLIMIT_SIGPENDING, 1),
        (Resource::RLIMIT_MSGQUEUE, 0),
        (Resource::RLIMIT_DATA, 1 << 28),
        (Resource::RLIMIT_AS, 1 << 30),
        (Resource::RLIMIT_FSIZE, 1 << 20),
        (Resource::RLIMIT_CPU, 600),
        (Resource::RLIMIT_RSS, 0),
        (Resource::RLIMIT_LOCKS, 0),
    ];
    let call = hard.into_iter().fold(call, |call, (what, n)| call.limited(Limit::Hard(what, n)));
    soft.into_iter().fold(call, |call, (what, n)| call.limited(Limit::Soft(what, n)))
}

#[test]
fn roots_epilogue_has_the_same_state_whatever_its_caller_has_set() {
    for identity in ["", "epilogue_user = \"keeper\"\nepilogue_group = \"keepers\""] {
        let site = site(identity);
        if !identity.is_empty() {
            use harness::accounts::{KEEPER, KEEPERS};
            site.directory("/var/lib/site", (KEEPER, KEEPERS), 0o755);
        }
        site.glexec(["true"]).run().exited(0);
        let clean = last(&site);
        site.glexec(["true"]).run().exited(0);
        let again = differences(&clean, &last(&site), &may_differ);
        assert!(again.is_empty(), "two clean callers: the comparison itself is wrong\n{again}");
        let hostile = limited(site.glexec(["true"]).closing(&[0, 1, 2]).hostile());
        hostile.run().exited(0);
        let found = differences(&clean, &last(&site), &may_differ);
        assert!(found.is_empty(), "a clean caller, a hostile one:\n{found}");
        // What ends the payload before its main: it died of SIGSEGV, which is told.
        site.glexec(["true"]).without_time().run().exited(139);
        let died = |name: &str| {
            let ending = ["TARGET_RC", "RESULT", "TARGET_SIGNAL"];
            may_differ(name) || ending.iter().any(|end| name.ends_with(end))
        };
        let found = differences(&clean, &last(&site), &died);
        assert!(found.is_empty(), "a clean caller, one without time:\n{found}");
        // And a clean one is what it should be.
        let is = |name: &str| clean.get(name).map_or("-", String::as_str);
        assert_eq!((is("oom_score_adj"), is("coredump_filter")), ("0", "00000033"));
        assert_eq!((is("personality"), is("timerslack_ns")), ("00000000", "50000"));
        assert_eq!((is("status: Umask"), is("limit: Max core file size")), ("0022", "0 0 bytes"));
    }
}

/// What a caller may set of its own processes and a payload that is run natively would have, too.
const CALLERS_OWN: [&str; 22] = [
    "limit: Max cpu time",
    "limit: Max file size",
    "limit: Max data size",
    "limit: Max stack size",
    "limit: Max core file size",
    "limit: Max resident set",
    "limit: Max processes",
    "limit: Max open files",
    "limit: Max locked memory",
    "limit: Max address space",
    "limit: Max file locks",
    "limit: Max pending signals",
    "limit: Max msgqueue size",
    "status: Umask",
    "status: Cpus_allowed",
    "nice",
    "timerslack_ns",
    "oom_score_adj",
    "PR_GET_TSC",
    "PR_GET_THP_DISABLE",
    "ioprio_get",
    "coredump_filter",
];

#[test]
fn the_payload_gets_what_its_caller_has_set_as_if_it_had_been_run_natively() {
    for lines in ["", "linger = false"] {
        let site = Site::with(lines);
        // The loader of a dynamic program would need more memory, and time, than these leave it.
        let own = |call: Call<'_>| {
            let call = call.hostile().limited(Limit::Hard(Resource::RLIMIT_MEMLOCK, 1 << 16));
            let call = call.limited(Limit::Hard(Resource::RLIMIT_CORE, 4096));
            call.limited(Limit::Soft(Resource::RLIMIT_NOFILE, 64)).run()
        };
        let told = |ran: &harness::Ran| -> State {
            serde_json::from_slice(&ran.exited(0).stdout)
                .unwrap_or_else(|e| panic!("{e}: {ran:#?}"))
        };
        let native = told(&own(site.program([harness::ACTOR, "state"])));
        let payload = told(&own(site.glexec(["actor", "state"])));
        for name in CALLERS_OWN {
            assert_eq!(payload.get(name), native.get(name), "{name}, {lines:?}");
            assert!(native.contains_key(name), "{name} is not told at all");
        }
    }
}

#[test]
fn memory_that_can_never_be_executed_is_refused_before_anything_starts() {
    const PR_SET_MDWE: i32 = 65;
    let site = site("");
    let ran = site.glexec(["true"]).control(PR_SET_MDWE, [1, 0, 0]).with_status().run();
    ran.exited(201).stopped(Reason::ProcessState);
    assert!(ran.error().contains("PR_SET_MDWE"), "{ran:#?}");
    assert!(site.read(TOLD).is_empty(), "nothing has started, so nothing is owed");
    // Also for whom it is only looked ahead.
    let ran = site.glexec(["--check", "true"]).control(PR_SET_MDWE, [1, 0, 0]).run();
    ran.exited(201).stopped(Reason::ProcessState);
    // PR_MDWE_NO_INHERIT: gone with the exec of glexec.
    site.glexec(["true"]).control(PR_SET_MDWE, [3, 0, 0]).run().exited(0);
    assert!(!site.read(TOLD).is_empty());
}

#[test]
fn a_hard_limit_that_would_bind_roots_epilogue_is_raised_or_refused() {
    for (resource, value) in [
        (Resource::RLIMIT_MEMLOCK, 0),
        (Resource::RLIMIT_MSGQUEUE, 4096),
        (Resource::RLIMIT_SIGPENDING, 3),
        (Resource::RLIMIT_STACK, 1 << 20),
        (Resource::RLIMIT_NPROC, 2),
    ] {
        let site = site("");
        site.glexec(["true"]).run().exited(0);
        let clean = last(&site);
        let ran = site.glexec(["true"]).limited(Limit::Hard(resource, value)).run();
        if may_raise_limits() {
            ran.exited(0);
            let found = differences(&clean, &last(&site), &may_differ);
            assert!(found.is_empty(), "{resource:?}: {found}");
        } else {
            ran.stopped(Reason::Limits);
            assert_eq!(site.read(TOLD).lines().count(), 1, "{resource:?}: nothing has started");
        }
    }
}

#[test]
fn a_caller_that_may_not_read_the_clock_does_not_end_glexec_in_the_middle() {
    for lines in ["", "linger = false"] {
        let site = Site::with(lines);
        // A native run dies just so.
        let native = site.program(["/usr/bin/true"]).without_time().run();
        assert_eq!(native.signal, Some(libc::SIGSEGV), "{native:#?}");
        let ran = site.glexec(["true"]).without_time().with_status().run();
        let told = ran.records.iter().any(|r| matches!(r, Record::Started { .. }));
        assert!(told, "the payload was started: {ran:#?}");
        match lines {
            "" => assert_eq!(ran.code, Some(139), "{ran:#?}"),
            _ => assert_eq!(ran.signal, Some(libc::SIGSEGV), "{ran:#?}"),
        }
    }
}

#[test]
fn a_payloads_session_keyring_is_its_own_and_not_its_callers() {
    use harness::accounts::PAYLOAD1;
    for lines in ["", "linger = false", "epilogue = \"/usr/libexec/site/epilogue\""] {
        let site = Site::with(lines);
        let ran = site.glexec(["actor", "look"]).keyring().run();
        let (described, secret) = ran.exited(0).look().keyring;
        let owner = format!("keyring;{PAYLOAD1};{PAYLOAD1};");
        assert!(described.starts_with(&owner) && !secret, "{described:?}, {lines:?}");
    }
}

#[test]
fn an_account_whose_quota_of_keys_is_used_up_is_not_kept_from_others() {
    for lines in ["", "linger = false"] {
        let site = Site::with(lines);
        // A uid of this run's own: a quota is of a uid, whatever site it is in, and this test may be
        // under way in another run.
        let own = 1_000_000 + harness::raw::now_ns() % 1_000_000_000;
        let (uid, passwd) = (named("payload6").uid, site.read("/etc/passwd"));
        let as_it_is = format!("\npayload6:x:{uid}:");
        assert!(passwd.contains(&as_it_is), "{passwd}");
        let passwd = passwd.replace(&as_it_is, &format!("\npayload6:x:{own}:"));
        site.file("/etc/passwd", passwd, 0o644);
        let as_hoarder =
            |words: [&str; 2]| site.glexec(words).env("GLEXEC_TARGET_USER", "payload6");
        let hoard = as_hoarder(["actor", "hoard-keys"]).start();
        hoard.says("EDQUOT");
        let ran = as_hoarder(["actor", "look"]).keyring().run();
        let (described, secret) = ran.exited(0).look().keyring;
        assert!(described.starts_with("keyring;0;0;") && !secret, "{described:?}, {lines:?}");
    }
}

#[test]
fn the_account_helper_starts_in_the_same_state_whatever_its_caller_has_set() {
    let site = Site::with("account_source = \"nss\"");
    // In its stead a program that tells its state and fails: nobody else looks at it.
    site.directory("/var/lib/site", (0, 0), 0o1777);
    let told = |call: Call<'_>| -> State {
        let _ = std::fs::remove_file(site.path(TOLD));
        call.run().exited(202);
        serde_json::from_str(site.read(TOLD).lines().next().expect("it ran")).unwrap()
    };
    let helper = "#!/usr/local/bin/actor state-into\n";
    site.file("/usr/libexec/glexec/glexec-accounts", helper, 0o755);
    // It is in the session of its caller, and answers on a pipe.
    let may = |name: &str| may_differ(name) || ["autogroup", "descriptor 1"].contains(&name);
    let clean = told(site.glexec(["true"]));
    let found = differences(&clean, &told(limited(site.glexec(["true"]).hostile())), &may);
    assert!(found.is_empty(), "{found}");
}

/// At glexec's exec the kernel lowers it to 8 MiB, for a setuid program.
#[test]
fn a_caller_has_the_stack_that_it_says() {
    const MIB: u64 = 1 << 20;
    let site = Site::new();
    let stack = |hard: u64, said: Option<&str>| {
        let call =
            site.glexec(["actor", "look"]).limited(Limit::Hard(Resource::RLIMIT_STACK, hard));
        let call = match said {
            Some(said) => call.env("GLEXEC_STACK_LIMIT", said),
            None => call,
        };
        let look = call.run().look();
        assert!(look.variable("GLEXEC_STACK_LIMIT").is_none());
        look.limits["STACK"]
    };
    for (said, soft) in [
        (None, 8 * MIB),
        (Some("67108864"), 64 * MIB),
        (Some("unlimited"), 128 * MIB),
        (Some("4194304"), 4 * MIB),
        (Some("none"), 8 * MIB),
    ] {
        assert_eq!(stack(128 * MIB, said), (soft, 128 * MIB), "{said:?}");
    }
}
