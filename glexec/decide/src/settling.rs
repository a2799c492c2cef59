//! What is asked of glexec-settle, the program that pays debts, and what it answers: words of a
//! command line, and lines on a pipe.

use super::refusal::Refusal;
use contract::Reason;
use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;
use system::Birth;
use system::text::one_line;

/// Which entries, and how patiently.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// `KEY=VALUE` words that must all match.
    pub job: Vec<OsString>,
    /// Only this caller's.
    pub caller: Option<u32>,
    /// How long those that live are waited for, in whole seconds.
    pub wait: Option<Duration>,
    /// Without the pauses between attempts.
    pub now: bool,
    /// By the caller, whose scheduler may end this, too.
    pub by_caller: bool,
    /// What was set aside and is to be tried again, and nothing else.
    pub retry: Vec<String>,
    /// What was set aside and is to be dropped.
    pub drop: Vec<String>,
}

/// How glexec-settle is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleCall {
    /// The descriptor that the answer goes to.
    pub answer: RawFd,
    /// The descriptor of the lock on this caller's settlings, where it is the caller who asks.
    pub lock: Option<(RawFd, u32)>,
    /// As whom it answers, uid and gid: who reads the answer may sleep.
    pub answer_as: (u32, u32),
    /// Children it was born with that are no children of its own: they close the caller's
    /// descriptors, and may hang.
    pub asides: Vec<Birth>,
    /// What it is to do.
    pub wanted: Wanted,
}

impl SettleCall {
    /// The words after the program's name.
    #[must_use]
    pub fn words(&self) -> Vec<OsString> {
        let wanted = &self.wanted;
        let (uid, gid) = self.answer_as;
        let mut words = vec![format!("answer={}", self.answer), format!("answer-as={uid}:{gid}")];
        words.extend(self.lock.map(|(number, caller)| format!("lock={number}:{caller}")));
        words.extend(self.asides.iter().map(|Birth { pid, start }| format!("aside={pid}:{start}")));
        words.extend(wanted.caller.map(|uid| format!("caller={uid}")));
        words.extend(wanted.wait.map(|wait| format!("wait={}", wait.as_secs())));
        words.extend(wanted.now.then(|| "now".to_owned()));
        words.extend(wanted.by_caller.then(|| "by-caller".to_owned()));
        words.extend(wanted.retry.iter().map(|name| format!("retry={name}")));
        words.extend(wanted.drop.iter().map(|name| format!("drop={name}")));
        words.push("--".to_owned());
        words.into_iter().map(OsString::from).chain(wanted.job.iter().cloned()).collect()
    }

    /// Reads them; `None` where they are no such call.
    #[must_use]
    pub fn read(words: &[OsString]) -> Option<Self> {
        let end = words.iter().position(|word| word == "--")?;
        let (before, job) = (words.get(..end)?, words.get(end + 1..)?);
        let mut call = Self {
            answer: -1,
            lock: None,
            answer_as: (u32::MAX, u32::MAX),
            asides: Vec::new(),
            wanted: Wanted { job: job.to_vec(), ..Wanted::default() },
        };
        let pair = |value: &str| -> Option<(u32, u32)> {
            let (first, second) = value.split_once(':')?;
            Some((first.parse().ok()?, second.parse().ok()?))
        };
        for word in before {
            let word = word.to_str()?;
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "answer" => call.answer = value.parse().ok()?,
                "answer-as" => call.answer_as = pair(value)?,
                "lock" => {
                    let (number, caller) = value.split_once(':')?;
                    call.lock = Some((number.parse().ok()?, caller.parse().ok()?));
                }
                "aside" => {
                    let (pid, start) = value.split_once(':')?;
                    let birth = Birth { pid: pid.parse().ok()?, start: start.parse().ok()? };
                    call.asides.push(birth);
                }
                "caller" => call.wanted.caller = Some(value.parse().ok()?),
                "wait" => call.wanted.wait = Some(Duration::from_secs(value.parse().ok()?)),
                "now" => call.wanted.now = true,
                "by-caller" => call.wanted.by_caller = true,
                "retry" => call.wanted.retry.push(value.to_owned()),
                "drop" => call.wanted.drop.push(value.to_owned()),
                _ => return None,
            }
        }
        let whole = call.answer > 2
            && call.lock.is_none_or(|(number, _)| number > 2)
            && call.answer_as != (u32::MAX, u32::MAX);
        whole.then_some(call)
    }
}

/// What became of one entry, as who asked is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The entry's file.
    pub name: String,
    /// In one word.
    pub result: Became,
    /// How the epilogue ended, or why nothing was done.
    pub detail: String,
}

/// What became of an entry, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// Its epilogue has run to its end, now or before.
    Paid,
    /// A person does not want it any more.
    Dropped,
    /// It is not due yet.
    Later,
    /// It is owed still.
    Owed,
    /// It was set aside: somebody has to look.
    Aside,
    /// Its glexec lives.
    Live,
    /// It cannot be read, and was left as it is.
    Odd,
}

impl Became {
    const ALL: [Self; 7] =
        [Self::Paid, Self::Dropped, Self::Later, Self::Owed, Self::Aside, Self::Live, Self::Odd];

    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Dropped => "dropped",
            Self::Later => "later",
            Self::Owed => "owed",
            Self::Aside => "aside",
            Self::Live => "live",
            Self::Odd => "odd",
        }
    }

    /// Whether something is owed still, for all that can be told.
    #[must_use]
    pub const fn is_owed(self) -> bool {
        matches!(self, Self::Later | Self::Owed | Self::Aside | Self::Odd)
    }
}

/// The last line: who does not read it has not read the whole answer.
const END: &str = "end";

