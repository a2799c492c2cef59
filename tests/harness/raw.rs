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

/// Adds keys to the session keyring until there is no room for one more; says what stopped it. In
/// the user's keyring they would stay when all of the user's processes are gone.
pub fn hoard_keys() -> Errno {
    let secret = [b'.'; 1000];
    for size in [1000, 1] {
        for number in 0..10_000 {
            let label = CString::new(format!("hoard-{size}-{number}")).expect("no NUL");
            // SAFETY: NUL-ended strings and `size` bytes of `secret`, all only read.
            let key = unsafe {
                libc::syscall(
                    libc::SYS_add_key,
                    c"user".as_ptr(),
                    label.as_ptr(),
                    secret.as_ptr(),
                    size,
                    -3,
                )
            };
            if key < 0 {
                break;
            }
        }
    }
    Errno::last()
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

/// prctl(2) with three numbers.
///
/// # Errors
/// prctl(2)'s.
pub fn control_with(option: c_int, numbers: [c_ulong; 3]) -> Result<c_int, Errno> {
    let [first, second, third] = numbers;
    // SAFETY: every option the tests use takes plain numbers.
    Errno::result(unsafe { libc::prctl(option, first, second, third, 0 as c_ulong) })
}

/// Whether reading the processor's time stamp counter ends this process: `PR_GET_TSC`'s number.
///
/// # Errors
/// prctl(2)'s.
pub fn time_stamp_counter() -> Result<c_int, Errno> {
    let mut how: c_int = 0;
    let zero: c_ulong = 0;
    // SAFETY: writes one int.
    Errno::result(unsafe { libc::prctl(libc::PR_GET_TSC, &raw mut how, zero, zero, zero) })?;
    Ok(how)
}

/// A scheduling class without parameters, an I/O priority, one processor, an execution domain, and
/// memory of node 0 alone.
///
/// # Errors
/// Of the first call that failed.
pub fn set_placement() -> Result<(), Errno> {
    let (none, first, nodes) = (0i32, [1u64; 1], [1u64; 1]);
    // SAFETY: reads one int, the whole of struct sched_param.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_BATCH, &raw const none)
    })?;
    // SAFETY: numbers only: this process, the idle class.
    Errno::result(unsafe { libc::syscall(libc::SYS_ioprio_set, 1, 0, 3 << 13) })?;
    // SAFETY: reads eight bytes.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&first), first.as_ptr())
    })?;
    // SAFETY: numbers only. UNAME26, which a setuid exec does not clear.
    Errno::result(unsafe { libc::personality(0x0002_0000) })?;
    // SAFETY: MPOL_PREFERRED (1); reads eight bytes.
    let done = unsafe { libc::syscall(libc::SYS_set_mempolicy, 1, nodes.as_ptr(), 64usize) };
    match Errno::result(done) {
        // A kernel without NUMA has no such policy.
        Ok(_) | Err(Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Has keys that are asked for go to the session keyring.
pub fn set_key_destination() {
    // SAFETY: numbers only: KEYCTL_SET_REQKEY_KEYRING, KEY_REQKEY_DEFL_SESSION_KEYRING.
    unsafe { libc::syscall(libc::SYS_keyctl, 14, 3) };
}

/// A signal's handler, flags and mask, as the kernel has them.
pub fn disposition(signal: c_int) -> String {
    let mut action = [0u64; 4];
    // SAFETY: as large as the kernel's struct sigaction, which is written into it.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, 0usize, action.as_mut_ptr(), 8usize) };
    let kind = match action[0] {
        0 => "default",
        1 => "ignored",
        _ => "handled",
    };
    format!("{kind}/{:x}", action[3])
}

/// What system calls tell of this process's settings and /proc does not.
pub fn settings() -> Vec<(String, String)> {
    const GETS: [(&str, c_int, c_ulong); 17] = [
        ("PR_GET_DUMPABLE", 3, 0),
        ("PR_GET_KEEPCAPS", 7, 0),
        ("PR_GET_TIMING", 13, 0),
        ("PR_GET_SECCOMP", 21, 0),
        ("PR_GET_SECUREBITS", 27, 0),
        ("PR_GET_TIMERSLACK", 30, 0),
        ("PR_MCE_KILL_GET", 34, 0),
        ("PR_GET_NO_NEW_PRIVS", 39, 0),
        ("PR_GET_THP_DISABLE", 42, 0),
        ("PR_GET_SPECULATION_CTRL 0", 52, 0),
        ("PR_GET_SPECULATION_CTRL 1", 52, 1),
        ("PR_GET_SPECULATION_CTRL 2", 52, 2),
        ("PR_GET_TAGGED_ADDR_CTRL", 56, 0),
        ("PR_GET_IO_FLUSHER", 58, 0),
        ("PR_GET_MDWE", 66, 0),
        ("PR_GET_MEMORY_MERGE", 68, 0),
        ("PR_GET_AUXV", 0x4155_5856, 0),
    ];
    let told = |done: Result<i64, Errno>| done.map_or_else(|e| e.to_string(), |n| n.to_string());
    let call = |done: i64| told(Errno::result(done));
    let mut all: Vec<(String, String)> = GETS
        .iter()
        .map(|(name, option, value)| {
            ((*name).to_owned(), told(control(*option, *value).map(i64::from)))
        })
        .collect();
    let mut add = |name: &str, text: String| all.push((name.to_owned(), text));
    let zero: c_ulong = 0;
    for (name, option) in
        [("PR_GET_PDEATHSIG", 2), ("PR_GET_TSC", 25), ("PR_GET_CHILD_SUBREAPER", 37)]
    {
        let mut value: c_int = 0;
        // SAFETY: each of the three writes one int.
        let done = unsafe { libc::prctl(option, &raw mut value, zero, zero, zero) };
        add(name, told(Errno::result(done).map(|_| value.into())));
    }
    let mut cookie = 0u64;
    // SAFETY: PR_SCHED_CORE_GET writes one u64.
    let done = unsafe { libc::prctl(62, zero, zero, zero, &raw mut cookie) };
    add("PR_SCHED_CORE_GET", told(Errno::result(done).map(|_| i64::from(cookie != 0))));
    let mut attributes = [0u32; 14];
    // SAFETY: writes at most the 56 bytes that `attributes` has.
    unsafe { libc::syscall(libc::SYS_sched_getattr, 0, attributes.as_mut_ptr(), 56, 0) };
    add("sched_getattr", format!("{attributes:?}"));
    // SAFETY: numbers only: this process.
    add("ioprio_get", call(unsafe { libc::syscall(libc::SYS_ioprio_get, 1, 0) }));
    let (mut mode, mut nodes) = (0 as c_int, [0u64; 16]);
    // SAFETY: writes one int and at most 1024 bits.
    let done = unsafe {
        libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, nodes.as_mut_ptr(), 1024, 0, 0)
    };
    add("get_mempolicy", format!("{} {mode} {nodes:?}", call(done)));
    for which in 0..3 {
        let mut timer = [0i64; 4];
        // SAFETY: struct itimerval is four 64-bit words.
        unsafe { libc::syscall(libc::SYS_getitimer, which, timer.as_mut_ptr()) };
        add(&format!("getitimer {which}"), (timer != [0; 4]).to_string());
    }
    // SAFETY: numbers only: KEYCTL_SET_REQKEY_KEYRING, no change.
    add("reqkey keyring", call(unsafe { libc::syscall(libc::SYS_keyctl, 14, -1) }));
    for (name, id) in [("thread", -1), ("process", -2), ("session", -3), ("user", -4)] {
        add(&format!("{name} keyring"), keyring(id));
    }
    all
}

/// A keyring's description and how many keys are in it.
fn keyring(id: c_int) -> String {
    const KEYCTL_DESCRIBE: c_int = 6;
    const KEYCTL_READ: c_int = 11;
    let mut text = [0u8; 256];
    // SAFETY: `text` is valid for its length and only written.
    let length = unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_DESCRIBE, id, text.as_mut_ptr(), text.len())
    };
    // SAFETY: no room is given: only the length is told.
    let size = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_READ, id, 0usize, 0usize) };
    match Errno::result(length) {
        Err(errno) => errno.to_string(),
        Ok(length) => {
            let length = usize::try_from(length).unwrap_or(0).saturating_sub(1).min(text.len());
            let text = String::from_utf8_lossy(text.get(..length).unwrap_or_default()).into_owned();
            format!("{text} {} keys", size / 4)
        }
    }
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
