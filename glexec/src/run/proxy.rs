//! The payload's proxy: which it is to have, and what is in it.

use super::Walk;
use act::root::Root;
use act::target_proxy;
use decide::config::Config;
use decide::entry::Person;
use decide::plan::{Plan, Request};
use decide::proxy_copy::{self, ProxyCopy};
use decide::refusal::Refusal;
use decide::target::Target;
use observe::credential;

impl Walk<'_> {
    /// The proxy, or the token, that the payload is to have, where the caller presents one.
    pub(super) fn proxy_wanted(
        &self,
        config: &Config,
        request: &Request,
        (target, by_token): (&Target, Option<bool>),
    ) -> Result<Option<ProxyCopy>, Refusal> {
        let Some(by_token) = by_token else { return Ok(None) };
        let random = target_proxy::random()?;
        proxy_copy::wanted(config, &request.environ, target.uid(), by_token, random)
    }

    /// What is to be in the plan's proxy, read as the caller.
    pub(super) fn proxy(&self, plan: &Plan) -> Result<Option<Vec<u8>>, Refusal> {
        let Some(copy) = &plan.proxy else { return Ok(None) };
        let source = (copy.source.as_c_str(), copy.variable);
        let proxy = credential::copy(self.rights.as_ref().ok(), source, plan.caller.uid())?;
        Ok(Some(proxy))
    }
}

/// Writes a proxy that nobody stays to remove.
pub(super) fn write(
    root: &Root,
    (who, copy): (&Person, &ProxyCopy),
    proxy: &[u8],
) -> Result<(), Refusal> {
    let begun = target_proxy::begin(root, who, copy, proxy);
    let done = begun.and_then(|_| target_proxy::finish(root, who, copy));
    // Who has written it may have been ended before it had its own name.
    done.inspect_err(|_| {
        let _ = target_proxy::give_up(root, who, copy);
    })
}
