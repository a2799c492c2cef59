//! The state directory: one locked file for each lingering run that owes something. A file
//! without a lock is a debt.

use super::root::Root;
use super::trusted::{self, Untrusted};
use crate::contract::Reason;
use crate::decide::config::StateRule;
use crate::decide::entry::{self, Entry, Person, Phase, Story, Unreadable};
use crate::decide::stop::Stop;
use crate::decide::trust::Trust;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};
use nix::unistd::{Pid, Uid, UnlinkatFlags, fsync, unlinkat, write};
use serde::Serialize;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::SystemTime;

/// The most that an entry may be: an exec's argument block, escaped, and its phases.
const MOST: u64 = 16 << 20;
/// What a file is called that was set aside: nobody touches it any more.
const ASIDE: &str = "aside.";
/// What a file is called until it is whole.
const NEW: &str = "new.";

/// The open state directory.
#[derive(Debug)]
pub(crate) struct StateDir {
    directory: OwnedFd,
    path: String,
    sync: bool,
}

/// An entry that this process has locked.
#[derive(Debug)]
pub(crate) struct Ledger {
    directory: OwnedFd,
    name: String,
    file: OwnedFd,
    sync: bool,
}

/// One file of the directory.
#[derive(Debug)]
pub(crate) enum Found {
    /// Its glexec lives, or another sweep is at it.
    Live { story: Option<Box<Story>>, holder: Pid },
    /// A debt: locked by us.
    Owed(Box<(Ledger, Story)>),
    /// Set aside before, or nothing of ours; why.
    Odd(String),
}

impl StateDir {
    /// Opens the directory, and makes it where only the last name is missing.
    ///
    /// # Errors
    /// [`Reason::State`].
    pub(crate) fn open(root: &Root, rule: &StateRule) -> Result<Self, Stop> {
        let path = &rule.directory;
        let refuse = |why: &str| state(format!("{path} {why}; it must be root's alone (0700)"));
        let because = |untrusted: Untrusted| state(untrusted.clause().to_owned());
        let trust = Trust::default();
        let (parent, name) = trusted::open_parent(root, path, &trust).map_err(because)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let open = || openat(&parent, name, flags, Mode::empty());
        let directory = match open() {
            Err(Errno::ENOENT) => {
                mkdirat(&parent, name, Mode::S_IRWXU).map_err(|e| refuse(e.desc()))?;
                open()
            }
            opened => opened,
        };
        let directory = directory.map_err(|e| refuse(e.desc()))?;
        trusted::judge(&directory, path, SFlag::S_IFDIR, &trust).map_err(because)?;
        if trusted::mode(&directory) & 0o077 != 0 {
            return Err(refuse("can be entered by others than root"));
        }
        Ok(Self { directory, path: path.clone(), sync: rule.sync })
    }

