//! The status stream: one JSON object a line, so that nobody has to guess from one byte.

use super::Ending;
use serde::{Deserialize, Serialize};

/// What the payload used, as getrusage(2) tells it of it and its waited-for children.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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

    /// Whether it is still owed: not started, or ended by a signal with which somebody ends a
    /// process from outside (HUP, INT, QUIT, KILL, TERM): a scheduler ends everything in a job's
    /// container, and the OOM killer what it likes.
    #[must_use]
    pub const fn is_owed(self) -> bool {
        matches!(self, Self::NotStarted | Self::Signal(1 | 2 | 3 | 9 | 15))
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
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
        #[serde(default)]
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
        #[serde(default)]
        run_id: String,
    },
    /// The payload has ended, or could not be started.
    Payload {
        /// `exited`, `killed` or `not-started`.
        result: String,
        /// Its exit code, where it exited.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u8>,
        /// The signal it died of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<u8>,
        /// Whether a core was written.
        #[serde(default)]
        core_dumped: bool,
        /// What it used.
        #[serde(default)]
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
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u8>,
        /// How long it took.
        seconds: f64,
    },
    /// All is done; this is the exit code. Records that could not be written are counted.
    Finished {
        /// glexec's own exit code.
        code: u8,
        /// Records dropped because the reader slept.
        #[serde(default)]
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

    /// The line to write, with its newline. Empty where it cannot be written down.
    #[must_use]
    pub fn line(&self) -> String {
        serde_json::to_string(self).map_or_else(|_| String::new(), |json| json + "\n")
    }

    /// Reads one line of the stream.
    ///
    /// # Errors
    /// Where the line is no record.
    pub fn parse(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let killed = Ending::Killed { signal: 9, core: false };
        for record in [
            Record::payload(killed, Usage::default()),
            Record::payload(Ending::Exited(3), Usage::default()),
            Record::epilogue(EpilogueResult::Timeout, 1.5),
            Record::Finished { code: 3, dropped: 0 },
            Record::Refused {
                code: 203,
                reason: "not-listed".to_owned(),
                sentence: "refused \"\n".to_owned(),
            },
        ] {
            let line = record.line();
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(Record::parse(&line).unwrap(), record);
        }
        for result in [EpilogueResult::Ok, EpilogueResult::Exit(3), EpilogueResult::NotStarted] {
            assert_eq!(EpilogueResult::read(result.word(), result.number()), Some(result));
        }
    }
}
