//! Descriptors.

use super::calls::{Numbers, Writes};
use nix::errno::Errno;
use std::ffi::{CStr, c_int, c_long};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// Marks every descriptor from `first` on close-on-exec, in one call (Linux 5.11).
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    close_range(first, u32::MAX, CLOSE_RANGE_CLOEXEC)
}

/// Closes the descriptors `first..=last` (Linux 5.9).
pub fn close_between(first: u32, last: u32) -> Result<(), Errno> {
    close_range(first, last, 0)
}

/// Whoever calls it owns no typed descriptor in the range, or means to lose it: threshold and
/// `close_descriptors` do, and they are the only callers.
fn close_range(first: u32, last: u32, flags: u32) -> Result<(), Errno> {
    Numbers::CloseRange { first, last, flags }.make().map(drop)
}

/// Closes one descriptor by number, where no `OwnedFd` stands for it: its caller knows that, as
/// `close_range`'s does.
pub fn close_number(fd: RawFd) {
    // Linux has closed the number whatever it says of the file.
    let _ = nix::unistd::close(fd);
}

/// Takes over a descriptor that comes as a number and is known to be open.
pub fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller has just seen it open, or the kernel has just made it; each number is taken
    // once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Looks at a descriptor by its number.
pub fn borrow(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: used for 0, 1, 2 (always open after the threshold), for others that the caller keeps
    // open as long as it looks, and to ask fcntl(2), fstat(2) or statx(2) whether a number is open
    // at all: of one that is not they say EBADF. Nothing is closed by it.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// getxattr(2), of up to 64 KiB (the most there can be).
pub fn attribute(path: &CStr, name: &CStr) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0u8; 65_536];
    let got = attribute_into(path, name, &mut value)?;
    value.truncate(got);
    Ok(value)
}

/// Calls `take` with each name in an open directory, `.` and `..` too, from where its reading is.
///
/// # Errors
/// getdents64(2)'s; EIO for an answer of another form.
pub fn for_each_name(directory: BorrowedFd<'_>, mut take: impl FnMut(&[u8])) -> Result<(), Errno> {
    // struct linux_dirent64: inode and offset (8 bytes each), the entry's length, its kind, its name.
    const LENGTH: std::ops::Range<usize> = 16..18;
    const NAME: usize = 19;
    let mut room = [0; 8192];
    loop {
        let got = Writes::Entries { directory, room: &mut room }.make()?;
        let mut rest =
            usize::try_from(got).ok().and_then(|got| room.get(..got)).ok_or(Errno::EIO)?;
        if rest.is_empty() {
            return Ok(());
        }
        while !rest.is_empty() {
            let length = rest.get(LENGTH).and_then(|two| <[u8; 2]>::try_from(two).ok());
            let length = usize::from(length.map_or(0, u16::from_ne_bytes));
            let (entry, after) = rest.split_at_checked(length).ok_or(Errno::EIO)?;
            let name = entry.get(NAME..).and_then(|name| CStr::from_bytes_until_nul(name).ok());
            take(name.ok_or(Errno::EIO)?.to_bytes());
            rest = after;
        }
    }
}

/// What is remembered will do (linux/fcntl.h).
const AT_STATX_DONT_SYNC: c_int = 0x4000;

/// statx(2) of a descriptor: struct statx in 32-bit words.
fn look(file: BorrowedFd<'_>, flags: c_int, wanted: u32) -> Result<[u32; 64], Errno> {
    let mut answer = [0u32; 64];
    Writes::Status { file, flags, wanted, answer: &mut answer }.make()?;
    Ok(answer)
}

/// Kind (`S_IFMT` bits) and device (major, minor) of an open file, without asking its file
/// system anything: a FUSE server may sleep (statx(2), `AT_STATX_DONT_SYNC`).
pub fn kind_and_device(file: BorrowedFd<'_>) -> Result<(u32, (u32, u32)), Errno> {
    const STATX_TYPE: u32 = 1;
    let answer = look(file, AT_STATX_DONT_SYNC, STATX_TYPE)?;
    // stx_mode is the 16-bit field at byte 28, stx_dev_major and _minor are the words at byte 136.
    let [_, _, _, _, _, _, _, mode, ..] = answer;
    let [low, high, ..] = mode.to_ne_bytes();
    let device = (answer.get(34).copied(), answer.get(35).copied());
    let (Some(major), Some(minor)) = device else { return Err(Errno::EINVAL) };
    Ok((u32::from(u16::from_ne_bytes([low, high])) & libc::S_IFMT, (major, minor)))
}

/// What a descriptor stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// `S_IFMT` bits and permissions.
    pub mode: u32,
    /// Who owns it.
    pub uid: u32,
    /// How many names it has.
    pub links: u32,
    /// Its inode number.
    pub inode: u64,
    /// Major and minor.
    pub device: (u32, u32),
    /// Seconds and nanoseconds; zeros where the file system does not know.
    pub born: (u64, u32),
    /// The number of the mount it was reached by (Linux 5.8).
    pub mount: Option<u64>,
}

