//! Who is measured: how each one is called, and what it needs in the site.

use anyhow::{Context as _, Result, ensure};
use harness::{EPILOGUE, GLEXEC, Site, accounts};
use std::path::Path;
use std::process::Command;

/// The payload that does nothing.
pub(crate) const EMPTY: &str = "/usr/local/bin/empty";
/// Where the C program with a launcher's duties is in the site.
const FEATURES: &str = "/usr/sbin/features";
/// Where sudo is, if it is.
pub(crate) const SUDO: &str = "/usr/bin/sudo";

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

/// As Debian ships it, with one rule more.
const SUDOERS: &str = "Defaults env_reset, use_pty
Defaults secure_path=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"
pilot ALL=(payload1) NOPASSWD: ALL
";

/// One way to launch.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// The words before the program's.
    words: &'static [&'static str],
    /// The C program that does the same.
    pub(crate) base: Option<&'static str>,
    /// The lines in `[glexec]` while it is measured; the C program reads the same file.
    pub(crate) settings: &'static str,
    /// The least number of programs that are executed, payload and epilogue among them.
    pub(crate) programs: usize,
}

const REPLACE: &str = "linger = false";
const LINGER: &str = "linger = true";
const AND_EPILOGUE: &str = "linger = true\nepilogue = \"/usr/libexec/site/epilogue\"";

/// In the table's order. The settings of neighbours are alike: they change twice a round or so.
#[rustfmt::skip]
const PEERS: [Peer; 8] = [
    Peer { name: "direct", words: &[], base: None, settings: REPLACE, programs: 1 },
    Peer { name: "C", words: &[FEATURES, "replace"], base: Some("C"), settings: REPLACE, programs: 2 },
    Peer { name: "glexec", words: &[GLEXEC], base: Some("C"), settings: REPLACE, programs: 2 },
    Peer { name: "C linger", words: &[FEATURES, "linger"], base: Some("C linger"), settings: LINGER, programs: 2 },
    Peer { name: "glexec linger", words: &[GLEXEC], base: Some("C linger"), settings: LINGER, programs: 2 },
    Peer { name: "C linger epilogue", words: &[FEATURES, "epilogue"], base: Some("C linger epilogue"), settings: AND_EPILOGUE, programs: 3 },
    Peer { name: "glexec linger epilogue", words: &[GLEXEC], base: Some("C linger epilogue"), settings: AND_EPILOGUE, programs: 3 },
    Peer { name: "sudo", words: &[SUDO, "-n", "-u", "payload1", "--"], base: Some("C linger"), settings: LINGER, programs: 2 },
];

impl Peer {
    /// Those that are to be measured here.
    pub(crate) fn chosen(without: &[String]) -> Vec<Self> {
        let wanted = |peer: &Self| !without.iter().any(|word| peer.name.starts_with(word.as_str()));
        let here = |peer: &Self| !peer.words.contains(&SUDO) || Path::new(SUDO).exists();
        PEERS.into_iter().filter(|peer| wanted(peer) && here(peer)).collect()
    }

    /// The line that runs a program this way.
    pub(crate) fn line(&self, program: &[&str]) -> Vec<String> {
        self.words.iter().chain(program).map(|word| (*word).to_owned()).collect()
    }

    /// Whether it really is this way: the program runs, and as whom it should.
    pub(crate) fn prove(&self, site: &Site) -> Result<()> {
        site.settings(self.settings);
        let who = if self.words.is_empty() { accounts::PILOT } else { accounts::PAYLOAD1 };
        let ran = site.program(self.line(&["/usr/bin/id", "-u"])).run();
        let name = self.name;
        ensure!(
            ran.code == Some(0) && ran.output().trim() == who.to_string(),
            "{name} cannot launch: {ran:#?}"
        );
        Ok(())
    }
}

/// Installs what the chosen peers need.
pub(crate) fn install(site: &Site, peers: &[Peer]) -> Result<()> {
    let needs = |word| peers.iter().any(|peer| peer.words.contains(&word));
    if needs(GLEXEC) {
        site.install_built().context("`--without glexec` measures the others")?;
    }
    if needs(SUDO) {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
        // No look-up of the host's name leaves the machine; no ageing of passwords is asked about.
        site.file("/etc/hosts", format!("127.0.0.1 localhost {host}"), 0o644);
        site.file(
            "/etc/shadow",
            "root:*:19000::::::\npilot:*:19000::::::\npayload1:*:19000::::::\n",
            0o600,
        );
        site.file("/etc/sudoers", SUDOERS, 0o440);
    }
    compile(site, "features.c", FEATURES, 0o4755)?;
    compile(site, "empty.c", EMPTY, 0o755)?;
    let _ = std::fs::remove_file(site.path(EPILOGUE));
    compile(site, "empty.c", EPILOGUE, 0o755)
}

fn compile(site: &Site, source: &str, to: &str, mode: u32) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench").join(source);
    let made = site.base().join("compiled");
    let gcc = Command::new("gcc").args(C_FLAGS).arg("-o").arg(&made).arg(&source).output();
    let gcc = gcc.context("gcc cannot be run; the C programs need it and libc6-dev")?;
    ensure!(gcc.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&gcc.stderr));
    site.install(&made, to, mode)
}
