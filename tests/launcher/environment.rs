//! What payload and epilogue get of the caller's variables, and what they are told.

use contract::Record;
use harness::accounts::{EXTRA_GROUPS, GRID, PAYLOAD1, PILOT};
use harness::{GLEXEC, Look, Site};
use std::collections::BTreeMap;

/// Variables that a payload has without anything of the caller's.
const PLAIN: [&str; 5] = [
    "HOME=/home/payload1",
    "USER=payload1",
    "LOGNAME=payload1",
    "SHELL=/bin/sh",
    "PATH=/usr/local/bin:/usr/bin:/bin",
];

fn sorted(mut entries: Vec<String>) -> Vec<String> {
    entries.sort_unstable();
    entries
}

fn with_plain(more: &[&str]) -> Vec<String> {
    sorted(PLAIN.iter().chain(more).map(|entry| (*entry).to_owned()).collect())
}

#[test]
fn the_epilogue_gets_the_payloads_variables_and_those_of_section_10_and_nothing_more() {
    let site = Site::with_epilogue("job_variables = [\"SLURM_JOB_ID\", \"ABSENT\"]");
    let call = site.glexec(["actor", "look", "two words", "", "ü"]).with_status();
    let call = call.env("GLEXEC_NOTE", "kept").env("SLURM_JOB_ID", "4711.batch").env("SECRET", "x");
    let ran = call.env("GLEXEC_EPILOG_TARGET_RC", "0").env("GLEXEC_EPILOG_ARGV9", "forged").run();
    ran.exited(0);
    let payload = ran.look();
    assert_eq!(sorted(payload.environment.clone()), with_plain(&["GLEXEC_NOTE=kept"]));

    let saw = site.epilogues().remove(0);
    let mut got: BTreeMap<String, String> = BTreeMap::new();
    for entry in &saw.environment {
        let (name, value) = entry.split_once('=').unwrap();
        assert!(got.insert(name.to_owned(), value.to_owned()).is_none(), "{name} is there twice");
    }
    for entry in &payload.environment {
        let (name, value) = entry.split_once('=').unwrap();
        assert_eq!(got.remove(name).as_deref(), Some(value), "{name} is the payload's");
    }
    let mut take = |name: &str| {
        got.remove(&format!("GLEXEC_EPILOG_{name}")).unwrap_or_else(|| panic!("{name} is missing"))
    };
    let Some(Record::Started { glexec_pid, payload_pid, run_id, .. }) = ran.records.first() else {
        panic!("{ran:#?}");
    };
    let exact = [
        ("RUN_ID", run_id.clone()),
        ("ARGV0", "actor".to_owned()),
        ("ARGV1", "look".to_owned()),
        ("ARGV2", "two words".to_owned()),
        ("ARGV3", String::new()),
        ("ARGV4", "ü".to_owned()),
        ("GLEXEC_USER", "pilot".to_owned()),
        ("GLEXEC_GROUP", "pilot".to_owned()),
        ("GLEXEC_UID", PILOT.to_string()),
        ("GLEXEC_GID", PILOT.to_string()),
        ("GLEXEC_SGIDS", GRID.to_string()),
        ("TARGET_USER", "payload1".to_owned()),
        ("TARGET_GROUP", "payload1".to_owned()),
        ("TARGET_UID", PAYLOAD1.to_string()),
        ("TARGET_GID", PAYLOAD1.to_string()),
        ("TARGET_SGIDS", EXTRA_GROUPS.map(|g| g.to_string()).join(":")),
        ("GLEXEC_PID", glexec_pid.to_string()),
        ("GLEXEC_SID", payload.ids[3].to_string()),
        ("TARGET_PGID", payload.ids[2].to_string()),
        ("TARGET_PID", payload_pid.to_string()),
        ("TARGET_RC", "0".to_owned()),
        ("TARGET_HOME", "/home/payload1".to_owned()),
        ("TARGET_CORE_DUMPED", "0".to_owned()),
        ("RESULT", "exited".to_owned()),
        ("STRAGGLERS", "0".to_owned()),
        ("ATTEMPT", "1".to_owned()),
        ("JOB_SLURM_JOB_ID", "4711.batch".to_owned()),
    ];
    for (name, value) in exact {
        assert_eq!(take(name), value, "{name}");
    }
    assert_eq!(take("GLEXEC_PGID"), glexec_pid.to_string(), "the call led a group of its own");
    let (start, end): (u64, u64) =
        (take("START_TIME").parse().unwrap(), take("END_TIME").parse().unwrap());
    assert!(start > 1_700_000_000 && (start..start + 30).contains(&end), "{start} {end}");
    for name in ["USER_SECONDS", "SYSTEM_SECONDS"] {
        assert!((0.0..30.0).contains(&take(name).parse::<f64>().unwrap()), "{name}");
    }
    assert!(take("MAX_RSS_KIB").parse::<u64>().unwrap() > 100);
    assert_eq!(got, BTreeMap::new(), "nothing more");
}

