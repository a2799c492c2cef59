//! A run that its caller has begun and that has no entry yet.

use super::record::whole;
use super::{CLAIM, NEW, StateDir, name_begins, state, too_many};
use decide::refusal::Refusal;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, Uid, UnlinkatFlags, unlinkat};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

/// A run that its caller has begun and that has no entry yet: it counts as one.
#[derive(Debug)]
pub(crate) struct Claim {
    directory: OwnedFd,
    name: String,
    locked: OwnedFd,
}

impl Claim {
    /// The descriptors that must stay open.
    pub(crate) fn numbers(&self) -> [RawFd; 2] {
        [self.directory.as_raw_fd(), self.locked.as_raw_fd()]
    }

    /// It counts no more. Where the name stays, who counts next finds it without its lock.
    pub(crate) fn end(&self) {
        let _ = unlinkat(&self.directory, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.end();
    }
}

impl StateDir {
    /// Claims one of the runs that this caller may have, before anything is taken for it. Every name
    /// in the directory is told once.
    ///
    /// # Errors
    /// [`Reason::State`](contract::Reason::State); [`Reason::TooManyRuns`](contract::Reason::TooManyRuns).
    pub(crate) fn claim(
        &self,
        caller: Uid,
        most_runs: u32,
        mut tell: impl FnMut(&str),
    ) -> Result<Claim, Refusal> {
        let birth = system::process::own_birth(Pid::this())
            .map_err(|e| state(format!("/proc/self/stat: {}", e.desc())))?;
        let begin = format!("{CLAIM}{caller}.");
        let name = format!("{begin}{}.{}", birth.pid, birth.start);
        let failed = |e: Errno| self.unusable(&name, e);
        let hidden = format!("{NEW}{name}");
        let file = self.open_lock(&hidden)?;
        // This lock belongs to the open file: it goes along through a fork of glexec's own.
        fcntl(&file, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK))).map_err(failed)?;
        renameat(&self.directory, hidden.as_str(), &self.directory, name.as_str())
            .map_err(failed)?;
        let directory = self.directory.try_clone().map_err(|_| failed(Errno::EMFILE))?;
        let claim = Claim { directory, name, locked: file };
        let mine = name_begins(caller.as_raw());
        let (mut runs, mut claims) = (0, Vec::new());
        self.each_name(|other| {
            tell(other);
            runs += usize::from(other.starts_with(&mine));
            if other.starts_with(&begin) && other != claim.name {
                claims.push(other.to_owned());
            }
        })?;
        for other in &claims {
            runs += usize::from(self.counts(other)?);
        }
        if u32::try_from(runs).is_ok_and(|runs| runs < most_runs) {
            return Ok(claim);
        }
        Err(too_many(runs, most_runs))
    }

    /// Whether somebody has a claim. One without its lock is a dead run's and goes.
    fn counts(&self, claim: &str) -> Result<bool, Refusal> {
        let locked = self.is_locked(claim)?;
        if locked == Some(false) {
            let _ = unlinkat(&self.directory, claim, UnlinkatFlags::NoRemoveDir);
        }
        Ok(locked == Some(true))
    }

    /// Whether somebody holds the lock of a file that belongs to an open file; `None` where there
    /// is no such file.
    ///
    /// # Errors
    /// [`Reason::State`](contract::Reason::State).
    pub(crate) fn is_locked(&self, name: &str) -> Result<Option<bool>, Refusal> {
        let failed = |e: Errno| self.unusable(name, e);
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = match openat(&self.directory, name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let mut asked = whole(libc::F_WRLCK);
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut asked)).map_err(failed)?;
        Ok(Some(i32::from(asked.l_type) != libc::F_UNLCK))
    }
}
