//! What the peers need in the site.

use crate::peers::{EMPTY, FEATURES, Peer};
use anyhow::{Context as _, Result, ensure};
use harness::{EPILOGUE, GLEXEC, Site};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The payload that uses a processor for [`BURNT`].
pub(crate) const BURN: &str = "/usr/local/bin/burn";
/// Microseconds, a little less than what it waits for.
pub(crate) const BURNT: u64 = 19_900;

/// The payload, and the epilogue, that writes down when it ran.
pub(crate) const STAMP: &str = "/usr/local/bin/stamp";

/// No C library and few pages, so that what is left is the price of the duties.
const C_FLAGS: [&str; 9] = [
    "-O2",
    "-static",
    "-nostdlib",
    "-ffreestanding",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-no-pie",
    "-Wl,--build-id=none",
    "-Wl,-z,noseparate-code",
];

/// The C programs, by what they are called here.
const PROGRAMS: [&str; 4] = ["features", "empty", "burn", "stamp"];

/// As Debian ships it, with one rule more.
const SUDOERS: &str = "Defaults env_reset, use_pty
Defaults secure_path=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"
pilot ALL=(payload1) NOPASSWD: ALL
";

/// The C programs, compiled once.
#[derive(Debug)]
pub(crate) struct Compiled(TempDir);

impl Compiled {
    /// Compiles all.
    ///
    /// # Errors
    /// The compiler's, or that there is none.
    pub(crate) fn new() -> Result<Self> {
        let into = tempfile::Builder::new().prefix("glexec-bench-").tempdir_in("/tmp")?;
        for name in PROGRAMS {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("bench/{name}.c"));
            let mut gcc = Command::new("gcc");
            gcc.args(C_FLAGS).arg("-o").arg(into.path().join(name)).arg(&source);
            let done = gcc.output().context("gcc cannot be run; the C programs need it")?;
            ensure!(
                done.status.success(),
                "{}: {}",
                source.display(),
                String::from_utf8_lossy(&done.stderr)
            );
        }
        Ok(Self(into))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Installs one of them.
    ///
    /// # Errors
    /// Where it cannot be copied.
    pub(crate) fn install(&self, site: &Site, name: &str, to: &str, mode: u32) -> Result<()> {
        // Another program under the same name would be written into, and may be running.
        let _ = std::fs::remove_file(site.path(to));
        site.install(&self.path(name), to, mode)
    }

    /// Installs all, and one of them as the site's epilogue.
    ///
    /// # Errors
    /// Where it cannot be copied.
    pub(crate) fn furnish(&self, site: &Site, epilogue: &str) -> Result<()> {
        self.install(site, "features", FEATURES, 0o4755)?;
        self.install(site, "empty", EMPTY, 0o755)?;
        self.install(site, "burn", BURN, 0o755)?;
        self.install(site, epilogue, EPILOGUE, 0o755)
    }
}

/// What sudo, doas and PAM read. No look-up of the host's name leaves the machine; no ageing of
/// passwords is asked about.
fn furnish_others(site: &Site) -> Result<()> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    site.file("/etc/hosts", format!("127.0.0.1 localhost {host}"), 0o644);
    let shadow = ["root", "pilot", "payload1"].map(|name| format!("{name}:*:19000::::::\n"));
    site.file("/etc/shadow", shadow.concat(), 0o600);
    site.file("/etc/sudoers", SUDOERS, 0o440);
    site.file("/etc/doas.conf", "permit nopass pilot as payload1\n", 0o400);
    Ok(())
}

/// Installs what the chosen peers need, and has each show that it does what its row says.
///
/// # Errors
/// What is missing, or not as the row says.
pub(crate) fn for_peers(site: &Site, compiled: &Compiled, peers: &[Peer]) -> Result<()> {
    if peers.iter().any(|peer| peer.words.contains(&GLEXEC)) {
        site.install_built().context("`--without glexec` measures the others")?;
    }
    furnish_others(site)?;
    compiled.furnish(site, "burn")?;
    peers.iter().try_for_each(|peer| peer.prove(site))?;
    compiled.install(site, "empty", EPILOGUE, 0o755)
}
