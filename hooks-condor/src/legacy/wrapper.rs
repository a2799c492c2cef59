//! The job wrapper: runs as the target, gets the job's environment and descriptors from the
//! starter over a socket, and becomes the job. (Facts 1.3, "starter side of the run", 1 to 7.)

use super::complain;
use super::verdict::WRONG;
use crate::environment::{self, Environment};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recv, recvmsg, send};
use nix::sys::stat::Mode;
use nix::unistd::{close, execve};
use std::ffi::{CString, OsStr, OsString};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd as _, IntoRawFd as _, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What the wrapper says first.
const HELLO: u32 = 0xdead_beef;
/// The kernel takes no environment of this length.
const LONGEST: usize = 16 << 20;
/// What the starter reads of a failure, its NUL among it.
const LONGEST_TEXT: usize = 255;
/// What is set aside for a length before its bytes have come.
const PIECE: usize = 65_536;

/// `condor_glexec_job_wrapper IN OUT ERR COMMAND [ARG…]`; returns only where it failed.
pub(crate) fn job_wrapper(words: &[OsString]) -> u8 {
    let (streams, command) = match words {
        [input, output, error, command @ ..] if !command.is_empty() => {
            ([input, output, error], command)
        }
        _ => {
            complain("usage: condor_glexec_job_wrapper IN OUT ERR COMMAND [ARG...]");
            return WRONG;
        }
    };
    // 0 is wanted for the job.
    let socket = fcntl(std::io::stdin(), FcntlArg::F_DUPFD_CLOEXEC(3));
    let mut line = match socket {
        Ok(socket) => Line(socket),
        Err(errno) => {
            complain(&format!("no socket on standard input: {}", errno.desc()));
            return WRONG;
        }
    };
    let Err(text) = become_job(&mut line, streams, command);
    line.tell(&text);
    WRONG
}

/// Nothing is ever this.
enum Never {}

fn become_job(
    line: &mut Line,
    streams: [&OsString; 3],
    command: &[OsString],
) -> Result<Never, String> {
    line.say(&HELLO.to_ne_bytes()).map_err(|errno| format!("no hello: {}", errno.desc()))?;
    let mut environment: Environment =
        std::env::vars_os().map(|(k, v)| (k.into_vec(), v.into_vec())).collect();
    let theirs = environment::parse(&line.text()?);
    // The starter hears of a failure on the new socket, not on this one: that has to come first.
    let mut trouble = theirs.map(|theirs| environment.extend(theirs)).err();
    for (number, stream) in (0..).zip(streams) {
        if stream == "-" {
            let _ = close(number);
            let came = line.descriptor(MsgFlags::empty())?;
            if came != number {
                trouble.get_or_insert(format!("descriptor {number} came as {came}"));
            }
        } else if let Err(text) = open_as(number, stream) {
            trouble.get_or_insert(text);
            open_as(number, OsStr::new("/dev/null"))?;
        }
    }
    line.change()?;
    trouble.map_or_else(|| exec(command, environment), Err)
}

/// Opens a stream of the job's, in the sandbox, as 0, 1 or 2.
fn open_as(number: RawFd, name: &OsStr) -> Result<(), String> {
    let _ = close(number);
    let flags = match number {
        0 => OFlag::O_RDONLY,
        _ => OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC,
    };
    let opened =
        open(name, flags | OFlag::O_NOCTTY, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|errno| {
            format!("{} cannot be opened: {}", name.to_string_lossy(), errno.desc())
        })?;
    if opened.as_raw_fd() == number {
        // It is the job's now.
        let _ = opened.into_raw_fd();
        Ok(())
    } else {
        Err(format!("descriptor {number} is taken"))
    }
}