/// The answer as it is written.
#[must_use]
pub fn answer(settled: &Result<Vec<Row>, Refusal>) -> String {
    let mut lines: Vec<String> = match settled {
        Ok(rows) => rows
            .iter()
            .map(|row| {
                let (name, detail) = (one_line(&row.name), one_line(&row.detail));
                format!("{}\t{name}\t{detail}\n", row.result.word())
            })
            .collect(),
        Err(stop) => {
            let detail = stop.detail.as_deref().unwrap_or_default();
            let (sentence, detail) = (one_line(&stop.sentence), one_line(detail));
            vec![format!("refused\t{}\t{sentence}\t{detail}\n", stop.reason.word())]
        }
    };
    lines.push(format!("{END}\n"));
    lines.concat()
}

/// Reads an answer.
///
/// # Errors
/// Why nothing was paid; [`Reason::State`] where the answer is none, or not whole.
pub fn read_answer(answer: &[u8]) -> Result<Vec<Row>, Refusal> {
    let not_understood = |what: &str| {
        Refusal::new(Reason::State, "what is owed could not be settled; see the log")
            .detail(format!("glexec-settle answered {what}"))
    };
    let text = String::from_utf8_lossy(answer);
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.pop() != Some(END) {
        return Err(not_understood("without an end"));
    }
    let mut rows = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields.as_slice() {
            ["refused", reason, sentence, detail] => {
                let known = Reason::ALL.iter().find(|known| known.word() == *reason);
                let reason = known.copied().unwrap_or(Reason::State);
                let stop = Refusal::new(reason, (*sentence).to_owned());
                return Err(if detail.is_empty() { stop } else { stop.detail(*detail) });
            }
            [word, name, detail] => {
                let result = Became::ALL.into_iter().find(|known| known.word() == *word);
                let result = result.ok_or_else(|| not_understood("with a word of its own"))?;
                rows.push(Row { name: (*name).to_owned(), result, detail: (*detail).to_owned() });
            }
            _ => return Err(not_understood("with a line of its own")),
        }
    }
    Ok(rows)
}

/// The `KEY=VALUE` words of a job.
///
/// # Errors
/// [`Reason::Usage`] for a word that is none.
pub fn pairs(words: &[OsString]) -> Result<Vec<(&OsStr, &OsStr)>, Refusal> {
    words.iter().map(|word| pair(word)).collect()
}

fn pair(word: &OsStr) -> Result<(&OsStr, &OsStr), Refusal> {
    let bytes = word.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
    let split = at.and_then(|at| Some((bytes.get(..at)?, bytes.get(at + 1..)?)));
    split.map(|(key, value)| (OsStr::from_bytes(key), OsStr::from_bytes(value))).ok_or_else(|| {
        Refusal::new(Reason::Usage, "a job's key is given as KEY=VALUE")
            .hint("for instance SLURM_JOB_ID=4711")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call() -> SettleCall {
        SettleCall {
            answer: 5,
            lock: Some((7, 1000)),
            answer_as: (1000, 100),
            asides: vec![Birth { pid: 42, start: 99 }],
            wanted: Wanted {
                job: vec!["A=--".into(), "--".into(), "answer=9".into()],
                caller: Some(1000),
                wait: Some(Duration::from_secs(30)),
                now: true,
                by_caller: true,
                retry: vec!["run.1".to_owned(), "a=b".to_owned()],
                drop: vec!["run.2".to_owned()],
            },
        }
    }

    #[test]
    fn a_call_is_read_as_it_was_written() {
        for wanted in [call().wanted, Wanted::default()] {
            for lock in [call().lock, None] {
                let call = SettleCall { wanted: wanted.clone(), lock, ..call() };
                assert_eq!(SettleCall::read(&call.words()), Some(call));
            }
        }
    }

    #[test]
    fn what_is_no_call_is_not_taken_for_one() {
        let words = call().words();
        // Every word that is missing or damaged but `now`, and what only one of them may say.
        for wrong in [
            &["answer=5", "answer-as=0:0"][..],
            &["answer=2", "answer-as=0:0", "--"],
            &["answer=5", "--"],
            &["answer-as=0:0", "--"],
            &["answer=5", "answer-as=0", "--"],
            &["answer=5", "answer-as=0:0", "lock=1:0", "--"],
            &["answer=5", "answer-as=0:0", "nonsense", "--"],
            &[],
        ] {
            let wrong: Vec<OsString> = wrong.iter().map(OsString::from).collect();
            assert_eq!(SettleCall::read(&wrong), None, "{wrong:?}");
        }
        assert!(SettleCall::read(&words).is_some());
    }

    proptest! {
        #[test]
        fn an_answer_is_read_as_it_was_written(name in "[ -~]{0,20}", detail in ".{0,40}") {
            let rows: Vec<Row> = Became::ALL
                .into_iter()
                .map(|result| Row { name: name.clone(), result, detail: one_line(&detail) })
                .collect();
            let written = answer(&Ok(rows.clone()));
            prop_assert_eq!(read_answer(written.as_bytes()).unwrap(), rows);
            let stop = Refusal::new(Reason::Accounts, "a sentence").detail(one_line(&detail));
            let read = read_answer(answer(&Err(stop.clone())).as_bytes()).unwrap_err();
            prop_assert_eq!(read.reason, stop.reason);
            prop_assert_eq!(read.detail.unwrap_or_default(), stop.detail.unwrap());
        }

        #[test]
        fn what_is_cut_off_is_no_answer(cut in 0usize..30) {
            let rows = vec![Row { name: "a".into(), result: Became::Paid, detail: "ok".into() }; 2];
            let written = answer(&Ok(rows));
            let cut = cut.min(written.len() - 2);
            prop_assert!(read_answer(written.as_bytes()[..cut].as_ref()).is_err());
        }
    }
}
