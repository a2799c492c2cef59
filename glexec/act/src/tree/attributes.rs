//! Owner, mode and access lists of what changes hands.

use super::Owner;
use crate::root::Root;
use decide::handover::{Acl, reduced};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{Gid, Uid, fchownat};
use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};
use system::kernel;
use system::process;

/// Changes the owner of what a descriptor stands for; the setuid bit and capabilities of a file
/// are taken away by the kernel in the same step (chown(2)).
pub(crate) fn pass(_root: &Root, file: &OwnedFd, to: Owner) -> Result<(), Errno> {
    let (uid, gid) = (Some(Uid::from_raw(to.uid)), Some(Gid::from_raw(to.gid)));
    fchownat(file, c"", uid, gid, AtFlags::AT_EMPTY_PATH)
}

/// Changes the owner alone.
pub(crate) fn take(_root: &Root, file: &OwnedFd, uid: u32) -> Result<(), Errno> {
    fchownat(file, c"", Some(Uid::from_raw(uid)), None, AtFlags::AT_EMPTY_PATH)
}

/// Access control lists, by way of /proc because an `O_PATH` descriptor gives no attributes: one
/// call a file where there is none.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    room: Vec<u8>,
    /// The file system has none, and all of a walk is on one file system.
    unknown: bool,
}

impl Attributes {
    pub(crate) fn reduce(&mut self, file: &OwnedFd) -> Result<(), Errno> {
        /// The most that an attribute can be (xattr(7)).
        const MOST: usize = 65_536;
        const NAME: &CStr = c"system.posix_acl_access";
        if self.unknown {
            return Ok(());
        }
        self.room.resize(MOST, 0);
        let path = process::descriptor_name(file.as_fd()).ok_or(Errno::EINVAL)?;
        match kernel::attribute_into(&path, NAME, &mut self.room) {
            Ok(length) => match reduced(self.room.get(..length).unwrap_or_default()) {
                Acl::Plain => Ok(()),
                Acl::Reduced(plain) => kernel::set_attribute(&path, NAME, Some(&plain)),
                Acl::Odd => Err(Errno::EBADMSG),
            },
            Err(Errno::ENODATA) => Ok(()),
            Err(Errno::EOPNOTSUPP) => {
                self.unknown = true;
                Ok(())
            }
            Err(errno) => Err(errno),
        }
    }

    /// What a directory gives to whatever is made in it.
    pub(crate) fn remove_default(&self, directory: &OwnedFd) -> Result<(), Errno> {
        if self.unknown {
            return Ok(());
        }
        let path = process::descriptor_name(directory.as_fd()).ok_or(Errno::EINVAL)?;
        match kernel::set_attribute(&path, c"system.posix_acl_default", None) {
            Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(()),
            done => done,
        }
    }
}
