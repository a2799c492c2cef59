//! What every reason means.

use super::{Entry, of_callers, of_sites};
use contract::Reason;

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

/// What is said of a reason; a test has it that something is of each.
pub(super) fn entry(reason: Reason) -> Option<&'static Entry> {
    let mut rows = of_callers::ROWS.iter().chain(of_sites::ROWS).chain(of_sites::REFUSALS);
    rows.find(|(of, _)| *of == reason).map(|(_, entry)| entry)
}
