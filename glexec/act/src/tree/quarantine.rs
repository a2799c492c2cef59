//! Where goes what must not go back.

use super::Owner;
use super::attributes::pass;
use crate::root::Root;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::sys::stat::{Mode, fchmod, fstatat};
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::time::SystemTime;

/// Where what must not go back is put.
#[derive(Debug)]
pub(crate) struct Quarantine(pub(crate) Result<OwnedFd, Errno>);

impl Quarantine {
    pub(crate) fn take(&self, from: &OwnedFd, name: &CStr) -> Result<(), Errno> {
        let into = self.0.as_ref().map_err(|errno| *errno)?;
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanoseconds = since.map_or(0, |d| d.as_nanos());
        let own = nix::unistd::getpid();
        // A coarse clock says the same twice, and rename(2) replaces what is there.
        for n in 0..1000 {
            let to = format!("{nanoseconds:x}.{own}.{n}");
            match fstatat(into, to.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Err(Errno::ENOENT) => return renameat(from, name, into, to.as_str()),
                Ok(_) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::EEXIST)
    }
}

/// A directory that could not be taken out is nobody's way.
pub(crate) fn seal(root: &Root, listed: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV);
    let directory = openat2(listed, name, how)?;
    pass(root, &directory, Owner::ROOT)?;
    fchmod(&directory, Mode::S_IRWXU)
}

/// That a name is no more is believed where two calls say so.
pub(crate) fn is_gone(directory: &OwnedFd, name: &CStr, errno: Errno) -> bool {
    let again = || fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW);
    errno == Errno::ENOENT && matches!(again(), Err(Errno::ENOENT))
}