/// What an epilogue has besides `GLEXEC_EPILOG_*`, sorted.
fn besides_what_it_is_told(saw: &Look) -> Vec<String> {
    let rest = saw.environment.iter().filter(|entry| !entry.starts_with("GLEXEC_EPILOG_"));
    sorted(rest.cloned().collect())
}

#[test]
fn with_an_environment_of_its_own_the_epilogue_has_nothing_of_the_callers_but_what_it_is_told() {
    let own = "epilogue_environment = \"own\"\npreserve_env_variables = [\"KEPT\", \"SLURM_*\"]\njob_variables = [\"SLURM_JOB_ID\"]";
    let kept = ["GLEXEC_NOTE=kept", "GLEXEC_TMPDIR=/tmp", "KEPT=1", "SLURM_CONF=/tmp/x"];
    for (user, home) in [("root", "/root"), ("keeper", "/home/keeper")] {
        let site = Site::with_epilogue(&format!("{own}\nepilogue_user = \"{user}\""));
        site.directory("/var/lib/site", (harness::accounts::KEEPER, 0), 0o755);
        let call = |words: &[&str]| {
            let call = kept.iter().fold(site.glexec(words), |call, entry| call.raw_env(*entry));
            call.env("SLURM_JOB_ID", "4711")
        };
        let payload = call(&["actor", "look"]).run().look();
        let with = [&kept[..], &["SLURM_JOB_ID=4711", "TMPDIR=/tmp"]].concat();
        assert_eq!(sorted(payload.environment), with_plain(&with));
        // Of a run that a sweep finds, too.
        let running = call(&["sleep", "20"]).with_status().start();
        running.started();
        running.signal_by("root", libc::SIGKILL).unwrap();
        running.wait();
        let sweep = ["/usr/sbin/glexec-admin", "sweep", "--now"];
        site.program(sweep).env("SLURM_CONF", "/tmp/x").by("root").run().exited(0);
        let all = site.epilogues();
        assert_eq!(all.len(), 2);
        for saw in all {
            let want = [
                &format!("HOME={home}"),
                &format!("LOGNAME={user}"),
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                "SHELL=/bin/sh",
                &format!("USER={user}"),
            ];
            assert_eq!(besides_what_it_is_told(&saw), want);
            assert_eq!(saw.variable("GLEXEC_EPILOG_JOB_SLURM_JOB_ID"), Some("4711"));
            assert_eq!(saw.variable("GLEXEC_EPILOG_TARGET_USER"), Some("payload1"));
        }
    }
}

#[test]
fn with_an_environment_of_its_own_the_epilogue_finds_no_program_of_the_targets() {
    let site = Site::with_epilogue(
        "epilogue_environment = \"own\"\npath = \"/home/payload1/bin:/usr/bin:/bin\"",
    );
    site.directory("/home/payload1/bin", (PAYLOAD1, PAYLOAD1), 0o755);
    site.mode("/home/payload1", 0o755);
    site.file("/home/payload1/bin/date", "#!/bin/sh\necho theirs >/var/lib/site/ran\n", 0o755);
    site.own("/home/payload1/bin/date", (PAYLOAD1, PAYLOAD1));
    site.epilogue("#!/bin/sh\ndate\necho \"$PATH\" >>/var/lib/site/ran\n");
    site.glexec(["true"]).run().exited(0);
    assert_eq!(site.read("/var/lib/site/ran"), "/usr/sbin:/usr/bin:/sbin:/bin\n");
}

