//! From outcomes to what Slurm is told. Pure, by tables.

use adapter::{Held, SignalExit};
use contract::{ADMIN_MUST_ACT, Ending, Reason, Record};
use serde::Deserialize;

/// How a task ends, and what it says on stderr before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TaskEnd {
    pub(crate) ending: Ending,
    pub(crate) sentence: Option<String>,
}

/// The task ends as the payload did. Where the epilogue failed and the site's rule is "fail", it
/// ends as glexec did, and says what the payload's own end was.
pub(crate) fn task(held: &Held, rule: SignalExit) -> TaskEnd {
    let glexec = held.glexec.unwrap_or(Ending::Exited(ADMIN_MUST_ACT));
    let Some(payload) = held.payload() else {
        return TaskEnd { ending: rule.shown(glexec), sentence: died(held, glexec) };
    };
    match held.failed_epilogue() {
        Some(failed) => {
            let sentence = format!(
                "the site's epilogue failed ({}); the payload's own exit code was {}",
                failed.word(),
                payload.code()
            );
            TaskEnd { ending: glexec, sentence: Some(sentence) }
        }
        None => TaskEnd { ending: rule.shown(payload), sentence: died(held, glexec) },
    }
}

/// glexec itself has said why it refused; of its own death nobody has spoken.
fn died(held: &Held, glexec: Ending) -> Option<String> {
    match glexec {
        Ending::Killed { signal, .. } if held.refused().is_none() => Some(format!(
            "glexec was killed by signal {signal}; what it owes is settled now, or at the job's end"
        )),
        Ending::Killed { .. } | Ending::Exited(_) => None,
    }
}

/// What a rehearsal means for a task.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may run.
    Granted,
    /// The task ends with this code, and this sentence.
    Vetoed(u8, String),
}

/// From the records of `glexec --check`.
pub(crate) fn admission(records: &[Record]) -> Admission {
    for record in records {
        if let Record::Rehearsed { .. } = record {
            return Admission::Granted;
        } else if let Record::Refused { code, reason, sentence } = record {
            // What passes by itself is for the run to meet, and to say.
            if is_passing(reason) {
                return Admission::Granted;
            }
            return Admission::Vetoed(*code, format!("{sentence} ({code} {reason})"));
        }
    }
    let sentence = "glexec did not answer a rehearsal; tell the site (202)".to_owned();
    Admission::Vetoed(ADMIN_MUST_ACT, sentence)
}

/// Refusals that say nothing of site or user, and are gone a moment later.
fn is_passing(reason: &str) -> bool {
    let passing = [Reason::TooManyRuns, Reason::NoFreeAccount, Reason::Limits];
    // glexec-admin's word where glexec could not be asked as that user.
    reason == "no-answer" || passing.iter().any(|known| known.word() == reason)
}

/// The answer of `glexec-admin check --as USER --json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Checked {
    usable: bool,
    findings: Vec<Finding>,
    rehearsal: Option<Rehearsal>,
}

#[derive(Debug, Deserialize)]
struct Finding {
    name: String,
    text: String,
}

#[derive(Debug, Deserialize)]
struct Rehearsal {
    code: i32,
    reason: Option<String>,
    sentence: Option<String>,
    target: Option<Target>,
}

/// Whom a run would be as.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Whether the run itself may get another account.
    #[serde(default)]
    pub(crate) pool: bool,
}

/// What the prolog finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fitness {
    /// The node can serve; whom the job's user is mapped to.
    Serves(Option<Target>),
    /// The node can serve, and this user may not be served: no fault of the node's.
    UserRefused(String),
    /// The site must act.
    Unfit(String),
}

impl Checked {
    /// The first error, where there is one.
    pub(crate) fn fault(&self) -> Option<&str> {
        let error = self.findings.iter().find(|finding| finding.name == "ERROR");
        let text = error.map(|finding| finding.text.as_str());
        text.or_else(|| (!self.usable).then_some("glexec's configuration is unusable"))
    }

