//! What the state directory remembers of a lingering run: enough to pay what is owed when the
//! process that owed it is gone. One file a run: a line that says who and what, then a line for
//! each phase.

#[cfg(feature = "read")]
mod read;
mod write;

use contract::{Ending, ResourceUsage};
use std::ffi::CString;
use system::Birth;

pub use write::line;

/// What this program writes. It reads the earlier ones, too; later ones are kept as they are, never
/// guessed at.
pub const VERSION: u32 = 2;
/// Where and when pids mean what they say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "read", derive(serde::Deserialize))]
pub struct Place {
    /// /proc/sys/kernel/random/boot_id.
    pub boot: String,
    /// The inode number of the pid namespace.
    pub pid_namespace: u64,
}

/// Somebody's ids and name, as far as they matter afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "read", derive(serde::Deserialize))]
pub struct Person {
    /// By the account database.
    pub name: String,
    /// Real uid.
    pub uid: u32,
    /// The primary gid and the supplementary ones.
    pub gids: Vec<u32>,
}

/// A directory by what no other one shares: its inode, and when it was made, in seconds and
/// nanoseconds (zeros where the file system does not know).
pub type Made = (u64, (u64, u32));

/// What the file system itself calls a directory, across mounts and boots (`name_to_handle_at(2)`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "read", derive(serde::Deserialize))]
pub struct Handle {
    /// The file system's own kind of handle.
    pub kind: i32,
    /// The handle.
    pub bytes: Bytes,
}

/// A directory of the caller's that the target has for the run: enough to know it again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "read", derive(serde::Deserialize))]
pub struct Handed {
    /// As the caller named it.
    pub path: Bytes,
    /// Major and minor. Anonymous devices get others with every mount.
    pub device: (u32, u32),
    /// Its inode number.
    pub inode: u64,
    /// When it was made: seconds and nanoseconds.
    pub born: (u64, u32),
    /// The devices of all directories on the way, itself the last. Entries of before have none.
    #[cfg_attr(feature = "read", serde(default))]
    pub devices: Vec<(u32, u32)>,
    /// Every directory above it, `/` the first. Entries of version 1 have none.
    #[cfg_attr(feature = "read", serde(default))]
    pub above: Vec<Made>,
    /// Where the file system gives one.
    pub handle: Option<Handle>,
    /// Whether its file system is memory, and gone with the boot.
    #[cfg_attr(feature = "read", serde(default))]
    pub volatile: bool,
}

/// Whether a directory that has the name is the one that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sameness {
    /// It is.
    Same,
    /// Another one, for certain.
    Other,
    /// That cannot be told.
    Unknown,
}

impl Handed {
    /// Whether it is the same directory, whatever its path; both looked at now.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether `now`, found by the path later on, is the directory that was written down. Device
    /// numbers say nothing: a new mount gets another, and another mount may get the same.
    pub fn known_in(&self, now: &Self) -> Sameness {
        let dated = self.born != (0, 0) && now.born != (0, 0);
        let handles = self.handle.as_ref().zip(now.handle.as_ref()).map(|(was, is)| was == is);
        if dated && self.born != now.born {
            return Sameness::Other;
        }
        match handles {
            Some(true) if self.inode == now.inode => Sameness::Same,
            None if self.inode == now.inode && dated => Sameness::Same,
            Some(_) | None => Sameness::Unknown,
        }
    }

    /// Whether a directory on the way, `/` the zeroth, is the one of before: what is not in it any
    /// more is gone, and not only on a file system that is not mounted.
    pub fn was_above(&self, at: usize, now: Made, unchanged: bool) -> bool {
        match self.above.get(at) {
            Some(was) => *was == now && (now.1 != (0, 0) || unchanged),
            None => unchanged,
        }
    }
}

/// A proxy of the payload's that is to be removed, as it is written down before it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "read", derive(serde::Deserialize))]
pub struct OwedProxy {
    /// Where it will be.
    pub path: Bytes,
    /// Where it is first: a name that nobody else gives a file.
    pub first_name: Bytes,
}

