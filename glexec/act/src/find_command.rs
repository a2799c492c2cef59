//! Looks for the command, and for where it may begin, with the target's rights, before anything is
//! started.

use super::root::{Root, set_effective};
use contract::Reason;
use decide::facts::Caller;
use decide::plan::Found;
use decide::refusal::Refusal;
use decide::target::Target;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlink};
use nix::sys::stat::{FileStat, Mode, SFlag, stat};
use nix::unistd::{AccessFlags, Gid, Uid, faccessat};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};
use system::kernel;
use system::process;
use system::text::escaped;

/// Whose rights the look is taken with.
#[derive(Debug, Clone, Copy)]
pub enum LookupRights<'t> {
    /// The target's, by a process of this caller's.
    Target(&'t Target, &'t Caller),
    /// The caller's: the command lies in a directory that is not the target's yet.
    Caller(Uid),
    /// Those that this process has: in log-only mode there are no others.
    Own,
}

/// What [`find`] looks for.
#[derive(Debug, Clone, Copy)]
pub struct Sought<'s> {
    /// The paths at which the command may be, in their order.
    pub commands: &'s [CString],
    /// The directories in which the payload may begin, in their order; none where it begins in one
    /// that is not the target's yet.
    pub directories: Option<&'s [CString]>,
}

/// Finds the first command that the looker may execute, and how many of the directories come before
/// the first that it may enter.
///
/// The process takes the target's effective ids for the look and puts them back; with the
/// caller's real and root's saved ids it belongs to neither meanwhile.
///
/// # Errors
/// [`Reason::CommandNotFound`], [`Reason::CommandNotExecutable`], [`Reason::DirectoryClosed`];
/// [`Reason::Switch`].
pub fn find(
    root: &Root,
    looker: LookupRights<'_>,
    sought: Sought<'_>,
) -> Result<(Found, usize), Refusal> {
    let candidates = sought.commands;
    let search = || Ok((search(candidates)?, sought.directories.map_or(Some(0), closed)));
    let searched = match looker {
        LookupRights::Own => search(),
        LookupRights::Target(target, caller) => as_target(root, target, caller, search)?,
        LookupRights::Caller(uid) => {
            set_effective(uid);
            let searched = search();
            set_effective(Uid::from_raw(0));
            searched
        }
    };
    let (found, closed) = searched.map_err(|trouble| match trouble {
        Some((path, errno)) => {
            let what = "the command may not be executed by the mapped account";
            Refusal::new(Reason::CommandNotExecutable, format!("{what}: {}", errno.desc()))
                .detail(format!("{}: {}", escaped(path.to_bytes()), errno.desc()))
                .hint("check its permissions and those of its directories")
        }
        None => {
            let shown = candidates.first().map(|path| escaped(path.as_bytes())).unwrap_or_default();
            Refusal::new(
                Reason::CommandNotFound,
                "the command does not exist for the mapped account",
            )
            .detail(format!("{shown} and {} more places", candidates.len().saturating_sub(1)))
            .hint("give an absolute path that this account can reach")
        }
    })?;
    let only = || {
        let first = sought.directories.unwrap_or_default().first();
        first.map_or_else(|| "the caller's directory".to_owned(), |path| escaped(path.as_bytes()))
    };
    Ok((found, closed.ok_or_else(|| directory_closed(&only()))?))
}

/// That the target can get to what it is to have for the run: otherwise it would begin elsewhere, and
/// leave there what it makes.
///
/// A directory that `caller` cannot enter either is for [`Reason::HandOver`] to refuse.
///
/// # Errors
/// [`Reason::DirectoryClosed`], which names the directory; [`Reason::Switch`].
pub fn ways_are_open(
    root: &Root,
    target: &Target,
    caller: &Caller,
    given: &[Vec<u8>],
) -> Result<(), Refusal> {
    if given.is_empty() {
        return Ok(());
    }
    let barred = as_target(root, target, caller, || given.iter().find_map(|path| barrier(path)))?;
    let Some(barred) = barred else { return Ok(()) };
    set_effective(caller.uid());
    let callers = enters(&barred);
    set_effective(Uid::from_raw(0));
    if callers.is_ok() { Err(directory_closed(&escaped(barred.as_bytes()))) } else { Ok(()) }
}

