//! The state directory: one locked file for each lingering run that owes something. A file
//! without a lock is a debt.

mod claim;
mod record;
mod settling;

use super::root::Root;
pub(crate) use claim::Claim;
use contract::Reason;
use decide::config::StateRule;
use decide::entry::{self, Entry, Person};
use decide::refusal::Refusal;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{Pid, Uid};
pub use record::{RunRecord, held, lock};
pub(crate) use record::{whole, write_all};
pub use settling::Settling;
use std::cell::Cell;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::SystemTime;
use system::file_trust::Trust;
use system::kernel;
use system::secure_open::{self, Untrusted};

/// The most that a run may write down at its begin, in bytes: an exec's argument block of 2 MiB at
/// its worst.
const MOST_AT_BEGIN: usize = 4 << 20;
/// Entries up to this size are bounded by their number alone.
const SMALL: usize = 64 << 10;
/// Where a caller's entries are more than this together, there is no further one that is not small.
const MOST_OF_CALLER: u64 = 64 << 20;
/// What a file is called that was set aside: nobody touches it any more.
pub const ASIDE: &str = "aside.";
/// What a file is called until it is whole.
pub const NEW: &str = "new.";
/// What the lock is called that a caller's settling holds; its uid follows.
const SETTLING: &str = "settling.";
/// What a run's file is called before there is an entry; its caller's uid, pid and birth follow.
const CLAIM: &str = "claim.";

/// The open state directory.
#[derive(Debug)]
pub struct StateDir {
    directory: OwnedFd,
    path: String,
    sync: bool,
}

impl StateDir {
    /// Opens the directory, and makes it where only the last name is missing.
    ///
    /// # Errors
    /// [`Reason::State`].
    pub fn open(_root: &Root, rule: &StateRule) -> Result<Self, Refusal> {
        let path = &rule.directory;
        let refuse = |why: &str| {
            state(format!("state_dir: {path} {why}; it must be a directory of root's alone (0700)"))
        };
        let because = |untrusted: Untrusted| {
            let cure = match untrusted {
                Untrusted::Missing(_) => "make it, root's",
                Untrusted::Exhausted(_) => "close some descriptors",
                Untrusted::Changeable(..) | Untrusted::Because(_) => {
                    "it must be root's, and so must every directory above it"
                }
            };
            state(format!("state_dir: {}; {cure}", untrusted.clause()))
        };
        let trust = Trust::default();
        let (parent, name) = secure_open::open_parent(path, &trust).map_err(because)?;
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
        let judged = secure_open::judge(&directory, path, SFlag::S_IFDIR, &trust);
        if judged.map_err(because)?.st_mode & 0o077 != 0 {
            return Err(refuse("can be entered by others than root"));
        }
        Ok(Self { directory, path: path.clone(), sync: rule.sync })
    }

    /// Every name in it.
    pub fn names(&self) -> Result<Vec<String>, Refusal> {
        let mut names = self.names_where(|_| true)?;
        names.sort_unstable();
        Ok(names)
    }

