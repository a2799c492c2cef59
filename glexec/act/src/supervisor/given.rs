//! What the payload has for the run: its proxy is written before it may run; directories go back and
//! the proxy goes when it has ended.

use super::{Run, RunContext};
use crate::root::Root;
use crate::state::RunRecord;
use crate::target_proxy;
use contract::Reason;
use decide::entry::Phase;
use decide::refusal::Refusal;

/// Writes the payload's proxy. What the file is known by stands in the entry before it has its own
/// name.
pub(super) fn proxy(
    root: &Root,
    context: &RunContext<'_>,
    record: Option<&RunRecord>,
) -> Result<(), Refusal> {
    let (Some(copy), Some(proxy)) = (&context.plan.proxy, context.proxy) else { return Ok(()) };
    let who = context.plan.target.person();
    let file = target_proxy::begin(root, &who, copy, proxy)?;
    if let Some(record) = record.filter(|_| copy.remove) {
        record.add(&Phase::ProxyWritten { file }).map_err(|errno| {
            Refusal::new(Reason::State, "the state directory cannot be used; see the log")
                .detail(format!("writing down what the proxy is known by: {}", errno.desc()))
        })?;
    }
    target_proxy::finish(root, &who, copy)
}

impl Run<'_> {
    /// Gives the directories back and writes down what came of it; whether all are.
    pub(super) fn directories_are_back(&mut self) -> bool {
        let back = self.transfer.take().map(|transfer| transfer.reclaim(&self.root, self.reporter));
        let _ = back.as_ref().map(|phase| self.note_phase(phase));
        back.is_none_or(|phase| phase == Phase::Back)
    }

    /// Removes the proxy, where it is to be removed; whether nothing is owed of it any more.
    pub(super) fn proxy_is_gone(&self) -> bool {
        if !self.context.plan.proxy.as_ref().is_some_and(|copy| copy.remove) {
            return true;
        }
        let gone = target_proxy::remove_planned(&self.root, self.context.plan, self.reporter);
        gone && self.note_phase(&Phase::ProxyGone)
    }
}
