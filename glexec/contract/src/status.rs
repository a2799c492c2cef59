//! The status stream: one JSON object a line, so that nobody has to guess from one byte.

use super::Ending;
use super::json::{self, Json, Object};

/// What the payload used, as getrusage(2) tells it of it and its waited-for children.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "read", derive(serde::Deserialize))]
pub struct Usage {
    /// User CPU time, microseconds.
    pub user_us: u64,
    /// System CPU time, microseconds.
    pub system_us: u64,
    /// Largest resident set of one process, KiB.
    pub max_rss_kib: u64,
}

/// How the epilogue ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpilogueResult {
    /// It exited 0.
    Ok,
    /// It exited with this code, not 0.
    Exit(u8),
    /// It died of this signal.
    Signal(u8),
    /// It ran out of `epilogue_timeout` and was ended.
    Timeout,
    /// It could not be started, or was not trusted any more.
    NotStarted,
}

/// Whether this is a signal with which somebody ends a process from outside (HUP, INT, QUIT, KILL,
/// TERM): a scheduler ends everything in a job's container, and the OOM killer what it likes.
const fn is_from_outside(signal: u8) -> bool {
    matches!(signal, 1 | 2 | 3 | 9 | 15)
}

/// Whether this is a signal that a process gets for what it has done itself (signal(7): ILL, TRAP,
/// ABRT, BUS, FPE, SEGV, SYS).
#[must_use]
pub const fn is_a_fault(signal: u8) -> bool {
    matches!(signal, 4..=8 | 11 | 31)
}

/// Whether the kernel ends a process with this signal, too, whose exec fails when its old program is
/// gone already and its new one not there yet (execve(2), NOTES): BUS, SEGV.
const fn may_be_of_an_exec(signal: u8) -> bool {
    matches!(signal, 7 | 11)
}

impl EpilogueResult {
    /// The stable word: ok, exit, signal, timeout, not-started.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Exit(_) => "exit",
            Self::Signal(_) => "signal",
            Self::Timeout => "timeout",
            Self::NotStarted => "not-started",
        }
    }

    /// Whether it is still owed: not started, ended from outside, or perhaps never executed whole.
    #[must_use]
    pub const fn is_owed(self) -> bool {
        match self {
            Self::NotStarted => true,
            Self::Signal(signal) => is_from_outside(signal) || may_be_of_an_exec(signal),
            Self::Ok | Self::Exit(_) | Self::Timeout => false,
        }
    }

    /// Exit code or signal number, where there is one.
    #[must_use]
    pub const fn number(self) -> Option<u8> {
        match self {
            Self::Ok => Some(0),
            Self::Exit(n) | Self::Signal(n) => Some(n),
            Self::Timeout | Self::NotStarted => None,
        }
    }
}

impl EpilogueResult {
    /// From word and number, as a record has them; `None` where they say nothing.
    #[must_use]
    pub fn read(word: &str, number: Option<u8>) -> Option<Self> {
        match (word, number) {
            ("ok", _) => Some(Self::Ok),
            ("exit", Some(code)) => Some(Self::Exit(code)),
            ("signal", Some(signal)) => Some(Self::Signal(signal)),
            ("timeout", _) => Some(Self::Timeout),
            ("not-started", _) => Some(Self::NotStarted),
            _ => None,
        }
    }
}

impl From<Ending> for EpilogueResult {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Exited(0) => Self::Ok,
            Ending::Exited(code) => Self::Exit(code),
            Ending::Killed { signal, .. } => Self::Signal(signal),
        }
    }
}

/// One line of the status stream.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "read", derive(serde::Deserialize))]
#[cfg_attr(feature = "read", serde(tag = "event", rename_all = "kebab-case"))]
pub enum Record {
    /// A rehearsal: this is who the payload would run as. Nothing was started.
    Rehearsed {
        /// The target's account name; of a pool, the one that would be next.
        target: String,
        /// Its uid.
        uid: u32,
        /// Its primary gid.
        gid: u32,
        /// Whether it is one of a pool: the run itself may get another.
        #[cfg_attr(feature = "read", serde(default))]
        pool: bool,
    },
    /// The payload runs.
    Started {
        /// The (lingering) glexec.
        glexec_pid: i32,
        /// The payload.
        payload_pid: i32,
        /// The target's account name.
        target: String,
        /// What the run is called in the log, in the epilogue's environment and in `glexec-admin ps`.
        #[cfg_attr(feature = "read", serde(default))]
        run_id: String,
    },
    /// The payload has ended, or could not be started.
    Payload {
        /// `exited`, `killed` or `not-started`.
        result: String,
        /// Its exit code, where it exited.
        code: Option<u8>,
        /// The signal it died of.
        signal: Option<u8>,
        /// Whether a core was written.
        #[cfg_attr(feature = "read", serde(default))]
        core_dumped: bool,
        /// What it used.
        #[cfg_attr(feature = "read", serde(default))]
        usage: Usage,
    },
    /// What the payload left behind.
    Stragglers {
        /// Processes that were still there.
        found: u32,
        /// Of these, how many have ended.
        ended: u32,
    },
    /// The epilogue has ended, or could not be started.
    Epilogue {
        /// `ok`, `exit`, `signal`, `timeout` or `not-started`.
        result: String,
        /// Exit code or signal number.
        code: Option<u8>,
        /// How long it took.
        seconds: f64,
    },
    /// All is done; this is the exit code. Records that could not be written are counted.
    Finished {
        /// glexec's own exit code.
        code: u8,
        /// Records dropped because the reader slept.
        #[cfg_attr(feature = "read", serde(default))]
        dropped: u32,
    },
    /// A `--settle` has gone through the runs that match.
    Settled {
        /// Runs whose epilogue has run to its end now, or had before.
        paid: u32,
        /// Runs whose glexec lives: it pays itself.
        live: u32,
        /// Runs that still owe.
        owed: u32,
    },
    /// No payload was run.
    Refused {
        /// 201, 202 or 203.
        code: u8,
        /// A word of [`super::Reason`].
        reason: String,
        /// One sentence.
        sentence: String,
    },
}

