//! The log: a line at the begin and one at the end of every run, and nobody forges one.

use contract::Reason;
use harness::Site;
use harness::accounts::PILOT;
use std::time::{Duration, Instant};

#[test]
fn a_run_has_a_begin_in_the_originals_words_and_an_end_with_the_code() {
    let site = Site::with_epilogue("");
    let ran = site.glexec(["actor", "exit", "42"]).within("/tmp").run();
    let begin =
        ran.log.iter().find(|l| l.contains("real_user(")).unwrap_or_else(|| panic!("{ran:#?}"));
    for part in [
        "real_user(pilot),real_group(pilot)->mapped_user(payload1),mapped_group(payload1)",
        "cwd: \"",
        "cmd: \"actor\" (=\"/usr/local/bin/actor\")",
        "args: \"",
    ] {
        assert!(begin.contains(part), "{part} in {begin}");
    }
    let end = ran.log.last().unwrap();
    assert!(end.contains("42") && end != begin, "{end}");
    assert!(
        ran.log.iter().all(|l| l.contains("glexec[")),
        "each line says who writes it: {ran:#?}"
    );
}

#[test]
fn the_begin_line_tells_where_the_payload_really_begins() {
    let site = Site::with_epilogue("working_directory = \"caller\"");
    site.directory("/srv/private", (PILOT, PILOT), 0o700);
    site.directory("/srv/public", (PILOT, PILOT), 0o755);
    for (from, in_log) in
        [("/srv/private", None), ("/srv/public", Some("/srv/public")), ("/tmp", Some("/tmp"))]
    {
        let ran = site.glexec(["pwd"]).within(from).run();
        let output = ran.exited(0).output();
        let really = output.trim();
        assert!(in_log.is_none_or(|wanted| wanted == really) && really != "/srv/private");
        let cwd = format!("cwd: \"{really}\"");
        assert!(ran.log.iter().any(|line| line.contains(&cwd)), "{cwd}: {ran:#?}");
    }
}

#[test]
fn a_refused_run_is_logged_with_the_callers_name_and_the_reason() {
    let site = Site::new();
    let ran = site.glexec(["true"]).by("other").run();
    let line = ran.log.join("\n");
    assert!(line.contains("other") && line.contains("not-listed"), "{line}");
}

#[test]
fn what_a_caller_writes_stays_within_its_line_and_its_quotes() {
    let site = Site::with_epilogue("");
    let forged = "0\n<13>Jan  1 00:00:00 glexec[1]: real_user(root)\u{1b}[31m\" ok \\";
    let call = site
        .glexec(["sh", "-c", "exit 3", forged])
        .name("\n[fake log]%n%n%s")
        .env("GLEXEC_NOTE", forged);
    let ran = call.run();
    ran.exited(3);
    let raw = site.raw_log();
    assert!(raw.len() >= 2, "a begin and an end: {ran:#?}");
    for line in raw {
        assert!(
            !line.iter().any(|b| *b < 0x20 || *b == 0x7f),
            "{}",
            String::from_utf8_lossy(&line)
        );
    }
    let lines: Vec<&String> = ran.log.iter().filter(|l| l.contains("real_user(root)")).collect();
    assert_eq!(lines.len(), 1, "{ran:#?}");
    // Within the quotes: each of its own is escaped, and so is the backslash before the last one.
    let after = lines[0].split_once("args: \"").unwrap().1;
    let end = ends_at(after).unwrap_or_else(|| panic!("{after}"));
    let quoted = &after[..end];
    assert!(quoted.contains("real_user(root)") && quoted.contains(" ok "), "{after}");
    assert!(!ran.log.iter().any(|l| l.starts_with("<13>Jan")), "{ran:#?}");
}

/// Where a quoted text ends: at a quote without a backslash that is none of the text's own.
fn ends_at(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, character)| {
        let ends = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        ends.then_some(at)
    })
}

