//! What /proc says of processes.

use std::fs;
use std::path::{Path, PathBuf};

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// Its parent.
    pub parent: i32,
    /// One letter: R, S, D, Z, T ...
    pub state: char,
    /// Real, effective, saved and file-system uid.
    pub uids: Vec<u32>,
    /// The name, as the kernel has it.
    pub name: String,
}

impl Process {
    /// The process of this pid, if there is one.
    pub fn of(pid: i32) -> Option<Self> {
        let text = fs::read(format!("/proc/{pid}/status")).ok()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let uids = field(&text, "Uid")?.split_whitespace().filter_map(|n| n.parse().ok());
        Some(Self {
            pid,
            parent: field(&text, "PPid")?.parse().ok()?,
            state: field(&text, "State")?.chars().next()?,
            uids: uids.collect(),
            name: field(&text, "Name")?.to_owned(),
        })
    }

    /// Whether it has ended and is only not reaped yet.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// The text after `Name:` in /proc/PID/status or a file of that form.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(str::trim)
}

/// Every pid there is.
pub(crate) fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Every process that has this uid as one of its own.
pub fn processes(uid: u32) -> Vec<Process> {
    let all = pids().into_iter().filter_map(Process::of);
    all.filter(|process| process.uids.contains(&uid)).collect()
}

/// The mount namespace a process is in; `None` for one that is gone or a zombie.
pub(crate) fn mount_namespace(pid: i32) -> Option<PathBuf> {
    namespace(pid, "mnt")
}

/// A namespace a process is in, by its name in /proc/PID/ns.
pub(crate) fn namespace(pid: i32, kind: &str) -> Option<PathBuf> {
    fs::read_link(Path::new("/proc").join(pid.to_string()).join("ns").join(kind)).ok()
}
