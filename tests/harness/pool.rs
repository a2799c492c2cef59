//! A pool of HTCondor: real daemons over a root directory of their own, in namespaces of their own.

use crate::ad::{Ad, JobId};
use crate::procfs::{self, Process};
use crate::socket::Collector;
use crate::tree::Tree;
use crate::{CONFIG, Look, SAW, accounts, raw, site};
use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What PATH is inside, for the daemons and for scripts.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a script may take, in seconds.
const PATIENCE: &str = "60";

/// Where the pilot's daemons have their configuration and everything else.
const PILOTS: &str = "/home/pilot/condor";

/// What every daemon of both kinds is told: nothing of the host's kernel is changed, and nothing
/// is waited for.
const BRISK: &str = "
ENABLE_KERNEL_TUNING = False
UID_DOMAIN = pool.test
NETWORK_INTERFACE = 127.0.0.1
BIND_ALL_INTERFACES = False
CONDOR_HOST = 127.0.0.1
NUM_CPUS = 32
MEMORY = 16384
RESERVED_DISK = 0
RUNBENCHMARKS = 0
SCHEDD_INTERVAL = 1
SCHEDD_MIN_INTERVAL = 1
NEGOTIATOR_INTERVAL = 1
NEGOTIATOR_MIN_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
UPDATE_INTERVAL = 2
STARTER_UPDATE_INTERVAL = 2
SHADOW_QUEUE_UPDATE_INTERVAL = 1
";

/// Beside a pilot: no machine of its own, and the pilot's may join.
const WITHOUT_MACHINE: &str = "
DAEMON_LIST = MASTER COLLECTOR NEGOTIATOR SCHEDD
ALLOW_DAEMON = condor@$(UID_DOMAIN) pilot@$(UID_DOMAIN)
ALLOW_ADVERTISE_STARTD = $(ALLOW_DAEMON)
ALLOW_ADVERTISE_MASTER = $(ALLOW_DAEMON)
";

/// The pilot's machine, as a glidein brings it.
const PILOTS_MACHINE: &str = "
RELEASE_DIR = /usr
LOCAL_DIR = /home/pilot/condor
LOCAL_CONFIG_DIR = $(LOCAL_DIR)/config.d
RUN = $(LOCAL_DIR)/run
LOG = $(LOCAL_DIR)/log
LOCK = $(LOCAL_DIR)/lock
SPOOL = $(LOCAL_DIR)/spool
EXECUTE = $(LOCAL_DIR)/execute
BIN = $(RELEASE_DIR)/bin
SBIN = $(RELEASE_DIR)/sbin
LIB = $(RELEASE_DIR)/lib/condor
LIBEXEC = $(RELEASE_DIR)/libexec/condor
SHARE = $(RELEASE_DIR)/share/condor
DAEMON_LIST = MASTER STARTD
USE_SHARED_PORT = False
SEC_DEFAULT_AUTHENTICATION = REQUIRED
SEC_DEFAULT_AUTHENTICATION_METHODS = FS
SEC_USE_FAMILY_SESSION = False
ALLOW_READ = *
ALLOW_WRITE = *
ALLOW_DAEMON = *
ALLOW_ADMINISTRATOR = *
START = True
";

