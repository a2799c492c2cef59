//! The copy of a proxy, or of a token, that a payload gets.

use super::entry::{Bytes, OwedProxy};
use std::ffi::CString;

/// A copy that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyCopy {
    /// The variable that names what is copied.
    pub variable: &'static str,
    /// What is copied, with the caller's rights.
    pub source: CString,
    /// Where it is written first, with the target's rights: a name that nobody guesses.
    pub first_name: CString,
    /// Where it is then.
    pub target: CString,
    /// The caller's variable that says where it is to be.
    pub named_in: &'static str,
    /// The payload's variable that says where.
    pub told_in: &'static str,
    /// Whether it goes when the payload has ended.
    pub remove: bool,
}

impl ProxyCopy {
    /// What is written down of it before it is made, where it is to be removed.
    pub fn owed(&self) -> Option<OwedProxy> {
        let (path, first_name) = (Bytes::from(&self.target), Bytes::from(&self.first_name));
        self.remove.then_some(OwedProxy { path, first_name })
    }
}
