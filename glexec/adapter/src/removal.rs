//! Removing what an account has left, for that account and out of its reach. Root itself would be led
//! astray by what it finds there; a process of the account's own is stopped by the account, and left
//! behind. So the adapter calls itself once more: as a process that may do to files what the account
//! may, and that nobody of the account may signal, stop or trace.

use super::command::BoundedCommand;
use super::tree;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::sys::prctl::set_dumpable;
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{
    Gid, Uid, UnlinkatFlags, getresgid, getresuid, setgroups, setresgid, setresuid, unlinkat,
};
use std::ffi::{CStr, CString, OsString};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// The first word of an adapter's call of itself.
const WORD: &str = "remove-tree";
/// uids that nobody has: real and saved uid of the process, by which the kernel judges who may signal
/// it. Two, for the tree of whoever has one of them.
const NOBODYS: [u32; 2] = [u32::MAX - 1, 65_533];
/// What the process gets beyond its time, to say that it was too short.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A directory to be removed with all that is in it.
#[derive(Debug)]
pub struct Removal<'a> {
    /// Its absolute path; no directory above it may be in the owner's hands.
    pub path: &'a Path,
    /// uid and gid with whose rights it is done.
    pub owner: (u32, u32),
    /// How long it may take.
    pub limit: Duration,
    /// Whether it stays, without an error, where somebody holds a lock on it (flock(2)).
    pub unless_held: bool,
}

impl Removal<'_> {
    /// Does it, in time. Needs root, and that the program calls [`remove_as_told`]. The directory
    /// itself stays, empty, where its owner may not remove it.
    ///
    /// # Errors
    /// One sentence: what stays, and why.
    pub fn run(self) -> Result<(), String> {
        let shown = self.path.display();
        let (uid, gid) = self.owner;
        // By its name, for whoever looks at the processes; by what it is, where that was replaced.
        let this = std::env::current_exe().ok().filter(|this| this.exists());
        let tool = BoundedCommand {
            program: this.as_deref().unwrap_or(Path::new("/proc/self/exe")),
            words: vec![
                WORD.into(),
                uid.to_string().into(),
                gid.to_string().into(),
                self.limit.as_millis().to_string().into(),
                u32::from(self.unless_held).to_string().into(),
                self.path.into(),
            ],
            environment: Vec::new(),
            ids: None,
            limit: self.limit + LAST_WORDS,
            end_it: true,
        };
        match tool.run() {
            Ok(answer) if answer.code == Some(0) => Ok(()),
            Ok(answer) if answer.late => {
                Err(format!("{shown} stays: a file system in it does not answer"))
            }
            Ok(answer) => Err(format!("{shown} stays: {}", answer.stderr.trim())),
            Err(error) => Err(format!("{shown} stays: its removal cannot be started: {error}")),
        }
    }
}

/// The program's end of [`Removal`]: the exit code, where it was called by itself. Every program that
/// has something removed asks this first of all.
#[must_use]
pub fn remove_as_told(words: &[OsString]) -> Option<u8> {
    let [word, uid, gid, limit, unless_held, path] = words else { return None };
    if word != WORD {
        return None;
    }
    let number = |word: &OsString| word.to_str()?.parse::<u32>().ok();
    let (Some(uid), Some(gid), Some(limit)) = (number(uid), number(gid), number(limit)) else {
        return Some(complain("this is how glexec's adapters call themselves; nobody else does"));
    };
    if let Err(errno) = step_out_of_reach(uid, gid) {
        let text = format!("the rights of uid {uid} cannot be had: {}", errno.desc());
        return Some(complain(&text));
    }
    let until = Instant::now() + Duration::from_millis(limit.into());
    match remove(Path::new(path), until, unless_held != "0") {
        Ok(()) => Some(0),
        Err(error) => Some(complain(&error.to_string())),
    }
}

fn complain(text: &str) -> u8 {
    let _ = writeln!(io::stderr(), "{text}");
    1
}

/// The owner's rights to files, no way back to root, and a process that is nobody's.
fn step_out_of_reach(uid: u32, gid: u32) -> Result<(), Errno> {
    set_dumpable(false)?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&[])?;
    if uid.is_root() {
        // Root's own: only root reaches it as it is.
        return Ok(());
    }
    let apart = NOBODYS.into_iter().map(Uid::from_raw).find(|apart| *apart != uid);
    let apart = apart.ok_or(Errno::EINVAL)?;
    setresgid(gid, gid, gid)?;
    setresuid(apart, uid, apart)?;
    let (uids, gids) = (getresuid()?, getresgid()?);
    let as_planned = (uids.real, uids.effective, uids.saved) == (apart, uid, apart)
        && (gids.real, gids.effective, gids.saved) == (gid, gid, gid);
    let root = Uid::from_raw(0);
    if !as_planned || setresuid(root, root, root).is_ok() {
        return Err(Errno::EPERM);
    }
    // The kernel sets it anew where ids change.
    set_dumpable(false)
}

fn remove(path: &Path, until: Instant, unless_held: bool) -> io::Result<()> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(tree::about(path)(Errno::EINVAL));
    };
    let name = CString::new(name.as_bytes())?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let above = open(above, flags, Mode::empty()).map_err(tree::about(above))?;
    let device = fstat(&above).map_err(tree::about(path))?.st_dev;
    let directory = match tree::enter(above.as_fd(), &name, device) {
        Err(Errno::ENOENT) => return Ok(()),
        entered => entered.map_err(tree::about(path))?,
    };
    if !unless_held {
        return empty(&above, &name, &directory, until);
    }
    match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => empty(&above, &name, &lock, until),
        Err((_, Errno::EAGAIN)) => Ok(()),
        Err((_, errno)) => Err(tree::about(path)(errno)),
    }
}

fn empty(above: &OwnedFd, name: &CStr, directory: &OwnedFd, until: Instant) -> io::Result<()> {
    tree::clear_until(directory.as_fd(), &[], Some(until))?;
    match unlinkat(above, name, UnlinkatFlags::RemoveDir) {
        // The directory above is root's, who removes what is empty now.
        Ok(()) | Err(Errno::ENOENT | Errno::EACCES | Errno::EPERM) => Ok(()),
        Err(errno) => Err(tree::about(tree::os(name))(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_anothers_remove_nothing() {
        let words = |all: &[&str]| all.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(remove_as_told(&[]), None);
        assert_eq!(remove_as_told(&words(&["remove-tree"])), None);
        assert_eq!(remove_as_told(&words(&["x", "1", "1", "1", "0", "/nowhere"])), None);
        assert_eq!(
            remove_as_told(&words(&["remove-tree", "x", "1", "1", "0", "/nowhere"])),
            Some(1)
        );
    }
}
