//! Everything that can be wrong with a node, planted: what the caller reads, what the log says, and
//! what `check`, `check --as`, the doctor, Slurm's prolog and HTCondor's prepare hook say before a job is lost.

use contract::{Fault, Reason, Record};
use harness::accounts::PILOT;
use harness::{CA_DIR, CONFIG, EPILOGUE, GLEXEC, Issuer, LIBEXEC, Pki, Ran, Site};
use std::sync::Mutex;

const LOG_FILE: &str = "/var/log/glexec/log";
const TO_FILE: &str = "log_destination = \"file\"\nlog_file = \"/var/log/glexec/log\"";
const PILOTS: &str = "[[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload1\"\n";
/// A job that no hook has anything against.
const AD: &str = "Cmd = \"/bin/true\"\nJobUniverse = 5\nShouldTransferFiles = \"YES\"\n";

/// What a run of the caller's comes to.
enum Comes {
    /// It runs.
    ToItsEnd,
    /// It ends for this reason.
    To(Reason),
    /// A shell cannot even start glexec.
    Nowhere,
}

/// Who can be served.
enum Node {
    /// Nobody: the schedulers have to know.
    Unfit,
    /// Everybody else, or everybody.
    Serves,
}

/// One fault.
struct Row {
    fault: &'static str,
    /// In `[glexec]`, beside the usual lines or instead of one.
    lines: &'static str,
    mapping: &'static str,
    /// What root does to the site.
    plant: &'static str,
    /// By pilot, where it is not an ordinary call.
    call: Option<fn(&Site) -> Ran>,
    comes: Comes,
    /// What the log and `check` say of it.
    part: &'static str,
    /// Whether there is a log to say it in.
    logged: bool,
    node: Node,
}

const USUAL: Row = Row {
    fault: "",
    lines: "",
    mapping: PILOTS,
    plant: "true",
    call: None,
    comes: Comes::ToItsEnd,
    part: "",
    logged: true,
    node: Node::Unfit,
};

/// A fault of the site's that ends every run.
const fn fatal(
    fault: &'static str,
    reason: Reason,
    plant: &'static str,
    part: &'static str,
) -> Row {
    Row { fault, comes: Comes::To(reason), plant, part, ..USUAL }
}

/// What `check` warns of and no run meets.
const fn warned(fault: &'static str, lines: &'static str, part: &'static str) -> Row {
    Row { fault, lines, part, node: Node::Serves, ..USUAL }
}

/// What is wrong with one call, and with nothing of the site's.
const fn own(fault: &'static str, reason: Reason, call: fn(&Site) -> Ran) -> Row {
    Row { fault, comes: Comes::To(reason), call: Some(call), node: Node::Serves, ..USUAL }
}

/// A line of the file that cannot be used.
const fn malformed(fault: &'static str, lines: &'static str, part: &'static str) -> Row {
    Row { lines, ..fatal(fault, Reason::ConfigMalformed, "true", part) }
}

const NO_SYSLOG: &str = "umount /dev/log && rm /dev/log";

fn of_the_log() -> Vec<Row> {
    let audit =
        |fault, plant, part| Row { lines: TO_FILE, ..fatal(fault, Reason::Audit, plant, part) };
    vec![
        Row {
            logged: false,
            ..fatal("nobody listens at /dev/log", Reason::Audit, NO_SYSLOG, "at /dev/log (")
        },
        Row {
            logged: false,
            ..fatal(
                "/dev/log is a plain file",
                Reason::Audit,
                "umount /dev/log && : > /dev/log && chmod 666 /dev/log",
                "at /dev/log (",
            )
        },
        Row {
            lines: "log_destination = \"journal\"",
            ..fatal(
                "nobody listens at the journal's socket",
                Reason::Audit,
                "umount /run/systemd/journal/socket && rm /run/systemd/journal/socket",
                "at /run/systemd/journal/socket (",
            )
        },
        audit(
            "the log's directory is missing",
            "rmdir /var/log/glexec",
            "/var/log/glexec does not exist; make that directory",
        ),
        audit(
            "the log's directory is a user's",
            "chown 42001 /var/log/glexec",
            "/var/log/glexec is owned by uid 42001",
        ),
        audit(
            "the log's directory is open",
            "chmod 777 /var/log/glexec",
            "/var/log/glexec is writable by everybody",
        ),
        audit(
            "the log is a link",
            "ln -s /etc/passwd /var/log/glexec/log",
            "/var/log/glexec/log is a symbolic link",
        ),
        audit(
            "the log is a FIFO",
            "mkfifo -m 600 /var/log/glexec/log",
            "/var/log/glexec/log cannot be opened",
        ),
        audit(
            "the log is a directory",
            "mkdir /var/log/glexec/log",
            "/var/log/glexec/log cannot be opened",
        ),
        audit(
            "the log's disk is full",
            "mount -t tmpfs -o size=4k,mode=0700 tmpfs /var/log/glexec && head -c 4096 /dev/zero > /var/log/glexec/log && chmod 600 /var/log/glexec/log",
            "log_file /var/log/glexec/log takes no line (No space left on device); make room",
        ),
        audit(
            "the log's disk is read-only",
            "mount -t tmpfs -o ro,mode=0700 tmpfs /var/log/glexec",
            "/var/log/glexec/log cannot be opened: Read-only",
        ),
    ]
}

