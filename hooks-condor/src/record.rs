//! What an epilogue leaves in the job's sandbox for the hook after it: needed where the wrapper,
//! which hears everything by the status stream, was killed. The directory is the caller's again by
//! then; the file is root's, so nobody else can have written it.

use adapter::{MoreOfARecord, more_of_a_line};
use contract::variables::{epilogue, of_epilogue};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{Uid, UnlinkatFlags, seteuid, unlinkat};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

const NAME: &str = ".glexec.record";
/// That the wrapper has run a job of this sandbox.
const MARK: &str = ".glexec.run";
/// A record is one line, with all that a site may ask for.
pub(crate) const LONGEST: u64 = 16_384;

/// What became of a payload, as its epilogue saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) target: String,
    /// `GLEXEC_EPILOG_TARGET_RC`.
    pub(crate) rc: u8,
    /// `GLEXEC_EPILOG_TARGET_SIGNAL`.
    pub(crate) signal: Option<u8>,
    /// exited, killed, not-started, lost.
    pub(crate) result: String,
    pub(crate) attempt: u32,
    /// What the site's file asks for beside.
    #[serde(default, skip_serializing_if = "MoreOfARecord::is_empty")]
    pub(crate) more: MoreOfARecord,
}

impl Record {
    /// From an epilogue's variables (docs/epilogue.md).
    ///
    /// # Errors
    /// Which variable is missing: this program is no epilogue then.
    pub(crate) fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let text = |name: &str| {
            let full = of_epilogue(name);
            variable(&full).ok_or_else(|| {
                format!("{full} is not set: this program is the epilogue, or is called by it")
            })
        };
        let rc = text(epilogue::TARGET_RC)?;
        Ok(Self {
            target: text(epilogue::TARGET_USER)?,
            rc: rc
                .parse()
                .map_err(|_| format!("{} is no code: {rc}", of_epilogue(epilogue::TARGET_RC)))?,
            signal: text(epilogue::TARGET_SIGNAL)
                .ok()
                .and_then(|n| n.parse().ok())
                .filter(|n| *n > 0),
            result: text(epilogue::RESULT).unwrap_or_else(|_| "exited".to_owned()),
            attempt: text(epilogue::ATTEMPT).ok().and_then(|n| n.parse().ok()).unwrap_or(1),
            more: MoreOfARecord::new(),
        })
    }

    /// For the log.
    pub(crate) fn line(&self) -> String {
        let Self { target, rc, signal, result, attempt, more } = self;
        let signal = signal.map(|n| format!(" signal={n}")).unwrap_or_default();
        format!("{target} rc={rc}{signal} {result} attempt={attempt}{}", more_of_a_line(more))
    }
}

fn directory(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(AT_FDCWD, path, flags, Mode::empty())
}

/// Root leaves it in the caller's directory. The path is the caller's word: it is gone with the
/// caller's rights, and the file is a new one.
///
/// # Errors
/// One sentence.
pub(crate) fn leave(record: &Record, path: &Path, caller: Uid) -> Result<(), String> {
    let failed = |why: &str| format!("{}: {why}; the job's ad will not have it", path.display());
    seteuid(caller).map_err(|e| failed(e.desc()))?;
    let opened = directory(path);
    seteuid(Uid::from_raw(0)).map_err(|e| failed(e.desc()))?;
    let at = opened.map_err(|e| failed(e.desc()))?;
    if fstat(&at).map_err(|e| failed(e.desc()))?.st_uid != caller.as_raw() {
        return Err(failed("it is not the caller's"));
    }
    put(record, at.as_fd()).map_err(|error| failed(&error.to_string()))
}

