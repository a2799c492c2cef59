//! Directories on the node that root makes for others: by descriptor, never through a link, and
//! emptied with the owner's rights, so that nothing in them leads root astray.

use adapter::{Removal, tree};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Held while places are made and forgotten.
const LOCK: &str = ".lock";
/// A note is one line.
const LONGEST: u64 = 4096;

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A directory of root's, or of the account's that epilogues run as, in which these make things.
#[derive(Debug)]
pub(crate) struct Base {
    directory: OwnedFd,
    path: PathBuf,
}

impl Base {
    /// [`Base::open_of`] for a directory of root's.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn open(path: &Path, mode: u32) -> Result<Self, String> {
        Self::open_of(path, mode, 0)
    }

    /// Opens it; makes it with `mode` where only the last name is missing, for `owner` where root
    /// does it. It must be that uid's or root's, and the directories above must not be writable by
    /// others: a site that names such a path is told.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn open_of(path: &Path, mode: u32, owner: u32) -> Result<Self, String> {
        let failed = |shown: &Path, why: &str| format!("{}: {why}", shown.display());
        for above in path.ancestors().skip(1) {
            let stat = nix::sys::stat::lstat(above).map_err(|e| failed(above, e.desc()))?;
            let link = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits();
            // In a sticky directory of root's nobody moves what is root's.
            let open = stat.st_mode & 0o022 != 0 && stat.st_mode & 0o1000 == 0;
            if stat.st_uid != 0 || link || open {
                return Err(failed(above, "others than root can change what is below it"));
            }
        }
        let mode = Mode::from_bits_truncate(mode);
        let opened = match open(path, DIRECTORY, Mode::empty()) {
            Err(Errno::ENOENT) => match nix::unistd::mkdir(path, mode) {
                // Slurm's umask is not to choose who gets in.
                Ok(()) => open(path, DIRECTORY, Mode::empty()).and_then(|made| {
                    fchown(&made, Some(Uid::from_raw(owner)), None)?;
                    fchmod(&made, mode).map(|()| made)
                }),
                // Another hook was faster.
                Err(Errno::EEXIST) => open(path, DIRECTORY, Mode::empty()),
                Err(errno) => Err(errno),
            },
            opened => opened,
        };
        let directory = opened.map_err(|e| failed(path, e.desc()))?;
        let stat = fstat(&directory).map_err(|e| failed(path, e.desc()))?;
        if ![0, owner].contains(&stat.st_uid) || stat.st_mode & 0o022 != 0 {
            let whose = if owner == 0 { "root's" } else { "root's or that of the records' owner" };
            return Err(failed(path, &format!("must be {whose}, and writable by nobody else")));
        }
        Ok(Self { directory, path: path.to_owned() })
    }

    /// A directory as it is, for tests of what is kept in one.
    #[cfg(test)]
    pub(crate) fn unjudged(path: &Path) -> Self {
        let directory = open(path, DIRECTORY, Mode::empty()).unwrap();
        Self { directory, path: path.to_owned() }
    }

    pub(crate) fn shown(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    pub(crate) const fn descriptor(&self) -> &OwnedFd {
        &self.directory
    }

    /// The names in it, all of them or an error; what is not UTF-8 is none of ours.
    pub(crate) fn names(&self) -> Result<Vec<String>, Errno> {
        let all = tree::names(self.directory.as_fd())?;
        Ok(all.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    /// Keeps other hooks of ours from making or forgetting places meanwhile: several slurmds of one
    /// machine can begin and end the same job at the same time. The file is for root alone, or
    /// somebody else could hold it.
    ///
    /// # Errors
    /// One sentence, also where it was not to be had in ten seconds.
    pub(crate) fn lock(&self) -> Result<Flock<File>, String> {
        const PATIENCE: Duration = Duration::from_secs(10);
        const NAP: Duration = Duration::from_millis(10);
        let failed = |why: &str| format!("{}/{LOCK}: {why}", self.shown());
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = openat(&self.directory, LOCK, flags, mode).map_err(|e| failed(e.desc()))?;
        let mut file = File::from(file);
        let until = Instant::now() + PATIENCE;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((same, Errno::EAGAIN | Errno::EINTR)) if Instant::now() < until => file = same,
                Err((_, Errno::EAGAIN)) => {
                    return Err(failed("another hook does not let go of it"));
                }
                Err((_, errno)) => return Err(failed(errno.desc())),
            }
            std::thread::sleep(NAP);
        }
    }

    /// Makes sure that `name` is there for somebody: a directory of his, with this mode. Where one
    /// is, another hook of the same job has made it, or is about to be done.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn ensure(&self, name: &str, owner: (u32, u32), mode: u32) -> Result<(), String> {
        let failed = |errno: Errno| format!("{}/{name}: {}", self.shown(), errno.desc());
        match mkdirat(&self.directory, name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let device = fstat(&self.directory).map_err(failed)?.st_dev;
        let entry = CString::new(name).map_err(|_| failed(Errno::EINVAL))?;
        let directory = tree::enter(self.directory.as_fd(), &entry, device).map_err(failed)?;
        let found = fstat(&directory).map_err(failed)?.st_uid;
        if ![0, owner.0].contains(&found) {
            return Err(format!("{}/{name} is uid {found}'s; remove it", self.shown()));
        }
        let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
        fchown(&directory, Some(uid), Some(gid)).map_err(failed)?;
        fchmod(&directory, Mode::from_bits_truncate(mode)).map_err(failed)
    }

    /// Whether `name` is a directory of this uid's.
    ///
    /// # Errors
    /// The kernel's, but for its not being there.
    pub(crate) fn is_of(&self, name: &str, uid: u32) -> Result<bool, Errno> {
        match self.look(name) {
            // Its owner has mounted something on it.
            Err(Errno::ENOENT | Errno::EXDEV) => Ok(false),
            stat => stat.map(|stat| tree::kind(&stat) == SFlag::S_IFDIR && stat.st_uid == uid),
        }
    }

    /// Whether there is anything under this name.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn has(&self, name: &str) -> Result<bool, Errno> {
        match self.look(name) {
            Err(Errno::ENOENT) => Ok(false),
            Err(Errno::EXDEV) => Ok(true),
            stat => stat.map(|_| true),
        }
    }

    /// The line of a small file in a directory of root's in this one; `None` where it is not there.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn read(&self, directory: &str, name: &str) -> io::Result<Option<String>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let opened = openat(&self.directory, directory, DIRECTORY, Mode::empty())
            .and_then(|within| openat(&within, name, flags, Mode::empty()));
        let file = match opened {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            opened => File::from(opened?),
        };
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text)?;
        Ok(text.lines().next().map(str::to_owned))
    }

    /// Writes a small file that everybody who gets here may read, into a directory of root's in
    /// this one; `false` where that is not there, or has too many already.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn put(&self, directory: &str, name: &str, text: &str) -> Result<bool, String> {
        const MOST: usize = 1024;
        let failed = |errno: Errno| format!("{}/{directory}: {}", self.shown(), errno.desc());
        let within = match openat(&self.directory, directory, DIRECTORY, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(false),
            opened => opened.map_err(failed)?,
        };
        let path = self.path.join(directory);
        let within = Self { directory: within, path };
        if within.names().map_err(failed)?.len() >= MOST {
            return Ok(false);
        }
        let fresh = format!(".{}", std::process::id());
        let _ = unlinkat(&within.directory, fresh.as_str(), UnlinkatFlags::NoRemoveDir);
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o644);
        let file = openat(&within.directory, fresh.as_str(), flags, mode).map_err(failed)?;
        fchmod(&file, mode).map_err(failed)?;
        File::from(file)
            .write_all(text.as_bytes())
            .map_err(|error| format!("{}/{name}: {error}", within.shown()))?;
        renameat(&within.directory, fresh.as_str(), &within.directory, name).map_err(failed)?;
        Ok(true)
    }

    /// Removes `name` and what is in it: that with its owner's rights, and out of its owner's reach.
    ///
    /// # Errors
    /// One sentence; it is there then, and empty as far as that was to be had in that time.
    pub(crate) fn remove(&self, name: &str, until: Instant) -> Result<(), String> {
        let failed = |errno: Errno| format!("{}/{name}: {}", self.shown(), errno.desc());
        let away = || unlinkat(&self.directory, name, UnlinkatFlags::RemoveDir);
        let stat = match self.look(name) {
            Err(Errno::ENOENT) => return Ok(()),
            stat => stat.map_err(failed)?,
        };
        if tree::kind(&stat) != SFlag::S_IFDIR {
            return Err(format!("{}/{name} is no directory", self.shown()));
        }
        match away() {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let (path, owner) = (self.path.join(name), (stat.st_uid, stat.st_gid));
        let limit = until.saturating_duration_since(Instant::now());
        Removal { path: &path, owner, limit, unless_held: false }.run()?;
        match away() {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }

    fn look(&self, name: &str) -> Result<FileStat, Errno> {
        let entry = CString::new(name).map_err(|_| Errno::EINVAL)?;
        tree::look_here(self.directory.as_fd(), &entry)
    }
}
