//! The epilogue: found trustworthy, started, watched to its end, and swept up after.

use super::cgroups::Mounts;
use super::clean;
use super::descendants::{self, Exempt};
use super::exec_status::{self, Failure, StatusWriter, Step, Verdict};
use super::helper;
use super::identity::{Identity, assume};
use super::keyring;
use super::launch::leave_foreign;
use super::output::Output;
use super::payload::die_with;
use super::program::{self, Program};
use super::root::Root;
use super::state::RunRecord;
use super::stragglers::{self, EventWait, Graces, UNKILLABLE};
use super::supervisor::now;
use contract::{Ending, EpilogueResult, Reason};
use decide::config::EpilogueOutput;
use decide::deadline::{Away, Deadline};
use decide::entry::Phase;
use decide::epilogue_environment::EpilogueIdentity;
use decide::plan::Epilogue;
use decide::program::found_by_env;
use decide::refusal::Refusal;
use decide::reporter::{Level, Reporter};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, stat};
use nix::unistd::{AccessFlags, Pid, access, pipe2};
use std::cell::OnceCell;
use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};
use system::kernel::{self, Block, Side};
use system::process;
use system::secure_open::Untrusted;
use system::text::escaped;

/// Between two looks whether it is frozen.
const LOOK: Duration = Duration::from_millis(500);
/// Between two tries to start it.
const RETRY: Duration = Duration::from_millis(100);

/// Opens the epilogue and says whether it can be trusted and started, as it is now.
///
/// # Errors
/// [`Reason::EpilogueUntrusted`], with file or directory for the log.
pub fn open(_root: &Root, epilogue: &Epilogue) -> Result<Program, Refusal> {
    program::open(&epilogue.path, &epilogue.identity.trust).map_err(|untrusted| {
        let cure = match untrusted {
            Untrusted::Changeable(..) => {
                "; nobody but root, epilogue_user and members of epilogue_group may be able to change it or a directory above it"
            }
            Untrusted::Missing(_) => "; install it, or correct the name",
            Untrusted::Exhausted(_) | Untrusted::Because(_) => "",
        };
        let detail = format!("epilogue: {}{cure}", untrusted.clause());
        Refusal::configuration(Reason::EpilogueUntrusted, detail)
    })
}

/// Looks for what the epilogue's first line has env(1) look for, along this PATH. To be asked where
/// the directories are root's: who looks could be held up in another's.
///
/// # Errors
/// [`Reason::EpilogueUntrusted`], as of an interpreter that is missing.
pub fn finds_its_interpreter(
    _root: &Root,
    (epilogue, program): (&str, &Program),
    path: &str,
) -> Result<(), Refusal> {
    let Some(name) = found_by_env(&program.head) else { return Ok(()) };
    let is_there = |file: &str| {
        stat(file).is_ok_and(|found| {
            found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits()
                && found.st_mode & 0o111 != 0
        })
    };
    let there = if name.contains('/') {
        is_there(name)
    } else {
        path.split(':').any(|directory| is_there(&format!("{directory}/{name}")))
    };
    if there {
        return Ok(());
    }
    let detail = format!(
        "epilogue: {epilogue} is started by env, which finds no '{}' in {path}; install it, or name the interpreter by its path",
        escaped(name.as_bytes())
    );
    Err(Refusal::configuration(Reason::EpilogueUntrusted, detail))
}

