//! Standing in front of a run: the process that the scheduler started holds glexec's control and
//! status descriptors, passes signals on, and watches its own parent. That it dies with its
//! container costs nothing: glexec sees the control descriptor's end and takes it from there.

use crate::wait_signals;
use contract::{
    ADMIN_MUST_ACT, COLLISION, Ending, EpilogueResult, Invocation, Mode, Outcome, Record,
    order_line, variables,
};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getppid, pipe2, read, write};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use system::kernel::exit_now;
use system::signal_info::{SIGNAL_INFO, Signal};

/// Asked of the kernel for the parent's death; no scheduler sends it, and it is not passed on.
const PARENT_DIED: u8 = libc_number(nix::sys::signal::Signal::SIGIO);
const SIGCHLD: u8 = libc_number(nix::sys::signal::Signal::SIGCHLD);
/// How long the status stream may outlive glexec.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// More than this of one line is no record.
const LONGEST_RECORD: usize = 64 * 1024;

const fn libc_number(signal: nix::sys::signal::Signal) -> u8 {
    // Signals are 1 to 64.
    (signal as i32).to_le_bytes()[0]
}

/// For how long somebody wants to know a run's end. Afterwards the run is ended: nobody would fetch it.
#[derive(Debug)]
pub enum Lifetime {
    /// Until the parent of this process dies.
    Parent,
    /// Until this descriptor can be read or has hung up, such as a pidfd of another process.
    Descriptor(OwnedFd),
    /// For as long as this process lives.
    Own,
}

/// A run to be held.
#[derive(Debug)]
pub struct Hold<'a> {
    /// glexec, by its absolute path.
    pub program: &'a Path,
    /// The command; descriptors for status and control are added.
    pub words: Vec<OsString>,
    /// The payload's standard input where it is not this process's.
    pub input: Option<OwnedFd>,
    /// Descriptors of this process that the payload gets, above 2; what is not an
    /// open pipe or socket is left out.
    pub keep: Vec<RawFd>,
    /// Variables that glexec gets besides those of this process.
    pub set: Vec<(OsString, OsString)>,
    /// Variables that it does not get.
    pub unset: Vec<OsString>,
    /// When to end the run.
    pub lifetime: Lifetime,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Held {
    /// The status stream, in order.
    pub records: Vec<Record>,
    /// How glexec itself ended; `None` where nobody saw it.
    pub glexec: Option<Ending>,
    /// Whether its [`Lifetime`] was over before it had ended.
    pub orphaned: bool,
}

impl Hold<'_> {
    /// Starts glexec and stays until it has ended. From here on this process has no signal
    /// dispositions of its own: end it with [`end_as`] or by returning from main.
    ///
    /// # Errors
    /// Where glexec could not be started; nothing has run then.
    pub fn run(self) -> io::Result<Held> {
        // Before anything of ours is open: a variable may name a descriptor that is long gone, and
        // whose number would be ours then.
        let mut keep: Vec<RawFd> = self.keep.into_iter().filter(|fd| is_open(*fd)).collect();
        keep.sort_unstable();
        keep.dedup();
        let parent = getppid();
        let signals = wait_signals::listen()?;
        let (parent, other) = match self.lifetime {
            Lifetime::Parent => {
                wait_signals::tell_of_parents_death(PARENT_DIED)?;
                (Some(parent), None)
            }
            Lifetime::Descriptor(other) => (None, Some(other)),
            Lifetime::Own => (None, None),
        };
        let (control_of_glexec, control) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let (status, status_of_glexec) = pipe2(OFlag::O_CLOEXEC)?;
        for theirs in [control_of_glexec.as_raw_fd(), status_of_glexec.as_raw_fd()]
            .into_iter()
            .chain(keep.iter().copied())
        {
            inherit(theirs)?;
        }
        let invocation = Invocation {
            status_fd: Some(status_of_glexec.as_raw_fd()),
            control_fd: Some(control_of_glexec.as_raw_fd()),
            keep_fds: keep,
            ..Invocation::run(self.words)
        };
        // Signals stay blocked in the child up to its exec; glexec itself begins with none.
        #[expect(clippy::disallowed_methods, reason = "an absolute path, and no rights to lose")]
        let mut command = Command::new(self.program);
        for name in &self.unset {
            command.env_remove(name);
        }
        if let Some(input) = self.input {
            command.stdin(input);
        }
        let child = command.args(invocation.build()).envs(stack()).envs(self.set).spawn()?;
        drop(command);
        drop((control_of_glexec, status_of_glexec));
        let pid = wait_signals::pid_of(&child);
        let stream = Stream { status: Some(status), ..Stream::default() };
        let held = Held::default();
        let mut watch = Watch { pid, parent, other, control: Some(control), stream, held };
        watch.parent_may_be_gone();
        watch.follow(&signals)?;
        Ok(Held { records: watch.stream.records, ..watch.held })
    }
}

