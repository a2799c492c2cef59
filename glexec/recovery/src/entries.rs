//! Entries of the state directory, read and taken by who pays.

use act::state::{ASIDE, NEW, RunRecord, StateDir, held, lock};
use contract::Reason;
use decide::recorded_run::{RecordedRun, Unreadable};
use decide::refusal::Refusal;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::SystemTime;
use system::text::escaped;

/// The most that is read of an entry: what may be written at the begin, and room for its phases.
const MOST: u64 = 16 << 20;

/// One file of the directory, as it is.
#[derive(Debug)]
pub enum Found {
    /// Its glexec lives, or a sweep is at it.
    Live(Option<Box<RecordedRun>>),
    /// A debt: nobody has it.
    Owed(Box<RecordedRun>),
    /// Not to be read, or nothing of ours; why.
    Odd(String),
}

/// One file of the directory, for who pays.
#[derive(Debug)]
pub(crate) enum Taken {
    /// A debt: locked by us.
    Owed(Box<(RunRecord, RecordedRun)>),
    /// Somebody holds its lock: what it says, as far as that can be read, and who.
    Held {
        /// What it says.
        recorded: Option<Box<RecordedRun>>,
        /// Who.
        holder: Option<Pid>,
    },
    /// Set aside before, not to be read, or nothing of ours; why.
    Odd(String),
}

/// An open entry, and what it tells or why it tells nothing.
type Read = (OwnedFd, Result<RecordedRun, String>);

/// Looks at one file, and whether somebody holds its lock; takes none. `None` where it is gone
/// meanwhile, or was never finished.
pub fn look(state: &StateDir, name: &str) -> Option<Found> {
    let (file, recorded) = match open(state, name) {
        Ok(read) => read?,
        Err(why) => return Some(Found::Odd(why)),
    };
    Some(match held(&file) {
        Ok(Some(_)) => Found::Live(recorded.ok().map(Box::new)),
        Ok(None) => recorded.map_or_else(Found::Odd, |recorded| Found::Owed(Box::new(recorded))),
        Err(errno) => Found::Odd(format!("its lock cannot be asked for: {}", errno.desc())),
    })
}

/// Takes a debt: reads the file, and where `wanted` wants what it tells, locks it. What nobody
/// asks for is not locked, or who looks would hold up who pays. `None` where it is gone
/// meanwhile, was never finished, or is not wanted.
pub(crate) fn take(
    state: &StateDir,
    name: &str,
    wanted: &dyn Fn(&RecordedRun) -> bool,
) -> Option<Taken> {
    let odd = |why: String| Some(Taken::Odd(why));
    if name.starts_with(NEW) {
        tidy(state, name);
        return None;
    }
    let (file, recorded) = match open(state, name) {
        Ok(read) => read?,
        Err(why) => return odd(why),
    };
    if recorded.as_ref().is_ok_and(|recorded| !wanted(recorded)) {
        return None;
    }
    if name.starts_with(ASIDE) {
        return odd("was set aside".to_owned());
    }
    match lock(&file) {
        Ok(()) => {}
        Err(Errno::EAGAIN | Errno::EACCES) => {
            let recorded = recorded.ok().map(Box::new);
            return match held(&file) {
                Ok(Some(holder)) => Some(Taken::Held { recorded, holder: Some(holder) }),
                // Let go meanwhile: to be tried again.
                Ok(None) => Some(Taken::Held { recorded, holder: None }),
                Err(errno) => odd(format!("its lock cannot be asked for: {}", errno.desc())),
            };
        }
        Err(errno) => return odd(format!("cannot be locked: {}", errno.desc())),
    }
    match fstat(&file) {
        // Between our open and our lock its owner may have paid and removed it.
        Ok(stat) if stat.st_nlink == 0 => return None,
        Ok(_) => {}
        Err(errno) => return odd(format!("cannot be looked at: {}", errno.desc())),
    }
    // Once more: it may have got further between the first look and the lock.
    let recorded = match read(&file) {
        Ok(recorded) => recorded,
        Err(unreadable) => return odd(unreadable.clause()),
    };
    let record = match RunRecord::locked(state, name.to_owned(), file) {
        Ok(record) => record,
        Err(e) => return odd(format!("cannot be kept: {e}")),
    };
    wanted(&recorded).then(|| Taken::Owed(Box::new((record, recorded))))
}

