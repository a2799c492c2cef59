//! What a check finds, line by line.

use decide::refusal::Refusal;
use serde::Serialize;

/// One line of what was found; `ERROR` and `WARNING` are names like others.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) text: String,
}

/// What was found.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) rows: Vec<Row>,
}

impl Findings {
    pub(super) fn line(&mut self, name: &str, value: &str) {
        self.rows.push(Row { name: name.to_owned(), text: value.to_owned() });
    }

    pub(super) fn warn(&mut self, what: &str) {
        self.line(WARNING, what);
    }

    pub(super) fn error(&mut self, what: &str) {
        self.line(ERROR, what);
    }

    pub(super) fn stop(&mut self, stop: &Refusal) {
        let detail = stop.detail.as_deref().unwrap_or(&stop.sentence);
        self.error(&format!("{detail} ({})", stop.reason.word()));
    }

    pub(super) fn errors(&self) -> usize {
        self.rows.iter().filter(|row| row.name == ERROR).count()
    }
}

pub(super) const ERROR: &str = "ERROR";
pub(super) const WARNING: &str = "WARNING";
