//! What every reason means.

use super::entry::Entry;
use super::{of_callers, of_sites};
use contract::Reason;

/// What is said of a reason; a test has it that something is of each.
pub(super) fn entry(reason: Reason) -> Option<&'static Entry> {
    let mut rows = of_callers::ROWS.iter().chain(of_sites::ROWS).chain(of_sites::REFUSALS);
    rows.find(|(of, _)| *of == reason).map(|(_, entry)| entry)
}