fn of_the_state_directory() -> Vec<Row> {
    let state = |fault, plant, part| fatal(fault, Reason::State, plant, part);
    vec![
        state(
            "the state directory's disk is full",
            "mount -t tmpfs -o size=8k,mode=0700 tmpfs /var/lib/glexec && ! head -c 65536 /dev/zero 2>/dev/null > /var/lib/glexec/handed.x",
            "No space left on device; make room there",
        ),
        state(
            "the state directory's disk has no inodes",
            "mount -t tmpfs -o nr_inodes=1,mode=0700 tmpfs /var/lib/glexec",
            "No space left on device; make room there",
        ),
        state(
            "the state directory's disk is read-only",
            "mount -t tmpfs -o ro,mode=0700 tmpfs /var/lib/glexec",
            "Read-only file system; mount it for writing",
        ),
        state(
            "the state directory can be entered",
            "chmod 755 /var/lib/glexec",
            "/var/lib/glexec can be entered by others",
        ),
        state(
            "the state directory is a user's",
            "chown 42001 /var/lib/glexec",
            "/var/lib/glexec is owned by uid 42001",
        ),
        state(
            "the state directory is a link",
            "rmdir /var/lib/glexec && ln -s /var/lib/site /var/lib/glexec",
            "state_dir: /var/lib/glexec",
        ),
        state(
            "the state directory is a file",
            "rmdir /var/lib/glexec && : > /var/lib/glexec",
            "state_dir: /var/lib/glexec",
        ),
        Row {
            lines: "state_dir = \"/var/none/glexec\"",
            ..state("the state directory is nowhere", "true", "/var/none does not exist; make it")
        },
    ]
}

fn of_the_installation() -> Vec<Row> {
    let helped = |fault, plant, part| Row {
        lines: "account_source = \"nss\"",
        ..fatal(fault, Reason::Accounts, plant, part)
    };
    let shell = |fault, plant, part| Row {
        comes: Comes::Nowhere,
        logged: false,
        ..fatal(fault, Reason::NotSetuid, plant, part)
    };
    let unlogged = |row| Row { logged: false, ..row };
    vec![
        unlogged(fatal(
            "not setuid",
            Reason::NotSetuid,
            "chmod 755 /usr/sbin/glexec",
            "/usr/sbin/glexec is not setuid root",
        )),
        unlogged(fatal(
            "setuid to somebody else",
            Reason::NotSetuid,
            "chown 42003 /usr/sbin/glexec && chmod 4755 /usr/sbin/glexec",
            "/usr/sbin/glexec is not setuid root",
        )),
        unlogged(fatal(
            "a nosuid mount",
            Reason::NosuidMount,
            "mount --bind /usr/sbin /usr/sbin && mount -o remount,bind,nosuid /usr/sbin",
            "mounted nosuid",
        )),
        shell(
            "a noexec mount",
            "cp -p /usr/sbin/glexec-admin /tmp/a && mount --bind /usr/sbin/glexec /usr/sbin/glexec && mount -o remount,bind,noexec /usr/sbin/glexec",
            "mounted noexec",
        ),
        shell(
            "glexec is closed",
            "chmod 4700 /usr/sbin/glexec",
            "/usr/sbin/glexec is closed to callers (mode 4700)",
        ),
        shell(
            "glexec's directory is closed",
            "chmod 700 /usr/sbin",
            "/usr/sbin is closed to callers (mode 0700)",
        ),
        helped(
            "the helper's directory is closed",
            "chmod 700 /usr/libexec/glexec",
            "/usr/libexec/glexec",
        ),
        helped(
            "the helper is closed",
            "chmod 700 /usr/libexec/glexec/glexec-accounts",
            "/usr/libexec/glexec/glexec-accounts",
        ),
        helped(
            "the helper is missing",
            "rm /usr/libexec/glexec/glexec-accounts",
            "/usr/libexec/glexec/glexec-accounts does not exist",
        ),
        helped(
            "the helper is anybody's",
            "chmod 777 /usr/libexec/glexec/glexec-accounts",
            "/usr/libexec/glexec/glexec-accounts is writable by everybody",
        ),
        helped(
            "the helper's mount is noexec",
            "mount --bind /usr/libexec/glexec/glexec-accounts /usr/libexec/glexec/glexec-accounts && mount -o remount,bind,noexec /usr/libexec/glexec/glexec-accounts",
            "glexec-accounts",
        ),
        fatal(
            "the account file is anybody's",
            Reason::Accounts,
            "chmod 666 /etc/passwd",
            "/etc/passwd is writable by everybody",
        ),
        fatal(
            "the group file is missing",
            Reason::Accounts,
            "rm /etc/group",
            "/etc/group does not exist",
        ),
        fatal("no /proc", Reason::NoProc, "mount -t tmpfs tmpfs /proc", "/proc is not mounted"),
        fatal(
            "/dev/null is a plain file",
            Reason::NoDevNull,
            ": > /tmp/null; chmod 666 /tmp/null; mount --bind /tmp/null /dev/null",
            "/dev/null is missing, closed to users, or another file; make it anew",
        ),
        fatal(
            "/dev/null is closed to users",
            Reason::NoDevNull,
            "mknod -m 600 /run/null c 1 3 && mount --bind /run/null /dev/null",
            "/dev/null is",
        ),
        malformed("log_only of a setuid program", "log_only = true\n#epilogue", "log_only = true"),
    ]
}

