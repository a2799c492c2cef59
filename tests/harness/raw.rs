//! The system calls that no safe crate offers, with plain values in and out. All unsafe code of
//! the tests is here.
#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid};
use std::ffi::{CString, c_char, c_int, c_ulong};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr::null;
use std::sync::{PoisonError, RwLock};

/// Held exclusively from a fork to the child's exec or end, and shared while a file is written:
/// a child that has a copy of a writable descriptor makes running that file "text file busy".
pub static FORKING: RwLock<()> = RwLock::new(());

/// Runs `child` in a new process, which exits with what it returns.
///
/// # Errors
/// fork(2)'s.
pub fn fork(child: impl FnOnce() -> i32) -> Result<Pid, Errno> {
    // SAFETY: the child of a program with threads uses only system calls and the allocator, for
    // which the C library holds its locks over fork; it never returns into the caller.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = child();
            // SAFETY: ends this process without running what the parent registered.
            unsafe { libc::_exit(code) }
        }
    }
}

/// An argument or environment block, its pointers laid out before any limit is lowered.
#[derive(Debug)]
pub struct Block {
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Block {
    /// Lays out the strings.
    pub fn new(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
        pointers.push(null());
        Self { strings, pointers }
    }

    /// How many strings there are.
    pub fn count(&self) -> usize {
        self.strings.len()
    }
}

/// execve(2); returns only where it failed. An empty `argv` is argc 0.
pub fn exec(path: &CString, argv: &Block, environment: &Block) -> Errno {
    // SAFETY: both blocks are null-ended arrays of NUL-ended strings that they own.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), environment.pointers.as_ptr()) };
    Errno::last()
}

/// `posix_spawn(3)`: a new process that shares this one's memory until its exec, so that nothing is
/// copied however large this one is.
///
/// # Errors
/// `posix_spawn(3)`'s, exec's among them.
pub fn spawn(path: &CString, argv: &Block, environment: &Block) -> Result<Pid, Errno> {
    let (argv, environment) = (argv.pointers.as_ptr().cast(), environment.pointers.as_ptr().cast());
    let mut pid = 0;
    // SAFETY: both blocks are null-ended arrays of NUL-ended strings that they own, and are only
    // read; no file actions, no attributes; writes `pid`.
    let errno = unsafe {
        libc::posix_spawn(&raw mut pid, path.as_ptr(), null(), null(), argv, environment)
    };
    match errno {
        0 => Ok(Pid::from_raw(pid)),
        _ => Err(Errno::from_raw(errno)),
    }
}

/// Closes a descriptor by number, open or not.
pub fn close(fd: RawFd) {
    // SAFETY: for a child between fork and exec, where nothing owns the number any more.
    unsafe { libc::close(fd) };
}

/// dup2(2) onto any number; the copy stays open over exec.
///
/// # Errors
/// dup2(2)'s.
pub fn put(from: RawFd, onto: RawFd) -> Result<(), Errno> {
    // SAFETY: for a child between fork and exec, where nothing owns `onto`.
    Errno::result(unsafe { libc::dup2(from, onto) }).map(drop)
}

/// A copy at 200 or above that ends with exec, out of the way of every number a test asks for.
///
/// # Errors
/// fcntl(2)'s.
pub fn out_of_the_way(fd: RawFd) -> Result<RawFd, Errno> {
    // SAFETY: numbers in, number out.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 200) })
}

/// Everything from this number on ends with exec (Linux 5.11).
///
/// # Errors
/// `close_range(2)`'s.
pub fn end_with_exec_from(first: u32) -> Result<(), Errno> {
    const CLOEXEC: u32 = 4;
    // SAFETY: closes nothing; numbers only.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOEXEC) })
        .map(drop)
}

/// Takes charge of a descriptor this process inherited by number.
pub fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: the number was given to this program on its command line for itself alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Real, effective and saved ids of this thread alone, which in a fresh child is all there is.
///
/// # Errors
/// Of the first call that failed.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: `groups` is valid for its length and only read.
    Errno::result(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    // SAFETY: numbers only.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: numbers only.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Sets a disposition to ignored, or to default.
pub fn set_ignored(signal: c_int, ignored: bool) {
    let action: [u64; 4] = [u64::from(ignored), 0, 0, 0];
    // SAFETY: as large as the kernel's struct sigaction, only read; installs no handler.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const action, 0usize, 8usize) };
}

/// Blocks exactly these signals: bit n-1 for signal n.
pub fn set_mask(mask: u64) {
    // SAFETY: reads eight bytes, writes nothing.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, 0usize, 8usize)
    };
}

/// Arms one of the interval timers, once, in milliseconds.
pub fn arm_timer(which: c_int, milliseconds: i64) {
    let none = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let some = libc::timeval { tv_sec: milliseconds / 1000, tv_usec: (milliseconds % 1000) * 1000 };
    let timer = libc::itimerval { it_interval: none, it_value: some };
    // SAFETY: reads `timer`, asks for no old value.
    unsafe { libc::syscall(libc::SYS_setitimer, which, &raw const timer, 0usize) };
}

/// prctl(2) with one number.
///
/// # Errors
/// prctl(2)'s.
pub fn control(option: c_int, value: c_ulong) -> Result<c_int, Errno> {
    // SAFETY: every option the tests use takes plain numbers.
    Errno::result(unsafe { libc::prctl(option, value, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) })
}

/// Makes the terminal on `fd` the controlling one of this session.
///
/// # Errors
/// ioctl(2)'s.
pub fn take_terminal(fd: RawFd) -> Result<(), Errno> {
    // SAFETY: numbers only.
    Errno::result(unsafe { libc::ioctl(fd, libc::TIOCSCTTY, 0) }).map(drop)
}

/// Pushes one byte into the terminal's input, as if somebody had typed it.
///
/// # Errors
/// ioctl(2)'s.
pub fn type_into(fd: RawFd, byte: u8) -> Result<(), Errno> {
    // SAFETY: reads one byte.
    Errno::result(unsafe { libc::ioctl(fd, libc::TIOCSTI, &raw const byte) }).map(drop)
}

/// A descriptor for a child of ours, readable when it has ended.
///
/// # Errors
/// `pidfd_open(2)`'s.
pub fn pidfd(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: numbers in, a new descriptor or -1 out.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    Ok(adopt(i32::try_from(fd).unwrap_or(-1)))
}

/// The serial number of this process's session keyring, and its description.
pub fn session_keyring() -> (i64, String) {
    const KEYCTL_GET_KEYRING_ID: c_int = 0;
    const KEYCTL_DESCRIBE: c_int = 6;
    // SAFETY: numbers only.
    let id = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_GET_KEYRING_ID, -3, 0) };
    let mut text = [0u8; 256];
    // SAFETY: `text` is valid for its length and only written.
    let length = unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_DESCRIBE, id, text.as_mut_ptr(), text.len())
    };
    let length = usize::try_from(length).unwrap_or(0).min(text.len());
    (id, String::from_utf8_lossy(text.get(..length).unwrap_or_default()).into_owned())
}

