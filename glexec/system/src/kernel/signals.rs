//! Signals and timers.

use super::calls::{Disposition, Numbers, Reads};
use super::new_descriptor;
use nix::errno::Errno;
use std::ffi::c_int;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

/// Highest signal number there is (`_NSIG`).
pub const LAST_SIGNAL: c_int = 64;

/// Sets a signal's disposition to default (or ignored), the C library's own signals included.
pub fn set_disposition(signal: c_int, ignored: bool) {
    let wanted = if ignored { Disposition::IGNORED } else { Disposition::DEFAULT };
    // KILL and STOP are refused with EINVAL, harmlessly.
    let _ = Reads::Signal(signal, &wanted).make();
}

/// Sets the signal mask: bit n-1 blocks signal n. The C library would spare its own signals.
pub fn set_mask(mask: u64) {
    // The kernel refuses nothing but a `how` that it does not know.
    let _ = Reads::Mask(&mask).make();
}

/// A descriptor that tells of every signal there is, non-blocking and close-on-exec.
pub fn signal_descriptor() -> Result<OwnedFd, Errno> {
    let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
    Reads::SignalDescriptor(&u64::MAX, flags).make().and_then(new_descriptor)
}

/// Stops the three interval timers that exec hands on.
pub fn stop_timers() {
    for which in [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF] {
        // Refused is only a timer that the kernel does not know.
        let _ = Reads::Timer(which, &[0; 4]).make();
    }
}

/// Sends a signal to the process a pidfd stands for, whoever has its number now.
pub fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: c_int) -> Result<(), Errno> {
    Numbers::PidfdSignal { pidfd: pidfd.as_raw_fd(), signal }.make().map(drop)
}

/// kill(2), for one process or (negative) one group; nothing is ever sent to 1, 0, -1.
pub fn kill(pid: i32, signal: c_int) -> Result<(), Errno> {
    if (-1..=1).contains(&pid) {
        return Err(Errno::EINVAL);
    }
    // Callers name only unreaped children and their groups.
    Numbers::Kill { to: pid, signal }.make().map(drop)
}

/// KILL to every process that this one may signal, itself and init left out (kill(2), pid -1).
/// For a child of `orphans` alone, which has just given up every right but those over one uid.
pub fn kill_every_process_of_euid() {
    // ESRCH where there is none.
    let _ = Numbers::Kill { to: -1, signal: libc::SIGKILL }.make();
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
