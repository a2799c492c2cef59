//! The payload's proxy: which it is to have, and how long it is there.

use super::Walk;
use act::target_proxy;
use decide::config::Config;
use decide::plan::{Plan, Request};
use decide::proxy_copy::{self, ProxyCopy};
use decide::refusal::Refusal;
use decide::reporter::{Level, Reporter as _};
use decide::target::Target;
use observe::credential;
use std::cell::Cell;

/// A proxy that lies ready for the payload. It goes with this value, unless it is to stay.
pub(super) struct Ready<'r, 'w> {
    walk: &'r Walk<'w>,
    plan: &'r Plan,
    stays: Cell<bool>,
}

impl<'w> Walk<'w> {
    /// The proxy that the payload is to have, where the caller presents a credential.
    pub(super) fn proxy_wanted(
        &self,
        config: &Config,
        request: &Request,
        (target, subject): (&Target, Option<&String>),
    ) -> Result<Option<ProxyCopy>, Refusal> {
        match subject {
            Some(_) => {
                let random = target_proxy::random()?;
                proxy_copy::wanted(config, &request.environ, target.uid(), random)
            }
            None => Ok(None),
        }
    }

    /// Has the proxy of the plan read as the caller and written as the target.
    pub(super) fn proxy_ready<'r>(
        &'r self,
        plan: &'r Plan,
    ) -> Result<Option<Ready<'r, 'w>>, Refusal> {
        let Some(copy) = &plan.proxy else { return Ok(None) };
        let source = (copy.source.as_c_str(), copy.variable);
        let proxy = credential::copy(self.rights.as_ref().ok(), source, plan.caller.uid())?;
        target_proxy::create(&self.root()?, &plan.target, copy, &proxy)?;
        Ok(Some(Ready { walk: self, plan, stays: Cell::new(false) }))
    }
}

impl Ready<'_, '_> {
    /// The payload was started, and may need it for longer than glexec is there.
    pub(super) fn stays_where_it_is_to(&self) {
        let remove = self.plan.proxy.as_ref().is_some_and(|copy| copy.remove);
        self.stays.set(!remove);
    }
}

impl Drop for Ready<'_, '_> {
    fn drop(&mut self) {
        let Some(copy) = self.plan.proxy.as_ref().filter(|_| !self.stays.get()) else { return };
        let removed = match self.walk.root() {
            Ok(root) => target_proxy::remove(&root, &self.plan.target, copy).map_err(|f| f.told()),
            Err(stop) => Err(stop.detail.unwrap_or(stop.sentence)),
        };
        if let Err(why) = removed {
            let path = copy.target.to_string_lossy();
            let text = format!("the payload's proxy {path} is left behind: {why}");
            self.walk.reporter.log(Level::Warning, &text);
        }
    }
}
