//! Carrying the plan out, and the outputs: log and status stream.

use crate::act::caller_descriptors::{self, Orders, StatusStream};
use crate::act::descriptor_proxy::DescriptorProxy;
use crate::act::event_loop::code_of;
use crate::act::exec_status::Failure;
use crate::act::leases::Lease;
use crate::act::payload::replace;
use crate::act::root::{Privilege, Root};
use crate::act::sink::Post;
use crate::act::state::StateDir;
use crate::act::supervisor::{Open, Rest, RunContext, linger};
use crate::act::{needs_proc, status_proxy};
use crate::decide::config::{CgroupRule, Config, EpilogueFailure, LogRule, Stragglers};
use crate::decide::ended::Ended;
use crate::decide::plan::{Launch, Linger, Plan};
use crate::decide::refusal::Refusal;
use crate::decide::reporter::{Level, Reporter as _, Sink};
use crate::report::{SiteReporter, not_logged, paths, version};
use crate::sweep::{Became, Wanted, in_a_process_apart, pairs};
use crate::{Walk, settings};
use contract::{Invocation, Mode, Reason, Record, usage_text};
use nix::unistd::{Pid, Uid};
use std::cell::OnceCell;
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::time::Duration;
use system::process::leads_terminal_group;

/// What is open for telling.
pub(crate) struct Outputs<'p> {
    privilege: Option<&'p Privilege>,
    early: Post<'p>,
    log: OnceCell<Post<'p>>,
    status: OnceCell<StatusStream>,
}

impl<'p> Outputs<'p> {
    /// The outputs for the time before there is a configuration.
    pub(crate) fn new(privilege: Option<&'p Privilege>) -> Self {
        let early = Post::syslog(privilege);
        Self { privilege, early, log: OnceCell::new(), status: OnceCell::new() }
    }

    /// Syslog, which needs no configuration.
    pub(crate) fn early(&self) -> &dyn Sink {
        &self.early
    }

    /// Takes the descriptors the caller named; from now on records are told.
    ///
    /// # Errors
    /// [`Reason::Descriptor`].
    pub(crate) fn take_named<'d>(
        &'d self,
        invocation: &Invocation,
        reporter: &SiteReporter<'d>,
    ) -> Result<Option<Orders>, Refusal> {
        // They are opened anew by way of /proc.
        let (status, orders) = caller_descriptors::take(invocation, self.privilege)
            .map_err(|stop| needs_proc(false).err().unwrap_or(stop))?;
        if let Some(status) = status {
            reporter.use_status(self.status.get_or_init(|| status));
        }
        Ok(orders)
    }

    /// Opens the site's log; from now on lines go there.
    ///
    /// # Errors
    /// [`Reason::Audit`].
    pub(crate) fn open_log<'d>(
        &'d self,
        rule: &LogRule,
        reporter: &SiteReporter<'d>,
    ) -> Result<(), Refusal> {
        let log = Post::open(self.privilege, rule);
        let log = log.map_err(|untrusted| not_logged(untrusted.clause()))?;
        reporter.use_log(rule, self.log.get_or_init(|| log));
        Ok(())
    }

    fn numbers(&self) -> Vec<RawFd> {
        let log = self.log.get().and_then(Post::number);
        [self.early.number(), log].into_iter().flatten().collect()
    }
}

/// What is answered without a configuration.
///
/// # Errors
/// [`Reason::Usage`] where that is for root only, [`Reason::NotAvailable`] for what is to come.
pub(crate) fn answer(mode: Mode) -> Result<Option<String>, Refusal> {
    match mode {
        Mode::Run | Mode::Rehearse | Mode::Settle => Ok(None),
        Mode::Help => Ok(Some(usage_text())),
        Mode::Version => Ok(Some(version())),
        Mode::Paths if Uid::current().is_root() => Ok(Some(paths(&[
            ("GLEXEC_CONFIG_FILE", settings::OURS),
            ("GLEXEC_ORIGINAL_CONFIG_FILE", settings::ORIGINAL),
            ("GLEXEC_HELPER_DIRECTORY", crate::act::helper::DIRECTORY),
        ]))),
        Mode::Paths => Err(Refusal::new(Reason::Usage, "-V is for root only")),
    }
}

/// Why there is no root, as a sentence for those who can act.
pub(crate) fn powerless(reason: Reason) -> Refusal {
    let (sentence, hint) = if reason == Reason::NoNewPrivs {
        let sentence = "glexec is called with no_new_privs, which takes its setuid bit away";
        (sentence, "switch off no_new_privs for this job")
    } else if reason == Reason::NosuidMount {
        ("glexec lies on a file system that is mounted nosuid", "the site has to move it")
    } else if reason == Reason::UserNamespace {
        let sentence = "glexec is called inside a user namespace, where it cannot be root";
        (sentence, "call it outside of the container")
    } else {
        ("glexec is not installed setuid root", "the site has to: owner root, mode 4755")
    };
    Refusal::new(reason, sentence).hint(hint)
}

