//! What glexec's exit codes, an epilogue's results and the reasons of hooks mean.

use super::entry::Entry;
use std::ops::RangeInclusive;

const NO_LINE: &str = "glexec[4711]: end of pilot->payload1: payload exit 42 exit_code=42 ...";

/// Which codes, as a list shows them, and what is said of them; the first that fits counts.
pub(super) const CODES: &[(&str, RangeInclusive<u8>, Entry)] = &[
    (
        "126",
        126..=126,
        Entry {
            means: "The command was there and exec refused it at the last moment; or the payload itself exited with 126.",
            look: "The payload's stderr, which names the file or its interpreter; the log's line of the end.",
            mend: "Make the command, and the interpreter that its first line names, executable for the target.",
            log: "glexec[4711]: end of pilot->payload1: payload exit 126 exit_code=126 ...",
        },
    ),
    (
        "127",
        127..=127,
        Entry {
            means: "The command or its interpreter was gone when exec looked for it; or the payload itself exited with 127.",
            look: "The payload's stderr, which names what was missing.",
            mend: "Install the interpreter that the command's first line names, or correct that line.",
            log: "glexec[4711]: end of pilot->payload1: payload exit 127 exit_code=127 ...",
        },
    ),
    (
        "129 to 192",
        129..=192,
        Entry {
            means: "128 and the number of the signal that the payload died of (137 is KILL, 143 is TERM); or its own exit code.",
            look: "The log's line of the end: `payload signal N` or `payload exit N`. With 137 the scheduler's limits and the kernel's OOM killer.",
            mend: "What ended the payload is the job's or the scheduler's matter, not glexec's.",
            log: "glexec[4711]: end of pilot->payload1: payload signal 9 exit_code=137 ...",
        },
    ),
    (
        "201",
        201..=201,
        Entry {
            means: "Nothing was started: the caller must change something.",
            look: "The line on the caller's stderr; it names what is wrong.",
            mend: "The credential, the command line, a limit of the process, or the command, as the reason says.",
            log: "glexec[4711]: command-not-found: caller pilot: the command does not exist for the mapped account: /nonexistent and 0 more places exit_code=201",
        },
    ),
    (
        "202",
        202..=202,
        Entry {
            means: "The site must act: nothing was started, or the epilogue failed after the payload.",
            look: "glexec-admin check, which names what would keep a run from working; the log. After a run: `epilogue=` in the line of the end.",
            mend: "As the reason, or the epilogue's result, says.",
            log: "glexec[4711]: malformed: caller pilot: configuration unusable (malformed); see the log: /etc/glexec.toml:2:1: unknown key `lingr`; did you mean `linger`? exit_code=202",
        },
    ),
    (
        "203",
        203..=203,
        Entry {
            means: "Nothing was started: the caller is refused.",
            look: "The log, which names the list or the row; the caller itself is told no more than that it is refused.",
            mend: "List and map the caller, where it shall be served; glexec-admin check --as USER shows what comes of it.",
            log: "glexec[4711]: not-listed: caller other: refused: caller other is neither in user_white_list nor in group_white_list exit_code=203",
        },
    ),
    (
        "204",
        204..=204,
        Entry {
            means: "The payload, or the epilogue, itself exited with 201 to 204, which would have been taken for glexec's own.",
            look: "The log's line of the end has the true code; so has the status stream.",
            mend: "Let payload and epilogue exit with other codes.",
            log: "glexec[4711]: end of pilot->payload1: payload exit 203 exit_code=204 ...",
        },
    ),
    (
        "0 to 255",
        0..=255,
        Entry {
            means: "The payload's own exit code.",
            look: "The payload's output; the log's line of the end.",
            mend: "Nothing of glexec's: the payload ran and ended by itself.",
            log: NO_LINE,
        },
    ),
];

/// What is said of a code.
pub(super) fn of_code(code: u8) -> Option<Entry> {
    CODES.iter().find(|(_, codes, _)| codes.contains(&code)).map(|(.., entry)| *entry)
}

/// What is said of each result of an epilogue.
pub(super) const RESULTS: &[(&str, Entry)] = &[
    (
        "ok",
        Entry {
            means: "The epilogue exited with 0.",
            look: "Nothing is wrong.",
            mend: "Nothing, for nothing is owed.",
            log: "glexec[4711]: end of pilot->payload1: payload exit 0 exit_code=0 epilogue=ok(0) ...",
        },
    ),
    (
        "exit",
        Entry {
            means: "The epilogue exited with another code than 0, which stands in brackets; it is not tried again.",
            look: "What the epilogue says: with `epilogue_output = \"log\"` that is in the log.",
            mend: "Mend the epilogue. `epilogue_failure = \"report\"` keeps the payload's code where it fails; with \"fail\" it is 202, or 204.",
            log: "glexec[4711]: end of pilot->payload1: payload exit 0 exit_code=202 epilogue=exit(3) ...",
        },
    ),
    (
        "signal",
        Entry {
            means: "The epilogue died of the signal in brackets. Of HUP, INT, QUIT, KILL, TERM, SEGV or BUS it is owed still, and the sweep runs it again.",
            look: "Who sends signals to root's processes: the scheduler's limits, the OOM killer. glexec-admin ps.",
            mend: "`supervisor_cgroup` keeps the epilogue out of the job's container (docs/sweep.md); glexec-admin sweep --now pays at once.",
            log: "glexec[4711]: end of pilot->payload1: payload exit 0 exit_code=202 epilogue=signal(9) ...",
        },
    ),
    (
        "timeout",
        Entry {
            means: "The epilogue did not end within `epilogue_timeout` seconds and was ended.",
            look: "What the epilogue waits for: a network file system, a lock, a service.",
            mend: "Have it wait for less, or raise `epilogue_timeout`.",
            log: "glexec[4711]: end of pilot->payload1: payload exit 0 exit_code=202 epilogue=timeout ...",
        },
    ),
    (
        "not-started",
        Entry {
            means: "The epilogue could not be started, or was not trusted any more when the payload had ended; it is owed.",
            look: "The log's lines before; glexec-admin check judges the epilogue.",
            mend: "As check says; the sweep then runs it (glexec-admin sweep --now).",
            log: "glexec[4711]: end of pilot->payload1: payload exit 0 exit_code=202 epilogue=not-started ...",
        },
    ),
];

/// What is said of each reason that the hooks for HTCondor give, and glexec does not.
pub(super) const OF_HOOKS: &[(&str, Entry)] = &[
    (
        "wrapper",
        Entry {
            means: "The job is on hold (202), for the starter would run it by something else than glexec's wrapper.",
            look: "condor_config_val -v USER_JOB_WRAPPER on that machine; glexec-admin doctor.",
            mend: "Include conf/condor/50-glexec.config last, or set `rewrite = true` in /etc/glexec-condor.toml (docs/htcondor.md).",
            log: "HoldReason: glexec on node1: USER_JOB_WRAPPER is not set, and the job would run without glexec; set `rewrite = true` in /etc/glexec-condor.toml, or let USER_JOB_WRAPPER be glexec-condor-wrapper in the configuration that is read last (202 wrapper)",
        },
    ),
    (
        "sandbox",
        Entry {
            means: "The job did not run (202), for its sandbox could not be copied for the payload, or it would begin outside of it in a directory that is closed to its account.",
            look: "The sentence before it: what could not be read, or where there is no room. `directory` under [sandbox] in /etc/glexec-condor.toml.",
            mend: "Make room there, and let the target write there (docs/htcondor.md, Copying the sandbox).",
            log: "HoldReason: the target did not take the sandbox (202 sandbox)",
        },
    ),
];