    /// Those of its names that are wanted, in any order: many are another caller's.
    fn names_where(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, Refusal> {
        let mut names = Vec::new();
        self.each_name(|name| names.extend(wanted(name).then(|| name.to_owned())))?;
        Ok(names)
    }

    /// Tells each of its names, in any order.
    pub(crate) fn each_name(&self, mut tell: impl FnMut(&str)) -> Result<(), Refusal> {
        let failed = |e: Errno| state(format!("{}: {}", self.path, e.desc()));
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        // Opened anew: whoever has this descriptor, too, shares where its reading is.
        let list = openat(&self.directory, ".", flags, Mode::empty()).map_err(failed)?;
        let listed = kernel::for_each_name(list.as_fd(), |name| {
            // A name that is no text is none that this program gives.
            let name = std::str::from_utf8(name).ok();
            name.filter(|name| !matches!(*name, "." | "..")).into_iter().for_each(&mut tell);
        });
        listed.map_err(failed)
    }

    /// The names that stand for runs, or for nothing of ours.
    pub fn entries(&self) -> Result<Vec<String>, Refusal> {
        let is_other = |name: &String| OTHERS.iter().any(|begin| name.starts_with(begin));
        Ok(self.names()?.into_iter().filter(|name| !is_other(name)).collect())
    }

    /// The directory itself.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Opens a file of it whose lock counts, and makes it where it is not there.
    pub(crate) fn open_lock(&self, name: &str) -> Result<OwnedFd, Refusal> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|e| self.unusable(name, e))
    }

    /// Whether what is written in it has to survive a loss of power.
    pub(crate) const fn syncs(&self) -> bool {
        self.sync
    }

    /// That a file of it cannot be used.
    pub fn unusable(&self, name: &str, errno: Errno) -> Refusal {
        state(format!("{}/{name}: {}", self.path, with_cure(errno)))
    }

    /// That this caller may have one more run.
    ///
    /// # Errors
    /// [`Reason::State`]; [`Reason::TooManyRuns`].
    pub fn has_room(&self, caller: &Person, most_runs: u32) -> Result<(), Refusal> {
        let mine = name_begins(caller.uid);
        let runs = self.names_where(|name| name.starts_with(&mine))?.len();
        if u32::try_from(runs).is_ok_and(|runs| runs < most_runs) {
            return Ok(());
        }
        Err(too_many(runs, most_runs))
    }

    /// That so many bytes of this caller's may be written down. Of a small entry its number is all
    /// that counts, so an ordinary launch asks for no sizes.
    ///
    /// # Errors
    /// [`Reason::ArgumentsTooLong`]; [`Reason::TooManyRuns`]; [`Reason::State`].
    pub(crate) fn has_room_for(&self, caller: &Person, length: usize) -> Result<(), Refusal> {
        if length > MOST_AT_BEGIN {
            let sentence = "your environment is too large to be written down for the epilogue";
            return Err(Refusal::new(Reason::ArgumentsTooLong, sentence)
                .detail(format!("the entry would have {length} bytes of {MOST_AT_BEGIN}"))
                .hint("unset large GLEXEC_* variables, or pass files instead"));
        }
        if length <= SMALL {
            return Ok(());
        }
        let mine = name_begins(caller.uid);
        let mut sum = u64::try_from(length).unwrap_or(u64::MAX);
        for name in &self.names_where(|name| name.starts_with(&mine))? {
            match fstatat(&self.directory, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) => sum = sum.saturating_add(u64::try_from(stat.st_size).unwrap_or(0)),
                // Paid meanwhile.
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(self.unusable(name, errno)),
            }
        }
        if sum <= MOST_OF_CALLER {
            return Ok(());
        }
        let sentence = "your lingering runs have large environments, and no room is left for more";
        Err(Refusal::new(Reason::TooManyRuns, sentence)
            .detail(format!("the entries would have {sum} bytes of {MOST_OF_CALLER}"))
            .hint("wait until some of them end, or unset large GLEXEC_* variables"))
    }

    /// Writes down a run before anything of it can exist: under a name that nobody looks at,
    /// locked, whole, and only then under its own.
    ///
    /// # Errors
    /// [`Reason::State`]; [`Reason::TooManyRuns`]; [`Reason::ArgumentsTooLong`].
    pub fn begin(self, entry: &Entry, most_runs: u32) -> Result<RunRecord, Refusal> {
        self.has_room(&entry.caller, most_runs)?;
        let line = entry::line(entry);
        self.has_room_for(&entry.caller, line.len())?;
        let mine = name_begins(entry.caller.uid);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanoseconds = since.map_or(0, |d| d.as_nanos());
        let name = format!("{mine}{}.{}.{nanoseconds:x}", entry.target.uid, entry.glexec.pid);
        let Self { directory, path, sync } = self;
        let failed =
            |what: &str, e: Errno| state(format!("{path}/{name}: {what}: {}", with_cure(e)));
        let hidden = format!("{NEW}{name}");
        let flags =
            OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = openat(&directory, hidden.as_str(), flags | OFlag::O_CLOEXEC, mode)
            .map_err(|e| failed("creating it", e))?;
        let size = Cell::new(Some(0));
        let mut record = RunRecord { directory, name: hidden, file, sync, size };
        let written = lock(&record.file)
            .and_then(|()| record.write(line))
            .and_then(|()| record.rename(&name));
        match written {
            Ok(()) => Ok(record),
            Err(errno) => {
                // Where it stays, a sweep removes it once it is old: nothing of the run exists.
                let _ = record.remove();
                Err(failed("writing it", errno))
            }
        }
    }
}

