//! Slurm's words, in and out. Pure.
//!
//! Who wrote a variable matters: those of Prolog, Epilog and EpilogSlurmctld are Slurm's; in a
//! task they are the submitter's, and nothing of them is more than a name to file things under.

use adapter::{MoreOfARecord, more_of_a_line};
use contract::variables::{epilogue, of_epilogue};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};

/// The variables of a process, as a value.
#[derive(Debug, Default)]
pub(crate) struct Variables(Vec<(OsString, OsString)>);

impl FromIterator<(OsString, OsString)> for Variables {
    fn from_iter<T: IntoIterator<Item = (OsString, OsString)>>(all: T) -> Self {
        Self(all.into_iter().collect())
    }
}

impl Variables {
    /// A variable's text; unset, empty, Slurm's literal `(null)` and what is not UTF-8 are `None`.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == OsStr::new(name));
        let text = found.and_then(|(_, value)| value.to_str());
        text.filter(|text| !text.is_empty() && *text != "(null)")
    }

    /// A variable that is a plain decimal number.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        let text = self.text(name)?;
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    }
}

/// The job a root hook runs for (prolog_epilog, "Environment Variables").
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) id: u32,
    /// The first job of a heterogeneous one, where this is a component of it: tasks of every component
    /// have its number.
    pub(crate) leader: Option<u32>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// This node's name; on the controller the controller has none.
    pub(crate) node: Option<String>,
}

impl Job {
    /// # Errors
    /// Which variable is missing or no number.
    pub(crate) fn of(variables: &Variables) -> Result<Self, String> {
        let number = |name: &str| {
            variables.number(name).ok_or_else(|| {
                format!("{name} is not set or no number: this program is called by Slurm")
            })
        };
        let node = variables.text("SLURMD_NODENAME").filter(|name| is_plain(name));
        Ok(Self {
            id: number("SLURM_JOB_ID")?,
            leader: variables.number("SLURM_HET_JOB_ID"),
            uid: number("SLURM_JOB_UID")?,
            gid: number("SLURM_JOB_GID")?,
            node: node.map(str::to_owned),
        })
    }

    /// The numbers that its tasks have in `SLURM_JOB_ID`.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        let leader = self.leader.filter(|leader| *leader != self.id);
        std::iter::once(self.id).chain(leader)
    }
}

/// Letters, digits, `.`, `_` and `-`, not `.` first: fit for the name of a file.
pub(crate) fn is_plain(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=64).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.')
}

/// A job's directory of notes. That the uid is the kernel's word in Prolog and epilogue, and the
/// directory there for jobs only, is what makes a job id that somebody lied about harmless.
pub(crate) fn notes_of(uid: u32, job: u32) -> String {
    format!("{uid}.{job}")
}

/// Whether it is the name of a scratch directory: a job's number, and numbers that tell it from others.
/// What has such a name in their directory is ours to remove.
pub(crate) fn is_scratch(name: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    // With a dot first earlier versions of the prolog put them aside.
    let name = name.strip_prefix('.').unwrap_or(name);
    name.len() <= 64 && name.contains('.') && name.split('.').all(number)
}

/// The note that says when a job began: clock ticks since that boot.
pub(crate) fn began(ticks: u64, boot: &str) -> String {
    format!("{ticks} {boot}\n")
}

/// What such a note says; `None` where it is another boot's.
pub(crate) fn began_in(line: &str, boot: &str) -> Option<u64> {
    let (ticks, of) = line.trim().split_once(' ')?;
    (of == boot).then(|| ticks.parse().ok()).flatten()
}

/// The name of a task's note: step and task, as far as they can be told. Epilogue and TaskEpilog
/// see the same words, true or not.
pub(crate) fn note_name(step: Option<&str>, task: Option<&str>) -> String {
    let word = |word: Option<&str>| word.filter(|word| is_plain(word)).unwrap_or("-").to_owned();
    format!("note.{}.{}", word(step), word(task))
}

/// A line for TaskProlog's stdout that makes slurmstepd set a variable; `None` where the value
/// cannot be said in one line.
pub(crate) fn export(name: &str, value: &str) -> Option<String> {
    let clean = |text: &str| !text.contains(['\n', '\r', '\0']);
    (clean(name) && clean(value) && !name.contains('=')).then(|| format!("export {name}={value}\n"))
}

/// A line for TaskProlog's stdout that slurmstepd shows to the user.
pub(crate) fn print(text: &str) -> String {
    format!("print {}\n", text.replace(['\n', '\r', '\0'], " "))
}

