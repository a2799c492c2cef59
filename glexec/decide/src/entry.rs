//! What the state directory remembers of a lingering run: enough to pay what is owed when the
//! process that owed it is gone. One file a run: a line that says who and what, then a line for
//! each phase.

#[cfg(feature = "read")]
mod read;
mod write;

use contract::{Ending, ResourceUsage};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use system::Birth;

pub use write::line;

/// What this program writes. It reads the earlier ones, too; later ones are kept as they are, never
/// guessed at.
pub const VERSION: u32 = 2;
/// Seconds before the next attempt of root's, by how many of root's there were; after the last
/// nobody tries again by itself.
const PAUSES: [u64; 5] = [0, 60, 300, 900, 900];
/// Two attempts of the caller's follow at once, the others after so many seconds.
const CALLERS_PAUSE: u64 = 60;

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
    /// An attempt to give the directories back left something the target's.
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

/// Who would pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Root, what is due.
    Root,
    /// Root, who asks for this very run and does not wait for pauses.
    RootAtOnce,
    /// The caller, by `--settle`.
    Caller,
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

/// Why a file tells of no run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// A later version wrote it.
    Version(u32),
    /// It is damaged, or something else.
    Garbage(String),
}

impl Unreadable {
    /// One clause.
    pub fn clause(&self) -> String {
        match self {
            Self::Version(version) => {
                format!("is of version {version}, and this program knows {VERSION}")
            }
            Self::Garbage(why) => format!("cannot be read: {why}"),
        }
    }
}

/// An entry with all its phases.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedRun {
    /// The first line.
    pub entry: Entry,
    /// The others, in their order.
    pub phases: Vec<Phase>,
}

/// What is owed of a run whose glexec is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owed {
    /// All was paid; only the file is left.
    Paid,
    /// An epilogue: attempt number so and so.
    Due(u32),
    /// The same, but not before this time (seconds since 1970).
    Later(u64),
    /// Tried often enough: somebody has to look.
    Hopeless,
}

impl RecordedRun {
    /// What this payer owes at this time (seconds since 1970) of the epilogue.
    pub fn debt(&self, now: u64, payer: Trigger) -> Owed {
        if self.phases.iter().any(|phase| matches!(phase, Phase::Done { .. })) {
            return Owed::Paid;
        }
        due(&self.attempts(Phase::as_attempt), now, payer)
    }

    /// The same of the directories that the target had: a debt of its own, with its own pauses.
    pub fn hand_back(&self, now: u64, payer: Trigger) -> Owed {
        let paid = self.phases.iter().any(|phase| matches!(phase, Phase::Back));
        if self.entry.handed.is_empty() || paid {
            return Owed::Paid;
        }
        let attempt = |phase: &Phase| {
            let Phase::NotBack { number, at, within, .. } = phase else { return None };
            Some((*number, *at, *within))
        };
        due(&self.attempts(attempt), now, payer)
    }

    /// Number, time, and whether it does not count among those after which nobody tries again by
    /// itself: one within reach of the caller's scheduler, and one before somebody asked for more.
    fn attempts(
        &self,
        attempt: impl Fn(&Phase) -> Option<(u32, u64, bool)>,
    ) -> Vec<(u32, u64, bool)> {
        let again = self.phases.iter().rposition(|phase| matches!(phase, Phase::Again { .. }));
        let numbered = self.phases.iter().enumerate();
        let counted = numbered.filter_map(|(at, phase)| {
            let (number, time, within) = attempt(phase)?;
            Some((number, time, within || again.is_some_and(|again| at < again)))
        });
        counted.collect()
    }

    /// The payload, where it may have run.
    pub fn payload(&self) -> Option<Birth> {
        let started = |phase: &Phase| {
            if let Phase::Started { payload, .. } = phase { Some(*payload) } else { None }
        };
        self.phases.iter().find_map(started)
    }

    /// The payload's own control group, where it had one.
    pub fn cgroup(&self) -> Option<&str> {
        self.phases.iter().find_map(|phase| {
            if let Phase::Started { cgroup, .. } = phase { cgroup.as_deref() } else { None }
        })
    }

    /// The last epilogue that may have run.
    pub fn epilogue(&self) -> Option<Birth> {
        let attempted = |phase: &Phase| {
            if let Phase::Attempt { epilogue, .. } = phase { Some(*epilogue) } else { None }
        };
        self.phases.iter().rev().find_map(attempted)
    }

