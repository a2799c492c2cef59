//! A site: accounts, configuration, the installed setuid binary, and what it logged.

use crate::call::Call;
use crate::look::Look;
use crate::socket::Collector;
use crate::tree::Tree;
use crate::{accounts, procfs, world};
use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::cell::Cell;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tempfile::TempDir;

/// Where glexec is installed.
pub const GLEXEC: &str = "/usr/sbin/glexec";
/// Its configuration.
pub const CONFIG: &str = "/etc/glexec.toml";
/// Where the adapters are installed.
pub const LIBEXEC: &str = "/usr/libexec/glexec";
/// The adapters.
const HOOKS: [&str; 17] = [
    "glexec-slurm-task",
    "glexec-slurm-script",
    "glexec-slurm-prolog",
    "glexec-slurm-epilog",
    "glexec-slurm-task-prolog",
    "glexec-slurm-task-epilog",
    "glexec-slurm-record",
    "glexec-slurm-epilog-ctld",
    "condor_glexec",
    "glexec-condor-selftest",
    "glexec-condor-wrapper",
    "glexec-condor-copy",
    "glexec-condor-prepare",
    "glexec-condor-prepare-transfer",
    "glexec-condor-exit",
    "glexec-condor-exit-stay",
    "glexec-condor-record",
];
/// What pilots call.
const TOOLS: [&str; 3] = ["glexec-wrapenv", "glexec-unwrapenv", "mkgltempdir"];
/// The names under which HTCondor's starter and procd call `condor_glexec`.
const LEGACY: [&str; 6] = ["setup", "run", "job_wrapper", "kill", "cleanup", "update_proxy"];
/// Where the tests put the site's epilogue.
pub const EPILOGUE: &str = "/usr/libexec/site/epilogue";
/// The program that plays payloads and epilogues.
pub const ACTOR: &str = "/usr/local/bin/actor";
/// Where the standard epilogue writes what it sees, one line of JSON each time.
pub const SAW: &str = "/var/lib/site/saw";

/// Where an epilogue that runs `actor state-into` writes its state.
pub const TOLD: &str = "/var/lib/site/state";

/// The standard epilogue: looks around and writes down what it sees.
const LOOKING_EPILOGUE: &str = "#!/usr/local/bin/actor look-into\n";

/// Defaults of a site's `[glexec]`; a test's own line for the same key replaces one.
const SETTINGS: [&str; 2] =
    ["user_white_list = [\"pilot\", \"busy\", \"vast\", \"root\"]", "kill_grace = 1"];

const MAPPING: &str = r#"
[mapping]
methods = ["static"]
[[mapping.static]]
caller = "pilot"
accounts = ["payload1", "payload2", "payload3", "payload4", "payload5", "payload6", "homeless",
            "root", "toor", "service", "rootgroup", "ingroup0", "ghost", "vast", "keeper", "friend"]
[[mapping.static]]
caller = "busy"
account = "payload1"
[[mapping.static]]
caller = "vast"
account = "payload1"
[[mapping.static]]
caller = "root"
account = "payload1"
"#;

/// Sites run side by side; one that measures time has the machine for itself.
static MACHINE: RwLock<()> = RwLock::new(());

#[derive(Debug)]
#[expect(dead_code, reason = "held, not read")]
enum Share {
    Common(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
    /// This thread has a share already: asking again would wait for somebody who waits for us.
    Again,
}

thread_local! {
    /// How many sites this thread has.
    static SITES: Cell<u32> = const { Cell::new(0) };
}

impl Share {
    fn take(alone: bool) -> Self {
        let before = SITES.with(|sites| sites.replace(sites.get() + 1));
        if before > 0 {
            Self::Again
        } else if alone {
            Self::Alone(MACHINE.write().unwrap_or_else(PoisonError::into_inner))
        } else {
            Self::Common(MACHINE.read().unwrap_or_else(PoisonError::into_inner))
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        SITES.with(|sites| sites.set(sites.get().saturating_sub(1)));
    }
}

/// A site of its own for one test. It stays with the thread that made it.
#[derive(Debug)]
pub struct Site {
    holder: Pid,
    keep: Option<OwnedFd>,
    namespace: File,
    /// What /proc calls the namespace.
    link: PathBuf,
    base: TempDir,
    log: Mutex<Collector>,
    journal: Collector,
    _share: Share,
}

impl Site {
    /// A site that lingers and has no epilogue.
    pub fn new() -> Self {
        Self::with("")
    }