/// This process's stack limit, where the kernel would lower it at glexec's exec.
fn stack() -> Option<(&'static str, String)> {
    /// `_STK_LIM` (linux/resource.h).
    const MOST: rlim_t = 8 << 20;
    let (soft, _) = getrlimit(Resource::RLIMIT_STACK).ok().filter(|(soft, _)| *soft > MOST)?;
    let said =
        if soft == RLIM_INFINITY { variables::UNLIMITED.to_owned() } else { soft.to_string() };
    Some((variables::STACK_LIMIT, said))
}

/// Asks glexec, as whoever this process is and with these variables, what a run would do: its
/// records, or none where it has not answered within `limit`. What it prints goes nowhere.
///
/// # Errors
/// Where it cannot be started.
pub fn rehearse(
    program: &Path,
    set: Vec<(OsString, OsString)>,
    limit: Duration,
) -> io::Result<Vec<Record>> {
    // Any command that every target may execute: it is looked up and not run.
    let invocation = Invocation { mode: Mode::Rehearse, ..Invocation::run(["true"]) };
    read_records(program, invocation, set, limit)
}

/// The records of a call that runs no payload; what it prints goes nowhere.
pub(super) fn read_records(
    program: &Path,
    invocation: Invocation,
    set: Vec<(OsString, OsString)>,
    limit: Duration,
) -> io::Result<Vec<Record>> {
    let (status, theirs) = pipe2(OFlag::O_CLOEXEC)?;
    inherit(theirs.as_raw_fd())?;
    let invocation = Invocation { status_fd: Some(theirs.as_raw_fd()), ..invocation };
    #[expect(clippy::disallowed_methods, reason = "an absolute path, and no rights to lose")]
    let mut command = Command::new(program);
    command.args(invocation.build()).envs(set).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.stderr(Stdio::null()).spawn()?;
    drop(theirs);
    let until = Instant::now() + limit;
    let mut stream = Stream { status: Some(status), ..Stream::default() };
    while let Some(file) = &stream.status {
        let mut told = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        match poll(&mut told, left(until)) {
            // Who is immune by now finishes alone: nobody waits for it.
            Ok(0) => {
                return match child.kill() {
                    Ok(()) => child.wait().map(|_| stream.records),
                    Err(_) => Ok(stream.records),
                };
            }
            Ok(_) => stream.read(),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    child.wait()?;
    Ok(stream.records)
}

fn left(until: Instant) -> PollTimeout {
    let left = until.saturating_duration_since(Instant::now());
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}

/// An open pipe or socket above 2: what glexec takes.
fn is_open(fd: RawFd) -> bool {
    let kind = |stat: nix::sys::stat::FileStat| {
        SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
    };
    let stat = (fd > 2).then(|| fstat(system::kernel::borrow(fd)));
    stat.and_then(Result::ok)
        .is_some_and(|stat| [SFlag::S_IFIFO, SFlag::S_IFSOCK].contains(&kind(stat)))
}

/// Lets a descriptor pass the exec.
fn inherit(fd: RawFd) -> io::Result<()> {
    let fd = system::kernel::borrow(fd);
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

struct Watch {
    pid: Pid,
    /// Whose death ends the run.
    parent: Option<Pid>,
    /// What ends the run by being readable.
    other: Option<OwnedFd>,
    control: Option<OwnedFd>,
    stream: Stream,
    held: Held,
}

impl Watch {
    /// Until glexec has ended and its status stream, too.
    fn follow(&mut self, signals: &OwnedFd) -> io::Result<()> {
        let mut deadline: Option<Instant> = None;
        while deadline.is_none() || self.stream.status.is_some() {
            if deadline.is_some_and(|at| at <= Instant::now()) {
                break;
            }
            let timeout = deadline.map_or(PollTimeout::NONE, left);
            let heard = PollFd::new(signals.as_fd(), PollFlags::POLLIN);
            let readable = |file: &OwnedFd| {
                let mut now = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
                poll(&mut now, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
            };
            let more = [self.stream.status.as_ref(), self.other.as_ref()].into_iter().flatten();
            let more = more.map(|file| PollFd::new(file.as_fd(), PollFlags::POLLIN));
            let mut all: Vec<PollFd<'_>> = std::iter::once(heard).chain(more).collect();
            match poll(&mut all, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            drop(all);
            if self.stream.status.as_ref().is_some_and(readable) {
                self.stream.read();
            }
            if self.other.as_ref().is_some_and(readable) {
                self.other = None;
                self.is_over();
            }
            if self.hear(signals) && deadline.is_none() {
                deadline = Some(Instant::now() + LAST_WORDS);
            }
        }
        Ok(())
    }

    /// Everything that has arrived; true once glexec has ended.
    fn hear(&mut self, signals: &OwnedFd) -> bool {
        let mut ended = false;
        let mut info = [0u8; SIGNAL_INFO];
        while read(signals, &mut info) == Ok(SIGNAL_INFO) {
            let Some(signal) = Signal::read(&info) else { continue };
            match signal.number {
                SIGCHLD => ended |= self.reap(),
                PARENT_DIED => self.parent_may_be_gone(),
                number => self.pass_on(number),
            }
        }
        ended
    }

    fn reap(&mut self) -> bool {
        match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => {
                self.held.glexec = u8::try_from(code & 0xff).ok().map(Ending::Exited);
                true
            }
            Ok(WaitStatus::Signaled(_, signal, core)) => {
                self.held.glexec = Some(Ending::Killed { signal: libc_number(signal), core });
                true
            }
            Err(Errno::ECHILD) => true,
            Ok(_) | Err(_) => false,
        }
    }

    /// A batch shell that is gone takes the run along: nobody would fetch its end.
    fn parent_may_be_gone(&mut self) {
        if self.parent.is_some_and(|parent| getppid() != parent) {
            self.is_over();
        }
    }

    fn is_over(&mut self) {
        self.held.orphaned = true;
        self.control = None;
    }

    /// A pipe that is full or broken has no reader that would obey.
    fn pass_on(&self, signal: u8) {
        if let (Some(control), Some(word)) = (&self.control, order_line(signal)) {
            let _ = write(control, format!("{word}\n").as_bytes());
        }
    }
}

/// The status stream, read as it comes.
#[derive(Default)]
struct Stream {
    status: Option<OwnedFd>,
    partial: Vec<u8>,
    records: Vec<Record>,
}

impl Stream {
    /// Reads once; at the end the descriptor is gone.
    fn read(&mut self) {
        let mut some = [0u8; 4096];
        let length = self.status.as_ref().map_or(Ok(0), |status| read(status, &mut some));
        match length {
            Ok(0) | Err(_) => self.status = None,
            Ok(length) => self.partial.extend(some.iter().take(length)),
        }
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line);
            self.records.extend(Record::parse(text.trim_end()).ok());
        }
        if self.partial.len() > LONGEST_RECORD {
            self.partial.clear();
        }
    }
}

impl Held {
    /// How the payload ended; `None` where it did not run, or nobody saw it end.
    #[must_use]
    pub fn payload(&self) -> Option<Ending> {
        self.records.iter().find_map(|record| {
            let Record::Payload { code, signal, core_dumped, result, .. } = record else {
                return None;
            };
            let killed = signal.map(|signal| Ending::Killed { signal, core: *core_dumped });
            killed.or(code.map(Ending::Exited)).filter(|_| result != "not-started")
        })
    }

    /// How the epilogue ended; `None` where there was none.
    #[must_use]
    pub fn epilogue(&self) -> Option<EpilogueResult> {
        self.records.iter().find_map(|record| {
            let Record::Epilogue { result, code, .. } = record else { return None };
            EpilogueResult::read(result, *code)
        })
    }

    /// The epilogue's failure where it is the run's, too: with `epilogue_failure = "report"` glexec's
    /// own code is what it is without an epilogue.
    #[must_use]
    pub fn failed_epilogue(&self) -> Option<EpilogueResult> {
        let failed = self.epilogue().filter(|result| *result != EpilogueResult::Ok)?;
        let without = Outcome::of_run(self.payload()?, None).exit_code();
        match self.glexec {
            Some(Ending::Exited(code @ (ADMIN_MUST_ACT | COLLISION))) if code != without => {
                Some(failed)
            }
            Some(_) | None => None,
        }
    }

    /// Why nothing was run: code, reason word, sentence.
    #[must_use]
    pub fn refused(&self) -> Option<(u8, &str, &str)> {
        self.records.iter().find_map(|record| {
            let Record::Refused { code, reason, sentence } = record else { return None };
            Some((*code, reason.as_str(), sentence.as_str()))
        })
    }

    /// Who the payload ran as.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.records.iter().find_map(|record| {
            let Record::Started { target, .. } = record else { return None };
            Some(target.as_str())
        })
    }
}

/// Ends this process as another has ended: with its exit code, or by its signal and without a
/// core of its own.
pub fn end_as(ending: Ending) -> ! {
    match ending {
        Ending::Exited(code) => exit_now(code),
        Ending::Killed { signal, .. } => wait_signals::die_of(signal),
    }
}