fn of_the_configuration() -> Vec<Row> {
    let untrusted = |fault, plant, part| fatal(fault, Reason::ConfigUntrusted, plant, part);
    vec![
        fatal(
            "no configuration",
            Reason::ConfigMissing,
            "rm /etc/glexec.toml",
            "neither /etc/glexec.toml nor /etc/glexec.conf exists",
        ),
        untrusted(
            "a configuration that is anybody's",
            "chmod 666 /etc/glexec.toml",
            "/etc/glexec.toml is writable by everybody",
        ),
        untrusted(
            "a configuration that is a caller's",
            "chown 42001 /etc/glexec.toml",
            "/etc/glexec.toml is owned by uid 42001",
        ),
        untrusted(
            "a configuration that is a link",
            "mv /etc/glexec.toml /etc/e.toml && ln -s e.toml /etc/glexec.toml",
            "/etc/glexec.toml is a symbolic link",
        ),
        untrusted(
            "a configuration that is a FIFO",
            "rm /etc/glexec.toml && mkfifo /etc/glexec.toml",
            "/etc/glexec.toml is no regular file",
        ),
        untrusted(
            "a configuration in a directory that is anybody's",
            "chmod 777 /etc",
            "/etc is writable by everybody",
        ),
        malformed("an unknown key", "lingr = true", "did you mean `linger`?"),
        malformed(
            "a key that stands there twice",
            "path = \"/usr/bin:/bin\"\npath = \"/bin\"",
            "`path` stands in line 6 already, and again in line 7; keep one",
        ),
        malformed("a value out of its range", "log_level = 9", "`log_level`: 9 is not in 0 to 5"),
        malformed(
            "an epilogue that is relative",
            "epilogue = \"bin/x\"",
            "`epilogue`: `bin/x` is no canonical path",
        ),
        malformed("no TOML", "path = ", "not TOML"),
        malformed(
            "a fault beside a log of the site's own",
            "log_destination = \"file\"\nlog_file = \"/var/log/glexec/log\"\nlingr = true",
            "did you mean `linger`?",
        ),
    ]
}

/// Pool accounts are the row's own: of the usual ones processes of other tests may be there.
fn of_the_mapping() -> Vec<Row> {
    let mapped =
        |fault, reason, mapping, part| Row { mapping, ..fatal(fault, reason, "true", part) };
    vec![
        mapped(
            "a target that does not exist",
            Reason::TargetUnknown,
            "[[mapping.static]]\ncaller = \"pilot\"\naccount = \"spirit\"\n",
            "'spirit' does not exist",
        ),
        mapped(
            "a target that may be none",
            Reason::TargetNotAdmitted,
            "[[mapping.static]]\ncaller = \"pilot\"\naccount = \"service\"\n",
            "uid 50 is below min_target_uid",
        ),
        mapped(
            "a row's group that does not exist",
            Reason::ConfigMalformed,
            "[[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload1\"\ngroups = [\"ghosts\"]\n",
            "`groups` names group 'ghosts'",
        ),
        mapped(
            "a pool of which no account exists",
            Reason::TargetUnknown,
            "methods = [\"pool\"]\n[[mapping.pool]]\ncaller = \"pilot\"\naccounts = \"spirit[01-99]\"\n",
            "none of the 99 accounts of the pool (spirit01, ...) exists",
        ),
        Row {
            mapping: "methods = [\"pool\"]\n[[mapping.pool]]\ncaller = \"pilot\"\naccounts = \"wisp[1-9]\"\n",
            plant: "for n in 1 2 3; do echo wisp$n:x:4351$n:43510::/:/bin/sh >> /etc/passwd; done",
            ..warned(
                "a pool of which some accounts do not exist",
                "",
                "6 of the 9 pool accounts of pilot do not exist (wisp4, wisp5, wisp6, wisp7, wisp8, ...)",
            )
        },
        Row {
            mapping: "methods = [\"pool\"]\n[[mapping.pool]]\ncaller = \"pilot\"\naccounts = \"wisp[5-6]\"\n",
            plant: "for n in 5 6; do echo wisp$n:x:4351$n:43510::/:/bin/sh >> /etc/passwd; done; echo 43515:100000:65536 > /etc/subuid",
            ..warned(
                "sub-uids of pool accounts",
                "",
                "/etc/subuid gives sub-uids to 1 pool accounts (43515",
            )
        },
        Row {
            mapping: "methods = [\"pool\"]\n[[mapping.pool]]\ncaller = \"pilot\"\naccounts = \"wisp[7-7]\"\n",
            plant: "echo wisp7:x:43517:43510::/:/bin/sh >> /etc/passwd; setpriv --reuid=43517 --clear-groups sleep 60 >/dev/null 2>&1 & until grep -q 43517 /proc/$!/status; do sleep 0.01; done",
            ..own("a pool that is in use", Reason::NoFreeAccount, |site| {
                site.glexec(["true"]).with_status().run()
            })
        },
        warned(
            "a listed account that does not exist",
            "user_white_list = [\"pilot\", \"spirit\"]",
            "`user_white_list` names account 'spirit', which does not exist",
        ),
        warned(
            "a listed group that does not exist",
            "group_white_list = [\"spirits\"]",
            "`group_white_list` names group 'spirits', which does not exist",
        ),
        warned(
            "somebody listed and not mapped",
            "user_white_list = [\"pilot\", \"other\"]",
            "'other' is listed and nothing in [mapping] names it",
        ),
        Row {
            mapping: "[[mapping.static]]\ncaller = \"other\"\naccount = \"payload2\"\n[[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload1\"\n",
            ..warned("somebody mapped and not listed", "", "'other' is mapped and on no white list")
        },
        Row {
            plant: "cp /etc/glexec.toml /etc/glexec.conf",
            ..warned(
                "a second configuration",
                "",
                "/etc/glexec.conf is not read, because /etc/glexec.toml is there",
            )
        },
        Row {
            logged: false,
            ..warned(
                "a log without begin and end",
                "log_level = 2",
                "`log_level` = 2: neither begin nor end",
            )
        },
    ]
}

