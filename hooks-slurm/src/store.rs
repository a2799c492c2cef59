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

/// One job's records, where it is known to be a job of its submitter's on this node: some ten thousand
/// payloads. No other job takes of it.
const MOST_OF_A_JOB: u64 = 4 << 20;
/// One submitter's records of all jobs that are only said to be: so much may be made up and no more.
const MOST_CLAIMED: u64 = 16 << 20;
/// One submitter's files of such jobs.
const MOST_FILES: usize = 1024;
/// What nobody collected by then, nobody will.
const OLD: Duration = Duration::from_secs(7 * 24 * 3600);

/// The directory of records.
#[derive(Debug)]
pub(crate) struct Store(Base);

/// Whether a record's job is one of its submitter's on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The Prolog has been there for it: Slurm's word.
    Known,
    /// The task says so: the submitter's word.
    Claimed,
}

const CLAIMED: &str = ".claimed.jsonl";

fn name(uid: u32, job: u32, standing: Standing) -> String {
    let end = match standing {
        Standing::Known => ".jsonl",
        Standing::Claimed => CLAIMED,
    };
    format!("{uid}.{job}{end}")
}

impl Store {
    /// Opens it; root makes it where only the last name is missing. `owner`: uid of who adds records.
    ///
    /// # Errors
    /// One sentence that names what is wrong with it.
    pub(crate) fn open(directory: &Path, owner: u32) -> Result<Self, String> {
        places::Base::open_of(directory, 0o700, owner).map(Self)
    }

