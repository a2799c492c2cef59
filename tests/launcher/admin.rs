//! `glexec-admin check`: what the administrator is told of a configuration.

use harness::{CONFIG, EPILOGUE, GLEXEC, Ran, Site};

fn check(site: &Site, words: &[&str]) -> Ran {
    site.program(["/usr/sbin/glexec-admin", "check"]).words(words).by("root").run()
}

#[test]
fn a_usable_configuration_is_shown_with_what_it_grants() {
    let site = Site::with_epilogue("epilogue_environment = \"own\"");
    let text = site
        .read(CONFIG)
        .replace("\"root\", \"toor\", \"service\", \"rootgroup\", \"ingroup0\", \"ghost\",", "");
    site.config(&text);
    let ran = check(&site, &[]);
    let shown = ran.exited(0).output();
    for part in
        ["pilot -> payload1 (uid 42002", "42110 42111", EPILOGUE, "trusted", "owner 0 mode 4755"]
    {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(!shown.contains("ERROR") && !shown.contains("WARNING"), "{shown}");
}

#[test]
fn targets_that_would_be_refused_are_errors() {
    let site = Site::new();
    let ran = check(&site, &[]);
    let shown = ran.exited(1).output();
    for account in ["root", "toor", "service", "rootgroup", "ingroup0", "ghost"] {
        assert!(shown.contains(&format!("pilot -> {account}: refused")), "{account} in {shown}");
    }
}

#[test]
fn a_mistake_is_named_with_file_line_and_column_and_the_nearest_key() {
    let site = Site::new();
    site.config("[glexec]\nlingr = true\n");
    let ran = check(&site, &[]);
    let shown = ran.exited(1).output();
    assert!(shown.contains(&format!("{CONFIG}:2:1")) && shown.contains("`linger`"), "{shown}");
    site.file("/tmp/next.toml", "[glexec]\nkill_grace = -1\n", 0o644);
    let ran = check(&site, &["--config", "/tmp/next.toml"]);
    assert!(ran.exited(1).output().contains("/tmp/next.toml:2:"), "{ran:#?}");
    let ran = check(&site, &["--config", "/tmp/none.toml"]);
    assert!(ran.exited(1).output().contains("/tmp/none.toml"), "{ran:#?}");
}

#[test]
fn what_is_in_force_is_shown_with_the_line_that_says_so() {
    let site = Site::new();
    let show = |words: &[&str], who: &str| {
        site.program(["/usr/sbin/glexec-admin", "show"]).words(words).by(who).run()
    };
    site.config(
        "[glexec]\nuser_white_list = [\"pilot\",\n  \".ops\"]\nkill_grace = 5\n\n[mapping]\n\
         [[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload1\"\n",
    );
    let shown = show(&[], "root").exited(0).output();
    for line in [
        "linger = true  # default".to_owned(),
        format!("user_white_list = [\"pilot\", \".ops\"]  # {CONFIG}:2"),
        format!("kill_grace = 5  # {CONFIG}:4"),
        "epilogue = none  # default".to_owned(),
        "mapping.methods = [\"static\"]  # default".to_owned(),
        format!("mapping.static.0.caller = \"pilot\"  # {CONFIG}:8"),
        format!("mapping.static.0.account = \"payload1\"  # {CONFIG}:9"),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} in {shown}");
    }
    let explained = show(&["--explain"], "root").exited(0).output();
    assert!(explained.contains("# 0 to 604800 s (7 days); from TERM to KILL\nkill_grace = 5"));
    site.mode(CONFIG, 0o600);
    let stranger = show(&[], "other");
    assert!(stranger.code() == 1 && stranger.output().is_empty(), "{stranger:#?}");
    site.config("[glexec]\nlingr = true\n");
    let wrong = show(&[], "root");
    assert!(wrong.exited(1).error().contains(&format!("{CONFIG}:2:1: unknown key")), "{wrong:#?}");
    site.old_config("[glexec]\nlinger = no\nlog_level = 9\n[mapping]\npilot = payload1\n");
    let shown = show(&[], "root").exited(0).output();
    for line in ["linger = false  # /etc/glexec.conf:2", "log_level = 5  # /etc/glexec.conf:3"] {
        assert!(shown.lines().any(|shown| shown == line), "{line} in {shown}");
    }
    assert!(shown.contains("mapping.pilot = \"payload1\"  # /etc/glexec.conf:5"), "{shown}");
}

#[test]
fn the_shipped_sample_is_usable_and_admits_nobody() {
    let site = Site::new();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../conf/glexec.toml");
    site.install(std::path::Path::new(sample), CONFIG, 0o600).unwrap();
    let ran = check(&site, &[]);
    assert!(ran.exited(0).output().contains("nobody may call glexec"), "{ran:#?}");
    site.glexec(["true"]).run().exited(203);
}

