//! What lies in /etc/glexec.d beside the configuration: who may write it, what it says, and what is
//! told of it.

use harness::{CONFIG, Ran, Site};

const DIRECTORY: &str = "/etc/glexec.d";
const FIRST: &str = "/etc/glexec.d/10-callers.toml";
const SECOND: &str = "/etc/glexec.d/20-mapping.toml";
const ROW: &str = "[[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload1\"\n";

/// A site whose own file maps nobody.
fn site() -> Site {
    let site = Site::new();
    site.config("[glexec]\nkill_grace = 1\n");
    site.directory(DIRECTORY, (0, 0), 0o755);
    site.file(FIRST, "[glexec]\nuser_white_list_add = [\"pilot\"]\n", 0o600);
    site.file(SECOND, ROW, 0o644);
    site
}

fn admin(site: &Site, word: &str) -> Ran {
    site.program(["/usr/sbin/glexec-admin", word]).by("root").run()
}

/// That nothing is started, and that log and `check` tell why.
#[track_caller]
fn refuses(site: &Site, reason: &str, parts: &[&str]) {
    let ran = site.glexec(["sh", "-c", "echo started"]).run();
    assert_eq!((ran.code, ran.output().as_str()), (Some(202), ""), "{parts:?}: {ran:#?}");
    ran.said_one_sentence();
    assert!(!ran.error().contains("/etc"), "a stranger learns nothing: {ran:#?}");
    let log = ran.log.join("\n");
    let checked = admin(site, "check");
    let told = checked.exited(1).output();
    for part in parts.iter().chain([&reason]) {
        assert!(log.contains(part), "{part} in {log}");
        assert!(told.contains(part), "{part} in {told}");
    }
    let shown = admin(site, "show");
    assert!(shown.exited(1).error().contains(parts[0]), "{shown:#?}");
}

#[test]
fn what_lies_there_adds_to_the_configuration_and_is_told_with_its_file() {
    let site = site();
    site.glexec(["true"]).run().exited(0);
    let shown = admin(&site, "show").exited(0).output();
    for line in [
        format!("kill_grace = 1  # {CONFIG}:2"),
        format!("user_white_list = [\"pilot\"]  # {FIRST}:2"),
        format!("mapping.static.0.account = \"payload1\"  # {SECOND}:3"),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} in {shown}");
    }
    site.file("/etc/glexec.d/30-more.toml", "[glexec]\nuser_white_list_add = [\"busy\"]\n", 0o600);
    let shown = admin(&site, "show").exited(0).output();
    let line = format!(
        "user_white_list = [\"pilot\", \"busy\"]  # {FIRST}:2, /etc/glexec.d/30-more.toml:2"
    );
    assert!(shown.lines().any(|shown| shown == line), "{line} in {shown}");
    let told = admin(&site, "check").exited(0).output();
    for file in [CONFIG, FIRST, SECOND] {
        assert!(told.contains(&format!("{file}: understood")), "{file} in {told}");
    }
    assert!(!told.contains("is not read"), "{told}");
}

#[test]
fn names_that_do_not_end_in_toml_are_not_read_and_told_by_check() {
    let site = site();
    let others = ["05.conf", "10-callers.toml~", ".#20-mapping.toml", ".toml", "toml", "README"];
    for name in others {
        site.file(&format!("{DIRECTORY}/{name}"), "linger = 7\n", 0o666);
    }
    site.link("/nowhere", "/etc/glexec.d/.#10-callers.toml");
    site.glexec(["true"]).run().exited(0);
    let told = admin(&site, "check").exited(0).output();
    for name in others.iter().chain([&".#10-callers.toml"]) {
        let line = format!("{DIRECTORY}/{name} is not read");
        let warned = |l: &str| l.starts_with("WARNING") && l.contains(&line);
        assert!(told.lines().any(warned), "{line} in {told}");
    }
}

#[test]
fn the_order_is_that_of_the_bytes_of_the_names() {
    let site = site();
    site.glexec(["true"]).run().exited(0);
    for (name, account) in [("b", 3), ("B", 2), ("a", 4), ("10", 5), ("9", 6)] {
        let row =
            format!("[[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload{account}\"\n");
        site.file(&format!("{DIRECTORY}/{name}.toml"), row, 0o600);
    }
    let shown = admin(&site, "show").exited(0).output();
    let accounts = shown.lines().filter(|line| line.contains(".account ="));
    let order: Vec<&str> = accounts.filter_map(|line| line.split('"').nth(1)).collect();
    assert_eq!(order, ["payload5", "payload1", "payload6", "payload2", "payload4", "payload3"]);
}