    /// What it means for the node.
    pub(crate) fn fitness(self) -> Fitness {
        if let Some(fault) = self.fault() {
            return Fitness::Unfit(fault.to_owned());
        }
        let Some(Rehearsal { code, reason, sentence, target }) = self.rehearsal else {
            return Fitness::Serves(None);
        };
        let reason = reason.unwrap_or_default();
        let sentence = sentence.unwrap_or_else(|| "no sentence".to_owned());
        match code {
            0 => Fitness::Serves(target),
            // A prolog has no credential; the job's tasks may.
            _ if is_passing(&reason) || reason == Reason::Credential.word() => {
                Fitness::Serves(None)
            }
            // The site's fault, and about this user alone: other jobs can be served.
            202 if reason == Reason::EpilogueIdentity.word() => {
                Fitness::UserRefused(format!("{sentence} ({code} {reason})"))
            }
            202 => Fitness::Unfit(format!("{sentence} ({reason})")),
            _ => Fitness::UserRefused(format!("{sentence} ({code} {reason})")),
        }
    }
}

/// One row of `glexec-admin sweep --json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Swept {
    name: String,
    result: String,
    detail: String,
}

/// What the epilog finds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settlement {
    /// What the site must act on.
    pub(crate) fault: Option<String>,
    /// Lines for the log.
    pub(crate) notes: Vec<String>,
    /// Whether a run lives.
    pub(crate) live: bool,
}

impl Settlement {
    /// With what another sweep found; the first fault stays.
    pub(crate) fn add(&mut self, more: Self) {
        self.fault = self.fault.take().or(more.fault);
        self.notes.extend(more.notes);
        self.live |= more.live;
    }
}

