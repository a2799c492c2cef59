//! What runs as the target: this program, called by itself through glexec, where the original
//! called a shell.

use super::dialect::{ENTER, SERVE, SIGNAL, aim};
use super::server::serve;
use super::verdict::{DONE, WRONG};
use super::{OBEYED, TAKEN, UNPACKED, complain, limits};
use crate::archive::{Rules, pack, unpack};
use adapter::tree::{open_directory, open_own_directory, remove};
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::prctl::set_dumpable;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// No proxy is this long.
const LONGEST_PROXY: u64 = 10 << 20;

/// Does what the first word says.
///
/// # Errors
/// The words are wrong.
pub(crate) fn act(words: &[OsString]) -> Result<u8, String> {
    // What the payload has left running has the same uid: it must not take the pilot's pipes out of
    // this process (pidfd_getfd), or write in its memory.
    set_dumpable(false).map_err(|e| format!("the payload could trace this: {}", e.desc()))?;
    // Whoever serves a sandbox has all of them blocked.
    system::kernel::set_mask(0);
    let words: Vec<&OsStr> = words.iter().map(OsString::as_os_str).collect();
    let (verb, rest) = words.split_first().ok_or("as-target wants more words")?;
    let done = match (verb.to_str(), rest) {
        (Some("unpack"), [sandbox]) => take_in(Path::new(sandbox)),
        (Some("hand-back"), [sandbox, proxy]) => hand_back(Path::new(sandbox), proxy),
        (Some("receive"), [sandbox, proxy]) => receive(Path::new(sandbox), proxy),
        (Some(SIGNAL), [pid, signal]) => {
            let (pid, signal) = aim(pid, signal)?;
            send_signal(pid, signal).and_then(|()| say(OBEYED))
        }
        (Some(SERVE), [pilot, sandbox]) => serve(pilot, sandbox),
        (Some(ENTER), [limits, sandbox, wrapper, rest @ ..]) => Err(limits::take(limits)
            .map_or_else(|error| error, |()| enter(Path::new(sandbox), wrapper, rest))),
        _ => return Err(format!("as-target {verb:?} is none of the things this program does")),
    };
    Ok(done.map_or_else(
        |error| {
            complain(&format!("as the target: {}: {error}", verb.to_string_lossy()));
            WRONG
        },
        |()| DONE,
    ))
}

/// Makes the sandbox and unpacks standard input in it: all of it, or nothing is left.
fn take_in(sandbox: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(sandbox)?;
    let unpacked = open_directory(sandbox).and_then(|directory| {
        nix::sys::stat::fchmod(&directory, Mode::from_bits_truncate(0o755))?;
        unpack(directory.as_fd(), &mut BufReader::new(io::stdin().lock()), Rules::default())
    });
    if let Err(error) = unpacked {
        let _ = remove(sandbox);
        return Err(error);
    }
    say(UNPACKED)
}

fn say(word: &[u8]) -> io::Result<()> {
    io::stdout().write_all(word)?;
    io::stdout().flush()
}

/// Packs the sandbox to standard output, and removes it as soon as the pilot says that it has it.
fn hand_back(sandbox: &Path, proxy: &OsStr) -> io::Result<()> {
    let directory = open_own_directory(sandbox)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let skip: Vec<&OsStr> = Some(proxy).filter(|name| !name.is_empty()).into_iter().collect();
    let left = pack(directory.as_fd(), &mut out, &skip)?;
    out.flush()?;
    let mut said = Vec::new();
    io::stdin().lock().take(64).read_to_end(&mut said)?;
    if said != TAKEN {
        return Err(io::Error::other("the pilot has not taken the files; they stay"));
    }
    if !left.is_nothing() {
        complain(&left.to_string());
    }
    // A second call must not find what a removal that failed has left of it, and take that for all.
    let mut aside = sandbox.as_os_str().to_owned();
    aside.push(".gone");
    match fs::rename(sandbox, &aside) {
        Ok(()) => remove(Path::new(&aside)),
        Err(_) => remove(sandbox),
    }
}

/// Writes standard input as the job's proxy, in one step.
fn receive(sandbox: &Path, proxy: &OsStr) -> io::Result<()> {
    let directory = open_directory(sandbox)?;
    let mut copy = proxy.to_owned();
    copy.push(".copy");
    let copy = copy.as_os_str();
    let _ = unlinkat(&directory, copy, UnlinkatFlags::NoRemoveDir);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let mut file = File::from(openat(&directory, copy, flags | OFlag::O_CLOEXEC, mode)?);
    let length = io::copy(&mut io::stdin().lock().take(LONGEST_PROXY), &mut file)?;
    if length == 0 || length == LONGEST_PROXY {
        let _ = unlinkat(&directory, copy, UnlinkatFlags::NoRemoveDir);
        return Err(io::Error::other("the new proxy is empty, or too long for one"));
    }
    renameat(&directory, copy, &directory, proxy)?;
    say(OBEYED)
}

pub(super) fn send_signal(pid: i32, signal: i32) -> io::Result<()> {
    // Real-time signals have no name.
    let signal = match signal {
        0 => None,
        number => Some(Signal::try_from(number)?),
    };
    Ok(nix::sys::signal::kill(Pid::from_raw(pid), signal)?)
}

/// Becomes the wrapper, in the sandbox; returns where it cannot.
fn enter(sandbox: &Path, wrapper: &OsStr, words: &[&OsStr]) -> io::Error {
    let named = |what: &OsStr, error: io::Error| {
        io::Error::new(error.kind(), format!("{}: {error}", what.to_string_lossy()))
    };
    if let Err(error) = std::env::set_current_dir(sandbox) {
        return named(sandbox.as_os_str(), error);
    }
    // A name without a slash would be looked up in PATH.
    if !fs::exists(wrapper).unwrap_or(true) || !wrapper.as_encoded_bytes().contains(&b'/') {
        return named(wrapper, io::ErrorKind::NotFound.into());
    }
    named(wrapper, Command::new(wrapper).args(words).exec())
}