#[test]
fn bytes_that_are_no_text_are_escaped() {
    use std::os::unix::ffi::OsStringExt as _;
    let site = Site::new();
    let word = std::ffi::OsString::from_vec(vec![0xff, 0xfe, b'a', 0x80, 0x01]);
    site.glexec(["actor", "argv"]).words([word]).run().exited(0);
    let raw = site.raw_log();
    for line in &raw {
        assert!(std::str::from_utf8(line).is_ok(), "{}", String::from_utf8_lossy(line));
    }
    // None of them is lost.
    let told = raw.iter().filter_map(|line| std::str::from_utf8(line).ok());
    let told = told.filter(|line| line.contains("\\xff\\xfea\\x80\\x01")).count();
    assert_eq!(told, 1, "{:#?}", site.log());
}

#[test]
fn a_long_line_is_cut_at_8_kib_and_says_how_long_it_was() {
    let site = Site::new();
    let long = "y".repeat(120_000);
    let ran = site.glexec(["actor", "exit", "3", &long]).run();
    ran.exited(3);
    assert!(
        ran.log.iter().all(|l| l.len() <= 8192 + 64),
        "{:?}",
        ran.log.iter().map(String::len).collect::<Vec<_>>()
    );
    let begin = ran.log.iter().find(|l| l.contains("real_user(")).unwrap();
    assert!(
        begin.contains("yyyy") && begin.contains("120"),
        "its full length: …{}",
        &begin[begin.len() - 200..]
    );
    // What is cut is closed: what follows is not the caller's.
    let quotes = begin.matches('"').count();
    assert!(quotes >= 2 && quotes % 2 == 0, "{quotes} quotes: …{}", &begin[begin.len() - 200..]);
}

#[test]
fn without_a_log_nothing_runs() {
    let site = Site::with_epilogue("");
    let gone = |site: &Site| {
        let start = Instant::now();
        let ran = site.glexec(["sh", "-c", "echo started"]).with_status().run();
        assert_eq!((ran.code, ran.output().as_str()), (Some(202), ""), "{ran:#?}");
        ran.said_one_sentence();
        assert!(
            matches!(&ran.records[..], [contract::Record::Refused { reason, .. }] if reason == Reason::Audit.word()),
            "{ran:#?}"
        );
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        assert!(site.epilogues().is_empty());
    };
    let no_log =
        "umount /dev/log /run/systemd/journal/socket && rm /dev/log /run/systemd/journal/socket";
    site.shell(no_log).by("root").run().exited(0);
    gone(&site);
    let ran = site.glexec(["true"]).run();
    assert!(ran.error().contains("a syslog must run, a log file be named"), "{ran:#?}");
    let checked = site.program(["/usr/sbin/glexec-admin", "check"]).by("root").run();
    let told = checked.exited(1).output();
    for part in ["no syslog at /dev/log", "start one", "`log_file`", "(audit)"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    site.file("/dev/log", "", 0o666);
    gone(&site);
}

#[test]
fn a_syslog_daemon_that_hangs_stops_the_run_within_a_second_or_so() {
    let site = Site::with_epilogue("");
    site.hang_log(true);
    std::thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    let mut refused = 0;
    for _ in 0..12 {
        // The queue has room for some datagrams; what does not fit any more is refused.
        let ran = site.glexec(["actor", "exit", "42"]).run();
        match ran.code() {
            42 => {}
            202 => refused += 1,
            other => panic!("{other}: {ran:#?}"),
        }
        if refused == 2 {
            break;
        }
    }
    assert_eq!(refused, 2, "{:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_log_file_is_roots_alone_and_gets_whole_lines() {
    use std::os::unix::fs::MetadataExt as _;
    let site =
        Site::with_epilogue("log_destination = \"file\"\nlog_file = \"/var/log/glexec/log\"");
    site.glexec(["actor", "exit", "42"]).umask(0).run().exited(42);
    let meta = std::fs::metadata(site.path("/var/log/glexec/log")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o077), (0, 0, 0), "mode {:o}", meta.mode());
    let text = site.read("/var/log/glexec/log");
    assert!(
        text.ends_with('\n') && text.contains("real_user(pilot)") && text.contains("42"),
        "{text}"
    );
    assert!(site.log().is_empty(), "and nothing goes to syslog: {:#?}", site.log());
}

#[test]
fn runs_side_by_side_do_not_mix_their_lines_in_a_log_file() {
    let site = Site::with("log_destination = \"file\"\nlog_file = \"/var/log/glexec/log\"");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let long = "z".repeat(3000);
                    site.glexec(["actor", "exit", "0", &long]).run().exited(0);
                }
            });
        }
    });
    let text = site.read("/var/log/glexec/log");
    assert_eq!(text.lines().filter(|l| l.contains("real_user(pilot)")).count(), 40);
    assert!(text.lines().all(|l| l.matches("real_user(").count() <= 1));
}

