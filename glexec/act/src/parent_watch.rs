//! The process that started a run, watched for being stopped: nothing tells another process of
//! that but /proc, so it is looked at now and then, where the site asks for it.

use nix::unistd::{Pid, getppid};
use std::time::{Duration, Instant};
use system::Birth;
use system::process::{self, stat_of};

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(500);

/// Who started the run, and whether it was stopped when last looked at.
#[derive(Debug)]
pub(super) struct ParentWatch {
    birth: Birth,
    stopped: bool,
    next: Instant,
}

impl ParentWatch {
    /// Watches this process's parent, where that is wanted. To be asked before there is a status proxy:
    /// who started the run is the status proxy's parent then.
    pub(super) fn wanted(wanted: bool) -> Option<Self> {
        let birth = wanted.then(|| process::birth(getppid()).ok()).flatten().flatten()?;
        Some(Self { birth, stopped: false, next: Instant::now() + PERIOD })
    }

    /// When to look next.
    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    /// Looks, where it is time: whether it has been stopped (`Some(true)`) or goes on
    /// (`Some(false)`) since the last look.
    pub(super) fn look(&mut self) -> Option<bool> {
        let now = Instant::now();
        if now < self.next {
            return None;
        }
        self.next = now + PERIOD;
        // Where that cannot be told now, it is at the next look.
        let stat = stat_of(Pid::from_raw(self.birth.pid)).ok().flatten();
        let same = stat.filter(|stat| stat.start == self.birth.start)?;
        let stopped = same.is_stopped();
        let before = std::mem::replace(&mut self.stopped, stopped);
        (before != stopped).then_some(stopped)
    }
}