/// What that file is known by, among all that may have its path later on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "read", derive(serde::Deserialize))]
pub struct ProxyFile {
    /// Its inode number.
    pub inode: u64,
    /// When it was made, or written where the file system knows no more: seconds and nanoseconds.
    pub stamp: (u64, u32),
    /// The inode number of its directory.
    pub directory: u64,
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "read", derive(serde::Deserialize))]
pub struct Entry {
    /// [`VERSION`] of the glexec that wrote it.
    pub version: u32,
    /// As begin and end line have it; empty in an entry of a version before.
    #[cfg_attr(feature = "read", serde(default))]
    pub run_id: String,
    /// Where its pids mean something.
    pub place: Place,
    /// The glexec that lingers.
    #[cfg_attr(feature = "read", serde(with = "read::Process"))]
    pub glexec: Birth,
    /// glexec's session and process group.
    pub session: i32,
    /// glexec's process group.
    pub group: i32,
    /// Seconds since 1970.
    pub since: u64,
    /// Who called.
    pub caller: Person,
    /// Whom the payload ran as.
    pub target: Person,
    /// Whether the payload is in glexec's group, with the caller's terminal.
    #[cfg_attr(feature = "read", serde(default))]
    pub shares_group: bool,
    /// Whether the target's account was this run's alone.
    pub exclusive: bool,
    /// Whether an epilogue is owed; else it is the account alone that has to be given back.
    pub owes_epilogue: bool,
    /// The command, escaped, for people.
    pub command: String,
    /// The job's keys: names and values.
    pub job: Vec<(String, Bytes)>,
    /// The payload's environment.
    pub environment: Vec<Bytes>,
    /// What the epilogue is told besides, as far as it was known at the begin.
    pub told: Vec<Bytes>,
    /// The directories that the target has.
    #[cfg_attr(feature = "read", serde(default))]
    pub handed: Vec<Handed>,
    /// The payload's proxy, where it is to be removed.
    pub proxy: Option<OwedProxy>,
}

/// The other lines.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "read", derive(serde::Deserialize))]
#[cfg_attr(feature = "read", serde(tag = "phase", rename_all = "kebab-case"))]
pub enum Phase {
    /// The payload may run.
    Started {
        /// Its process.
        #[cfg_attr(feature = "read", serde(with = "read::Process"))]
        payload: Birth,
        /// Its own control group of version 2.
        cgroup: Option<String>,
    },
    /// It has ended.
    Ended {
        /// Its exit code.
        code: Option<u8>,
        /// The signal it died of.
        signal: Option<u8>,
        /// Whether a core was written.
        #[cfg_attr(feature = "read", serde(default))]
        core: bool,
        /// The code for a payload that could not be started.
        not_started: Option<u8>,
        /// What it used.
        usage: ResourceUsage,
        /// How many processes it left behind.
        stragglers: u32,
        /// Seconds since 1970.
        end: u64,
    },
    /// An epilogue may run.
    Attempt {
        /// The attempt, from 1.
        number: u32,
        /// Seconds since 1970.
        at: u64,
        /// Its process.
        #[cfg_attr(feature = "read", serde(with = "read::Process"))]
        epilogue: Birth,
        /// In reach of the caller's scheduler, which may end everything of a job: by the run's own
        /// glexec or by `--settle`. Such attempts do not count, or a user could use them all up.
        #[cfg_attr(feature = "read", serde(default))]
        within: bool,
    },
    /// An attempt came to nothing: not started, not trusted, or ended from outside.
    Failed {
        /// The attempt, from 1.
        number: u32,
        /// Seconds since 1970.
        at: u64,
        /// What kept it from its end.
        why: String,
        /// Whether the caller's scheduler could reach it.
        #[cfg_attr(feature = "read", serde(default))]
        within: bool,
    },
    /// An attempt to give the directories back left something the target's, or the payload's proxy
    /// could not be removed.
    NotBack {
        /// The attempt, from 1.
        number: u32,
        /// Seconds since 1970.
        at: u64,
        /// What kept the directories.
        why: String,
        /// Whether the caller's scheduler could reach it.
        #[cfg_attr(feature = "read", serde(default))]
        within: bool,
    },
    /// The directories are the caller's again: that debt is paid.
    Back,
    /// The payload's proxy is written, and may get its own name.
    ProxyWritten {
        /// What it is known by.
        file: ProxyFile,
    },
    /// The payload's proxy is gone, or no file of the run's any more: that debt is paid.
    ProxyGone,
    /// Somebody wants what was set aside to be tried again: attempts before this do not count.
    Again {
        /// Seconds since 1970.
        at: u64,
    },
    /// The epilogue has run to its own end or was timed out: paid.
    /// The epilogue has run to its end: how, in a word, and with which code.
    Done {
        /// As [`EpilogueResult::word`](contract::EpilogueResult::word).
        result: String,
        /// Exit code or signal number.
        code: Option<u8>,
    },
}

/// Bytes as a JSON string: each byte the character of that number, but a control byte the one of
/// 256 and its number. JSON would make six bytes of each of those; so no byte becomes more than
/// two, and what a run writes down is never more than twice what its caller wrote. Version 1 wrote
/// every byte as the character of its number, which reads the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl From<&CString> for Bytes {
    fn from(text: &CString) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl Bytes {
    /// As an environment entry; `None` where a NUL is in it.
    pub fn to_entry(&self) -> Option<CString> {
        CString::new(self.0.clone()).ok()
    }
}

