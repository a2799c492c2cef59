//! One system call of one process that fails, lies, or never comes back: what `actor tamper` is
//! asked for, and what it tells. strace(1) counts calls for each process and strikes the n-th in
//! every one of them, so that a call of a child is never reached where its parent makes the same
//! call: here a process has a name.

use crate::call::Call;
use crate::site::{ACTOR, Site};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Where `actor tamper` writes its [`Tampering`].
pub const TAMPERING: &str = "/var/lib/site/tampering";
/// What stands in place of a [`Spot`] where nothing is to be tampered with.
const NOTHING: &str = "nothing";

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not made and fails.
    Fails(Errno),
    /// It is made, and is said to have failed: close(2) and fsync(2) fail so.
    FailsLate(Errno),
    /// It is not made and is said to have given this.
    Gives(i64),
    /// Of a write, only one byte is written.
    Short,
    /// SIGKILL as it is to be made.
    Kill,
    /// It is not made, and the process exits 127 without a word.
    Exit,
    /// It is not made, and the process dies of SIGSEGV, as one does by a fault of its own.
    Crash,
}

/// Every error that a fault may be, by name.
const ERRORS: [(&str, Errno); 21] = [
    ("EPERM", Errno::EPERM),
    ("ENOENT", Errno::ENOENT),
    ("ESRCH", Errno::ESRCH),
    ("EINTR", Errno::EINTR),
    ("EIO", Errno::EIO),
    ("E2BIG", Errno::E2BIG),
    ("EBADF", Errno::EBADF),
    ("ECHILD", Errno::ECHILD),
    ("EAGAIN", Errno::EAGAIN),
    ("ENOMEM", Errno::ENOMEM),
    ("EACCES", Errno::EACCES),
    ("EINVAL", Errno::EINVAL),
    ("EMFILE", Errno::EMFILE),
    ("ENOSPC", Errno::ENOSPC),
    ("EROFS", Errno::EROFS),
    ("EPIPE", Errno::EPIPE),
    ("ENOLCK", Errno::ENOLCK),
    ("ENOSYS", Errno::ENOSYS),
    ("ECONNREFUSED", Errno::ECONNREFUSED),
    ("EDQUOT", Errno::EDQUOT),
    ("ENOBUFS", Errno::ENOBUFS),
];

fn error_of(name: &str) -> Option<Errno> {
    ERRORS.iter().find(|(known, _)| *known == name).map(|(_, errno)| *errno)
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |errno: &Errno| ERRORS.iter().find(|(_, e)| e == errno).map_or("?", |(n, _)| n);
        match self {
            Self::Fails(errno) => write!(out, "{}", name(errno)),
            Self::FailsLate(errno) => write!(out, "late-{}", name(errno)),
            Self::Gives(value) => write!(out, "gives-{value}"),
            Self::Short => write!(out, "short"),
            Self::Kill => write!(out, "KILL"),
            Self::Exit => write!(out, "exit"),
            Self::Crash => write!(out, "SEGV"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let unknown = || format!("{word:?} is no fault");
        if let Some(name) = word.strip_prefix("late-") {
            return error_of(name).map(Self::FailsLate).ok_or_else(unknown);
        }
        if let Some(value) = word.strip_prefix("gives-") {
            return value.parse().map(Self::Gives).map_err(|_| unknown());
        }
        match word {
            "short" => Ok(Self::Short),
            "KILL" => Ok(Self::Kill),
            "exit" => Ok(Self::Exit),
            "SEGV" => Ok(Self::Crash),
            name => error_of(name).map(Self::Fails).ok_or_else(unknown),
        }
    }
}

/// One call of one process, and what happens to it: `PROCESS:CALL:NTH:FAULT`.
///
/// A process is called by its program's name; its children are `NAME.1`, `NAME.2` in the order of
/// their birth, and `+PROGRAM` follows where one of them executes a program of glexec's. What
/// executes anything else is left alone from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The process.
    pub process: String,
    /// The system call's name.
    pub call: String,
    /// Which of its calls of this name, from 1; an exec starts again.
    pub nth: usize,
    /// What happens to it.
    pub fault: Fault,
}

impl fmt::Display for Spot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}:{}", self.process, self.call, self.nth, self.fault)
    }
}

impl FromStr for Spot {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split(':').collect();
        let [process, call, nth, fault] = words[..] else {
            return Err(format!("{text:?} is not PROCESS:CALL:NTH:FAULT"));
        };
        let nth = nth.parse().map_err(|_| format!("{nth:?} is no number"))?;
        let (process, call) = (process.to_owned(), call.to_owned());
        Ok(Self { process, call, nth, fault: fault.parse()? })
    }
}

impl Spot {
    /// The spot that [`fmt::Display`] writes so.
    pub fn of(text: &str) -> Self {
        text.parse().unwrap_or_else(|why| panic!("{why}"))
    }
}

/// What `actor tamper` tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tampering {
    /// What was struck, with its arguments; `None` where the run never came there.
    pub struck: Option<String>,
    /// The exit code of the program, where it exited.
    pub code: Option<i32>,
    /// The signal it died of.
    pub signal: Option<i32>,
    /// Where nothing was to be struck: every process's calls, in order.
    pub calls: BTreeMap<String, Vec<String>>,
}

impl Site {
    /// Root's `actor tamper`, which runs a program as somebody and tampers with one call of it, or
    /// with nothing. Its exit code is the program's, 128+n for signal n; stdin, stdout, stderr and
    /// further descriptors are the program's.
    pub fn tamper<'s>(&'s self, spot: Option<&Spot>, who: &str, words: &[&str]) -> Call<'s> {
        let _ = std::fs::remove_file(self.path(TAMPERING));
        let spot = spot.map_or_else(|| NOTHING.to_owned(), Spot::to_string);
        self.program([ACTOR, "tamper", spot.as_str(), who]).words(words.iter().copied()).by("root")
    }

    /// What the last one told; `None` where it never came to its end.
    pub fn tampering(&self) -> Option<Tampering> {
        serde_json::from_str(&self.read(TAMPERING)).ok()
    }
}

/// The spot that a word of `actor tamper` names; `None` for nothing.
///
/// # Errors
/// What is wrong with it.
pub fn spot_of(word: &str) -> Result<Option<Spot>, String> {
    if word == NOTHING { Ok(None) } else { word.parse().map(Some) }
}
