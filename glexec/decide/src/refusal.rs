//! A run that stops: for whom, and what each of them is told.

use contract::{Fault, Reason};
use system::text::one_line;

/// Why a run stopped. The caller reads `sentence` (and one hint), the log gets `detail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What for, in a word with an exit code.
    pub reason: Reason,
    /// One sentence for the caller; free of everything that only the site may know.
    pub sentence: String,
    /// What the log adds: file, line, component.
    pub detail: Option<String>,
    /// What the caller can do.
    pub hint: Option<&'static str>,
    /// Whether the caller has been told on stderr already.
    pub said: bool,
}

impl Refusal {
    /// A stop whose sentence anybody may read.
    pub fn new(reason: Reason, sentence: impl Into<String>) -> Self {
        Self { reason, sentence: sentence.into(), detail: None, hint: None, said: false }
    }

    /// Adds what only the log is told.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds what the caller can do.
    pub fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// Something about the configuration: the caller learns the reason word only.
    pub fn configuration(reason: Reason, detail: impl Into<String>) -> Self {
        let word = reason.word();
        Self::new(reason, format!("configuration unusable ({word}); see the log")).detail(detail)
    }

    /// Something about what maps by credential: the caller learns no more than that.
    pub fn mapping(detail: impl Into<String>) -> Self {
        let sentence = "what maps by credential cannot be used here; see the log";
        Self::new(Reason::Mapping, sentence).detail(detail)
    }

    /// Not on a white list, and no word more.
    pub fn refused(reason: Reason, detail: impl Into<String>) -> Self {
        Self::new(reason, "refused").detail(detail)
    }

    /// The same, told on stderr by now.
    pub fn said(mut self) -> Self {
        self.said = true;
        self
    }

    /// What the caller reads: one line, its end included; a sentence, and in brackets what to do.
    pub fn line(&self) -> String {
        let hint = self.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("[gLExec]: {}{hint}\n", one_line(&self.sentence))
    }

    /// The exit code, by the fault of the reason.
    pub const fn exit_code(&self) -> u8 {
        self.reason.fault().exit_code()
    }

    /// Whose move it is.
    pub const fn fault(&self) -> Fault {
        self.reason.fault()
    }
}

/// Why there is no root, as a sentence for those who can act.
pub fn powerless(reason: Reason) -> Refusal {
    let (sentence, hint) = if reason == Reason::NoNewPrivs {
        let sentence = "glexec is called with no_new_privs, which takes its setuid bit away";
        (sentence, "switch off no_new_privs for this job")
    } else if reason == Reason::NosuidMount {
        ("glexec lies on a file system that is mounted nosuid", "the site has to move it")
    } else if reason == Reason::UserNamespace {
        let sentence = "glexec is called inside a user namespace, where it cannot be root";
        (sentence, "call it outside of the container")
    } else {
        ("glexec is not installed setuid root", "the site has to: owner root, mode 4755")
    };
    Refusal::new(reason, sentence).hint(hint)
}
