//! Bad input: each its code, one sentence, a log line, and nothing started or lost.

use contract::Reason;
use harness::{CONFIG, GLEXEC, Ran, Site};
use std::os::unix::fs::symlink;

#[test]
fn a_command_line_that_cannot_be_understood_is_201() {
    let site = Site::with_epilogue("");
    for words in [
        &["--lingr", "true"][..],
        &["-x"],
        &["--config=/tmp/x", "true"],
        &["--check=yes", "true"],
        &["--settle", "--check", "x=1"],
        &["--status-fd"],
        &["--\u{1b}]0;x\u{7}"],
    ] {
        let ran = site.glexec(words).run();
        ran.stopped(Reason::Usage);
    }
    for words in [&[][..], &["--"], &[""]] {
        site.glexec(words).run().stopped(Reason::NoCommand);
    }
    assert!(site.epilogues().is_empty());
}

#[test]
fn words_of_the_payload_are_never_options_of_glexecs() {
    let site = Site::new();
    let ran = site.glexec(["--", "actor", "argv", "--check", "-V"]).run();
    assert_eq!(ran.exited(0).output().lines().count(), 4);
    site.glexec(["actor", "exit", "7", "--help"]).run().exited(7);
}

#[test]
fn called_without_even_a_name_it_ends_with_usage() {
    let site = Site::new();
    for environment in ["x/../y=1", "PATH=/tmp"] {
        let ran = site.glexec::<&str>([]).no_argv().no_env().raw_env(environment).run();
        ran.exited(201).said_one_sentence();
    }
    let ran = site.program([GLEXEC]).name("").run();
    ran.exited(201).said_one_sentence();
}

fn configured(site: &Site, text: &str) -> Ran {
    site.config(text);
    site.glexec(["sh", "-c", "echo started"]).with_status().run()
}

#[test]
fn a_configuration_that_is_missing_is_202() {
    let site = Site::new();
    std::fs::remove_file(site.path(CONFIG)).unwrap();
    site.glexec(["true"]).with_status().run().stopped(Reason::ConfigMissing);
}

#[test]
fn a_configuration_that_others_could_change_or_that_is_no_file_is_202() {
    let site = Site::new();
    let good = site.read(CONFIG);
    let untrusted = |what: &str| {
        let ran = site
            .glexec(["true"])
            .with_status()
            .within_time(std::time::Duration::from_secs(5))
            .run();
        assert_eq!(ran.code, Some(202), "{what}: {ran:#?}");
        ran.stopped(Reason::ConfigUntrusted);
        assert!(!ran.error().contains("/etc"), "the caller learns the reason word only: {ran:#?}");
    };
    for mode in [0o666, 0o664, 0o622, 0o646] {
        site.mode(CONFIG, mode);
        untrusted(&format!("mode {mode:o}"));
    }
    site.config(&good);
    site.own(CONFIG, (harness::accounts::PILOT, 0));
    untrusted("the caller's");
    let replaced = |make: &dyn Fn()| {
        std::fs::remove_file(site.path(CONFIG)).unwrap();
        make();
    };
    site.file("/etc/elsewhere.toml", &good, 0o644);
    replaced(&|| symlink("/etc/elsewhere.toml", site.path(CONFIG)).unwrap());
    untrusted("a link");
    replaced(&|| drop(site.program(["/usr/bin/mkfifo", CONFIG]).by("root").run()));
    untrusted("a FIFO");
    replaced(&|| drop(site.program(["/bin/mknod", CONFIG, "c", "1", "5"]).by("root").run()));
    untrusted("a device");
    replaced(&|| site.directory(CONFIG, (0, 0), 0o755));
    untrusted("a directory");
    std::fs::remove_dir(site.path(CONFIG)).unwrap();
    site.config(&good);
    site.glexec(["true"]).run().exited(0);
    site.mode("/etc", 0o777);
    untrusted("in a directory that everybody may write");
}