#[test]
fn a_log_file_that_cannot_be_trusted_or_written_stops_the_run() {
    let file = "log_destination = \"file\"\nlog_file = \"/var/log/glexec/log\"";
    let stops = |site: &Site, what: &str| {
        let ran = site.glexec(["sh", "-c", "echo started"]).with_status().run();
        assert_eq!((ran.code, ran.output().as_str()), (Some(202), ""), "{what}: {ran:#?}");
        ran.said_one_sentence();
    };
    let site = Site::with(file);
    std::os::unix::fs::symlink("/etc/passwd", site.path("/var/log/glexec/log")).unwrap();
    let passwd = site.read("/etc/passwd");
    stops(&site, "a link");
    assert_eq!(site.read("/etc/passwd"), passwd);

    let site = Site::with(file);
    site.program(["/usr/bin/mkfifo", "/var/log/glexec/log"]).by("root").run().exited(0);
    stops(&site, "a FIFO");

    let site = Site::with(file);
    site.directory("/var/log/glexec", (42_001, 42_001), 0o755);
    stops(&site, "in a user's directory");

    for (mode, owner) in [(0o666, (0, 0)), (0o620, (0, 42_001)), (0o600, (42_001, 0))] {
        let site = Site::with(file);
        site.file("/var/log/glexec/log", "", 0o600);
        site.own("/var/log/glexec/log", owner);
        site.mode("/var/log/glexec/log", mode);
        stops(&site, "a file that others can change");
    }

    let site = Site::with(file);
    let full = "mount -t tmpfs -o size=4k,mode=0700 tmpfs /var/log/glexec && head -c 4090 /dev/zero > /var/log/glexec/log; chmod 600 /var/log/glexec/log";
    site.shell(full).by("root").run().exited(0);
    stops(&site, "a full disk");
    assert_eq!(
        std::fs::metadata(site.path("/var/log/glexec/log")).unwrap().len(),
        4090,
        "no half line"
    );
}

#[test]
fn what_is_wrong_with_a_configuration_is_told_in_the_log_that_it_names() {
    let file = "log_destination = \"file\"\nlog_file = \"/var/log/glexec/log\"\n";
    for wrong in ["lingr = true", "linger = 7", "linger = true\nlinger = false", "linger ="] {
        let site = Site::with(&format!("{file}{wrong}"));
        site.glexec(["true"]).run().exited(202).said_one_sentence();
        let text = site.read("/var/log/glexec/log");
        assert!(
            text.contains("malformed") && text.contains("/etc/glexec.toml:"),
            "{wrong}: {text}"
        );
        assert!(site.log().is_empty(), "{wrong}: {:#?}", site.log());
    }
    let site = Site::new();
    site.old_config("[glexec]\nlog_destination = file\nlog_file = /var/log/glexec/log\nrubbish\n");
    site.glexec(["true"]).run().exited(202);
    assert!(site.read("/var/log/glexec/log").contains("/etc/glexec.conf:4:"));
    // Where that cannot be read, or cannot be opened, syslog is left.
    for (lines, log) in
        [("log_destination = \"file\"\nlog_file = \"log\"", "lingr"), (file, "lingr")]
    {
        let site = Site::with(&format!("{lines}\nlingr = true"));
        site.directory("/var/log/glexec", (42_001, 42_001), 0o755);
        let ran = site.glexec(["true"]).run();
        assert!(ran.exited(202).log.iter().any(|line| line.contains(log)), "{ran:#?}");
    }
}