/// What a hostile caller would like to reach loaders, shells, interpreters and schedulers with.
const HOSTILE: [&str; 62] = [
    "LD_PRELOAD=/tmp/x.so",
    "LD_LIBRARY_PATH=/tmp",
    "LD_AUDIT=/tmp/x.so",
    "LD_DEBUG=all",
    "LD_SHOW_AUXV=1",
    "LD_BIND_NOW=1",
    "MALLOC_CHECK_=3",
    "MALLOC_ARENA_MAX=1",
    "MALLOC_PERTURB_=1",
    "MALLOC_TRACE=/tmp/x",
    "GLIBC_TUNABLES=glibc.malloc.check=1",
    "GCONV_PATH=/tmp",
    "LOCPATH=/tmp",
    "NLSPATH=/tmp/%N",
    "LANGUAGE=../..",
    "HOSTALIASES=/tmp/x",
    "RES_OPTIONS=x",
    "RESOLV_HOST_CONF=/etc/shadow",
    "TZ=:/tmp/x",
    "TZDIR=/tmp",
    "GETCONF_DIR=/tmp",
    "TMPDIR=/tmp/evil",
    "BASH_ENV=/tmp/x",
    "ENV=/tmp/x",
    "SHELLOPTS=xtrace",
    "BASHOPTS=extdebug",
    "BASH_FUNC_ls%%=() { id; }",
    "PS4=$(id)",
    "IFS=x",
    "CDPATH=/tmp",
    "PYTHONPATH=/tmp",
    "PYTHONSTARTUP=/tmp/x",
    "PYTHONHOME=/tmp",
    "PERL5LIB=/tmp",
    "PERL5OPT=-Mx",
    "PERL5DB=x",
    "PERLLIB=/tmp",
    "RUBYOPT=-rx",
    "RUBYLIB=/tmp",
    "NODE_OPTIONS=--require=/tmp/x",
    "JAVA_TOOL_OPTIONS=-javaagent:/tmp/x",
    "HTTP_PROXY=http://x",
    "http_proxy=x",
    "HOME=/home/pilot",
    "USER=root",
    "LOGNAME=root",
    "SHELL=/tmp/x",
    "PATH=/tmp",
    "MAIL=/x",
    "TERM=x%s",
    "LANG=../x",
    "LISTEN_FDS=3",
    "LISTEN_PID=1",
    "NOTIFY_SOCKET=/x",
    "INVOCATION_ID=1",
    "JOURNAL_STREAM=1:2",
    "DBUS_SESSION_BUS_ADDRESS=x",
    "X509_USER_PROXY=/tmp/pilot",
    "RUST_LOG=trace",
    "RUST_BACKTRACE=full",
    "GLEXEC_EPILOG_TARGET_UID=0",
    "SUDO_COMMAND=x",
];

#[test]
fn of_a_hostile_environment_nothing_reaches_payload_or_epilogue() {
    let site = Site::with_epilogue("");
    let mut call = site.glexec(["actor", "look"]).no_env();
    for entry in HOSTILE {
        call = call.raw_env(entry);
    }
    let ran = call.run();
    ran.exited(0);
    assert!(ran.stderr.is_empty(), "{ran:#?}");
    assert_eq!(sorted(ran.look().environment), with_plain(&[]));
    let saw = site.epilogues().remove(0);
    assert_eq!(besides_what_it_is_told(&saw), with_plain(&[]));
    assert_eq!(saw.variable("GLEXEC_EPILOG_TARGET_UID"), Some("42002"));
}

#[test]
fn entries_that_are_no_variables_are_dropped_and_of_two_alike_only_one_is_seen() {
    let site = Site::with("preserve_env_variables = [\"KEPT\", \"KEEP_*\"]");
    let call =
        site.glexec(["actor", "look"]).no_env().raw_env("noequals").raw_env("=empty").raw_env("");
    let call = call.raw_env("KEPT=1").raw_env("KEPT=2").raw_env("PATH=/a").raw_env("PATH=/b");
    let call = call
        .raw_env(b"KEEP_BYTES=\xff\xfe".to_vec())
        .raw_env("KEEPX=1")
        .raw_env("GLEXEC_BIG=".to_owned() + &"x".repeat(100_000));
    let look = call.run().look();
    assert_eq!(look.environment.iter().filter(|e| e.starts_with("KEPT=")).count(), 1);
    assert_eq!(look.environment.iter().filter(|e| e.starts_with("PATH=")).count(), 1);
    assert_eq!(look.variable("KEEP_BYTES"), Some("\u{fffd}\u{fffd}"));
    assert_eq!(look.variable("GLEXEC_BIG").map(str::len), Some(100_000));
    assert_eq!(
        look.environment.len(),
        PLAIN.len() + 3,
        "{:#?}",
        look.environment.iter().map(|e| e.get(..40)).collect::<Vec<_>>()
    );
}

