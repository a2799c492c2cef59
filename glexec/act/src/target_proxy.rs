//! The payload's copy of a proxy: written and removed by a child that is the target, and nobody
//! else, so that no file is touched which the target may not touch.
//!
//! It is written under a name that nobody guesses, and only then gets its own: what it is known by
//! can be written down in between, so that whoever finds the run lost removes this file and no other.

use super::exec_status::{Failure, Step};
use super::helper::attempt;
use super::identity::{Identity, assume};
use super::root::Root;
use contract::Reason;
use decide::entry::{OwedProxy, Person, ProxyFile};
use decide::plan::Plan;
use decide::proxy_copy::ProxyCopy;
use decide::refusal::Refusal;
use decide::reporter::{Level, Reporter};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, pipe2, read, unlinkat, write};
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;
use system::kernel;
use system::text::escaped;

/// For a few system calls on a file system of the target's choice, on a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// How a child ends that has done its work.
const DONE: u8 = 0;
/// How it ends where something else is at the place.
const ANOTHER: u8 = 1;
/// How it ends where it cannot tell whether the file is gone.
const UNKNOWN: u8 = 2;
/// How it ends where the copy is to replace a file.
const REPLACES: u8 = 3;
/// A [`ProxyFile`] on its way through a pipe, in bytes.
const LENGTH: usize = 32;

/// What became of a proxy that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Gone,
    /// Something else is at its place, and was left there.
    Another,
}

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

/// A copy under its first name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// What it is known by.
    pub file: ProxyFile,
    /// Whether there is a file of the target's that it will replace.
    pub replaces: bool,
}

/// Writes the copy under its first name, for the target alone to read.
///
/// # Errors
/// [`Reason::Credential`] where the target may not write there, [`Reason::Switch`].
pub fn begin(root: &Root, who: &Person, copy: &ProxyCopy, proxy: &[u8]) -> Result<Begun, Refusal> {
    let first = copy.first_name.as_c_str();
    let (told, teller) = pipe2(OFlag::O_CLOEXEC)
        .map_err(|errno| refused(copy, Failure { step: Step::Start, errno }))?;
    let written = as_target(root, who, &[teller.as_raw_fd()], || {
        let replaces = is_free_for(Uid::from_raw(who.uid), copy)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = openat(AT_FDCWD, first, flags | OFlag::O_CLOEXEC, mode)?;
        let known = write_all(&file, proxy)
            .and_then(|()| known_by(&file, &copy.target))
            .and_then(|known| write_all(&teller, &bytes_of(&known)));
        known.inspect_err(|_| {
            let _ = unlink(first);
        })?;
        Ok(if replaces { REPLACES } else { DONE })
    });
    drop(teller);
    let replaces = written.map_err(|failure| refused(copy, failure))? == REPLACES;
    let mut bytes = [0; LENGTH];
    match read(&told, &mut bytes) {
        Ok(LENGTH) => Ok(Begun { file: of_bytes(bytes), replaces }),
        Ok(_) | Err(_) => Err(refused(copy, Failure { step: Step::Start, errno: Errno::EIO })),
    }
}

/// Gives the copy its own name. What is there under it is replaced where it is the target's.
///
/// # Errors
/// As [`begin`].
pub fn finish(root: &Root, who: &Person, copy: &ProxyCopy) -> Result<(), Refusal> {
    let (first, target) = (copy.first_name.as_c_str(), copy.target.as_c_str());
    let named = as_target(root, who, &[], || {
        let free = is_free_for(Uid::from_raw(who.uid), copy);
        let named = free.and_then(|_| renameat(AT_FDCWD, first, AT_FDCWD, target));
        named.map(|()| DONE).inspect_err(|_| {
            let _ = unlink(first);
        })
    });
    named.map(drop).map_err(|failure| refused(copy, failure))
}

fn refused(copy: &ProxyCopy, failure: Failure) -> Refusal {
    let (path, why) = (escaped(copy.target.as_bytes()), failure.errno.desc());
    if failure.step == Step::Proxy {
        let sentence = format!(
            "the payload's copy cannot be written to {path}: {why}; set {} to where the target may write, or to /dev/null",
            copy.named_in
        );
        return Refusal::new(Reason::Credential, sentence);
    }
    Refusal::new(Reason::Switch, "the identity switch failed; see the log")
        .detail(format!("writing the payload's proxy: {}", failure.told()))
}

/// Removes the copy, or what the payload has put in its place, where it is still the target's.
fn remove(root: &Root, who: &Person, copy: &ProxyCopy) -> Result<Removed, Failure> {
    let code = as_target(root, who, &[], || {
        unlink(&copy.first_name)?;
        match is_free_for(Uid::from_raw(who.uid), copy) {
            Err(Errno::EPERM | Errno::EEXIST) => Ok(ANOTHER),
            Err(errno) => Err(errno),
            Ok(_) => unlink(&copy.target).map(|()| DONE),
        }
    })?;
    Ok(if code == ANOTHER { Removed::Another } else { Removed::Gone })
}

/// Removes a copy that has its first name only; whether it is gone.
pub fn give_up(root: &Root, who: &Person, copy: &ProxyCopy) -> bool {
    as_target(root, who, &[], || unlink(&copy.first_name).map(|()| DONE)).is_ok()
}

