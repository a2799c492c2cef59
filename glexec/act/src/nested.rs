//! A glexec within a payload that owes something of its own: it is not killed with the payload,
//! it is asked to end and has its time. To be one takes more than its looks: it holds the lock of
//! an entry in the state directory, which nobody but root can.

use super::root::Root;
use super::state::StateDir;
use decide::config::StateRule;
use nix::unistd::{Pid, Uid};
use std::cell::OnceCell;
use std::rc::Rc;
use system::process;

/// Tells nested runs, by the state directory. The default knows of none.
#[derive(Debug, Clone, Default)]
pub struct Nested(Option<Rc<Register>>);

#[derive(Debug)]
struct Register {
    rule: StateRule,
    opened: OnceCell<Option<StateDir>>,
}

impl Nested {
    /// By this state directory, which is opened where somebody looks like a nested run.
    pub(super) fn of(rule: Option<&StateRule>) -> Self {
        let register = |rule: &StateRule| Register { rule: rule.clone(), opened: OnceCell::new() };
        Self(rule.map(|rule| Rc::new(register(rule))))
    }

    /// Whether this process is a run that owes something: of root's ids, and the holder of an
    /// entry's lock. Where the state directory does not say, who is of root's ids has its time: that
    /// is bounded, and what is killed too early leaves a debt.
    pub(super) fn is(&self, root: &Root, pid: Pid) -> bool {
        let Some(register) = &self.0 else { return false };
        match process::uids_of(pid) {
            Ok(Some(uids)) if uids == [Uid::from_raw(0); 3] => {}
            Ok(_) => return false,
            Err(_) => return true,
        }
        let open = || StateDir::open(root, &register.rule).ok();
        let directory = register.opened.get_or_init(open).as_ref();
        directory.is_none_or(|directory| directory.holds_an_entry(pid).unwrap_or(true))
    }
}
