//! The making of a lease. Each step leaves what LCMAPS understands and what the next glexec can mend,
//! wherever it is interrupted.
//!
//! LCMAPS links the account to the lease's name and then looks whether it was alone: who is ended
//! between the two, or before it takes its link back, leaves a lease that nobody can tell from a good
//! one. Here the first link has a name of glexec's own, which is nobody's lease. It counts for LCMAPS
//! like any other link; and one that is still there when the lock is free was left behind.

use super::{Gridmapdir, Wanted, is_regular};
use crate::exec_status::{Failure, Step};
use crate::helper::attempt;
use crate::identity::become_root;
use crate::root::Root;
use crate::state::write_all;
use decide::gridmapdir::{Entry, HALF_MADE, LOCK, MOVED_AWAY};
use decide::refusal::Refusal;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, linkat, setsid, unlinkat};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

/// How an attempt at a lease has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// The lease is there, and the account is nobody else's.
    Yes,
    /// Somebody else has the account.
    Lost,
    /// The subject's lease is another than it was: it has to be looked at again.
    Again,
}

/// How the child ends where the lock is not root's alone.
const LOCK_IS_OPEN: u8 = 100;

impl Gridmapdir {
    /// Leases an account that was seen free. What was seen `stale` under the lease's name goes
    /// first.
    ///
    /// # Errors
    /// [`Reason::Mapping`](contract::Reason::Mapping).
    pub(super) fn take(
        &self,
        root: &Root,
        wanted: &Wanted<'_>,
        account: &Entry,
        stale: Option<&Entry>,
    ) -> Result<Taken, Refusal> {
        const ALL: [Taken; 3] = [Taken::Yes, Taken::Lost, Taken::Again];
        let code = self.locked(root, wanted.lease, || {
            let taken = self.link(wanted, account, stale)?;
            let code = ALL.iter().position(|one| *one == taken).unwrap_or(ALL.len());
            Ok(u8::try_from(code).unwrap_or(u8::MAX))
        })?;
        let taken = ALL.get(usize::from(code)).copied();
        taken.ok_or_else(|| self.broken(wanted.lease, "the process that makes it was ended"))
    }

    /// Removes what an interrupted glexec has left.
    ///
    /// # Errors
    /// [`Reason::Mapping`](contract::Reason::Mapping).
    pub(super) fn tidy(&self, root: &Root) -> Result<(), Refusal> {
        self.locked(root, HALF_MADE, || Ok(0)).map(drop)
    }

    /// Takes a lease back; false where its name leads to another file by now.
    ///
    /// # Errors
    /// [`Reason::Mapping`](contract::Reason::Mapping).
    pub fn release(&self, root: &Root, lease: &Entry) -> Result<bool, Refusal> {
        let code = self.locked(root, &lease.name, || match self.stat(lease.name.as_str()) {
            Ok(now) if now.st_ino == lease.inode => self.unlink(&lease.name).map(|()| 0),
            Ok(_) | Err(Errno::ENOENT) => Ok(1),
            Err(errno) => Err(errno),
        });
        code.map(|code| code == 0)
    }

    /// Does something with the lock held and nothing half made there: in a process that is root's
    /// alone, which its caller can neither stop nor end. Gives the code that `work` gives.
    fn locked(
        &self,
        root: &Root,
        name: &str,
        work: impl FnOnce() -> Result<u8, Errno>,
    ) -> Result<u8, Refusal> {
        /// For a few system calls of everybody who waits for the lock, on a machine that is very
        /// busy.
        const PATIENCE: Duration = Duration::from_secs(20);
        let code = attempt(PATIENCE, &[self.directory.as_raw_fd()], || {
            // Out of reach of its caller's signals, by ids and by session.
            setsid().map_err(Failure::at(Step::Place))?;
            become_root(root)?;
            let failed = Failure::at(Step::Lease);
            let Some(_lock) = self.lock().map_err(&failed)? else { return Ok(LOCK_IS_OPEN) };
            for left in [HALF_MADE, MOVED_AWAY] {
                self.unlink(left).map_err(&failed)?;
            }
            work().map_err(failed)
        });
        match code.map_err(|failure| self.broken(name, &failure.told()))? {
            Some(LOCK_IS_OPEN) => {
                Err(self.broken(LOCK, "is not root's alone, so that others can hold it; remove it"))
            }
            Some(code) => Ok(code),
            None => {
                Err(self
                    .broken(name, "the process that makes leases was ended, or waited too long"))
            }
        }
    }