#[test]
fn what_the_sites_log_does_not_take_is_told_in_syslog_with_the_place_and_what_to_do() {
    let site = Site::with("log_destination = \"file\"\nlog_file = \"/var/log/glexec/log\"");
    let full = "mount -t tmpfs -o size=4k,mode=0700 tmpfs /var/log/glexec && head -c 4096 /dev/zero > /var/log/glexec/log && chmod 600 /var/log/glexec/log";
    site.shell(full).by("root").run().exited(0);
    let ran = site.glexec(["true"]).run();
    let line = ran.exited(202).log.last().cloned().unwrap_or_default();
    for part in ["audit", "/var/log/glexec/log takes no line", "No space left", "make room there"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(
        ran.error().contains("glexec-admin check") && !ran.error().contains("/var"),
        "{ran:#?}"
    );
}

#[test]
fn a_log_that_fails_at_the_end_does_not_take_the_payloads_code() {
    let site = Site::with_epilogue("");
    let running = site.glexec(["sh", "-c", "sleep 0.5; exit 42"]).with_status().start();
    running.started();
    site.shell("umount /dev/log && rm /dev/log").by("root").run().exited(0);
    running.wait().exited(42);
    assert_eq!(site.epilogues().len(), 1);
}

#[test]
fn nothing_is_said_on_stderr_once_the_payload_runs_and_nothing_at_all_where_the_site_wants_silence()
{
    let site = Site::with("silent_logging = true");
    let ran = site.glexec(["nonexistent"]).run();
    ran.exited(201);
    assert!(ran.stderr.is_empty(), "{ran:#?}");
    let site = Site::with_epilogue("");
    site.epilogue("#!/bin/sh\nexit 1\n");
    let ran = site.glexec(["true"]).run();
    ran.exited(202);
    assert!(ran.stderr.is_empty(), "{ran:#?}");
}

#[test]
fn the_journal_gets_fields() {
    let site = Site::with("log_destination = \"journal\"");
    site.glexec(["actor", "exit", "42"]).run().exited(42);
    let entries = site.journal();
    assert!(entries.len() >= 2, "a begin and an end");
    let text = String::from_utf8_lossy(&entries[0]).into_owned();
    assert!(
        text.contains("MESSAGE")
            && text.contains("PRIORITY=")
            && text.contains("SYSLOG_IDENTIFIER=glexec"),
        "{text}"
    );
}

#[test]
fn the_end_of_a_run_is_logged_though_the_daemon_was_restarted_meanwhile() {
    for lines in ["", "epilogue = \"/usr/libexec/site/epilogue\""] {
        let site = Site::with(lines);
        let running = site.glexec(["sh", "-c", "sleep 0.6; exit 42"]).with_status().start();
        running.started();
        site.restart_log();
        let ran = running.wait();
        ran.exited(42);
        assert!(ran.log.iter().any(|l| l.contains("payload exit 42")), "{lines}: {ran:#?}");
    }
}

/// What `check` says of the log, though nothing else of the site is right.
fn log_as_checked(site: &Site) -> String {
    let told = site.program(["/usr/sbin/glexec-admin", "check"]).by("root").run().output();
    told.lines().filter(|line| line.starts_with("log ")).map(str::to_owned).collect()
}

#[test]
fn journalds_own_socket_for_syslog_is_as_good_as_dev_log() {
    let site = Site::with_epilogue("");
    // As systemd leaves it: a link, whose end a container may not have.
    let link = "umount /dev/log && ln -sf /nowhere /dev/log";
    site.shell(link).by("root").run().exited(0);
    let path = "/run/systemd/journal/dev-log";
    let receiver = std::os::unix::net::UnixDatagram::bind(site.path(path)).unwrap();
    receiver.set_nonblocking(true).unwrap();
    let received = || {
        let mut bytes = vec![0; 16384];
        let one = || {
            receiver
                .recv(&mut bytes)
                .ok()
                .map(|n| String::from_utf8_lossy(&bytes[..n]).into_owned())
        };
        std::iter::from_fn(one).collect::<Vec<_>>().join("\n")
    };
    site.glexec(["actor", "exit", "42"]).run().exited(42);
    let lines = received();
    assert!(lines.contains("<29>glexec[") && lines.contains("payload exit 42"), "{lines}");
    assert!(site.journal().is_empty(), "one log is enough");
    assert!(log_as_checked(&site).contains(&format!("{path} takes a line; there is no /dev/log")));
    received();
    // Before there is a configuration, too.
    site.config("rubbish");
    site.glexec(["true"]).run().exited(202);
    let lines = received();
    assert!(lines.contains("malformed"), "{lines}");
}
