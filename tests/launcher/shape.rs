//! What the installed program is, and what it does before its decision: seen from outside, with
//! readelf and strace.

use harness::{GLEXEC, Site};
use std::process::Command;

fn tool(name: &str, words: &[&str]) -> String {
    let path =
        which::which(name).unwrap_or_else(|_| panic!("{name} is missing: tests/run installs it"));
    let output = Command::new(path).args(words).output().unwrap();
    assert!(output.status.success(), "{name} {words:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_program_is_static_and_asks_for_no_interpreter_and_no_library() {
    let site = Site::new();
    let path = site.path(GLEXEC);
    let file = path.to_str().unwrap();
    let segments = tool("readelf", &["-lW", file]);
    assert!(!segments.contains("INTERP"), "{segments}");
    let dynamic = tool("readelf", &["-dW", file]);
    assert!(
        !dynamic.contains("(NEEDED)")
            && !dynamic.contains("(RPATH)")
            && !dynamic.contains("(RUNPATH)"),
        "{dynamic}"
    );
    let writable_code = segments.lines().any(|line| line.contains("RWE"));
    assert!(!writable_code, "no segment is writable and executable: {segments}");
    assert!(segments.contains("GNU_RELRO"), "{segments}");
    let stack = segments.lines().find(|line| line.contains("GNU_STACK")).unwrap_or_default();
    assert!(stack.contains("RW ") && !stack.contains("RWE"), "{stack}");
}

/// The system calls of a run, as strace writes them, children included.
fn trace(site: &Site, who: &str, words: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let strace = which::which("strace").expect("strace is missing: tests/run installs it");
    let mut line = vec![
        strace.to_str().unwrap().to_owned(),
        "-f".into(),
        "-qq".into(),
        "-s".into(),
        "200".into(),
    ];
    line.extend(["-o".into(), "/tmp/trace".into(), "-u".into(), who.into(), GLEXEC.into()]);
    line.extend(words.iter().map(|w| (*w).to_owned()));
    let mut call = site.program(line).by("root");
    for (name, value) in variables {
        call = call.env(name, value);
    }
    let ran = call.run();
    let text = site.read("/tmp/trace");
    assert!(!text.is_empty(), "{ran:#?}");
    whole_lines(&text)
}

/// Without the pids; a call that another process interrupted in the trace made one line again.
fn whole_lines(text: &str) -> Vec<String> {
    let mut begun = std::collections::HashMap::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        let (pid, call) = line.split_once(' ').unwrap_or(("", line));
        let call = call.trim_start();
        if let Some(begin) = call.strip_suffix("<unfinished ...>") {
            begun.insert(pid, begin.trim_end());
        } else if let Some((_, end)) =
            call.split_once(" resumed>").filter(|_| call.starts_with("<..."))
        {
            let begin = begun.remove(pid).unwrap_or_default();
            lines.push(format!("{begin} {}", end.trim_start()));
        } else {
            lines.push(call.to_owned());
        }
    }
    lines
}

/// The first path a call names.
fn path_of(line: &str) -> &str {
    line.split('"').nth(1).unwrap_or_default()
}

fn opens(lines: &[String]) -> Vec<&String> {
    lines
        .iter()
        .filter(|l| {
            l.starts_with("open(")
                || l.starts_with("openat(")
                || l.starts_with("openat2(")
                || l.starts_with("creat(")
        })
        .collect()
}

#[test]
fn before_a_refusal_nothing_is_written_but_the_log_and_one_line_on_stderr() {
    let site = Site::new();
    let lines =
        trace(&site, "other", &["true"], &[("LD_LIBRARY_PATH", "/tmp/evil"), ("TZ", ":/tmp/x")]);
    for line in opens(&lines) {
        let harmless = path_of(line) == "/dev/null";
        assert!(
            harmless
                || !(line.contains("O_WRONLY")
                    || line.contains("O_RDWR")
                    || line.contains("O_CREAT")),
            "{line}"
        );
    }
    let writes: Vec<_> =
        lines.iter().filter(|l| l.starts_with("write") || l.starts_with("pwrite")).collect();
    assert!(
        writes.iter().all(|l| l.starts_with("write(2,") || l.starts_with("writev(2,")),
        "{writes:#?}"
    );
    for call in [
        "execve(",
        "clone(",
        "fork(",
        "vfork(",
        "clone3(",
        "mkdir",
        "unlink",
        "rename",
        "chmod",
        "chown",
        "fchmod",
        "fchown",
        "mount",
        "ptrace(",
        "link",
        "symlink",
        "truncate",
        "ftruncate",
    ] {
        let seen: Vec<_> = lines.iter().skip(1).filter(|l| l.starts_with(call)).collect();
        assert!(seen.is_empty(), "{call}: {seen:#?}");
    }
}

