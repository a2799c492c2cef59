//! Carrying the plan out.

use super::{Walk, proxy};
use act::caller_descriptors::{Orders, StatusStream};
use act::descriptor_proxy::DescriptorProxy;
use act::event_loop::code_of;
use act::exec_status::Failure;
use act::leases::Lease;
use act::payload::replace;
use act::root::{Privilege, Root};
use act::supervisor::{Open, Rest, RunContext, linger};
use act::{needs_proc, status_proxy};
use contract::{Reason, Record};
use decide::config::{CgroupRule, EpilogueFailure, Stragglers};
use decide::ended::Ended;
use decide::plan::{Launch, Linger, Plan};
use decide::refusal::Refusal;
use decide::reporter::{Level, Reporter as _};
use nix::unistd::Pid;
use std::os::fd::RawFd;
use std::time::Duration;
use system::process::leads_terminal_group;

/// Carries the plan out; gives glexec's own exit code.
///
/// # Errors
/// Where nothing was started.
pub(super) fn out(
    walk: &Walk<'_>,
    (plan, proxy): (&Plan, Option<&[u8]>),
    orders: Option<Orders>,
    lease: Option<&Lease>,
) -> Result<u8, Refusal> {
    // In the order in which a process closes them that only stands by: an account's lock first.
    let mut kept: Vec<RawFd> = lease.iter().flat_map(|lease| lease.numbers()).collect();
    kept.extend(walk.outputs.numbers());
    kept.extend(&plan.keep_fds);
    let open = Open { orders, status: walk.outputs.status.get(), kept };
    match (&plan.launch, walk.rights) {
        (Launch::Linger(rules), Ok(privilege)) => {
            let (ended, rest) = through(walk, (plan, proxy), rules, privilege, lease, open)?;
            let failure = plan.epilogue().map_or(EpilogueFailure::Fail, |e| e.failure);
            let code = ended.outcome(failure).exit_code();
            if let Some(result) = ended.epilogue_failure() {
                let number = result.number().map(|n| format!(" {n}")).unwrap_or_default();
                let text = format!("the epilogue failed: {}{number}", result.word());
                walk.reporter.log(Level::Error, &text);
            }
            walk.reporter.end(plan, &ended, code);
            lease.iter().for_each(|lease| lease.touch());
            if let Some(record) = rest.record.filter(|_| ended.is_paid()) {
                if let Err(errno) = record.remove() {
                    let text = format!("the paid entry could not be removed: {}", errno.desc());
                    walk.reporter.log(Level::Error, &text);
                }
            }
            walk.outputs.status.get().into_iter().for_each(StatusStream::close);
            rest.descriptor_proxy.into_iter().for_each(DescriptorProxy::leave);
            Ok(code)
        }
        // To leave its terminal a group leader has to fork, and then to end as the payload did.
        (Launch::Replace, Ok(privilege)) if plan.detach_terminal && leads_terminal_group() => {
            needs_proc(true)?;
            let (ended, _) = through(walk, (plan, proxy), &PLAIN, privilege, None, open)?;
            match ended.ending {
                Ok(ending) => status_proxy::end_like(ending),
                Err(code) => Ok(code),
            }
        }
        (Launch::Replace, Ok(privilege)) => {
            let root = privilege.raise()?;
            if let Some((copy, bytes)) = plan.proxy.as_ref().zip(proxy) {
                proxy::write(&root, (&plan.target.person(), copy), bytes)?;
            }
            Ok(become_it(walk, plan, root))
        }
        (_, Err(_)) => Ok(become_it(walk, plan, Root::as_far_as_there_is(walk.rights)?)),
        // The configuration was refused for it. A payload of log-only mode keeps the ids of the
        // process that becomes it, and those must never be root's.
        (Launch::LogOnly, Ok(_)) => {
            let sentence = "log-only mode has root's rights, and the payload would get them";
            Err(Refusal::new(Reason::Internal, sentence))
        }
    }
}

/// Waiting for the sake of the terminal alone.
const PLAIN: Linger = Linger {
    cgroups: CgroupRule { supervisor: None, payload: false },
    stragglers: Stragglers::Ignore,
    kill_grace: Duration::ZERO,
    term_grace: None,
    suspend_with_caller: false,
    epilogue: None,
    state: None,
    nested: None,
    hand_over: Vec::new(),
};

fn through(
    walk: &Walk<'_>,
    (plan, proxy): (&Plan, Option<&[u8]>),
    linger_rules: &Linger,
    privilege: &Privilege,
    lease: Option<&Lease>,
    open: Open<'_>,
) -> Result<(Ended, Rest), Refusal> {
    let context =
        RunContext { plan, linger: linger_rules, restore: walk.restore, privilege, lease, proxy };
    linger(&context, open, walk.reporter)
}

/// Becomes the payload. What comes back is a failure.
fn become_it(walk: &Walk<'_>, plan: &Plan, root: Root) -> u8 {
    let (reporter, pid) = (walk.reporter, Pid::this().as_raw());
    let (target, run_id) = (plan.target.name().to_owned(), plan.run_id.clone());
    reporter.status(&Record::Started { glexec_pid: pid, payload_pid: pid, target, run_id });
    let failure: Failure = replace(root, plan, walk.restore);
    let code = code_of(failure);
    let text = format!("the payload was not started: {} exit_code={code}", failure.told());
    reporter.log(Level::Warning, &text);
    reporter.status(&Record::not_started(code));
    reporter.finished(code);
    code
}