/// Has a child take the epilogue's identity for good and look whether it can start it: what is
/// wrong there is the site's fault, to be known before work is lost. Root needs no trial.
///
/// # Errors
/// [`Reason::EpilogueIdentity`], with the step that failed for the log.
pub fn try_identity(root: &Root, epilogue: &Epilogue, program: &Program) -> Result<(), Refusal> {
    /// For a child that makes a few system calls, on a machine that is very busy.
    const PATIENCE: Duration = Duration::from_secs(20);
    let identity = &epilogue.identity;
    let (uid, gid) = (identity.account.uid, identity.gid);
    if uid.is_root() && gid.as_raw() == 0 {
        return Ok(());
    }
    let refuse = |why: &str| {
        let detail = format!(
            "epilogue_user and epilogue_group: uid {uid} with gid {gid} cannot run {}: {why}; give the epilogue another identity, or correct its permissions",
            epilogue.path
        );
        Refusal::configuration(Reason::EpilogueIdentity, detail)
    };
    let (reader, writer) = exec_status::pair().map_err(|e| refuse(e.desc()))?;
    match kernel::fork().map_err(|e| refuse(e.desc()))? {
        Side::Child => {
            let tried = assume(root, &as_planned(identity));
            match tried.and_then(|()| can_be_started(&epilogue.path, program)) {
                Ok(()) => kernel::exit_now(0),
                Err(failure) => writer.tell(failure),
            }
            kernel::exit_now(127)
        }
        Side::Parent(child) => {
            drop(writer);
            let code = helper::end(child, PATIENCE);
            match (reader.verdict(), code) {
                (Verdict::Failed(failure), _) => Err(refuse(&failure.told())),
                (_, Some(0)) => Ok(()),
                _ => Err(refuse("the process that tried it did not end by itself")),
            }
        }
    }
}

/// Whether this process may execute the epilogue and what is started for it, and read the scripts
/// among them.
fn can_be_started(path: &str, program: &Program) -> Result<(), Failure> {
    let interpreters = program.interpreters.iter().map(|used| (used.path.as_str(), used.script));
    std::iter::once((path, program.script)).chain(interpreters).try_for_each(|(path, script)| {
        let read = if script { AccessFlags::R_OK } else { AccessFlags::empty() };
        access(path, AccessFlags::X_OK | read).map_err(Failure::at(Step::Exec))
    })
}

const fn as_planned(identity: &EpilogueIdentity) -> Identity<'_> {
    Identity { uid: identity.account.uid, real: None, gid: identity.gid, groups: &[] }
}

/// What the epilogue's run needs besides itself.
#[derive(Debug)]
pub struct EpilogueContext<'a> {
    /// Who is not the payload's, and stays.
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
    let program = match open(root, context.epilogue) {
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
    let birth = process::own_birth(pid);
    let seen = (context, start, exposed, reporter);
    let End { result, owed } = watch(root, events, (pid, &child, &mut output), seen);
    let mut spared = context.spared.clone();
    if descendants::reap(pid).is_none() {
        reporter.log(Level::Error, "the epilogue cannot be killed; the run ends without its end");
        spared.asides.extend(birth.ok());
    }
    stragglers::clear(root, events, (&spared, None), context.graces);
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

fn launch(
    root: &Root,
    context: &EpilogueContext<'_>,
    program: &Program,
    reporter: &dyn Reporter,
) -> Result<(Pid, exec_status::StatusReader, Output), Errno> {
    let (reader, writer) = exec_status::pair()?;
    let (ours, theirs) = match context.epilogue.output {
        EpilogueOutput::Null => (None, None),
        EpilogueOutput::Log => {
            // Only our end must never block; the epilogue's is an ordinary pipe.
            let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
            process::make_non_blocking(&ours)?;
            (Some(ours), Some(theirs))
        }
    };
    let parent = Pid::this();
    let (latch, key) = exec_status::gate()?;
    match kernel::fork()? {
        Side::Parent(pid) => {
            if let Ok(epilogue) = process::own_birth(pid) {
                let (number, at) = (context.attempt, now());
                context.note(
                    &Phase::Attempt { number, at, epilogue, within: context.within },
                    reporter,
                );
            }
            key.turn();
            Ok((pid, reader, Output::new(ours)))
        }
        Side::Child if latch.wait(key) != exec_status::Released::Go => {
            // What was not let go has not run, and is owed.
            writer.tell(Failure { step: Step::Start, errno: Errno::ECANCELED });
            kernel::exit_now(127)
        }
        Side::Child => {
            become_epilogue(root, context, (program, theirs.as_ref()), (parent, &writer))
        }
    }
}

fn become_epilogue(
    root: &Root,
    context: &EpilogueContext<'_>,
    (program, output): (&Program, Option<&OwnedFd>),
    (parent, writer): (Pid, &StatusWriter),
) -> ! {
    let path = CString::new(context.epilogue.path.as_str()).unwrap_or_default();
    let argv = Block::new(std::iter::once(&path));
    let environment = Block::new(context.environment.iter());
    let failure = match prepare(root, context, output, parent) {
        Err(failure) => failure,
        // A script is opened by its interpreter, by name; nobody untrusted can have changed what
        // the name leads to, or the directories would not have been found trustworthy.
        Ok(()) if program.script => {
            Failure { step: Step::Exec, errno: kernel::execute(&path, &argv, &environment) }
        }
        Ok(()) => {
            let errno = kernel::execute_descriptor(program.file.as_fd(), &argv, &environment);
            Failure { step: Step::Exec, errno }
        }
    };
    writer.tell(failure);
    kernel::exit_now(127)
}

fn prepare(
    root: &Root,
    context: &EpilogueContext<'_>,
    output: Option<&OwnedFd>,
    parent: Pid,
) -> Result<(), Failure> {
    clean::start(root)?;
    let identity = as_planned(&context.epilogue.identity);
    assume(root, &identity)?;
    if !identity.uid.is_root() {
        keyring::join_own().map_err(Failure::at(Step::Keyring))?;
    }
    die_with(parent).map_err(Failure::at(Step::Parent))?;
    if let Some(output) = output {
        (1..=2)
            .try_for_each(|number| process::put(output, number))
            .map_err(Failure::at(Step::Descriptors))?;
    }
    kernel::set_disposition(libc::SIGPIPE, false);
    kernel::set_mask(0);
    Ok(())
}

/// Where the epilogue's time stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    Enough,
    Asked,
    Killed,
}

