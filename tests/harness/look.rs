//! What a process sees of itself: identity, limits, signals, descriptors, environment.

use crate::{procfs, raw};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{getgroups, getpgrp, getpid, getppid, getresgid, getresuid, getsid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Soft and hard, by the name of setrlimit(2) without `RLIMIT_`; `u64::MAX` for none.
pub type Limits = BTreeMap<String, (u64, u64)>;

/// One look around.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Real, effective, saved, file-system uid.
    pub uids: Vec<u32>,
    /// Real, effective, saved, file-system gid.
    pub gids: Vec<u32>,
    /// The supplementary groups, sorted.
    pub groups: Vec<u32>,
    /// Inheritable, permitted, effective, bounding, ambient capabilities.
    pub capabilities: Vec<u64>,
    /// Bit n-1 for signal n.
    pub blocked: u64,
    /// Bit n-1 for signal n; PIPE is left out, which the Rust runtime ignores before main.
    pub ignored: u64,
    /// What each open descriptor is.
    pub descriptors: BTreeMap<i32, String>,
    /// Resource limits.
    pub limits: Limits,
    /// The file mode creation mask.
    pub umask: u32,
    /// The working directory.
    pub directory: String,
    /// The environment, raw, non-UTF-8 replaced.
    pub environment: Vec<String>,
    /// The arguments, non-UTF-8 as `\xNN`.
    pub arguments: Vec<String>,
    /// Process, parent, group, session.
    pub ids: [i32; 4],
    /// The controlling terminal's device number, 0 for none.
    pub terminal: i64,
    /// The nice value.
    pub nice: i64,
    /// Timer slack in nanoseconds.
    pub slack: i64,
    /// Milliseconds left on the real timer, 0 for none.
    pub timer: i64,
    /// The session keyring's description, and whether the caller's secret is in reach.
    pub keyring: (String, bool),
    /// Whether new privileges are out of reach.
    pub no_new_privs: bool,
}

impl Look {
    /// Looks.
    pub fn around() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let numbers = |name| -> Vec<u32> {
            let text = procfs::field(&status, name).unwrap_or_default();
            text.split_whitespace().filter_map(|n| n.parse().ok()).collect()
        };
        let hex = |name| {
            u64::from_str_radix(procfs::field(&status, name).unwrap_or_default(), 16).unwrap_or(0)
        };
        let mut groups: Vec<u32> =
            getgroups().unwrap_or_default().iter().map(|g| g.as_raw()).collect();
        groups.sort_unstable();
        let descriptors = descriptors();
        let stat = stat_fields();
        Self {
            uids: numbers("Uid"),
            gids: numbers("Gid"),
            groups,
            capabilities: ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(hex).to_vec(),
            blocked: hex("SigBlk"),
            ignored: hex("SigIgn") & !(1 << (libc::SIGPIPE - 1)),
            descriptors,
            limits: limits(),
            umask: current_umask(),
            directory: std::env::current_dir().unwrap_or_default().display().to_string(),
            environment: raw_environment(),
            arguments: std::env::args_os()
                .map(|a| a.as_bytes().escape_ascii().to_string())
                .collect(),
            ids: [getpid(), getppid(), getpgrp(), getsid(None).unwrap_or(getpid())]
                .map(nix::unistd::Pid::as_raw),
            terminal: stat.get(4).copied().unwrap_or(-1),
            nice: stat.get(16).copied().unwrap_or(-1),
            slack: i64::from(raw::control(libc::PR_GET_TIMERSLACK, 0).unwrap_or(-1)),
            timer: raw::timer_left(),
            keyring: (raw::session_keyring().1, raw::finds_secret()),
            no_new_privs: procfs::field(&status, "NoNewPrivs") == Some("1"),
        }
    }

    /// A variable's value.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// The real, effective and saved ids as the system calls tell them agree with /proc.
    pub fn ids_agree() -> bool {
        let (uids, gids) = (getresuid(), getresgid());
        uids.is_ok_and(|u| u.real == u.effective && u.real == u.saved)
            && gids.is_ok_and(|g| g.real == g.effective && g.real == g.saved)
    }
}

/// The fields of /proc/self/stat after the name: state is 0, parent 1, ...
fn stat_fields() -> Vec<i64> {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = text.rsplit_once(')').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
    after.split_whitespace().map(|word| word.parse().unwrap_or(-1)).collect()
}

fn descriptors() -> BTreeMap<i32, String> {
    let list = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let found = list.filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, fs::read_link(entry.path()).ok()?.display().to_string()))
    });
    // The list's own descriptor is gone by now, and its link says where it led.
    let own = format!("/proc/{}/fd", getpid());
    found.filter(|(_, to)| *to != own).collect()
}

fn limits() -> Limits {
    let names = [
        ("CPU", Resource::RLIMIT_CPU),
        ("FSIZE", Resource::RLIMIT_FSIZE),
        ("DATA", Resource::RLIMIT_DATA),
        ("STACK", Resource::RLIMIT_STACK),
        ("CORE", Resource::RLIMIT_CORE),
        ("NOFILE", Resource::RLIMIT_NOFILE),
        ("AS", Resource::RLIMIT_AS),
        ("NPROC", Resource::RLIMIT_NPROC),
    ];
    names.iter().map(|(name, r)| ((*name).to_owned(), getrlimit(*r).unwrap_or_default())).collect()
}

fn current_umask() -> u32 {
    let now = umask(Mode::empty());
    umask(now);
    now.bits()
}

/// As exec laid it down: std would drop malformed entries.
fn raw_environment() -> Vec<String> {
    let bytes = fs::read(Path::new("/proc/self/environ")).unwrap_or_default();
    let entries = bytes.split(|b| *b == 0).filter(|entry| !entry.is_empty());
    entries.map(|entry| String::from_utf8_lossy(entry).into_owned()).collect()
}
