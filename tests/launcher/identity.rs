//! As whom a payload runs: every id, every group, no way back.

use contract::Reason;
use harness::accounts::{EXTRA_GROUPS, PAYLOAD1, VAST};
use harness::{Look, Site};

/// The payload's supplementary groups; its primary group may be one of them.
fn supplementary(look: &Look) -> Vec<u32> {
    look.groups.iter().copied().filter(|g| *g != PAYLOAD1).collect()
}

#[test]
fn the_payload_has_every_id_of_the_target_and_the_targets_groups_only() {
    for lines in ["", "linger = false", "epilogue = \"/usr/libexec/site/epilogue\""] {
        for caller in ["pilot", "busy", "vast", "root"] {
            let site = Site::with(lines);
            let look = site.glexec(["actor", "look"]).by(caller).run().look();
            assert_eq!(look.uids, [PAYLOAD1; 4], "{caller} {lines}");
            assert_eq!(look.gids, [PAYLOAD1; 4], "{caller} {lines}");
            assert_eq!(supplementary(&look), EXTRA_GROUPS, "{caller} {lines}");
            let [inheritable, permitted, effective, _, ambient] = look.capabilities[..] else {
                panic!()
            };
            assert_eq!([inheritable, permitted, effective, ambient], [0; 4], "{caller} {lines}");
        }
    }
}

#[test]
fn the_payload_cannot_regain_root() {
    let site = Site::with_epilogue("");
    // perl-base is on every Debian: set the real, the effective, then both, each must fail.
    let script = "$) = 0; $( = 0; $> = 0; $< = 0; ($<,$>) = (0,0); print \"$< $> $( $)\\n\"";
    let ran = site.glexec(["perl", "-e", script]).run();
    let ids = ran.exited(0).output();
    assert!(ids.split_whitespace().all(|id| id != "0"), "{ids}");
}

#[test]
fn groups_of_a_mapping_row_replace_those_of_the_account() {
    let site = Site::new();
    site.config("[glexec]\nuser_white_list = [\"pilot\"]\n[[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload1\"\ngroups = [\"grid\"]\n");
    let look = site.glexec(["actor", "look"]).run().look();
    assert_eq!(supplementary(&look), [harness::accounts::GRID]);
    assert_eq!(look.gids, [PAYLOAD1; 4]);
}

#[test]
fn a_caller_chooses_among_its_own_accounts_only() {
    let site = Site::new();
    let mapped = |wanted: &str| {
        site.glexec(["id", "-un"]).env("GLEXEC_TARGET_USER", wanted).with_status().run()
    };
    assert_eq!(mapped("payload2").exited(0).output(), "payload2\n");
    assert_eq!(mapped("").exited(0).output(), "payload1\n", "empty is unset");
    for wanted in [
        "other",
        "nobody",
        "0",
        "-1",
        "4294967295",
        " root",
        "payload1 ",
        "../payload1",
        "payload1\npayload2",
    ] {
        mapped(wanted).stopped(Reason::NoMapping);
    }
}

#[test]
fn a_target_that_may_be_no_target_is_refused() {
    let site = Site::with_epilogue("");
    for (account, reason) in [
        ("root", Reason::TargetNotAdmitted),
        ("toor", Reason::TargetNotAdmitted),
        ("service", Reason::TargetNotAdmitted),
        ("rootgroup", Reason::TargetNotAdmitted),
        ("ingroup0", Reason::TargetNotAdmitted),
        ("ghost", Reason::TargetUnknown),
    ] {
        let call = site.glexec(["actor", "look"]).env("GLEXEC_TARGET_USER", account);
        call.with_status().run().stopped(reason);
    }
    assert!(site.epilogues().is_empty(), "nothing was started, so nothing is owed");
}

#[test]
fn ids_beyond_two_to_the_31_are_ids_like_others() {
    let site = Site::new();
    let look = site.glexec(["actor", "look"]).env("GLEXEC_TARGET_USER", "vast").run().look();
    assert_eq!((look.uids, look.gids), (vec![VAST; 4], vec![VAST; 4]));
}

#[test]
fn passwd_lines_that_are_no_plain_accounts_make_nobody_a_target() {
    let site = Site::new();
    let good = site.read("/etc/passwd");
    for line in [
        "payload1:x:0042002:42002::/:/bin/sh",
        "payload1:x:+42002:42002::/:/bin/sh",
        "payload1:x::42002::/:/bin/sh",
        "payload1:x:-1:42002::/:/bin/sh",
        "payload1:x:4294967295:42002::/:/bin/sh",
        "payload1:x:4294967296:42002::/:/bin/sh",
        "payload1:x:42002abc:42002::/:/bin/sh",
        "payload1:x:42002",
        "payload1:x:0x0:0x0::/:/bin/sh",
    ] {
        let without: String = good
            .lines()
            .filter(|l| !l.starts_with("payload1:"))
            .map(|l| format!("{l}\n"))
            .collect();
        site.file("/etc/passwd", format!("{without}{line}\n"), 0o644);
        let ran = site.glexec(["true"]).with_status().run();
        assert!(matches!(ran.code, Some(202 | 203)), "{line}: {ran:#?}");
        ran.said_one_sentence();
    }
}

