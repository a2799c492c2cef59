//! Processes and descriptors as the kernel shows them.

use crate::Birth;
use crate::kernel;
use crate::proc_format::{Signals, Stat, children, signals, uids};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, statfs};
use nix::unistd::{Pid, Uid, dup2_stderr, dup2_stdin, dup2_stdout};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd};

/// Whether /proc is there, is a /proc, and is that of this pid namespace.
pub fn proc_is_usable() -> bool {
    // One of another pid namespace tells numbers that are not ours: root would signal strangers.
    let of_ours = nix::fcntl::readlink("/proc/self").is_ok_and(|to| to == *Pid::this().to_string());
    of_ours && statfs("/proc").is_ok_and(|fs| fs.filesystem_type() == PROC_SUPER_MAGIC)
}

/// Opens a file of /proc.
pub fn open_proc(path: &str) -> Result<OwnedFd, Errno> {
    // musl follows an open(2) that closes on exec with an fcntl(2), and no openat(2).
    openat(AT_FDCWD, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}

/// How the kernel shows a file of /proc.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// As a whole (`single_open`, and sysctls): what a read with room to spare does not give is not
    /// there.
    Whole,
    /// Piece by piece: a read that gives nothing is the end.
    Pieces,
}

/// Reads a small file of /proc; `None` where the process is gone.
///
/// # Errors
/// Where the kernel does not say, or says more than 16 MiB: that is never "gone".
fn read(path: &str, shown: Shown) -> Result<Option<Vec<u8>>, Errno> {
    /// Above 6 MiB of environment (execve(2)) and 100,000 mounts, the most that sysctl
    /// `fs.mount-max` allows by default.
    const MOST: u64 = 16 << 20;
    let file = match open_proc(path) {
        Err(Errno::ENOENT | Errno::ESRCH) => return Ok(None),
        opened => opened?,
    };
    let mut room = [0; 2048];
    let mut text = Vec::with_capacity(room.len());
    if shown == Shown::Whole {
        let length = match nix::unistd::read(&file, &mut room) {
            Err(Errno::ESRCH) => return Ok(None),
            read => read?,
        };
        text.extend_from_slice(room.get(..length).unwrap_or_default());
        if length < room.len() {
            return Ok(Some(text));
        }
    }
    match File::from(file).take(MOST + 1).read_to_end(&mut text) {
        // What was cut off may be what is looked for.
        Ok(length) if length as u64 > MOST => Err(Errno::EOVERFLOW),
        Ok(_) => Ok(Some(text)),
        Err(e) => match e.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ESRCH) => Ok(None),
            Some(errno) => Err(errno),
            None => Err(Errno::EIO),
        },
    }
}

/// A file of /proc as text.
///
/// # Errors
/// Where it cannot be read, or is not there.
pub fn read_text(path: &str) -> Result<String, Errno> {
    read(path, Shown::Pieces)?.ok_or(Errno::ENOENT).map(text)
}

/// The same of a file that the kernel shows as a whole: /proc/PID/cgroup, and every sysctl.
///
/// # Errors
/// As [`read_text`].
pub fn read_whole(path: &str) -> Result<String, Errno> {
    read(path, Shown::Whole)?.ok_or(Errno::ENOENT).map(text)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|other| String::from_utf8_lossy(other.as_bytes()).into_owned())
}

/// What /proc shows of the signals of this process; `None` where it does not.
pub fn own_signals() -> Option<Signals> {
    read("/proc/self/status", Shown::Whole).ok().flatten().and_then(|status| signals(&status))
}

/// What /proc/PID/stat says; `None` where the process is gone.
///
/// # Errors
/// Where the kernel does not say.
pub fn stat_of(pid: Pid) -> Result<Option<Stat>, Errno> {
    let text = read(&format!("/proc/{pid}/stat"), Shown::Whole)?;
    text.map(|text| Stat::parse(&text).ok_or(Errno::EIO)).transpose()
}