#[test]
fn a_key_of_two_files_is_refused_and_both_places_are_named() {
    let site = site();
    site.file(SECOND, format!("[glexec]\nkill_grace = 2\n{ROW}"), 0o644);
    let place = format!("{SECOND}:2:1: `kill_grace` stands in {CONFIG}:2 already");
    refuses(&site, "malformed", &[&place, "keep one of them"]);
    site.file(SECOND, format!("[glexec]\nlingr = true\n{ROW}"), 0o644);
    refuses(&site, "malformed", &[&format!("{SECOND}:2:1: unknown key `lingr`")]);
}

#[test]
fn what_others_could_change_or_cannot_be_opened_as_a_file_is_refused() {
    for (mode, owner) in [(0o622, (0, 0)), (0o660, (0, 42_001)), (0o600, (42_001, 0))] {
        let site = site();
        site.own(SECOND, owner);
        site.mode(SECOND, mode);
        refuses(&site, "untrusted", &[SECOND]);
        let site = self::site();
        site.own(DIRECTORY, owner);
        site.mode(DIRECTORY, mode | 0o111);
        refuses(&site, "untrusted", &[DIRECTORY]);
    }
    let site = site();
    site.file("/root/mapping.toml", ROW, 0o600);
    site.shell(&format!("ln -sf /root/mapping.toml {SECOND}")).by("root").run().exited(0);
    refuses(&site, "untrusted", &[&format!("{SECOND} is a symbolic link")]);
    let site = self::site();
    site.shell(&format!("rm {SECOND} && mkdir {SECOND}")).by("root").run().exited(0);
    refuses(&site, "untrusted", &[&format!("{SECOND} is no regular file")]);
    let site = self::site();
    site.shell(&format!("rm {SECOND} && mkfifo {SECOND}")).by("root").run().exited(0);
    refuses(&site, "untrusted", &[&format!("{SECOND} is no regular file")]);
    let site = self::site();
    let moved = format!("mv {DIRECTORY} /root/d && ln -s /root/d {DIRECTORY}");
    site.shell(&moved).by("root").run().exited(0);
    refuses(&site, "untrusted", &[&format!("{DIRECTORY} is a symbolic link")]);
}

#[test]
fn a_directory_that_is_not_there_says_nothing_and_one_that_cannot_be_listed_stops_every_run() {
    let site = Site::new();
    site.glexec(["true"]).run().exited(0);
    site.directory(DIRECTORY, (0, 0), 0o755);
    site.glexec(["true"]).run().exited(0);
    let shadow = "rmdir /etc/glexec.d && echo > /etc/glexec.d";
    site.shell(shadow).by("root").run().exited(0);
    refuses(&site, "untrusted", &[&format!("{DIRECTORY} is a symbolic link or no directory")]);
}

#[test]
fn a_mapping_of_its_own_beside_the_originals_file_is_enough_to_run() {
    let site = site();
    site.old_config("[glexec]\nuser_white_list = other\nlog_level = 5\nunknown = yes\n");
    site.glexec(["true"]).run().exited(0);
    site.old_config("[glexec]\nuser_white_list = other\n[mapping]\npilot = payload2\n");
    let lines = "`static`: /etc/glexec.conf:4 maps in the original's syntax";
    refuses(&site, "malformed", &[lines]);
}

#[test]
fn what_is_wrong_there_is_told_in_the_log_that_another_of_them_names() {
    let site = site();
    let log = "[glexec]\nlog_destination = \"file\"\nlog_file = \"/var/log/glexec/log\"\n";
    site.file("/etc/glexec.d/00-log.toml", log, 0o600);
    site.glexec(["true"]).run().exited(0);
    site.file(SECOND, "[glexec]\nlingr = true\n", 0o644);
    site.glexec(["true"]).run().exited(202);
    let text = site.read("/var/log/glexec/log");
    assert!(text.contains("malformed") && text.contains(SECOND), "{text}");
    assert!(site.log().is_empty(), "{:#?}", site.log());
}
