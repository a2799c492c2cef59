//! A process that stands where the caller sees glexec, passes signals on, and ends as the run
//! ends: where this process has children of somebody else's, or must not lose its session.

use super::launch::not_forked;
use super::letgo;
use super::root::Privilege;
use super::sys::{self, Side};
use super::watch::{Heard, Watch};
use crate::contract::{Ending, Reason};
use crate::decide::stop::Stop;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{Pid, chdir, pipe2, setpgid};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};

/// Forks once. The new process goes on with the run, without the children that were there; the
/// old one mirrors its end and never comes back. What is returned ends when the old one does.
///
/// # Errors
/// [`Reason::Internal`].
pub(super) fn split(
    privilege: &Privilege,
    (owed, kept): (bool, &[RawFd]),
) -> Result<OwnedFd, Stop> {
    let failed = |e: Errno| {
        Stop::new(Reason::Internal, "glexec could not start a process; see the log")
            .detail(format!("a mirror for the run: {}", e.desc()))
    };
    let (lifeline, theirs) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    match privilege.fork().map_err(not_forked)? {
        Side::Child => {
            drop(theirs);
            privilege.lower_again().map_err(failed)?;
            // A signal to the caller's group reaches the mirror, and the run once, by it.
            setpgid(Pid::from_raw(0), Pid::from_raw(0)).map_err(failed)?;
            Ok(lifeline)
        }
        Side::Parent(run) => {
            drop(lifeline);
            // The run's alone, and before anything here can wait.
            letgo::let_go_of(kept);
            // Where this fails the run hears of our end and does what is owed.
            let Ok(()) = stand_apart(privilege, owed, &theirs) else {
                sys::exit_now(Reason::Switch.fault().exit_code())
            };
            end_like(mirror(run, privilege.is_immune()))
        }
    }
}

/// Lets go of all that is the caller's, as the caller; only then this process may be immune.
fn stand_apart(privilege: &Privilege, owed: bool, lifeline: &OwnedFd) -> Result<(), Errno> {
    letgo::close_all_but(&[lifeline.as_raw_fd()])?;
    let (let_go, _) = letgo::let_go_of_standard(privilege)?;
    chdir("/")?;
    if owed {
        return privilege.become_immune(&let_go).map(drop).map_err(|_| Errno::EPERM);
    }
    let caller = privilege.caller();
    sys::set_uids(caller, caller, caller)
}

fn mirror(run: Pid, immune: bool) -> Ending {
    let lost = Ending::Exited(Reason::Internal.fault().exit_code());
    let Ok(mut watch) = Watch::new(None, None) else { return lost };
    let pidfd = sys::pidfd(run).ok();
    loop {
        let others: Vec<_> = pidfd.iter().map(|fd| fd.as_fd()).collect();
        let news = watch.wait(&others, None);
        for heard in news.heard {
            if let Heard::Signal(signal) = heard {
                if !signal.is_ours(immune, Pid::this()) {
                    // The run is our child and not reaped: its pid is its own.
                    let _ = sys::kill(run.as_raw(), signal.number.into());
                }
            }
        }
        match sys::wait(Some(run), libc::WEXITED) {
            Ok(Some(waited)) => return super::family::ending_of(&waited).unwrap_or(lost),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(_) => return lost,
        }
    }
}

/// Ends this process as another ended: with its code, or of its signal.
pub(crate) fn end_like(ending: Ending) -> ! {
    if let Ending::Killed { signal, .. } = ending {
        sys::set_disposition(signal.into(), false);
        sys::set_mask(0);
        let _ = sys::kill(Pid::this().as_raw(), signal.into());
    }
    sys::exit_now(ending.code())
}
