//! From outcomes to what HTCondor is told. Pure, by tables.

use crate::copy::CopyOutcome;
use crate::dialect::{Ad, Attribute, Fate};
use crate::settings::{By, FILE};
use adapter::{Held, Settlement, SignalExit};
use contract::{
    ADMIN_MUST_ACT, CALLER_MUST_ACT, Ending, EpilogueResult, FOUND_NOT_EXECUTABLE, Fault,
    NOT_FOUND, Reason, Record,
};
use std::time::Duration;

/// Why a job did not run whose sandbox could not be copied.
const SANDBOX: &str = "sandbox";
/// Why a job is on hold that the starter would run without glexec.
const WRAPPER: &str = "wrapper";
/// Reasons that glexec itself does not give; `glexec-admin explain` has them, too.
pub const OWN_REASONS: [&str; 2] = [SANDBOX, WRAPPER];

/// How a job ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct JobEnd {
    pub(crate) ending: Ending,
    /// What is said on the job's stderr.
    pub(crate) sentence: Option<String>,
    /// What goes into the wrapper's error file: the payload did not run at all.
    pub(crate) not_run: Option<String>,
}

/// The job ends as the payload did. Where the epilogue failed and the site's rule is "fail", it
/// ends as glexec did, and says what the payload's own end was.
///
/// Where the sandbox was copied, `trip` is how that went: files that are missing at either end are
/// no good end of a job.
pub(crate) fn job(held: &Held, rule: SignalExit, trip: Option<&CopyOutcome>) -> JobEnd {
    let glexec = held.glexec.unwrap_or(Ending::Exited(ADMIN_MUST_ACT));
    let end = |ending, sentence| JobEnd { ending, sentence, not_run: None };
    let Some(payload) = held.payload() else {
        if let Some(code) = not_executable(held) {
            let sentence = format!(
                "the command could not be executed by the mapped account ({code}); check its \
                 permissions and those of the directories above it"
            );
            return end(Ending::Exited(code), Some(sentence));
        }
        return JobEnd { not_run: nothing_ran(held), ..end(rule.shown(glexec), None) };
    };
    match (faulty(payload, trip), held.failed_epilogue()) {
        (Some(CopyOutcome::NotThere(sentence)), _) => {
            let not_run = Some(format!("{sentence} (202 {SANDBOX})"));
            JobEnd { not_run, ..end(Ending::Exited(ADMIN_MUST_ACT), None) }
        }
        (Some(CopyOutcome::NotBack(sentence)), _) => {
            let sentence = format!("{sentence}; the payload's exit code was {}", payload.code());
            end(Ending::Exited(ADMIN_MUST_ACT), Some(sentence))
        }
        (_, Some(failed)) => {
            let sentence = format!(
                "the site's epilogue failed ({}); the payload's own exit code was {}",
                failed.word(),
                payload.code()
            );
            end(glexec, Some(sentence))
        }
        _ => end(rule.shown(payload), None),
    }
}

/// A copying that failed; what a killed payload made is nobody's fault.
fn faulty(payload: Ending, trip: Option<&CopyOutcome>) -> Option<&CopyOutcome> {
    let exited = matches!(payload, Ending::Exited(_));
    trip.filter(|trip| exited && !matches!(trip, CopyOutcome::Back(_)))
}

/// The code of a payload that glexec had begun with and could not start.
fn not_started(held: &Held) -> Option<u8> {
    held.records.iter().find_map(|record| {
        let Record::Payload { result, code, .. } = record else { return None };
        code.filter(|_| result == "not-started")
    })
}

/// The code, 126 or 127, of a command that exec would not have: trying again changes nothing, so
/// the job is done with it, as a shell's would be.
fn not_executable(held: &Held) -> Option<u8> {
    not_started(held).filter(|code| matches!(*code, FOUND_NOT_EXECUTABLE | NOT_FOUND))
}

/// What was no fault of the command's: the step before its exec that failed is in glexec's log.
fn not_begun(held: &Held) -> Option<(u8, &'static str, &'static str)> {
    let code = not_started(held).filter(|_| not_executable(held).is_none())?;
    Some((code, Reason::Switch.word(), "glexec could not start the payload; its log says why"))
}

/// Why no payload ran; `None` where one was started and nobody saw it end.
fn nothing_ran(held: &Held) -> Option<String> {
    if let Some((code, reason, sentence)) = held.refused().or_else(|| not_begun(held)) {
        return Some(format!("{sentence} ({code} {reason})"));
    }
    held.target().is_none().then(|| "glexec ended before it started anything (202)".to_owned())
}

