//! Until the epilogue has ended, by itself or not.

use super::{EpilogueContext, LOOK};
use crate::cgroups::Mounts;
use crate::descendants;
use crate::event_sources::input;
use crate::exec_status::{self, Verdict};
use crate::output::Output;
use crate::root::Root;
use crate::stragglers::{EventWait, UNKILLABLE};
use contract::{Ending, EpilogueResult};
use decide::deadline::{Away, Deadline};
use decide::reporter::{Level, Reporter};
use nix::unistd::Pid;
use std::cell::OnceCell;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};
use system::kernel;

/// Where the epilogue's time stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    Enough,
    Asked,
    Killed,
}

/// How an epilogue ended, and why it is owed all the same, where it is.
pub(crate) struct End {
    pub(super) result: EpilogueResult,
    pub(super) owed: Option<String>,
}

/// The epilogue's clock: it stands still while this process, or the epilogue, is frozen or stopped.
pub(crate) struct Clock<'w> {
    deadline: Deadline,
    mounts: OnceCell<Result<Mounts, String>>,
    looked: Instant,
    /// Why its running out may say nothing of the epilogue.
    doubt: Option<String>,
    told: bool,
    reporter: &'w dyn Reporter,
}

impl Clock<'_> {
    /// Looks at what kept both from running.
    fn look(&mut self, root: &Root, epilogue: Pid, now: Instant) {
        match self.deadline.woke(now) {
            Away::No => {}
            Away::GivenBack(time) => {
                self.tell(&format!(
                    "glexec did not run for {} s; the epilogue has that much longer",
                    time.as_secs()
                ));
            }
            Away::TooOften => self.doubt = Some("glexec itself was stopped too often".to_owned()),
        }
        let spent = now.saturating_duration_since(self.looked);
        // One that prints without end wakes this process all the time.
        if spent < LOOK && !self.deadline.is_over(now) {
            return;
        }
        self.looked = now;
        let frozen = match self.mounts.get_or_init(Mounts::now) {
            Ok(mounts) => mounts.shows_frozen(root, epilogue),
            Err(clause) => Err(clause.clone()),
        };
        match frozen {
            Ok(false) => {}
            Ok(true) => {
                self.tell("the epilogue is frozen by its control group");
                if !self.deadline.stood_still(spent) || self.deadline.is_over(now) {
                    self.doubt = Some("it was frozen while its time ran out".to_owned());
                }
            }
            Err(clause) => {
                self.doubt =
                    Some(format!("it may have been frozen while its time ran out: {clause}"));
            }
        }
    }

    fn tell(&mut self, text: &str) {
        if !std::mem::replace(&mut self.told, true) {
            self.reporter.log(Level::Notice, text);
        }
    }
}

pub(crate) type Child<'c> = (Pid, &'c exec_status::StatusReader, &'c mut Output);