    /// Adds a record; `false` where its job, or of jobs that are only said to be its submitter,
    /// has too many already.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn add(&self, record: &Record, standing: Standing) -> Result<bool, String> {
        let name = name(record.caller_uid, record.job, standing);
        let failed = |why: &str| format!("{}/{name}: {why}", self.0.shown());
        let line = serde_json::to_string(record).map_err(|e| failed(&e.to_string()))? + "\n";
        let (files, bytes) = match standing {
            Standing::Known => (0, 0),
            Standing::Claimed => {
                self.claimed_by(record.caller_uid).map_err(|e| failed(e.desc()))?
            }
        };
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND;
        let file = match self.locked(&name, flags) {
            Err(Errno::ENOENT) if files >= MOST_FILES => return Ok(false),
            Err(Errno::ENOENT) => self.locked(&name, flags | OFlag::O_CREAT),
            file => file,
        };
        let mut file = file.map_err(|e| failed(e.desc()))?;
        let length = file.metadata().map_err(|e| failed(&e.to_string()))?.len();
        let (there, most) = match standing {
            Standing::Known => (length, MOST_OF_A_JOB),
            Standing::Claimed => (bytes, MOST_CLAIMED),
        };
        if there + line.len() as u64 > most {
            return Ok(false);
        }
        file.write_all(line.as_bytes()).map(|()| true).map_err(|error| {
            // Half a line would spoil the next one.
            let _ = file.set_len(length);
            failed(&error.to_string())
        })
    }

    /// How many files of jobs that are only said to be a submitter has here, and of what size
    /// together.
    fn claimed_by(&self, uid: u32) -> Result<(usize, u64), Errno> {
        let mine = format!("{uid}.");
        let (mut files, mut bytes) = (0, 0u64);
        for name in self.0.names()? {
            if !name.starts_with(&mine) || !name.ends_with(CLAIMED) {
                continue;
            }
            match fstatat(self.0.descriptor(), name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                // Taken or tidied meanwhile.
                Err(Errno::ENOENT) => {}
                stat => {
                    files += 1;
                    bytes = bytes.saturating_add(u64::try_from(stat?.st_size).unwrap_or(0));
                }
            }
        }
        Ok((files, bytes))
    }

    /// Takes the records of a job's own user; they are gone from here then. What cannot be read
    /// as a record is left out.
    ///
    /// # Errors
    /// One sentence; what has not been taken is still here.
    pub(crate) fn take(&self, uid: u32, job: u32) -> Result<Vec<Record>, String> {
        let mut all = self.take_file(&name(uid, job, Standing::Known))?;
        all.extend(self.take_file(&name(uid, job, Standing::Claimed))?);
        all.retain(|record| (record.caller_uid, record.job) == (uid, job));
        Ok(all)
    }

    fn take_file(&self, name: &str) -> Result<Vec<Record>, String> {
        let failed = |why: &str| format!("{}/{name}: {why}", self.0.shown());
        let file = match self.locked(name, OFlag::O_RDONLY) {
            Err(Errno::ENOENT) => return Ok(Vec::new()),
            file => file.map_err(|e| failed(e.desc()))?,
        };
        let mut text = String::new();
        let read = (&*file).take(MOST_CLAIMED).read_to_string(&mut text);
        read.map_err(|e| failed(&e.to_string()))?;
        unlinkat(self.0.descriptor(), name, UnlinkatFlags::NoRemoveDir)
            .map_err(|e| failed(e.desc()))?;
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Removes what is a week old: records of runs that named no job of Slurm's. Says how many
    /// files that were.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn tidy(&self) -> Result<usize, String> {
        let mut removed = 0;
        let old = |name: &str| {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
            let file = openat(self.0.descriptor(), name, flags, Mode::empty()).ok()?;
            File::from(file).metadata().ok()?.modified().ok()?.elapsed().ok()
        };
        let names = self.0.names().map_err(|e| format!("{}: {}", self.0.shown(), e.desc()))?;
        for name in names {
            if name.ends_with(".jsonl") && old(&name).is_some_and(|age| age > OLD) {
                let gone = unlinkat(self.0.descriptor(), name.as_str(), UnlinkatFlags::NoRemoveDir);
                removed += usize::from(gone.is_ok());
            }
        }
        Ok(removed)
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
        store.add(&record(1000, 7, 1), Standing::Known).unwrap();
        store.add(&record(1000, 7, 2), Standing::Claimed).unwrap();
        store.add(&record(1001, 7, 3), Standing::Claimed).unwrap();
        let got = store.take(1000, 7).unwrap();
        assert_eq!(latest(got), [record(1000, 7, 1), record(1000, 7, 2)]);
        assert_eq!(store.take(1000, 7).unwrap(), []);
        assert_eq!(store.take(1001, 7).unwrap().len(), 1);
    }

    #[test]
    fn a_user_who_makes_up_jobs_fills_his_own_share_and_no_real_jobs() {
        let (directory, store) = store();
        for job in 0..u32::try_from(MOST_FILES).unwrap() {
            store.add(&record(1000, job, 1), Standing::Claimed).unwrap();
        }
        assert!(!store.add(&record(1000, 99_999, 1), Standing::Claimed).unwrap());
        assert!(store.add(&record(1000, 5, 2), Standing::Claimed).unwrap());
        assert!(store.add(&record(100, 5, 2), Standing::Claimed).unwrap());
        // By bytes, too.
        let full = directory.path().join(format!("1000.5{CLAIMED}"));
        File::options().write(true).open(full).unwrap().set_len(MOST_CLAIMED).unwrap();
        assert!(!store.add(&record(1000, 5, 3), Standing::Claimed).unwrap());
        for job in [5, 99_999] {
            assert!(store.add(&record(1000, job, 4), Standing::Known).unwrap());
        }
        assert_eq!(store.take(1000, 99_999).unwrap(), [record(1000, 99_999, 4)]);
    }

    #[test]
    fn a_job_fills_its_own_share() {
        let (directory, store) = store();
        store.add(&record(1000, 5, 1), Standing::Known).unwrap();
        let full = File::options().write(true).open(directory.path().join("1000.5.jsonl"));
        full.unwrap().set_len(MOST_OF_A_JOB).unwrap();
        assert!(!store.add(&record(1000, 5, 2), Standing::Known).unwrap());
        assert!(store.add(&record(1000, 6, 2), Standing::Known).unwrap());
    }
}