    /// A site with these lines in `[glexec]`.
    pub fn with(lines: &str) -> Self {
        Self::build(lines, Share::take(false)).expect("a Site")
    }

    /// The same, with the machine for itself.
    pub fn alone(lines: &str) -> Self {
        Self::build(lines, Share::take(true)).expect("a Site")
    }

    /// A site with an epilogue that writes down what it sees, for [`Site::epilogues`].
    pub fn with_epilogue(lines: &str) -> Self {
        Self::with(&format!("epilogue = \"{EPILOGUE}\"\n{lines}"))
    }

    /// A site with this script as epilogue.
    pub fn with_epilogue_script(script: &str, lines: &str) -> Self {
        let site = Self::with_epilogue(lines);
        site.epilogue(script);
        site
    }

    /// A site in which nothing is installed, not even glexec, with the machine for itself.
    ///
    /// # Errors
    /// Where this machine does not allow one.
    pub fn bare() -> Result<Self> {
        Self::unfurnished(Share::take(true))
    }

    fn build(lines: &str, share: Share) -> Result<Self> {
        let site = Self::unfurnished(share)?;
        site.install_built().context("furnishing a Site")?;
        site.settings(lines);
        Ok(site)
    }

    fn unfurnished(share: Share) -> Result<Self> {
        let base = tempfile::Builder::new().prefix("glexec-site-").tempdir_in("/tmp")?;
        fs::create_dir(base.path().join("fs"))?;
        let log = Mutex::new(Collector::bind(&base.path().join("log"))?);
        let journal = Collector::bind(&base.path().join("journal"))?;
        let (holder, keep) = world::make(base.path())?;
        let namespace = File::open(format!("/proc/{holder}/ns/mnt"))?;
        let link = fs::read_link(format!("/proc/{holder}/ns/mnt"))?;
        let keep = Some(keep);
        let site = Self { holder, keep, namespace, link, base, log, journal, _share: share };
        site.furnish();
        Ok(site)
    }

    fn furnish(&self) {
        self.file("/etc/passwd", accounts::passwd(), 0o644);
        self.file("/etc/group", accounts::group(), 0o644);
        self.file("/etc/nsswitch.conf", "passwd: files systemd\ngroup: files systemd\n", 0o644);
        for old in [CONFIG, "/etc/glexec.conf"] {
            let _ = fs::remove_file(self.path(old));
        }
        for account in accounts::all().iter().filter(|a| a.uid != 0 && a.home.starts_with("/home"))
        {
            self.directory(&account.home, (account.uid, account.gid), 0o700);
        }
        for path in ["/usr/libexec/glexec", "/usr/libexec/site", "/var/lib/site"] {
            self.directory(path, (0, 0), 0o755);
        }
        self.directory("/var/log/glexec", (0, 0), 0o700);
        self.directory("/var/lib/glexec", (0, 0), 0o700);
    }

    /// Installs glexec and what belongs to it, and the actor.
    ///
    /// # Errors
    /// Where `tests/build` has not made them.
    pub fn install_built(&self) -> Result<()> {
        install_built(&self.tree())
    }

    /// Installs what `tests/build trial core` makes, and the actor.
    ///
    /// # Errors
    /// Where it has not made them.
    pub fn install_core(&self) -> Result<()> {
        install_core(&self.tree())
    }

    /// Copies a file of the host in, root's.
    ///
    /// # Errors
    /// Where it cannot be copied; `tests/build` makes glexec's.
    pub fn install(&self, from: &Path, to: &str, mode: u32) -> Result<()> {
        self.tree().install(from, to, mode)
    }

    fn tree(&self) -> Tree {
        Tree::of(self.holder.as_raw())
    }

    /// Where a path of the site is for the host.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.tree().path(inside)
    }

