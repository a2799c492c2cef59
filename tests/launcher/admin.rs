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
    for interpreter in ["/usr/bin/python3", "/usr/bin/env python3", "/bin/zsh -f"] {
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
fn only_root_rehearses_as_somebody_else() {
    let site = clean();
    let words = ["/usr/sbin/glexec-admin", "rehearse-as", "pilot"];
    let ran = site.program(words).by("other").run();
    assert_eq!(
        (ran.exited(1).output(), ran.error().contains("cannot become")),
        (String::new(), true)
    );
}
