//! A Slurm cluster of its own in a [`Site`]: real munged, slurmctld and slurmd, in a network
//! namespace with nothing but loopback, under a host name of their own.

use crate::{Call, LIBEXEC, Look, Ran, Running, Site, procfs};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a test may choose.
#[derive(Debug, Clone)]
pub struct Shape {
    /// `linuxproc`, `pgid` or `cgroup`.
    pub proctrack: &'static str,
    /// Seconds between TERM and KILL.
    pub kill_wait: u32,
    /// One node or more.
    pub nodes: usize,
    /// Whether each node keeps what glexec and the hooks keep for itself, as on a machine of its own.
    pub apart: bool,
    /// slurmdbd with a MariaDB of its own.
    pub accounting: bool,
    /// Whether slurm.conf names the hooks.
    pub hooked: bool,
    /// More lines of slurm.conf; of a doubled key Slurm takes the last.
    pub slurm: String,
    /// Lines of `[glexec]`.
    pub glexec: String,
    /// Who is mapped to whom.
    pub mapping: &'static str,
    /// `/etc/glexec-slurm.toml`.
    pub hooks: String,
    /// `/etc/slurm/job_submit.lua`, which slurmctld asks then.
    pub submit: Option<String>,
    /// `/etc/slurm/mpi.conf`.
    pub mpi: Option<String>,
    /// What root does before the daemons start: a script.
    pub prepare: &'static str,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            proctrack: "linuxproc",
            kill_wait: 2,
            nodes: 1,
            apart: false,
            accounting: false,
            hooked: true,
            slurm: String::new(),
            glexec: String::new(),
            mapping: STATIC,
            hooks: String::new(),
            submit: None,
            mpi: None,
            prepare: "",
        }
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    site: Site,
    /// Holds the namespaces.
    anchor: i32,
    name: String,
    shape: Shape,
    jobs: Cell<u32>,
}

/// What `scontrol show job` says.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its number.
    pub id: u32,
    fields: BTreeMap<String, String>,
}

impl Job {
    /// A field's value, empty where there is none.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// `JobState`.
    pub fn state(&self) -> &str {
        self.field("JobState")
    }

    /// `ExitCode`: code and signal.
    pub fn exit_code(&self) -> &str {
        self.field("ExitCode")
    }

    fn is_over(&self) -> bool {
        const OVER: [&str; 5] = ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"];
        OVER.contains(&self.state())
    }
}

/// The epilogue of these sites: keeps the record, and writes down what it saw.
const EPILOGUE_SCRIPT: &str = "#!/bin/sh
/usr/libexec/glexec/glexec-slurm-record || exit 1
exec /usr/local/bin/actor look-into
";

/// `pilot` becomes `payload1`; nobody else may.
const STATIC: &str = "[mapping]
[[mapping.static]]
caller = \"pilot\"
account = \"payload1\"
";

