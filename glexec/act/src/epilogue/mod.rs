//! The epilogue: found trustworthy, started, watched to its end, and swept up after.

mod check;
mod start;
mod wait;

use super::clock::now;
use super::descendants::{self, Exempt};
use super::launch::leave_foreign;
use super::root::Root;
use super::state::RunRecord;
use super::stragglers::{self, EventWait, Graces};
pub use check::{finds_its_interpreter, open, try_identity};
use contract::EpilogueResult;
use decide::entry::Phase;
use decide::plan::Epilogue;
use decide::reporter::{Level, Reporter};
use nix::errno::Errno;
pub(crate) use start::launch;
use std::ffi::CString;
use std::time::{Duration, Instant};
use system::process;
pub(crate) use wait::{End, watch};

/// Between two looks whether it is frozen.
const LOOK: Duration = Duration::from_millis(500);
/// Between two tries to start it.
const RETRY: Duration = Duration::from_millis(100);

/// What a run of an epilogue is given.
#[derive(Debug)]
pub struct EpilogueContext<'a> {
    /// Processes that are not the payload's and are left alone.
    pub spared: Exempt,
    /// How long what it leaves is waited for.
    pub graces: Graces,
    /// Its whole environment.
    pub environment: Vec<CString>,
    /// The program, and as whom it runs.
    pub epilogue: &'a Epilogue,
    /// The run's entry, where there is one.
    pub record: Option<&'a RunRecord>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Whether the caller's scheduler may end it.
    pub within: bool,
    /// The control groups in which this process was nobody's but root's, when it was last asked.
    pub safe: Option<&'a [u8]>,
}

impl EpilogueContext<'_> {
    /// Adds a phase to the entry; a clause where that failed.
    fn note(&self, phase: &Phase, reporter: &dyn Reporter) {
        if let Some(Err(errno)) = self.record.map(|record| record.add(phase)) {
            let text = format!("a phase could not be written down: {}", errno.desc());
            reporter.log(Level::Error, &text);
        }
    }
}

/// Runs the epilogue to its end and ends what it leaves behind.
pub fn run(
    root: &Root,
    events: &mut EventWait<'_>,
    context: &EpilogueContext<'_>,
    reporter: &dyn Reporter,
) -> (EpilogueResult, Duration) {
    // The clock runs before there is anything to be timed.
    let start = Instant::now();
    let not_started = |why: &str| {
        let (number, at) = (context.attempt, now());
        context.note(
            &Phase::Failed { number, at, why: why.to_owned(), within: context.within },
            reporter,
        );
        reporter.log(Level::Error, &format!("the epilogue was not started: {why}"));
        (EpilogueResult::NotStarted, start.elapsed())
    };
    let program = match open(context.epilogue) {
        Ok(program) => program,
        Err(stop) => return not_started(stop.detail.as_deref().unwrap_or(&stop.sentence)),
    };
    let exposed = leave_foreign(root, context.safe, reporter).is_none();
    // The caller may have filled the limit on processes that this one is under, too.
    let until = start + context.epilogue.timeout;
    let (pid, child, mut output) = loop {
        match launch(root, context, &program, reporter) {
            Ok(started) => break started,
            Err(Errno::EAGAIN | Errno::ENOMEM) if Instant::now() < until && !*events.hurry => {
                events.wait(&[], Instant::now() + RETRY);
            }
            Err(errno) => return not_started(errno.desc()),
        }
    };
    drop(program);
    let seen = (context, start, exposed, reporter);
    let End { result, owed } = watch(root, events, (pid, &child, &mut output), seen);
    let mut spared = context.spared.clone();
    if descendants::reap(pid).is_none() {
        reporter.log(Level::Error, "the epilogue cannot be killed; the run ends without its end");
        spared.asides.extend(process::own_birth(pid).ok());
    }
    stragglers::clear(root, events, &spared, None, context.graces);
    output.finish(reporter);
    match owed {
        Some(why) if result == EpilogueResult::NotStarted => not_started(&why),
        Some(why) => {
            reporter.log(Level::Error, &format!("the epilogue is owed: {why}"));
            let (number, at) = (context.attempt, now());
            context.note(&Phase::Failed { number, at, why, within: context.within }, reporter);
            (result, start.elapsed())
        }
        None => {
            let (word, code) = (result.word().to_owned(), result.number());
            context.note(&Phase::Done { result: word, code }, reporter);
            (result, start.elapsed())
        }
    }
}
