//! What is open for telling: the log and the status stream.

use act::caller_descriptors::{self, Orders, StatusStream};
use act::needs_proc;
use act::root::Privilege;
use act::sink::Post;
use contract::Invocation;
use decide::config::LogRule;
use decide::refusal::Refusal;
use decide::reporter::Sink;
use report::{SiteReporter, not_logged};
use std::cell::OnceCell;
use std::os::fd::RawFd;

/// What is open for telling.
pub(super) struct Outputs<'p> {
    privilege: Option<&'p Privilege>,
    early: Post<'p>,
    log: OnceCell<Post<'p>>,
    pub(super) status: OnceCell<StatusStream>,
}

impl<'p> Outputs<'p> {
    /// The outputs for the time before there is a configuration.
    pub(super) fn new(privilege: Option<&'p Privilege>) -> Self {
        let early = Post::syslog(privilege);
        Self { privilege, early, log: OnceCell::new(), status: OnceCell::new() }
    }

    /// Syslog, which needs no configuration.
    pub(super) fn early(&self) -> &dyn Sink {
        &self.early
    }

    /// Takes the descriptors the caller named; from now on records are told.
    ///
    /// # Errors
    /// [`Reason::Descriptor`](contract::Reason::Descriptor).
    pub(super) fn take_named<'d>(
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
    /// [`Reason::Audit`](contract::Reason::Audit).
    pub(super) fn open_log<'d>(
        &'d self,
        rule: &LogRule,
        reporter: &SiteReporter<'d>,
    ) -> Result<(), Refusal> {
        let log = Post::open(self.privilege, rule);
        let log = log.map_err(|untrusted| not_logged(untrusted.clause()))?;
        reporter.use_log(rule, self.log.get_or_init(|| log));
        Ok(())
    }

    pub(super) fn numbers(&self) -> Vec<RawFd> {
        let log = self.log.get().and_then(Post::number);
        [self.early.number(), log].into_iter().flatten().collect()
    }
}
