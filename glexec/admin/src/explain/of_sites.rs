//! What the site has to change (202), and refusals (203).

use super::entry::{Row, say};
use contract::Reason;

pub(super) const ROWS: &[Row] = &[
    say(
        Reason::NotSetuid,
        "glexec has no rights of root's.",
        [
            "ls -l /usr/sbin/glexec; the capabilities of the service that the caller runs in.",
            "chown root /usr/sbin/glexec && chmod 4755 /usr/sbin/glexec; let the service keep CAP_KILL, CAP_SETGID and CAP_SETUID.",
            "glexec is not installed setuid root",
        ],
    ),
    say(
        Reason::NoNewPrivs,
        "The caller runs with no_new_privs, which takes the setuid bit's effect away.",
        [
            "grep NoNewPrivs /proc/PID/status of the caller.",
            "Switch it off where the job is started (systemd: NoNewPrivileges=no; container: --security-opt no-new-privileges=false).",
            "glexec is called with no_new_privs, which takes its setuid bit away",
        ],
    ),
    say(
        Reason::NosuidMount,
        "glexec lies on a file system that is mounted nosuid.",
        [
            "findmnt -T /usr/sbin/glexec, in the caller's mount namespace.",
            "Mount that file system without nosuid, or install glexec on another.",
            "glexec lies on a file system that is mounted nosuid",
        ],
    ),
    say(
        Reason::UserNamespace,
        "glexec was called inside a user namespace, where it cannot be root.",
        [
            "readlink /proc/PID/ns/user of the caller, beside that of process 1.",
            "Call glexec outside of the rootless container, and the container in the payload.",
            "glexec is called inside a user namespace, where it cannot be root",
        ],
    ),
    say(
        Reason::ConfigMissing,
        "There is no configuration.",
        [
            "/etc/glexec.toml and /etc/glexec.conf.",
            "Write one: glexec-admin init, or conf/glexec.toml as a sample.",
            "configuration unusable (missing); see the log: neither /etc/glexec.toml nor /etc/glexec.conf exists; write one of them",
        ],
    ),
    say(
        Reason::ConfigUntrusted,
        "Somebody else than root could change the configuration, or it could not be opened safely.",
        [
            "Owner, mode and ACL of the file that is named, of /etc, of /etc/glexec.d and of what is in it; links.",
            "chown root and chmod go-w what is named; put a file where a link is.",
            "configuration unusable (untrusted); see the log: /etc/glexec.toml is writable by group 42101; nobody but root may be able to change it or a directory above it",
        ],
    ),
    say(
        Reason::ConfigMalformed,
        "The configuration cannot be understood, or asks for what cannot be had.",
        [
            "The place that is named (file, line, column); glexec-admin check.",
            "Correct that line; docs/configuration.md has every key.",
            "configuration unusable (malformed); see the log: /etc/glexec.toml:2:1: unknown key `lingr`; did you mean `linger`?",
        ],
    ),
    say(
        Reason::EpilogueUntrusted,
        "Somebody else than root, or than `epilogue_user` and `epilogue_group`, could change the epilogue, its interpreter or the path to them.",
        [
            "Owner, mode and ACL of what is named; glexec-admin check judges all of it.",
            "chown root and chmod go-w what is named.",
            "configuration unusable (epilogue-untrusted); see the log: /usr/libexec/site/epilogue is writable by group 50",
        ],
    ),
    say(
        Reason::EpilogueIdentity,
        "Caller or target is the epilogue's own identity, or that identity cannot be had.",
        [
            "`epilogue_user` and `epilogue_group`, beside the white lists and [mapping].",
            "Give the epilogue an account and a group that no caller and no target has.",
            "configuration unusable (epilogue-identity); see the log: epilogue_user 'keeper' does not exist; create the account or remove the key",
        ],
    ),
    say(
        Reason::Accounts,
        "The account database cannot be read.",
        [
            "getent passwd USER; /etc/nsswitch.conf; the service that is named (sssd, nslcd); /usr/libexec/glexec/glexec-accounts.",
            "Start that service, or correct the line of nsswitch.conf; `account_source = \"files\"` asks the files alone.",
            "the account database cannot be read; see the log: the service sss cannot be asked",
        ],
    ),
    say(
        Reason::Mapping,
        "A file that maps by credential, or the program that reads it, cannot be used.",
        [
            "`grid_mapfile`, `gridmapdir`, `ban_file`, `ca_dir`; `token_mapfile`, `keys`; /usr/libexec/glexec/glexec-credential; glexec-admin check.",
            "Correct what is named; the files are root's, writable by root only (docs/credentials.md).",
            "what maps by credential cannot be used here; see the log: /etc/grid-security/grid-mapfile does not exist",
        ],
    ),
    say(
        Reason::Audit,
        "The log did not take the line without which nothing is started.",
        [
            "glexec-admin check names the place: the daemon at /dev/log, the journal, or the log file and its disk.",
            "Start that daemon, make room, or write `log_destination = \"file\"` and a `log_file`.",
            "the run could not be logged (audit); nothing was started: there is no syslog at /dev/log (nor a journal in its stead); start one, or write `log_destination = \"file\"` and a `log_file`",
        ],
    ),
    say(
        Reason::State,
        "The state directory cannot be used.",
        [
            "`state_dir` (/var/lib/glexec): root's, mode 0700, on a local disk with room and inodes; glexec-admin check tries it.",
            "install -d -o root -g root -m 0700 /var/lib/glexec; make room there.",
            "the state directory cannot be used; see the log: state_dir: /var/lib/glexec is writable by everybody; it must be a directory of root's alone (0700)",
        ],
    ),
    say(
        Reason::TooManyRuns,
        "The caller has as many lingering runs that owe something as `max_runs_per_caller` allows.",
        [
            "glexec-admin ps: runs that live, and debts that nobody has paid.",
            "Pay debts (glexec-admin sweep; the timer of conf/systemd), or raise `max_runs_per_caller`.",
            "you have 512 lingering runs, and 512 is the most here",
        ],
    ),
    say(
        Reason::DirectoryClosed,
        "The target may not enter the directory in which the payload has to begin, or one above what is handed over.",
        [
            "Every directory above the one that is named, as the target.",
            "Open it to the target (a+x), or choose another `working_directory`.",
            "the mapped account may not enter /srv/private",
        ],
    ),
    say(
        Reason::NoFreeAccount,
        "Every account of the pool is in use.",
        [
            "glexec-admin ps; processes of the pool's accounts that no run has started (pgrep -u ACCOUNT); leases in `gridmapdir`.",
            "Add accounts to the pool, end what is left over, or remove leases that are not used any more.",
            "no account of the pool you are mapped to is free",
        ],
    ),
    say(
        Reason::NoProc,
        "There is no usable /proc.",
        [
            "findmnt /proc where the caller is; a container may mask it.",
            "mount -t proc proc /proc, in the caller's pid namespace.",
            "there is no usable /proc, which glexec needs: /proc is not mounted, or is that of another pid namespace; mount -t proc proc /proc",
        ],
    ),
    say(
        Reason::NoDevNull,
        "/dev/null is missing, or is not the null device.",
        [
            "ls -l /dev/null where the caller is; it must be `crw-rw-rw-` with 1, 3. A program of root's that writes to it by rename, or a container without devices, leaves a plain file there.",
            "rm /dev/null; mknod -m 666 /dev/null c 1 3. In a container: bind-mount the host's.",
            "there is no usable /dev/null, which glexec needs: /dev/null is missing, closed to users, or another file; make it anew: mknod -m 666 /dev/null c 1 3",
        ],
    ),
    say(
        Reason::Switch,
        "A step of the change to the target's ids failed.",
        [
            "The step that the log names; the kernel's security modules (SELinux, AppArmor, seccomp) and their logs.",
            "Let glexec's process call setresuid, setresgid and setgroups.",
            "the identity switch failed; see the log: setresuid: Operation not permitted",
        ],
    ),
    say(
        Reason::Internal,
        "A system call failed that never fails, or glexec could not start a process of its own.",
        [
            "The call that the log names; memory and the number of processes on the node (dmesg, pids.max).",
            "End what uses the node up; where nothing does, report it with the log's line.",
            "glexec could not start the payload; see the log: fork: Resource temporarily unavailable",
        ],
    ),
];