#[test]
fn an_error_in_toml_is_202_with_line_and_column_in_the_log_and_not_on_stderr() {
    let site = Site::new();
    for (text, line, column) in [
        ("[glexec]\nlingr = true\n", 2, 1),
        ("[glexec]\nlinger = true\nlinger = false\n", 3, 1),
        ("[glexec\n", 1, 8),
        ("[glexec]\nepilogue_timeout = \"x\"\n", 2, 20),
        ("\n\n[mapping]\nmethods = []\n", 4, 1),
        ("[glexec]\nuser_white_list = [\"a\\u0000b\"]\n", 2, 1),
    ] {
        let ran = configured(&site, text);
        ran.stopped(Reason::ConfigMalformed);
        let log = ran.log.last().unwrap();
        let place = format!("{CONFIG}:{line}:");
        let there = log.contains(&place) || log.contains(&format!("line {line}"));
        assert!(
            there && log.contains(&column.to_string()),
            "{text:?}: line {line} column {column} in {log}"
        );
        assert!(!ran.error().contains("ling"), "{ran:#?}");
    }
    configured(&site, "\u{feff}[glexec]\n").stopped(Reason::ConfigMalformed);
    site.file(CONFIG, [b"[glexec]\npath = \"".as_slice(), b"\xff\xfe\"\n"].concat(), 0o644);
    site.glexec(["true"]).with_status().run().stopped(Reason::ConfigMalformed);
    site.file(CONFIG, vec![b'#'; 64 << 20], 0o644);
    let start = std::time::Instant::now();
    site.glexec(["true"]).run().exited(202).said_one_sentence();
    assert!(start.elapsed() < std::time::Duration::from_secs(1));
}

#[test]
fn an_empty_configuration_refuses_everybody() {
    let site = Site::new();
    configured(&site, "").stopped(Reason::NotListed);
}

const OLD: &str = "# gLExec 0.9\n[glexec]\nlinger = yes\nuser_white_list = pilot, .pool\nlog_level = 9\nunknown_key = 1\n[other]\nx = y\n";

#[test]
fn the_originals_configuration_is_read_where_ours_is_absent() {
    let site = Site::new();
    site.old_config(OLD);
    // Without a mapping who is listed gets as far as that.
    site.glexec(["true"]).with_status().run().stopped(Reason::NoMapping);
    site.glexec(["true"]).by("other").with_status().run().stopped(Reason::NotListed);
    for (text, line) in [
        ("[glexec]\nlinger = maybe\n", 2),
        ("[glexec]\nrubbish\n", 2),
        ("[glexec]\n\nepilogue = bin/x\n", 3),
        ("[glexec]\n[mapping]\npilot = payload1\npilot = payload2\n", 4),
    ] {
        site.old_config(text);
        let ran = site.glexec(["true"]).with_status().run();
        ran.stopped(Reason::ConfigMalformed);
        let log = ran.log.last().unwrap();
        assert!(log.contains("/etc/glexec.conf") && log.contains(&line.to_string()), "{log}");
    }
    site.old_config(OLD);
    site.mode("/etc/glexec.conf", 0o666);
    site.glexec(["true"]).with_status().run().stopped(Reason::ConfigUntrusted);
}

#[test]
fn the_originals_configuration_alone_maps_callers_and_runs_an_epilogue() {
    let site = Site::new();
    let text = format!(
        "{OLD}[glexec]\nuser_white_list = pilot, busy\ngroup_white_list = grid\nepilogue = {}\n[mapping]\npilot = payload1, payload2\nbusy = work[001-002]\n@grid = payload3\n",
        harness::EPILOGUE
    );
    site.old_config(&text);
    site.glexec(["actor", "exit", "7"]).run().exited(7);
    site.glexec(["actor", "exit", "7"]).env("GLEXEC_TARGET_USER", "payload2").run().exited(7);
    site.glexec(["actor", "exit", "7"]).by("busy").run().exited(7);
    let grid = [harness::accounts::GRID];
    let member =
        |call: harness::Call<'_>| call.by_ids(harness::accounts::OTHER, 42_003, &grid).run();
    member(site.glexec(["actor", "exit", "7"])).exited(7);
    let all = site.epilogues();
    let targets = all.iter().filter_map(|saw| saw.variable("GLEXEC_EPILOG_TARGET_USER"));
    assert_eq!(targets.collect::<Vec<_>>(), ["payload1", "payload2", "work001", "payload3"]);
    let check = ["/usr/sbin/glexec-admin", "check"];
    let shown = site.program(check).by("root").run().exited(0).output();
    assert!(shown.contains("pilot -> payload1 (uid") && !shown.contains("[["), "{shown}");
    // Without the lines nobody is mapped, and that is said in words of this syntax.
    site.old_config(text.split("[mapping]").next().unwrap());
    let shown = site.program(check).by("root").run().output();
    assert!(shown.contains("nobody is mapped: [mapping]") && !shown.contains("[["), "{shown}");
}

