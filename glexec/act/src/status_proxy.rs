//! A process that stands where the caller sees glexec, passes signals on, and ends as the run
//! ends: where this process has children of somebody else's, must not lose its session, or is to
//! stop and go on with a payload that has the caller's terminal.

use super::close_descriptors;
use super::event_sources::{Event, EventSources, input};
use super::launch::not_forked;
use super::root::{Privilege, Root};
use contract::{Ending, Reason};
use decide::refusal::Refusal;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{Pid, chdir, getppid, pipe2, read, setpgid, write};
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};
use system::kernel::{self, Side};
use system::signal_info::Sender;

/// What a run knows of its status proxy.
#[derive(Debug)]
pub(super) struct StatusProxy {
    /// Ends when the status proxy does.
    pub(super) lifeline: OwnedFd,
    /// How it stands still; where the payload shares the caller's terminal.
    pub(super) stops: Option<Stops>,
}

/// How a status proxy is told to stand still, and to go on.
#[derive(Debug)]
pub(super) struct Stops {
    /// Tells it that the payload was stopped.
    pipe: OwnedFd,
    proxy: Pid,
}

impl Stops {
    /// Has the status proxy stop itself, as the payload was stopped: whoever started glexec is to see it.
    /// The status proxy's going on comes as a CONT.
    pub(super) fn stop(&self) {
        // Where it is gone the run is told of that. A pipe that is full says it already.
        let _ = write(&self.pipe, &[0]);
    }

    /// Has it go on to tell the payload's end: a payload that stands still may be killed.
    pub(super) fn go_on(&self, _root: &Root) {
        // Only while the proxy is our parent the number is certain to be its own.
        if getppid() == self.proxy {
            let _ = kernel::kill(self.proxy.as_raw(), libc::SIGCONT);
        }
    }

    /// The descriptor that must stay open.
    pub(super) fn number(&self) -> RawFd {
        self.pipe.as_raw_fd()
    }
}

/// Forks once. The new process goes on with the run, without the children that were there; the
/// old one mirrors its end and never comes back.
///
/// # Errors
/// [`Reason::Internal`].
pub(super) fn split(
    privilege: &Privilege,
    owed: bool,
    shares: bool,
    kept: &[RawFd],
) -> Result<StatusProxy, Refusal> {
    let failed = |e: Errno| {
        Refusal::new(Reason::Internal, "glexec could not start a process; see the log")
            .detail(format!("the status proxy: {}", e.desc()))
    };
    let (lifeline, theirs) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    let pipe = || pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK);
    let stops = shares.then(pipe).transpose().map_err(failed)?;
    let (told, stops) = stops.map_or((None, None), |(told, stops)| (Some(told), Some(stops)));
    let stops = stops.map(|pipe| Stops { pipe, proxy: Pid::this() });
    match privilege.fork().map_err(not_forked)? {
        Side::Child => {
            drop((theirs, told));
            privilege.lower_again().map_err(failed)?;
            // A signal to the caller's group reaches the status proxy, and the run once, by it. What the
            // terminal sends is for who reads from it: the payload, which is in that group then.
            if !shares {
                setpgid(Pid::from_raw(0), Pid::from_raw(0)).map_err(failed)?;
            }
            Ok(StatusProxy { lifeline, stops })
        }
        Side::Parent(run) => {
            drop((lifeline, stops));
            // The run's alone, and before anything here can wait.
            close_descriptors::let_go_of(kept);
            // Where this fails the run hears of our end and does what is owed.
            let open: Vec<RawFd> = [Some(&theirs), told.as_ref()]
                .into_iter()
                .flatten()
                .map(AsRawFd::as_raw_fd)
                .collect();
            let Ok(()) = stand_apart(privilege, owed, &open) else {
                kernel::exit_now(Reason::Switch.fault().exit_code())
            };
            end_like(status_proxy(run, privilege.is_immune(), told))
        }
    }
}

/// Lets go of all that is the caller's, as the caller; only then this process may be immune.
fn stand_apart(privilege: &Privilege, owed: bool, open: &[RawFd]) -> Result<(), Errno> {
    close_descriptors::close_all_but(open)?;
    let (closed, _) = close_descriptors::let_go_of_standard(privilege)?;
    chdir("/")?;
    if owed {
        return privilege.become_immune(&closed).map(drop).map_err(|_| Errno::EPERM);
    }
    privilege.give_up()
}

/// `stops` tells that the payload was stopped, where it shares the caller's terminal.
fn status_proxy(run: Pid, immune: bool, mut stops: Option<OwnedFd>) -> Ending {
    let lost = Ending::Exited(Reason::Internal.fault().exit_code());
    let Ok(mut watch) = EventSources::new(None, None) else { return lost };
    let pidfd = kernel::pidfd(run).ok();
    // The run is our child and not reaped: its pid is its own.
    let forward = |number: i32| {
        let _ = kernel::kill(run.as_raw(), number);
    };
    loop {
        let others: Vec<_> = pidfd.iter().chain(&stops).map(|fd| input(fd.as_fd())).collect();
        let news = watch.wait(&others, None);
        drop(others);
        for heard in news.heard {
            if let Event::Signal(signal) = heard {
                let has_it = stops.is_some() && signal.sender == Sender::Kernel;
                if !signal.is_ours(immune, Pid::this()) && !has_it {
                    forward(signal.number.into());
                }
            }
        }
        match stops.as_ref().map(|told| read(told, &mut [0u8; 64])) {
            Some(Ok(0)) => stops = None,
            Some(Ok(_)) => {
                let _ = kernel::kill(Pid::this().as_raw(), libc::SIGSTOP);
                // Who let this process go on wants the payload to go on.
                forward(libc::SIGCONT);
            }
            Some(Err(_)) | None => {}
        }
        match kernel::wait(Some(run), libc::WEXITED) {
            Ok(Some(waited)) => return super::descendants::ending_of(&waited).unwrap_or(lost),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(_) => return lost,
        }
    }
}

/// Ends this process as another ended: with its code, or of its signal.
pub fn end_like(ending: Ending) -> ! {
    if let Ending::Killed { signal, .. } = ending {
        kernel::set_disposition(signal.into(), false);
        kernel::set_mask(0);
        let _ = kernel::kill(Pid::this().as_raw(), signal.into());
    }
    kernel::exit_now(ending.code())
}