/// Every attribute that there is.
const ATTRIBUTES: [&str; 12] = [
    "Run",
    "TargetUser",
    "TargetRC",
    "TargetSignal",
    "CpuSeconds",
    "MaxRssKiB",
    "Epilogue",
    "Result",
    "Refused",
    "RefusedCode",
    "RefusedSentence",
    "Sandbox",
];

/// Of which run of a job with this ad its attributes tell: one shadow is born for each.
pub(crate) fn run_of(ad: &Ad) -> Option<Attribute> {
    let born = ad.values("ShadowBday").next()?;
    Some(Attribute::number("Run", born.parse().ok()?))
}

/// A command of `condor_chirp` (its manual page).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The queue has it at once.
    Direct,
    /// The queue has it with the job's next update: none comes where the job's output cannot be sent.
    Delayed,
}

impl Way {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Direct => "set_job_attr",
            Self::Delayed => "set_job_attr_delayed",
        }
    }

    /// Without what it does not work.
    pub(crate) const fn need(self) -> &'static str {
        match self {
            Self::Direct => "the job needs WantRemoteUpdates = true",
            Self::Delayed => "CHIRP_DELAYED_UPDATE_PREFIX must admit it",
        }
    }
}

/// How a job with this ad is told, the best way first.
pub(crate) fn ways(by: By, ad: &Ad) -> Vec<Way> {
    let says = |name: &str| ad.values(name).all(|value| value.eq_ignore_ascii_case("true"));
    let wants = |name: &str| ad.has(name) && says(name);
    match by {
        By::Direct => vec![Way::Direct],
        // As the starter decides it: the first speaks for itself where it is there.
        By::Auto if wants("WantRemoteUpdates") => vec![Way::Direct, Way::Delayed],
        By::Auto if !ad.has("WantRemoteUpdates") && wants("WantIOProxy") => {
            vec![Way::Direct, Way::Delayed]
        }
        By::Auto | By::Delayed => vec![Way::Delayed],
    }
}

/// What a run tells, and what a run before it has told of itself alone: a job that was refused once
/// and is done now would be held for ever.
pub(crate) fn anew(told: Vec<Attribute>, ad: &Ad, prefix: &str) -> Vec<Attribute> {
    let is_told = |name: &str| told.iter().any(|attribute| attribute.name == name);
    let old = |name: &&str| !is_told(name) && ad.has(&format!("{prefix}{name}"));
    let stale: Vec<_> = ATTRIBUTES.into_iter().filter(old).map(Attribute::none).collect();
    stale.into_iter().chain(told).collect()
}

/// What a run tells the job's ad.
pub(crate) fn attributes(held: &Held, trip: Option<&CopyOutcome>) -> Vec<Attribute> {
    if let Some((code, reason, sentence)) = held.refused() {
        return refused(code, reason, sentence).into();
    }
    let mut all = Vec::new();
    if let Some((code, reason, sentence)) = not_begun(held) {
        all.extend(refused(code, reason, sentence));
    }
    match held.payload().and_then(|payload| faulty(payload, trip)) {
        Some(CopyOutcome::NotThere(sentence)) => {
            return refused(ADMIN_MUST_ACT, SANDBOX, sentence).into();
        }
        Some(CopyOutcome::NotBack(sentence)) => all.push(Attribute::text("Sandbox", sentence)),
        Some(CopyOutcome::Back(_)) | None => {}
    }
    all.extend(held.target().map(|name| Attribute::text("TargetUser", name)));
    if let Some(payload) = held.payload() {
        all.extend(ending(payload));
    }
    let usage = held.records.iter().find_map(|record| {
        let Record::Payload { usage, .. } = record else { return None };
        Some(usage)
    });
    if let Some(usage) = usage {
        let cpu = usage.user_us.saturating_add(usage.system_us);
        all.push(Attribute::seconds("CpuSeconds", cpu));
        all.push(Attribute::number("MaxRssKiB", usage.max_rss_kib));
    }
    if let Some(result) = held.epilogue() {
        let number = match result {
            EpilogueResult::Exit(n) | EpilogueResult::Signal(n) => format!(" {n}"),
            EpilogueResult::Ok | EpilogueResult::Timeout | EpilogueResult::NotStarted => {
                String::new()
            }
        };
        all.push(Attribute::text("Epilogue", &format!("{}{number}", result.word())));
    }
    all
}