const BY_PROXY: &str = "methods = [\"gridmap\", \"static\"]\n\
    [[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload1\"\n\
    [mapping.gridmap]\ngrid_mapfile = \"/etc/grid-security/grid-mapfile\"\n\
    gridmapdir = \"/etc/grid-security/gridmapdir\"\nban_file = \"/etc/grid-security/ban\"\n\
    ca_dir = \"/etc/grid-security/certificates\"\n";
const BY_LCMAPS: &str = "methods = [\"lcmaps\", \"static\"]\n\
    [[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload1\"\n";
/// Files that map; what is wrong with them follows.
macro_rules! mapped_by_files {
    ($fault:literal) => {
        concat!(
            "cd /etc && mkdir -p grid-security/certificates grid-security/gridmapdir lcmaps && cd grid-security && ",
            "echo '\"/DC=org/DC=trial/CN=alice\" .work' > grid-mapfile && : > ban && : > gridmapdir/work064 && ",
            "printf 'path = /usr/lib/lcmaps\\nla = \"lcmaps_localaccount.mod\" \"-gridmapfile /etc/grid-security/grid-mapfile\"\\np:\\nla\\n' > ../lcmaps/lcmaps-glexec.db && ",
            $fault
        )
    };
}

const BY_TOKEN: &str = "methods = [\"token\", \"static\"]\n\
    token_mapfile = \"/etc/grid-security/token-mapfile\"\n\
    [[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload1\"\n\
    [[mapping.token]]\nissuer = \"https://issuer.trial.example/\"\nkeys = \"/etc/grid-security/issuer.pem\"\n\
    audience = [\"https://node.trial.example\"]\n";
/// Files that map by token; what is wrong with them follows.
macro_rules! mapped_by_token {
    ($fault:literal) => {
        concat!(
            "mkdir -p /etc/grid-security && cd /etc/grid-security && ",
            "printf '%s\\n' '-----BEGIN PUBLIC KEY-----' ",
            "'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEMIoGxSH47NUQK7t4mSfjBVbsFFR5' '2nei+LpHIXQTyiCaSXCO9RF8w30nj68Vuq3m0Tje1u4IxNyHZJdjHaZK3w==' ",
            "'-----END PUBLIC KEY-----' > issuer.pem && ",
            "echo 'SCITOKENS https://issuer.trial.example/,alice payload1' > token-mapfile && ",
            $fault
        )
    };
}

/// A run of pilot's with a token of alice's, by an issuer whose key the site has where it has any.
fn by_token(site: &Site) -> Ran {
    const KEYS: &str = "/etc/grid-security/issuer.pem";
    let issuer = Issuer::new();
    let known = std::fs::read_to_string(site.path(KEYS)).unwrap_or_default();
    if known.starts_with("-----BEGIN") {
        // Over the old one: what is wrong with its owner or its mode stays.
        std::fs::write(site.path(KEYS), issuer.pem()).expect("a file");
    }
    site.file("/home/pilot/token", issuer.token("alice"), 0o600);
    site.own("/home/pilot/token", (PILOT, PILOT));
    site.glexec(["true"]).env("GLEXEC_CLIENT_TOKEN", "/home/pilot/token").with_status().run()
}

/// A run of pilot's with a proxy of alice's, by an authority that the site has where it has any.
fn by_proxy(site: &Site) -> Ran {
    let pki = Pki::new();
    if site.path(CA_DIR).exists() {
        pki.install(site);
    }
    site.file("/home/pilot/proxy", pki.proxy("alice"), 0o600);
    site.own("/home/pilot/proxy", (PILOT, PILOT));
    site.glexec(["true"]).env("GLEXEC_CLIENT_CERT", "/home/pilot/proxy").with_status().run()
}