    /// Writes a file, root's, with this mode.
    pub fn file(&self, inside: &str, text: impl AsRef<[u8]>, mode: u32) {
        self.tree().file(inside, text, mode);
    }

    /// Makes a directory with this owner and mode.
    pub fn directory(&self, inside: &str, owner: (u32, u32), mode: u32) {
        self.tree().directory(inside, owner, mode);
    }

    /// Makes a symbolic link, instead of whatever has its name.
    pub fn link(&self, target: &str, inside: &str) {
        self.tree().link(target, inside);
    }

    /// Gives a file or directory to somebody.
    pub fn own(&self, inside: &str, owner: (u32, u32)) {
        self.tree().own(inside, owner);
    }

    /// Changes a mode.
    pub fn mode(&self, inside: &str, mode: u32) {
        self.tree().mode(inside, mode);
    }

    /// A file's text; empty where there is none.
    pub fn read(&self, inside: &str) -> String {
        self.tree().read(inside)
    }

    /// Writes `/etc/glexec.toml`: the usual accounts and mapping, with these lines in `[glexec]`.
    pub fn settings(&self, lines: &str) {
        self.config(&usual_config(lines));
    }

    /// Writes the whole of `/etc/glexec.toml`.
    pub fn config(&self, text: &str) {
        self.file(CONFIG, text, 0o644);
    }

    /// Writes `/etc/glexec.conf` in the original's syntax, and removes the other.
    pub fn old_config(&self, text: &str) {
        let _ = fs::remove_file(self.path(CONFIG));
        self.file("/etc/glexec.conf", text, 0o600);
    }

    /// Puts a script where [`EPILOGUE`] is.
    pub fn epilogue(&self, script: &str) {
        self.file(EPILOGUE, script, 0o755);
    }

    /// What each run of the standard epilogue saw, in order.
    pub fn epilogues(&self) -> Vec<Look> {
        let text = self.read(SAW);
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// What was sent to /dev/log, one entry for each datagram.
    pub fn log(&self) -> Vec<String> {
        self.collector().all().iter().map(|b| String::from_utf8_lossy(b).into_owned()).collect()
    }

    /// The same, byte for byte.
    pub fn raw_log(&self) -> Vec<Vec<u8>> {
        self.collector().all()
    }

    /// What was sent to the journal's socket.
    pub fn journal(&self) -> Vec<Vec<u8>> {
        self.journal.all()
    }

    fn collector(&self) -> MutexGuard<'_, Collector> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends who listens at /dev/log and starts another, as an update of the daemon does. What was
    /// sent before is gone.
    pub fn restart_log(&self) {
        let anew = Collector::bind(&self.path("/run/log.anew")).expect("a socket");
        let move_over = "umount /dev/log; rm -f /dev/log; ln -s /run/log.anew /dev/log";
        self.shell(move_over).by("root").run().exited(0);
        *self.collector() = anew;
    }

    /// Stops (true) or goes on (false) reading /dev/log.
    pub fn hang_log(&self, hang: bool) {
        self.collector().pause(hang);
    }

    /// glexec with these words, called by `pilot`.
    pub fn glexec<W: Into<OsString>>(&self, words: impl IntoIterator<Item = W>) -> Call<'_> {
        Call::new(self, GLEXEC).words(words)
    }

    /// Any program with its arguments, run by `pilot`; the first word is its absolute path.
    pub fn program<W: Into<OsString>>(&self, words: impl IntoIterator<Item = W>) -> Call<'_> {
        let mut words = words.into_iter().map(Into::into);
        let path = words.next().expect("a program");
        Call::new(self, path).words(words)
    }

