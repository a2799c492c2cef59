//! The lock that one settling of a caller's holds at a time.

use super::record::whole;
use super::{SETTLING, StateDir, is_of_caller, state};
use decide::refusal::Refusal;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::fstat;
use nix::unistd::{Uid, UnlinkatFlags, unlinkat};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use system::kernel;

/// The lock that one settling of a caller's holds at a time. It belongs to the open file: who
/// settles has a copy.
#[derive(Debug)]
pub struct Settling {
    file: OwnedFd,
    name: String,
}

impl Settling {
    /// Waits until no other settling of this caller's is under way. To be called with the caller's
    /// ids, as an ordinary process: this may take long, and any signal ends it. False where the
    /// one before has taken the name away: the lock is to be opened anew.
    ///
    /// # Errors
    /// [`Reason::State`](contract::Reason::State).
    pub fn wait(&self) -> Result<bool, Refusal> {
        let failed = |e: Errno| state(format!("the lock of a settling: {}", e.desc()));
        kernel::set_mask(0);
        loop {
            match fcntl(&self.file, FcntlArg::F_OFD_SETLKW(&whole(libc::F_WRLCK))) {
                Ok(_) => return Ok(fstat(&self.file).map_err(failed)?.st_nlink > 0),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
    }

    /// The lock that this program was executed with, of this caller's settlings.
    #[must_use]
    pub fn inherited(number: RawFd, caller: u32) -> Self {
        Self { file: kernel::adopt(number), name: format!("{SETTLING}{caller}") }
    }

    /// The descriptor that must stay open.
    pub(crate) fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl StateDir {
    /// Whether there is an entry of this caller's, whatever became of it.
    ///
    /// # Errors
    /// [`Reason::State`](contract::Reason::State).
    pub fn knows(&self, caller: Uid) -> Result<bool, Refusal> {
        Ok(self.entries()?.iter().any(|name| is_of_caller(name, caller.as_raw())))
    }

    /// Opens the lock of this caller's settlings.
    ///
    /// # Errors
    /// [`Reason::State`](contract::Reason::State).
    pub fn settling(&self, caller: Uid) -> Result<Settling, Refusal> {
        let name = format!("{SETTLING}{caller}");
        Ok(Settling { file: self.open_lock(&name)?, name })
    }

    /// A settling is over: its name goes while its lock is still held. Where the name stays, the
    /// next one takes it.
    pub fn is_settled(&self, settling: &Settling) {
        let _ = unlinkat(&self.directory, settling.name.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}
