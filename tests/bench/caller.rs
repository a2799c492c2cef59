//! The caller: a process of its own in the site that starts what it is told to and times it, so
//! that nothing of the harness is in the numbers.

use anyhow::{Context as _, Result, bail, ensure};
use harness::raw::{self, Block};
use harness::{Site, become_caller};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike as _;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

/// The code of what could not even be started.
pub(crate) const NOT_STARTED: u64 = 1000;
/// How long what is ordered at once may take, in milliseconds, before it counts as hung.
const PATIENCE: u16 = 60_000;
/// What every launch begins with, besides what its line has.
const PATH: &str = "PATH=/usr/local/bin:/usr/bin:/bin";
/// An answer's size on the wire.
const ANSWER: usize = 4 * size_of::<u64>();

/// One line to run: its words, and variables besides PATH.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    pub(crate) words: Vec<String>,
    pub(crate) variables: Vec<String>,
}

impl Line {
    /// A line with no variables but PATH.
    pub(crate) fn of(words: Vec<String>) -> Self {
        Self { words, variables: Vec::new() }
    }
}

/// The same, laid out before anything is timed.
#[derive(Debug)]
struct Command {
    path: CString,
    argv: Block,
    environment: Block,
}

/// One launch, or several that were started at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch {
    /// From its start until it was waited for.
    pub(crate) nanoseconds: u64,
    /// The exit code, 128+n for signal n; of several the last that is not 0.
    pub(crate) code: u64,
    /// Microseconds of the processors, user's and system's, of every process that was waited for,
    /// by the caller or by who was.
    pub(crate) cpu: u64,
    /// Page faults of the same processes that read nothing from a disk.
    pub(crate) faults: u64,
}

/// The process, and the pipes to it and from it.
#[derive(Debug)]
pub(crate) struct Caller {
    pid: Pid,
    orders: File,
    answers: File,
}

impl Caller {
    /// Starts it as `who`; `lines` are what it can be told to run.
    pub(crate) fn start(site: &Site, who: &str, lines: &[Line]) -> Result<Self> {
        let commands = lines.iter().map(Command::new).collect::<Result<Vec<_>>>()?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let (orders, tell) = pipe2(OFlag::O_CLOEXEC)?;
        let (hear, answers) = pipe2(OFlag::O_CLOEXEC)?;
        // The child's ends go into the closure, and are closed here with it.
        let pid = raw::fork(|| {
            [&tell, &hear].into_iter().for_each(|end| raw::close(end.as_raw_fd()));
            match become_caller(site, who, &null) {
                Ok(()) => obey(&commands, orders, answers),
                Err(errno) => errno as i32,
            }
        })?;
        Ok(Self { pid, orders: File::from(tell), answers: File::from(hear) })
    }

    /// Runs one of the lines this many times, one after the other.
    pub(crate) fn launch(&mut self, line: usize, times: u32) -> Result<Vec<Launch>> {
        self.order([u32::try_from(line)?, times, 0])?;
        (0..times).map(|_| self.answer()).collect()
    }

    /// Starts one of the lines this many times at once, and waits for all: one answer.
    pub(crate) fn launch_at_once(&mut self, line: usize, times: u32) -> Result<Launch> {
        self.order([u32::try_from(line)?, times, 1])?;
        self.answer()
    }

    fn order(&mut self, order: [u32; 3]) -> Result<()> {
        let bytes = order.map(u32::to_le_bytes);
        self.orders.write_all(bytes.as_flattened()).context("the caller is gone")?;
        let mut ready = [PollFd::new(self.answers.as_fd(), PollFlags::POLLIN)];
        ensure!(poll(&mut ready, PollTimeout::from(PATIENCE))? == 1, "it hung");
        Ok(())
    }

    fn answer(&mut self) -> Result<Launch> {
        let mut bytes = [0; ANSWER];
        self.answers.read_exact(&mut bytes).context("the caller is gone")?;
        let mut words = bytes.chunks_exact(size_of::<u64>()).map(|word| {
            word.try_into().map(u64::from_le_bytes).context("a word of the caller's answer")
        });
        let mut next = || words.next().unwrap_or_else(|| bail!("the caller's answer is short"));
        Ok(Launch { nanoseconds: next()?, code: next()?, cpu: next()?, faults: next()? })
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

impl Command {
    fn new(line: &Line) -> Result<Self> {
        let text = |words: &[String]| {
            words.iter().map(|word| CString::new(word.as_str())).collect::<Result<Vec<_>, _>>()
        };
        let words = text(&line.words)?;
        let Some(path) = words.first().cloned() else { bail!("a line without a program") };
        let mut variables = vec![CString::new(PATH)?];
        variables.extend(text(&line.variables)?);
        Ok(Self { path, argv: Block::new(words), environment: Block::new(variables) })
    }

    /// Several at once; one is a launch. What the kernel has counted for the children is read
    /// before and after, outside what is timed.
    fn run(&self, times: u32) -> Launch {
        let nothing = Launch { nanoseconds: 0, code: NOT_STARTED, cpu: 0, faults: 0 };
        let Ok(before) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return nothing };
        let begin = raw::now_ns();
        let start = |_| raw::spawn(&self.path, &self.argv, &self.environment);
        let started: Vec<_> = (0..times).map(start).collect();
        let ends = started.into_iter().map(|pid| code_of(pid.and_then(|pid| waitpid(pid, None))));
        let code = ends.fold(0, |code, next| if next == 0 { code } else { next });
        let nanoseconds = raw::now_ns() - begin;
        let Ok(after) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return nothing };
        let more = |of: fn(&Usage) -> i64| u64::try_from(of(&after) - of(&before)).unwrap_or(0);
        let cpu = more(|used| (used.user_time() + used.system_time()).num_microseconds());
        Launch { nanoseconds, code, cpu, faults: more(Usage::minor_page_faults) }
    }
}

fn code_of(status: Result<WaitStatus, Errno>) -> u64 {
    match status {
        Ok(WaitStatus::Exited(_, code)) => u64::try_from(code).unwrap_or(NOT_STARTED),
        Ok(WaitStatus::Signaled(_, signal, _)) => 128 + signal as u64,
        Ok(_) | Err(_) => NOT_STARTED,
    }
}

/// In the child, until nobody has an order any more.
fn obey(commands: &[Command], orders: OwnedFd, answers: OwnedFd) -> i32 {
    let (mut orders, mut answers) = (File::from(orders), File::from(answers));
    let mut order = [0; 3 * size_of::<u32>()];
    while orders.read_exact(&mut order).is_ok() {
        let words: Vec<u32> = order
            .chunks_exact(size_of::<u32>())
            .filter_map(|word| word.try_into().ok().map(u32::from_le_bytes))
            .collect();
        let [line, times, at_once] = words[..] else { return 1 };
        let command = usize::try_from(line).ok().and_then(|at| commands.get(at));
        let Some(command) = command else { return 1 };
        let (turns, each) = if at_once == 1 { (1, times) } else { (times, 1) };
        // Told afterwards and at once: whoever reads it runs only when nothing is being timed.
        let mut told = Vec::new();
        for _ in 0..turns {
            let Launch { nanoseconds, code, cpu, faults } = command.run(each);
            told.extend([nanoseconds, code, cpu, faults].map(u64::to_le_bytes).as_flattened());
        }
        if answers.write_all(&told).is_err() {
            return 1;
        }
    }
    0
}