/// Where the characters of control bytes begin.
const OF_CONTROL: u32 = 256;

impl Phase {
    /// The phase of a payload that has ended at `end`.
    pub fn ended(
        ending: Result<Ending, u8>,
        usage: ResourceUsage,
        stragglers: u32,
        end: u64,
    ) -> Self {
        let (code, signal, core, not_started) = match ending {
            Ok(Ending::Exited(code)) => (Some(code), None, false, None),
            Ok(Ending::Killed { signal, core }) => (None, Some(signal), core, None),
            Err(code) => (None, None, false, Some(code)),
        };
        Self::Ended { code, signal, core, not_started, usage, stragglers, end }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn entry() -> Entry {
        let person = |uid| Person { name: format!("u{uid}"), uid, gids: vec![uid, 5] };
        Entry {
            version: VERSION,
            run_id: "5.6.7".to_owned(),
            place: Place { boot: "b".to_owned(), pid_namespace: 7 },
            glexec: Birth { pid: 10, start: 11 },
            session: 9,
            group: 10,
            since: 1_700_000_000,
            caller: person(1),
            target: person(2),
            shares_group: false,
            exclusive: false,
            owes_epilogue: true,
            command: "sleep".to_owned(),
            job: vec![("JOB".to_owned(), Bytes(b"4711".to_vec()))],
            environment: vec![Bytes(b"A=\xff\n".to_vec())],
            told: vec![],
            handed: vec![],
            proxy: None,
        }
    }

    pub(crate) fn text(phases: &[Phase]) -> Vec<u8> {
        let lines = phases.iter().map(|phase| line(phase));
        std::iter::once(line(&entry())).chain(lines).collect::<Vec<_>>().concat()
    }

    pub(crate) fn attempt(number: u32, at: u64) -> Phase {
        Phase::Attempt { number, at, epilogue: Birth { pid: 30, start: 31 }, within: false }
    }

    pub(crate) fn within(number: u32, at: u64) -> Phase {
        Phase::Attempt { number, at, epilogue: Birth { pid: 30, start: 31 }, within: true }
    }

    pub(crate) const STARTED: Phase =
        Phase::Started { payload: Birth { pid: 20, start: 21 }, cgroup: None };

    #[test]
    fn a_directory_is_known_again_by_what_survives_a_mount_and_a_boot() {
        use Sameness::{Other, Same, Unknown};
        let seen = |minor, inode, born, handle: Option<&[u8]>| Handed {
            path: Bytes(b"/d".to_vec()),
            device: (0, minor),
            inode,
            born,
            devices: vec![],
            above: vec![],
            handle: handle.map(|bytes| Handle { kind: 1, bytes: Bytes(bytes.to_vec()) }),
            volatile: false,
        };
        let (h, g) = (Some(&b"h"[..]), Some(&b"g"[..]));
        for (was, is, same) in [
            (seen(40, 5, (6, 7), h), seen(40, 5, (6, 7), h), Same),
            (seen(40, 5, (6, 7), h), seen(41, 5, (6, 7), h), Same),
            (seen(40, 5, (6, 7), None), seen(41, 5, (6, 7), None), Same),
            (seen(40, 5, (0, 0), h), seen(41, 5, (0, 0), h), Same),
            (seen(40, 5, (0, 0), None), seen(40, 5, (0, 0), None), Unknown),
            (seen(40, 5, (6, 7), h), seen(40, 5, (6, 8), h), Other),
            (seen(40, 5, (6, 7), h), seen(40, 5, (6, 7), g), Unknown),
            (seen(40, 5, (6, 7), None), seen(40, 6, (6, 7), None), Unknown),
            (seen(40, 5, (6, 7), h), seen(40, 6, (6, 7), h), Unknown),
        ] {
            assert_eq!(was.known_in(&is), same, "{was:?} {is:?}");
        }
        let above = Handed { above: vec![(2, (1, 1)), (9, (0, 0))], ..seen(40, 5, (6, 7), h) };
        for (at, now, unchanged, is) in [
            (0, (2, (1, 1)), false, true),
            (0, (2, (1, 2)), true, false),
            (1, (9, (0, 0)), false, false),
            (1, (9, (0, 0)), true, true),
            (2, (9, (0, 0)), true, true),
            (2, (9, (0, 0)), false, false),
        ] {
            assert_eq!(above.was_above(at, now, unchanged), is, "{at} {now:?} {unchanged}");
        }
    }
}
