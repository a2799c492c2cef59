//! Processes and descriptors as the kernel shows them.

use super::root::Root;
use super::sys;
use crate::decide::entry::Birth;
use crate::decide::procfs::{Stat, children, uids};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, stat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, statfs};
use nix::unistd::{Pid, Uid};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Whether /proc is there, is a /proc, and is that of this pid namespace.
pub(super) fn proc_is_usable() -> bool {
    // One of another pid namespace tells numbers that are not ours: root would signal strangers.
    let of_ours = nix::fcntl::readlink("/proc/self").is_ok_and(|to| to == *Pid::this().to_string());
    of_ours && statfs("/proc").is_ok_and(|fs| fs.filesystem_type() == PROC_SUPER_MAGIC)
}

/// Opens a file of /proc.
pub(super) fn open_proc(path: &str) -> Option<OwnedFd> {
    open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()
}

/// Reads a small file of /proc; `None` where the process is gone.
fn read(path: &str) -> Option<Vec<u8>> {
    const LARGEST: u64 = 1 << 20;
    let file = open_proc(path)?;
    let mut text = Vec::with_capacity(1024);
    File::from(file).take(LARGEST).read_to_end(&mut text).ok()?;
    Some(text)
}

/// A file of /proc as text.
pub(super) fn read_text(path: &str) -> Option<String> {
    read(path).map(|text| String::from_utf8_lossy(&text).into_owned())
}

/// What /proc/PID/stat says.
pub(super) fn stat_of(pid: Pid) -> Option<Stat> {
    Stat::parse(&read(&format!("/proc/{pid}/stat"))?)
}

/// A process by pid and birth.
pub(super) fn birth(pid: Pid) -> Option<Birth> {
    stat_of(pid).map(|stat| Birth { pid: pid.as_raw(), start: stat.start })
}

/// Whether this process has a controlling terminal.
pub(super) fn has_terminal() -> bool {
    let own = read("/proc/self/stat").and_then(|text| Stat::parse(&text));
    own.is_none_or(|stat| stat.terminal != 0)
}

/// Whether this process is in a user namespace of somebody's own making.
pub(super) fn in_user_namespace() -> bool {
    let map = read("/proc/self/uid_map").unwrap_or_default();
    let map = String::from_utf8_lossy(&map);
    let mut fields = map.split_ascii_whitespace();
    (fields.next(), fields.next(), fields.next()) != (Some("0"), Some("0"), Some("4294967295"))
}

/// The children of a process, those of all its threads. Not exact while they come and go.
pub(super) fn children_of(pid: Pid) -> Vec<Pid> {
    if pid == Pid::this() {
        return match read("/proc/thread-self/children") {
            Some(text) => children(&String::from_utf8_lossy(&text)),
            None => children_by_scan(pid),
        };
    }
    let Ok(threads) = numbered_entries(&format!("/proc/{pid}/task")) else { return Vec::new() };
    let of_thread = |tid: i32| read(&format!("/proc/{pid}/task/{tid}/children"));
    let lists = threads.into_iter().filter_map(of_thread);
    lists.flat_map(|text| children(&String::from_utf8_lossy(&text))).collect()
}

/// Kernels without CONFIG_PROC_CHILDREN.
fn children_by_scan(parent: Pid) -> Vec<Pid> {
    let pids = numbered_entries("/proc").unwrap_or_default().into_iter().map(Pid::from_raw);
    pids.filter(|pid| stat_of(*pid).is_some_and(|stat| stat.parent == parent)).collect()
}

fn numbered_entries(path: &str) -> Result<Vec<i32>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut list = nix::dir::Dir::open(path, flags, Mode::empty())?;
    let names = list.iter().filter_map(|entry| entry.ok()?.file_name().to_str().ok()?.parse().ok());
    Ok(names.collect())
}