/// Looks at what a descriptor stands for: as the kernel remembers it (`asks` is false, no file
/// system is asked) or as it is.
pub fn status_of(file: BorrowedFd<'_>, asks: bool) -> Result<Status, Errno> {
    const STATX_MNT_ID: u32 = 0x1000;
    // STATX_BASIC_STATS, STATX_BTIME.
    const WANTED: u32 = 0x7ff | 0x800 | STATX_MNT_ID;
    let answer = look(file, if asks { 0 } else { AT_STATX_DONT_SYNC }, WANTED)?;
    // Offsets in 32-bit words: linux/stat.h, struct statx.
    let word = |at: usize| answer.get(at).copied().unwrap_or(0);
    let two = |at: usize| {
        let ([a, b, c, d], [e, f, g, h]) = (word(at).to_ne_bytes(), word(at + 1).to_ne_bytes());
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    };
    let [low, high, ..] = word(7).to_ne_bytes();
    Ok(Status {
        mode: u32::from(u16::from_ne_bytes([low, high])),
        uid: word(5),
        links: word(4),
        inode: two(8),
        device: (word(34), word(35)),
        born: (two(20), word(22)),
        // The first word says what was answered.
        mount: (word(0) & STATX_MNT_ID != 0).then(|| two(36)),
    })
}

/// `name_to_handle_at(2)`: what the file system calls a file across mounts and boots.
pub fn handle_of(file: BorrowedFd<'_>) -> Result<(i32, Vec<u8>), Errno> {
    const ROOM: usize = 128;
    // struct file_handle: size, kind, then the bytes.
    let mut answer = [0u8; 8 + ROOM];
    answer[..4].copy_from_slice(&u32::try_from(ROOM).unwrap_or(0).to_ne_bytes());
    let (fd, mut mount) = (file.as_raw_fd(), 0 as c_int);
    // SAFETY: `answer` is a struct file_handle that says how many bytes it has room for, and is only
    // written within; its alignment is a byte array's, which the kernel copies from and to. `mount`
    // is an int to be written.
    let done = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            fd,
            c"".as_ptr(),
            answer.as_mut_ptr(),
            &raw mut mount,
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::result(done)?;
    let [s0, s1, s2, s3, k0, k1, k2, k3, bytes @ ..] = answer;
    let size = usize::try_from(u32::from_ne_bytes([s0, s1, s2, s3])).unwrap_or(0);
    let bytes = bytes.get(..size).ok_or(Errno::EOVERFLOW)?.to_vec();
    Ok((i32::from_ne_bytes([k0, k1, k2, k3]), bytes))
}

/// getxattr(2) into `room`: how many bytes it has.
pub fn attribute_into(path: &CStr, name: &CStr, room: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: both strings are NUL-ended, `room` is valid for its length.
    let got = unsafe {
        libc::getxattr(path.as_ptr(), name.as_ptr(), room.as_mut_ptr().cast(), room.len())
    };
    Errno::result(got).map(|got| usize::try_from(got).unwrap_or(0))
}

/// setxattr(2), or removexattr(2) where there is no value.
pub fn set_attribute(path: &CStr, name: &CStr, value: Option<&[u8]>) -> Result<(), Errno> {
    let (path, name) = (path.as_ptr(), name.as_ptr());
    let done = match value {
        // SAFETY: both strings are NUL-ended and `value` is valid for its length.
        Some(value) => unsafe { libc::setxattr(path, name, value.as_ptr().cast(), value.len(), 0) },
        // SAFETY: both strings are NUL-ended.
        None => unsafe { libc::removexattr(path, name) },
    };
    Errno::result(done).map(drop)
}

/// What a call has answered that makes a descriptor: nobody else owns it yet.
pub(super) fn new_descriptor(made: c_long) -> Result<OwnedFd, Errno> {
    RawFd::try_from(made).map(adopt).map_err(|_| Errno::EBADF)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a directory that is looked at")]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_name_of_a_directory_is_told_once_however_many_there_are() {
        let directory = tempfile::tempdir().unwrap();
        let name = |n: usize| format!("{n}{}", "x".repeat(n % 200));
        let mut wanted: BTreeSet<String> = (0..1000).map(name).collect();
        for name in &wanted {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        wanted.extend([".".to_owned(), "..".to_owned()]);
        let opened = std::fs::File::open(directory.path()).unwrap();
        let mut told = Vec::new();
        let take = |name: &[u8]| told.push(String::from_utf8(name.to_vec()).unwrap());
        for_each_name(std::os::fd::AsFd::as_fd(&opened), take).unwrap();
        assert_eq!(told.len(), wanted.len());
        assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), wanted);
        let file = std::fs::File::open("/proc/self/status").unwrap();
        let none = for_each_name(std::os::fd::AsFd::as_fd(&file), |_| ());
        assert_eq!(none, Err(Errno::ENOTDIR));
    }
}
