//! What an administrator does besides looking: `explain`, `init`, `selftest`.

use harness::{CONFIG, EPILOGUE, Ran, Site};

fn admin(site: &Site, words: &[&str]) -> Ran {
    site.program(["/usr/sbin/glexec-admin"]).words(words).by("root").run()
}

#[test]
fn what_explain_shows_of_the_log_is_what_the_log_says() {
    let site = Site::new();
    let service = || site.glexec(["true"]).env("GLEXEC_TARGET_USER", "service").run();
    let mut seen = vec![
        ("usage", site.glexec(["--colour"]).run()),
        ("no-command", site.glexec(["--"]).run()),
        ("command-not-found", site.glexec(["/nonexistent"]).run()),
        ("not-listed", site.glexec(["true"]).by("other").run()),
        ("target-not-admitted", service()),
    ];
    site.config("[glexec]\nlingr = true\n");
    seen.push(("malformed", site.glexec(["true"]).run()));
    site.config("[glexec]\nuser_white_list = [\"pilot\"]\n");
    seen.push(("no-mapping", site.glexec(["true"]).run()));
    site.config("[glexec]\nuser_white_list = [\"pilot\"]\n[mapping]\nbanned = [\"pilot\"]\n");
    seen.push(("banned", site.glexec(["true"]).run()));
    site.shell(&format!("rm {CONFIG}")).by("root").run().exited(0);
    seen.push(("missing", site.glexec(["true"]).run()));
    for (word, ran) in seen {
        let line = ran.log.last().unwrap_or_else(|| panic!("{word}: {ran:#?}"));
        let line = line
            .split_once("]: ")
            .expect(line)
            .1
            .replace("caller other", "caller pilot")
            .replace("caller 42001", "caller pilot");
        let told = admin(&site, &["explain", word]).exited(0).output();
        assert!(told.contains(&line), "{word}: the log says\n{line}\nand explain\n{told}");
        let code = ran.code().to_string();
        assert!(told.contains(&format!("exit code {code}")), "{told}");
        assert!(admin(&site, &["explain", &code]).exited(0).output().contains(word), "{word}");
    }
}

#[test]
fn explain_lists_every_word_and_knows_no_other() {
    let site = Site::new();
    let list = admin(&site, &["explain"]).exited(0).output();
    for word in ["201", "204", "audit", "no-free-account", "not-started"] {
        assert!(list.contains(&format!("  {word} ")), "{word} in {list}");
    }
    let ran = admin(&site, &["explain", "not-a-word\u{7}"]);
    assert!(ran.exited(1).output().is_empty() && ran.error().contains("explain lists"), "{ran:#?}");
    assert!(!ran.error().contains('\u{7}'), "{ran:#?}");
    // Anybody may ask.
    site.program(["/usr/sbin/glexec-admin", "explain", "202"]).by("other").run().exited(0);
}

#[test]
fn what_init_writes_is_enough_for_a_run_with_each_scheduler() {
    for scheduler in ["none", "slurm", "condor"] {
        let site = Site::new();
        site.shell(&format!("rm {CONFIG}")).by("root").run().exited(0);
        let words =
            ["init", "--scheduler", scheduler, "--caller", "pilot", "@g1", "--account", "payload1"];
        let told = admin(&site, &words).exited(0).output();
        for part in
            [CONFIG, "/dev/log takes a line", "glexec-admin check", "selftest --caller pilot"]
        {
            assert!(told.contains(part), "{part} in {told}");
        }
        assert!(!told.contains("missing"), "{told}");
        let meta = std::fs::metadata(site.path(CONFIG)).unwrap();
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        assert_eq!((meta.uid(), meta.permissions().mode() & 0o7777), (0, 0o600));
        let ran = site.glexec(["id", "-un"]).within("/").run();
        assert_eq!(ran.exited(0).output(), "payload1\n", "{scheduler}: {ran:#?}");
        // busy is in g1.
        let ran = site.glexec(["id", "-un"]).within("/").by("busy").run();
        assert_eq!(ran.exited(0).output(), "payload1\n", "{scheduler}: {ran:#?}");
        site.glexec(["true"]).by("other").run().exited(203);
        let checked = admin(&site, &["check"]);
        assert!(!checked.exited(0).output().contains("ERROR"), "{scheduler}: {checked:#?}");
        let tested = admin(&site, &["selftest", "--caller", "pilot"]);
        assert!(tested.exited(0).output().contains("passed"), "{scheduler}: {tested:#?}");
    }
}