fn refused(code: u8, reason: &str, sentence: &str) -> [Attribute; 3] {
    [
        Attribute::text("Refused", reason),
        Attribute::number("RefusedCode", u64::from(code)),
        Attribute::text("RefusedSentence", sentence),
    ]
}

/// `TargetRC`, and `TargetSignal` where there is one.
pub(crate) fn ending(payload: Ending) -> Vec<Attribute> {
    let rc = Attribute::number("TargetRC", u64::from(payload.code()));
    let signal = match payload {
        Ending::Killed { signal, .. } => Some(Attribute::number("TargetSignal", u64::from(signal))),
        Ending::Exited(_) => None,
    };
    [Some(rc), signal].into_iter().flatten().collect()
}

/// What became of the epilogue of a run whose wrapper was killed: a word for the ad.
pub(crate) fn settled(settlement: Option<Settlement>) -> Option<&'static str> {
    match settlement? {
        Settlement { owed: 1.., .. } => Some("owed"),
        Settlement { live: 1.., .. } => Some("running"),
        Settlement { paid: 1.., .. } => Some("settled"),
        Settlement { .. } => None,
    }
}

/// What a rehearsal means for a job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may run.
    Granted,
    /// It may not, whoever asks again.
    Final(Fate),
    /// It may, perhaps, a moment later.
    Passing(u8, String),
}

/// From the records of `glexec --check` on this node; `later`: the job has a credential that is not
/// here yet.
pub(crate) fn admission(records: &[Record], node: &str, later: bool) -> Admission {
    for record in records {
        if let Record::Rehearsed { .. } = record {
            return Admission::Granted;
        } else if let Record::Refused { code, reason, sentence } = record {
            if later && reason == Reason::Credential.word() {
                return Admission::Granted;
            }
            let sentence = format!("glexec on {node}: {sentence} ({code} {reason})");
            let passing = [Reason::TooManyRuns, Reason::NoFreeAccount];
            return if passing.iter().any(|known| known.word() == reason) {
                Admission::Passing(*code, sentence)
            } else {
                Admission::Final(Fate::Hold(*code, sentence))
            };
        }
    }
    let sentence = format!("glexec on {node} has not answered (202); tell the site");
    Admission::Passing(ADMIN_MUST_ACT, sentence)
}

/// What has not passed.
pub(crate) fn given_up(code: u8, sentence: String, hold: bool) -> Fate {
    if hold { Fate::Hold(code, sentence) } else { Fate::Idle(code, sentence) }
}

/// A fault of the site's on this node, found by the hook itself.
pub(crate) fn site_fault(node: &str, what: &str) -> Fate {
    Fate::Hold(
        Fault::Internal.exit_code(),
        format!("glexec on {node}: {what}; the site has to act (202)"),
    )
}

/// A starter that would run the job by something else than glexec's wrapper.
pub(crate) fn not_our_wrapper(node: &str, what: &str) -> Fate {
    let sentence = format!(
        "glexec on {node}: {what}; set `rewrite = true` in {FILE}, or let USER_JOB_WRAPPER be \
         glexec-condor-wrapper in the configuration that is read last (202 {WRAPPER})"
    );
    Fate::Hold(ADMIN_MUST_ACT, sentence)
}

/// A job that cannot be run by glexec alone: otherwise it must not run.
pub(crate) fn not_by_glexec(node: &str, what: &str) -> Fate {
    let sentence = format!("glexec cannot run the job on {node}: {what} (201)");
    Fate::Hold(CALLER_MUST_ACT, sentence)
}

