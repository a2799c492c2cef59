//! From facts to a plan.

use super::config::{Config, Terminal};
use super::environment::{compose, stack_limit};
use super::epilogue_environment::add_epilogue;
use super::plan::{Facts, Launch, Linger, Plan, Request, given, own_account};
use super::refusal::Refusal;
use contract::Reason;
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;

impl Plan {
    /// The plan, whole: nothing is changed of it afterwards.
    ///
    /// # Errors
    /// [`Reason::NotAvailable`] where descriptors are to be kept and the site does not allow it, or
    /// orders are to be obeyed and nobody stays to do so. [`Reason::EpilogueIdentity`],
    /// [`Reason::ArgumentsTooLong`] where the epilogue could not be started with what it must be
    /// told, or any caller could switch the clean-up off.
    pub fn build(config: &Config, request: Request, facts: Facts) -> Result<Self, Refusal> {
        let environ = request.environ.clone();
        let identity = facts.epilogue.clone();
        let plan = without_epilogue(config, request, facts)?;
        match identity {
            Some(identity) => add_epilogue(plan, config, identity, &environ),
            None => Ok(plan),
        }
    }
}

fn without_epilogue(config: &Config, request: Request, facts: Facts) -> Result<Plan, Refusal> {
    let Facts { caller, target, of_pool, exclusive, subject, proxy, command, directories, .. } =
        facts;
    let keep_fds = request.invocation.keep_fds;
    if !keep_fds.is_empty() && !config.keep_descriptors {
        let sentence = "--keep-fd is not allowed here";
        return Err(Refusal::new(Reason::NotAvailable, sentence)
            .hint("the site allows it with keep_descriptors = true"));
    }
    let words = request.invocation.words.into_iter();
    let hand_over = given(config, &request.environ, caller.uid() == target.uid());
    let owes_proxy = proxy.as_ref().is_some_and(|copy| copy.remove);
    let owes = exclusive || owes_proxy || !hand_over.is_empty();
    let launch = match (config.log_only, config.linger) {
        (true, _) => Launch::LogOnly,
        (false, false) => Launch::Replace,
        (false, true) => Launch::Linger(Linger {
            stragglers: config.stragglers,
            kill_grace: config.kill_grace,
            term_grace: config.term_grace,
            suspend_with_caller: config.suspend_with_caller,
            epilogue: None,
            cgroups: config.cgroups.clone(),
            state: owes.then(|| config.state.clone()),
            nested: Some(config.state.clone()),
            hand_over,
        }),
    };
    if request.invocation.control_fd.is_some() && !matches!(launch, Launch::Linger(_)) {
        let sentence = "--control-fd needs a lingering glexec";
        return Err(Refusal::new(Reason::NotAvailable, sentence)
            .hint("the site allows it with linger = true"));
    }
    let account = own_account(config, &caller, &target);
    Ok(Plan {
        run_id: request.run_id,
        of_pool,
        subject,
        environment: compose(&request.environ, config, account, proxy.as_ref()),
        directories,
        stack: stack_limit(&request.environ),
        argv: words.filter_map(|w| CString::new(w.into_vec()).ok()).collect(),
        command,
        launch,
        detach_terminal: config.terminal == Terminal::Detach,
        keep_fds,
        silent: config.log.silent,
        told: Vec::new(),
        job: Vec::new(),
        exclusive,
        caller,
        target,
        proxy,
    })
}
