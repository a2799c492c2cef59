//! The command lines of the documents, and how each is executed.

/// How a line is executed.
#[derive(Debug)]
pub(super) enum How {
    /// Here, by root; it ends with this code.
    Exits(i32),
    /// Here, by pilot, who calls glexec.
    ByPilot(i32),
    /// Here, by root, after something else, and with words put in for those that stand for others.
    With { before: &'static str, stands_for: &'static [(&'static str, &'static str)], code: i32 },
    /// It names a command that wants more words: here, with `--help` behind it.
    Names,
    /// By another test: its file, and what executes it there.
    In(&'static str, &'static str),
    /// It is a program of the checkout, and itself builds or tests.
    Program(&'static str),
}

/// A page, and the site that its lines are executed in.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) name: &'static str,
    /// Whether nothing of glexec's is installed before.
    pub(super) is_bare: bool,
    /// Lines of `[glexec]`.
    pub(super) settings: &'static str,
    /// What root does before the first of them.
    pub(super) before: &'static str,
    pub(super) lines: &'static [(&'static str, How)],
}

/// As [`How::With`]'s `before`: in a new site.
pub(super) const ANEW: &str = "anew";

use How::{ByPilot, Exits, In, Names, Program, With};

const OK: How = Exits(0);

const fn with(stands_for: &'static [(&'static str, &'static str)]) -> How {
    With { before: "true", stands_for, code: 0 }
}

const fn after(before: &'static str, code: i32) -> How {
    With { before, stands_for: &[], code }
}