/// How an epilogue ended, and why it is owed all the same, where it is.
struct End {
    result: EpilogueResult,
    owed: Option<String>,
}

/// The epilogue's clock: it stands still while this process, or the epilogue, is frozen or stopped.
struct Clock<'w> {
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

type Child<'c> = (Pid, &'c exec_status::StatusReader, &'c mut Output);

fn watch(
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
    let (mut pending, mut not_started) = (true, None);
    loop {
        let mut others = vec![];
        others.extend(pending.then(|| reader.as_fd()));
        others.extend(pidfd.as_ref().map(|fd| fd.as_fd()));
        others.extend(output.as_fd());
        events.wait(&others, clock.deadline.next(Instant::now()));
        drop(others);
        output.drain(reporter);
        let ended = descendants::ended(pid);
        // Asked after its end, the pipe says for certain what it may not have said before.
        if pending {
            let (still, why) = heard(reader);
            pending = still && ended.is_none();
            not_started = why.or(not_started);
        }
        let over = ended.is_some() || give_up.is_some_and(|at| at <= Instant::now());
        if let Some(why) = not_started.take_if(|_| over) {
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
            Time::Enough if pending => {
                not_started = Some("its time ran out before it was executed".to_owned());
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

/// Whether a child is still on its way to its exec, and why it has not come there, where it failed.
fn heard(reader: &exec_status::StatusReader) -> (bool, Option<String>) {
    match reader.verdict() {
        Verdict::Pending => (true, None),
        Verdict::Gone => (false, None),
        Verdict::Failed(failure) => (false, Some(failure.told())),
    }
}

/// `ending` is `None` for one that cannot be killed.
fn end_of(ending: Option<Ending>, time: Time, doubt: Option<String>) -> End {
    match (ending, time, doubt) {
        (Some(ending), Time::Enough, _) => {
            let result = EpilogueResult::from(ending);
            End { result, owed: result.is_owed().then(|| "it was ended from outside".to_owned()) }
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