/// Joins a new named session keyring, as a login does, and puts a key into it.
pub fn join_keyring_with_secret(name: &CString) {
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: `name` is NUL-ended.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    let secret = b"secret";
    let (kind, label) = (c"user", c"e2e-secret");
    // SAFETY: NUL-ended strings and `secret` with its length, all only read.
    unsafe {
        libc::syscall(
            libc::SYS_add_key,
            kind.as_ptr(),
            label.as_ptr(),
            secret.as_ptr(),
            secret.len(),
            -3,
        )
    };
}

/// Whether a key of this kind and name can be found in the session keyring.
pub fn finds_secret() -> bool {
    let (kind, label) = (c"user", c"e2e-secret");
    // SAFETY: NUL-ended strings, only read.
    let id = unsafe {
        libc::syscall(libc::SYS_request_key, kind.as_ptr(), label.as_ptr(), null::<c_char>(), 0)
    };
    id > 0
}

/// Nanoseconds of the monotonic clock, the same for every process.
pub fn now_ns() -> u64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes `at`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut at) };
    u64::try_from(at.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(at.tv_nsec).unwrap_or(0)
}

/// Milliseconds left on the real interval timer, 0 where it is not armed.
pub fn timer_left() -> i64 {
    let none = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let mut timer = libc::itimerval { it_interval: none, it_value: none };
    // SAFETY: writes `timer`.
    unsafe { libc::syscall(libc::SYS_getitimer, libc::ITIMER_REAL, &raw mut timer) };
    timer.it_value.tv_sec * 1000 + timer.it_value.tv_usec / 1000
}