#[test]
fn an_exported_shell_function_is_dropped_even_where_its_name_is_listed() {
    let site = Site::with("preserve_env_variables = [\"FOO\", \"BAR\"]");
    let look =
        site.glexec(["actor", "look"]).env("FOO", "() { :; }; id").env("BAR", "(a)").run().look();
    assert_eq!((look.variable("FOO"), look.variable("BAR")), (None, Some("(a)")));
}

#[test]
fn a_glexec_tmpdir_becomes_the_payloads_tmpdir_where_it_is_absolute() {
    let site = Site::new();
    let tmpdir = |value: &str| {
        let look: Look = site
            .glexec(["actor", "look"])
            .env("GLEXEC_TMPDIR", value)
            .env("TMPDIR", "/lost")
            .run()
            .look();
        look.variable("TMPDIR").map(str::to_owned)
    };
    assert_eq!(tmpdir("/scratch").as_deref(), Some("/scratch"));
    assert_eq!(tmpdir("scratch"), None);
    assert_eq!(tmpdir(""), None);
}

#[test]
fn the_environment_does_not_change_what_glexec_itself_does() {
    let site = Site::new();
    site.program(["/usr/bin/mkfifo", "/tmp/fifo"]).run().exited(0);
    let call = site.glexec(["actor", "exit", "3"]).env("TZ", ":/tmp/fifo").env("RUST_LOG", "trace");
    let ran = call
        .env("RUST_BACKTRACE", "full")
        .env("RUST_MIN_STACK", "99999999999")
        .env("NO_COLOR", "1")
        .run();
    ran.exited(3);
    assert!(ran.stderr.is_empty(), "{ran:#?}");
    let lines = ran.log.len();
    let plain = site.program([GLEXEC, "actor", "exit", "3"]).run();
    assert_eq!(plain.log.len(), 2 * lines, "the log is as long without them: {:#?}", plain.log);
}

#[test]
fn a_jobs_own_variables_are_the_payloads_and_never_the_epilogues() {
    let own = "job_environment = \"all\"\nepilogue_environment = \"own\"";
    let site = Site::with_epilogue(own);
    let mine = ["LD_LIBRARY_PATH=/sw/lib", "PYTHONPATH=/sw", "BASH_ENV=/sw/rc"];
    let call = |site: &Site, names: &str| {
        let call = site.glexec(["actor", "look"]).env("PILOT_SECRET", "x").env("HOME", "/evil");
        let call = mine.iter().fold(call, |call, entry| call.raw_env(*entry));
        call.env("GLEXEC_JOB_ENVIRONMENT", names).run().look().environment
    };
    let static_glexec = harness::flavour() == "musl";
    let kept = |entry: &&&str| static_glexec || !entry.starts_with("LD_");
    let mine_kept: Vec<&str> = mine.iter().filter(kept).copied().collect();
    let names = "LD_LIBRARY_PATH PYTHONPATH BASH_ENV HOME";
    assert_eq!(sorted(call(&site, names)), with_plain(&mine_kept));
    let every = call(&site, "*");
    assert!(every.contains(&"PILOT_SECRET=x".to_owned()), "{every:?}");
    assert!(every.contains(&"HOME=/home/payload1".to_owned()), "{every:?}");
    for saw in site.epilogues() {
        let beside = besides_what_it_is_told(&saw);
        assert!(!beside.iter().any(|entry| entry.contains("/sw") || entry.contains("SECRET")));
    }
    // The caller says what is the job's; the site says whether that counts.
    site.settings("");
    assert_eq!(sorted(call(&site, names)), with_plain(&[]));
    let site = Site::with_epilogue("job_environment = \"all\"");
    let ran = site.glexec(["true"]).with_status().run();
    ran.stopped(contract::Reason::ConfigMalformed);
    assert!(ran.log.iter().any(|line| line.contains("epilogue_environment")), "{ran:#?}");
}