/// A batch script as it was submitted: conf/slurm/job_submit.lua puts this program and a blank before the
/// interpreter.
pub(crate) fn script_of_submitter(text: &[u8], program: &str) -> Vec<u8> {
    let put = [b"#!", program.as_bytes(), b" "].concat();
    let rest = text.strip_prefix(put.as_slice());
    rest.map_or_else(|| text.to_vec(), |rest| [b"#!", rest].concat())
}

/// A node's drain reason: short, one line, without what slurmctld or a shell would stumble over.
pub(crate) fn drain_reason(text: &str) -> String {
    const LONGEST: usize = 200;
    let plain = text.chars().map(|c| if c.is_control() || c == '"' { ' ' } else { c });
    let cut: String = plain.take(LONGEST).collect();
    format!("glexec: {}", cut.trim())
}

/// What became of one payload, as its epilogue saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) job: u32,
    /// As the task said it; a label.
    pub(crate) step: Option<String>,
    /// As the task said it; a label.
    pub(crate) task: Option<String>,
    pub(crate) caller_uid: u32,
    pub(crate) target: String,
    /// `GLEXEC_EPILOG_TARGET_RC`.
    pub(crate) rc: u8,
    /// `GLEXEC_EPILOG_TARGET_SIGNAL`.
    pub(crate) signal: Option<u8>,
    /// exited, killed, not-started, lost.
    pub(crate) result: String,
    pub(crate) attempt: u32,
    /// Which run: pid of glexec and start of the payload, seconds since 1970.
    pub(crate) glexec_pid: i32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) user_seconds: String,
    pub(crate) system_seconds: String,
    pub(crate) max_rss_kib: u64,
    pub(crate) stragglers: u32,
    /// What the site's file asks for beside.
    #[serde(default, skip_serializing_if = "MoreOfARecord::is_empty")]
    pub(crate) more: MoreOfARecord,
}

impl Record {
    /// From an epilogue's variables (docs/epilogue.md); `None` where the run named no job.
    ///
    /// # Errors
    /// Which variable is missing: this program is no epilogue then.
    pub(crate) fn of(variables: &Variables) -> Result<Option<Self>, String> {
        let Some(job) = variables.number(&of_epilogue(&format!("{}SLURM_JOB_ID", epilogue::JOB)))
        else {
            return Ok(None);
        };
        let missing = |name: &str| {
            let name = of_epilogue(name);
            format!("{name} is not set: this program is the epilogue, or is called by it")
        };
        let text = |name: &str| variables.text(&of_epilogue(name));
        let number = |name: &str| variables.number::<u64>(&of_epilogue(name));
        let small = |name: &str| number(name).and_then(|n| u32::try_from(n).ok());
        let label = |name: &str| text(name).filter(|word| is_plain(word)).map(str::to_owned);
        let byte = |name: &str| number(name).and_then(|n| u8::try_from(n).ok());
        let seconds = |name: &str| text(name).unwrap_or("0").to_owned();
        Ok(Some(Self {
            job,
            step: label("JOB_SLURM_STEP_ID"),
            task: label("JOB_SLURM_PROCID"),
            caller_uid: small(epilogue::GLEXEC_UID).ok_or_else(|| missing(epilogue::GLEXEC_UID))?,
            target: text(epilogue::TARGET_USER)
                .ok_or_else(|| missing(epilogue::TARGET_USER))?
                .to_owned(),
            rc: byte(epilogue::TARGET_RC).ok_or_else(|| missing(epilogue::TARGET_RC))?,
            signal: byte(epilogue::TARGET_SIGNAL).filter(|n| *n > 0),
            result: text(epilogue::RESULT).unwrap_or("exited").to_owned(),
            attempt: small(epilogue::ATTEMPT).unwrap_or(1),
            glexec_pid: small(epilogue::GLEXEC_PID)
                .and_then(|n| i32::try_from(n).ok())
                .unwrap_or(0),
            start: number(epilogue::START_TIME).unwrap_or(0),
            end: number(epilogue::END_TIME).unwrap_or(0),
            user_seconds: seconds(epilogue::USER_SECONDS),
            system_seconds: seconds(epilogue::SYSTEM_SECONDS),
            max_rss_kib: number(epilogue::MAX_RSS_KIB).unwrap_or(0),
            stragglers: small(epilogue::STRAGGLERS).unwrap_or(0),
            more: MoreOfARecord::new(),
        }))
    }