fn of_the_tokens() -> Vec<Row> {
    let mapped = |fault, plant, part| Row {
        mapping: BY_TOKEN,
        call: Some(by_token),
        ..fatal(fault, Reason::Mapping, plant, part)
    };
    vec![
        mapped(
            "no keys of an issuer",
            mapped_by_token!("rm issuer.pem"),
            "/etc/grid-security/issuer.pem does not exist",
        ),
        mapped(
            "keys that are anybody's",
            mapped_by_token!("chmod 666 issuer.pem"),
            "/etc/grid-security/issuer.pem is writable by everybody",
        ),
        mapped(
            "keys that cannot be understood",
            mapped_by_token!("echo '{}' > issuer.pem"),
            "/etc/grid-security/issuer.pem is neither a JWK Set nor a key in PEM",
        ),
        mapped(
            "no map file of tokens",
            mapped_by_token!("rm token-mapfile"),
            "/etc/grid-security/token-mapfile does not exist",
        ),
        mapped(
            "a map file of tokens that cannot be understood",
            mapped_by_token!("echo 'SCITOKENS /(/ payload1' > token-mapfile"),
            "/etc/grid-security/token-mapfile:1: the line has an expression that cannot be used",
        ),
    ]
}

fn of_the_credentials() -> Vec<Row> {
    let mapped = |fault, mapping, plant, part| Row {
        mapping,
        call: Some(by_proxy),
        ..fatal(fault, Reason::Mapping, plant, part)
    };
    vec![
        mapped(
            "no grid-mapfile",
            BY_PROXY,
            mapped_by_files!("rm grid-mapfile"),
            "/etc/grid-security/grid-mapfile does not exist",
        ),
        mapped(
            "a grid-mapfile that is anybody's",
            BY_PROXY,
            mapped_by_files!("chmod 666 grid-mapfile"),
            "/etc/grid-security/grid-mapfile is writable by everybody",
        ),
        mapped(
            "a grid-mapfile that is a user's",
            BY_PROXY,
            mapped_by_files!("chown 42001 grid-mapfile"),
            "/etc/grid-security/grid-mapfile is owned by uid 42001",
        ),
        mapped(
            "no ban file",
            BY_PROXY,
            mapped_by_files!("rm ban"),
            "/etc/grid-security/ban does not exist",
        ),
        mapped(
            "a ban file that cannot be understood",
            BY_PROXY,
            mapped_by_files!("echo '\"/O=x' > ban"),
            "/etc/grid-security/ban:1: the line has a quote that is not closed",
        ),
        mapped(
            "no authorities",
            BY_PROXY,
            mapped_by_files!("rmdir certificates"),
            "/etc/grid-security/certificates does not exist",
        ),
        mapped(
            "no gridmapdir",
            BY_PROXY,
            mapped_by_files!("rm -r gridmapdir"),
            "/etc/grid-security/gridmapdir: No such file",
        ),
        mapped(
            "a gridmapdir that is anybody's",
            BY_PROXY,
            mapped_by_files!("chmod 777 gridmapdir"),
            "/etc/grid-security/gridmapdir is writable by everybody",
        ),
        mapped(
            "no program that verifies",
            BY_PROXY,
            mapped_by_files!("rm /usr/libexec/glexec/glexec-credential"),
            "/usr/libexec/glexec/glexec-credential does not exist",
        ),
        mapped(
            "no program that asks LCMAPS",
            BY_LCMAPS,
            mapped_by_files!("rm /usr/libexec/glexec/glexec-lcmaps"),
            "/usr/libexec/glexec/glexec-lcmaps does not exist",
        ),
        mapped(
            "no library of LCMAPS",
            BY_LCMAPS,
            mapped_by_files!("rm /usr/lib/*/liblcmaps_return_account_from_pem.so.0"),
            "liblcmaps_return_account_from_pem.so.0",
        ),
        mapped(
            "no database of LCMAPS",
            BY_LCMAPS,
            mapped_by_files!("rm ../lcmaps/lcmaps-glexec.db"),
            "/etc/lcmaps/lcmaps-glexec.db does not exist",
        ),
        mapped(
            "a database of LCMAPS that is anybody's",
            BY_LCMAPS,
            mapped_by_files!("chmod 666 ../lcmaps/lcmaps-glexec.db"),
            "/etc/lcmaps/lcmaps-glexec.db is writable by everybody",
        ),
        mapped(
            "no plug-in of LCMAPS",
            BY_LCMAPS,
            mapped_by_files!("rm /usr/lib/lcmaps/lcmaps_localaccount.mod"),
            "/usr/lib/lcmaps/lcmaps_localaccount.mod",
        ),
    ]
}

