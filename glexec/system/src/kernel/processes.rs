//! Processes: made, executed, waited for, ended.

use super::calls::{Numbers, Writes};
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
        // SAFETY: the kernel ends the array with a null pointer, at which this loop stops: `at` is
        // in the array.
        let entry = unsafe { *at };
        if entry.is_null() {
            break;
        }
        // SAFETY: a non-null entry is a NUL-ended string on the initial stack, which stays.
        taken.push(unsafe { CStr::from_ptr(entry) }.to_owned());
        at = at.wrapping_add(1);
    }
    // SAFETY: one thread; nobody holds a pointer into the array of pointers.
    unsafe { libc::clearenv() };
    taken
}

/// fork(2); memory is copied, never shared. The call itself: with one thread and no handlers there is
/// nothing for the C library to keep in order. In a child it goes on taking its thread's number for
/// the parent's, which abort(3) and raise(3) alone would use; the first ends the child all the same.
pub fn fork() -> Result<Side, Errno> {
    forked(false)
}

/// A child with the same descriptor table (its closing is our closing) and its own memory.
pub fn fork_sharing_descriptors() -> Result<Side, Errno> {
    forked(true)
}

fn forked(shares_descriptors: bool) -> Result<Side, Errno> {
    let pid = Numbers::Fork { shares_descriptors }.make()?;
    let child = i32::try_from(pid).ok().filter(|pid| *pid != 0);
    Ok(child.map_or(Side::Child, |pid| Side::Parent(Pid::from_raw(pid))))
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
    let (mut info, mut used) = ([0; 32], [0; 18]);
    let options = options | libc::WNOHANG | libc::__WALL;
    Writes::Wait { whom: (kind, id), options, info: &mut info, used: &mut used }.make()?;
    // siginfo_t as 64-bit Linux has it for a child: si_signo, si_errno, si_code, 4 bytes of nothing,
    // si_pid, si_uid, si_status.
    let [_, _, code, _, pid, _, status, ..] = info;
    if pid == 0 {
        return Ok(None);
    }
    // struct rusage: seconds and microseconds of the user and the system, the largest resident set.
    let [user_s, user_us, system_s, system_us, max_rss_kib, ..] =
        used.map(|number: c_long| u64::try_from(number).unwrap_or(0));
    Ok(Some(Waited {
        pid: Pid::from_raw(pid),
        code,
        status,
        user_us: user_s * 1_000_000 + user_us,
        system_us: system_s * 1_000_000 + system_us,
        max_rss_kib,
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
    match Numbers::PriorityOf(uid.as_raw()).make() {
        Ok(_) => Ok(true),
        Err(Errno::ESRCH) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Waits, for as long as it takes, until a child of ours has ended; it is not reaped.
pub fn wait_for_end(child: Pid) -> Result<(), Errno> {
    loop {
        match Numbers::End(child.as_raw()).make() {
            Err(Errno::EINTR) => {}
            done => return done.map(drop),
        }
    }
}

/// A descriptor that stands for a process (Linux 5.3).
pub fn pidfd(pid: Pid) -> Result<OwnedFd, Errno> {
    Numbers::Pidfd(pid.as_raw()).make().and_then(new_descriptor)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a child that is looked at")]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn child(script: &str) -> Child {
        Command::new("/bin/sh").args(["-c", script]).spawn().unwrap()
    }

    fn told(child: &Child) -> Waited {
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        wait_for_end(pid).unwrap();
        let waited = wait(Some(pid), libc::WEXITED | libc::WNOWAIT).unwrap().unwrap();
        assert_eq!(waited.pid, pid);
        waited
    }

    #[test]
    fn a_child_is_told_of_by_its_end_and_its_use() {
        let mut running = child("exec sleep 60");
        let pid = Pid::from_raw(i32::try_from(running.id()).unwrap());
        assert!(wait(Some(pid), libc::WEXITED | libc::WNOWAIT).unwrap().is_none());
        running.kill().unwrap();
        let waited = told(&running);
        assert_eq!((waited.code, waited.status), (libc::CLD_KILLED, libc::SIGKILL));
        running.wait().unwrap();

        let mut busy = child("i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; exit 7");
        let waited = told(&busy);
        assert_eq!((waited.code, waited.status), (libc::CLD_EXITED, 7));
        assert!(waited.user_us > 0 && waited.user_us < 60_000_000, "{waited:?}");
        assert!(waited.max_rss_kib > 100 && waited.max_rss_kib < 1_000_000, "{waited:?}");
        busy.wait().unwrap();
    }
}