/// Whether `pid` descends from this process, as far as living parents tell.
pub(super) fn is_descendant(pid: Pid) -> bool {
    const DEEPEST: usize = 10_000;
    let own = Pid::this();
    let mut at = pid;
    for _ in 0..DEEPEST {
        match stat_of(at) {
            Some(stat) if stat.parent == own => return true,
            Some(stat) if stat.parent.as_raw() > 1 => at = stat.parent,
            Some(_) | None => return false,
        }
    }
    false
}

/// Real, effective and saved uid of a process.
pub(super) fn uids_of(pid: Pid) -> Option<[Uid; 3]> {
    uids(&String::from_utf8_lossy(&read(&format!("/proc/{pid}/status"))?))
}

/// Whether a process runs this very program as root alone: a nested run that owes something.
pub(super) fn is_nested_supervisor(pid: Pid) -> bool {
    let program =
        |pid: &str| stat(format!("/proc/{pid}/exe").as_str()).map(|s| (s.st_dev, s.st_ino)).ok();
    let root = [Uid::from_raw(0); 3];
    let same = program("self").is_some_and(|own| program(&pid.to_string()) == Some(own));
    same && uids_of(pid) == Some(root)
}

/// Makes `number` stand for what `file` stands for, in this process and past exec.
pub(super) fn put(file: &OwnedFd, number: i32) -> Result<(), Errno> {
    Errno::result(sys::duplicate_onto(file.as_fd(), number)).map(drop)
}

/// Another descriptor for what `number` stands for.
pub(super) fn duplicate(number: i32) -> Result<OwnedFd, Errno> {
    use nix::fcntl::{FcntlArg, fcntl};
    let copy = fcntl(sys::borrow(number), FcntlArg::F_DUPFD_CLOEXEC(3))?;
    Ok(sys::adopt(copy))
}

/// /dev/null, for reading and writing.
pub(super) fn dev_null() -> Result<OwnedFd, Errno> {
    open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOCTTY, Mode::empty())
}

/// The name by which /proc knows an open descriptor.
pub(super) fn descriptor_name(fd: BorrowedFd<'_>) -> Option<CString> {
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()
}

/// An extended attribute of an open file; `None` where it has none or its kind knows none.
pub(super) fn attribute(file: BorrowedFd<'_>, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
    let path = descriptor_name(file).ok_or(Errno::EINVAL)?;
    match sys::attribute(&path, name) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Makes a description of our own non-blocking.
pub(super) fn make_non_blocking(file: &OwnedFd) -> Result<(), Errno> {
    use nix::fcntl::{FcntlArg, fcntl};
    fcntl(file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop)
}

/// Lowers this process's standing with the OOM killer; gives what it was, where that worked.
pub(super) fn spare_from_oom(root: &Root) -> Option<String> {
    const SPARED: &str = "-500";
    let old = String::from_utf8(read("/proc/self/oom_score_adj")?).ok()?;
    set_oom_score(root, SPARED).then(|| old.trim().to_owned())
}

/// Sets this process's standing with the OOM killer (proc(5)).
pub(super) fn set_oom_score(_root: &Root, score: &str) -> bool {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let file = open("/proc/self/oom_score_adj", flags, Mode::empty());
    file.and_then(|file| nix::unistd::write(&file, score.as_bytes())).is_ok()
}

/// Whether this process has a controlling terminal that it cannot leave by setsid(2), because
/// it leads a process group.
pub(crate) fn leads_terminal_group() -> bool {
    nix::unistd::getpgrp() == Pid::this() && has_terminal()
}

/// Every process there is.
pub(super) fn all() -> Vec<Pid> {
    let pids = numbered_entries("/proc").unwrap_or_default();
    pids.into_iter().filter(|pid| *pid > 1).map(Pid::from_raw).collect()
}

/// Whether a process was given this environment entry at its exec.
pub(super) fn has_variable(pid: Pid, entry: &str) -> bool {
    let block = read(&format!("/proc/{pid}/environ")).unwrap_or_default();
    block.split(|byte| *byte == 0).any(|found| found == entry.as_bytes())
}
