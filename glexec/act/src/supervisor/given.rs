//! What the payload has for the run: its proxy is written before it may run; directories go back and
//! the proxy goes when it has ended.

use super::{Run, RunContext};
use crate::root::Root;
use crate::state::RunRecord;
use crate::target_proxy::{self, Begun};
use contract::Reason;
use decide::entry::Phase;
use decide::refusal::Refusal;
use decide::reporter::Reporter;

/// What of the payload's proxy is there, as far as this run knows, and this run's to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    Nothing,
    /// Under its first name, which is nobody else's.
    FirstName,
    /// Under either of its names.
    Both,
}

impl Claim {
    /// Removes it where the payload was not started; whether nothing is owed of it any more.
    pub(super) fn is_given_up(
        self,
        root: &Root,
        context: &RunContext<'_>,
        reporter: &dyn Reporter,
    ) -> bool {
        let plan = context.plan;
        match (self, &plan.proxy) {
            (Self::Nothing, _) | (_, None) => true,
            (Self::FirstName, Some(copy)) => {
                target_proxy::give_up(root, &plan.target.person(), copy)
            }
            (Self::Both, Some(_)) => target_proxy::remove_planned(root, plan, reporter),
        }
    }
}

/// Writes the payload's proxy. What the file is known by stands in the entry before it has its own
/// name. Where it replaces one, another run's payload has that: it is renewed, and stays. Who does it
/// can be ended at any step, so that `claim` says at each what may be there.
pub(super) fn proxy(
    root: &Root,
    context: &RunContext<'_>,
    record: Option<&RunRecord>,
    claim: &mut Claim,
) -> Result<(), Refusal> {
    let (Some(copy), Some(proxy)) = (&context.plan.proxy, context.proxy) else { return Ok(()) };
    let who = context.plan.target.person();
    *claim = Claim::FirstName;
    let Begun { file, replaces } = target_proxy::begin(root, &who, copy, proxy)?;
    let record = record.filter(|_| copy.remove);
    let note = |phase: &Phase| {
        record.map_or(Ok(()), |record| record.add(phase)).map_err(|errno| {
            Refusal::new(Reason::State, "the state directory cannot be used; see the log")
                .detail(format!("writing down what the proxy is known by: {}", errno.desc()))
        })
    };
    if !replaces {
        note(&Phase::ProxyWritten { file })?;
        *claim = Claim::Both;
    }
    target_proxy::finish(root, &who, copy)?;
    if replaces {
        *claim = Claim::Nothing;
        note(&Phase::ProxyGone)?;
    }
    Ok(())
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
