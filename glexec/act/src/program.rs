//! A program that root starts: it can be trusted and it can be started, with everything that the
//! kernel starts for it (interpreters of scripts, loaders).

use decide::program::{self, HEAD, Headers, Kind, Loader};
use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::sys::uio::pread;
use std::os::fd::OwnedFd;
use system::file_trust::Trust;
use system::secure_open::{self, Opened, Untrusted};

/// So many interpreters of interpreters the kernel follows.
const DEEPEST: usize = 5;

/// A program that was found trustworthy and fit to be started.
#[derive(Debug)]
pub struct Program {
    /// Opened for reading.
    pub file: OwnedFd,
    /// Its first bytes.
    pub head: Vec<u8>,
    /// Whether an interpreter reads it.
    pub script: bool,
    /// What the kernel starts for it, in this order.
    pub interpreters: Vec<Interpreter>,
}

/// An interpreter or a loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// Without links.
    pub path: String,
    /// Whether it is a script itself.
    pub script: bool,
}

/// Opens a program by a canonical path and judges it, its path, and, likewise, whatever the kernel
/// would start for it. What `#!/usr/bin/env X` looks for itself is not seen from here.
///
/// # Errors
/// [`Untrusted`], naming what is wrong with which file.
pub fn open(path: &str, trust: &Trust) -> Result<Program, Untrusted> {
    let Opened { file, stat } = secure_open::open_file(path, trust)?;
    can_be_executed(&file, &stat, path)?;
    let head = head(&file, path)?;
    let mut next = wanted(&file, &head, path)?;
    let script = matches!(next, Wanted::Interpreter(_));
    let mut interpreters = Vec::new();
    let mut user = path.to_owned();
    loop {
        let (name, what) = match &next {
            Wanted::Nothing => return Ok(Program { file, head, script, interpreters }),
            Wanted::Interpreter(name) => (name, "interpreter"),
            Wanted::Loader(name) => (name, "loader"),
        };
        if interpreters.len() >= DEEPEST {
            let clause = format!("{path} has interpreters that have interpreters: too many");
            return Err(Untrusted::Because(clause));
        }
        let told = |inner: Untrusted| {
            inner.reworded(|inner| format!("{user} needs the {what} {name}, and {inner}"))
        };
        let found = secure_open::resolve(name, SFlag::S_IFREG, trust).map_err(told)?;
        let Opened { file, stat } = &found.opened;
        can_be_executed(file, stat, &found.path).map_err(told)?;
        let bytes = self::head(file, &found.path).map_err(told)?;
        let after = wanted(file, &bytes, &found.path).map_err(told)?;
        let interpreter = Interpreter {
            path: found.path.clone(),
            script: matches!(after, Wanted::Interpreter(_)),
        };
        next = match (what, after) {
            // A loader is loaded, not started: the kernel asks for none of its own.
            ("loader", Wanted::Interpreter(_)) => {
                return Err(told(Untrusted::Because(format!("{} is a script", found.path))));
            }
            ("loader", _) => Wanted::Nothing,
            (_, after) => after,
        };
        user = found.path;
        interpreters.push(interpreter);
    }
}

/// What the kernel starts for a program.
enum Wanted {
    Nothing,
    Interpreter(String),
    Loader(String),
}

fn wanted(file: &OwnedFd, head: &[u8], shown: &str) -> Result<Wanted, Untrusted> {
    let because = |why: &str| Untrusted::Because(format!("{shown} {why}"));
    let headers = match program::kind(head).map_err(because)? {
        Kind::Script(name) => return Ok(Wanted::Interpreter(name.to_owned())),
        Kind::Elf(headers) => headers,
    };
    let Headers { offset, length, .. } = headers;
    let read = read_at(file, offset, length).map_err(|e| because(&unreadable(e)))?;
    let Some(Loader { offset, length }) = headers.loader(&read).map_err(because)? else {
        return Ok(Wanted::Nothing);
    };
    let name = read_at(file, offset, length).map_err(|e| because(&unreadable(e)))?;
    let name = program::loader_name(&name).map_err(because)?;
    Ok(Wanted::Loader(name.to_owned()))
}

fn can_be_executed(file: &OwnedFd, stat: &FileStat, shown: &str) -> Result<(), Untrusted> {
    let because = |why: &str| Untrusted::Because(format!("{shown} {why}"));
    if stat.st_mode & 0o111 == 0 {
        return Err(because("is not executable; chmod it"));
    }
    let mount = fstatvfs(file).map_err(|e| because(&unreadable(e)))?;
    if mount.flags().contains(FsFlags::ST_NOEXEC) {
        return Err(because("lies on a file system that is mounted noexec; move it"));
    }
    Ok(())
}

fn head(file: &OwnedFd, shown: &str) -> Result<Vec<u8>, Untrusted> {
    read_at(file, 0, HEAD).map_err(|e| Untrusted::Because(format!("{shown} {}", unreadable(e))))
}

/// Up to `length` bytes.
fn read_at(file: &OwnedFd, offset: u64, length: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0u8; length];
    let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    let mut got = 0;
    while let Some(room) = bytes.get_mut(got..).filter(|room| !room.is_empty()) {
        let at = offset.checked_add(i64::try_from(got).unwrap_or(i64::MAX)).ok_or(Errno::EINVAL)?;
        match pread(file, room, at) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    bytes.truncate(got);
    Ok(bytes)
}

fn unreadable(errno: Errno) -> String {
    format!("cannot be read: {}", errno.desc())
}