#[test]
fn a_command_that_cannot_be_run_as_the_target_is_201() {
    let site = Site::with_epilogue("");
    site.file("/tmp/plain", "#!/bin/sh\n", 0o644);
    site.directory("/tmp/directory", (0, 0), 0o755);
    site.file("/home/pilot/own", "#!/bin/sh\n", 0o755);
    symlink("/nonexistent", site.path("/tmp/dangling")).unwrap();
    symlink("/tmp/loop", site.path("/tmp/loop")).unwrap();
    for (command, reason) in [
        ("nonexistent", Reason::CommandNotFound),
        ("/nonexistent/command", Reason::CommandNotFound),
        ("/tmp/dangling", Reason::CommandNotFound),
        ("/tmp/plain", Reason::CommandNotExecutable),
        ("/tmp/directory", Reason::CommandNotExecutable),
        ("/tmp", Reason::CommandNotExecutable),
        ("/home/pilot/own", Reason::CommandNotExecutable),
        ("/tmp/plain/below", Reason::CommandNotFound),
        ("/tmp/loop", Reason::CommandNotFound),
    ] {
        let ran = site.glexec([command]).with_status().run();
        let word = match ran.records.last() {
            Some(contract::Record::Refused { reason, .. }) => reason.clone(),
            other => panic!("{command}: {other:?} {ran:#?}"),
        };
        assert!(
            ["command-not-found", "command-not-executable"].contains(&word.as_str()),
            "{command}: {word}"
        );
        if !["/home/pilot/own", "/tmp/plain/below", "/tmp/loop"].contains(&command) {
            ran.stopped(reason);
        }
        ran.exited(201).said_one_sentence();
    }
    assert!(site.epilogues().is_empty());
}

#[test]
fn what_only_exec_can_tell_is_126_or_127_and_the_epilogue_has_run() {
    let site = Site::with_epilogue("");
    site.file("/tmp/no-interpreter", "#!/nonexistent/sh\n", 0o755);
    site.file("/tmp/text", "echo no magic, no shell\n", 0o755);
    site.file("/tmp/empty", "", 0o755);
    site.file("/tmp/broken", b"\x7fELF and nothing more", 0o755);
    for (command, code) in [
        ("/tmp/no-interpreter", 127),
        ("/tmp/text", 126),
        ("/tmp/empty", 126),
        ("/tmp/broken", 126),
    ] {
        let before = site.epilogues().len();
        let ran = site.glexec([command]).with_status().run();
        ran.exited(code);
        assert_eq!(ran.output(), "", "{command}: no shell steps in");
        let saw = site.epilogues();
        assert_eq!(saw.len(), before + 1, "{command}: {ran:#?}");
        assert_eq!(saw[before].variable("GLEXEC_EPILOG_RESULT"), Some("not-started"), "{command}");
        assert_eq!(
            saw[before].variable("GLEXEC_EPILOG_TARGET_RC"),
            Some(code.to_string().as_str())
        );
        assert!(!ran.log.is_empty());
    }
}

/// Commands that only exec finds fault with, the code, and what the sentence names.
const ONLY_EXEC: [(&str, &[u8], i32, &str); 5] = [
    ("/tmp/no-interpreter", b"#!/nonexistent/sh -e\n", 127, "/nonexistent/sh"),
    ("/tmp/dos", b"#!/bin/sh\r\nexit 0\r\n", 127, "carriage return"),
    ("/tmp/text", b"echo no magic\n", 126, "neither a script"),
    ("/tmp/directory-as-interpreter", b"#!/tmp\n", 126, "interpreter /tmp,"),
    ("/tmp/broken", b"\x7fELF and nothing more", 126, "no whole program"),
];

#[test]
fn what_only_exec_can_tell_is_said_on_the_payloads_own_stderr() {
    for lines in ["linger = false", "", "epilogue = \"/usr/libexec/site/epilogue\""] {
        let site = Site::with(lines);
        for (command, text, code, part) in ONLY_EXEC {
            site.file(command, text, 0o755);
            let wrapper = format!("{}/glexec-slurm-task", harness::LIBEXEC);
            let task = site.program([wrapper.as_str(), command]).env("SLURM_JOB_ID", "7");
            let bare = site.glexec([command, "word"]);
            // The wrapper of Slurm's tasks holds a run that lingers.
            let task = (lines != "linger = false").then(|| task.run());
            for ran in std::iter::once(bare.run()).chain(task) {
                ran.exited(code).said_one_sentence();
                let said = ran.error();
                assert!(said.contains(command) && said.contains(part), "{lines:?}: {ran:#?}");
                assert_eq!(ran.output(), "");
            }
        }
    }
    let site = Site::with("silent_logging = true");
    site.file("/tmp/text", "echo no magic\n", 0o755);
    assert_eq!(site.glexec(["/tmp/text"]).run().exited(126).error(), "");
}

