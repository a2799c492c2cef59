//! The state directory: one locked file for each lingering run that owes something. A file
//! without a lock is a debt.

use super::root::Root;
use contract::Reason;
use decide::config::StateRule;
use decide::entry::{self, Entry, Person, Phase};
use decide::refusal::Refusal;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, OFlag, fcntl, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{Pid, Uid, UnlinkatFlags, fsync, ftruncate, unlinkat, write};
use std::cell::Cell;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
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

/// An entry that this process has locked.
#[derive(Debug)]
pub struct RunRecord {
    directory: OwnedFd,
    name: String,
    file: OwnedFd,
    sync: bool,
    /// Its size in bytes where all its lines are known to be whole; `None`: not looked at yet.
    size: Cell<Option<i64>>,
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
        secure_open::judge(&directory, path, SFlag::S_IFDIR, &trust).map_err(because)?;
        if fstat(&directory).map_err(|e| refuse(e.desc()))?.st_mode & 0o077 != 0 {
            return Err(refuse("can be entered by others than root"));
        }
        Ok(Self { directory, path: path.clone(), sync: rule.sync })
    }

    /// Every name in it.
    pub fn names(&self) -> Result<Vec<String>, Refusal> {
        let failed = |e: Errno| state(format!("{}: {}", self.path, e.desc()));
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut list =
            nix::dir::Dir::openat(&self.directory, ".", flags, Mode::empty()).map_err(failed)?;
        let mut names = Vec::new();
        for entry in list.iter() {
            // A name that is no text is none that this program gives.
            let name = entry.map_err(failed)?.file_name().to_str().ok().map(str::to_owned);
            names.extend(name.filter(|name| name != "." && name != ".."));
        }
        names.sort_unstable();
        Ok(names)
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

    /// Whether what is written in it has to survive a loss of power.
    pub(super) const fn syncs(&self) -> bool {
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
        let runs = self.names()?.iter().filter(|name| name.starts_with(&mine)).count();
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
    pub(super) fn has_room_for(&self, caller: &Person, length: usize) -> Result<(), Refusal> {
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
        for name in self.names()?.iter().filter(|name| name.starts_with(&mine)) {
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
    pub fn begin(&self, entry: &Entry, most_runs: u32) -> Result<RunRecord, Refusal> {
        self.has_room(&entry.caller, most_runs)?;
        let line = entry::line(entry);
        self.has_room_for(&entry.caller, line.len())?;
        let mine = name_begins(entry.caller.uid);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanoseconds = since.map_or(0, |d| d.as_nanos());
        let name = format!("{mine}{}.{}.{nanoseconds:x}", entry.target.uid, entry.glexec.pid);
        let failed =
            |what: &str, e: Errno| state(format!("{}/{name}: {what}: {}", self.path, with_cure(e)));
        let hidden = format!("{NEW}{name}");
        let flags =
            OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = openat(&self.directory, hidden.as_str(), flags | OFlag::O_CLOEXEC, mode)
            .map_err(|e| failed("creating it", e))?;
        let directory = self.directory.try_clone().map_err(|_| failed("a copy", Errno::EMFILE))?;
        let size = Cell::new(Some(0));
        let mut record = RunRecord { directory, name: hidden, file, sync: self.sync, size };
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

/// The lock that one settling of a caller's holds at a time. It belongs to the open file: who
/// settles has a copy.
#[derive(Debug)]
pub struct Settling {
    file: OwnedFd,
    name: String,
}

impl StateDir {
    /// Whether there is an entry of this caller's, whatever became of it.
    ///
    /// # Errors
    /// [`Reason::State`].
    pub fn knows(&self, caller: Uid) -> Result<bool, Refusal> {
        Ok(self.entries()?.iter().any(|name| is_of_caller(name, caller.as_raw())))
    }

    /// Opens the lock of this caller's settlings.
    ///
    /// # Errors
    /// [`Reason::State`].
    pub fn settling(&self, caller: Uid) -> Result<Settling, Refusal> {
        let name = format!("{SETTLING}{caller}");
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = openat(&self.directory, name.as_str(), flags, mode)
            .map_err(|e| self.unusable(&name, e))?;
        Ok(Settling { file, name })
    }

    /// A settling is over: its name goes while its lock is still held. Where the name stays, the
    /// next one takes it.
    pub fn is_settled(&self, settling: &Settling) {
        let _ = unlinkat(&self.directory, settling.name.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}

/// A run that its caller has begun and that has no entry yet: it counts as one.
#[derive(Debug)]
pub(super) struct Claim {
    directory: OwnedFd,
    name: String,
    locked: OwnedFd,
}

impl Claim {
    /// The descriptors that must stay open.
    pub(super) fn numbers(&self) -> [RawFd; 2] {
        [self.directory.as_raw_fd(), self.locked.as_raw_fd()]
    }

    /// It counts no more. Where the name stays, who counts next finds it without its lock.
    pub(super) fn end(&self) {
        let _ = unlinkat(&self.directory, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.end();
    }
}

impl StateDir {
    /// Claims one of the runs that this caller may have, before anything is taken for it.
    ///
    /// # Errors
    /// [`Reason::State`]; [`Reason::TooManyRuns`].
    pub(super) fn claim(&self, caller: Uid, most_runs: u32) -> Result<Claim, Refusal> {
        let birth = system::process::own_birth(Pid::this())
            .map_err(|e| state(format!("/proc/self/stat: {}", e.desc())))?;
        let begin = format!("{CLAIM}{caller}.");
        let name = format!("{begin}{}.{}", birth.pid, birth.start);
        let failed = |e: Errno| self.unusable(&name, e);
        let hidden = format!("{NEW}{name}");
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = openat(&self.directory, hidden.as_str(), flags, mode).map_err(failed)?;
        // This lock belongs to the open file: it goes along through a fork of glexec's own.
        fcntl(&file, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK))).map_err(failed)?;
        renameat(&self.directory, hidden.as_str(), &self.directory, name.as_str())
            .map_err(failed)?;
        let directory = self.directory.try_clone().map_err(|_| failed(Errno::EMFILE))?;
        let claim = Claim { directory, name, locked: file };
        let mine = name_begins(caller.as_raw());
        let mut runs = 0;
        for other in self.names()?.iter().filter(|other| **other != claim.name) {
            runs += usize::from(
                other.starts_with(&mine) || other.starts_with(&begin) && self.counts(other)?,
            );
        }
        if u32::try_from(runs).is_ok_and(|runs| runs < most_runs) {
            return Ok(claim);
        }
        Err(too_many(runs, most_runs))
    }

    /// Whether somebody has a claim. One without its lock is a dead run's and goes.
    fn counts(&self, claim: &str) -> Result<bool, Refusal> {
        let locked = self.is_locked(claim)?;
        if locked == Some(false) {
            let _ = unlinkat(&self.directory, claim, UnlinkatFlags::NoRemoveDir);
        }
        Ok(locked == Some(true))
    }

    /// Whether somebody holds the lock of a file that belongs to an open file; `None` where there
    /// is no such file.
    ///
    /// # Errors
    /// [`Reason::State`].
    pub(super) fn is_locked(&self, name: &str) -> Result<Option<bool>, Refusal> {
        let failed = |e: Errno| self.unusable(name, e);
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = match openat(&self.directory, name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let mut asked = whole(libc::F_WRLCK);
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut asked)).map_err(failed)?;
        Ok(Some(i32::from(asked.l_type) != libc::F_UNLCK))
    }
}

/// That a caller has as many runs as it may.
fn too_many(runs: usize, most_runs: u32) -> Refusal {
    let sentence = format!("you have {runs} lingering runs, and {most_runs} is the most here");
    Refusal::new(Reason::TooManyRuns, sentence).hint("wait until some of them end")
}

impl Settling {
    /// Waits until no other settling of this caller's is under way. To be called with the caller's
    /// ids, as an ordinary process: this may take long, and any signal ends it. False where the
    /// one before has taken the name away: the lock is to be opened anew.
    ///
    /// # Errors
    /// [`Reason::State`].
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
    pub(super) fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl StateDir {
    /// Whether this process holds the lock of an entry that is named after it: a run that owes
    /// something. Entries of this process are never opened here: to close one would give its lock
    /// up (fcntl(2)).
    ///
    /// # Errors
    /// Where the directory or one of these files does not say.
    pub(super) fn holds_an_entry(&self, pid: Pid) -> Result<bool, Errno> {
        if pid == Pid::this() {
            return Ok(false);
        }
        let names = self.names().map_err(|_| Errno::EIO)?;
        for name in names.iter().filter(|name| glexec_of(name) == Some(pid)) {
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
pub(super) fn user_of(name: &str) -> Option<Uid> {
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

impl RunRecord {
    /// An entry of this directory that this process has opened and locked.
    ///
    /// # Errors
    /// dup(2)'s.
    pub fn locked(directory: &StateDir, name: String, file: OwnedFd) -> std::io::Result<Self> {
        let (sync, size) = (directory.sync, Cell::new(None));
        Ok(Self { directory: directory.directory.try_clone()?, name, file, sync, size })
    }

    /// Adds a phase. What is written is there whatever is killed; with `state_sync` whatever
    /// loses its power, too.
    ///
    /// # Errors
    /// write(2)'s; then nothing was added.
    pub fn add(&self, phase: &Phase) -> Result<(), Errno> {
        self.write(entry::line(phase))
    }

    /// Half a line would take the next one with it: it is taken back, and where that fails, too,
    /// or another process left it, the next begins on a line of its own.
    fn write(&self, mut line: Vec<u8>) -> Result<(), Errno> {
        let (size, whole) = self.end()?;
        self.size.set(None);
        if !whole {
            line.insert(0, b'\n');
        }
        if let Err(errno) = write_all(&self.file, &line) {
            if ftruncate(&self.file, size).is_ok() && whole {
                self.size.set(Some(size));
            }
            return Err(errno);
        }
        let length = i64::try_from(line.len()).map_err(|_| Errno::EFBIG)?;
        self.size.set(size.checked_add(length));
        if self.sync { fsync(&self.file) } else { Ok(()) }
    }

    /// How long the file is, and whether its last line is whole. Nobody else writes in it.
    fn end(&self) -> Result<(i64, bool), Errno> {
        if let Some(size) = self.size.get() {
            return Ok((size, true));
        }
        let size = fstat(&self.file)?.st_size;
        if size == 0 {
            return Ok((0, true));
        }
        let mut last = [0u8];
        let read = nix::sys::uio::pread(&self.file, &mut last, size - 1)?;
        Ok((size, read == 1 && last == *b"\n"))
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
    pub fn remove(&self) -> Result<(), Errno> {
        unlinkat(&self.directory, self.name.as_str(), UnlinkatFlags::NoRemoveDir)
    }

    /// Sets the entry aside: kept for a person to look at, and no more tried.
    ///
    /// # Errors
    /// renameat(2)'s.
    pub fn set_aside(&mut self) -> Result<(), Errno> {
        let aside = format!("{ASIDE}{}", self.name);
        self.rename(&aside)
    }

    /// Takes up again what was set aside; gives its name.
    ///
    /// # Errors
    /// write(2)'s, renameat(2)'s.
    pub fn take_up(mut self, now: u64) -> Result<String, Errno> {
        self.add(&Phase::Again { at: now })?;
        let name = self.name.strip_prefix(ASIDE).ok_or(Errno::EINVAL)?.to_owned();
        self.rename(&name)?;
        Ok(name)
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        &self.name
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

/// Takes the lock of an entry (fcntl(2)), which a child does not inherit.
///
/// # Errors
/// `EAGAIN` or `EACCES` where somebody has it.
pub fn lock(file: &OwnedFd) -> Result<(), Errno> {
    fcntl(file, FcntlArg::F_SETLK(&whole(libc::F_WRLCK))).map(drop)
}

/// Writes all of it, in as many steps as the kernel wants.
pub(super) fn write_all(file: &OwnedFd, mut rest: &[u8]) -> Result<(), Errno> {
    while !rest.is_empty() {
        match write(file, rest) {
            Ok(0) => return Err(Errno::ENOSPC),
            Ok(length) => rest = rest.get(length..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Who holds the lock of an entry, if anybody does.
///
/// # Errors
/// fcntl(2)'s.
pub fn held(file: &OwnedFd) -> Result<Option<Pid>, Errno> {
    let mut asked = whole(libc::F_WRLCK);
    fcntl(file, FcntlArg::F_GETLK(&mut asked))?;
    let free = i32::from(asked.l_type) == libc::F_UNLCK;
    Ok((!free).then(|| Pid::from_raw(asked.l_pid)))
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
    let mut boot = String::new();
    let file = system::process::open_proc("/proc/sys/kernel/random/boot_id").ok()?;
    File::from(file).take(64).read_to_string(&mut boot).ok()?;
    let pid_namespace = nix::sys::stat::stat("/proc/self/ns/pid").ok()?.st_ino;
    Some(entry::Place { boot: boot.trim().to_owned(), pid_namespace })
}
