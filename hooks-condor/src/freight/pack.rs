//! Writes a directory into a [`stream`](super::stream), and removes one. Works from descriptor to
//! descriptor: no link is followed, whatever somebody does to the tree meanwhile.

use super::stream::{Entry, Head, begin, put_piece};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat, fstatat, mode_t};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// How deep directories may be nested: each level is an open descriptor.
const DEEPEST: usize = 200;
const PIECE: usize = 65_536;

/// What did not come along.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// FIFOs, sockets, devices.
    pub(crate) special: u32,
    /// Directories nested too deep.
    pub(crate) deep: u32,
    /// Links that lead out of the sandbox.
    pub(crate) links: u32,
    /// What belongs to somebody else and cannot be read.
    pub(crate) foreign: u32,
}

impl LeftOut {
    pub(crate) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

impl std::ops::AddAssign for LeftOut {
    fn add_assign(&mut self, other: Self) {
        let add = |to: &mut u32, more: u32| *to = to.saturating_add(more);
        add(&mut self.special, other.special);
        add(&mut self.deep, other.deep);
        add(&mut self.links, other.links);
        add(&mut self.foreign, other.foreign);
    }
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = [
            (self.special, "FIFOs, sockets or devices".to_owned()),
            (self.deep, format!("directories nested deeper than {DEEPEST}")),
            (self.links, "links that lead out of the sandbox".to_owned()),
            (self.foreign, "files that only their owner can read".to_owned()),
        ];
        let some = all.iter().filter(|(number, _)| *number > 0);
        let some: Vec<String> = some.map(|(number, what)| format!("{number} {what}")).collect();
        write!(f, "left out: {}", some.join(", "))
    }
}

/// An error with the name of what it is about.
pub(crate) fn about(name: impl AsRef<OsStr>) -> impl FnOnce(Errno) -> io::Error {
    move |errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("{:?}: {}", name.as_ref(), errno.desc()))
    }
}

fn os(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}

/// Opens a directory that is none of a link.
pub(crate) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).map_err(about(path))
}

/// The names in a directory.
fn names(directory: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut list = Dir::openat(directory, c".", flags, Mode::empty())?;
    let mut all = Vec::new();
    for entry in list.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            all.push(name.to_owned());
        }
    }
    Ok(all)
}

fn look(directory: BorrowedFd<'_>, name: &CStr) -> Result<FileStat, Errno> {
    fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Opens what is ours, also where its permissions keep its owner out.
fn open_own(directory: BorrowedFd<'_>, name: &CStr, what: OFlag) -> Result<OwnedFd, Errno> {
    // O_NONBLOCK: in the meantime it may have become a FIFO.
    let flags = what | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::EACCES) => {
            let mode: mode_t = if what.contains(OFlag::O_DIRECTORY) { 0o700 } else { 0o600 };
            let mode = Mode::from_bits_truncate(mode);
            fchmodat(directory, name, mode, FchmodatFlags::FollowSymlink)?;
            openat(directory, name, flags, Mode::empty())
        }
        other => other,
    }
}

/// One packing.
struct Packer<'a, W> {
    out: &'a mut W,
    /// The names at the top that stay behind.
    skip: &'a [&'a OsStr],
    buffer: Vec<u8>,
    left: LeftOut,
}

/// Writes all that is in a directory, but for these names at its top.
pub(crate) fn pack(
    directory: BorrowedFd<'_>,
    out: &mut impl Write,
    skip: &[&OsStr],
) -> io::Result<LeftOut> {
    begin(out)?;
    let mut packer = Packer { out, skip, buffer: vec![0; PIECE], left: LeftOut::default() };
    packer.directory(directory, 0)?;
    let left = packer.left;
    Entry::End.put(out)?;
    out.flush()?;
    Ok(left)
}