impl Record {
    /// The record of a payload that ended.
    #[must_use]
    pub fn payload(ending: Ending, usage: Usage) -> Self {
        let (result, code, signal, core_dumped) = match ending {
            Ending::Exited(code) => ("exited", Some(code), None, false),
            Ending::Killed { signal, core } => ("killed", None, Some(signal), core),
        };
        Self::Payload { result: result.to_owned(), code, signal, core_dumped, usage }
    }

    /// The record of a payload that could not be started; `code` is what glexec returns for it.
    #[must_use]
    pub fn not_started(code: u8) -> Self {
        Self::Payload {
            result: "not-started".to_owned(),
            code: Some(code),
            signal: None,
            core_dumped: false,
            usage: Usage::default(),
        }
    }

    /// The record of an epilogue that took `seconds`.
    #[must_use]
    pub fn epilogue(result: EpilogueResult, seconds: f64) -> Self {
        Self::Epilogue { result: result.word().to_owned(), code: result.number(), seconds }
    }

    /// The line to write, with its newline.
    #[must_use]
    pub fn line(&self) -> String {
        json::line(self)
    }

    /// Reads one line of the stream.
    ///
    /// # Errors
    /// Where the line is no record.
    #[cfg(feature = "read")]
    pub fn parse(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }
}

impl Json for Usage {
    fn write(&self, out: &mut String) {
        let Self { user_us, system_us, max_rss_kib } = self;
        let object = Object::begin(out).with("user_us", user_us).with("system_us", system_us);
        object.with("max_rss_kib", max_rss_kib).end();
    }
}