    /// Every name in it.
    pub(crate) fn names(&self) -> Result<Vec<String>, Stop> {
        let failed = |e: Errno| state(format!("{}: {}", self.path, e.desc()));
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut list =
            nix::dir::Dir::openat(&self.directory, ".", flags, Mode::empty()).map_err(failed)?;
        let names = list.iter().filter_map(|entry| {
            let entry = entry.ok()?;
            entry.file_name().to_str().ok().map(str::to_owned)
        });
        let mut names: Vec<String> = names.filter(|name| name != "." && name != "..").collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The names that stand for runs, or for nothing of ours.
    pub(crate) fn entries(&self) -> Result<Vec<String>, Stop> {
        let is_other = |name: &String| OTHERS.iter().any(|begin| name.starts_with(begin));
        Ok(self.names()?.into_iter().filter(|name| !is_other(name)).collect())
    }

    /// The directory itself.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// That a file of it cannot be used.
    pub(super) fn unusable(&self, name: &str, errno: Errno) -> Stop {
        state(format!("{}/{name}: {}", self.path, errno.desc()))
    }

    /// That this caller may have one more run.
    ///
    /// # Errors
    /// [`Reason::State`]; [`Reason::TooManyRuns`].
    pub(crate) fn has_room(&self, caller: &Person, most_runs: u32) -> Result<(), Stop> {
        let mine = name_begins(caller);
        let runs = self.names()?.iter().filter(|name| name.starts_with(&mine)).count();
        if u32::try_from(runs).is_ok_and(|runs| runs < most_runs) {
            return Ok(());
        }
        let sentence = format!("you have {runs} lingering runs, and {most_runs} is the most here");
        Err(Stop::new(Reason::TooManyRuns, sentence).hint("wait until some of them end"))
    }

    /// Writes down a run before anything of it can exist: under a name that nobody looks at,
    /// locked, whole, and only then under its own.
    ///
    /// # Errors
    /// [`Reason::State`]; [`Reason::TooManyRuns`].
    pub(crate) fn begin(&self, entry: &Entry, most_runs: u32) -> Result<Ledger, Stop> {
        self.has_room(&entry.caller, most_runs)?;
        let mine = name_begins(&entry.caller);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanoseconds = since.map_or(0, |d| d.as_nanos());
        let name = format!("{mine}{}.{}.{nanoseconds:x}", entry.target.uid, entry.glexec.pid);
        let failed =
            |what: &str, e: Errno| state(format!("{}/{name}: {what}: {}", self.path, e.desc()));
        let hidden = format!("{NEW}{name}");
        let flags =
            OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = openat(&self.directory, hidden.as_str(), flags | OFlag::O_CLOEXEC, mode)
            .map_err(|e| failed("creating it", e))?;
        let directory = self.directory.try_clone().map_err(|_| failed("a copy", Errno::EMFILE))?;
        let mut ledger = Ledger { directory, name: hidden, file, sync: self.sync };
        let written = lock(&ledger.file)
            .and_then(|()| ledger.write(entry))
            .and_then(|()| ledger.rename(&name));
        match written {
            Ok(()) => Ok(ledger),
            Err(errno) => {
                let _ = ledger.remove();
                Err(failed("writing it", errno))
            }
        }
    }

    /// Looks at one file; takes its lock, or only looks whether somebody has it. `None` where it
    /// is gone meanwhile, or was never finished.
    pub(crate) fn examine(&self, name: &str, take: bool) -> Option<Found> {
        let odd = |why: &str| Some(Found::Odd(why.to_owned()));
        if name.starts_with(ASIDE) {
            return odd("was set aside");
        }
        let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = match openat(
            &self.directory,
            name,
            flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY,
            Mode::empty(),
        ) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return None,
            Err(errno) => return odd(&format!("cannot be opened: {}", errno.desc())),
        };
        let Ok(stat) = fstat(&file) else { return odd("cannot be looked at") };
        let regular = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
        if !regular || stat.st_uid != 0 || stat.st_mode & 0o077 != 0 || stat.st_nlink > 1 {
            return odd("is not a file of root's alone");
        }
        if name.starts_with(NEW) {
            if take && is_old(&stat) && lock(&file).is_ok() {
                let _ = unlinkat(&self.directory, name, UnlinkatFlags::NoRemoveDir);
            }
            return None;
        }
        let holder = if take { lock(&file).err().map(|_| holder(&file)) } else { held(&file) };
        // Between our open and our lock its owner may have paid and removed it.
        if holder.is_none() && fstat(&file).is_ok_and(|stat| stat.st_nlink == 0) {
            return None;
        }
        let story = read(&file).map_err(|e| e.clause());
        match (holder, story) {
            (Some(holder), story) => Some(Found::Live { story: story.ok().map(Box::new), holder }),
            (None, Err(why)) => odd(&why),
            (None, Ok(story)) => {
                let directory = self.directory.try_clone().ok()?;
                let ledger = Ledger { directory, name: name.to_owned(), file, sync: self.sync };
                Some(Found::Owed(Box::new((ledger, story))))
            }
        }
    }
}

/// How the names begin that are no entries: an account's lock, that of a directory that is
/// handed over, and what was not given back.
const OTHERS: [&str; 3] = ["account.", "handed.", "quarantine"];

/// The uid of the target that an entry's name tells, one set aside or not yet whole included.
pub(super) fn user_of(name: &str) -> Option<Uid> {
    let name = name.strip_prefix(ASIDE).or_else(|| name.strip_prefix(NEW)).unwrap_or(name);
    let mut words = name.strip_prefix("run.")?.split('.');
    words.nth(1)?.parse().ok().map(Uid::from_raw)
}