    /// The raw status of wait(2), in which sacctmgr takes exit codes: code << 8, or the signal.
    pub(crate) fn raw_status(&self) -> u32 {
        self.signal.map_or_else(|| u32::from(self.rc) << 8, u32::from)
    }

    /// Whether it is the same run: an epilogue may run more than once.
    fn is_again(&self, other: &Self) -> bool {
        (self.glexec_pid, self.start) == (other.glexec_pid, other.start)
    }

    /// For a person, and for a comment: `0.1 pool001 rc=42`.
    pub(crate) fn line(&self) -> String {
        let label = |word: &Option<String>| word.clone().unwrap_or_else(|| "-".to_owned());
        let mut line =
            format!("{}.{} {} rc={}", label(&self.step), label(&self.task), self.target, self.rc);
        if let Some(signal) = self.signal {
            line += &format!(" signal={signal}");
        }
        if self.result != "exited" && self.result != "killed" {
            line += &format!(" {}", self.result);
        }
        line + &more_of_a_line(&self.more)
    }
}

/// One line for a job's stderr.
pub(crate) fn note(record: &Record) -> String {
    let Record { target, rc, signal, result, .. } = record;
    let how = match (signal, result.as_str()) {
        (_, "lost") => "its end was not seen (137)".to_owned(),
        (_, "not-started") => format!("not started ({rc})"),
        (Some(signal), _) => format!("signal {signal}"),
        (None, _) => format!("exit code {rc}"),
    };
    format!("glexec: payload of {target}: {how}")
}

/// The last record of each run, in the order in which they came.
pub(crate) fn latest(records: Vec<Record>) -> Vec<Record> {
    let mut kept: Vec<Record> = Vec::new();
    for record in records {
        match kept.iter_mut().find(|known| known.is_again(&record)) {
            Some(known) => *known = record,
            None => kept.push(record),
        }
    }
    kept
}

/// The highest raw status, as Slurm's own derived exit code is; `None` without a record.
pub(crate) fn derived(records: &[Record]) -> Option<u32> {
    records.iter().map(Record::raw_status).max()
}

