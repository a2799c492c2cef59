//! What a process needs that stands in front of glexec for a scheduler: signals as values, and
//! an end like the payload's.

use nix::errno::Errno;
use nix::unistd::{Pid, getpid};
use std::os::fd::OwnedFd;
use system::kernel;

/// Every disposition default, every signal blocked and told by the descriptor that comes back,
/// which is non-blocking and close-on-exec. One thread is assumed.
///
/// # Errors
/// What signalfd(2) says.
pub fn listen() -> Result<OwnedFd, Errno> {
    (1..=kernel::LAST_SIGNAL).for_each(|signal| kernel::set_disposition(signal, false));
    kernel::set_mask(u64::MAX);
    kernel::signal_descriptor()
}

/// A signal of its own for the death of the parent, whichever thread of it that is.
///
/// # Errors
/// What prctl(2) says.
pub(crate) fn tell_of_parents_death(signal: u8) -> Result<(), Errno> {
    kernel::control(libc::PR_SET_PDEATHSIG, u64::from(signal)).map(drop)
}

/// Ends this process as another has ended: by the same signal, without a core of its own.
/// Where the signal does not end it (a pid namespace's first process), with 128+n.
pub(crate) fn die_of(signal: u8) -> ! {
    let none = kernel::Limit { soft: 0, hard: 0 };
    let _ = kernel::limit(libc::RLIMIT_CORE, Some(none));
    let number = i32::from(signal);
    kernel::set_disposition(number, false);
    let _ = kernel::kill(getpid().as_raw(), number);
    kernel::set_mask(0);
    kernel::exit_now(128u8.saturating_add(signal))
}

/// A child's pid as the kernel's own type; pids end at 2^22 (proc(5), `pid_max`).
pub(crate) fn pid_of(child: &std::process::Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}