    /// Waits for the lock; `None` where others than root could hold it.
    fn lock(&self) -> Result<Option<Flock<OwnedFd>>, Errno> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&self.directory, LOCK, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let stat = fstat(&file)?;
        if !is_regular(&stat) || stat.st_uid != 0 || stat.st_mode & 0o077 != 0 {
            return Ok(None);
        }
        Flock::lock(file, FlockArg::LockExclusive).map(Some).map_err(|(_, errno)| errno)
    }

    /// LCMAPS's protocol, but that the account is first linked to a name of glexec's own.
    fn link(
        &self,
        wanted: &Wanted<'_>,
        account: &Entry,
        stale: Option<&Entry>,
    ) -> Result<Taken, Errno> {
        let name = account.name.as_str();
        match self.stat(name) {
            Ok(now) if now.st_nlink == 1 && is_regular(&now) => {}
            Ok(_) | Err(Errno::ENOENT) => return Ok(Taken::Lost),
            Err(errno) => return Err(errno),
        }
        match self.link_to(name, HALF_MADE) {
            Err(Errno::ENOENT) => return Ok(Taken::Lost),
            linked => linked?,
        }
        let now = self.stat(HALF_MADE)?;
        let taken = if now.st_nlink == 2 && now.st_ino == account.inode {
            self.link_to_lease(wanted, name, stale)
        } else {
            Ok(Taken::Lost)
        };
        self.unlink(HALF_MADE)?;
        taken
    }

    /// The account is nobody else's: from here on whoever links it sees that it comes too late.
    fn link_to_lease(
        &self,
        wanted: &Wanted<'_>,
        account: &str,
        stale: Option<&Entry>,
    ) -> Result<Taken, Errno> {
        // Before there is a lease: one that says nothing of its subject would be shared by all whose
        // lease has the same name.
        let flags = OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&self.directory, HALF_MADE, flags, Mode::empty())?;
        write_all(&file, wanted.subject.as_bytes())?;
        match stale.map_or(Ok(true), |stale| self.remove_stale(wanted.lease, stale)) {
            Ok(true) => {}
            Ok(false) | Err(Errno::ENOENT) => return Ok(Taken::Again),
            Err(errno) => return Err(errno),
        }
        match self.link_to(account, wanted.lease) {
            Err(Errno::EEXIST) => Ok(Taken::Again),
            Err(errno) => Err(errno),
            Ok(()) => Ok(Taken::Yes),
        }
    }

    /// Removes a lease that leads to no account. False where there is another one by now: LCMAPS
    /// does not know the lock, and may have replaced it.
    fn remove_stale(&self, lease: &str, stale: &Entry) -> Result<bool, Errno> {
        let is_it = |name: &str| {
            let now = self.stat(name);
            now.map(|now| now.st_ino == stale.inode && now.st_nlink == stale.links)
        };
        if !is_it(lease)? {
            return Ok(false);
        }
        // By rename: what is taken away is then looked at, and nobody changes it under that name.
        renameat(&self.directory, lease, &self.directory, MOVED_AWAY)?;
        let removed = is_it(MOVED_AWAY)?;
        match removed {
            true => {}
            false => match self.link_to(MOVED_AWAY, lease) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            },
        }
        self.unlink(MOVED_AWAY)?;
        Ok(removed)
    }

    fn link_to(&self, from: &str, to: &str) -> Result<(), Errno> {
        linkat(&self.directory, from, &self.directory, to, AtFlags::empty())
    }

    fn unlink(&self, name: &str) -> Result<(), Errno> {
        match unlinkat(&self.directory, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::ENOENT) => Ok(()),
            removed => removed,
        }
    }
}
