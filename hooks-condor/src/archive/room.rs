//! How much one sandbox may take of a file system. Who writes the stream may be somebody who wants to
//! fill it: other jobs have their files there, too.

use nix::sys::statvfs::fstatvfs;
use std::io;
use std::os::fd::BorrowedFd;

/// Files, directories and links of one sandbox: as many as nobody has who means it.
const MOST_ENTRIES: u64 = 1_000_000;
/// An entry takes so many bytes at least, whatever is in it.
const BLOCK: u64 = 4096;
/// Of what is free one part in so many stays free.
const PARTS: u64 = 10;

/// What is left for one sandbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

impl Room {
    /// Nine tenths of what is free where this directory is.
    pub(crate) fn of(directory: BorrowedFd<'_>) -> io::Result<Self> {
        let state = fstatvfs(directory)?;
        let bytes = state.blocks_available().saturating_mul(state.fragment_size());
        let inodes = match state.files() {
            // A file system that has as many as it needs.
            0 => u64::MAX,
            _ => state.files_available(),
        };
        let share = |free: u64| free - free / PARTS;
        Ok(Self { bytes: share(bytes), entries: share(inodes).min(MOST_ENTRIES) })
    }

    /// One more file, directory or link.
    pub(super) fn entry(&mut self) -> io::Result<()> {
        self.entries = self.entries.checked_sub(1).ok_or_else(|| {
            full(&format!(
                "more than {MOST_ENTRIES} files and directories, or than there is room for"
            ))
        })?;
        self.data(BLOCK)
    }

    /// So many more bytes in a file.
    pub(super) fn data(&mut self, length: u64) -> io::Result<()> {
        let left = self.bytes.checked_sub(length);
        self.bytes = left.ok_or_else(|| full("more than nine tenths of what is free there"))?;
        Ok(())
    }
}

fn full(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, format!("No space left: it has {what}"))
}