/// Removes the plan's copy, where there is one; whether nothing is owed of it any more.
pub(crate) fn remove_planned(root: &Root, plan: &Plan, reporter: &dyn Reporter) -> bool {
    let Some(copy) = &plan.proxy else { return true };
    let removed = remove(root, &plan.target.person(), copy);
    let path = escaped(copy.target.as_bytes());
    let (told, gone) = match removed {
        Ok(Removed::Gone) => return true,
        Ok(Removed::Another) => (
            format!("at {path} is something else than the payload's proxy; it is left there"),
            true,
        ),
        Err(failure) => {
            (format!("the payload's proxy {path} is left behind: {}", failure.told()), false)
        }
    };
    reporter.log(Level::Warning, &told);
    gone
}

/// Removes the copy of a lost run: the file that was written down and no other. `known` is none
/// where the run was lost before the file had its own name.
///
/// # Errors
/// What keeps it, or why it cannot be told whether it is gone.
pub fn remove_lost(
    root: &Root,
    who: &Person,
    owed: &OwedProxy,
    known: Option<&ProxyFile>,
) -> Result<Removed, String> {
    let name = |bytes: &[u8]| CString::new(bytes).map_err(|_| "its path has a NUL".to_owned());
    let (first, target) = (name(&owed.first_name.0)?, name(&owed.path.0)?);
    let removed = as_target(root, who, &[], || {
        unlink(&first)?;
        known.map_or(Ok(DONE), |known| remove_known(&target, known))
    });
    match removed {
        Ok(UNKNOWN) => Err("its directory is another one; perhaps it is not mounted".to_owned()),
        Ok(ANOTHER) => Ok(Removed::Another),
        Ok(_) => Ok(Removed::Gone),
        Err(failure) => Err(failure.told()),
    }
}

/// In the child: removes the file at a path where it is the one that is known.
fn remove_known(target: &CStr, known: &ProxyFile) -> Result<u8, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = match openat(AT_FDCWD, target, flags, Mode::empty()) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => {
            // Gone only from the directory that it was in.
            let now = fstatat(AT_FDCWD, directory_of(target).as_c_str(), AtFlags::empty());
            let same = now.is_ok_and(|now| now.st_ino == known.directory);
            return Ok(if same { DONE } else { UNKNOWN });
        }
        opened => opened?,
    };
    let now = known_by(&file, target)?;
    if (now.inode, now.stamp) != (known.inode, known.stamp) {
        return Ok(ANOTHER);
    }
    unlink(target).map(|()| DONE)
}

/// What a file is known by: its inode and when it was made, or, where the file system does not know
/// that, when it was written.
fn known_by(file: &OwnedFd, target: &CStr) -> Result<ProxyFile, Errno> {
    let status = kernel::status_of(file.as_fd(), true)?;
    let stat = fstat(file)?;
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let written = (seconds, u32::try_from(stat.st_mtime_nsec).unwrap_or(0));
    let stamp = if status.born == (0, 0) { written } else { status.born };
    let directory = fstatat(AT_FDCWD, directory_of(target).as_c_str(), AtFlags::empty())?.st_ino;
    Ok(ProxyFile { inode: status.inode, stamp, directory })
}

fn directory_of(path: &CStr) -> CString {
    let above = Path::new(OsStr::from_bytes(path.to_bytes())).parent();
    let above = above.map_or(&b"/"[..], |above| above.as_os_str().as_bytes());
    CString::new(above).unwrap_or_default()
}

fn bytes_of(known: &ProxyFile) -> Vec<u8> {
    let ProxyFile { inode, stamp: (seconds, nanoseconds), directory } = *known;
    [inode, seconds, nanoseconds.into(), directory].map(u64::to_ne_bytes).concat()
}

fn of_bytes(bytes: [u8; LENGTH]) -> ProxyFile {
    let mut words = bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_ne_bytes));
    let mut next = || words.next().unwrap_or(0);
    let (inode, seconds, nanoseconds, directory) = (next(), next(), next(), next());
    ProxyFile { inode, stamp: (seconds, u32::try_from(nanoseconds).unwrap_or(0)), directory }
}

/// That nothing is there, or a file of the target's: whether there is one.
fn is_free_for(target: Uid, copy: &ProxyCopy) -> Result<bool, Errno> {
    let is_file = |stat: &FileStat| stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
    match fstatat(AT_FDCWD, copy.target.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
        Ok(stat) if stat.st_uid != target.as_raw() => Err(Errno::EPERM),
        Ok(stat) if !is_file(&stat) => Err(Errno::EEXIST),
        Ok(_) => Ok(true),
    }
}

fn unlink(path: &CStr) -> Result<(), Errno> {
    match unlinkat(AT_FDCWD, path, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        removed => removed,
    }
}

fn write_all(file: &OwnedFd, mut left: &[u8]) -> Result<(), Errno> {
    while !left.is_empty() {
        let length = write(file, left)?;
        left = left.get(length..).unwrap_or_default();
    }
    Ok(())
}

fn as_target(
    root: &Root,
    who: &Person,
    kept: &[i32],
    work: impl FnOnce() -> Result<u8, Errno>,
) -> Result<u8, Failure> {
    let mut gids = who.gids.iter().copied().map(Gid::from_raw);
    let (uid, gid) = (Uid::from_raw(who.uid), gids.next());
    let groups: Vec<Gid> = gids.collect();
    let gid = gid.ok_or(Failure { step: Step::Gid, errno: Errno::EINVAL })?;
    let done = attempt(PATIENCE, kept, || {
        assume(root, &Identity { uid, real: None, gid, groups: &groups })?;
        work().map_err(Failure::at(Step::Proxy))
    })?;
    // Else it waits for a file system, or was ended by somebody who may: the target's.
    done.ok_or(Failure { step: Step::Proxy, errno: Errno::ETIMEDOUT })
}