fn of_the_epilogue() -> Vec<Row> {
    let broken = |fault, plant, part| fatal(fault, Reason::EpilogueUntrusted, plant, part);
    let whose = |fault, lines, plant, part| Row {
        lines,
        ..fatal(fault, Reason::EpilogueIdentity, plant, part)
    };
    vec![
        broken(
            "no epilogue",
            "rm /usr/libexec/site/epilogue",
            "/usr/libexec/site/epilogue does not exist; install it",
        ),
        broken(
            "an epilogue that is anybody's",
            "chmod 777 /usr/libexec/site/epilogue",
            "/usr/libexec/site/epilogue is writable by everybody",
        ),
        broken(
            "an epilogue in a user's directory",
            "chown 42001 /usr/libexec/site",
            "/usr/libexec/site is owned by uid 42001",
        ),
        broken(
            "an epilogue that is not executable",
            "chmod 644 /usr/libexec/site/epilogue",
            "is not executable; chmod it",
        ),
        broken(
            "an epilogue without its interpreter",
            "echo '#!/no/sh' > /usr/libexec/site/epilogue",
            "needs the interpreter /no/sh",
        ),
        broken(
            "an epilogue whose interpreter env does not find",
            "echo '#!/usr/bin/env python9' > /usr/libexec/site/epilogue",
            "env, which finds no 'python9'",
        ),
        broken(
            "an epilogue with a carriage return",
            "printf '#!/bin/sh\\r\\n' > /usr/libexec/site/epilogue",
            "carriage return",
        ),
        broken(
            "an epilogue that is a text",
            "echo true > /usr/libexec/site/epilogue",
            "neither a script",
        ),
        broken(
            "an epilogue on a noexec mount",
            "mount --bind /usr/libexec/site /usr/libexec/site && mount -o remount,bind,noexec /usr/libexec/site",
            "mounted noexec; move it",
        ),
        broken(
            "an epilogue that is a link",
            "mv /usr/libexec/site/epilogue /usr/libexec/site/e && ln -s e /usr/libexec/site/epilogue",
            "/usr/libexec/site/epilogue is a symbolic link",
        ),
        whose(
            "no such epilogue_user",
            "epilogue_user = \"spirit\"",
            "true",
            "epilogue_user 'spirit' does not exist",
        ),
        whose(
            "an epilogue that its user may not run",
            "epilogue_user = \"keeper\"",
            "chmod 700 /usr/libexec/site/epilogue",
            "cannot run /usr/libexec/site/epilogue",
        ),
        whose(
            "a target that is the epilogue's user",
            "epilogue_user = \"payload1\"",
            "true",
            "could change the epilogue",
        ),
        whose(
            "a caller in the epilogue's group",
            "epilogue_group = \"grid\"",
            "true",
            "could change the epilogue",
        ),
        Row {
            lines: "epilogue_group = \"spirits\"",
            ..fatal(
                "no such epilogue_group",
                Reason::ConfigMalformed,
                "true",
                "`epilogue_group` names group 'spirits'",
            )
        },
    ]
}

fn of_one_call() -> Vec<Row> {
    vec![
        own("somebody who is on no list", Reason::NotListed, |site| {
            site.glexec(["true"]).by("other").with_status().run()
        }),
        own("no_new_privs", Reason::NoNewPrivs, |site| {
            site.glexec(["true"]).no_new_privs().with_status().run()
        }),
        own("a user namespace with root in it", Reason::UserNamespace, |site| {
            site.shell("exec unshare --user --map-root-user $GLEXEC true").run()
        }),
        own("a user namespace without root", Reason::UserNamespace, |site| {
            site.shell("exec unshare --user $GLEXEC true").run()
        }),
        own("no such command", Reason::CommandNotFound, |site| {
            site.glexec(["nonexistent"]).with_status().run()
        }),
        own("a target that is not the caller's", Reason::NoMapping, |site| {
            site.glexec(["true"]).env("GLEXEC_TARGET_USER", "payload2").with_status().run()
        }),
    ]
}

/// The words that a caller reads; of the configuration a reason word and no more.
fn sentence(reason: Reason) -> String {
    match reason {
        Reason::Audit => "the run could not be logged (audit); nothing was started".to_owned(),
        Reason::State => "the state directory cannot be used; see the log".to_owned(),
        Reason::Accounts => "the account database cannot be read; see the log".to_owned(),
        Reason::NoProc => "there is no usable /proc".to_owned(),
        Reason::NoDevNull => "there is no usable /dev/null".to_owned(),
        Reason::NotSetuid => "not installed setuid root".to_owned(),
        Reason::NosuidMount => "mounted nosuid".to_owned(),
        Reason::NoNewPrivs => "no_new_privs".to_owned(),
        Reason::UserNamespace => "inside a user namespace".to_owned(),
        Reason::NotListed => "refused".to_owned(),
        Reason::NoMapping => "you are not mapped to".to_owned(),
        Reason::TargetUnknown | Reason::CommandNotFound => "exist".to_owned(),
        Reason::TargetNotAdmitted => "is not admitted as a target".to_owned(),
        Reason::Mapping => "what maps by credential cannot be used here; see the log".to_owned(),
        Reason::NoFreeAccount => "all 1 accounts you could be mapped to are in use".to_owned(),
        config => format!("configuration unusable ({}); see the log", config.word()),
    }
}

