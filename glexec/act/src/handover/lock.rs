//! The lock on a directory: one run at a time.

use crate::state::{StateDir, whole};
use crate::tree::FileId;
use decide::entry::Handed;
use decide::refusal::Refusal;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::os::fd::OwnedFd;

/// The lock on a directory: one run at a time.
#[derive(Debug)]
pub(crate) struct Hold {
    _file: OwnedFd,
    name: String,
}

fn name(FileId { device: (major, minor), inode }: FileId) -> String {
    format!("handed.{major}.{minor}.{inode}")
}

/// The other runs, which may have directories within one of this run's.
#[derive(Debug)]
pub(super) struct Others<'s> {
    pub(super) state: &'s StateDir,
    /// What this run itself has locked.
    pub(super) own: Vec<FileId>,
}

impl Others<'_> {
    /// Whether one of them has this directory in its hands.
    ///
    /// # Errors
    /// Those of the lock's file, but for its not being there.
    pub(super) fn have(&self, id: FileId) -> Result<bool, Errno> {
        if self.own.contains(&id) {
            return Ok(false);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let name = name(id);
        let file = match openat(self.state.descriptor(), name.as_str(), flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(false),
            file => file?,
        };
        let mut lock = whole(libc::F_WRLCK);
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock))?;
        Ok(i32::from(lock.l_type) != libc::F_UNLCK)
    }
}

/// Locks the directory; `None` where another run has it.
pub(crate) fn hold(handed: &Handed, state: &StateDir) -> Result<Option<Hold>, Refusal> {
    let name = name(handed.into());
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let unusable = |errno: Errno| state.unusable(&name, errno);
    for _ in 0..8 {
        let file = openat(state.descriptor(), name.as_str(), flags, mode).map_err(unusable)?;
        // This lock belongs to the open file: it goes along through a fork of glexec's own.
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK))) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(None),
            Err(errno) => return Err(unusable(errno)),
        }
        // Who had it before removes the name with the lock still held.
        if fstat(&file).map_err(unusable)?.st_nlink > 0 {
            return Ok(Some(Hold { _file: file, name }));
        }
    }
    Ok(None)
}

/// Lets a directory go: the name goes while its lock is still held. Where it stays, the next run
/// takes it as it is.
pub(crate) fn release(state: &StateDir, hold: &Hold) {
    let _ = unlinkat(state.descriptor(), hold.name.as_str(), UnlinkatFlags::NoRemoveDir);
}