/// Sets the nice value.
///
/// # Errors
/// setpriority(2)'s.
pub fn set_nice(nice: i32) -> Result<(), Errno> {
    // SAFETY: numbers only.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }).map(drop)
}

/// Makes every capability that this process is permitted inheritable.
///
/// # Errors
/// capset(2)'s.
pub fn set_inheritable() -> Result<(), Errno> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let mut sets = [0u32; 6];
    // SAFETY: header is two words, sets six, as version 3 wants; both are ours.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) })?;
    (sets[2], sets[5]) = (sets[1], sets[4]);
    // SAFETY: as above, only read.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) })
        .map(drop)
}

/// Sends a signal as somebody else; what kill(2) said to them.
///
/// # Errors
/// kill(2)'s.
pub fn kill_as((uid, gid): (u32, u32), pid: i32, signal: i32) -> Result<(), Errno> {
    let _alone = FORKING.write().unwrap_or_else(PoisonError::into_inner);
    let child = fork(|| match become_user(uid, gid, &[]).and_then(|()| kill(pid, signal)) {
        Ok(()) => 0,
        Err(errno) => errno as i32,
    })?;
    match nix::sys::wait::waitpid(child, None)? {
        nix::sys::wait::WaitStatus::Exited(_, 0) => Ok(()),
        nix::sys::wait::WaitStatus::Exited(_, code) => Err(Errno::from_raw(code)),
        other => panic!("{other:?}"),
    }
}

/// Sends any signal, the C library's own two included.
///
/// # Errors
/// kill(2)'s.
pub fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: numbers only.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// How a child ended, as the status word of wait(2); `None` where it has not. nix knows no
/// real-time signals.
///
/// # Errors
/// waitpid(2)'s.
pub fn reap(pid: Pid) -> Result<Option<c_int>, Errno> {
    let mut status = 0;
    // SAFETY: writes `status`.
    let got = unsafe { libc::waitpid(pid.as_raw(), &raw mut status, libc::WNOHANG) };
    Ok((Errno::result(got)? > 0).then_some(status))
}

/// Locks a pipe as any user can: splice(2) from a socket on which nothing comes holds the pipe's
/// mutex, and with it every read, write and last close of it. Until `idle`'s peer is closed.
pub fn splice(idle: RawFd, pipe: RawFd) {
    let none = std::ptr::null_mut();
    // SAFETY: numbers and null pointers only.
    unsafe { libc::splice(idle, none, pipe, none, 4096, 0) };
}

/// A child that sends no signal at its end (`clone(2)`, termination signal 0).
///
/// # Errors
/// clone(2)'s.
pub fn fork_silently(child: impl FnOnce() -> i32) -> Result<Pid, Errno> {
    // SAFETY: without CLONE_VM this is fork(2); the child makes system calls only and ends.
    let pid = Errno::result(unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) })?;
    if pid == 0 {
        let code = child();
        // SAFETY: ends this process without running what the parent registered.
        unsafe { libc::_exit(code) };
    }
    Ok(Pid::from_raw(i32::try_from(pid).unwrap_or(-1)))
}

/// Ends this thread alone, and no other of the process, whoever leads it.
pub fn end_thread() -> ! {
    // SAFETY: the calling thread ends; it holds nothing that others wait for.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("exit(2) does not return");
}

/// Forks; true in the parent. For programs of one thread.
///
/// # Errors
/// fork(2)'s.
pub fn go_down() -> Result<bool, Errno> {
    // SAFETY: one thread, so the child is a whole copy of the program.
    Ok(matches!(unsafe { nix::unistd::fork() }?, ForkResult::Parent { .. }))
}

/// Goes on in a child; the process that called it exits at once. For programs of one thread.
///
/// # Errors
/// fork(2)'s; then nothing has changed.
pub fn pass_on() -> Result<(), Errno> {
    // SAFETY: one thread, so the child is a whole copy of the program.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => Ok(()),
        // SAFETY: ends this process without running what the program registered.
        ForkResult::Parent { .. } => unsafe { libc::_exit(0) },
    }
}

/// Has `end` called when this program ends by itself: `main` returned, or exit(3).
pub fn at_exit(end: extern "C" fn()) {
    // SAFETY: a function of this program, which stays where it is until the end.
    unsafe { libc::atexit(end) };
}