impl Json for Record {
    fn write(&self, out: &mut String) {
        let object = Object::begin(out);
        let begin = |event: &str| object.with("event", &event);
        let object = match self {
            Self::Rehearsed { target, uid, gid, pool } => {
                let object = begin("rehearsed").with("target", target);
                object.with("uid", uid).with("gid", gid).with("pool", pool)
            }
            Self::Started { glexec_pid, payload_pid, target, run_id } => {
                let object = begin("started").with("glexec_pid", glexec_pid);
                object
                    .with("payload_pid", payload_pid)
                    .with("target", target)
                    .with("run_id", run_id)
            }
            Self::Payload { result, code, signal, core_dumped, usage } => {
                let object = begin("payload").with("result", result);
                let object = object.with_if(code.is_some(), "code", code);
                let object = object.with_if(signal.is_some(), "signal", signal);
                object.with("core_dumped", core_dumped).with("usage", usage)
            }
            Self::Stragglers { found, ended } => {
                begin("stragglers").with("found", found).with("ended", ended)
            }
            Self::Epilogue { result, code, seconds } => {
                let object = begin("epilogue").with("result", result);
                object.with_if(code.is_some(), "code", code).with("seconds", seconds)
            }
            Self::Finished { code, dropped } => {
                begin("finished").with("code", code).with("dropped", dropped)
            }
            Self::Settled { paid, live, owed } => {
                begin("settled").with("paid", paid).with("live", live).with("owed", owed)
            }
            Self::Refused { code, reason, sentence } => begin("refused")
                .with("code", code)
                .with("reason", reason)
                .with("sentence", sentence),
        };
        object.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// Who reads the stream may have been built with an earlier glexec: the lines stay as they are.
    #[test]
    fn the_lines_are_these() {
        let text = || "a \"\\\n\u{1b}\u{7f}é".to_owned();
        let usage = Usage { user_us: 1, system_us: u64::MAX, max_rss_kib: 3 };
        for (record, line) in [
            (
                Record::Rehearsed { target: text(), uid: 5, gid: 6, pool: true },
                "{\"event\":\"rehearsed\",\"target\":\"a \\\"\\\\\\n\\u001b\u{7f}é\",\"uid\":5,\"gid\":6,\"pool\":true}",
            ),
            (
                Record::Started {
                    glexec_pid: 7,
                    payload_pid: 8,
                    target: "p".to_owned(),
                    run_id: "5.6.7".to_owned(),
                },
                r#"{"event":"started","glexec_pid":7,"payload_pid":8,"target":"p","run_id":"5.6.7"}"#,
            ),
            (
                Record::payload(Ending::Killed { signal: 9, core: true }, usage),
                r#"{"event":"payload","result":"killed","signal":9,"core_dumped":true,"usage":{"user_us":1,"system_us":18446744073709551615,"max_rss_kib":3}}"#,
            ),
            (
                Record::not_started(126),
                r#"{"event":"payload","result":"not-started","code":126,"core_dumped":false,"usage":{"user_us":0,"system_us":0,"max_rss_kib":0}}"#,
            ),
            (
                Record::Stragglers { found: 2, ended: 1 },
                r#"{"event":"stragglers","found":2,"ended":1}"#,
            ),
            (
                Record::epilogue(EpilogueResult::Ok, 0.000_034),
                r#"{"event":"epilogue","result":"ok","code":0,"seconds":0.000034}"#,
            ),
            (
                Record::epilogue(EpilogueResult::Timeout, 30.0),
                r#"{"event":"epilogue","result":"timeout","seconds":30.0}"#,
            ),
            (
                Record::Finished { code: 3, dropped: 0 },
                r#"{"event":"finished","code":3,"dropped":0}"#,
            ),
            (
                Record::Settled { paid: 1, live: 2, owed: 3 },
                r#"{"event":"settled","paid":1,"live":2,"owed":3}"#,
            ),
            (
                Record::Refused {
                    code: 203,
                    reason: "banned".to_owned(),
                    sentence: "no".to_owned(),
                },
                r#"{"event":"refused","code":203,"reason":"banned","sentence":"no"}"#,
            ),
        ] {
            assert_eq!(record.line(), line.to_owned() + "\n");
        }
    }

    #[test]
    fn a_word_and_a_number_are_read_back() {
        for result in [EpilogueResult::Ok, EpilogueResult::Exit(3), EpilogueResult::NotStarted] {
            assert_eq!(EpilogueResult::read(result.word(), result.number()), Some(result));
        }
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let usage = any::<(u64, u64, u64)>().prop_map(|(user_us, system_us, max_rss_kib)| Usage {
            user_us,
            system_us,
            max_rss_kib,
        });
        prop_oneof![
            any::<(String, u32, u32, bool)>()
                .prop_map(|(target, uid, gid, pool)| Record::Rehearsed { target, uid, gid, pool }),
            any::<(i32, i32, String, String)>().prop_map(
                |(glexec_pid, payload_pid, target, run_id)| Record::Started {
                    glexec_pid,
                    payload_pid,
                    target,
                    run_id
                }
            ),
            (any::<(String, Option<u8>, Option<u8>, bool)>(), usage).prop_map(
                |((result, code, signal, core_dumped), usage)| Record::Payload {
                    result,
                    code,
                    signal,
                    core_dumped,
                    usage
                }
            ),
            any::<(u32, u32)>().prop_map(|(found, ended)| Record::Stragglers { found, ended }),
            any::<(String, Option<u8>, u32)>().prop_map(|(result, code, thousandths)| {
                // serde_json reads longer ones up to their last digit.
                let seconds = f64::from(thousandths) / 1000.0;
                Record::Epilogue { result, code, seconds }
            }),
            any::<(u8, u32)>().prop_map(|(code, dropped)| Record::Finished { code, dropped }),
            any::<(u32, u32, u32)>().prop_map(|(paid, live, owed)| Record::Settled {
                paid,
                live,
                owed
            }),
            any::<(u8, String, String)>().prop_map(|(code, reason, sentence)| Record::Refused {
                code,
                reason,
                sentence
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_is_as_serde_json_has_it(record in any_record()) {
            let line = record.line();
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert_eq!(&Record::parse(&line).unwrap(), &record);
            // Its own order of the members aside.
            let json = serde_json::from_str::<Value>(&line).unwrap();
            prop_assert_eq!(json.to_string().len() + 1, line.len(), "{}", line);
        }
    }

    #[test]
    fn an_epilogue_is_owed_that_somebody_ended_or_that_may_not_have_been_executed_whole() {
        let owed: Vec<u8> =
            (1..=64).filter(|signal| EpilogueResult::Signal(*signal).is_owed()).collect();
        assert_eq!(owed, [1, 2, 3, 7, 9, 11, 15]);
        assert!(EpilogueResult::NotStarted.is_owed());
        let paid = [EpilogueResult::Ok, EpilogueResult::Exit(3), EpilogueResult::Timeout];
        assert!(!paid.into_iter().any(EpilogueResult::is_owed));
    }
}
