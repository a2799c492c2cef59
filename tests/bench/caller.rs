//! The caller: a process of its own in the site that starts what it is told to and times it, so
//! that nothing of the harness is in the numbers.

use anyhow::{Context as _, Result, bail, ensure};
use harness::raw::{self, Block};
use harness::{Site, accounts};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, chdir, pipe2, setsid};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

/// The code of what could not even be started.
const NOT_STARTED: u64 = 1000;
/// How long a few launches may take, in milliseconds, before they count as hung.
const PATIENCE: u16 = 20_000;

/// One line to run: its words, laid out before anything is timed.
#[derive(Debug)]
struct Command {
    path: CString,
    argv: Block,
}

/// One launch: how long it took, and the exit code, 128+n for signal n.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch {
    pub(crate) nanoseconds: u64,
    pub(crate) code: u64,
}

/// The process, and the pipes to it and from it.
#[derive(Debug)]
pub(crate) struct Caller {
    pid: Pid,
    orders: File,
    answers: File,
}

impl Caller {
    /// Starts it as `pilot`; `lines` are what it can be told to run.
    pub(crate) fn start(site: &Site, lines: &[Vec<String>]) -> Result<Self> {
        let commands = lines.iter().map(|line| Command::new(line)).collect::<Result<Vec<_>>>()?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let (orders, tell) = pipe2(OFlag::O_CLOEXEC)?;
        let (hear, answers) = pipe2(OFlag::O_CLOEXEC)?;
        // The child's ends go into the closure, and are closed here with it.
        let pid = raw::fork(|| {
            [&tell, &hear].into_iter().for_each(|end| raw::close(end.as_raw_fd()));
            match become_caller(site, &null) {
                Ok(()) => obey(&commands, orders, answers),
                Err(errno) => errno as i32,
            }
        })?;
        Ok(Self { pid, orders: File::from(tell), answers: File::from(hear) })
    }

    /// Runs one of the lines this many times.
    pub(crate) fn launch(&mut self, line: usize, times: u32) -> Result<Vec<Launch>> {
        let order = [u32::try_from(line)?, times].map(u32::to_le_bytes);
        self.orders.write_all(order.as_flattened()).context("the caller is gone")?;
        let mut ready = [PollFd::new(self.answers.as_fd(), PollFlags::POLLIN)];
        ensure!(poll(&mut ready, PollTimeout::from(PATIENCE))? == 1, "it hung");
        let mut launches = Vec::new();
        for _ in 0..times {
            let (mut nanoseconds, mut code) = ([0; 8], [0; 8]);
            self.answers.read_exact(&mut nanoseconds).context("the caller is gone")?;
            self.answers.read_exact(&mut code).context("the caller is gone")?;
            let nanoseconds = u64::from_le_bytes(nanoseconds);
            launches.push(Launch { nanoseconds, code: u64::from_le_bytes(code) });
        }
        Ok(launches)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

impl Command {
    fn new(line: &[String]) -> Result<Self> {
        let words: Vec<CString> =
            line.iter().map(|word| CString::new(word.as_str())).collect::<Result<_, _>>()?;
        let Some(path) = words.first().cloned() else { bail!("a line without a program") };
        Ok(Self { path, argv: Block::new(words) })
    }

    fn run(&self, environment: &Block) -> Launch {
        let begin = raw::now_ns();
        let status =
            raw::spawn(&self.path, &self.argv, environment).and_then(|pid| waitpid(pid, None));
        let nanoseconds = raw::now_ns() - begin;
        let code = match status {
            Ok(WaitStatus::Exited(_, code)) => u64::try_from(code).unwrap_or(NOT_STARTED),
            Ok(WaitStatus::Signaled(_, signal, _)) => 128 + signal as u64,
            Ok(_) | Err(_) => NOT_STARTED,
        };
        Launch { nanoseconds, code }
    }
}

/// In the child: the site's files, the caller's ids, a batch system's plain state.
fn become_caller(site: &Site, null: &File) -> Result<(), Errno> {
    setns(site.namespace(), CloneFlags::CLONE_NEWNS)?;
    setsid()?;
    raw::end_with_exec_from(3)?;
    for number in 0..3 {
        raw::put(null.as_raw_fd(), number)?;
    }
    raw::set_mask(0);
    (1..=64).for_each(|signal| raw::set_ignored(signal, false));
    let who = accounts::named("pilot");
    raw::become_user(who.uid, who.gid, &who.groups)?;
    // After the change of ids, which clears it.
    raw::control(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64)?;
    chdir("/")
}

/// In the child, until nobody has an order any more.
fn obey(commands: &[Command], orders: OwnedFd, answers: OwnedFd) -> i32 {
    let (mut orders, mut answers) = (File::from(orders), File::from(answers));
    let environment = Block::new(vec![c"PATH=/usr/local/bin:/usr/bin:/bin".to_owned()]);
    let (mut line, mut times) = ([0; 4], [0; 4]);
    while orders.read_exact(&mut line).and_then(|()| orders.read_exact(&mut times)).is_ok() {
        let command =
            usize::try_from(u32::from_le_bytes(line)).ok().and_then(|at| commands.get(at));
        let Some(command) = command else { return 1 };
        // Told afterwards and at once: whoever reads it runs only when nothing is being timed.
        let mut told = Vec::new();
        for _ in 0..u32::from_le_bytes(times) {
            let launch = command.run(&environment);
            told.extend([launch.nanoseconds, launch.code].map(u64::to_le_bytes).as_flattened());
        }
        if answers.write_all(&told).is_err() {
            return 1;
        }
    }
    0
}
