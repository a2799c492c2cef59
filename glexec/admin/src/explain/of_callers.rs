//! What the caller has to change (201).

use super::entry::{Row, say};
use contract::Reason;

pub(super) const ROWS: &[Row] = &[
    say(
        Reason::Usage,
        "The command line cannot be understood.",
        [
            "The words that glexec was called with; glexec --help.",
            "Correct the call. An option of glexec stands before the command; put -- between them.",
            "there is no option '--colour'; a command that begins with a dash stands behind --",
        ],
    ),
    say(
        Reason::NoCommand,
        "There is no command to run.",
        [
            "How glexec is called: no word is left after its options.",
            "Name a command.",
            "there is no command to run",
        ],
    ),
    say(
        Reason::CommandNotFound,
        "The command does not exist for the target account.",
        [
            "The file, as the target: su -s /bin/sh TARGET -c 'ls -l COMMAND'. A name without a slash is looked for in `path` of the configuration, not in the caller's PATH.",
            "Give an absolute path, or add the directory to `path`.",
            "the command does not exist for the mapped account: /nonexistent and 0 more places",
        ],
    ),
    say(
        Reason::CommandNotExecutable,
        "The command exists and the target may not execute it.",
        [
            "The mode of the file and of every directory above it, and whether its file system is mounted noexec.",
            "Open them to the target (a+x), or name a command that is open to it.",
            "the command may not be executed by the mapped account: Permission denied: /opt/tool: Permission denied",
        ],
    ),
    say(
        Reason::DirectoryGone,
        "The caller's working directory is gone, or out of its reach, and the command is relative to it.",
        [
            "Where the caller is when it calls glexec.",
            "Give the command as an absolute path, or call glexec from a directory that is there.",
            "the working directory is gone and the command is relative to it",
        ],
    ),
    say(
        Reason::Descriptor,
        "A descriptor named by --status-fd, --control-fd or --keep-fd is not what it must be.",
        [
            "What the caller has open under that number when it calls glexec.",
            "Name different open pipes or sockets above 2.",
            "descriptor 5 is not open",
        ],
    ),
    say(
        Reason::ArgumentsTooLong,
        "The epilogue could not be given this call, or it could not be written down: arguments and GLEXEC_* variables are too long.",
        [
            "The length of the command's words and of the caller's GLEXEC_* variables.",
            "Put the arguments into a file and pass its name; unset large GLEXEC_* variables.",
            "your environment is too large to be written down for the epilogue: the entry would have 5000000 bytes of 4194304",
        ],
    ),
    say(
        Reason::Limits,
        "A resource limit of the caller's process is too low and may not be raised, or no descriptor or process is left to it.",
        [
            "The hard limits where the job is started: ulimit -aH, and the scheduler's.",
            "Raise the hard limit that is named; close descriptors, or let other processes end.",
            "the resource limit FSIZE is too low and may not be raised",
        ],
    ),
    say(
        Reason::ProcessState,
        "The caller's process has a setting that root's own program would inherit and nobody can undo.",
        [
            "The unit or the container that the job is started in.",
            "Switch it off there (systemd: MemoryDenyWriteExecute=no).",
            "glexec is called with PR_SET_MDWE (memory-deny-write-execute), which the site's epilogue would inherit and nobody can undo",
        ],
    ),
    say(
        Reason::HandOver,
        "A directory that a variable of `hand_over` names cannot be given to the target.",
        [
            "The directory: whose it is, its file system, links on the way, files in it that others own (docs/hand-over.md).",
            "Name a directory of the caller's own on a local file system, by a path without links.",
            "/scratch/job cannot be handed over: it is not yours",
        ],
    ),
    say(
        Reason::Credential,
        "The caller's credential is missing, cannot be opened, or cannot be verified.",
        [
            "GLEXEC_CLIENT_CERT or GLEXEC_CLIENT_TOKEN of the call; glexec-admin map --credential FILE, or --token FILE, says the same at any time.",
            "Renew the proxy or token; where it is sound, add its authority or a new revocation list to `ca_dir`, or its issuer's key (docs/credentials.md).",
            "the credential in GLEXEC_CLIENT_CERT cannot be opened: No such file or directory",
        ],
    ),
    say(
        Reason::NotAvailable,
        "The call asks for something that this configuration has not switched on.",
        [
            "The caller's line on stderr, which names the option and the key.",
            "Leave the option out, or set the key that is named (`keep_descriptors`, `linger`).",
            "--keep-fd is not allowed here",
        ],
    ),
];
