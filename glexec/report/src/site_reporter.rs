//! The one who tells: knows the site's log rule, the status stream, and who may be told what.

use super::audit::{self, Fields};
use super::voice;
use contract::{Fault, Reason, Record};
use decide::config::LogRule;
use decide::ended::Ended;
use decide::plan::Plan;
use decide::refusal::Refusal;
use decide::reporter::{Level, Reporter, Sink};
use std::cell::{Cell, RefCell};
use std::time::Duration;
use system::text::escaped;

/// How long a begin line, without which nothing runs, may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a line may take that says why nothing ran.
const SHORT: Duration = Duration::from_millis(250);

/// That a line without which nothing runs, or the log itself, could not be had; `detail` names the
/// place and what to do.
pub fn not_logged(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::Audit, "the run could not be logged (audit); nothing was started")
        .detail(detail)
        .hint("tell the site: a syslog must run, a log file be named, or room be made; glexec-admin check says which")
}

/// Tells the log, the caller and the status stream.
#[expect(missing_debug_implementations, reason = "what it tells goes to people")]
pub struct SiteReporter<'s> {
    rule: RefCell<LogRule>,
    /// Syslog, for what the site's own log does not take.
    early: &'s dyn Sink,
    log: Cell<&'s dyn Sink>,
    status: Cell<Option<&'s dyn Sink>>,
    caller: RefCell<String>,
    id: RefCell<Option<Vec<u8>>>,
    lost_records: Cell<u32>,
    lost_lines: Cell<u32>,
}

impl<'s> SiteReporter<'s> {
    /// A reporter for the time before there is a configuration; `caller` is all that is known.
    pub fn new(log: &'s dyn Sink, caller: String) -> Self {
        Self {
            rule: RefCell::default(),
            early: log,
            log: Cell::new(log),
            status: Cell::new(None),
            caller: RefCell::new(caller),
            id: RefCell::new(None),
            lost_records: Cell::new(0),
            lost_lines: Cell::new(0),
        }
    }

    /// From now on records go here, too.
    pub fn use_status(&self, status: &'s dyn Sink) {
        self.status.set(Some(status));
    }

    /// From now on the site's rule holds.
    pub fn use_log(&self, rule: &LogRule, log: &'s dyn Sink) {
        self.rule.replace(rule.clone());
        self.log.set(log);
    }

    /// The caller's name, and its own word for this run.
    pub fn know(&self, caller: String, id: Option<&[u8]>) {
        self.caller.replace(caller);
        self.id.replace(id.map(<[u8]>::to_vec));
    }

    /// The line without which nothing runs.
    ///
    /// # Errors
    /// [`Reason::Audit`].
    pub fn begin(&self, plan: &Plan) -> Result<(), Refusal> {
        let line = audit::begin(plan, self.id.borrow().as_deref());
        self.attest(&line, &audit::fields(plan, "begin"))
    }

    /// The line of a rehearsal. Short, whatever the command: it may be asked for without end.
    ///
    /// # Errors
    /// As [`SiteReporter::begin`].
    pub fn rehearsed(&self, plan: &Plan) -> Result<(), Refusal> {
        self.attest(&audit::rehearsal(plan), &audit::fields(plan, "rehearsal"))
    }

    /// That somebody looked whether the log takes a line, as the begin of a run has to be one.
    ///
    /// # Errors
    /// As [`SiteReporter::begin`].
    pub fn looked_after(&self, line: &str) -> Result<(), Refusal> {
        self.attest(line, &vec![("GLEXEC_EVENT", "check".to_owned())])
    }

    /// That a payload's proxy is about to be written anew: no credential changes hands untold.
    ///
    /// # Errors
    /// As [`SiteReporter::begin`].
    pub fn renewal(&self, line: &str) -> Result<(), Refusal> {
        self.attest(line, &vec![("GLEXEC_EVENT", "renewal".to_owned())])
    }

    fn attest(&self, line: &str, fields: &Fields) -> Result<(), Refusal> {
        if self.send(Level::Notice, line, fields, PATIENCE) {
            return Ok(());
        }
        Err(not_logged(self.log.get().trouble()))
    }

    /// The line at the end of a run, and the last record.
    pub fn end(&self, plan: &Plan, ended: &Ended, code: u8) {
        let line = audit::end(plan, ended, code);
        self.send(Level::Notice, &line, &audit::fields(plan, "end"), Duration::ZERO);
        self.finished(code);
    }

    /// The last record.
    pub fn finished(&self, code: u8) {
        self.status(&Record::Finished { code, dropped: self.lost_records.get() });
    }

    /// Tells everybody why nothing ran, each what is theirs; gives the exit code.
    pub fn stopped(&self, stop: &Refusal) -> u8 {
        let (word, code) = (stop.reason.word(), stop.exit_code());
        let detail = stop.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        let caller = escaped(self.caller.borrow().as_bytes());
        let line = format!("{word}: caller {caller}: {}{detail} exit_code={code}", stop.sentence);
        let level = match stop.fault() {
            Fault::Internal => Level::Error,
            Fault::Client | Fault::Denied => Level::Warning,
        };
        let fields =
            vec![("GLEXEC_EVENT", "stopped".to_owned()), ("GLEXEC_REASON", word.to_owned())];
        if !self.send(level, &line, &fields, SHORT) {
            // Else nobody would ever learn it.
            let dressed = audit::dressed(&LogRule::default(), level, &line, &fields);
            self.early.deliver(&dressed, Duration::ZERO);
        }
        if let Some(line) = self.complaint(stop).filter(|_| !stop.said) {
            voice::complain(&line);
        }
        self.status(&Record::Refused {
            code,
            reason: word.to_owned(),
            sentence: stop.sentence.clone(),
        });
        code
    }

    fn send(&self, level: Level, line: &str, fields: &Fields, patience: Duration) -> bool {
        let (rule, log) = (self.rule.borrow(), self.log.get());
        let wanted = |level: Level| level as u8 <= rule.level;
        if !wanted(level) {
            return true;
        }
        let mut line = line.to_owned();
        let lost = self.lost_lines.take();
        if lost > 0 {
            line = format!("{line} lost_lines={lost}");
        }
        let sent = log.deliver(&audit::dressed(&rule, level, &line, fields), patience);
        if !sent {
            self.lost_lines.set(lost.saturating_add(1));
        }
        sent
    }
}

impl Reporter for SiteReporter<'_> {
    fn log(&self, level: Level, text: &str) {
        self.send(level, text, &Fields::new(), Duration::ZERO);
    }

    fn status(&self, record: &Record) {
        let Some(status) = self.status.get() else { return };
        if !status.deliver(record.line().as_bytes(), Duration::ZERO) {
            self.lost_records.set(self.lost_records.get().saturating_add(1));
        }
    }

    fn complaint(&self, stop: &Refusal) -> Option<String> {
        (!self.rule.borrow().silent).then(|| stop.line())
    }
}