/// What a site does not have: a systemd that enables what is installed and whole, an HTCondor that is
/// told to look at its files, a debt, and one that was given up.
pub(super) const STAND_INS: [(&str, &str); 5] = [
    (
        "systemctl",
        "#!/bin/sh
[ \"$1 $2\" = 'enable --now' ] || [ \"$1 $2\" = 'disable --now' ] || exit 1
shift 2
for unit; do
    file=$(ls /etc/systemd/system/$unit /usr/lib/systemd/system/$unit 2>/dev/null | head -n 1)
    [ -n \"$file\" ] && grep -q '^WantedBy=' \"$file\" || exit 1
    program=$(sed -n 's/^ExecStart=\\([^ ]*\\).*/\\1/p' \"${file%.timer}.service\")
    [ -x \"$program\" ] || exit 1
done
",
    ),
    ("condor_reconfig", "#!/bin/sh\n[ -s /etc/condor/config.d/50-glexec.config ]\n"),
    ("condor_config_val", "#!/bin/sh\n[ \"$1\" = LIBEXEC ] && echo /usr/libexec/condor\n"),
    (
        "owe",
        "#!/bin/sh
su -s /bin/sh pilot -c 'SLURM_JOB_ID=4711 exec /usr/sbin/glexec sleep 600' >/dev/null 2>&1 &
until glexec-admin ps --json | grep -q '\"payload_pid\"'; do sleep 0.05; done
kill -KILL $(glexec-admin ps --json | sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')
wait
glexec-admin ps --json | grep -q '\"state\":\"owed\"'
",
    ),
    (
        "give-up",
        "#!/bin/sh
owe
cp /etc/glexec.toml /run/glexec.toml
sed -i '/^epilogue =/d' /etc/glexec.toml
glexec-admin sweep --now >/dev/null
cat /run/glexec.toml >/etc/glexec.toml
glexec-admin ps --json | grep -q '\"state\":\"aside\"'
",
    ),
];

/// The name of what was given up.
const ASIDE: &[(&str, &str)] =
    &[("NAME", "$(glexec-admin ps --json | sed 's/.*\"name\":\"\\(aside[^\"]*\\)\".*/\\1/')")];

const INSIDE: &str = "tests/packages/inside";

/// In the order of the README.
pub(super) const PAGES: &[Page] = &[
    Page {
        name: "README.md",
        is_bare: true,
        settings: "",
        before: "true",
        lines: &[
            ("./tests/demo/run", Program("tests/demo/run")),
            ("./tests/run", In(".ci/run", "exec ./tests/run")),
            ("./tests/run inject", Program("tests/run")),
            ("./tests/packages/run", Program("tests/packages/run")),
            ("./tests/vm/run", Program("tests/vm/run")),
            ("./tests/mutants/run", In("tests/run", "tests/mutants/run fit")),
            ("apt install ./target/packages/glexec_*.deb", In(INSIDE, "apt-get install -y")),
            ("tests/build release", In("tests/packages/build", "tests/build release")),
            ("install -d -o root -g root -m 0755 /usr/libexec/glexec", OK),
            (
                "install -o root -g root -m 0711 target/dist/release/glexec-accounts target/dist/release/glexec-credential /usr/libexec/glexec/",
                OK,
            ),
            (
                "install -o root -g root -m 0700 target/dist/release/glexec-settle target/dist/release/glexec-lcmaps /usr/libexec/glexec/",
                OK,
            ),
            ("install -o root -g root -m 0755 target/dist/release/glexec-admin /usr/sbin/", OK),
            ("install -d -o root -g root -m 0700 /var/lib/glexec", OK),
            (
                "install -o root -g root -m 0644 conf/systemd/glexec-sweep.* /etc/systemd/system/",
                OK,
            ),
            ("install -o root -g root -m 0600 conf/glexec.toml /etc/glexec.toml", OK),
            ("install -o root -g root -m 4755 target/dist/release/glexec /usr/sbin/glexec", OK),
            ("install -o root -g root -m 0755 target/dist/release/mkgltempdir /usr/sbin/", OK),
            (
                "install -o root -g root -m 0755 target/dist/release/glexec-wrapenv /usr/sbin/glexec_wrapenv.pl",
                OK,
            ),
            (
                "install -o root -g root -m 0755 target/dist/release/glexec-unwrapenv /usr/sbin/glexec_unwrapenv.pl",
                OK,
            ),
            ("glexec-admin init --scheduler none --caller pilot --account payload001", OK),
            ("systemctl enable --now glexec-sweep.timer", OK),
            ("glexec-admin check", OK),
            ("glexec-admin show", OK),
            ("glexec-admin selftest", OK),
            ("su -s /bin/sh pilot -c 'glexec --check /bin/id'", OK),
            ("su -s /bin/sh pilot -c 'glexec /bin/id'", OK),
            ("glexec-admin sweep", OK),
            ("glexec-admin explain WORD", with(&[("WORD", "audit")])),
        ],
    },
    Page {
        name: "docs/first-steps.md",
        is_bare: true,
        settings: "",
        before: "true",
        lines: &[
            ("apt-get install -y ./glexec_*.deb", In(INSIDE, "steps \"By hand\"")),
            ("useradd --create-home pilot", In(INSIDE, "steps \"By hand\"")),
            ("useradd --create-home payload001", In(INSIDE, "steps \"By hand\"")),
            (
                "glexec-admin init --scheduler none --caller pilot --account payload001",
                In(INSIDE, "steps \"By hand\""),
            ),
            ("glexec-admin selftest", In(INSIDE, "steps \"By hand\"")),
            ("su pilot -c 'glexec id'", In(INSIDE, "steps \"By hand\"")),
            (
                "apt-get install -y ./glexec_*.deb ./glexec-slurm_*.deb",
                In(INSIDE, "steps \"In Slurm\""),
            ),
            (
                "glexec-admin init --scheduler slurm --caller pilot --account payload001 --force",
                In(INSIDE, "steps \"In Slurm\""),
            ),
            ("/usr/share/glexec-slurm/add-hooks", In(INSIDE, "steps \"In Slurm\"")),
            ("scontrol reconfigure", In(INSIDE, "steps \"In Slurm\"")),
            ("glexec-admin doctor", In(INSIDE, "steps \"In Slurm\"")),
            (
                "su pilot -c 'srun --chdir=/tmp /usr/libexec/glexec/glexec-slurm-task id'",
                In(INSIDE, "steps \"In Slurm\""),
            ),
            (
                "apt-get install -y ./glexec_*.deb ./glexec-condor_*.deb",
                In(INSIDE, "steps \"In HTCondor\""),
            ),
            (
                "glexec-admin init --scheduler condor --caller pilot --account payload001 --force",
                In(INSIDE, "steps \"In HTCondor\""),
            ),
            (
                "cp /usr/share/glexec-condor/50-glexec.config /etc/condor/config.d/",
                In(INSIDE, "steps \"In HTCondor\""),
            ),
            (
                "cp /usr/share/glexec-condor/60-glexec-access-point.config /etc/condor/config.d/",
                In(INSIDE, "steps \"In HTCondor\""),
            ),
            ("condor_reconfig", In(INSIDE, "steps \"In HTCondor\"")),
            (
                "su - pilot -c 'printf \"executable=/usr/bin/id\\noutput=out\\nlog=log\\nqueue\\n\" | condor_submit'",
                In(INSIDE, "steps \"In HTCondor\""),
            ),
            ("su - pilot -c 'condor_wait log && cat out'", In(INSIDE, "steps \"In HTCondor\"")),
        ],
    },
    Page {
        name: "docs/callers.md",
        is_bare: false,
        settings: "",
        before: "true",
        lines: &[
            ("glexec /bin/id", ByPilot(0)),
            ("glexec --check /bin/id", ByPilot(0)),
            ("glexec -- /bin/id -u", ByPilot(0)),
        ],
    },
    Page {
        name: "docs/configuration.md",
        is_bare: false,
        settings: "",
        before: "true",
        lines: &[("glexec-admin check", OK), ("glexec-admin show", OK)],
    },
    Page {
        name: "docs/epilogue.md",
        is_bare: false,
        settings: "epilogue = \"/usr/libexec/site/glexec-epilogue\"\nepilogue_environment = \"own\"\nepilogue_timeout = 60",
        before: "cp /srv/checkout/conf/epilogue/accounting /srv/checkout/glexec-epilogue",
        lines: &[
            ("install -d -o root -g root -m 0755 /usr/libexec/site", OK),
            ("install -o root -g root -m 0755 glexec-epilogue /usr/libexec/site/", OK),
            ("glexec-admin check", OK),
            ("glexec-admin ps", OK),
        ],
    },
    Page {
        name: "docs/credentials.md",
        is_bare: false,
        settings: "",
        before: "true",
        lines: &[
            (
                "GLEXEC_CLIENT_CERT=/tmp/x509up_u1000 glexec /bin/id",
                In("tests/launcher/credential.rs", ".env(\"GLEXEC_CLIENT_CERT\", PROXY)"),
            ),
            (
                "GLEXEC_CLIENT_TOKEN=/run/user/1000/bt_u1000 glexec /bin/id",
                In("tests/launcher/token.rs", ".env(\"GLEXEC_CLIENT_TOKEN\", TOKEN)"),
            ),
            ("glexec-admin check", OK),
            ("glexec-admin map --dn DN", In("tests/launcher/credential.rs", "map(&[\"--dn\"")),
            (
                "glexec-admin map --credential FILE",
                In("tests/launcher/credential.rs", "map(&[\"--credential\", PROXY]"),
            ),
            ("glexec-admin leases", OK),
            ("glexec-admin leases --json", OK),
            (
                "glexec-admin leases --release SUBJECT",
                In("tests/launcher/leases.rs", "admin(&site, &[\"--release\", whose])"),
            ),
        ],
    },
    Page {
        name: "docs/hand-over.md",
        is_bare: false,
        settings: "",
        before: "true",
        lines: &[("glexec-admin check", OK)],
    },
    Page {
        name: "docs/migration.md",
        is_bare: false,
        settings: "",
        before: "rm /etc/glexec.toml; printf '[glexec]\\nuser_white_list = pilot\\n[mapping]\\npilot = payload001\\n' >/etc/glexec.conf; chmod 600 /etc/glexec.conf",
        lines: &[
            ("glexec-admin migrate > /root/glexec.toml", OK),
            ("glexec-admin check --config /root/glexec.toml", OK),
            ("install -o root -g root -m 0600 /root/glexec.toml /etc/glexec.toml", OK),
            ("glexec-admin check && glexec-admin selftest", OK),
            ("glexec-admin explain", OK),
        ],
    },
    Page {
        name: "docs/slurm.md",
        is_bare: false,
        settings: "",
        before: "mkdir /etc/slurm && echo ClusterName=c >/etc/slurm/slurm.conf",
        lines: &[
            (
                "for hook in task script prolog epilog task-prolog task-epilog record epilog-ctld; do\ninstall -m 0755 target/dist/release/glexec-slurm-$hook /usr/libexec/glexec/\ndone",
                OK,
            ),
            ("install -m 0644 conf/slurm/glexec-slurm.toml /etc/glexec-slurm.toml", OK),
            ("cat conf/slurm/glexec.toml.slurm", OK),
            ("conf/slurm/add-hooks", OK),
            (
                "scontrol reconfigure",
                In("tests/slurm/setup.rs", "cluster.root(\"scontrol reconfigure\")"),
            ),
            (
                "/usr/libexec/glexec/glexec-slurm-prolog --check",
                In("tests/slurm/setup.rs", "{LIBEXEC}/glexec-slurm-prolog --check"),
            ),
            (
                "srun /usr/libexec/glexec/glexec-slurm-task ./payload",
                In("tests/slurm/codes.rs", "srun -n1 {task} sh -c"),
            ),
            (
                "exec /usr/libexec/glexec/glexec-slurm-task ./payload",
                In("tests/slurm/codes.rs", "exec {LIBEXEC}/glexec-slurm-task"),
            ),
            ("glexec-admin check --as UID", with(&[("UID", "42001")])),
            ("install -m 0644 conf/slurm/job_submit.lua /etc/slurm/", OK),
            ("echo JobSubmitPlugins=lua >>/etc/slurm/slurm.conf", OK),
            (
                "srun --pty /usr/libexec/glexec/glexec-slurm-task bash -i",
                In("tests/slurm/places.rs", "srun --pty {LIBEXEC}/glexec-slurm-task"),
            ),
            (
                "salloc -n1 srun --pty /usr/libexec/glexec/glexec-slurm-task bash -i",
                In("tests/slurm/places.rs", "salloc -Q -n1 srun --pty"),
            ),
            (
                "srun --mpi=pmi2 -n4 /usr/libexec/glexec/glexec-slurm-task ./program",
                In("tests/slurm/mpi.rs", "pmi2"),
            ),
            (
                "srun --mpi=pmix -n4 /usr/libexec/glexec/glexec-slurm-task ./program",
                In("tests/slurm/mpi.rs", "pmix"),
            ),
            ("glexec-admin check", OK),
        ],
    },
    Page {
        name: "docs/htcondor.md",
        is_bare: false,
        settings: "",
        before: "mkdir -p /etc/condor/config.d",
        lines: &[
            (
                "for tool in wrapper prepare prepare-transfer exit exit-stay record; do\ninstall -m 0755 target/dist/release/glexec-condor-$tool /usr/libexec/glexec/\ndone",
                OK,
            ),
            ("install -m 0711 target/dist/release/glexec-condor-copy /usr/libexec/glexec/", OK),
            ("install -m 0644 conf/condor/glexec-condor.toml /etc/glexec-condor.toml", OK),
            ("cat conf/condor/glexec.toml.condor", OK),
            ("install -m 0644 conf/condor/50-glexec.config /etc/condor/config.d/", OK),
            ("cat conf/condor/50-glexec-pilot.config", OK),
            ("install -m 0644 conf/condor/60-glexec-access-point.config /etc/condor/config.d/", OK),
            ("glexec-admin check && condor_reconfig", OK),
            ("install -d -o keeper -g keeper -m 711 /var/lib/glexec-condor", OK),
            ("install -d -o root -g root -m 1777 /var/spool/glexec-condor", OK),
        ],
    },
    Page {
        name: "docs/htcondor-legacy.md",
        is_bare: false,
        settings: "",
        before: "mkdir -p /usr/libexec/condor",
        lines: &[
            ("cd \"$(condor_config_val LIBEXEC)\"", OK),
            ("install -m 711 /usr/libexec/glexec/condor_glexec .", OK),
            (
                "for name in setup run job_wrapper kill cleanup update_proxy; do\nln -sf condor_glexec condor_glexec_$name\ndone",
                after("[ -x /usr/libexec/condor/condor_glexec ]", 0),
            ),
        ],
    },
    Page {
        name: "docs/administration.md",
        is_bare: false,
        settings: "",
        before: "rm /etc/glexec.toml",
        lines: &[
            (
                "glexec-admin init --scheduler slurm --caller pilot --account payload001 payload002",
                OK,
            ),
            ("glexec-admin selftest", OK),
            ("glexec-admin explain 202", OK),
            ("glexec-admin explain no-free-account", OK),
            ("glexec-admin explain timeout", OK),
            ("glexec-admin explain", OK),
        ],
    },
    Page {
        name: "docs/operations.md",
        is_bare: false,
        settings: "epilogue = \"/usr/libexec/site/epilogue\"",
        before: "cp /srv/checkout/conf/systemd/glexec-sweep.* /etc/systemd/system/",
        lines: &[
            ("glexec-admin check", OK),
            ("glexec-admin check --config FILE", with(&[("FILE", "/etc/glexec.toml")])),
            ("glexec-admin selftest", OK),
            ("glexec-admin ps", OK),
            ("chmod 0700 /usr/sbin/glexec", after("owe", 0)),
            ("glexec-admin sweep --now", OK),
            ("systemctl disable --now glexec-sweep.timer", OK),
            ("rm -f /usr/sbin/glexec /usr/sbin/glexec-admin /usr/sbin/mkgltempdir", OK),
            ("rm -f /usr/sbin/glexec_wrapenv.pl /usr/sbin/glexec_unwrapenv.pl", OK),
            ("rm -rf /usr/libexec/glexec /var/lib/glexec-metrics", OK),
            (
                "rm -f /etc/systemd/system/glexec-sweep.service /etc/systemd/system/glexec-sweep.timer",
                OK,
            ),
            ("rmdir /var/lib/glexec", OK),
            ("rm -f /etc/glexec.toml", OK),
            ("glexec-admin doctor --json", after(ANEW, 0)),
            ("glexec-admin sweep", OK),
            ("glexec-admin ps --json", OK),
        ],
    },
    Page {
        name: "docs/sweep.md",
        is_bare: false,
        settings: "epilogue = \"/usr/libexec/site/epilogue\"\njob_variables = [\"SLURM_JOB_ID\"]",
        before: "true",
        lines: &[
            ("glexec-admin sweep", after("owe", 0)),
            ("glexec-admin sweep --now", after("owe", 0)),
            ("glexec-admin sweep --job SLURM_JOB_ID=4711 --wait 60", after("owe", 0)),
            ("glexec-admin sweep --caller 1000", OK),
            ("glexec-admin ps", OK),
            ("glexec-admin ps --json", OK),
            (
                "glexec-admin sweep --retry NAME",
                With { before: "give-up", stands_for: ASIDE, code: 0 },
            ),
            (
                "glexec-admin sweep --drop NAME",
                With { before: "give-up", stands_for: ASIDE, code: 0 },
            ),
            ("install -m 0644 conf/systemd/glexec-sweep.* /etc/systemd/system/", OK),
            ("systemctl enable --now glexec-sweep.timer", OK),
            ("glexec --settle SLURM_JOB_ID=4711", ByPilot(0)),
            // The host's groups stay as they are; with real ones they are tried in tests/vm.
            (
                "mkdir /sys/fs/cgroup/glexec && echo 4096 > /sys/fs/cgroup/glexec/pids.max",
                after("mount -t tmpfs tmpfs /sys/fs/cgroup", 0),
            ),
            (
                "for h in freezer memory cpu,cpuacct pids; do mkdir /sys/fs/cgroup/$h/glexec; done",
                after("cd /sys/fs/cgroup && mkdir freezer memory cpu,cpuacct pids", 0),
            ),
            ("echo 4096 > /sys/fs/cgroup/pids/glexec/pids.max", OK),
        ],
    },
    Page {
        name: "docs/metrics.md",
        is_bare: false,
        settings: "epilogue = \"/usr/libexec/site/epilogue\"\nlog_destination = \"file\"\nlog_file = \"/var/log/glexec.log\"",
        before: "mkdir -p /var/lib/prometheus/node-exporter",
        lines: &[
            ("glexec-admin metrics", OK),
            ("glexec-admin metrics --json", OK),
            ("glexec-admin metrics --textfile /var/lib/prometheus/node-exporter/glexec.prom", OK),
            ("glexec-admin ps", OK),
            ("glexec-admin sweep", OK),
            (
                "glexec-admin sweep --retry NAME",
                With { before: "give-up", stands_for: ASIDE, code: 0 },
            ),
        ],
    },
    Page {
        name: "docs/troubleshooting.md",
        is_bare: false,
        settings: "",
        before: "true",
        lines: &[
            ("glexec-admin explain WORD", with(&[("WORD", "not-listed")])),
            ("glexec-admin doctor", OK),
            ("glexec-admin check --as USER", with(&[("USER", "pilot")])),
            ("glexec-admin selftest --caller USER", with(&[("USER", "pilot")])),
            ("glexec-admin init", Names),
            (
                "glexec-admin migrate",
                after("printf '[glexec]\\nuser_white_list = pilot\\n' >/etc/glexec.conf", 0),
            ),
            ("glexec-admin sweep", OK),
        ],
    },
    Page {
        name: "docs/reasons.md",
        is_bare: false,
        settings: "",
        before: "true",
        lines: &[("glexec-admin explain WORD", with(&[("WORD", "state")]))],
    },
    Page {
        name: "docs/streams.md",
        is_bare: false,
        settings: "",
        before: "true",
        lines: &[
            (
                "glexec --status-fd 9 --control-fd 8 -- COMMAND ARG…",
                In("tests/harness/call.rs", "const STATUS_FD: RawFd = 9;"),
            ),
            ("glexec-admin ps", OK),
        ],
    },
    Page {
        name: "docs/packages.md",
        is_bare: false,
        settings: "",
        before: "true",
        lines: &[
            ("tests/packages/build", In("tests/packages/run", "tests/packages/build 1")),
            ("apt install ./glexec_*.deb ./glexec-slurm_*.deb", In(INSIDE, "apt-get install -y")),
            ("glexec-admin sweep --now", OK),
        ],
    },
];