fn exec(command: &[OsString], environment: Environment) -> Result<Never, String> {
    let shown = command.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    let word = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| "a NUL in a word".to_owned());
    let words = command.iter().map(|text| word(text.as_bytes().to_vec()));
    let words: Vec<CString> = words.collect::<Result<_, _>>()?;
    let entries = environment.into_iter().map(|(name, value)| word([name, value].join(&b'=')));
    let entries: Vec<CString> = entries.collect::<Result<_, _>>()?;
    let program = words.first().ok_or("no command")?;
    // Rust's programs ignore SIGPIPE. What is caught instead of ignored is the default after exec.
    let caught = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGPIPE, caught)
        .map_err(|error| format!("SIGPIPE stays ignored: {error}"))?;
    let Err(errno) = execve(program, &words, &entries);
    Err(format!("{shown} cannot be executed: {} ({errno:?})", errno.desc()))
}

/// The socket to the starter.
struct Line(RawFd);

impl Line {
    fn say(&self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            match send(self.0, bytes, MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Tells the starter why nothing is run.
    fn tell(&self, text: &str) {
        let mut bytes: Vec<u8> = text.bytes().filter(|b| *b != 0).take(LONGEST_TEXT - 1).collect();
        bytes.push(0);
        let _ = self.say(&bytes);
        // Hanging up on what was not read would be an error for who reads the text.
        let mut unread = [0; 4096];
        for _ in 0..64 {
            if !matches!(recv(self.0, &mut unread, MsgFlags::MSG_DONTWAIT), Ok(1..)) {
                break;
            }
        }
    }

    fn read(&self, length: usize) -> Result<Vec<u8>, String> {
        let mut all = Vec::new();
        while all.len() < length {
            let at = all.len();
            all.resize(at + (length - at).min(PIECE), 0);
            match recv(self.0, all.get_mut(at..).unwrap_or_default(), MsgFlags::empty()) {
                Ok(0) => return Err("the starter has hung up".to_owned()),
                Ok(more) => all.truncate(at + more),
                Err(Errno::EINTR) => all.truncate(at),
                Err(errno) => return Err(format!("the starter is gone: {}", errno.desc())),
            }
        }
        Ok(all)
    }

    /// A length, and a text with a NUL at its end.
    fn text(&self) -> Result<Vec<u8>, String> {
        let length = self.read(4)?.try_into().map(i32::from_ne_bytes).unwrap_or_default();
        let sane = usize::try_from(length).ok().filter(|length| (1..=LONGEST).contains(length));
        let sane = sane.ok_or_else(|| format!("{length} is no length of an environment"))?;
        let mut text = self.read(sane)?;
        match text.pop() {
            Some(0) => Ok(text),
            _ => Err("the environment does not end with a NUL".to_owned()),
        }
    }

    /// One descriptor, with one byte; it has the lowest free number.
    fn descriptor(&self, flags: MsgFlags) -> Result<RawFd, String> {
        let mut byte = [0u8; 1];
        let mut parts = [IoSliceMut::new(&mut byte)];
        let mut space = nix::cmsg_space!(RawFd);
        let message = loop {
            match recvmsg::<()>(self.0, &mut parts, Some(&mut space), flags) {
                Err(Errno::EINTR) => {}
                other => break other,
            }
        };
        let gone = |errno: Errno| format!("no descriptor came: {}", errno.desc());
        let message = message.map_err(gone)?;
        let mut came = Vec::new();
        for part in message.cmsgs().map_err(gone)? {
            if let ControlMessageOwned::ScmRights(some) = part {
                came.extend(some);
            }
        }
        match came.as_slice() {
            [one] => Ok(*one),
            [] => Err("no descriptor came".to_owned()),
            more => Err(format!("{} descriptors came for one", more.len())),
        }
    }

    /// Goes on with the socket that comes over this one, which is dropped.
    fn change(&mut self) -> Result<(), String> {
        let new = self.descriptor(MsgFlags::MSG_CMSG_CLOEXEC)?;
        let _ = close(self.0);
        self.0 = new;
        Ok(())
    }
}