/// One comment for all of a job's records, cut where it gets long.
pub(crate) fn comment(records: &[Record]) -> String {
    const LONGEST: usize = 1000;
    let mut text = String::from("glexec:");
    for (at, record) in records.iter().enumerate() {
        let more = format!(" {};", record.line().replace(['\'', '"', '\n', ';'], " "));
        if text.len() + more.len() > LONGEST {
            text += &format!(" and {} more", records.len() - at);
            break;
        }
        text += &more;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn variables(all: &[(&str, &str)]) -> Variables {
        all.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
    }

    pub(crate) fn record(rc: u8, signal: Option<u8>, pid: i32) -> Record {
        let mut all = vec![
            ("GLEXEC_EPILOG_JOB_SLURM_JOB_ID".to_owned(), "42".to_owned()),
            ("GLEXEC_EPILOG_GLEXEC_UID".to_owned(), "1000".to_owned()),
            ("GLEXEC_EPILOG_GLEXEC_PID".to_owned(), pid.to_string()),
            ("GLEXEC_EPILOG_TARGET_USER".to_owned(), "pool001".to_owned()),
            ("GLEXEC_EPILOG_TARGET_RC".to_owned(), rc.to_string()),
            ("GLEXEC_EPILOG_RESULT".to_owned(), "exited".to_owned()),
        ];
        all.extend(signal.map(|n| ("GLEXEC_EPILOG_TARGET_SIGNAL".to_owned(), n.to_string())));
        let all: Variables = all.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Record::of(&all).unwrap().unwrap()
    }

    #[test]
    fn a_script_is_as_it_was_submitted() {
        let of =
            |text: &str| String::from_utf8(script_of_submitter(text.as_bytes(), "/l/p")).unwrap();
        assert_eq!(of("#!/l/p /bin/sh -e\nexit 1\n"), "#!/bin/sh -e\nexit 1\n");
        assert_eq!(of("#!/l/p  /bin/sh"), "#! /bin/sh");
        for other in ["#!/bin/sh\n", "#!/l/pp /bin/sh\n", "", "x #!/l/p /bin/sh\n"] {
            assert_eq!(of(other), other);
        }
    }

    #[test]
    fn slurms_null_and_what_is_no_number_are_nothing() {
        let all =
            variables(&[("A", "(null)"), ("B", "+7"), ("C", "7"), ("D", ""), ("E", "4294967296")]);
        assert_eq!(all.text("A"), None);
        assert_eq!(all.number::<u32>("B"), None);
        assert_eq!(all.number::<u32>("C"), Some(7));
        assert_eq!(all.text("D"), None);
        assert_eq!(all.number::<u32>("E"), None);
    }

    #[test]
    fn a_job_is_named_by_slurm_or_not_at_all() {
        let good = variables(&[
            ("SLURM_JOB_ID", "7"),
            ("SLURM_JOB_UID", "1000"),
            ("SLURM_JOB_GID", "100"),
            ("SLURMD_NODENAME", "../../etc"),
        ]);
        assert_eq!(
            Job::of(&good).unwrap(),
            Job { id: 7, leader: None, uid: 1000, gid: 100, node: None }
        );
        assert!(
            Job::of(&variables(&[("SLURM_JOB_ID", "7")])).unwrap_err().contains("SLURM_JOB_UID")
        );
    }

    #[test]
    fn a_components_tasks_have_two_numbers() {
        let job = |leader: Option<u32>| Job { id: 8, leader, uid: 1, gid: 1, node: None };
        let numbers = |leader| job(leader).numbers().collect::<Vec<_>>();
        assert_eq!(numbers(None), [8]);
        assert_eq!(numbers(Some(8)), [8]);
        assert_eq!(numbers(Some(7)), [8, 7]);
    }

    #[test]
    fn when_a_job_began_is_said_by_a_note_of_this_boot_only() {
        assert_eq!(began_in(began(42, "b").trim(), "b"), Some(42));
        for (line, boot) in [("42 a", "b"), ("42", "b"), ("x b", "b"), ("", "b")] {
            assert_eq!(began_in(line, boot), None, "{line}");
        }
    }

    #[test]
    fn names_of_files_are_plain_whatever_a_task_says() {
        for bad in ["", "../x", "a/b", ".hidden", "a\nb", &"x".repeat(65)] {
            assert!(!is_plain(bad), "{bad:?}");
        }
        assert_eq!(note_name(Some("../../x"), Some("3")), "note.-.3");
    }

    #[test]
    fn a_scratch_directory_is_known_by_its_name_and_nothing_else_is() {
        for good in ["7.1", "123.4567.1", ".7.1.22"] {
            assert!(is_scratch(good), "{good}");
        }
        for bad in ["", ".", "..", "7", "7.", ".7", "7.x", "7..1", "7.1/x", "lost+found", "-1.2"] {
            assert!(!is_scratch(bad), "{bad}");
        }
        assert!(!is_scratch(&"1.".repeat(40)) && !is_scratch(&format!("{}1", "1.".repeat(40))));
    }

    #[test]
    fn raw_statuses_are_what_sacctmgr_takes() {
        assert_eq!(record(42, None, 1).raw_status(), 10752);
        assert_eq!(record(137, Some(9), 1).raw_status(), 9);
        assert_eq!(derived(&[record(1, None, 1), record(42, None, 2)]), Some(10752));
        assert_eq!(derived(&[]), None);
    }

    #[test]
    fn the_last_attempt_of_a_run_counts() {
        let (first, other) = (record(137, None, 5), record(0, None, 6));
        let mut second = first.clone();
        second.attempt = 2;
        assert_eq!(latest(vec![first, other.clone(), second.clone()]), [second, other]);
    }

    #[test]
    fn a_run_without_a_job_has_no_record_and_a_hook_that_is_no_epilogue_says_so() {
        assert_eq!(Record::of(&variables(&[])).unwrap(), None);
        let bare = variables(&[("GLEXEC_EPILOG_JOB_SLURM_JOB_ID", "1")]);
        assert!(Record::of(&bare).unwrap_err().contains("GLEXEC_EPILOG_GLEXEC_UID"));
    }

    #[test]
    fn a_comment_is_bounded() {
        let many: Vec<Record> = (0..500).map(|n| record(7, None, n)).collect();
        let text = comment(&many);
        assert!(text.len() < 1100 && text.contains("more"), "{text}");
        assert_eq!(comment(&many[..1]), "glexec: -.- pool001 rc=7;");
    }

    proptest! {
        #[test]
        fn no_value_makes_a_second_directive(name in ".*", value in ".*") {
            if let Some(line) = export(&name, &value) {
                prop_assert_eq!(line.matches('\n').count(), 1);
            }
            prop_assert_eq!(print(&value).matches('\n').count(), 1);
            let reason = drain_reason(&value);
            prop_assert!(!reason.contains('\n') && reason.chars().count() <= 208);
        }
    }
}
