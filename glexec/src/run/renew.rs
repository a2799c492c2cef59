//! A call without a command, as pilots make it: the payload's proxy, or its token, is written anew, and
//! nothing is started.

use super::{Walk, caller, proxy};
use contract::{Mode, Reason, variables};
use decide::config::Config;
use decide::plan::{self, Request};
use decide::policy;
use decide::refusal::Refusal;
use observe::accounts::{AccountFiles, Lookups};
use observe::credential;

/// Whether the caller has no command, and says which proxy goes where.
pub(super) fn is_asked_for(request: &Request) -> bool {
    let is_set = |name| request.environ.get(name).is_some();
    let is_run = request.invocation.mode == Mode::Run && request.invocation.words.is_empty();
    let proxy = is_set(variables::TARGET_PROXY) && is_set(variables::CLIENT_CERT);
    is_run && (proxy || is_set(variables::TARGET_TOKEN) && is_set(variables::CLIENT_TOKEN))
}

impl Walk<'_> {
    /// Maps the caller as for a run and has the target write the proxy, which stays.
    ///
    /// # Errors
    /// Those of the mapping; [`Reason::NoCommand`] where the site wants no proxy to be written.
    pub(super) fn renew(
        &self,
        config: &Config,
        files: AccountFiles,
        request: &Request,
    ) -> Result<u8, Refusal> {
        let rights = self.rights.as_ref().ok();
        let mut lookups = Lookups::new(rights, files, config.account_source)?;
        let ids = caller::kernel_ids()?;
        let (caller, groups) = lookups.caller(ids, policy::asks_groups(config))?;
        self.reporter.know(caller.shown_name(), request.environ.get(variables::ID));
        let mapped = self.mapped(config, request, (&caller, &groups), &mut lookups)?;
        let target = lookups.target(&mapped.granted, config.min_target_uid)?;
        plan::verify_ids(&request.invocation, &target)?;
        let copy = self.proxy_wanted(config, request, (&target, mapped.by_token))?;
        let copy = copy.ok_or_else(|| {
            let sentence = "there is no command to run, and no proxy is written here";
            Refusal::new(Reason::NoCommand, sentence).hint("give a command")
        })?;
        let source = (copy.source.as_c_str(), copy.variable);
        let bytes = credential::copy(rights, source, caller.uid())?;
        let (who, name) = (caller.shown_name(), target.name());
        let path = system::text::escaped(copy.target.as_bytes());
        let text =
            format!("renewal: {who}->{name}: the proxy {path} is written; nothing is started");
        self.reporter.renewal(&text)?;
        proxy::write(&self.root()?, (&target.person(), &copy), &bytes).map(|()| 0)
    }
}
