//! Directories on the node that root makes for others: by descriptor, never through a link, and
//! emptied with the owner's rights, so that nothing in them leads root astray.

use crate::settings::seconds;
use glexec::hook::Tool;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A directory of root's, in which root makes things.
#[derive(Debug)]
pub(crate) struct Base {
    directory: OwnedFd,
    path: PathBuf,
}

impl Base {
    /// Opens it; makes it with `mode` where only the last name is missing. The directories above
    /// must not be writable by others: a site that names such a path is told.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn open(path: &Path, mode: u32) -> Result<Self, String> {
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
        let opened = match open(path, DIRECTORY, Mode::empty()) {
            Err(Errno::ENOENT) => {
                match nix::unistd::mkdir(path, Mode::from_bits_truncate(mode)) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(failed(path, errno.desc())),
                }
                open(path, DIRECTORY, Mode::empty())
            }
            opened => opened,
        };
        let directory = opened.map_err(|e| failed(path, e.desc()))?;
        let stat = fstat(&directory).map_err(|e| failed(path, e.desc()))?;
        if stat.st_uid != 0 || stat.st_mode & 0o022 != 0 {
            return Err(failed(path, "must be root's, and writable by nobody else"));
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

    /// The names in it.
    pub(crate) fn names(&self) -> Result<Vec<String>, Errno> {
        let mut list = nix::dir::Dir::openat(&self.directory, ".", DIRECTORY, Mode::empty())?;
        let names = list
            .iter()
            .filter_map(|entry| entry.ok()?.file_name().to_str().ok().map(str::to_owned));
        Ok(names.filter(|name| name != "." && name != "..").collect())
    }

    /// Makes `name` for somebody. What an earlier job of this number left under this name is put
    /// aside, whatever its owner does to it meanwhile, and removed as far as that goes.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn give(&self, name: &str, owner: (u32, u32), mode: u32) -> Result<(), String> {
        let failed = |errno: Errno| format!("{}/{name}: {}", self.shown(), errno.desc());
        let make = || mkdirat(&self.directory, name, Mode::S_IRWXU);
        match make() {
            Err(Errno::EEXIST) => {
                let aside = format!(".{name}.{}", std::process::id());
                renameat(&self.directory, name, &self.directory, aside.as_str()).map_err(failed)?;
                make().map_err(failed)?;
                let _ = self.remove(&aside, Instant::now() + seconds(2));
            }
            made => made.map_err(failed)?,
        }
        let directory = openat(&self.directory, name, DIRECTORY, Mode::empty()).map_err(failed)?;
        let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
        fchown(&directory, Some(uid), Some(gid)).map_err(failed)?;
        fchmod(&directory, Mode::from_bits_truncate(mode)).map_err(failed)
    }

    /// Writes a small file that everybody who gets here may read, into a directory of root's in
    /// this one; nothing where that is not there, or has too many already.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn put(&self, directory: &str, name: &str, text: &str) -> Result<(), String> {
        const MOST: usize = 1024;
        let failed = |errno: Errno| format!("{}/{directory}: {}", self.shown(), errno.desc());
        let within = match openat(&self.directory, directory, DIRECTORY, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(()),
            opened => opened.map_err(failed)?,
        };
        let path = self.path.join(directory);
        let within = Self { directory: within, path };
        if within.names().map_err(failed)?.len() >= MOST {
            return Ok(());
        }
        let fresh = format!(".{}", std::process::id());
        let flags = OFlag::O_WRONLY
            | OFlag::O_CREAT
            | OFlag::O_TRUNC
            | OFlag::O_NOFOLLOW
            | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o644);
        let file = openat(&within.directory, fresh.as_str(), flags, mode).map_err(failed)?;
        fchmod(&file, mode).map_err(failed)?;
        File::from(file)
            .write_all(text.as_bytes())
            .map_err(|error| format!("{}/{name}: {error}", within.shown()))?;
        renameat(&within.directory, fresh.as_str(), &within.directory, name).map_err(failed)
    }

    /// Removes `name` and what is in it, that with its owner's rights.
    ///
    /// # Errors
    /// One sentence; it is there then, and empty as far as its owner could in that time.
    pub(crate) fn remove(&self, name: &str, until: Instant) -> Result<(), String> {
        let failed = |errno: Errno| format!("{}/{name}: {}", self.shown(), errno.desc());
        let away = || unlinkat(&self.directory, name, UnlinkatFlags::RemoveDir);
        let stat = match self.look(name) {
            Err(Errno::ENOENT) => return Ok(()),
            stat => stat.map_err(failed)?,
        };
        if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFDIR.bits() {
            return Err(format!("{}/{name} is no directory", self.shown()));
        }
        let owner = (stat.st_uid, stat.st_gid);
        let path = self.path.join(name);
        let steps: [(&str, &[&str]); 3] = [
            ("/bin/rm", &["-rf", "--one-file-system", "--"]),
            // A directory that its owner closed even for himself.
            ("/bin/chmod", &["-R", "u+rwX", "--"]),
            ("/bin/rm", &["-rf", "--one-file-system", "--"]),
        ];
        for (program, words) in steps {
            match away() {
                Ok(()) | Err(Errno::ENOENT) => return Ok(()),
                Err(Errno::ENOTEMPTY | Errno::EEXIST) => {}
                Err(errno) => return Err(failed(errno)),
            }
            let words = words.iter().map(OsString::from).chain([path.clone().into()]).collect();
            let tool = Tool {
                program: Path::new(program),
                words,
                environment: Vec::new(),
                ids: Some(owner),
                limit: until.saturating_duration_since(Instant::now()),
                // It goes on without us, as its owner.
                end_it: false,
            };
            tool.ask().map_err(|error| format!("{program}: {error}"))?;
        }
        away().map_err(failed)
    }

    fn look(&self, name: &str) -> Result<FileStat, Errno> {
        fstatat(&self.directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }
}
