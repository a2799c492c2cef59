//! The payload's copy of a proxy: written and removed by a child that is the target, and nobody
//! else, so that no file is touched which the target may not touch.

use super::exec_status::{Failure, Step};
use super::helper::attempt;
use super::identity::{Identity, assume};
use super::root::Root;
use contract::Reason;
use decide::proxy_copy::ProxyCopy;
use decide::refusal::Refusal;
use decide::target::Target;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{Uid, UnlinkatFlags, read, unlinkat, write};
use std::ffi::CString;
use std::time::Duration;
use system::text::escaped;

/// For a few system calls on a file system of the target's choice, on a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// How a child ends that has done its work.
const DONE: u8 = 0;

/// A number that nobody guesses, for a name.
///
/// # Errors
/// [`Reason::Internal`].
pub fn random() -> Result<u64, Refusal> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let mut bytes = [0; 8];
    let filled =
        open("/dev/urandom", flags, Mode::empty()).and_then(|file| read(&file, &mut bytes));
    match filled {
        Ok(8) => Ok(u64::from_ne_bytes(bytes)),
        Ok(_) | Err(_) => {
            let sentence = "/dev/urandom gives no number for the name of a file";
            Err(Refusal::new(Reason::Internal, sentence))
        }
    }
}

/// Writes the copy, whole or not at all, for the target alone to read. What is there under its name
/// is replaced where it is the target's.
///
/// # Errors
/// [`Reason::Credential`] where the target may not write there, [`Reason::Switch`].
pub fn create(root: &Root, target: &Target, copy: &ProxyCopy, proxy: &[u8]) -> Result<(), Refusal> {
    let part = CString::new([copy.target.as_bytes(), b".part"].concat()).unwrap_or_default();
    as_target(root, target, || {
        is_free_for(target.uid(), copy)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        // What an interrupted run has left there would be in the way for ever.
        let _ = unlinkat(AT_FDCWD, part.as_c_str(), UnlinkatFlags::NoRemoveDir);
        let file = openat(AT_FDCWD, part.as_c_str(), flags | OFlag::O_CLOEXEC, mode)?;
        let mut left = proxy;
        let written = loop {
            match write(&file, left) {
                Ok(length) if length >= left.len() => break Ok(()),
                Ok(length) => left = left.get(length..).unwrap_or_default(),
                Err(errno) => break Err(errno),
            }
        };
        written
            .and_then(|()| renameat(AT_FDCWD, part.as_c_str(), AT_FDCWD, copy.target.as_c_str()))
            .inspect_err(|_| {
                let _ = unlinkat(AT_FDCWD, part.as_c_str(), UnlinkatFlags::NoRemoveDir);
            })
    })
    .map_err(|failure| {
        let (path, why) = (escaped(copy.target.as_bytes()), failure.errno.desc());
        if failure.step == Step::Proxy {
            let sentence = format!("the payload's proxy cannot be written to {path}: {why}");
            let hint = "set GLEXEC_TARGET_PROXY to where the target may write, or to /dev/null";
            return Refusal::new(Reason::Credential, sentence).hint(hint);
        }
        Refusal::new(Reason::Switch, "the identity switch failed; see the log")
            .detail(format!("writing the payload's proxy: {}", failure.told()))
    })
}

/// Removes the copy, or what the payload has put in its place, where it is still the target's.
///
/// # Errors
/// The step that failed.
pub fn remove(root: &Root, target: &Target, copy: &ProxyCopy) -> Result<(), Failure> {
    as_target(root, target, || {
        is_free_for(target.uid(), copy)?;
        match unlinkat(AT_FDCWD, copy.target.as_c_str(), UnlinkatFlags::NoRemoveDir) {
            Err(Errno::ENOENT) => Ok(()),
            removed => removed,
        }
    })
}

/// Whether nothing is there, or a file of the target's.
fn is_free_for(target: Uid, copy: &ProxyCopy) -> Result<(), Errno> {
    match fstatat(AT_FDCWD, copy.target.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
        Ok(stat) if stat.st_uid != target.as_raw() => Err(Errno::EPERM),
        Ok(stat) if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() => {
            Err(Errno::EEXIST)
        }
        Ok(_) => Ok(()),
    }
}

fn as_target(
    root: &Root,
    target: &Target,
    work: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Failure> {
    let (uid, gid, groups) = (target.uid(), target.gid(), target.groups());
    let done = attempt(PATIENCE, &[], || {
        assume(root, &Identity { uid, real: None, gid, groups })?;
        work().map(|()| DONE).map_err(Failure::at(Step::Proxy))
    })?;
    // Else it waits for a file system, or was ended by somebody who may: the target's.
    let late = Failure { step: Step::Proxy, errno: Errno::ETIMEDOUT };
    if done == Some(DONE) { Ok(()) } else { Err(late) }
}