/// Ends when there is a slot and a queue. A tool that asks before the collector listens hangs.
const WAIT_FOR_A_SLOT: &str = "for n in $(seq 400); do
    grep -q ':2592 00000000:0000 0A' /proc/net/tcp && [ \"$(timeout 2 condor_status -af Name)\" ] &&
        [ \"$(timeout 2 condor_status -schedd -af Name)\" ] && exit 0
    sleep 0.05
done 2>/dev/null; exit 1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Root,
    Pilot,
}

/// A pool with one machine of 16 cores, and the accounts of a [`crate::Site`], any of which may
/// submit. Dropping it, or the end of this program in any way, ends every process in it.
#[derive(Debug)]
pub struct Pool {
    kind: Kind,
    world: Mutex<Child>,
    first: Pid,
    tree: Tree,
    log: Collector,
    /// Last, when the world has left it.
    _base: TempDir,
}

impl Pool {
    /// Every daemon is root's: a job runs as who submitted it. More lines for its configuration.
    pub fn root(extra_config: &str) -> Self {
        Self::start(Kind::Root, extra_config).expect("a pool")
    }

    /// As with a glidein: the machine's daemons are those of the unprivileged `pilot`, and so a job
    /// runs as `pilot`, whoever submitted it. Queue and central manager are root's.
    pub fn pilot(extra_config: &str) -> Self {
        Self::start(Kind::Pilot, extra_config).expect("a pool")
    }

    fn start(kind: Kind, extra_config: &str) -> Result<Self> {
        let base = tempfile::Builder::new().prefix("glexec-pool-").tempdir_in("/tmp")?;
        for name in ["fs", "cgroup"] {
            fs::create_dir(base.path().join(name))?;
        }
        let log = Collector::bind(&base.path().join("log"))?;
        let (world, first) = make_world(base.path())?;
        let tree = Tree::of(first);
        let first = Pid::from_raw(first);
        let pool = Self { kind, world: Mutex::new(world), first, tree, log, _base: base };
        pool.furnish();
        pool.configure(extra_config);
        // As a service starts it, and not as a shell's job in the background does, which ignores INT.
        pool.begin("env --default-signal condor_master -f >/var/log/condor/master.out 2>&1")?;
        if kind == Kind::Pilot {
            pool.begin(&format!(
                "cd {PILOTS}; HOME=/home/pilot USER=pilot CONDOR_CONFIG={PILOTS}/condor_config exec setpriv \
                 --reuid=pilot --regid=pilot --init-groups env --default-signal condor_master -f \
                 >log/master.out 2>&1"
            ))?;
        }
        if !pool.shell("root", WAIT_FOR_A_SLOT).status.success() {
            bail!("no slot came up: {}", pool.diagnosis());
        }
        Ok(pool)
    }

    fn furnish(&self) {
        let tree = &self.tree;
        let lines = |path: &str, ours: &str| {
            let theirs = tree.read(path);
            let name = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
            let taken: Vec<String> = theirs.lines().map(name).collect();
            let new = ours.lines().filter(|line| !taken.contains(&name(line)));
            let new: String = new.map(|line| format!("{line}\n")).collect();
            self.file(path, &format!("{theirs}{new}"), 0o644);
        };
        lines("/etc/passwd", &accounts::passwd());
        lines("/etc/group", &accounts::group());
        self.file("/etc/hosts", "127.0.0.1 pool.test pool localhost\n", 0o644);
        self.file("/etc/resolv.conf", "", 0o644);
        let everybody = accounts::all();
        for account in everybody.iter().filter(|a| a.uid != 0 && a.home.starts_with("/home")) {
            self.directory(&account.home, (account.uid, account.gid), 0o700);
        }
        for path in ["/usr/libexec/glexec", "/usr/libexec/site", "/var/lib/site"] {
            self.directory(path, (0, 0), 0o755);
        }
        for path in ["/var/log/glexec", "/var/lib/glexec"] {
            self.directory(path, (0, 0), 0o700);
        }
        let condor = self.account("condor").expect("an account condor");
        for path in ["/run/condor", "/run/lock/condor", "/var/log/condor", "/var/spool/condor"] {
            self.directory(path, (condor.uid, condor.gid), 0o755);
        }
        self.directory("/var/lib/condor/execute", (condor.uid, condor.gid), 0o755);
        if self.kind == Kind::Pilot {
            let pilot = accounts::PILOT;
            for name in ["", "config.d", "run", "log", "lock", "spool", "execute"] {
                self.directory(&format!("{PILOTS}/{name}"), (pilot, pilot), 0o755);
            }
        }
    }

    /// Writes the daemons' configuration with these lines at its end.
    fn configure(&self, lines: &str) {
        match self.kind {
            Kind::Root => self.file("/etc/condor/config.d/90-pool", BRISK, 0o644),
            Kind::Pilot => {
                let beside = format!("{BRISK}{WITHOUT_MACHINE}");
                self.file("/etc/condor/config.d/90-pool", &beside, 0o644);
                let pilots = format!("{PILOTS_MACHINE}{BRISK}");
                self.file(&format!("{PILOTS}/condor_config"), &pilots, 0o644);
                self.file(&format!("{PILOTS}/config.d/99-test"), lines, 0o644);
            }
        }
        self.file("/etc/condor/config.d/99-test", lines, 0o644);
    }

    /// Replaces the lines that the pool was started with, and has every daemon read them. What
    /// a starter does, hooks and wrapper among it, is as they say from the next job on.
    pub fn reconfigure(&self, lines: &str) {
        self.configure(lines);
        let pilots = format!("CONDOR_CONFIG={PILOTS}/condor_config condor_reconfig");
        let mut masters = vec![("root", "condor_reconfig")];
        if self.kind == Kind::Pilot {
            masters.push(("pilot", &pilots));
        }
        for (user, command) in masters {
            let told = self.shell(user, command);
            assert!(told.status.success(), "{told:?}");
        }
    }

    /// Installs glexec and what belongs to it, and the actor, with these lines in `[glexec]` beside
    /// the usual accounts and mapping.
    pub fn install_glexec(&self, lines: &str) {
        site::install_built(&self.tree).expect("what tests/build makes");
        self.file(CONFIG, &site::usual_config(lines), 0o644);
    }

    /// Copies a file of the host in, root's; setuid has its effect.
    pub fn install(&self, host_file: &Path, path: &str, mode: u32) {
        self.tree.install(host_file, path, mode).expect("a file to copy");
    }

    /// Writes a file, root's, with this mode.
    pub fn file(&self, path: &str, text: &str, mode: u32) {
        self.tree.file(path, text, mode);
    }

    /// Makes a directory with this owner and mode.
    pub fn directory(&self, path: &str, owner: (u32, u32), mode: u32) {
        self.tree.directory(path, owner, mode);
    }

    /// A file's text; empty where there is none.
    pub fn read(&self, path: &str) -> String {
        self.tree.read(path)
    }

    /// What each run of the standard epilogue saw, in order, where `install_glexec` was given the line
    /// `epilogue = "/usr/libexec/site/epilogue"`.
    pub fn epilogues(&self) -> Vec<Look> {
        let text = self.read(SAW);
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// What was sent to /dev/log inside, one entry for each datagram.
    pub fn log(&self) -> Vec<String> {
        self.log.all().iter().map(|b| String::from_utf8_lossy(b).into_owned()).collect()
    }

    /// Starts a command of root's that goes on beside the daemons, in their cgroup: one line.
    fn begin(&self, line: &str) -> Result<()> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let stdin = world.stdin.as_mut().context("a world")?;
        Ok(stdin.write_all(format!("{line}\n").as_bytes())?)
    }

    /// Runs a script as this account, in its home directory, for a minute at most; then its code is
    /// 124.
    pub fn shell(&self, user: &str, script: &str) -> Output {
        self.shell_with(user, script, "")
    }

    fn shell_with(&self, user: &str, script: &str, stdin: &str) -> Output {
        let who = self.account(user).unwrap_or_else(|| panic!("no account {user} in the pool"));
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.first.to_string(), "--mount", "--pid", "--net", "--uts"])
            .args(["--ipc", "--cgroup", "--", "env", "-i", "LC_ALL=C"])
            .args([format!("PATH={PATH}"), format!("HOME={}", who.home)])
            .args([format!("USER={user}"), format!("LOGNAME={user}")])
            .args(["setpriv", &format!("--reuid={}", who.uid), &format!("--regid={}", who.gid)])
            .args(["--init-groups", "timeout", "--kill-after=1", PATIENCE])
            .args(["/bin/sh", "-c", &format!("cd 2>/dev/null || cd /\n{script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = spawn(&mut command).expect("nsenter");
        // Who does not read it has ended or needs none.
        let _ = child.stdin.take().expect("a pipe").write_all(stdin.as_bytes());
        child.wait_with_output().expect("a child")
    }

    fn account(&self, name: &str) -> Option<accounts::Account> {
        let passwd = self.read("/etc/passwd");
        let mut entries = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let entry = entries.find(|entry| entry.first() == Some(&name))?;
        let [_, _, uid, gid, _, home, ..] = entry.as_slice() else { return None };
        Some(accounts::Account {
            name: name.to_owned(),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            groups: Vec::new(),
            home: (*home).to_owned(),
        })
    }

    /// Submits a job as this account, from its home directory. A description that lacks `queue` gets
    /// it.
    pub fn submit(&self, user: &str, description: &str) -> JobId {
        let queues = |line: &str| line.trim_start().to_ascii_lowercase().starts_with("queue");
        let queue = if description.lines().any(queues) { "" } else { "\nqueue\n" };
        let text = format!("{description}{queue}");
        let told = self.shell_with(user, "condor_submit -terse -", &text);
        let ids = String::from_utf8_lossy(&told.stdout).into_owned();
        let first = ids.split_whitespace().next().and_then(|id| id.parse().ok());
        first.unwrap_or_else(|| panic!("not submitted: {told:?}\n{text}\n{}", self.diagnosis()))
    }

    /// What the queue, or else the history, has of a job.
    pub fn ad(&self, job: JobId) -> Ad {
        self.find(job).unwrap_or_else(|| panic!("no job {job}; {}", self.diagnosis()))
    }

    fn find(&self, job: JobId) -> Option<Ad> {
        self.queue(job).or_else(|| self.history(job))
    }

    fn queue(&self, job: JobId) -> Option<Ad> {
        let told = self.shell("root", &format!("condor_q -long {job}"));
        Ad::parse(&String::from_utf8_lossy(&told.stdout))
    }

    /// What the history has of a job, which then has left the queue.
    pub fn history(&self, job: JobId) -> Option<Ad> {
        let told = self.shell("root", &format!("condor_history -long -limit 1 {job}"));
        Ad::parse(&String::from_utf8_lossy(&told.stdout))
    }

    /// Waits until this is true of a job's ad.
    pub fn wait_for(&self, job: JobId, is: impl Fn(&Ad) -> bool, limit: Duration) -> Ad {
        let begin = Instant::now();
        let mut asked: Option<(Instant, (u64, i64, i64))> = None;
        loop {
            // The queue's own log tells when there may be news: asking is dear.
            let state = self.queue_state();
            let stale = |(at, then): (Instant, _)| then != state || at.elapsed().as_millis() > 500;
            if asked.is_none_or(stale) {
                let ad = self.find(job);
                asked = Some((Instant::now(), state));
                if let Some(ad) = ad.filter(|ad| is(ad)) {
                    return ad;
                }
            }
            assert!(
                begin.elapsed() < limit,
                "not within {limit:?}: {:?}\n{}",
                self.find(job),
                self.diagnosis()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn queue_state(&self) -> (u64, i64, i64) {
        let data = fs::metadata(self.tree.path("/var/spool/condor/job_queue.log"));
        data.map(|d| (d.size(), d.mtime(), d.mtime_nsec())).unwrap_or_default()
    }

    /// Waits for anything else.
    pub fn wait_until<T>(&self, limit: Duration, found: impl Fn() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = found() {
                return found;
            }
            assert!(begin.elapsed() < limit, "not within {limit:?}; {}", self.diagnosis());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Every process of this uid that is in the pool, zombies left out.
    pub fn processes_of(&self, uid: u32) -> Vec<Process> {
        let ours = procfs::namespace(self.first.as_raw(), "pid");
        let inside = |pid: &i32| ours.is_some() && procfs::namespace(*pid, "pid") == ours;
        let all = procfs::pids().into_iter().filter(inside).filter_map(Process::of);
        all.filter(|process| process.uids.contains(&uid) && !process.is_zombie()).collect()
    }

    /// The whole text of the daemons' logs whose names begin so: `StarterLog`, `StartLog`, `ShadowLog`,
    /// `SchedLog`; with the pilot's own among them.
    pub fn log_text(&self, name: &str) -> String {
        let texts = self.logs(name).into_iter();
        texts.map(|(path, text)| format!("== {path}\n{text}\n")).collect()
    }

    fn logs(&self, name: &str) -> Vec<(String, String)> {
        let mut logs = Vec::new();
        for directory in ["/var/log/condor", "/home/pilot/condor/log"] {
            let entries = fs::read_dir(self.tree.path(directory)).into_iter().flatten().flatten();
            let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
            let mut names: Vec<String> = names.filter(|n| n.starts_with(name)).collect();
            names.sort();
            let paths = names.into_iter().map(|name| format!("{directory}/{name}"));
            logs.extend(paths.map(|path| (path.clone(), self.read(&path))));
        }
        logs
    }

    /// The end of every log, for messages.
    pub fn diagnosis(&self) -> String {
        let end = |text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(25)..].join("\n")
        };
        let logs = self.logs("").into_iter().filter(|(_, text)| !text.is_empty());
        let logs: String =
            logs.map(|(path, text)| format!("== {path}\n{}\n", end(&text))).collect();
        format!("{logs}== syslog\n{}\n", self.log().join("\n"))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        // Its first process takes everything with it.
        world.stdin = None;
        if matches!(world.try_wait(), Ok(None)) {
            let _ = kill(self.first, Signal::SIGKILL);
        }
        let begin = Instant::now();
        while matches!(world.try_wait(), Ok(None)) && begin.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = world.kill();
        let _ = world.wait();
    }
}

/// A pool that the tests of one program share: started by the first that asks, gone when the program
/// ends.
#[derive(Debug)]
pub struct SharedPool {
    make: fn() -> Pool,
    pool: Mutex<Weak<Pool>>,
}

/// Holds every shared pool, for a static is never dropped.
static SHARED: Mutex<Vec<Arc<Pool>>> = Mutex::new(Vec::new());

impl SharedPool {
    /// One that is made so when it is needed.
    pub const fn new(make: fn() -> Pool) -> Self {
        Self { make, pool: Mutex::new(Weak::new()) }
    }

    /// The pool.
    pub fn get(&self) -> Arc<Pool> {
        let mut ours = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = ours.upgrade() {
            return pool;
        }
        let pool = Arc::new((self.make)());
        *ours = Arc::downgrade(&pool);
        let mut all = shared();
        if all.is_empty() {
            raw::at_exit(end_shared);
        }
        all.push(Arc::clone(&pool));
        pool
    }
}

fn shared() -> MutexGuard<'static, Vec<Arc<Pool>>> {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

extern "C" fn end_shared() {
    let all = std::mem::take(&mut *shared());
    drop(all);
}

/// Starts the world, and waits until it is there; its first process by the host's number.
fn make_world(base: &Path) -> Result<(Child, i32)> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let default = || tests.join("../target/condor/23.9");
    let root = std::env::var_os("GLEXEC_CONDOR_ROOT").map_or_else(default, PathBuf::from);
    let root = root
        .canonicalize()
        .with_context(|| format!("{} is not there: tests/condor/root makes it", root.display()))?;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh"])
        .args([tests.join("condor/world"), root, base.to_owned()])
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut world = spawn(&mut command).context("unshare")?;
    let mut line = String::new();
    BufReader::new(world.stdout.take().context("a pipe")?).read_line(&mut line)?;
    if let Some(pid) = line.strip_prefix("ready ").and_then(|pid| pid.trim().parse().ok()) {
        return Ok((world, pid));
    }
    world.stdin = None;
    let mut trouble = String::new();
    world.stderr.take().context("a pipe")?.read_to_string(&mut trouble)?;
    let _ = world.wait();
    bail!("no world for a pool: {line}{trouble}");
}

/// No other child is between fork and exec then, with a copy of a file that is being written.
fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let _alone = raw::FORKING.write().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}