/// From the rows of a sweep of one job.
pub(crate) fn settlement(rows: &[Swept]) -> Settlement {
    let mut settlement = Settlement::default();
    for row in rows {
        let Swept { name, result, detail } = row;
        let note = format!("{result} {name}: {detail}");
        match result.as_str() {
            "owed" | "aside" => {
                settlement.fault.get_or_insert(format!("an epilogue is owed: {detail}"));
                settlement.notes.push(note);
            }
            "live" => settlement.live = true,
            "paid" | "later" => settlement.notes.push(note),
            // Not this job's: whoever looks at `glexec-admin ps` sees it.
            _ => {}
        }
    }
    settlement
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{EpilogueResult, ResourceUsage};

    const KILLED: Ending = Ending::Killed { signal: 11, core: false };

    fn held(payload: Ending, epilogue: Option<EpilogueResult>, code: u8) -> Held {
        let mut records = vec![Record::payload(payload, ResourceUsage::default())];
        records.extend(epilogue.map(|result| Record::epilogue(result, 0.1)));
        records.push(Record::Finished { code, dropped: 0 });
        Held { records, glexec: Some(Ending::Exited(code)), orphaned: false }
    }

    #[test]
    fn a_task_ends_as_its_payload() {
        let fine = Some(EpilogueResult::Ok);
        let table = [
            (held(Ending::Exited(0), fine, 0), Ending::Exited(0)),
            (held(Ending::Exited(255), None, 255), Ending::Exited(255)),
            // Not 204: who holds the status stream need not fold.
            (held(Ending::Exited(203), fine, 204), Ending::Exited(203)),
            (held(KILLED, fine, 139), KILLED),
            (held(Ending::Exited(7), Some(EpilogueResult::Exit(1)), 202), Ending::Exited(202)),
            (held(Ending::Exited(7), Some(EpilogueResult::Exit(203)), 204), Ending::Exited(204)),
            (held(Ending::Exited(202), Some(EpilogueResult::Exit(1)), 202), Ending::Exited(202)),
            (held(Ending::Exited(202), Some(EpilogueResult::Exit(1)), 204), Ending::Exited(202)),
            // The site only wants to be told.
            (held(Ending::Exited(7), Some(EpilogueResult::Timeout), 7), Ending::Exited(7)),
            (held(KILLED, Some(EpilogueResult::Timeout), 139), KILLED),
        ];
        for (held, ending) in table {
            assert_eq!(task(&held, SignalExit::Reraise).ending, ending, "{held:?}");
        }
        let code = task(&held(KILLED, fine, 139), SignalExit::Code);
        assert_eq!(code.ending, Ending::Exited(139));
    }

    #[test]
    fn of_a_failed_epilogue_the_payloads_own_code_is_said() {
        let failed =
            task(&held(Ending::Exited(7), Some(EpilogueResult::Exit(1)), 202), SignalExit::Reraise);
        assert!(failed.sentence.unwrap().contains("exit code was 7"));
        let failed = held(Ending::Exited(202), Some(EpilogueResult::Exit(1)), 202);
        assert!(task(&failed, SignalExit::Reraise).sentence.unwrap().contains("code was 202"));
    }

    #[test]
    fn a_killed_glexec_ends_the_task_likewise_and_a_refusal_keeps_its_code() {
        let killed =
            Held { glexec: Some(Ending::Killed { signal: 9, core: false }), ..Held::default() };
        let end = task(&killed, SignalExit::Reraise);
        assert_eq!(end.ending, Ending::Killed { signal: 9, core: false });
        assert!(end.sentence.is_some());
        let (reason, sentence) = ("no-mapping".to_owned(), "nobody maps you".to_owned());
        let records = vec![Record::Refused { code: 203, reason, sentence }];
        let refused = Held { records, glexec: Some(Ending::Exited(203)), orphaned: false };
        let end = task(&refused, SignalExit::Reraise);
        assert_eq!((end.ending, end.sentence), (Ending::Exited(203), None));
        // Who has said why it refused has said all, however it ended.
        let killed = Held { glexec: Some(Ending::Killed { signal: 9, core: false }), ..refused };
        assert_eq!(task(&killed, SignalExit::Reraise).sentence, None);
    }

    fn checked(json: &str) -> Fitness {
        serde_json::from_str::<Checked>(json).unwrap().fitness()
    }

    #[test]
    fn only_the_sites_faults_are_the_nodes() {
        let rehearsal = |code: i32, reason: &str| {
            checked(&format!(
                r#"{{"usable":true,"findings":[],"rehearsal":{{"code":{code},"reason":"{reason}","sentence":"s"}}}}"#
            ))
        };
        assert!(matches!(rehearsal(203, "no-mapping"), Fitness::UserRefused(_)));
        assert!(matches!(rehearsal(201, "not-found"), Fitness::UserRefused(_)));
        assert!(matches!(rehearsal(202, "no-free-account"), Fitness::Serves(None)));
        assert!(matches!(rehearsal(201, "credential"), Fitness::Serves(None)));
        assert!(matches!(rehearsal(202, "no-answer"), Fitness::Serves(None)));
        assert!(matches!(rehearsal(202, "epilogue-identity"), Fitness::UserRefused(_)));
        assert!(matches!(rehearsal(202, "audit"), Fitness::Unfit(_)));
        let broken = checked(
            r#"{"usable":false,"findings":[{"name":"WARNING","text":"w"},{"name":"ERROR","text":"/etc/x is bad"}]}"#,
        );
        assert_eq!(broken, Fitness::Unfit("/etc/x is bad".to_owned()));
        let without_a_word = checked(r#"{"usable":false,"findings":[]}"#);
        assert!(matches!(without_a_word, Fitness::Unfit(_)));
        let good = checked(
            r#"{"usable":true,"findings":[],"rehearsal":{"code":0,"target":{"name":"p","uid":5,"gid":6}}}"#,
        );
        let target = Target { name: "p".to_owned(), uid: 5, gid: 6, pool: false };
        assert_eq!(good, Fitness::Serves(Some(target)));
    }

    #[test]
    fn a_sweep_is_a_fault_only_where_an_epilogue_could_not_run() {
        let rows = |text: &str| serde_json::from_str::<Vec<Swept>>(text).unwrap();
        let row = |result: &str| format!(r#"[{{"name":"n","result":"{result}","detail":"d"}}]"#);
        for (result, fault) in
            [("paid", false), ("live", false), ("odd", false), ("owed", true), ("aside", true)]
        {
            assert_eq!(settlement(&rows(&row(result))).fault.is_some(), fault, "{result}");
        }
        assert_eq!(settlement(&rows(&row("odd"))).notes.len(), 0);
        assert!(settlement(&rows(&row("live"))).live && !settlement(&rows(&row("paid"))).live);
        assert_eq!(settlement(&rows("[]")), Settlement::default());
    }

    #[test]
    fn a_user_who_is_refused_is_told_why() {
        let (reason, sentence) = ("no-mapping".to_owned(), "nobody maps you".to_owned());
        let refused = [Record::Refused { code: 203, reason, sentence }];
        assert_eq!(
            admission(&refused),
            Admission::Vetoed(203, "nobody maps you (203 no-mapping)".to_owned())
        );
        assert!(matches!(admission(&[]), Admission::Vetoed(202, _)));
    }
}
