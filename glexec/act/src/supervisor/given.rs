//! What the payload has for the run: its proxy is written before it may run; directories go back and
//! the proxy goes when it has ended.

use super::{Run, RunContext};
use crate::root::Root;
use crate::state::RunRecord;
use crate::target_proxy::{self, Begun};
use contract::Reason;
use decide::entry::Phase;
use decide::refusal::Refusal;

/// Writes the payload's proxy; whether it is this run's to remove. What the file is known by stands in
/// the entry before it has its own name. Where it replaces one, another run's payload has that: it is
/// renewed, and stays.
pub(super) fn proxy(
    root: &Root,
    context: &RunContext<'_>,
    record: Option<&RunRecord>,
) -> Result<bool, Refusal> {
    let (Some(copy), Some(proxy)) = (&context.plan.proxy, context.proxy) else { return Ok(false) };
    let who = context.plan.target.person();
    let Begun { file, replaces } = target_proxy::begin(root, &who, copy, proxy)?;
    let record = record.filter(|_| copy.remove);
    let note = |phase: &Phase| {
        record.map_or(Ok(()), |record| record.add(phase)).map_err(|errno| {
            Refusal::new(Reason::State, "the state directory cannot be used; see the log")
                .detail(format!("writing down what the proxy is known by: {}", errno.desc()))
        })
    };
    let noted = if replaces { Ok(()) } else { note(&Phase::ProxyWritten { file }) };
    noted.inspect_err(|_| target_proxy::give_up(root, &who, copy))?;
    target_proxy::finish(root, &who, copy)?;
    if replaces {
        note(&Phase::ProxyGone)?;
    }
    Ok(!replaces)
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
        let removes = self.context.plan.proxy.as_ref().is_some_and(|copy| copy.remove);
        if !removes || !self.owns_proxy {
            return true;
        }
        let gone = target_proxy::remove_planned(&self.root, self.context.plan, self.reporter);
        gone && self.note_phase(&Phase::ProxyGone)
    }
}