/// The first directory above this one that may not be entered. Where something on the way is not there
/// or no directory, nothing is barred: handing over refuses it.
fn barrier(path: &[u8]) -> Option<CString> {
    let path: PathBuf = Path::new(OsStr::from_bytes(path)).components().collect();
    if path.is_relative() || path.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    for directory in above {
        let directory = CString::new(directory.as_os_str().as_bytes()).ok()?;
        match enters(&directory) {
            Ok(()) => {}
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return None,
            Err(_) => return Some(directory),
        }
    }
    None
}

fn directory_closed(path: &str) -> Refusal {
    let what = format!("the mapped account may not enter {path}");
    Refusal::new(Reason::DirectoryClosed, what).hint("open that directory to it (mode a+x)")
}

/// The first that may be executed, or the first that is there and may not.
fn search(candidates: &[CString]) -> Result<Found, Option<(&CStr, Errno)>> {
    let mut trouble = None;
    for path in candidates {
        match look(path) {
            Ok(resolved) => return Ok(Found { path: path.clone(), resolved }),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
            Err(errno) => {
                trouble.get_or_insert((path.as_c_str(), errno));
            }
        }
    }
    Err(trouble)
}

/// How many of these come before one that may be entered; `None` where none may.
fn closed(directories: &[CString]) -> Option<usize> {
    let enters = |path: &CString| {
        // With a slash at its end the path leads to a directory or nowhere.
        let path = [path.as_bytes(), b"/"].concat();
        faccessat(AT_FDCWD, path.as_slice(), AccessFlags::X_OK, AtFlags::AT_EACCESS).is_ok()
    };
    directories.iter().position(enters)
}

/// Whether this is a directory, and no link to one, that may be entered.
fn enters(path: &CStr) -> Result<(), Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(AT_FDCWD, path, flags, Mode::empty())?;
    faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS)
}

/// Whether a path leads to a regular file that may be executed, and where it leads.
fn look(path: &CStr) -> Result<Vec<u8>, Errno> {
    let file = openat(AT_FDCWD, path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let name = process::descriptor_name(file.as_fd()).ok_or(Errno::EINVAL)?;
    let FileStat { st_mode, .. } = stat(name.as_c_str())?;
    match SFlag::from_bits_truncate(st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => {}
        SFlag::S_IFDIR => return Err(Errno::EISDIR),
        _ => return Err(Errno::EACCES),
    }
    faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS)?;
    Ok(readlink(name.as_c_str()).map_or_else(|_| path.to_bytes().to_vec(), OsString::into_vec))
}

fn as_target<T>(
    _root: &Root,
    target: &Target,
    caller: &Caller,
    work: impl FnOnce() -> T,
) -> Result<T, Refusal> {
    const SAME: Gid = Gid::from_raw(u32::MAX);
    let failed = |what: &str, errno: Errno| {
        Refusal::new(Reason::Switch, "the identity switch failed; see the log")
            .detail(format!("looking for the command: {what}: {}", errno.desc()))
    };
    kernel::set_groups(target.groups()).map_err(|e| failed("setgroups", e))?;
    let done = kernel::set_gids(SAME, target.gid(), SAME).map(|()| {
        set_effective(target.uid());
        let done = work();
        set_effective(Uid::from_raw(0));
        done
    });
    let back = kernel::set_gids(SAME, caller.gid(), SAME)
        .and_then(|()| kernel::set_groups(caller.groups()));
    if back.is_err() {
        // Neither the caller nor the target: this must not go on.
        kernel::exit_now(Reason::Switch.fault().exit_code());
    }
    done.map_err(|e| failed("setresgid", e))
}