/// How long to wait before attempt `n` (from 1), as the old scripts did: the delay, times one more
/// than a number below `n`.
pub(crate) fn pause(delay: Duration, n: u32, random: u32) -> Duration {
    const MOST: u32 = 100;
    delay.saturating_mul(1 + random % n.clamp(1, MOST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::ResourceUsage;

    #[test]
    fn the_queue_is_told_at_once_where_the_job_may() {
        for (ad, direct) in [
            ("", false),
            ("WantRemoteUpdates = true\n", true),
            ("WantIOProxy = true\n", true),
            ("WantIOProxy = true\nWantRemoteUpdates = false\n", false),
            ("WantRemoteUpdates = TRUE\nWantRemoteUpdates = false\n", false),
        ] {
            let ways = ways(By::Auto, &Ad::parse(ad));
            assert_eq!(ways.first() == Some(&Way::Direct), direct, "{ad}");
            assert_eq!(ways.last(), Some(&Way::Delayed), "{ad}");
        }
        assert_eq!(ways(By::Delayed, &Ad::parse("WantIOProxy = true\n")), [Way::Delayed]);
        assert_eq!(ways(By::Direct, &Ad::default()), [Way::Direct]);
    }

    const SEGV: Ending = Ending::Killed { signal: 11, core: false };

    fn held(payload: Ending, epilogue: Option<EpilogueResult>, code: u8) -> Held {
        let target = "pool001".to_owned();
        let mut records =
            vec![Record::Started { glexec_pid: 7, payload_pid: 8, target, run_id: String::new() }];
        let usage = ResourceUsage { user_us: 1_500_000, system_us: 1, max_rss_kib: 42 };
        records.push(Record::payload(payload, usage));
        records.extend(epilogue.map(|result| Record::epilogue(result, 0.1)));
        records.push(Record::Finished { code, dropped: 0 });
        Held { records, glexec: Some(Ending::Exited(code)), orphaned: false }
    }

    fn refusal(code: u8, reason: &str) -> Vec<Record> {
        let (reason, sentence) = (reason.to_owned(), "a sentence".to_owned());
        vec![Record::Refused { code, reason, sentence }]
    }

    fn pairs(all: &[Attribute]) -> Vec<String> {
        all.iter().map(|a| format!("{}={}", a.name, a.value)).collect()
    }

    #[test]
    fn a_job_ends_as_its_payload() {
        let fine = Some(EpilogueResult::Ok);
        let table = [
            (held(Ending::Exited(0), fine, 0), Ending::Exited(0)),
            (held(Ending::Exited(255), None, 255), Ending::Exited(255)),
            // Not 204: who holds the status stream need not fold.
            (held(Ending::Exited(203), fine, 204), Ending::Exited(203)),
            (held(SEGV, fine, 139), SEGV),
            (held(Ending::Exited(7), Some(EpilogueResult::Exit(1)), 202), Ending::Exited(202)),
            (held(Ending::Exited(7), Some(EpilogueResult::Exit(203)), 204), Ending::Exited(204)),
            // The site only wants to be told.
            (held(Ending::Exited(7), Some(EpilogueResult::Timeout), 7), Ending::Exited(7)),
            (held(SEGV, Some(EpilogueResult::Timeout), 139), SEGV),
        ];
        for (held, ending) in table {
            let end = job(&held, SignalExit::Reraise, None);
            assert_eq!((end.ending, end.not_run), (ending, None), "{held:?}");
        }
        assert_eq!(job(&held(SEGV, fine, 139), SignalExit::Code, None).ending, Ending::Exited(139));
    }

    #[test]
    fn what_an_earlier_run_told_goes() {
        let ad = Ad::parse(
            "XTargetRC = 143\nxtargetsignal = 15\nXRefused = undefined\nTargetUser = \"a\"\n",
        );
        let told = || vec![Attribute::number("TargetRC", 0)];
        assert_eq!(pairs(&anew(told(), &ad, "X")), ["TargetSignal=undefined", "TargetRC=0"]);
        assert_eq!(pairs(&anew(told(), &Ad::default(), "X")), ["TargetRC=0"]);
        let all = [
            attributes(
                &held(SEGV, Some(EpilogueResult::Ok), 0),
                Some(&CopyOutcome::NotBack(String::new())),
            ),
            attributes(&held(SEGV, None, 0), Some(&CopyOutcome::NotThere(String::new()))),
            refused(203, "", "").into(),
        ];
        assert!(all.iter().flatten().all(|attribute| ATTRIBUTES.contains(&attribute.name)));
    }

    #[test]
    fn only_what_never_ran_is_an_error_of_the_wrapper() {
        let records = refusal(203, "no-mapping");
        let not_run = Held { records, glexec: Some(Ending::Exited(203)), orphaned: false };
        let end = job(&not_run, SignalExit::Reraise, None);
        assert_eq!(end.ending, Ending::Exited(203));
        assert_eq!(end.not_run.unwrap(), "a sentence (203 no-mapping)");
        assert!(job(&Held::default(), SignalExit::Reraise, None).not_run.is_some());
        let records = vec![Record::not_started(126), Record::Finished { code: 126, dropped: 0 }];
        let end = job(&Held { records, ..Held::default() }, SignalExit::Reraise, None);
        assert_eq!((end.ending, end.not_run), (Ending::Exited(126), None));
        let records = vec![Record::not_started(202), Record::Finished { code: 202, dropped: 0 }];
        let held_back = Held { records, glexec: Some(Ending::Exited(202)), orphaned: false };
        let end = job(&held_back, SignalExit::Reraise, None);
        assert_eq!((end.ending, end.sentence), (Ending::Exited(202), None));
        assert!(end.not_run.unwrap().ends_with("its log says why (202 switch)"));
        let told = pairs(&attributes(&held_back, None));
        assert_eq!(told[..2], ["Refused=\"switch\"", "RefusedCode=202"]);
        let mut lost = held(SEGV, None, 0);
        lost.records.truncate(1);
        lost.glexec = Some(Ending::Killed { signal: 9, core: false });
        let end = job(&lost, SignalExit::Reraise, None);
        assert_eq!((end.ending.code(), end.not_run), (137, None));
    }

    #[test]
    fn a_sandbox_that_did_not_come_through_is_no_good_end() {
        let fine = || held(Ending::Exited(0), Some(EpilogueResult::Ok), 0);
        let (there, back) =
            (CopyOutcome::NotThere("no room".into()), CopyOutcome::NotBack("no room".into()));
        let end = job(&fine(), SignalExit::Reraise, Some(&there));
        assert_eq!(end.ending, Ending::Exited(202));
        assert_eq!(end.not_run.unwrap(), "no room (202 sandbox)");
        let end = job(&fine(), SignalExit::Reraise, Some(&back));
        assert_eq!((end.ending, end.not_run), (Ending::Exited(202), None));
        assert!(end.sentence.unwrap().ends_with("exit code was 0"));
        assert_eq!(pairs(&attributes(&fine(), Some(&there)))[0], "Refused=\"sandbox\"");
        let all = pairs(&attributes(&fine(), Some(&back)));
        assert!(all[0] == "Sandbox=\"no room\"" && all.contains(&"TargetRC=0".to_owned()));
        // A killed job has no output to lose.
        for trip in [there, back] {
            let end = job(&held(SEGV, None, 139), SignalExit::Reraise, Some(&trip));
            assert_eq!((end.ending, end.not_run), (SEGV, None));
        }
    }

    #[test]
    fn the_ad_is_told_what_the_stream_told() {
        assert_eq!(
            pairs(&attributes(&held(SEGV, Some(EpilogueResult::Exit(3)), 202), None)),
            [
                "TargetUser=\"pool001\"",
                "TargetRC=139",
                "TargetSignal=11",
                "CpuSeconds=1.500001",
                "MaxRssKiB=42",
                "Epilogue=\"exit 3\""
            ]
        );
        let not_run = Held { records: refusal(203, "banned"), ..Held::default() };
        assert_eq!(
            pairs(&attributes(&not_run, None)),
            ["Refused=\"banned\"", "RefusedCode=203", "RefusedSentence=\"a sentence\""]
        );
    }

    #[test]
    fn what_passes_is_tried_again_and_nothing_else_is() {
        for (code, reason, passes) in [
            (201, "hand-over", false),
            (202, "malformed", false),
            (202, "no-free-account", true),
            (202, "too-many-runs", true),
            (203, "no-mapping", false),
        ] {
            let found = admission(&refusal(code, reason), "node7", false);
            match found {
                Admission::Passing(..) => assert!(passes, "{reason}"),
                Admission::Final(Fate::Hold(subcode, sentence)) => {
                    assert!(!passes && subcode == code && sentence.contains("node7"), "{reason}");
                }
                other @ (Admission::Granted | Admission::Final(_)) => panic!("{other:?}"),
            }
        }
        assert!(matches!(admission(&[], "n", true), Admission::Passing(202, _)));
        let without = refusal(201, "credential");
        assert_eq!(admission(&without, "n", true), Admission::Granted);
        assert!(matches!(admission(&without, "n", false), Admission::Final(_)));
        assert!(matches!(admission(&refusal(203, "banned"), "n", true), Admission::Final(_)));
        let granted = [Record::Rehearsed { target: "p".to_owned(), uid: 5, gid: 5, pool: false }];
        assert_eq!(admission(&granted, "n", false), Admission::Granted);
    }

    #[test]
    fn pauses_grow_as_they_did() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(second, 1, 12345), second);
        assert!((0..50).all(|random| pause(second, 3, random) <= 3 * second));
        assert_eq!(pause(second, 3, 2), 3 * second);
    }

    #[test]
    fn a_settlement_has_one_word() {
        let of = |paid, live, owed| settled(Some(Settlement { paid, live, owed }));
        assert_eq!(of(1, 0, 0), Some("settled"));
        assert_eq!(of(1, 0, 1), Some("owed"));
        assert_eq!(of(0, 1, 0), Some("running"));
        assert_eq!(of(0, 0, 0), None);
        assert_eq!(settled(None), None);
    }
}