#[test]
fn what_is_dangerous_is_said() {
    let site = Site::new();
    let open = "[glexec]\nuser_white_list = [\"*\"]\nepilogue = \"/usr/libexec/site/epilogue\"\n";
    site.config(open);
    let ran = check(&site, &[]);
    let shown = ran.exited(0).output();
    assert!(shown.contains("every caller is admitted") && shown.contains("HOME"), "{shown}");
    let tools = "/usr/libexec/site";
    for name in ["python3", "zsh"] {
        site.install(std::path::Path::new("/bin/sh"), &format!("{tools}/{name}"), 0o755).unwrap();
    }
    let [python, zsh] = ["python3", "zsh -f"].map(|words| format!("{tools}/{words}"));
    for interpreter in [&python, "/usr/bin/env python3", &zsh] {
        site.epilogue(&format!("#!{interpreter}\n"));
        let ran = check(&site, &[]);
        assert!(ran.exited(1).output().contains("target's HOME"), "{interpreter}: {ran:#?}");
    }
    site.config(&format!("{open}epilogue_environment = \"own\"\n"));
    check(&site, &[]).exited(0);
    site.mode(EPILOGUE, 0o775);
    let ran = check(&site, &[]);
    assert!(ran.exited(1).output().contains("writable by group"), "{ran:#?}");
    site.mode(EPILOGUE, 0o755);
    site.mode(GLEXEC, 0o755);
    let ran = check(&site, &[]);
    assert!(ran.exited(1).output().contains("not setuid root"), "{ran:#?}");
}

/// A site that writes "payload", with these lines, and what is said of it.
fn said_of_the_payloads_environment(site: &Site, lines: &str) -> (i32, String) {
    let rows = "[mapping]\n[[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload1\"\n";
    site.config(&format!("[glexec]\nuser_white_list = [\"pilot\"]\n{lines}\n{rows}"));
    let ran = check(site, &[]);
    (ran.code(), ran.output())
}

#[test]
fn variables_that_an_epilogues_programs_would_obey_are_named() {
    let site = Site::new();
    let record = "/usr/libexec/glexec/glexec-slurm-record";
    let with = |epilogue: &str, names: &str, rule: &str| {
        let lines = format!(
            "epilogue = \"{epilogue}\"\npreserve_env_variables = [{names}]\nepilogue_environment = \"{rule}\""
        );
        said_of_the_payloads_environment(&site, &lines)
    };
    for name in ["SLURM_CONF", "GIT_DIR", "KRB5CCNAME", "OPENSSL_CONF", "XDG_CONFIG_HOME", "FOO_*"]
    {
        let names = format!("\"LANG\", \"{name}\"");
        let (code, shown) = with(EPILOGUE, &names, "payload");
        let found = shown.lines().find(|line| line.starts_with("WARNING") && line.contains(name));
        assert!(code == 0 && found.is_some_and(|line| !line.contains("LANG")), "{name}: {shown}");
        // The shipped programs are root's own: nothing of a caller's is needed there.
        let (code, shown) = with(record, &names, "payload");
        let found = shown.lines().find(|line| line.starts_with("ERROR") && line.contains(name));
        assert!(code == 1 && found.is_some(), "{name}: {shown}");
        for epilogue in [EPILOGUE, record] {
            let (code, shown) = with(epilogue, &names, "own");
            assert!(code == 0 && !shown.contains(name), "{name}: {shown}");
        }
    }
    let (code, shown) = with(EPILOGUE, "\"LANG\", \"TZ\", \"BATCH_SYSTEM\"", "payload");
    assert!(code == 0 && !shown.contains("BATCH_SYSTEM"), "{shown}");
}

#[test]
fn a_directory_of_the_targets_in_the_path_of_a_root_epilogue_is_an_error() {
    let site = Site::new();
    let payload1 = harness::accounts::PAYLOAD1;
    site.directory("/opt/tools", (0, 0), 0o755);
    site.directory("/opt/admins", (50, 50), 0o755);
    site.directory("/opt/open", (0, 0), 0o1777);
    site.directory("/opt/group", (0, payload1), 0o775);
    std::os::unix::fs::symlink("/home/payload1", site.path("/opt/link")).unwrap();
    for (directory, word) in [
        ("/opt/tools", ""),
        ("/opt/none/bin", ""),
        ("/opt/admins", "WARNING"),
        ("/opt/open", "ERROR"),
        ("/opt/group", "ERROR"),
        ("/home/payload1", "ERROR"),
        ("/home/payload1/none/bin", "ERROR"),
        ("/opt/link", "ERROR"),
    ] {
        for rule in ["payload", "own"] {
            let lines = format!(
                "epilogue = \"{EPILOGUE}\"\nepilogue_environment = \"{rule}\"\npath = \"/usr/bin:{directory}:/bin\""
            );
            let (code, shown) = said_of_the_payloads_environment(&site, &lines);
            let found: Vec<&str> = shown.lines().filter(|line| line.contains("`path`")).collect();
            let want = if rule == "own" { "" } else { word };
            assert_eq!(found.len(), usize::from(!want.is_empty()), "{directory} {rule}: {shown}");
            assert!(found.iter().all(|line| line.starts_with(want)), "{directory} {rule}: {shown}");
            assert_eq!(code, i32::from(want == "ERROR"), "{directory} {rule}: {shown}");
        }
    }
}

