//! A run that stops: for whom, and what each of them is told.

use contract::{Fault, Reason};
use system::text::one_line;

/// Why a run stopped. The caller reads `sentence` (and one hint), the log gets `detail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    /// One sentence for the caller; free of everything that only the site may know.
    pub(crate) sentence: String,
    /// What the log adds: file, line, component.
    pub(crate) detail: Option<String>,
    /// What the caller can do.
    pub(crate) hint: Option<&'static str>,
    /// Whether the caller has been told on stderr already.
    pub(crate) said: bool,
}

impl Refusal {
    /// A stop whose sentence anybody may read.
    pub(crate) fn new(reason: Reason, sentence: impl Into<String>) -> Self {
        Self { reason, sentence: sentence.into(), detail: None, hint: None, said: false }
    }

    /// Adds what only the log is told.
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds what the caller can do.
    pub(crate) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// Something about the configuration: the caller learns the reason word only.
    pub(crate) fn configuration(reason: Reason, detail: impl Into<String>) -> Self {
        let word = reason.word();
        Self::new(reason, format!("configuration unusable ({word}); see the log")).detail(detail)
    }

    /// Not on a white list, and no word more.
    pub(crate) fn refused(reason: Reason, detail: impl Into<String>) -> Self {
        Self::new(reason, "refused").detail(detail)
    }

    /// The same, told on stderr by now.
    pub(crate) fn said(mut self) -> Self {
        self.said = true;
        self
    }

    /// What the caller reads: one line, its end included; a sentence, and in brackets what to do.
    pub(crate) fn line(&self) -> String {
        let hint = self.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("[gLExec]: {}{hint}\n", one_line(&self.sentence))
    }

    /// The exit code, by the fault of the reason.
    pub(crate) const fn exit_code(&self) -> u8 {
        self.reason.fault().exit_code()
    }

    /// Whose move it is.
    pub(crate) const fn fault(&self) -> Fault {
        self.reason.fault()
    }
}
