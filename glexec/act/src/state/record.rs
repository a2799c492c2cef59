//! An entry that this process has locked, and how one is locked and written.

use super::{ASIDE, StateDir};
use decide::entry::{self, Phase};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl, renameat};
use nix::sys::stat::fstat;
use nix::unistd::{Pid, UnlinkatFlags, fsync, ftruncate, unlinkat, write};
use std::cell::Cell;
use std::os::fd::OwnedFd;

/// An entry that this process has locked.
#[derive(Debug)]
pub struct RunRecord {
    pub(super) directory: OwnedFd,
    pub(super) name: String,
    pub(crate) file: OwnedFd,
    pub(super) sync: bool,
    /// Its size in bytes where all its lines are known to be whole; `None`: not looked at yet.
    pub(super) size: Cell<Option<i64>>,
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
    pub(crate) fn write(&self, mut line: Vec<u8>) -> Result<(), Errno> {
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

    pub(crate) fn rename(&mut self, to: &str) -> Result<(), Errno> {
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
pub(crate) fn whole(kind: i32) -> libc::flock {
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
pub(crate) fn write_all(file: &OwnedFd, mut rest: &[u8]) -> Result<(), Errno> {
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