#[test]
fn init_replaces_nothing_unasked_and_says_what_is_missing() {
    let site = Site::new();
    let before = site.read(CONFIG);
    let words = ["init", "--scheduler", "none", "--caller", "nosuch", "--account", "pool[001-003]"];
    let ran = admin(&site, &words);
    assert!(ran.exited(1).error().contains("--force replaces it"), "{ran:#?}");
    assert_eq!(site.read(CONFIG), before);
    let told = admin(&site, &[&words[..], &["--output", "/root/next.toml"]].concat());
    let told = told.exited(0).output();
    for part in [
        "account nosuch, a caller",
        "account pool001 and 2 more, of payloads",
        "check --config /root/next.toml",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert_eq!(site.read(CONFIG), before);
    admin(&site, &[&words[..], &["--force"]].concat()).exited(0);
    assert_eq!(site.read(CONFIG), site.read("/root/next.toml"));
    // What a package has installed says nothing yet.
    let sample = include_str!("../../conf/glexec.toml");
    site.file(CONFIG, sample, 0o644);
    admin(&site, &words).exited(0);
    assert_eq!(site.read(CONFIG), site.read("/root/next.toml"));
    site.file(CONFIG, format!("{sample}# of the site's\n"), 0o644);
    assert!(admin(&site, &words).exited(1).error().contains("--force replaces it"));
    site.file(CONFIG, site.read("/root/next.toml"), 0o600);
    // The original's would be out of force.
    site.old_config("[glexec]\nuser_white_list = pilot\n[mapping]\npilot = payload1\n");
    let ran = admin(&site, &words);
    assert!(ran.exited(1).error().contains("would not be read any more"), "{ran:#?}");
    site.glexec(["true"]).run().exited(0);
    let wrong = ["init", "--scheduler", "none", "--caller", "a b", "--account", "payload1"];
    let ran = admin(&site, &[&wrong[..], &["--output", "/root/wrong.toml"]].concat());
    assert!(ran.exited(1).error().contains("nothing was written"), "{ran:#?}");
    assert!(!site.path("/root/wrong.toml").exists());
    let ran = site.program(["/usr/sbin/glexec-admin"]).words(words).by("pilot").run();
    assert!(ran.exited(1).error().contains("for root only"), "{ran:#?}");
}

#[test]
fn init_takes_a_log_that_works_on_this_host() {
    let site = Site::new();
    let words =
        ["init", "--scheduler", "none", "--caller", "pilot", "--account", "payload1", "--force"];
    site.shell("umount /dev/log && rm /dev/log").by("root").run().exited(0);
    let told = admin(&site, &words).exited(0).output();
    assert!(told.contains("/run/systemd/journal/socket takes a line"), "{told}");
    site.glexec(["true"]).run().exited(0);
    let journal = site.journal();
    let begin = |entry: &Vec<u8>| String::from_utf8_lossy(entry).contains("real_user(pilot)");
    assert!(journal.iter().any(begin), "{journal:#?}");
    let gone = "umount /run/systemd/journal/socket && rm /run/systemd/journal/socket && rm -r /var/log/glexec";
    site.shell(gone).by("root").run().exited(0);
    let told = admin(&site, &words).exited(0).output();
    assert!(told.contains("/var/log/glexec/log takes a line"), "{told}");
    site.glexec(["true"]).run().exited(0);
    assert!(site.read("/var/log/glexec/log").contains("real_user(pilot)"));
    let tested = admin(&site, &["selftest"]).exited(0).output();
    assert!(tested.contains("/var/log/glexec/log: 2 lines"), "{tested}");
    // Where none is to be had, nothing is written.
    let before = site.read(CONFIG);
    site.shell("chmod 777 /var/log/glexec").by("root").run().exited(0);
    let ran = admin(&site, &words);
    assert!(ran.exited(1).error().contains("(audit); nothing was written"), "{ran:#?}");
    assert_eq!(site.read(CONFIG), before);
}

#[test]
fn selftest_shows_ids_code_epilogue_and_log_of_one_real_run() {
    let site = Site::with_epilogue("");
    let tested = admin(&site, &["selftest"]).exited(0).output();
    for part in [
        "caller       pilot",
        "id           uid=42002(payload1)",
        "code         0",
        &format!("epilogue     {EPILOGUE}: ok"),
        "log          syslog has taken the line",
        "selftest     passed",
    ] {
        assert!(tested.contains(part), "{part} in {tested}");
    }
    assert_eq!(site.epilogues().len(), 1);
    let run = tested.lines().find_map(|line| line.strip_prefix("run ")).expect("a run").trim();
    assert!(site.log().iter().any(|line| line.contains(&format!("run={run}"))), "{run}");
    let tested = admin(&site, &["selftest", "--caller", "busy"]).exited(0).output();
    assert!(tested.contains("caller       busy"), "{tested}");
}

#[test]
fn selftest_fails_where_the_run_does_or_its_epilogue_or_its_log() {
    let site = Site::with_epilogue("");
    let fails = |words: &[&str], part: &str| {
        let ran = admin(&site, &[&["selftest"], words].concat());
        let tested = ran.exited(1).output();
        let found = |line: &str| line.contains("FAILED") && line.contains(part);
        assert!(tested.lines().any(found), "{part} in {tested}");
        assert!(tested.contains("selftest     failed"), "{tested}");
    };
    fails(&["--caller", "other"], "203: refused (not-listed)");
    fails(&["--caller", "nosuch"], "there is no account nosuch");
    site.epilogue("#!/bin/sh\nexit 3\n");
    fails(&[], &format!("{EPILOGUE}: exit(3)"));
    fails(&[], "202; glexec-admin explain 202");
    site.settings("log_level = 2");
    fails(&[], "`log_level` = 2");
    site.mode(harness::GLEXEC, 0o755);
    fails(&[], "202: glexec is not installed setuid root (not-setuid)");
    site.shell(&format!("rm {}", harness::GLEXEC)).by("root").run().exited(0);
    fails(&[], "cannot be executed by pilot");
    site.config("rubbish");
    let ran = admin(&site, &["selftest"]);
    assert!(ran.exited(1).error().contains("malformed"), "{ran:#?}");
    let ran = site.program(["/usr/sbin/glexec-admin", "selftest"]).by("pilot").run();
    assert!(ran.exited(1).error().contains("for root only"), "{ran:#?}");
}

#[test]
fn show_tells_a_program_key_value_and_place() {
    let site = Site::new();
    site.directory("/etc/glexec.d", (0, 0), 0o755);
    site.file("/etc/glexec.d/9.toml", "[glexec]\nuser_white_list_add = [\"ops\"]\n", 0o600);
    let told: serde_json::Value =
        serde_json::from_str(&admin(&site, &["show", "--json"]).exited(0).output()).unwrap();
    let of = |key: &str| {
        let mut all = told.as_array().unwrap().iter();
        all.find(|shown| shown["key"] == key).unwrap_or_else(|| panic!("{key} in {told}")).clone()
    };
    assert_eq!(of("linger")["places"], serde_json::json!([]));
    assert_eq!(of("linger")["value"], "true");
    let places = of("user_white_list")["places"].clone();
    let lines = serde_json::json!([{"file": CONFIG, "line": 2}, {"file": "/etc/glexec.d/9.toml", "line": 2}]);
    assert_eq!(places, lines);
    site.config("rubbish");
    let ran = admin(&site, &["show", "--json"]);
    assert!(ran.exited(1).output().is_empty(), "{ran:#?}");
}

#[test]
fn what_migrate_prints_is_a_configuration_that_check_understands_and_a_run_obeys() {
    let site = Site::new();
    let old = "[glexec]\nlinger = yes\nuser_white_list = pilot\nlog_level = 7\nlcmaps_debug_level = 2\n\
        preserve_env_variables = no, A\n[mapping]\npilot = payload2\n";
    site.old_config(old);
    let told = admin(&site, &["migrate"]).exited(0).output();
    for part in ["# changed: `log_level = 7` is 5", "\nlcmaps_debug_level = 2\n"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    site.file("/root/next.toml", &told, 0o600);
    let checked = admin(&site, &["check", "--config", "/root/next.toml"]);
    assert!(checked.output().contains("/root/next.toml: understood"), "{checked:#?}");
    site.config(&told);
    assert_eq!(site.glexec(["id", "-un"]).run().exited(0).output(), "payload2\n");
    // LCMAPS's own file is looked at where it is named.
    let database = "m = \"lcmaps_localaccount.mod\" \" -gridmapfile /etc/other-mapfile\"\nv = \"lcmaps_voms.mod\"\n";
    site.file("/etc/lcmaps.db", database, 0o644);
    site.file("/root/old.conf", "[glexec]\nlcmaps_db_file = /etc/lcmaps.db\n", 0o600);
    let told = admin(&site, &["migrate", "/root/old.conf"]).exited(0).output();
    for part in ["grid_mapfile = \"/etc/other-mapfile\"", "lcmaps_voms.mod in /etc/lcmaps.db"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    // A ban that [mapping.gridmap] cannot have keeps LCMAPS.
    site.file("/etc/lcmaps.db", "b = \"lcmaps_ban_fqan.mod -banmapfile /b\"\n", 0o644);
    let told = admin(&site, &["migrate", "/root/old.conf"]).exited(0).output();
    assert!(told.contains("methods = [\"lcmaps\"]") && !told.contains("gridmap"), "{told}");
    site.file("/root/old.conf", "[glexec]\nlinger = maybe\n", 0o600);
    let ran = admin(&site, &["migrate", "/root/old.conf"]);
    assert!(ran.exited(1).error().contains("/root/old.conf:2:10: `linger`"), "{ran:#?}");
    assert!(ran.output().is_empty(), "{ran:#?}");
    assert!(admin(&site, &["migrate", "/none"]).exited(1).error().contains("/none"));
}