pub(super) const REFUSALS: &[Row] = &[
    say(
        Reason::NotListed,
        "The caller is on no white list.",
        [
            "`user_white_list` and `group_white_list` (glexec-admin show); id USER for its groups.",
            "Put the account, or a group of its, on a list.",
            "refused: caller pilot is neither in user_white_list nor in group_white_list",
        ],
    ),
    say(
        Reason::Banned,
        "The caller, or the subject of its credential, is banned.",
        [
            "`banned` in [mapping], and `ban_file`.",
            "Take it out there, where it shall be served again.",
            "refused: caller pilot is in mapping.banned",
        ],
    ),
    say(
        Reason::NoMapping,
        "Nothing in [mapping] knows the caller, or not the account that it asks for.",
        [
            "The rows of [mapping] (glexec-admin show), or the grid-mapfile (glexec-admin map --dn DN).",
            "Add a row for the caller or a group of its.",
            "no mapping for 'pilot': nothing in [mapping] names caller pilot or a group of it",
        ],
    ),
    say(
        Reason::TargetUnknown,
        "The account that the caller is mapped to does not exist on this node.",
        [
            "getent passwd ACCOUNT, on this node.",
            "Create the account, or map the caller to another.",
            "the mapped account 'payload9' does not exist here",
        ],
    ),
    say(
        Reason::TargetNotAdmitted,
        "The account that the caller is mapped to may not be a target.",
        [
            "id ACCOUNT: uid 0, a uid below `min_target_uid`, gid 0, or a group of the epilogue's.",
            "Map the caller to another account; where the low uid is meant, lower `min_target_uid`.",
            "the mapped account 'service' is not admitted as a target: account service: uid 50 is below min_target_uid 100",
        ],
    ),
    say(
        Reason::IdsDiffer,
        "The ids that the caller named (`glexec UID GID COMMAND`) are not those that the mapping gives.",
        [
            "The call's numbers, beside id ACCOUNT.",
            "Correct the caller's side, mostly an adapter's file; or the mapping.",
            "you are not mapped to uid 1000 gid 1000: the mapping gives uid 42002 gid 42002",
        ],
    ),
];