impl<W: Write> Packer<'_, W> {
    fn directory(&mut self, directory: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
        for name in names(directory).map_err(about("a directory"))? {
            let shown = os(&name);
            if depth == 0 && self.skip.contains(&shown) {
                continue;
            }
            match look(directory, &name) {
                // Gone since the list was made.
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(about(shown)(errno)),
                Ok(stat) => self.entry(directory, &name, (&stat, depth))?,
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        (stat, depth): (&FileStat, usize),
    ) -> io::Result<()> {
        let head = Head {
            name: os(name).to_owned(),
            // Neither setuid nor setgid nor sticky: the owner is another afterwards.
            mode: stat.st_mode & 0o777,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
        };
        match kind(stat) {
            SFlag::S_IFDIR if depth >= DEEPEST => self.left.deep += 1,
            SFlag::S_IFDIR => {
                let what = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
                let Some(inner) = self.open(directory, name, (stat, what))? else { return Ok(()) };
                Entry::Directory(head).put(self.out)?;
                self.directory(inner.as_fd(), depth + 1)?;
                Entry::Up.put(self.out)?;
            }
            SFlag::S_IFREG => {
                let what = OFlag::O_RDONLY;
                let Some(file) = self.open(directory, name, (stat, what))? else { return Ok(()) };
                let is_file = fstat(&file).is_ok_and(|stat| kind(&stat) == SFlag::S_IFREG);
                if is_file {
                    Entry::File(head).put(self.out)?;
                    self.content(&mut File::from(file))?;
                } else {
                    self.left.special += 1;
                }
            }
            SFlag::S_IFLNK => {
                let target = readlinkat(directory, name).map_err(about(os(name)))?;
                Entry::Link(head, target).put(self.out)?;
            }
            _ => self.left.special += 1,
        }
        Ok(())
    }

    /// `None` where it is somebody else's, who does not let us read it.
    fn open(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        (stat, what): (&FileStat, OFlag),
    ) -> io::Result<Option<OwnedFd>> {
        match open_own(directory, name, what) {
            Err(Errno::EACCES | Errno::EPERM) if stat.st_uid != geteuid().as_raw() => {
                self.left.foreign += 1;
                Ok(None)
            }
            other => other.map(Some).map_err(about(os(name))),
        }
    }

    fn content(&mut self, file: &mut File) -> io::Result<()> {
        loop {
            let length = match file.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            put_piece(self.out, self.buffer.get(..length).unwrap_or_default())?;
            if length == 0 {
                return Ok(());
            }
        }
    }
}

/// Removes all that is in a directory, but for these names at its top.
pub(crate) fn clear(directory: BorrowedFd<'_>, keep: &[&OsStr]) -> io::Result<()> {
    // What is nested too deep is moved up here, and gone in one of the next rounds.
    let mut remover = Remover { top: directory, moved: 0 };
    loop {
        let before = remover.moved;
        for name in names(directory).map_err(about("a directory"))? {
            if !keep.contains(&os(&name)) {
                remover.remove(directory, &name, 0).map_err(about(os(&name)))?;
            }
        }
        if remover.moved == before {
            return Ok(());
        }
    }
}

struct Remover<'a> {
    top: BorrowedFd<'a>,
    moved: u32,
}

impl Remover<'_> {
    fn remove(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        depth: usize,
    ) -> Result<(), Errno> {
        match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EISDIR | Errno::EPERM) => {}
            Err(errno) => return Err(errno),
        }
        if depth >= DEEPEST {
            self.moved += 1;
            let new = format!(".glexec-{}-{}", std::process::id(), self.moved);
            return renameat(directory, name, self.top, new.as_str());
        }
        let inner = open_own(directory, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        self.empty(inner.as_fd(), depth)?;
        unlinkat(directory, name, UnlinkatFlags::RemoveDir)
    }

    /// Its owner may have been kept from writing in it.
    fn empty(&mut self, directory: BorrowedFd<'_>, depth: usize) -> Result<(), Errno> {
        let mode = Mode::from_bits_truncate(0o700);
        if fstat(directory)?.st_mode & 0o700 != 0o700 {
            nix::sys::stat::fchmod(directory, mode)?;
        }
        for name in names(directory)? {
            self.remove(directory, &name, depth + 1)?;
        }
        Ok(())
    }
}

/// Removes a directory, with all that is in it.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let directory = open_directory(path)?;
    clear(directory.as_fd(), &[])?;
    std::fs::remove_dir(path)
}