/// `pilot` chooses among the accounts of the pool by `GLEXEC_TARGET_USER`.
pub const CHOICE: &str = "[mapping]
[[mapping.static]]
caller = \"pilot\"
accounts = [\"payload1\", \"work001\", \"work002\", \"work003\", \"work004\", \"work005\", \"work006\",
    \"work007\", \"work008\", \"work009\", \"work010\", \"work011\", \"work012\", \"work013\", \"work014\",
    \"work015\", \"work016\"]
";

/// Each run of `pilot`'s has an account of its own.
pub const POOL: &str = "[mapping]
methods = [\"pool\"]
[[mapping.pool]]
caller = \"pilot\"
accounts = \"work[001-016]\"
";

/// What the project offers a site.
const SLURM_FRAGMENT: &str = include_str!("../../conf/slurm/slurm.conf.glexec");
const GLEXEC_FRAGMENT: &str = include_str!("../../conf/slurm/glexec.toml.slurm");

/// The lines of a fragment but those whose key is one of these.
fn without(fragment: &str, keys: &[&str]) -> String {
    let own = |line: &&str| keys.contains(&line.split('=').next().unwrap_or_default().trim());
    fragment.lines().filter(|line| !own(line)).map(|line| format!("{line}\n")).collect()
}

/// The fragment with the hooks that it offers.
fn fragment(accounting: bool) -> String {
    let text = SLURM_FRAGMENT.replace("#Task", "Task");
    if accounting { text.replace("#EpilogSlurmctld", "EpilogSlurmctld") } else { text }
}

fn glexec_lines() -> String {
    let own =
        "user_white_list = [\"pilot\"]\nkill_grace = 1\nepilogue = \"/usr/libexec/site/epilogue\"";
    // On a busy machine tests need longer.
    format!("{own}\n{}", without(GLEXEC_FRAGMENT, &["epilogue", "epilogue_timeout"]))
}

/// Where glexec and the hooks keep what is a node's own.
const KEPT: &str = "/var/lib/glexec /var/lib/glexec-slurm /var/lib/scratch /run/glexec-slurm";

/// A holder of namespaces: says its pid, and stays.
const ANCHOR: &str = "echo $1 >/proc/sys/kernel/hostname && ip link set lo up && \
    ip addr add 127.0.0.2/8 dev lo && echo $$ >/run/anchor && exec sleep 100000 >/dev/null 2>&1 </dev/null";

impl Cluster {
    /// Starts one; returns when every node is idle.
    pub fn start(shape: Shape) -> Self {
        Self::started_in(Site::new(), shape)
    }

    /// The same, with the machine for itself.
    pub fn alone(shape: Shape) -> Self {
        Self::started_in(Site::alone(""), shape)
    }

    fn started_in(site: Site, shape: Shape) -> Self {
        let own = site.base().file_name().and_then(|n| n.to_str()).unwrap_or("x").to_lowercase();
        let name: String = format!("n{}", own.rsplit('-').next().unwrap_or("x"));
        let start = format!(
            "unshare --net --uts sh -c '{ANCHOR}' sh {name} & wait_for() {{ while ! [ -s $1 ]; do sleep 0.01; done; }}; wait_for /run/anchor"
        );
        site.shell(&start).by("root").run().exited(0);
        let anchor = site.read("/run/anchor").trim().parse().expect("a pid");
        let cluster = Self { site, anchor, name, shape, jobs: Cell::new(0) };
        cluster.furnish();
        cluster.root(cluster.shape.prepare).exited(0);
        cluster.start_daemons();
        cluster.wait_until("every node is idle", Duration::from_secs(20), || {
            let out = cluster.root("sinfo -h -o '%T %D'").output();
            out.trim() == format!("idle {}", cluster.shape.nodes)
        });
        cluster
    }

    /// The site it runs in.
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// The node's name; with several, of number `n` from 0.
    pub fn node(&self, n: usize) -> String {
        if self.shape.nodes == 1 { self.name.clone() } else { format!("{}x{n}", self.name) }
    }

    fn furnish(&self) {
        let site = &self.site;
        site.epilogue(EPILOGUE_SCRIPT);
        // Where jobs are submitted, and their payloads start.
        for home in ["/home/pilot", "/home/other"] {
            site.mode(home, 0o755);
        }
        self.configure(&self.shape.glexec);
        let more = "munge:x:901:901::/nonexistent:/usr/sbin/nologin\nslurm:x:902:902::/nonexistent:/usr/sbin/nologin\n";
        site.file("/etc/passwd", site.read("/etc/passwd") + more, 0o644);
        site.file("/etc/group", site.read("/etc/group") + "munge:x:901:\nslurm:x:902:\n", 0o644);
        site.file("/etc/hosts", format!("127.0.0.1 localhost {}\n", self.name), 0o644);
        for (path, owner) in [
            ("/run/munge", (901, 901)),
            ("/var/log/munge", (901, 901)),
            ("/var/lib/munge", (901, 901)),
            ("/etc/munge", (901, 901)),
            ("/var/spool/slurmctld", (902, 902)),
            ("/var/log/slurm", (902, 902)),
            ("/var/spool/glexec-slurm", (902, 902)),
            ("/etc/slurm", (0, 0)),
        ] {
            site.directory(path, owner, 0o755);
        }
        for (path, mode) in
            [("/etc/munge", 0o700), ("/var/lib/munge", 0o711), ("/var/log/munge", 0o700)]
        {
            site.mode(path, mode);
        }
        site.file("/etc/munge/munge.key", self.name.repeat(100), 0o400);
        site.own("/etc/munge/munge.key", (901, 901));
        site.file("/etc/slurm/slurm.conf", self.slurm_conf(), 0o644);
        site.file("/etc/slurm/cgroup.conf", "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n", 0o644);
        if let Some(lua) = &self.shape.submit {
            site.file("/etc/slurm/job_submit.lua", lua, 0o644);
        }
        if let Some(lines) = &self.shape.mpi {
            site.file("/etc/slurm/mpi.conf", lines, 0o644);
        }
        if !self.shape.hooks.is_empty() {
            site.file("/etc/glexec-slurm.toml", &self.shape.hooks, 0o644);
        }
        for n in 0..self.shape.nodes {
            site.directory(&format!("/var/spool/slurmd.{}", self.node(n)), (0, 0), 0o755);
        }
        for hook in ["prolog", "epilog"] {
            let directory = format!("/etc/slurm/{hook}.d");
            site.directory(&directory, (0, 0), 0o755);
            site.link(&format!("{LIBEXEC}/glexec-slurm-{hook}"), &format!("{directory}/50-glexec"));
        }
    }

    /// Writes `/etc/glexec.toml` with these lines in `[glexec]`.
    pub fn configure(&self, lines: &str) {
        let mapping = self.shape.mapping;
        self.site.config(&format!("[glexec]\n{}\n{lines}\n{mapping}", glexec_lines()));
    }

    fn slurm_conf(&self) -> String {
        let Shape { proctrack, kill_wait, nodes, accounting, slurm, .. } = &self.shape;
        let name = &self.name;
        let node = |n: usize| {
            let port = 7000 + n;
            format!(
                "NodeName={} NodeHostname={name} NodeAddr=127.0.0.1 Port={port} CPUs=8 RealMemory=2000 State=UNKNOWN\n",
                self.node(n)
            )
        };
        let all: String = (0..*nodes).map(node).collect();
        let names: Vec<String> = (0..*nodes).map(|n| self.node(n)).collect();
        let mut fragment = fragment(*accounting);
        if !self.shape.hooked {
            fragment = without(&fragment, &["Prolog", "Epilog", "TaskProlog", "TaskEpilog"]);
        }
        let submit = if self.shape.submit.is_some() { "JobSubmitPlugins=lua\n" } else { "" };
        let accounting = if *accounting {
            "MaxArraySize=2000\nAccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\nAccountingStoragePass=/run/munge/munge.socket.2\nAccountingStoreFlags=job_comment\n"
        } else {
            ""
        };
        format!(
            "ClusterName=trial\nSlurmctldHost={name}(127.0.0.1)\nSlurmUser=slurm\n\
             AuthType=auth/munge\nCredType=cred/munge\n\
             AuthInfo=socket=/run/munge/munge.socket.2,cred_expire=5\n\
             CommunicationParameters=NoInAddrAny,NoCtldInAddrAny\n\
             ProctrackType=proctrack/{proctrack}\nTaskPlugin=task/none\n\
             JobAcctGatherType=jobacct_gather/none\nMpiDefault=none\nReturnToService=2\n\
             SlurmdParameters=config_overrides\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_CPU\n\
             KillWait={kill_wait}\nUnkillableStepTimeout=120\n\
             SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1,default_queue_depth=1000,nohold_on_prolog_fail\n\
             JobCompType=jobcomp/filetxt\nJobCompLoc=/var/log/slurm/jobcomp\n\
             SlurmctldPidFile=/run/slurmctld.pid\nSlurmdPidFile=/run/slurmd.%n.pid\n\
             SlurmctldLogFile=/var/log/slurm/slurmctld.log\nSlurmdLogFile=/var/log/slurm/slurmd.%n.log\n\
             StateSaveLocation=/var/spool/slurmctld\nSlurmdSpoolDir=/var/spool/slurmd.%n\n\
             {fragment}\n\
             {accounting}{submit}{slurm}\n{all}PartitionName=main Nodes={} Default=YES OverSubscribe=FORCE:8\n",
            names.join(",")
        )
    }

    fn start_daemons(&self) {
        self.root("setpriv --reuid=901 --regid=901 --clear-groups munged --socket=/run/munge/munge.socket.2 >/var/log/munge/start 2>&1 </dev/null").exited(0);
        if self.shape.accounting {
            self.start_accounting();
        }
        self.root("slurmctld >/var/log/slurm/ctld.start 2>&1 </dev/null").exited(0);
        for n in 0..self.shape.nodes {
            self.start_slurmd(n);
        }
    }

    /// Starts the slurmd of a node.
    pub fn start_slurmd(&self, n: usize) {
        let node = self.node(n);
        let slurmd = format!("slurmd -N {node} >/var/log/slurm/slurmd.start 2>&1 </dev/null");
        let own = format!(
            "for d in {KEPT}; do mkdir -p /var/of/{node}/$d $d; mount --bind /var/of/{node}/$d $d; done
             chmod 700 /var/lib/glexec; exec {slurmd}"
        );
        let apart = format!("unshare --mount sh -ec '{own}'");
        self.root(if self.shape.apart { &apart } else { &slurmd }).exited(0);
    }

    fn start_accounting(&self) {
        let site = &self.site;
        site.directory("/var/lib/trialdb", (902, 902), 0o700);
        site.file(
            "/etc/slurm/slurmdbd.conf",
            format!(
                "AuthType=auth/munge\nAuthInfo=socket=/run/munge/munge.socket.2\nDbdHost={}\nDbdAddr=127.0.0.1\n\
                 SlurmUser=slurm\nStorageType=accounting_storage/mysql\nStorageUser=slurm\nStorageLoc=acct\n\
                 PidFile=/run/slurmdbd.pid\nLogFile=/var/log/slurm/slurmdbd.log\n",
                self.name
            ),
            0o600,
        );
        site.own("/etc/slurm/slurmdbd.conf", (902, 902));
        let as_slurm = "setpriv --reuid=902 --regid=902 --clear-groups";
        self.root(&format!(
            "cd /; {as_slurm} mariadb-install-db --no-defaults --user=slurm --auth-root-authentication-method=normal \
             --skip-test-db --datadir=/var/lib/trialdb >/var/log/slurm/db.start 2>&1 </dev/null || exit 9
             {as_slurm} mariadbd --no-defaults --skip-networking --skip-grant-tables --datadir=/var/lib/trialdb \
             --socket=/var/lib/trialdb/socket --pid-file=/var/lib/trialdb/pid >/var/log/slurm/db.log 2>&1 </dev/null &
             for i in $(seq 1000); do [ -S /var/lib/trialdb/socket ] && exit 0; sleep 0.02; done; exit 8"
        ))
        .exited(0);
        self.root("MYSQL_UNIX_PORT=/var/lib/trialdb/socket slurmdbd >/var/log/slurm/dbd.start 2>&1 </dev/null").exited(0);
        self.wait_until("slurmdbd answers", Duration::from_secs(30), || {
            self.root("sacctmgr -i add cluster trial").error().is_empty()
                || self.root("sacctmgr -n list cluster").output().contains("trial")
        });
    }

    fn enter(&self, user: Option<&str>, script: &str) -> Ran {
        self.call(user, script).run()
    }

    fn call(&self, user: Option<&str>, script: &str) -> Call<'_> {
        let home = user.map_or_else(|| "/root".to_owned(), |user| format!("/home/{user}"));
        let mut words: Vec<String> =
            ["/usr/bin/nsenter", "-t", &self.anchor.to_string(), "-n", "-u"]
                .map(str::to_owned)
                .to_vec();
        if let Some(user) = user {
            words.extend(
                ["/usr/bin/setpriv", "--reuid", user, "--regid", user, "--init-groups"]
                    .map(str::to_owned),
            );
        }
        words.extend(
            ["/bin/sh", "-c", &format!("cd {home} 2>/dev/null || cd /; {script}")]
                .map(str::to_owned),
        );
        self.site
            .program(words)
            .no_env()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", &home)
            .env("SLURM_CONF", "/etc/slurm/slurm.conf")
            .by("root")
            .within_time(Duration::from_secs(120))
    }

    /// Runs a script as root beside the daemons.
    pub fn root(&self, script: &str) -> Ran {
        self.enter(None, script)
    }

    /// Runs a script as somebody, in their home.
    pub fn by(&self, user: &str, script: &str) -> Ran {
        self.enter(Some(user), script)
    }

    /// Starts a script as somebody, in their home, on a terminal.
    pub fn on_terminal(&self, user: &str, script: &str) -> Running<'_> {
        self.call(Some(user), script).on_terminal().start()
    }

    /// Submits a batch script of `pilot`'s with these options; gives its number.
    pub fn sbatch(&self, options: &str, script: &str) -> u32 {
        let n = self.jobs.replace(self.jobs.get() + 1);
        let file = format!("/home/pilot/batch{n}.sh");
        self.site.file(&file, format!("#!/bin/bash\n{script}\n"), 0o755);
        let ran =
            self.by("pilot", &format!("sbatch --parsable -o /home/pilot/out.%j {options} {file}"));
        ran.exited(0);
        ran.output().trim().parse().expect("a job's number")
    }

    /// What the epilogues of a job saw, in order.
    pub fn epilogues_of(&self, job: u32) -> Vec<Look> {
        let wanted = format!("GLEXEC_EPILOG_JOB_SLURM_JOB_ID={job}");
        let all = self.site.epilogues().into_iter();
        all.filter(|look| look.environment.contains(&wanted)).collect()
    }

    /// Kills the glexec of a job, and nothing else.
    pub fn kill_glexec(&self, job: u32) {
        let text = self.root("glexec-admin ps --json").output();
        let rows: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
        let key = serde_json::json!(["SLURM_JOB_ID", job.to_string()]);
        let mine = |row: &&serde_json::Value| {
            row["job"].as_array().is_some_and(|keys| keys.contains(&key))
        };
        let row = rows.iter().find(mine).expect("a run of the job");
        self.root(&format!("kill -9 {}", row["pid"])).exited(0);
    }

    /// What a batch job printed.
    pub fn printed(&self, job: u32) -> String {
        self.site.read(&format!("/home/pilot/out.{job}"))
    }

    /// What `scontrol show job` says now.
    pub fn job(&self, id: u32) -> Job {
        let text = self.root(&format!("scontrol -o show job {id}")).output();
        let words = text.split_whitespace().filter_map(|word| word.split_once('='));
        Job { id, fields: words.map(|(k, v)| (k.to_owned(), v.to_owned())).collect() }
    }

    /// Waits until a job is over, its epilogs included.
    pub fn ended(&self, id: u32) -> Job {
        let mut job = self.job(id);
        let begin = Instant::now();
        while !job.is_over() {
            if begin.elapsed() > Duration::from_secs(100) {
                panic!("{job:?}\n{}\n{}", self.root("ps -ef").output(), self.logs());
            }
            std::thread::sleep(Duration::from_millis(30));
            job = self.job(id);
        }
        job
    }

    /// Waits until a job's script or step says something in its output.
    pub fn says(&self, id: u32, text: &str) {
        self.wait_until(&format!("job {id} says {text}"), Duration::from_secs(30), || {
            self.printed(id).contains(text)
        });
    }

    /// Waits for anything.
    pub fn wait_until(&self, what: &str, limit: Duration, is: impl Fn() -> bool) {
        let begin = Instant::now();
        while !is() {
            assert!(begin.elapsed() < limit, "{what}: not within {limit:?}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// State and reason of a node.
    pub fn node_state(&self, n: usize) -> (String, String) {
        let text = self.root(&format!("scontrol -o show node {}", self.node(n))).output();
        let field = |name: &str| {
            let (_, rest) = text.split_once(&format!(" {name}=")).unwrap_or_default();
            rest.to_owned()
        };
        let state = field("State").split_whitespace().next().unwrap_or_default().to_owned();
        let reason = field("Reason").trim_end().to_owned();
        (state, reason)
    }

    /// The line of jobcomp/filetxt for a job.
    pub fn completion(&self, id: u32) -> String {
        let all = self.site.read("/var/log/slurm/jobcomp");
        let mut lines = all.lines().filter(|line| line.starts_with(&format!("JobId={id} ")));
        lines.next_back().unwrap_or_default().to_owned()
    }

    /// Control groups that Slurm has left for jobs.
    pub fn job_cgroups(&self) -> Vec<PathBuf> {
        let mut left = Vec::new();
        for n in 0..self.shape.nodes {
            let base = PathBuf::from(format!("/sys/fs/cgroup/freezer/slurm_{}", self.node(n)));
            for user in fs::read_dir(base).into_iter().flatten().flatten() {
                let jobs = fs::read_dir(user.path()).into_iter().flatten().flatten();
                left.extend(jobs.map(|job| job.path()).filter(|path| path.is_dir()));
            }
        }
        left
    }

    /// The ends of the daemons' logs.
    pub fn logs(&self) -> String {
        let mut files =
            vec!["/var/log/slurm/slurmctld.log".to_owned(), "/var/log/slurm/ctld.start".to_owned()];
        files.extend(
            (0..self.shape.nodes).map(|n| format!("/var/log/slurm/slurmd.{}.log", self.node(n))),
        );
        if self.shape.accounting {
            files.push("/var/log/slurm/slurmdbd.log".to_owned());
        }
        let tail = |file: &String| {
            let text = self.site.read(file);
            let lines: Vec<&str> = text.lines().rev().take(25).collect();
            let lines: Vec<&str> = lines.into_iter().rev().collect();
            format!("== {file}\n{}\n", lines.join("\n"))
        };
        let all: String = files.iter().map(tail).collect();
        format!("{all}== syslog\n{}", self.site.log().join("\n"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Nodes that are apart have mount namespaces of their own, and the network is the cluster's.
        let ours = procfs::namespace(self.anchor, "net");
        if self.shape.apart && ours.is_some() {
            let inside = |pid: &i32| procfs::namespace(*pid, "net") == ours;
            for pid in procfs::pids().into_iter().filter(inside) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        self.site.end_all();
        // The kernel's control groups are the host's: nothing of ours stays in them.
        for n in 0..self.shape.nodes {
            for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
                remove_groups(&hierarchy.path().join(format!("slurm_{}", self.node(n))));
            }
        }
    }
}

/// Removes a control group and those below it.
fn remove_groups(group: &std::path::Path) {
    for below in fs::read_dir(group).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&below.path());
        }
    }
    let _ = fs::remove_dir(group);
}