/// Takes an entry that was set aside, for a person who names it: by its name, with or without
/// what was put before it, or by its run's id.
///
/// # Errors
/// [`Reason::Usage`] where there is none of that name, or more than one; [`Reason::State`].
pub(crate) fn take_aside(state: &StateDir, wanted: &str) -> Result<RunRecord, Refusal> {
    let none = |what: &str| {
        let shown = escaped(wanted.as_bytes());
        Refusal::new(Reason::Usage, format!("'{shown}' {what}"))
            .hint("glexec-admin ps shows the names")
    };
    let is_meant = |name: &String| {
        let of_that_run = || {
            let read = open(state, name).ok().flatten();
            read.is_some_and(|(_, recorded)| recorded.is_ok_and(|s| s.entry.run_id == wanted))
        };
        name == wanted || name.strip_prefix(ASIDE) == Some(wanted) || of_that_run()
    };
    let mut meant = state.entries()?.into_iter().filter(|name| name.starts_with(ASIDE));
    let name = meant.find(is_meant).ok_or_else(|| none("is no run that was set aside"))?;
    let unusable = |errno: Errno| state.unusable(&name, errno);
    let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let flags = flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = openat(state.descriptor(), name.as_str(), flags, Mode::empty()).map_err(unusable)?;
    lock(&file).map_err(unusable)?;
    if fstat(&file).map_err(unusable)?.st_nlink == 0 {
        return Err(none("is not set aside any more"));
    }
    let kept = RunRecord::locked(state, name.clone(), file);
    kept.map_err(|_| state.unusable(&name, Errno::EMFILE))
}

/// Removes a file that was never finished, once it is a dead process's for certain. Where that
/// fails the next sweep tries again: nobody looks at such a file.
fn tidy(state: &StateDir, name: &str) {
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let Ok(file) = openat(state.descriptor(), name, flags, Mode::empty()) else { return };
    if fstat(&file).is_ok_and(|stat| is_old(&stat)) && lock(&file).is_ok() {
        let _ = unlinkat(state.descriptor(), name, UnlinkatFlags::NoRemoveDir);
    }
}

/// Opens and reads one file. `Ok(None)` where it is gone or was never finished.
fn open(state: &StateDir, name: &str) -> Result<Option<Read>, String> {
    if name.starts_with(NEW) {
        return Ok(None);
    }
    let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let flags = flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = match openat(state.descriptor(), name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(format!("cannot be opened: {}", errno.desc())),
    };
    let stat = fstat(&file).map_err(|e| format!("cannot be looked at: {}", e.desc()))?;
    let regular = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
    if !regular || stat.st_uid != 0 || stat.st_mode & 0o077 != 0 || stat.st_nlink > 1 {
        return Err("is not a file of root's alone".to_owned());
    }
    let recorded = read(&file).map_err(|e| e.clause());
    Ok(Some((file, recorded)))
}

/// Whether a file that was never finished is a dead process's for certain: between making and
/// locking one there is only a moment.
fn is_old(stat: &FileStat) -> bool {
    const SECONDS: i64 = 60;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    i64::try_from(now).is_ok_and(|now| now - stat.st_mtime > SECONDS)
}

/// Reads a copy of the descriptor's file from its begin. The descriptor itself stays open:
/// closing any one of a process's descriptors for a file gives its locks up.
fn read(file: &OwnedFd) -> Result<RecordedRun, Unreadable> {
    let garbage = |why: String| Unreadable::Garbage(why);
    let size = fstat(file).map_err(|errno| garbage(errno.desc().to_owned()))?.st_size;
    if u64::try_from(size).is_ok_and(|size| size > MOST) {
        return Err(garbage(format!("it has more than {MOST} bytes")));
    }
    let mut text = Vec::with_capacity(usize::try_from(size).unwrap_or(0).saturating_add(64));
    let mut chunk = vec![0u8; 65_536];
    loop {
        let at = i64::try_from(text.len()).unwrap_or(i64::MAX);
        match nix::sys::uio::pread(file.as_fd(), &mut chunk, at) {
            Ok(0) => return RecordedRun::read(&text),
            Ok(length) => text.extend_from_slice(chunk.get(..length).unwrap_or_default()),
            Err(errno) => return Err(garbage(errno.desc().to_owned())),
        }
        if u64::try_from(text.len()).is_ok_and(|length| length > MOST) {
            return Err(garbage(format!("it has more than {MOST} bytes")));
        }
    }
}