#[test]
fn a_caller_on_no_list_is_told_refused_and_not_a_word_of_the_configuration() {
    let site = Site::with_epilogue("");
    for call in
        [site.glexec(["true"]).by("other"), site.glexec(["true"]).by_ids(42_999, 42_999, &[])]
    {
        let ran = call.with_status().run();
        ran.stopped(Reason::NotListed);
        assert_eq!(ran.error(), "[gLExec]: refused\n");
    }
    let strangers = [
        &["/root/secret"][..],
        &["/nonexistent"],
        &["--check", "true"],
        &["42002", "42002", "true"],
    ];
    for words in strangers {
        let ran = site.glexec(words).by("other").run();
        assert_eq!(
            (ran.code, ran.error()),
            (Some(203), "[gLExec]: refused\n".to_owned()),
            "{words:?}"
        );
        assert_eq!(ran.output(), "");
    }
}

#[test]
fn a_white_list_names_accounts_pools_and_groups() {
    let site = Site::new();
    let rows = "[[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload1\"\n[[mapping.static]]\ncaller = \"pool017\"\naccount = \"payload1\"\n[[mapping.static]]\ncaller = \"@grid\"\naccount = \"payload2\"\n";
    let table = [
        ("user_white_list = [\".pool\"]", "pool017", 0),
        ("user_white_list = [\"pool*\"]", "pool017", 0),
        ("user_white_list = [\".poo\"]", "pool017", 203),
        ("user_white_list = [\"pilo\", \"pilot1\"]", "pilot", 203),
        ("group_white_list = [\"grid\"]", "pilot", 0),
        ("group_white_list = [\"grid\"]", "pool017", 203),
        ("user_white_list = [\"*\"]", "pilot", 0),
        ("user_white_list = [\"*\"]", "other", 203),
    ];
    for (list, caller, code) in table {
        site.config(&format!("[glexec]\n{list}\n[mapping]\n{rows}"));
        site.glexec(["true"]).by(caller).run().exited(code);
    }
}

#[test]
fn a_banned_caller_is_refused_whatever_the_lists_say() {
    let site = Site::new();
    site.config("[glexec]\nuser_white_list = [\"*\"]\n[mapping]\nbanned = [\"pilot\"]\n[[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload1\"\n");
    site.glexec(["true"]).with_status().run().stopped(Reason::Banned);
}

#[test]
fn two_ids_before_the_command_are_compared_with_the_mapping() {
    let site = Site::new();
    site.glexec(["42002", "42002", "actor", "exit", "7"]).run().exited(7);
    site.glexec(["42003", "42002", "actor", "exit", "7"])
        .with_status()
        .run()
        .stopped(Reason::IdsDiffer);
    site.glexec(["42002", "0", "actor", "exit", "7"])
        .with_status()
        .run()
        .stopped(Reason::IdsDiffer);
}

#[test]
fn arguments_arrive_byte_for_byte() {
    use std::os::unix::ffi::OsStringExt as _;
    let site = Site::with_epilogue("");
    let every: Vec<u8> = (1..=255).collect();
    let words: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"--check".to_vec(),
        b"a b\n$(id);`x`\\".to_vec(),
        every,
        vec![b'x'; 100_000],
    ];
    let call = site
        .glexec(["actor", "argv", "--"])
        .words(words.iter().cloned().map(std::ffi::OsString::from_vec));
    let ran = call.run();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let output = ran.exited(0).output();
    let got: Vec<&str> = output.lines().skip(2).collect();
    let want: Vec<String> = [b"--".to_vec()].iter().chain(&words).map(|w| hex(w)).collect();
    assert_eq!(got, want);
}

#[test]
fn the_payload_starts_at_home_or_where_the_caller_was_as_the_site_says() {
    let site = Site::new();
    let pwd = |site: &Site, from: &str| site.glexec(["pwd", "-P"]).within(from).run().output();
    assert_eq!(pwd(&site, "/tmp"), "/home/payload1\n");
    site.settings("working_directory = \"caller\"");
    assert_eq!(pwd(&site, "/tmp"), "/tmp\n");
    assert_eq!(pwd(&site, "/home/pilot"), "/home/payload1\n", "the target cannot enter there");
    let homeless =
        site.glexec(["pwd", "-P"]).within("/home/pilot").env("GLEXEC_TARGET_USER", "homeless");
    assert_eq!(homeless.run().output(), "/\n");
}

#[test]
fn a_payload_that_may_begin_only_where_the_caller_was_does_not_begin_elsewhere() {
    let site = Site::with("working_directory = \"caller-only\"");
    let ran = site.glexec(["pwd", "-P"]).within("/tmp").run();
    assert_eq!(ran.exited(0).output(), "/tmp\n");
    for words in [&["pwd", "-P"][..], &["--check", "true"]] {
        let ran = site.glexec(words.iter().copied()).within("/home/pilot").with_status().run();
        ran.stopped(Reason::DirectoryClosed).exited(202);
        assert!(ran.error().contains("may not enter /home/pilot "), "{ran:#?}");
    }
}

#[test]
fn a_relative_command_is_taken_from_the_callers_directory_and_a_name_from_the_sites_path() {
    let site = Site::new();
    site.file("/tmp/here", "#!/bin/sh\nexit 8\n", 0o755);
    site.file("/tmp/ls", "#!/bin/sh\nexit 9\n", 0o755);
    site.glexec(["./here"]).within("/tmp").run().exited(8);
    site.glexec(["../tmp/here"]).within("/tmp").run().exited(8);
    let ran = site.glexec(["ls", "/"]).within("/tmp").no_env().env("PATH", "/tmp:.").run();
    ran.exited(0);
    site.glexec(["here"])
        .within("/tmp")
        .env("PATH", "/tmp")
        .with_status()
        .run()
        .stopped(Reason::CommandNotFound);
}
