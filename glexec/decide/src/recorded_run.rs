//! What a file of the state directory tells of a run, and what is owed of it: for who pays and who
//! looks. The setuid program reads no such file, and is built without this module.

use super::entry::{Entry, Phase, ProxyFile, VERSION};
use contract::{Ending, ResourceUsage};
use serde::Deserialize;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use system::Birth;

/// Seconds before the next attempt of root's, by how many of root's there were; after the last
/// nobody tries again by itself.
const PAUSES: [u64; 5] = [0, 60, 300, 900, 900];
/// Two attempts of the caller's follow at once, the others after so many seconds.
const CALLERS_PAUSE: u64 = 60;

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
        due(&self.attempts(as_attempt), now, payer)
    }

    /// The same of what the target had, the directories and its proxy: a debt of its own, with its
    /// own pauses.
    pub fn hand_back(&self, now: u64, payer: Trigger) -> Owed {
        if self.is_handed_back() && self.proxy_is_gone() {
            return Owed::Paid;
        }
        let attempt = |phase: &Phase| {
            let Phase::NotBack { number, at, within, .. } = phase else { return None };
            Some((*number, *at, *within))
        };
        due(&self.attempts(attempt), now, payer)
    }

    /// Whether the directories are the caller's again, or there were none.
    pub fn is_handed_back(&self) -> bool {
        let back = self.phases.iter().any(|phase| matches!(phase, Phase::Back));
        self.entry.handed.is_empty() || back
    }

    /// Whether the payload's proxy is gone, or there was none to be removed.
    pub fn proxy_is_gone(&self) -> bool {
        let gone = self.phases.iter().any(|phase| matches!(phase, Phase::ProxyGone));
        self.entry.proxy.is_none() || gone
    }

    /// What the payload's proxy is known by; none where it has only its first name.
    pub fn proxy_file(&self) -> Option<&ProxyFile> {
        self.phases.iter().find_map(|phase| {
            if let Phase::ProxyWritten { file } = phase { Some(file) } else { None }
        })
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
            Some(Phase::ProxyWritten { .. }) => "starting",
            Some(Phase::ProxyGone) => "proxy-removed",
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

impl RecordedRun {
    /// Reads a file. A line that is not whole, at the end or before it, was being written when the
    /// disk was full or the power went. It tells nothing: least of all that something is paid, so
    /// what it would have said is owed still.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(text: &[u8]) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let garbage =
            |e: serde_json::Error| Unreadable::Garbage(system::text::one_line(&e.to_string()));
        let whole = memchr::memrchr(b'\n', text).and_then(|end| text.get(..end));
        let whole = whole.ok_or_else(|| Unreadable::Garbage("it has no whole line".to_owned()))?;
        let mut lines = whole.split(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        let Versioned { version } = serde_json::from_slice(first).map_err(garbage)?;
        if !(1..=VERSION).contains(&version) {
            return Err(Unreadable::Version(version));
        }
        let entry = serde_json::from_slice(first).map_err(garbage)?;
        let phases = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
        Ok(Self { entry, phases })
    }
}

/// Number, time, and whether it was within reach of the caller's scheduler.
fn as_attempt(phase: &Phase) -> Option<(u32, u64, bool)> {
    match phase {
        Phase::Attempt { number, at, within, .. } | Phase::Failed { number, at, within, .. } => {
            Some((*number, *at, *within))
        }
        Phase::Started { .. }
        | Phase::Ended { .. }
        | Phase::NotBack { .. }
        | Phase::Back
        | Phase::ProxyWritten { .. }
        | Phase::ProxyGone
        | Phase::Again { .. }
        | Phase::Done { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::{STARTED, attempt, entry, text, within};
    use crate::entry::{Bytes, Handed, OwedProxy, line};
    use proptest::prelude::*;

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
    fn a_proxy_that_is_to_be_removed_is_owed_until_it_is_gone() {
        let path = || Bytes(b"/p".to_vec());
        let proxy = Some(OwedProxy { path: path(), first_name: path() });
        let file = ProxyFile { inode: 5, stamp: (6, 7), directory: 8 };
        let debt = |proxy: &Option<OwedProxy>, phases: &[Phase]| {
            let entry = Entry { proxy: proxy.clone(), ..entry() };
            let lines = phases.iter().map(|phase| line(phase));
            let text = std::iter::once(line(&entry)).chain(lines).collect::<Vec<_>>().concat();
            let recorded = RecordedRun::read(&text).unwrap();
            (recorded.hand_back(1, Trigger::Root), recorded.proxy_file().cloned())
        };
        let written = Phase::ProxyWritten { file: file.clone() };
        assert_eq!(debt(&None, &[Phase::Back]), (Owed::Paid, None));
        assert_eq!(debt(&proxy, &[Phase::Back]), (Owed::Due(1), None));
        assert_eq!(debt(&proxy, &[written.clone(), STARTED]), (Owed::Due(1), Some(file.clone())));
        assert_eq!(debt(&proxy, &[written, Phase::ProxyGone]), (Owed::Paid, Some(file)));
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