/// A whole file or none, over whatever the payload has left under its name.
fn put(record: &Record, at: BorrowedFd<'_>) -> io::Result<()> {
    let random = RandomState::new().build_hasher().finish();
    let fresh = format!("{NAME}.{random:016x}");
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    let mode = Mode::from_bits_truncate(0o444);
    let mut file = File::from(openat(at, fresh.as_str(), flags | OFlag::O_CLOEXEC, mode)?);
    let over = || match renameat(at, fresh.as_str(), at, NAME) {
        // A directory gives way to nothing: it goes aside, as its owner's.
        Err(Errno::EISDIR | Errno::ENOTEMPTY | Errno::EEXIST) => {
            renameat(at, NAME, at, format!("{fresh}.payload").as_str())?;
            renameat(at, fresh.as_str(), at, NAME)
        }
        other => other,
    };
    let text = serde_json::to_string(record)?;
    let done = file.write_all(text.as_bytes()).and_then(|()| Ok(over()?));
    if done.is_err() {
        let _ = unlinkat(at, fresh.as_str(), UnlinkatFlags::NoRemoveDir);
    }
    done
}

/// Takes it from the sandbox; `None` where root has left none.
pub(crate) fn take(path: &Path) -> Option<Record> {
    let at = directory(path).ok()?;
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(&at, NAME, flags, Mode::empty()).ok()?;
    let stat = fstat(&file).ok()?;
    // Its payload can have put one there; root's it cannot make.
    let mine = stat.st_uid == 0 && stat.st_nlink == 1;
    let mut text = String::new();
    let read = File::from(file).take(LONGEST).read_to_string(&mut text);
    let _ = unlinkat(&at, NAME, UnlinkatFlags::NoRemoveDir);
    read.ok().filter(|_| mine)?;
    serde_json::from_str(&text).ok()
}

/// The wrapper marks the sandbox when it ends.
///
/// # Errors
/// The sandbox is not the caller's, or full.
pub(crate) fn mark(path: &Path) -> nix::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    match openat(directory(path)?, MARK, flags, Mode::S_IRUSR) {
        // Whatever has this name is a mark.
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Whether it is marked; the mark goes, for it is no output of the job's.
pub(crate) fn take_mark(path: &Path) -> bool {
    directory(path).and_then(|at| unlinkat(&at, MARK, UnlinkatFlags::NoRemoveDir)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_record_is_read_from_an_epilogues_variables_and_from_nothing_else() {
        let all = [
            ("GLEXEC_EPILOG_TARGET_USER", "pool001"),
            ("GLEXEC_EPILOG_TARGET_RC", "139"),
            ("GLEXEC_EPILOG_TARGET_SIGNAL", "11"),
            ("GLEXEC_EPILOG_RESULT", "killed"),
        ];
        let find = |name: &str| {
            all.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let record = Record::of(find).unwrap();
        assert_eq!(record.line(), "pool001 rc=139 signal=11 killed attempt=1");
        assert!(Record::of(|_| None).unwrap_err().contains("GLEXEC_EPILOG_TARGET_RC"));
    }

    #[test]
    fn a_record_takes_its_place_whatever_the_payload_has_left_there() {
        let record = Record {
            target: "pool001".to_owned(),
            rc: 7,
            signal: None,
            result: "exited".to_owned(),
            attempt: 1,
            more: MoreOfARecord::new(),
        };
        let make: [fn(&Path); 6] = [
            |_| {},
            |path| fs::write(path, "{}").unwrap(),
            |path| fs::create_dir_all(path.join("x/y")).unwrap(),
            |path| nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap(),
            |path| std::os::unix::fs::symlink("/etc/passwd", path).unwrap(),
            |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        ];
        for make in make {
            let sandbox = tempfile::tempdir().unwrap();
            let there = sandbox.path().join(NAME);
            make(&there);
            let passwd = fs::read("/etc/passwd").unwrap();
            put(&record, directory(sandbox.path()).unwrap().as_fd()).unwrap();
            let text = fs::read_to_string(&there).unwrap();
            assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
            assert!(!there.is_symlink() && fs::read("/etc/passwd").unwrap() == passwd);
            fs::remove_file(&there).unwrap();
            // A directory is still its owner's.
            let left: Vec<_> = fs::read_dir(sandbox.path()).unwrap().flatten().collect();
            assert!(left.iter().all(|entry| entry.path().join("x/y").is_dir()), "{left:?}");
        }
    }
}