fn site_of(row: &Row) -> Site {
    let site = Site::new();
    let key = |line: &str| line.split('=').next().unwrap_or("").trim().to_owned();
    let own: Vec<String> = row.lines.lines().map(key).collect();
    let epilogue = format!("epilogue = \"{EPILOGUE}\"");
    let usual = [
        "user_white_list = [\"pilot\"]",
        "kill_grace = 1",
        "epilogue_environment = \"own\"",
        epilogue.as_str(),
    ];
    let dropped = |line: &&str| {
        own.contains(&key(line)) || own.iter().any(|own| *own == format!("#{}", key(line)))
    };
    let usual: Vec<&str> = usual.into_iter().filter(|line| !dropped(line)).collect();
    let (usual, lines, mapping) = (usual.join("\n"), row.lines, row.mapping);
    site.config(&format!("[glexec]\n{usual}\n{lines}\n[mapping]\n{mapping}"));
    site.file("/etc/glexec-condor.toml", "[prepare]\nretries = 0\n", 0o644);
    site.shell(row.plant).by("root").run().exited(0);
    site
}

/// What everybody says, and what of that is not as it must be.
struct Told {
    run: Ran,
    log: String,
    check: Ran,
    check_as: Ran,
    prolog: Ran,
    prepare: Ran,
    doctor: Ran,
}

fn ask(row: &Row, site: &Site) -> Told {
    let run = match (&row.comes, row.call) {
        (_, Some(call)) => call(site),
        (Comes::Nowhere, None) => site.shell("exec $GLEXEC true").run(),
        (Comes::ToItsEnd | Comes::To(_), None) => site.glexec(["true"]).with_status().run(),
    };
    let journal: Vec<String> =
        site.journal().iter().map(|entry| String::from_utf8_lossy(entry).into_owned()).collect();
    // Not where it is a FIFO.
    let is_file = std::fs::metadata(site.path(LOG_FILE)).is_ok_and(|file| file.is_file());
    let file = if is_file { site.read(LOG_FILE) } else { String::new() };
    let log = [site.log().join("\n"), journal.join("\n"), file].join("\n");
    let admin = |words: &[&str]| {
        site.program(["/usr/sbin/glexec-admin", "check"]).words(words).by("root").run()
    };
    let prolog = site.program([format!("{LIBEXEC}/glexec-slurm-prolog")]).by("root");
    let prolog = ["UID", "GID"]
        .into_iter()
        .fold(prolog, |call, id| call.env(&format!("SLURM_JOB_{id}"), "42001"));
    // No starter calls it here, whose wrapper it would ask for.
    site.file("/etc/glexec-condor.toml", "[prepare]\nretries = 0\nrewrite = true\n", 0o644);
    let prepare = site.shell(&format!("exec {LIBEXEC}/glexec-condor-prepare-transfer"));
    let doctor = || {
        // The host's own schedulers are none of this site's.
        let none = "rm -rf /etc/condor /etc/slurm /etc/slurm-llnl /usr/local/etc/slurm.conf";
        site.shell(none).by("root").run().exited(0);
        site.program(["/usr/sbin/glexec-admin", "doctor", "--json"]).by("root").run()
    };
    Told {
        run,
        log,
        check: admin(&[]),
        check_as: admin(&["--as", "pilot", "--json"]),
        prolog: prolog.env("SLURM_JOB_ID", "7").run(),
        prepare: prepare.stdin(AD).env("_CONDOR_SCRATCH_DIR", "/tmp").run(),
        doctor: doctor(),
    }
}

