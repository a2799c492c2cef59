//! Signals and timers.

use super::new_descriptor;
use nix::errno::Errno;
use std::ffi::c_int;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

/// Highest signal number there is (`_NSIG`).
pub const LAST_SIGNAL: c_int = 64;

/// Sets a signal's disposition to default (or ignored), the C library's own signals included.
pub fn set_disposition(signal: c_int, ignored: bool) {
    // The kernel's struct: handler, flags, restorer, mask. All zero is SIG_DFL; handler 1 SIG_IGN.
    let action: [u64; 4] = [u64::from(ignored), 0, 0, 0];
    // SAFETY: `action` is as large as the kernel's struct sigaction on every 64-bit Linux and is
    // only read; no handler is installed. KILL and STOP are refused with EINVAL, harmlessly.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const action, 0usize, 8usize) };
}

/// Sets the signal mask: bit n-1 blocks signal n. The C library would spare its own signals.
pub fn set_mask(mask: u64) {
    // SAFETY: reads eight bytes of `mask`, writes nothing.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, 0usize, 8usize)
    };
}

/// A descriptor that tells of every signal there is, non-blocking and close-on-exec.
pub fn signal_descriptor() -> Result<OwnedFd, Errno> {
    let every = u64::MAX;
    let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
    // SAFETY: reads eight bytes of `every`, returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const every, 8usize, flags) };
    new_descriptor(fd)
}

/// Stops the three interval timers that exec hands on.
pub fn stop_timers() {
    // SAFETY: all-zero is a valid itimerval (no timer).
    let none: libc::itimerval = unsafe { std::mem::zeroed() };
    for which in [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF] {
        // SAFETY: reads `none`; the old value is not asked for.
        unsafe { libc::syscall(libc::SYS_setitimer, which, &raw const none, 0usize) };
    }
}

/// Sends a signal to the process a pidfd stands for, whoever has its number now.
pub fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: c_int) -> Result<(), Errno> {
    let fd = pidfd.as_raw_fd();
    // SAFETY: numbers in, number out; no siginfo is given.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, 0usize, 0) };
    Errno::result(done).map(drop)
}

/// kill(2), for one process or (negative) one group; nothing is ever sent to 1, 0, -1.
pub fn kill(pid: i32, signal: c_int) -> Result<(), Errno> {
    if (-1..=1).contains(&pid) {
        return Err(Errno::EINVAL);
    }
    // SAFETY: numbers in, number out. Callers name only unreaped children and their groups.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// KILL to every process that this one may signal, itself and init left out (kill(2), pid -1).
/// For a child of `remains` alone, which has just given up every right but those over one uid.
pub fn kill_every_process_of_euid() {
    // SAFETY: numbers only.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_to_init_or_to_everybody() {
        for pid in [1, 0, -1] {
            assert_eq!(kill(pid, 0), Err(Errno::EINVAL));
        }
    }
}