/// A site whose configuration has no errors.
fn clean() -> Site {
    let site = Site::with_epilogue("epilogue_environment = \"own\"");
    let rows = "[mapping]\n[[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload1\"\n";
    site.config(&format!("{}{rows}", site.read(CONFIG).split("[mapping]").next().unwrap()));
    site
}

fn checked(site: &Site, words: &[&str]) -> (i32, serde_json::Value) {
    let ran = check(site, &[&["--json"], words].concat());
    (ran.code(), serde_json::from_str(&ran.output()).expect("JSON"))
}

#[test]
fn a_run_is_rehearsed_as_somebody_by_name_or_number() {
    let site = clean();
    for who in ["pilot", "42001"] {
        let (code, told) = checked(&site, &["--as", who]);
        assert_eq!((code, &told["usable"]), (0, &serde_json::json!(true)), "{told}");
        assert_eq!(told["rehearsal"]["target"]["name"], "payload1");
        assert_eq!(told["rehearsal"]["target"]["uid"], 42_002);
    }
    // What a user may not do is no fault of the configuration.
    let (code, told) = checked(&site, &["--as", "other"]);
    assert_eq!((code, &told["rehearsal"]["code"]), (0, &serde_json::json!(203)), "{told}");
    assert_eq!(told["rehearsal"]["reason"], "not-listed");
    let (code, told) = checked(&site, &["--as", "nosuch"]);
    assert_eq!((code, &told["rehearsal"]["code"]), (0, &serde_json::json!(202)), "{told}");
    let shown = check(&site, &["--as", "pilot"]).output();
    assert!(shown.contains("rehearsal    0: -> payload1 (uid 42002, gid 42002)"), "{shown}");
    assert_eq!(site.epilogues().len(), 0);
}

#[test]
fn a_group_of_the_users_counts_in_a_rehearsal() {
    let site = clean();
    let text = site.read(CONFIG).replace("user_white_list", "group_white_list = [\"grid\"]\n#");
    site.config(&text);
    let (_, told) = checked(&site, &["--as", "pilot"]);
    assert_eq!(told["rehearsal"]["target"]["name"], "payload1", "{told}");
}

#[test]
fn a_log_daemon_that_hangs_is_found_by_check_as_by_a_run() {
    let site = clean();
    site.hang_log(true);
    // Its queue has room for some lines.
    let full = (0..100).any(|_| site.glexec(["true"]).run().code() == 202);
    assert!(full, "the queue is never full");
    let ran = check(&site, &[]);
    let shown = ran.exited(1).output();
    let found = shown.lines().find(|line| line.starts_with("ERROR"));
    let found = found.is_some_and(|line| line.contains("who listens at /dev/log takes no line"));
    assert!(found, "{shown}");
}

#[test]
fn who_is_not_root_is_told_so_by_ps_and_sweep() {
    let site = clean();
    for what in ["ps", "sweep"] {
        let ran = site.program(["/usr/sbin/glexec-admin", what]).by("pilot").run();
        let said = ran.exited(2).error();
        assert!(said.contains(&format!("{what} is for root only; call it as root")), "{said}");
        assert!(!said.contains("setuid"), "{said}");
    }
}

#[test]
fn a_check_of_the_node_rehearses_as_a_member_where_only_a_group_is_mapped() {
    let site = clean();
    let text = site.read(CONFIG).replace("\"pilot\"", "\"@grid\"");
    let text = text.replace("user_white_list", "group_white_list = [\"grid\"]\n#user_white_list");
    site.config(&text);
    let shown = check(&site, &[]).exited(0).output();
    assert!(shown.contains("as pilot: 0: -> payload1"), "{shown}");
    // Nothing that `check` itself looks at is wrong, and every run fails.
    site.shell("mount -t tmpfs tmpfs /home && chmod 4755 /usr/sbin/glexec && setfacl -m g:grid:- /usr/sbin/glexec").by("root").run().exited(0);
    let ran = check(&site, &[]);
    let shown = ran.exited(1).output();
    assert!(shown.contains("ERROR") && shown.contains("cannot be executed by pilot"), "{shown}");
}

#[test]
fn only_root_rehearses_as_somebody_else() {
    let site = clean();
    let words = ["/usr/sbin/glexec-admin", "rehearse-as", "pilot"];
    let ran = site.program(words).by("other").run();
    assert_eq!(
        (ran.exited(1).output(), ran.error().contains("cannot become")),
        (String::new(), true)
    );
}
