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
