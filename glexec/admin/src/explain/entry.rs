//! What is said of one word.

use contract::Reason;

/// What is said of a word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// What has happened.
    pub(super) means: &'static str,
    /// What to look at.
    pub(super) look: &'static str,
    /// What to change.
    pub(super) mend: &'static str,
    /// What the log's line says; of a reason, what stands between the caller's name and the code.
    pub(super) log: &'static str,
}

/// A reason and what is said of it.
pub(super) type Row = (Reason, Entry);

/// Meaning, what to look at, what to change, and what stands in the log.
pub(super) const fn say(
    reason: Reason,
    means: &'static str,
    [look, mend, log]: [&'static str; 3],
) -> Row {
    (reason, Entry { means, look, mend, log })
}