#[test]
fn only_known_files_are_opened_before_the_payload_and_none_is_a_library() {
    let site = Site::with_epilogue("");
    let lines = trace(
        &site,
        "pilot",
        &["true"],
        &[
            ("LD_LIBRARY_PATH", "/tmp/evil"),
            ("LD_PRELOAD", "/tmp/evil/x.so"),
            ("GCONV_PATH", "/tmp/evil"),
        ],
    );
    let exec =
        lines.iter().skip(1).position(|l| l.starts_with("execve")).expect("the payload's exec") + 1;
    let before = &lines[..exec];
    for line in opens(before) {
        let path = path_of(line);
        // The loader of the epilogue's interpreter is looked at, like the epilogue.
        let judged = line.contains("O_NOFOLLOW") && path.starts_with("ld-");
        let library = path.contains(".so") && !judged;
        assert!(!library && !path.starts_with("/tmp") && !path.contains("locale"), "{line}");
        let known = [
            "/etc/glexec.toml",
            "/etc/passwd",
            "/etc/group",
            "/etc/nsswitch.conf",
            "/dev/null",
            "/proc/",
        ];
        // Directories on the way to a trusted file are opened one by one, below each other.
        let step =
            line.contains("O_PATH") || line.contains("O_DIRECTORY") || line.contains("O_NOFOLLOW");
        assert!(step || known.iter().any(|k| path.starts_with(k)), "{line}");
    }
    let mapped = |line: &&String| line.starts_with("mmap(") && !line.contains("MAP_ANONYMOUS");
    assert_eq!(before.iter().find(mapped), None, "no file becomes code or data of glexec's");
    let env_seen = before.iter().any(|l| l.contains("/tmp/evil"));
    assert!(!before.iter().skip(1).any(|l| l.contains("/tmp/evil")), "{env_seen}: {before:#?}");
}

#[test]
fn nothing_is_executed_as_root_but_the_epilogue() {
    let site = Site::with_epilogue("");
    let lines = trace(&site, "pilot", &["true"], &[]);
    let execs: Vec<_> =
        lines.iter().filter(|l| l.starts_with("execve") && l.ends_with("= 0")).collect();
    let paths: Vec<_> = execs
        .iter()
        .map(|l| if l.starts_with("execveat") { "by descriptor" } else { path_of(l) })
        .collect();
    assert_eq!(paths.first(), Some(&GLEXEC));
    assert!(paths.len() == 3, "glexec, payload, epilogue: {execs:#?}");
    assert!(paths[1].ends_with("/true"), "{execs:#?}");
    // As whom: the caller, the target, root.
    let calls = crate::bracket::traced(&site, &["true"]);
    let done = calls.iter().filter(|call| call.text.ends_with("= 0"));
    let execs: Vec<_> = done.filter(|call| call.is(&["execve", "execveat"])).collect();
    let euids: Vec<u32> = execs.iter().map(|call| call.euid).collect();
    assert_eq!(euids, [harness::accounts::PILOT, harness::accounts::PAYLOAD1, 0], "{execs:#?}");
}

#[test]
fn a_lingering_glexec_sleeps_and_does_nothing_else() {
    let site = Site::with_epilogue("");
    let running = site.glexec(["sleep", "2"]).with_status().start();
    let (glexec, _) = running.started();
    std::thread::sleep(std::time::Duration::from_millis(200));
    let switches = || {
        let text = std::fs::read_to_string(format!("/proc/{glexec}/status")).unwrap();
        let numbers = text.lines().filter(|l| l.contains("ctxt_switches"));
        numbers.map(|l| l.rsplit('\t').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    let before = switches();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(switches(), before, "it woke up within a second");
    running.wait().exited(0);
}

#[test]
fn descriptors_are_marked_in_one_call_however_many_there_are() {
    let site = Site::new();
    let lines = trace(&site, "pilot", &["true"], &[]);
    let exec = lines.iter().skip(1).position(|l| l.starts_with("execve")).unwrap();
    let marks = lines[..exec]
        .iter()
        .filter(|l| l.starts_with("close_range(3, 4294967295, CLOSE_RANGE_CLOEXEC"));
    assert!(marks.count() >= 1);
    // A call for each number would be a thousand more.
    assert!(lines.len() < 450, "{} system calls", lines.len());
}