/// Each wrong thing as a sentence.
fn wrong(row: &Row, told: &Told) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{}: {what}", row.fault));
        }
    };
    let error = told.run.error();
    match row.comes {
        Comes::ToItsEnd => must(told.run.code == Some(0), "the run does not come to its end"),
        Comes::Nowhere => must(told.run.code == Some(126), "a shell can start glexec"),
        Comes::To(reason) => {
            let code = i32::from(reason.fault().exit_code());
            must(told.run.code == Some(code), "another code");
            must(error.lines().count() == 1, "the caller reads one line");
            must(error.starts_with("[gLExec]: "), "the line is glexec's");
            must(error.contains(&sentence(reason)), "the caller's sentence");
            must(
                !error.contains("/etc") && !error.contains("/usr/libexec"),
                "no path of the site's",
            );
            let refused = |record: &Record| matches!(record, Record::Refused { reason: word, .. } if word == reason.word());
            let records = &told.run.records;
            must(records.is_empty() || records.iter().any(refused), "the record");
            must(!row.logged || told.log.contains(reason.word()), "the log has the reason");
            must(!row.logged || told.log.contains(row.part), "the log says what and where");
        }
    }
    let (check, check_as) = (told.check.output(), told.check_as.output());
    let prolog = told.prolog.error();
    let line =
        |word: &str| check.lines().any(|line| line.starts_with(word) && line.contains(row.part));
    let as_pilot: serde_json::Value = serde_json::from_str(&check_as).unwrap_or_default();
    let refused = &as_pilot["rehearsal"]["code"] != 0;
    let doctor: serde_json::Value = serde_json::from_str(&told.doctor.output()).unwrap_or_default();
    let findings = doctor["findings"].as_array().cloned().unwrap_or_default();
    let has = |level: &str| {
        let text = |finding: &serde_json::Value| finding["text"].as_str().unwrap_or("").to_owned();
        let named = |finding: &&serde_json::Value| {
            finding["level"] == level && text(finding).contains(row.part)
        };
        findings.iter().find(named).cloned()
    };
    // What to do stands beside it, or behind it.
    let has_mend = |finding: &serde_json::Value| {
        finding["mend"].is_string() || finding["text"].as_str().is_some_and(|t| t.contains("; "))
    };
    match row.node {
        Node::Unfit => {
            must(told.doctor.code == Some(1), "the doctor is not content");
            must(has("ERROR").is_some(), "the doctor names it as an error");
            must(has("ERROR").is_none_or(|found| has_mend(&found)), "the doctor has the mend");
            must(told.check.code == Some(1) && line("ERROR"), "check names it as an error");
            must(told.check_as.code == Some(1), "check --as is not content");
            must(
                as_pilot["findings"].to_string().contains(&row.part.replace('"', "\\\"")),
                "check --as names it",
            );
            must(
                told.prolog.code == Some(1) && prolog.contains(row.part),
                "Slurm's prolog drains the node and names it",
            );
            must(told.prepare.code != Some(0), "HTCondor's prepare holds the job");
        }
        Node::Serves => {
            must(told.check.code == Some(0) && !check.contains("ERROR"), "check is content");
            must(row.part.is_empty() || line("WARNING"), "check warns");
            must(told.doctor.code == Some(0), "the doctor is content");
            must(row.part.is_empty() || has("WARNING").is_some(), "the doctor warns");
            let warned = has("WARNING").filter(|_| !row.part.is_empty());
            must(warned.is_none_or(|found| has_mend(&found)), "the doctor has the mend");
            must(told.check_as.code == Some(0), "check --as is content");
            must(told.prolog.code == Some(0), "Slurm's prolog is content");
        }
    }
    // Whatever a row says: no node is called healthy on which every run ends with the site's fault.
    let word = match told.run.records.last() {
        Some(Record::Refused { reason, .. }) if row.call.is_none() => reason.as_str(),
        _ => "",
    };
    let site_fault =
        Reason::ALL.iter().any(|reason| reason.word() == word && reason.fault() == Fault::Internal);
    if site_fault || matches!(row.comes, Comes::Nowhere) {
        must(told.check.code != Some(0), "BLACK HOLE: check is content and every run fails");
        must(told.check_as.code != Some(0) || refused, "BLACK HOLE: check --as is content");
        must(told.prolog.code != Some(0), "BLACK HOLE: Slurm's prolog is content");
        must(told.prepare.code != Some(0), "BLACK HOLE: HTCondor's prepare is content");
    }
    wrong
}

#[test]
fn no_planted_fault_leaves_check_and_prologs_content_where_every_run_fails_and_each_is_named() {
    let rows: Vec<Row> = [
        of_the_log(),
        of_the_state_directory(),
        of_the_installation(),
        of_the_configuration(),
        of_the_mapping(),
        of_the_credentials(),
        of_the_tokens(),
        of_the_epilogue(),
        of_one_call(),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert!(rows.len() >= 40, "{}", rows.len());
    // GLEXEC_FAULT=word tries the rows whose fault has it.
    let only = std::env::var("GLEXEC_FAULT").unwrap_or_default();
    let left = Mutex::new(rows.iter().filter(|row| row.fault.contains(&only)));
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(row) = { left.lock().unwrap().next() } {
                    let site = site_of(row);
                    let told = ask(row, &site);
                    for sentence in wrong(row, &told) {
                        let Told { run, log, check, check_as, prolog, prepare, doctor } = &told;
                        found.lock().unwrap().push(format!(
                            "{sentence}\n  run {run:?}\n  log {log}\n  check {check:?}\n  as {check_as:?}\n  prolog {prolog:?}\n  prepare {prepare:?}\n  doctor {doctor:?}\n"
                        ));
                    }
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    assert!(found.is_empty(), "{} wrong\n{}", found.len(), found.join("\n"));
}

#[test]
fn the_site_of_the_table_is_sound_where_nothing_is_planted() {
    let row = Row { node: Node::Serves, ..USUAL };
    let site = site_of(&row);
    let told = ask(&row, &site);
    assert_eq!(wrong(&row, &told), Vec::<String>::new(), "{:?} {:?}", told.check, told.prolog);
    assert!(!told.check.output().contains("WARNING"), "{}", told.check.output());
    assert_eq!(told.prepare.code, Some(0), "{:?}", told.prepare);
    assert!(told.check.output().contains(&format!("{CONFIG}: understood")), "{:?}", told.check);
    // Nothing stays of the rehearsals, and each has left one line.
    let left = site.shell("ls -A /var/lib/glexec").by("root").run().output();
    assert!(!left.contains("trial"), "{left}");
    let lines =
        site.log().iter().filter(|line| line.contains("rehearsal: real_user(pilot)")).count();
    assert_eq!(lines, 5, "check, check --as, prolog, prepare, doctor: {:#?}", site.log());
    assert!(std::fs::metadata(site.path(GLEXEC)).is_ok());
}