/// A process that lives, by pid and birth; `None` where it is gone.
///
/// # Errors
/// Where the kernel does not say.
pub fn birth(pid: Pid) -> Result<Option<Birth>, Errno> {
    Ok(stat_of(pid)?.map(|stat| Birth { pid: pid.as_raw(), start: stat.start }))
}

/// The birth of a process that is there for certain: this one, or a child that is not reaped.
///
/// # Errors
/// Where the kernel does not say.
pub fn own_birth(pid: Pid) -> Result<Birth, Errno> {
    birth(pid)?.ok_or(Errno::ESRCH)
}

/// Whether this process has a controlling terminal.
pub fn has_terminal() -> bool {
    // Where that cannot be told it may have one.
    let own = read("/proc/self/stat", Shown::Whole).ok().flatten();
    own.and_then(|text| Stat::parse(&text)).is_none_or(|stat| stat.terminal != 0)
}

/// Whether this process is in a user namespace of somebody's own making.
///
/// # Errors
/// Where /proc does not say.
pub fn in_user_namespace() -> Result<bool, Errno> {
    let map = read_text("/proc/self/uid_map")?;
    let mut fields = map.split_ascii_whitespace();
    Ok((fields.next(), fields.next(), fields.next()) != (Some("0"), Some("0"), Some("4294967295")))
}

/// Whether this process is root by a user namespace that its caller has made, and not by the setuid
/// bit: the program's own file belongs to nobody there.
pub fn is_root_by_namespace() -> bool {
    let of_root = nix::sys::stat::stat("/proc/self/exe").is_ok_and(|exe| exe.st_uid == 0);
    !of_root && in_user_namespace() == Ok(true)
}

/// The children of this process. Not exact while they come and go.
///
/// # Errors
/// Where the kernel does not say.
pub fn own_children() -> Result<Vec<Pid>, Errno> {
    match read("/proc/thread-self/children", Shown::Pieces)? {
        Some(text) => Ok(children(&String::from_utf8_lossy(&text))),
        None => children_by_scan(Pid::this()),
    }
}

/// The children of another process, those of all its threads; none where it is gone. Not exact
/// while they come and go.
///
/// # Errors
/// Where the kernel does not say.
pub fn children_of(pid: Pid) -> Result<Vec<Pid>, Errno> {
    let Some(threads) = numbered_entries(&format!("/proc/{pid}/task"))? else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for tid in threads {
        if let Some(text) = read(&format!("/proc/{pid}/task/{tid}/children"), Shown::Pieces)? {
            all.extend(children(&String::from_utf8_lossy(&text)));
        }
    }
    Ok(all)
}