/// `run.<uid of the caller>.`, which all its entries begin with.
fn name_begins(caller: &Person) -> String {
    format!("run.{}.", caller.uid)
}

impl Ledger {
    /// Adds a phase. What is written is there whatever is killed; with `state_sync` whatever
    /// loses its power, too.
    ///
    /// # Errors
    /// write(2)'s; half a line is no line.
    pub(crate) fn add(&self, phase: &Phase) -> Result<(), Errno> {
        self.write(phase)
    }

    fn write(&self, value: &impl Serialize) -> Result<(), Errno> {
        let line = entry::line(value).ok_or(Errno::EINVAL)?;
        if write(&self.file, &line)? != line.len() {
            return Err(Errno::ENOSPC);
        }
        if self.sync { fsync(&self.file) } else { Ok(()) }
    }

    fn rename(&mut self, to: &str) -> Result<(), Errno> {
        renameat(&self.directory, self.name.as_str(), &self.directory, to)?;
        to.clone_into(&mut self.name);
        if self.sync { fsync(&self.directory) } else { Ok(()) }
    }

    /// Removes the entry: all is paid.
    ///
    /// # Errors
    /// unlinkat(2)'s.
    pub(crate) fn remove(&self) -> Result<(), Errno> {
        unlinkat(&self.directory, self.name.as_str(), UnlinkatFlags::NoRemoveDir)
    }

    /// Sets the entry aside: kept for a person to look at, and no more tried.
    ///
    /// # Errors
    /// renameat(2)'s.
    pub(crate) fn set_aside(&mut self) -> Result<(), Errno> {
        let aside = format!("{ASIDE}{}", self.name);
        self.rename(&aside)
    }
}

/// The whole of a file as a lock: fcntl(2)'s, which a child does not inherit.
pub(super) fn whole(kind: i32) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(kind).unwrap_or(0),
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn lock(file: &OwnedFd) -> Result<(), Errno> {
    fcntl(file, FcntlArg::F_SETLK(&whole(libc::F_WRLCK))).map(drop)
}

/// Who holds the lock; pid 0 where that cannot be told, or nobody does any more.
fn holder(file: &OwnedFd) -> Pid {
    held(file).unwrap_or(Pid::from_raw(0))
}

fn held(file: &OwnedFd) -> Option<Pid> {
    let mut asked = whole(libc::F_WRLCK);
    fcntl(file, FcntlArg::F_GETLK(&mut asked)).ok()?;
    let free = i32::from(asked.l_type) == libc::F_UNLCK;
    (!free).then(|| Pid::from_raw(asked.l_pid))
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
fn read(file: &OwnedFd) -> Result<Story, Unreadable> {
    let garbage = |why: String| Unreadable::Garbage(why);
    let size = fstat(file).map_or(0, |stat| stat.st_size);
    if u64::try_from(size).is_ok_and(|size| size > MOST) {
        return Err(garbage(format!("it has more than {MOST} bytes")));
    }
    let mut text = Vec::with_capacity(usize::try_from(size).unwrap_or(0).saturating_add(64));
    let mut chunk = vec![0u8; 65_536];
    loop {
        let at = i64::try_from(text.len()).unwrap_or(i64::MAX);
        match nix::sys::uio::pread(file.as_fd(), &mut chunk, at) {
            Ok(0) => return Story::read(&text),
            Ok(length) => text.extend_from_slice(chunk.get(..length).unwrap_or_default()),
            Err(errno) => return Err(garbage(errno.desc().to_owned())),
        }
        if u64::try_from(text.len()).is_ok_and(|length| length > MOST) {
            return Err(garbage(format!("it has more than {MOST} bytes")));
        }
    }
}

fn state(detail: String) -> Stop {
    Stop::new(Reason::State, "the state directory cannot be used; see the log").detail(detail)
}

/// The boot and the pid namespace this process is in.
pub(super) fn place() -> Option<entry::Place> {
    let mut boot = String::new();
    let file = super::process::open_proc("/proc/sys/kernel/random/boot_id")?;
    File::from(file).take(64).read_to_string(&mut boot).ok()?;
    let pid_namespace = nix::sys::stat::stat("/proc/self/ns/pid").ok()?.st_ino;
    Some(entry::Place { boot: boot.trim().to_owned(), pid_namespace })
}