    /// A shell of `pilot`'s with this text; `$GLEXEC` is glexec.
    pub fn shell(&self, text: &str) -> Call<'_> {
        self.program(["/bin/sh", "-c", text]).env("GLEXEC", GLEXEC)
    }

    /// The mount namespace.
    pub const fn namespace(&self) -> &File {
        &self.namespace
    }

    /// Every process of this uid that is in the site.
    pub fn processes_of(&self, uid: u32) -> Vec<crate::Process> {
        let all = self.processes().into_iter().filter_map(crate::Process::of);
        all.filter(|process| process.uids.contains(&uid)).collect()
    }

    /// Every process that is in the site, the holder left out.
    pub fn processes(&self) -> Vec<i32> {
        let ours = Some(self.link.clone());
        let all = procfs::pids().into_iter().filter(|pid| *pid != self.holder.as_raw());
        all.filter(|pid| procfs::mount_namespace(*pid).is_some_and(|ns| Some(ns) == ours)).collect()
    }

    /// Ends every process in it, the holder left out.
    pub fn end_all(&self) {
        for _ in 0..50 {
            let left = self.processes();
            for pid in &left {
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            if left.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    /// The host's directory behind this site.
    pub fn base(&self) -> &Path {
        self.base.path()
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // First of all, or its last act would meet ours.
        let _ = kill(self.holder, Signal::SIGKILL);
        self.end_all();
        self.keep = None;
        let _ = waitpid(self.holder, None);
    }
}

/// `/etc/glexec.toml` with the usual accounts and mapping, and these lines in `[glexec]`.
pub(crate) fn usual_config(lines: &str) -> String {
    let key = |line: &str| line.split('=').next().unwrap_or("").trim().to_owned();
    let own: Vec<String> = lines.lines().map(key).collect();
    let usual = SETTINGS.iter().filter(|line| !own.contains(&key(line)));
    let usual: Vec<&str> = usual.copied().collect();
    format!("[glexec]\n{}\n{lines}\n{MAPPING}", usual.join("\n"))
}

/// glexec with what each site needs of it, the actor, and the standard epilogue.
fn install_core(tree: &Tree) -> Result<()> {
    let built = built();
    tree.install(&built.join("glexec"), GLEXEC, 0o4755)?;
    tree.install(&built.join("glexec-admin"), "/usr/sbin/glexec-admin", 0o755)?;
    tree.install(&built.join("glexec-accounts"), "/usr/libexec/glexec/glexec-accounts", 0o711)?;
    tree.install(&built.join("glexec-settle"), "/usr/libexec/glexec/glexec-settle", 0o700)?;
    let actor = std::env::current_exe()?.ancestors().nth(2).map(|d| d.join("actor"));
    if let Some(actor) = actor.filter(|a| a.exists()) {
        tree.install(&actor, ACTOR, 0o755)?;
    }
    tree.file(EPILOGUE, LOOKING_EPILOGUE, 0o755);
    Ok(())
}

/// Installs all that `tests/build` has made, the actor, and the standard epilogue.
pub(crate) fn install_built(tree: &Tree) -> Result<()> {
    install_core(tree)?;
    let built = built();
    tree.install(&built.join("glexec-credential"), "/usr/libexec/glexec/glexec-credential", 0o711)?;
    tree.install(&built.join("glexec-lcmaps"), "/usr/libexec/glexec/glexec-lcmaps", 0o700)?;
    for tool in HOOKS {
        // What runs as the target beside its payload is not for the target to read: so the kernel
        // keeps it from being traced from its first instruction on.
        let mode =
            if ["glexec-condor-copy", "condor_glexec"].contains(&tool) { 0o711 } else { 0o755 };
        tree.install(&built.join(tool), &format!("{LIBEXEC}/{tool}"), mode)?;
    }
    for tool in TOOLS {
        tree.install(&built.join(tool), &format!("/usr/sbin/{tool}"), 0o755)?;
    }
    for name in LEGACY {
        tree.link("condor_glexec", &format!("{LIBEXEC}/condor_glexec_{name}"));
    }
    Ok(())
}

/// Which C library the glexec under test has in it: `musl` or `glibc`.
pub fn flavour() -> String {
    let word = fs::read_to_string(built().join("flavour")).unwrap_or_default();
    word.trim().to_owned()
}

/// Where `tests/build` puts what is installed.
pub fn built() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/dist/trial");
    std::env::var_os("GLEXEC_DIST").map_or_else(default, PathBuf::from)
}

/// Whether root on this machine may raise hard limits (`CAP_SYS_RESOURCE`): glexec, too, then.
pub fn may_raise_limits() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective =
        procfs::field(&status, "CapEff").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    effective.is_some_and(|set| set & (1 << 24) != 0)
}