/// Kernels without CONFIG_PROC_CHILDREN.
fn children_by_scan(parent: Pid) -> Result<Vec<Pid>, Errno> {
    let mut found = Vec::new();
    for pid in all()? {
        if stat_of(pid)?.is_some_and(|stat| stat.parent == parent) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// The names of a directory of /proc that are numbers; `None` where its process is gone.
fn numbered_entries(path: &str) -> Result<Option<Vec<i32>>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut numbers = Vec::new();
    let number =
        |name: &[u8]| std::str::from_utf8(name).ok().and_then(|name| name.parse::<i32>().ok());
    let listed = openat(AT_FDCWD, path, flags, Mode::empty()).and_then(|directory| {
        kernel::for_each_name(directory.as_fd(), |name| numbers.extend(number(name)))
    });
    match listed {
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        listed => listed.map(|()| Some(numbers)),
    }
}

/// The number of every descriptor that is open now.
///
/// # Errors
/// Where /proc does not say.
pub fn open_descriptors() -> Result<Vec<i32>, Errno> {
    numbered_entries("/proc/self/fd")?.ok_or(Errno::ENOENT)
}

/// Every process there is. There is always one: an empty list is an error.
///
/// # Errors
/// Where the kernel does not say.
pub fn all() -> Result<Vec<Pid>, Errno> {
    let pids = numbered_entries("/proc")?.filter(|pids| !pids.is_empty()).ok_or(Errno::ENOENT)?;
    Ok(pids.into_iter().filter(|pid| *pid > 1).map(Pid::from_raw).collect())
}

/// Whether `pid` descends from this process, as far as living parents tell. Where that cannot be
/// told it does not: what it sent is passed on to the payload, at worst for a second time.
pub fn is_descendant(pid: Pid) -> bool {
    const DEEPEST: usize = 10_000;
    let own = Pid::this();
    let mut at = pid;
    for _ in 0..DEEPEST {
        match stat_of(at) {
            Ok(Some(stat)) if stat.parent == own => return true,
            Ok(Some(stat)) if stat.parent.as_raw() > 1 => at = stat.parent,
            Ok(Some(_) | None) | Err(_) => return false,
        }
    }
    false
}

/// Real, effective and saved uid of a process; `None` where it is gone.
///
/// # Errors
/// Where the kernel does not say.
pub fn uids_of(pid: Pid) -> Result<Option<[Uid; 3]>, Errno> {
    let text = read(&format!("/proc/{pid}/status"), Shown::Whole)?;
    text.map(|text| uids(&String::from_utf8_lossy(&text)).ok_or(Errno::EIO)).transpose()
}

/// Makes 0, 1 or 2 stand for what `file` stands for, in this process and past exec.
///
/// # Errors
/// dup2(2)'s; EBADF for any other number, for which something of this program's may stand.
pub fn put(file: &OwnedFd, number: i32) -> Result<(), Errno> {
    match number {
        libc::STDIN_FILENO => dup2_stdin(file),
        libc::STDOUT_FILENO => dup2_stdout(file),
        libc::STDERR_FILENO => dup2_stderr(file),
        _ => Err(Errno::EBADF),
    }
}

/// Another descriptor for what `number` stands for.
pub fn duplicate(number: i32) -> Result<OwnedFd, Errno> {
    use nix::fcntl::{FcntlArg, fcntl};
    let copy = fcntl(kernel::borrow(number), FcntlArg::F_DUPFD_CLOEXEC(3))?;
    Ok(kernel::adopt(copy))
}

/// /dev/null, for reading and writing.
pub fn dev_null() -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    openat(AT_FDCWD, "/dev/null", flags, Mode::empty())
}

/// The name by which /proc knows an open descriptor.
pub fn descriptor_name(fd: BorrowedFd<'_>) -> Option<CString> {
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()
}

/// An extended attribute of an open file; `None` where it has none or its kind knows none.
pub fn attribute(file: BorrowedFd<'_>, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
    let path = descriptor_name(file).ok_or(Errno::EINVAL)?;
    match kernel::attribute(&path, name) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Makes a description of our own non-blocking.
pub fn make_non_blocking(file: &OwnedFd) -> Result<(), Errno> {
    use nix::fcntl::{FcntlArg, fcntl};
    fcntl(file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop)
}

/// Lowers this process's standing with the OOM killer, where that is permitted.
pub fn spare_from_oom() {
    const SPARED: &str = "-500";
    let _ = set_oom_score(SPARED);
}

/// Sets this process's standing with the OOM killer (`proc_pid_oom_score_adj(5)`).
pub fn set_oom_score(score: &str) -> Result<(), Errno> {
    write_own("/proc/self/oom_score_adj", score)
}

/// Sets what the kernel writes of this process into its core (core(5)).
pub fn set_coredump_filter(filter: &str) -> Result<(), Errno> {
    write_own("/proc/self/coredump_filter", filter)
}

fn write_own(path: &str, text: &str) -> Result<(), Errno> {
    let file = openat(AT_FDCWD, path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    nix::unistd::write(&file, text.as_bytes()).map(drop)
}

/// Whether this process has a controlling terminal that it cannot leave by setsid(2), because
/// it leads a process group.
pub fn leads_terminal_group() -> bool {
    nix::unistd::getpgrp() == Pid::this() && has_terminal()
}