    /// How the payload ended, where that was written down: its ending or the code for one that
    /// was not started, what it used, its stragglers, and when.
    pub fn ended(&self) -> Option<(Result<Ending, u8>, ResourceUsage, u32, u64)> {
        self.phases.iter().rev().find_map(|phase| {
            let Phase::Ended { code, signal, core, not_started, usage, stragglers, end } = phase
            else {
                return None;
            };
            let ending = match (code, signal, not_started) {
                (Some(code), _, _) => Ok(Ending::Exited(*code)),
                (_, Some(signal), _) => Ok(Ending::Killed { signal: *signal, core: *core }),
                (_, _, Some(code)) => Err(*code),
                (None, None, None) => return None,
            };
            Some((ending, *usage, *stragglers, *end))
        })
    }

    /// One word for people: how far the run came.
    pub fn word(&self) -> &'static str {
        match self.phases.last() {
            None => "starting",
            Some(Phase::Started { .. }) => "payload",
            Some(Phase::Ended { .. }) => "ended",
            Some(Phase::Attempt { .. }) => "epilogue",
            Some(Phase::Failed { .. }) => "epilogue-failed",
            Some(Phase::NotBack { .. }) => "hand-back-failed",
            Some(Phase::Back) => "handed-back",
            Some(Phase::Again { .. }) => "to-be-retried",
            Some(Phase::Done { .. }) => "done",
        }
    }

    /// Whether every one of these `KEY=VALUE` words is one of the job's keys.
    pub fn matches(&self, words: &[(&OsStr, &OsStr)]) -> bool {
        words.iter().all(|(key, value)| {
            let job = self.entry.job.iter();
            job.into_iter().any(|(k, v)| k.as_bytes() == key.as_bytes() && v.0 == value.as_bytes())
        })
    }
}

/// When the next attempt is due, after these: number, time, and whether it does not count.
fn due(attempts: &[(u32, u64, bool)], now: u64, payer: Trigger) -> Owed {
    let next = attempts.last().map_or(0, |(number, ..)| *number).saturating_add(1);
    if payer == Trigger::Caller {
        let last = attempts.last().map_or(0, |(_, at, _)| *at);
        let due = if next <= 2 { 0 } else { last.saturating_add(CALLERS_PAUSE) };
        return if now < due { Owed::Later(due) } else { Owed::Due(next) };
    }
    // An attempt and its failure have one number: the later of the two, counted from the last.
    let mut roots: Vec<(u32, u64)> = attempts
        .iter()
        .rev()
        .filter(|(.., within)| !within)
        .map(|(number, at, _)| (*number, *at))
        .collect();
    roots.dedup_by_key(|(number, _)| *number);
    let Some(pause) = PAUSES.get(roots.len()) else { return Owed::Hopeless };
    let due = roots.first().map_or(0, |(_, at)| at.saturating_add(*pause));
    if payer == Trigger::Root && now < due { Owed::Later(due) } else { Owed::Due(next) }
}

