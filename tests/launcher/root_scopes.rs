//! What glexec does between raising its rights and lowering them again: it reads, sends, and does what
//! that step is named for.

use super::bracket::{Call, traced};
use harness::Site;
use harness::accounts::PILOT;
use std::collections::BTreeSet;

/// What a scope of root's is for, and the calls that it makes, beside close and the switches.
type Scope = (&'static str, &'static [&'static str]);

const FILES: Scope = ("configuration and account files", &["stat", "openat", "read"]);
const LOG_FILE: Scope = ("the log's file", &["fchown", "stat", "openat"]);
/// Where its pipe ends before it does, its end is waited for; where it takes too long it is killed.
const HELPER: Scope = (
    "a helper, from its file to its end",
    &["clone", "kill", "openat", "pidfd_open", "pipe2", "poll", "read", "stat", "waitid"],
);
const COMMAND: Scope = (
    "the command, looked for as the target",
    &["faccessat2", "openat", "readlink", "setgroups", "setresgid", "stat"],
);
const EPILOGUE: Scope =
    ("the epilogue's files", &["stat", "fstatfs", "openat", "pread64", "readlinkat"]);
/// Where the log takes none at once, glexec waits for it.
const LINE: Scope = ("a line of the log", &["poll", "sendto", "write"]);
const SWITCH: Scope = (
    "the switch to the target",
    &[
        "capget",
        "chdir",
        "getgroups",
        "getpid",
        "getresgid",
        "getresuid",
        "keyctl",
        "openat",
        "prctl",
        "read",
        "setfsgid",
        "setfsuid",
        "setgroups",
        "setresgid",
    ],
);

/// The calls of each scope of root's in glexec's own process, from its first lowering to the first
/// call of one of the names in `end`.
fn scopes(calls: &[Call], end: &[&str]) -> Vec<BTreeSet<String>> {
    let first = calls[0].pid;
    let own = calls.iter().filter(|call| call.pid == first);
    let own = own.skip_while(|call| !call.text.starts_with("setresuid(-1, ")).skip(1);
    let own: Vec<&Call> = own.take_while(|call| !call.is(end)).collect();
    let scopes = own.split(|call| call.euid == PILOT).filter(|scope| !scope.is_empty());
    // The C libraries' names for one look at a file.
    let name = |call: &&Call| match call.text.split('(').next().unwrap_or_default() {
        "fstat" | "newfstatat" => "stat".to_owned(),
        name => name.to_owned(),
    };
    let counts = |name: &String| !["setresuid", "close"].contains(&name.as_str());
    scopes.map(|scope| scope.iter().map(name).filter(counts).collect()).collect()
}

/// A scope more, or a call that its step has no use for, shows here; how much is worked out in all of
/// them, `cost.rs` counts in instructions.
#[test]
fn as_root_files_are_read_and_lines_sent_and_nothing_is_decided() {
    const EXECUTES: &[&str] = &["umask", "execve"];
    const FORKS: &[&str] = &["fork", "vfork", "clone"];
    let epilogue = "epilogue = \"/usr/libexec/site/epilogue\"\n";
    let to_file = "log_destination = \"file\"\nlog_file = \"/var/log/glexec/log\"\n";
    let logged = format!("{to_file}{epilogue}");
    let table: [(&str, &[&str], &[Scope]); 5] = [
        ("linger = false", EXECUTES, &[FILES, COMMAND, LINE, SWITCH]),
        (
            "linger = false\naccount_source = \"nss\"",
            EXECUTES,
            // Who the caller is, and who the target.
            &[FILES, HELPER, HELPER, COMMAND, LINE, SWITCH],
        ),
        ("", FORKS, &[FILES, COMMAND, LINE]),
        (epilogue, FORKS, &[FILES, COMMAND, EPILOGUE, LINE]),
        (&logged, FORKS, &[FILES, LOG_FILE, COMMAND, EPILOGUE, LINE]),
    ];
    for (lines, end, wanted) in table {
        let site = Site::with(lines);
        let found = scopes(&traced(&site, &["true"]), end);
        assert_eq!(found.len(), wanted.len(), "{lines:?}: {found:#?}");
        for (found, (what, calls)) in found.iter().zip(wanted) {
            let strange: Vec<_> = found.iter().filter(|c| !calls.contains(&c.as_str())).collect();
            assert!(!found.is_empty() && strange.is_empty(), "{lines:?}: {what}: {strange:?}");
        }
    }
}
