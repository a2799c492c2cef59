//! Processes: made, executed, waited for, ended.

use super::new_descriptor;
use nix::errno::Errno;
use nix::unistd::{Pid, Uid};
use std::ffi::{CStr, CString, c_char, c_int, c_long};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

/// What waitid(2) tells: how a child ended and what it used.
#[derive(Debug, Clone, Copy)]
pub struct Waited {
    /// The child.
    pub pid: Pid,
    /// `CLD_EXITED`, `CLD_KILLED` and so on (waitid(2)).
    pub code: c_int,
    /// Exit code or signal number, as `code` says.
    pub status: c_int,
    /// User CPU time, microseconds.
    pub user_us: u64,
    /// System CPU time, microseconds.
    pub system_us: u64,
    /// Largest resident set, KiB.
    pub max_rss_kib: u64,
}

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The parent: its child is this.
    Parent(Pid),
    /// The child.
    Child,
}

unsafe extern "C" {
    static mut environ: *const *const c_char;
}

/// Takes the environment as it came, malformed entries and all, and leaves the process none.
pub fn take_environment() -> Vec<CString> {
    let mut taken = Vec::new();
    // SAFETY: one thread, nothing else touches `environ` while we read the pointer.
    let mut at = unsafe { environ };
    while !at.is_null() {
        // SAFETY: the kernel ends the array with a null pointer, at which this loop stops.
        let entry = unsafe { *at };
        if entry.is_null() {
            break;
        }
        // SAFETY: a non-null entry is a NUL-ended string on the initial stack, which stays.
        taken.push(unsafe { CStr::from_ptr(entry) }.to_owned());
        // SAFETY: `at` is not yet at the terminating null, so the next element exists.
        at = unsafe { at.add(1) };
    }
    // SAFETY: one thread; nobody holds a pointer into the array of pointers.
    unsafe { libc::clearenv() };
    taken
}

/// fork(2); memory is copied, never shared.
pub fn fork() -> Result<Side, Errno> {
    // SAFETY: one thread, so the child may do whatever the parent may.
    let pid = Errno::result(unsafe { libc::fork() })?;
    Ok(if pid == 0 { Side::Child } else { Side::Parent(Pid::from_raw(pid)) })
}

/// A child with the same descriptor table (its closing is our closing) and its own memory.
pub fn fork_sharing_descriptors() -> Result<Side, Errno> {
    let flags = c_long::from(libc::CLONE_FILES | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with no stack this is fork(2); the child only closes and exits.
    let pid = Errno::result(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    Ok(match i32::try_from(pid) {
        Ok(0) | Err(_) => Side::Child,
        Ok(pid) => Side::Parent(Pid::from_raw(pid)),
    })
}

/// Ends this process at once: no destructors, nothing flushed.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: never returns, touches no memory.
    unsafe { libc::_exit(c_int::from(code)) }
}

/// Strings for an exec with their pointers laid out, so that exec itself needs no memory.
#[derive(Debug)]
pub struct Block<'a> {
    pointers: Vec<*const c_char>,
    strings: std::marker::PhantomData<&'a CString>,
}

impl<'a> Block<'a> {
    /// Lays the pointers out.
    pub fn new(strings: impl Iterator<Item = &'a CString>) -> Self {
        let ends = std::iter::once(std::ptr::null());
        let pointers = strings.map(|s| s.as_ptr()).chain(ends).collect();
        Self { pointers, strings: std::marker::PhantomData }
    }
}

/// execve(2): returns only where it failed. Never searches, never runs a shell.
pub fn execute(path: &CStr, argv: &Block<'_>, environment: &Block<'_>) -> Errno {
    let (argv, environment) = (&argv.pointers, &environment.pointers);
    // SAFETY: both arrays end with a null pointer, and they and their strings outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), environment.as_ptr()) };
    Errno::last()
}

/// execveat(2) of an open file: returns only where it failed.
pub fn execute_descriptor(
    file: BorrowedFd<'_>,
    argv: &Block<'_>,
    environment: &Block<'_>,
) -> Errno {
    let (argv, environment) = (&argv.pointers, &environment.pointers);
    // SAFETY: as execve; the empty path with AT_EMPTY_PATH means the descriptor itself.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}

/// waitid(2) with resource usage. `pid` `None` means any child. `Ok(None)`: none has ended yet.
pub fn wait(pid: Option<Pid>, options: c_int) -> Result<Option<Waited>, Errno> {
    let (kind, id) = pid.map_or((libc::P_ALL, 0), |p| (libc::P_PID, p.as_raw()));
    // SAFETY: all-zero is a valid siginfo_t and means "nobody" to waitid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: all-zero is a valid rusage.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    let options = options | libc::WNOHANG | libc::__WALL;
    // SAFETY: both structures are valid for writing and outlive the call.
    let done =
        unsafe { libc::syscall(libc::SYS_waitid, kind, id, &raw mut info, options, &raw mut used) };
    Errno::result(done)?;
    // SAFETY: the kernel has filled si_pid, or left the zero.
    let pid = unsafe { info.si_pid() };
    if pid == 0 {
        return Ok(None);
    }
    let us = |t: libc::timeval| {
        let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
        seconds * 1_000_000 + u64::try_from(t.tv_usec).unwrap_or(0)
    };
    Ok(Some(Waited {
        pid: Pid::from_raw(pid),
        code: info.si_code,
        // SAFETY: si_status is filled wherever si_pid is.
        status: unsafe { info.si_status() },
        user_us: us(used.ru_utime),
        system_us: us(used.ru_stime),
        max_rss_kib: u64::try_from(used.ru_maxrss).unwrap_or(0),
    }))
}

/// Whether there is a process, a zombie included, of this pid namespace whose real uid this is. The
/// kernel answers by its own books (getpriority(2), `PRIO_USER`), and asks for no right.
///
/// # Errors
/// getpriority(2)'s but ESRCH; EINVAL for root, of which there always is one.
pub fn has_process_of(uid: Uid) -> Result<bool, Errno> {
    if uid.is_root() {
        return Err(Errno::EINVAL);
    }
    // The call itself gives 1 to 40; the library's function could give -1 for a nice value.
    // SAFETY: numbers only.
    let nice = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_USER, uid.as_raw()) };
    match Errno::result(nice) {
        Ok(_) => Ok(true),
        Err(Errno::ESRCH) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Waits, for as long as it takes, until a child of ours has ended; it is not reaped.
pub fn wait_for_end(child: Pid) -> Result<(), Errno> {
    let options = libc::WEXITED | libc::WNOWAIT | libc::__WALL;
    let id = child.as_raw();
    loop {
        // SAFETY: with null pointers nothing is written (waitid(2), the call itself).
        let done =
            unsafe { libc::syscall(libc::SYS_waitid, libc::P_PID, id, 0usize, options, 0usize) };
        match Errno::result(done) {
            Err(Errno::EINTR) => {}
            done => return done.map(drop),
        }
    }
}

/// A descriptor that stands for a process (Linux 5.3).
pub fn pidfd(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: numbers in, a new descriptor out.
    new_descriptor(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })
}
