//! What an epilogue leaves in the job's sandbox for the hook after it: needed where the wrapper,
//! which hears everything by the status stream, was killed. The directory is the caller's again by
//! then; the file is root's, so nobody else can have written it.

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{Uid, UnlinkatFlags, seteuid, unlinkat};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

const NAME: &str = ".glexec.record";
/// A record is one line.
const LONGEST: u64 = 4096;

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
}

impl Record {
    /// From an epilogue's variables (docs/epilogue.md).
    ///
    /// # Errors
    /// Which variable is missing: this program is no epilogue then.
    pub(crate) fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let text = |name: &str| {
            let full = format!("GLEXEC_EPILOG_{name}");
            variable(&full).ok_or_else(|| {
                format!("{full} is not set: this program is the epilogue, or is called by it")
            })
        };
        let rc = text("TARGET_RC")?;
        Ok(Self {
            target: text("TARGET_USER")?,
            rc: rc.parse().map_err(|_| format!("GLEXEC_EPILOG_TARGET_RC is no code: {rc}"))?,
            signal: text("TARGET_SIGNAL").ok().and_then(|n| n.parse().ok()).filter(|n| *n > 0),
            result: text("RESULT").unwrap_or_else(|_| "exited".to_owned()),
            attempt: text("ATTEMPT").ok().and_then(|n| n.parse().ok()).unwrap_or(1),
        })
    }

    /// For the log.
    pub(crate) fn line(&self) -> String {
        let Self { target, rc, signal, result, attempt } = self;
        let signal = signal.map(|n| format!(" signal={n}")).unwrap_or_default();
        format!("{target} rc={rc}{signal} {result} attempt={attempt}")
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
    let _ = unlinkat(&at, NAME, UnlinkatFlags::NoRemoveDir);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    let file = openat(&at, NAME, flags | OFlag::O_CLOEXEC, Mode::from_bits_truncate(0o444));
    let mut file = File::from(file.map_err(|e| failed(e.desc()))?);
    let text = serde_json::to_string(record).map_err(|e| failed(&e.to_string()))?;
    file.write_all(text.as_bytes()).map_err(|e| failed(&e.to_string()))
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