pub(crate) fn watch(
    root: &Root,
    events: &mut EventWait<'_>,
    (pid, reader, output): Child<'_>,
    (context, start, exposed, reporter): (&EpilogueContext<'_>, Instant, bool, &dyn Reporter),
) -> End {
    let pidfd = kernel::pidfd(pid).ok();
    let mut clock = Clock {
        deadline: Deadline::new(start, context.epilogue.timeout),
        mounts: OnceCell::new(),
        looked: Instant::now(),
        doubt: exposed.then(|| "others than root could have frozen it".to_owned()),
        told: false,
        reporter,
    };
    let mut time = Time::Enough;
    let mut give_up = None;
    let mut way = WayToExec::new(reader);
    loop {
        let mut others = vec![];
        others.extend(way.pending.then(|| reader.end()));
        others.extend(pidfd.as_ref().map(|fd| input(fd.as_fd())));
        others.extend(output.as_fd().map(input));
        events.wait(&others, clock.deadline.next(Instant::now()));
        drop(others);
        output.drain(reporter);
        let ended = descendants::ended(pid);
        // Asked after its end, the pipe says for certain what it may not have said before.
        way.look(ended.map(|(ending, _)| ending));
        let over = ended.is_some() || give_up.is_some_and(|at| at <= Instant::now());
        if let Some(why) = way.failed.take_if(|_| over) {
            return End { result: EpilogueResult::NotStarted, owed: Some(why) };
        }
        if over {
            return end_of(ended.map(|(ending, _)| ending), time, clock.doubt);
        }
        let now = Instant::now();
        clock.look(root, pid, now);
        let hurry = time == Time::Asked && *events.hurry;
        if !hurry && !clock.deadline.is_over(now) {
            continue;
        }
        let (signal, next, grace) = match time {
            // Nothing of the site's has run: there is nobody to be asked.
            Time::Enough if way.pending => {
                way.failed = Some("its time ran out before it was executed".to_owned());
                (libc::SIGKILL, Time::Killed, Duration::from_secs(1))
            }
            Time::Enough => (libc::SIGTERM, Time::Asked, context.graces.kill),
            Time::Asked | Time::Killed => (libc::SIGKILL, Time::Killed, Duration::from_secs(1)),
        };
        let _ = kernel::kill(-pid.as_raw(), signal);
        if signal == libc::SIGKILL {
            let _ = kernel::kill(pid.as_raw(), signal);
            give_up.get_or_insert(now + UNKILLABLE);
        } else {
            let _ = kernel::kill(-pid.as_raw(), libc::SIGCONT);
        }
        time = next;
        clock.deadline.renew(now, grace);
    }
}

/// How far the epilogue's process has come on its way to its exec, as its parent knows it.
struct WayToExec<'r> {
    reader: &'r exec_status::StatusReader,
    pending: bool,
    /// Its pipe has ended without a word, or could not be read.
    silent: Option<Verdict>,
    /// Why nothing was executed.
    failed: Option<String>,
}

impl<'r> WayToExec<'r> {
    const fn new(reader: &'r exec_status::StatusReader) -> Self {
        Self { reader, pending: true, silent: None, failed: None }
    }

    fn look(&mut self, ended: Option<Ending>) {
        if !self.pending {
            return self.judge(ended);
        }
        let verdict = match ended {
            Some(_) => self.reader.last_verdict(),
            None => self.reader.verdict(),
        };
        self.pending = verdict == Verdict::Pending;
        match verdict {
            Verdict::Pending | Verdict::Executed => {}
            Verdict::Ended | Verdict::Unknown => self.silent = Some(verdict),
            Verdict::Failed(failure) => self.failed = Some(failure.told()),
        }
        self.judge(ended);
    }

    /// Notes that a process which ended without a word has not run, whether it was killed or exited.
    /// Where the parent could not read the pipe, it believes an exit to be the program's own.
    fn judge(&mut self, ended: Option<Ending>) {
        let why = match (self.silent, ended) {
            (Some(_), Some(Ending::Killed { signal, .. })) => {
                format!("signal {signal} ended its process before its exec")
            }
            (Some(Verdict::Ended), Some(Ending::Exited(code))) => {
                format!("its process ended before its exec ({code}), without memory perhaps")
            }
            _ => return,
        };
        self.failed.get_or_insert(why);
    }
}

/// `ending` is `None` for one that cannot be killed.
pub(crate) fn end_of(ending: Option<Ending>, time: Time, doubt: Option<String>) -> End {
    match (ending, time, doubt) {
        (Some(ending), Time::Enough, _) => {
            let result = EpilogueResult::from(ending);
            let why = || "it was ended from outside, or could not be executed whole".to_owned();
            End { result, owed: result.is_owed().then(why) }
        }
        // Its time was not its own: what ended it is our signal, and it is owed.
        (_, time, Some(why)) => {
            let signal = if time == Time::Killed { libc::SIGKILL } else { libc::SIGTERM };
            let signal = u8::try_from(signal).unwrap_or_default();
            End { result: EpilogueResult::Signal(signal), owed: Some(why) }
        }
        (_, _, None) => End { result: EpilogueResult::Timeout, owed: None },
    }
}
