//! Why there is no answer: for the caller, and for the log.

/// Whose move it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The caller's: another credential is needed (201).
    Callers,
    /// The site's: a file of its own cannot be used (202).
    Sites,
    /// Nobody's: the subject is banned (203).
    Banned,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Whose move it is.
    pub whose: Whose,
    /// A clause that anybody may read.
    pub clause: String,
    /// What the log adds; it may be empty.
    pub detail: String,
}

impl Refused {
    /// The credential cannot be accepted.
    pub fn credential(clause: impl Into<String>) -> Self {
        Self { whose: Whose::Callers, clause: clause.into(), detail: String::new() }
    }

    /// A file of the site's cannot be used; the caller is told no more than that.
    pub fn site(detail: impl Into<String>) -> Self {
        let clause = "what maps by credential cannot be used here".to_owned();
        Self { whose: Whose::Sites, clause, detail: detail.into() }
    }

    /// The same with more for the log.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}