/// That a caller has as many runs as it may.
fn too_many(runs: usize, most_runs: u32) -> Refusal {
    let sentence = format!("you have {runs} lingering runs, and {most_runs} is the most here");
    Refusal::new(Reason::TooManyRuns, sentence).hint("wait until some of them end")
}

impl StateDir {
    /// Whether this process holds the lock of an entry that is named after it: a run that owes
    /// something. Entries of this process are never opened here: to close one would give its lock
    /// up (fcntl(2)).
    ///
    /// # Errors
    /// Where the directory or one of these files does not say.
    pub(crate) fn holds_an_entry(&self, pid: Pid) -> Result<bool, Errno> {
        if pid == Pid::this() {
            return Ok(false);
        }
        let of_it = |name: &str| glexec_of(name) == Some(pid);
        for name in self.names_where(of_it).map_err(|_| Errno::EIO)? {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
            let file = match openat(&self.directory, name.as_str(), flags, Mode::empty()) {
                Err(Errno::ENOENT) => continue,
                opened => opened?,
            };
            if held(&file)? == Some(pid) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The pid of the glexec that an entry's name tells.
fn glexec_of(name: &str) -> Option<Pid> {
    let mut words = name.strip_prefix("run.")?.split('.');
    words.nth(2)?.parse().ok().map(Pid::from_raw)
}

/// How the names begin that are no entries: an account's lock, that of a directory that is
/// handed over, what was not given back, a settling's lock, and a run that is being begun.
const OTHERS: [&str; 5] = ["account.", "handed.", "quarantine", SETTLING, CLAIM];

/// The uid of the target that an entry's name tells, one set aside or not yet whole included.
pub fn user_of(name: &str) -> Option<Uid> {
    let name = name.strip_prefix(ASIDE).or_else(|| name.strip_prefix(NEW)).unwrap_or(name);
    let mut words = name.strip_prefix("run.")?.split('.');
    words.nth(1)?.parse().ok().map(Uid::from_raw)
}

/// `run.<uid of the caller>.`, which all its entries begin with.
fn name_begins(caller: u32) -> String {
    format!("run.{caller}.")
}

/// Whether an entry, one set aside included, is this caller's, by its name.
pub fn is_of_caller(name: &str, caller: u32) -> bool {
    name.strip_prefix(ASIDE).unwrap_or(name).starts_with(&name_begins(caller))
}

fn state(detail: String) -> Refusal {
    Refusal::new(Reason::State, "the state directory cannot be used; see the log").detail(detail)
}

/// What went wrong with a file of the directory, and what is to be done about it.
fn with_cure(errno: Errno) -> String {
    let cure = if matches!(errno, Errno::ENOSPC | Errno::EDQUOT) {
        "make room there"
    } else if errno == Errno::EROFS {
        "mount it for writing"
    } else {
        "`state_dir` must be on a local disk that root can write to"
    };
    format!("{}; {cure}", errno.desc())
}

/// The boot and the pid namespace this process is in.
pub fn place() -> Option<entry::Place> {
    let boot = system::process::read_whole("/proc/sys/kernel/random/boot_id").ok()?;
    let pid_namespace = nix::sys::stat::stat("/proc/self/ns/pid").ok()?.st_ino;
    Some(entry::Place { boot: boot.trim().to_owned(), pid_namespace })
}
