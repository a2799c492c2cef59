//! Writes a directory into a [`stream`](super::stream). Works from descriptor to descriptor: no link is
//! followed, whatever somebody does to the tree meanwhile.

use super::stream::{Entry, Head, begin, put_data, put_end, put_hole};
use adapter::tree::{DEEPEST, about, kind, look, names, open_own, os};
use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::{FileStat, SFlag, fstat};
use nix::unistd::{Whence, geteuid, lseek};
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

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

/// The name of the file whose content it was.
fn named(name: &OsStr) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{name:?}: {error}"))
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
                    self.content(&File::from(file)).map_err(named(os(name)))?;
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

    /// As far as it goes when it is opened: whatever still writes to it, it has an end. Where it has
    /// a hole the stream has one, too.
    fn content(&mut self, file: &File) -> io::Result<()> {
        let size = u64::try_from(fstat(file)?.st_size).unwrap_or(0);
        let mut at = 0;
        while at < size {
            let Some((begin, end)) = data_from(file, at)?.filter(|(begin, _)| *begin < size) else {
                put_hole(self.out, size - at)?;
                break;
            };
            put_hole(self.out, begin - at)?;
            at = begin;
            while at < end.min(size) {
                let room = usize::try_from(end.min(size) - at).unwrap_or(PIECE).min(PIECE);
                let length = match file.read_at(self.buffer.get_mut(..room).unwrap_or(&mut []), at)
                {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    other => other?,
                };
                if length == 0 {
                    // It is shorter by now.
                    return put_end(self.out);
                }
                put_data(self.out, self.buffer.get(..length).unwrap_or_default())?;
                at += length as u64;
            }
        }
        put_end(self.out)
    }
}

/// Where the next data of a file begin and end, from `at` on; `None` where only a hole follows.
fn data_from(file: &File, at: u64) -> io::Result<Option<(u64, u64)>> {
    let offset = i64::try_from(at).map_err(io::Error::other)?;
    let begin = match lseek(file, offset, Whence::SeekData) {
        Ok(begin) => begin,
        Err(Errno::ENXIO) => return Ok(None),
        // A file system that does not tell: all of it is data.
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => return Ok(Some((at, u64::MAX))),
        Err(errno) => return Err(errno.into()),
    };
    let end = match lseek(file, begin, Whence::SeekHole) {
        Ok(end) => end,
        // Cut off meanwhile.
        Err(Errno::ENXIO) => begin,
        Err(errno) => return Err(errno.into()),
    };
    let number = |offset: i64| u64::try_from(offset).unwrap_or(0);
    Ok(Some((number(begin), number(end))).filter(|(begin, end)| begin < end))
}