impl Phase {
    /// Number, time, and whether it was within reach of the caller's scheduler.
    fn as_attempt(&self) -> Option<(u32, u64, bool)> {
        match self {
            Self::Attempt { number, at, within, .. } | Self::Failed { number, at, within, .. } => {
                Some((*number, *at, *within))
            }
            Self::Started { .. }
            | Self::Ended { .. }
            | Self::NotBack { .. }
            | Self::Back
            | Self::Again { .. }
            | Self::Done { .. } => None,
        }
    }

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
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(super) fn entry() -> Entry {
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
        }
    }

    fn text(phases: &[Phase]) -> Vec<u8> {
        let lines = phases.iter().map(|phase| line(phase));
        std::iter::once(line(&entry())).chain(lines).collect::<Vec<_>>().concat()
    }

    pub(super) fn attempt(number: u32, at: u64) -> Phase {
        Phase::Attempt { number, at, epilogue: Birth { pid: 30, start: 31 }, within: false }
    }

    pub(super) fn within(number: u32, at: u64) -> Phase {
        Phase::Attempt { number, at, epilogue: Birth { pid: 30, start: 31 }, within: true }
    }

    pub(super) const STARTED: Phase =
        Phase::Started { payload: Birth { pid: 20, start: 21 }, cgroup: None };

    #[test]
    fn what_is_written_is_read_back_and_a_torn_line_is_no_line() {
        let ending = Ok(Ending::Killed { signal: 9, core: true });
        let ended = Phase::ended(ending, ResourceUsage::default(), 3, 77);
        let phases = [STARTED, ended, attempt(1, 80)];
        let whole = text(&phases);
        let recorded = RecordedRun::read(&whole).unwrap();
        assert_eq!((&recorded.entry, &recorded.phases[..]), (&entry(), &phases[..]));
        assert_eq!(recorded.ended(), Some((ending, ResourceUsage::default(), 3, 77)));
        assert_eq!((recorded.payload().unwrap().pid, recorded.epilogue().unwrap().pid), (20, 30));
        for cut in 1..20 {
            let recorded = RecordedRun::read(&whole[..whole.len() - cut]).unwrap();
            assert_eq!(recorded.phases, phases[..2], "the last line was not whole");
        }
    }

    #[test]
    fn garbage_and_the_future_are_told_apart() {
        for garbage in [&b""[..], b"x", b"\n", b"{}\n", b"{\"version\":1}\n", b"\0\0\n"] {
            assert!(
                matches!(RecordedRun::read(garbage), Err(Unreadable::Garbage(_))),
                "{garbage:?}"
            );
        }
        for version in [0, VERSION + 1] {
            let text = format!("{{\"version\":{version},\"x\":[]}}\n");
            assert_eq!(RecordedRun::read(text.as_bytes()), Err(Unreadable::Version(version)));
        }
    }

    #[test]
    fn a_line_that_is_torn_in_the_middle_tells_nothing_and_what_follows_still_counts() {
        let done = Phase::Done { result: "ok".to_owned(), code: Some(0) };
        let torn = line(&done);
        let next = line(&attempt(1, 80));
        for length in 0..torn.len() {
            for end in [&b""[..], b"\n"] {
                let begin = [text(&[STARTED]), torn[..length].to_vec(), end.to_vec()].concat();
                let recorded =
                    RecordedRun::read(&[begin.clone(), next.clone(), next.clone()].concat());
                let recorded = recorded.unwrap();
                assert!(recorded.phases.ends_with(&[attempt(1, 80)]), "{length} {end:?}");
                let whole = length == torn.len() - 1 && end == b"\n";
                let debt = recorded.debt(9999, Trigger::RootAtOnce);
                assert_eq!(debt == Owed::Paid, whole, "{length} {end:?}: {recorded:?}");
            }
        }
    }

    /// As the program of before wrote it, byte for byte.
    #[test]
    fn an_entry_of_version_1_is_read() {
        let first = r#"{"version":1,"place":{"boot":"b","pid_namespace":7},"glexec":{"pid":10,"start":11},"session":9,"group":10,"since":1700000000,"caller":{"name":"u1","uid":1,"gids":[1,5]},"target":{"name":"u2","uid":2,"gids":[2,5]},"exclusive":false,"owes_epilogue":true,"command":"sleep","job":[["JOB","4711"]],"environment":["A=\u00ff\u0001\n"],"told":[],"handed":[{"path":"/d","device":[8,1],"inode":5,"born":[6,7],"devices":[[8,1]]}]}"#;
        let text = format!("{first}\n{{\"phase\":\"done\",\"result\":\"ok\",\"code\":0}}\n");
        let recorded = RecordedRun::read(text.as_bytes()).unwrap();
        assert_eq!(recorded.entry.environment, [Bytes(b"A=\xff\x01\n".to_vec())]);
        assert_eq!(recorded.entry.handed[0].path, Bytes(b"/d".to_vec()));
        assert_eq!(recorded.debt(1, Trigger::Root), Owed::Paid);
    }

    #[test]
    fn a_debt_is_paid_once_and_tried_with_growing_pauses() {
        let debt = |phases: &[Phase], now, payer| {
            RecordedRun::read(&text(phases)).unwrap().debt(now, payer)
        };
        let root = |phases: &[Phase], now| debt(phases, now, Trigger::Root);
        assert_eq!(root(&[], 5), Owed::Due(1));
        assert_eq!(root(&[STARTED], 5), Owed::Due(1));
        assert_eq!(root(&[STARTED, within(1, 100)], 100), Owed::Due(2));
        let two = [STARTED, within(1, 100), attempt(2, 200)];
        assert_eq!(root(&two, 259), Owed::Later(260));
        assert_eq!(root(&two, 260), Owed::Due(3));
        assert_eq!(debt(&two, 201, Trigger::RootAtOnce), Owed::Due(3), "who asks does not wait");
        let failed = Phase::Failed { number: 2, at: 201, why: "x".to_owned(), within: false };
        let two = [STARTED, attempt(2, 200), failed];
        assert_eq!(root(&two, 260), Owed::Later(261), "it is one attempt");
        let five: Vec<Phase> = (1..=5).map(|n| attempt(n, n.into())).collect();
        assert_eq!(debt(&five, 9999, Trigger::RootAtOnce), Owed::Hopeless);
        let again = [five.clone(), vec![Phase::Again { at: 9999 }]].concat();
        assert_eq!(root(&again, 9999), Owed::Due(6), "by hand, and its number tells");
        let again = [again, (6..=10).map(|n| attempt(n, 9999)).collect()].concat();
        assert_eq!(root(&again, 99_999), Owed::Hopeless);
        let done = Phase::Done { result: "ok".to_owned(), code: Some(0) };
        assert_eq!(root(&[STARTED, attempt(1, 1), done], 1), Owed::Paid);
    }

    #[test]
    fn the_hand_back_is_a_debt_of_its_own_beside_the_epilogue() {
        let handed = || {
            let (path, device, born) = (Bytes(b"/d".to_vec()), (8, 1), (6, 7));
            let (devices, above, handle) = (vec![], vec![], None);
            Handed { path, device, inode: 5, born, devices, above, handle, volatile: false }
        };
        let recorded = |phases: &[Phase], handed: Vec<Handed>| {
            let entry = Entry { handed, ..entry() };
            let lines = phases.iter().map(|phase| line(phase));
            let text = std::iter::once(line(&entry)).chain(lines).collect::<Vec<_>>();
            RecordedRun::read(&text.concat()).unwrap()
        };
        let not = |number, at, within| Phase::NotBack { number, at, why: "x".to_owned(), within };
        let done = || Phase::Done { result: "ok".to_owned(), code: Some(0) };
        let root =
            |phases: &[Phase], now| recorded(phases, vec![handed()]).hand_back(now, Trigger::Root);
        assert_eq!(
            recorded(&[], vec![]).hand_back(1, Trigger::Root),
            Owed::Paid,
            "nothing was handed"
        );
        assert_eq!(root(&[STARTED, done()], 1), Owed::Due(1), "the epilogue's end pays nothing");
        assert_eq!(root(&[STARTED, not(1, 100, true), done()], 100), Owed::Due(2));
        assert_eq!(root(&[not(1, 100, true), not(2, 200, false)], 259), Owed::Later(260));
        assert_eq!(root(&[not(1, 100, true), attempt(1, 100), Phase::Back], 100), Owed::Paid);
        let five: Vec<Phase> = (1..=5).map(|n| not(n, n.into(), false)).collect();
        assert_eq!(root(&five, 9999), Owed::Hopeless);
        let back = recorded(&[not(1, 100, false), Phase::Back], vec![handed()]);
        assert_eq!(back.debt(100, Trigger::Root), Owed::Due(1), "nor the other way round");
    }

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

    #[test]
    fn what_a_caller_spoils_is_never_hopeless_and_not_repeated_without_end() {
        let many: Vec<Phase> = (1..=50).map(|n| within(n, 100)).collect();
        let debt = |phases: &[Phase], now, payer| {
            RecordedRun::read(&text(phases)).unwrap().debt(now, payer)
        };
        assert_eq!(debt(&many, 101, Trigger::Root), Owed::Due(51));
        assert_eq!(debt(&many, 159, Trigger::Caller), Owed::Later(160));
        assert_eq!(debt(&many, 160, Trigger::Caller), Owed::Due(51));
        assert_eq!(debt(&many[..1], 101, Trigger::Caller), Owed::Due(2));
    }

    #[test]
    fn a_job_is_matched_by_all_its_words() {
        let recorded = RecordedRun::read(&text(&[])).unwrap();
        let matches = |words: &[(&str, &str)]| {
            let words: Vec<_> =
                words.iter().map(|(k, v)| (OsStr::new(*k), OsStr::new(*v))).collect();
            recorded.matches(&words)
        };
        assert!(matches(&[("JOB", "4711")]) && matches(&[]));
        assert!(!matches(&[("JOB", "471")]) && !matches(&[("JOB", "4711"), ("X", "1")]));
    }

    proptest! {
        #[test]
        fn any_bytes_come_back_and_any_file_is_read_without_a_panic(bytes: Vec<u8>) {
            let written = String::from_utf8(line(&Bytes(bytes.clone()))).unwrap();
            prop_assert_eq!(written.matches('\n').count(), 1);
            prop_assert!(written.len() <= 2 * bytes.len() + 3, "bounded: {written}");
            prop_assert_eq!(serde_json::from_str::<Bytes>(&written).unwrap(), Bytes(bytes.clone()));
            let _ = RecordedRun::read(&bytes);
        }
    }
}