#[test]
fn nobody_has_to_read_what_exec_found_wrong() {
    for lines in ["linger = false", "", "epilogue = \"/usr/libexec/site/epilogue\""] {
        let site = Site::with(lines);
        let (command, text, code, _) = ONLY_EXEC[0];
        site.file(command, text, 0o755);
        let with_stderr = |stderr: std::os::fd::OwnedFd| {
            let script = format!("exec $GLEXEC {command} 2>&7 7>&-");
            site.shell(&script).passing(7, stderr).run().exited(code).log.len()
        };
        // A full pipe that somebody holds and nobody reads; one that nobody holds.
        let (held, full) = nix::unistd::pipe().unwrap();
        let flags = nix::fcntl::FcntlArg::F_SETFL;
        nix::fcntl::fcntl(&full, flags(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
        while nix::unistd::write(&full, &[b'x'; 4096]).is_ok() {}
        nix::fcntl::fcntl(&full, flags(nix::fcntl::OFlag::empty())).unwrap();
        assert!(with_stderr(full) > 0);
        drop(held);
        let (gone, closed) = nix::unistd::pipe().unwrap();
        drop(gone);
        assert!(with_stderr(closed) > 0);
        assert_eq!(site.processes_of(harness::accounts::PAYLOAD1), [], "{lines:?}");
    }
}

#[test]
fn a_working_directory_that_is_gone_stops_relative_commands_only() {
    let site = Site::with_epilogue("");
    let from = |words: &str| {
        site.shell(&format!(
            "mkdir /tmp/gone && cd /tmp/gone && rmdir /tmp/gone && exec $GLEXEC {words}"
        ))
        .run()
    };
    from("actor exit 7").exited(7);
    from("/usr/local/bin/actor exit 7").exited(7);
    from("./actor exit 7").stopped(Reason::DirectoryGone);
    let site = Site::with("working_directory = \"caller\"");
    let ran = site
        .shell("mkdir /tmp/gone && cd /tmp/gone && rmdir /tmp/gone && exec $GLEXEC pwd -P")
        .run();
    assert_eq!(ran.exited(0).output(), "/home/payload1\n");
}

#[test]
fn a_home_that_is_missing_leaves_the_payload_in_the_root_directory() {
    let site = Site::with_epilogue("");
    let ran = site.glexec(["pwd", "-P"]).env("GLEXEC_TARGET_USER", "homeless").run();
    assert_eq!(ran.exited(0).output(), "/\n");
}

#[test]
fn a_command_line_too_long_for_the_epilogue_is_201_and_nothing_starts() {
    let site = Site::with_epilogue("");
    // 1 MB fits an exec here; with a prefix on each word it fits no second time.
    let words: Vec<String> = (0..1_000_000 / 9).map(|n| format!("{n:08}")).collect();
    let ran = site.glexec(["sh", "-c", "echo started"]).words(&words).with_status().run();
    ran.stopped(Reason::ArgumentsTooLong);
    assert_eq!(ran.output(), "");
    let longest = "x".repeat(131_071);
    let ran = site.glexec(["sh", "-c", "echo started", &longest]).with_status().run();
    ran.stopped(Reason::ArgumentsTooLong);
    assert!(site.epilogues().is_empty());

    let site = Site::new();
    let ran = site.glexec(["sh", "-c", "echo $#"]).words(&words).run();
    assert_eq!(
        ran.exited(0).output(),
        format!("{}\n", words.len() - 1),
        "without an epilogue it runs"
    );
}

#[test]
fn without_the_right_to_be_root_glexec_says_why_and_runs_nothing() {
    let site = Site::new();
    site.glexec(["echo", "x"]).no_new_privs().with_status().run().stopped(Reason::NoNewPrivs);
    site.mode(GLEXEC, 0o755);
    site.glexec(["echo", "x"]).with_status().run().stopped(Reason::NotSetuid);
    site.own(GLEXEC, (harness::accounts::OTHER, 0));
    site.mode(GLEXEC, 0o4755);
    site.glexec(["echo", "x"]).with_status().run().stopped(Reason::NotSetuid);
    site.own(GLEXEC, (0, 0));
    site.mode(GLEXEC, 0o4755);
    site.shell("mount --bind /usr/sbin /usr/sbin && mount -o remount,bind,nosuid /usr/sbin")
        .by("root")
        .run()
        .exited(0);
    site.glexec(["echo", "x"]).with_status().run().stopped(Reason::NosuidMount);
}

#[test]
fn in_a_user_namespace_glexec_says_so_and_runs_nothing() {
    let site = Site::new();
    for map in ["", "--map-root-user"] {
        let ran = site.shell(&format!("exec unshare --user {map} $GLEXEC echo x")).run();
        assert_eq!(ran.output(), "", "{map}");
        ran.exited(202).said_one_sentence();
    }
}