/// The threshold itself failed: there are no rights, and only the usual places to tell it.
pub(crate) fn refuse_without_rights(stop: &Refusal) -> u8 {
    let outputs = Outputs::new(None);
    SiteReporter::new(outputs.early(), Uid::current().to_string()).stopped(stop)
}

/// `--settle`: has what is owed of the caller's own finished runs paid whose job keys match. Who
/// asks needs to be on no list: it is the site's clean-up that is run, not the caller's command. It
/// is run by a process of root's own; this one stays the caller's and waits for the answer.
///
/// # Errors
/// [`Reason::Usage`] for words that are no keys; those of the process that settles;
/// [`Reason::State`] where something is still owed.
pub(crate) fn settle(walk: &Walk<'_>, config: &Config, job: &[OsString]) -> Result<u8, Refusal> {
    if job.is_empty() {
        let usage = Refusal::new(Reason::Usage, "--settle needs the job's keys");
        return Err(usage.hint("--settle KEY=VALUE..."));
    }
    pairs(job)?;
    let privilege = walk.rights.as_ref().map_err(|reason| powerless(*reason))?;
    let caller = privilege.caller();
    let rows = loop {
        let lock = {
            let root = privilege.raise()?;
            let directory = StateDir::open(&root, &config.state)?;
            directory.knows(caller)?.then(|| directory.settling(caller)).transpose()?
        };
        let Some(lock) = lock else { break Vec::new() };
        if lock.wait()? {
            let (job, caller) = (job.to_vec(), Some(caller.as_raw()));
            let wanted = Wanted { job, caller, by_caller: true, ..Wanted::default() };
            break in_a_process_apart(privilege, Some(&lock), &wanted)?;
        }
    };
    let count = |of: fn(Became) -> bool| {
        u32::try_from(rows.iter().filter(|row| of(row.result)).count()).unwrap_or(u32::MAX)
    };
    let (paid, live) = (count(|b| b == Became::Paid), count(|b| b == Became::Live));
    let owed = count(Became::is_owed);
    walk.reporter.status(&Record::Settled { paid, live, owed });
    match owed {
        0 => Ok(0),
        count => Err(Refusal::new(Reason::State, format!("{count} runs still owe something"))
            .hint("the log says why; the site has to act")),
    }
}

/// Carries the plan out; gives glexec's own exit code.
///
/// # Errors
/// Where nothing was started.
pub(crate) fn out(
    walk: &Walk<'_>,
    plan: &Plan,
    (orders, lease): (Option<Orders>, Option<Lease>),
) -> Result<u8, Refusal> {
    // In the order in which a process closes them that only stands by: an account's lock first.
    let mut kept: Vec<RawFd> = lease.iter().flat_map(Lease::numbers).collect();
    kept.extend(walk.outputs.numbers());
    kept.extend(&plan.keep_fds);
    let open = Open { orders, status: walk.outputs.status.get(), kept };
    match (&plan.launch, walk.rights) {
        (Launch::Linger(rules), Ok(privilege)) => {
            let (ended, rest) = through(walk, plan, (rules, privilege, lease.as_ref()), open)?;
            let failure = plan.epilogue().map_or(EpilogueFailure::Fail, |e| e.failure);
            let code = ended.outcome(failure).exit_code();
            if let Some(result) = ended.epilogue_failure() {
                let number = result.number().map(|n| format!(" {n}")).unwrap_or_default();
                let text = format!("the epilogue failed: {}{number}", result.word());
                walk.reporter.log(Level::Error, &text);
            }
            walk.reporter.end(plan, &ended, code);
            lease.iter().for_each(Lease::touch);
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
            let (ended, _) = through(walk, plan, (&PLAIN, privilege, None), open)?;
            match ended.ending {
                Ok(ending) => status_proxy::end_like(ending),
                Err(code) => Ok(code),
            }
        }
        (Launch::Replace, Ok(privilege)) => Ok(become_it(walk, plan, privilege.raise()?)),
        (_, Err(_)) | (Launch::LogOnly, Ok(_)) => Ok(become_it(walk, plan, Root::without_rights())),
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
    plan: &Plan,
    (linger_rules, privilege, lease): (&Linger, &Privilege, Option<&Lease>),
    open: Open<'_>,
) -> Result<(Ended, Rest), Refusal> {
    let context =
        RunContext { plan, linger: linger_rules, restore: walk.restore, privilege, lease };
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
