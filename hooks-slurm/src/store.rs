//! Records of payloads, from the epilogue to the job's end: one file for each submitter and job,
//! one line for each record. That the submitter's uid is in the name is what makes a job id that
//! somebody else lied about harmless: only records of the job's own user are ever collected.

use crate::dialect::Record;
use crate::places::{self, Base};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// One submitter's records, of all jobs on this node: so much may be forged and no more.
const MOST_BYTES: u64 = 16 << 20;
/// One submitter's files.
const MOST_FILES: usize = 1024;
/// What nobody collected by then, nobody will.
const OLD: Duration = Duration::from_secs(7 * 24 * 3600);

/// The directory of records.
#[derive(Debug)]
pub(crate) struct Store(Base);

fn name(uid: u32, job: u32) -> String {
    format!("{uid}.{job}.jsonl")
}

impl Store {
    /// Opens it; makes it where only the last name is missing.
    ///
    /// # Errors
    /// One sentence that names what is wrong with it.
    pub(crate) fn open(directory: &Path) -> Result<Self, String> {
        places::Base::open(directory, 0o700).map(Self)
    }

    /// Adds a record; `false` where its submitter has too many already.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn add(&self, record: &Record) -> Result<bool, String> {
        let name = name(record.caller_uid, record.job);
        let failed = |why: &str| format!("{}/{name}: {why}", self.0.shown());
        let line = serde_json::to_string(record).map_err(|e| failed(&e.to_string()))? + "\n";
        let (files, bytes) = self.share_of(record.caller_uid).map_err(|e| failed(e.desc()))?;
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND;
        let file = match self.locked(&name, flags) {
            Err(Errno::ENOENT) if files >= MOST_FILES => return Ok(false),
            Err(Errno::ENOENT) => self.locked(&name, flags | OFlag::O_CREAT),
            file => file,
        };
        let mut file = file.map_err(|e| failed(e.desc()))?;
        if bytes + line.len() as u64 > MOST_BYTES {
            return Ok(false);
        }
        let length = file.metadata().map_err(|e| failed(&e.to_string()))?.len();
        file.write_all(line.as_bytes()).map(|()| true).map_err(|error| {
            // Half a line would spoil the next one.
            let _ = file.set_len(length);
            failed(&error.to_string())
        })
    }

    /// How many files a submitter has here, and of what size together.
    fn share_of(&self, uid: u32) -> Result<(usize, u64), Errno> {
        let mine = format!("{uid}.");
        let names = self.0.names()?.into_iter().filter(|name| name.starts_with(&mine));
        let size = |name: String| {
            let stat = fstatat(self.0.descriptor(), name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
            stat.ok().and_then(|stat| u64::try_from(stat.st_size).ok()).unwrap_or(0)
        };
        Ok(names.fold((0, 0), |(files, bytes), name| (files + 1, bytes + size(name))))
    }

    /// Takes the records of a job's own user; they are gone from here then. What cannot be read
    /// as a record is left out.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn take(&self, uid: u32, job: u32) -> Result<Vec<Record>, String> {
        let name = name(uid, job);
        let failed = |why: &str| format!("{}/{name}: {why}", self.0.shown());
        let file = match self.locked(&name, OFlag::O_RDONLY) {
            Err(Errno::ENOENT) => return Ok(Vec::new()),
            file => file.map_err(|e| failed(e.desc()))?,
        };
        let mut text = String::new();
        (&*file).take(MOST_BYTES).read_to_string(&mut text).map_err(|e| failed(&e.to_string()))?;
        unlinkat(self.0.descriptor(), name.as_str(), UnlinkatFlags::NoRemoveDir)
            .map_err(|e| failed(e.desc()))?;
        let records = text.lines().filter_map(|line| serde_json::from_str::<Record>(line).ok());
        Ok(records.filter(|record| (record.caller_uid, record.job) == (uid, job)).collect())
    }

    /// Removes what is a week old: records of runs that named no job of Slurm's. Says how many
    /// files that were.
    pub(crate) fn tidy(&self) -> usize {
        let mut removed = 0;
        let old = |name: &str| {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
            let file = openat(self.0.descriptor(), name, flags, Mode::empty()).ok()?;
            File::from(file).metadata().ok()?.modified().ok()?.elapsed().ok()
        };
        for name in self.0.names().unwrap_or_default() {
            if name.ends_with(".jsonl") && old(&name).is_some_and(|age| age > OLD) {
                let gone = unlinkat(self.0.descriptor(), name.as_str(), UnlinkatFlags::NoRemoveDir);
                removed += usize::from(gone.is_ok());
            }
        }
        removed
    }

    /// A file of this name that is still there once it is locked.
    fn locked(&self, name: &str, flags: OFlag) -> Result<Flock<File>, Errno> {
        const ROUNDS: usize = 100;
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        for _ in 0..ROUNDS {
            let file: OwnedFd =
                openat(self.0.descriptor(), name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
            let file =
                Flock::lock(File::from(file), FlockArg::LockExclusive).map_err(|(_, e)| e)?;
            let links = nix::sys::stat::fstat(&*file)?.st_nlink;
            if links > 0 {
                return Ok(file);
            }
            if !flags.contains(OFlag::O_CREAT) {
                return Err(Errno::ENOENT);
            }
        }
        Err(Errno::EBUSY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::latest;

    fn record(uid: u32, job: u32, pid: i32) -> Record {
        let text = format!(
            r#"{{"job":{job},"step":null,"task":"0","caller_uid":{uid},"target":"p","rc":3,"signal":null,
            "result":"exited","attempt":1,"glexec_pid":{pid},"start":1,"end":2,"user_seconds":"0",
            "system_seconds":"0","max_rss_kib":1,"stragglers":0}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store(Base::unjudged(directory.path()));
        (directory, store)
    }

    #[test]
    fn only_the_jobs_own_user_is_collected_and_once() {
        let (_directory, store) = store();
        store.add(&record(1000, 7, 1)).unwrap();
        store.add(&record(1000, 7, 2)).unwrap();
        store.add(&record(1001, 7, 3)).unwrap();
        let got = store.take(1000, 7).unwrap();
        assert_eq!(latest(got), [record(1000, 7, 1), record(1000, 7, 2)]);
        assert_eq!(store.take(1000, 7).unwrap(), []);
        assert_eq!(store.take(1001, 7).unwrap().len(), 1);
    }

    #[test]
    fn a_user_who_makes_up_jobs_fills_his_own_share() {
        let (_directory, store) = store();
        for job in 0..u32::try_from(MOST_FILES).unwrap() {
            store.add(&record(1000, job, 1)).unwrap();
        }
        assert!(!store.add(&record(1000, 99_999, 1)).unwrap());
        assert!(store.add(&record(1000, 5, 2)).unwrap());
        assert!(store.add(&record(100, 5, 2)).unwrap());
    }
}
