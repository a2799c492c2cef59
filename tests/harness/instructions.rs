//! How many instructions of its own a launch is, without the kernel's: counted one by one, since a
//! virtual machine often has no counter for them.

use crate::caller::become_caller;
use crate::raw::{self, Block};
use crate::site::Site;
use anyhow::{Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, CpuSet, sched_getcpu, sched_setaffinity, setns};
use nix::sys::ptrace::{self, Options};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2};
use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;

/// Told in place of a count where the launch did not end well.
const FAILED: [u64; 2] = [u64::MAX; 2];

/// What is counted at most: each instruction costs several microseconds, and of some peers there
/// are many millions.
pub const MOST: u64 = 1_000_000;

/// What was counted of one launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The instructions of every process of a launch, payload and epilogue left out. An instruction
    /// that repeats itself (`rep movs`) is one, as a processor's own counter has it. [`MOST`]
    /// stands for more.
    pub instructions: u64,
    /// The page faults that needed no disk, payload's and epilogue's among them.
    pub faults: u64,
}

/// What a launch by this account takes; the programs of these paths are left alone. `None` where
/// this program does not know the processor's registers.
///
/// # Errors
/// Where the launch does not end well.
pub fn count(
    site: &Site,
    who: &str,
    words: &[String],
    left_alone: &[&str],
) -> Result<Option<Counted>> {
    if !cfg!(target_arch = "x86_64") {
        return Ok(None);
    }
    let (answer, tell) = pipe2(OFlag::O_CLOEXEC)?;
    // A process of its own, which waits for whatever it traces and for nothing else of ours.
    let tracer = raw::fork(|| {
        raw::close(answer.as_raw_fd());
        let told = trace(site, who, words, left_alone).unwrap_or(FAILED);
        i32::from(File::from(tell).write_all(told.map(u64::to_le_bytes).as_flattened()).is_err())
    })?;
    let mut bytes = [[0; size_of::<u64>()]; 2];
    let read = File::from(answer).read_exact(bytes.as_flattened_mut());
    waitpid(tracer, None)?;
    read?;
    let told = bytes.map(u64::from_le_bytes);
    ensure!(told != FAILED, "{words:?} does not launch, one instruction at a time");
    let [instructions, faults] = told;
    Ok(Some(Counted { instructions, faults }))
}

/// In the tracer, which is root: else the kernel would ignore the setuid bit of what is traced.
fn trace(site: &Site, who: &str, words: &[String], left_alone: &[&str]) -> Result<[u64; 2]> {
    let words = words.iter().map(|word| CString::new(word.as_str()));
    let words: Vec<CString> = words.collect::<Result<_, _>>()?;
    let Some(path) = words.first().cloned() else { bail!("no program") };
    let (argv, environment) = (Block::new(words), vec![c"PATH=/usr/bin:/bin".to_owned()]);
    let environment = Block::new(environment);
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let (ready, go) = pipe2(OFlag::O_CLOEXEC)?;
    // On one processor a step is a switch, and on two a message to the other.
    let mut one = CpuSet::new();
    one.set(sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &one)?;
    let first = raw::fork(|| {
        raw::close(go.as_raw_fd());
        let _ = nix::unistd::read(&ready, &mut [0]);
        match become_caller(site, who, &null) {
            Ok(()) => raw::exec(&path, &argv, &environment) as i32,
            Err(errno) => errno as i32,
        }
    })?;
    let options = Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC;
    ptrace::seize(first, options)?;
    // What a process executes is then called as in the site.
    setns(site.namespace(), CloneFlags::CLONE_NEWNS)?;
    drop((ready, go));
    let counted =
        Steps { first, left_alone, begun: false, counted: 0, at: HashMap::new() }.follow()?;
    let faults = getrusage(UsageWho::RUSAGE_CHILDREN)?.minor_page_faults();
    Ok([counted, faults.try_into()?])
}

struct Steps<'l> {
    first: Pid,
    left_alone: &'l [&'l str],
    /// Whether the first process has executed the peer.
    begun: bool,
    counted: u64,
    /// Where each process was.
    at: HashMap<Pid, u64>,
}

impl Steps<'_> {
    /// Until the first process has ended.
    fn follow(mut self) -> Result<u64> {
        loop {
            match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.first => {
                    ensure!(code == 0, "it exits {code}");
                    return Ok(self.counted);
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.first => {
                    bail!("it dies of {signal}");
                }
                Ok(WaitStatus::Stopped(pid, Signal::SIGTRAP)) => {
                    self.count(pid);
                    self.go_on(pid, None);
                }
                Ok(WaitStatus::Stopped(pid, signal)) => self.go_on(pid, Some(signal)),
                Ok(WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC)) => self.executes(pid),
                Ok(WaitStatus::PtraceEvent(pid, ..)) => self.go_on(pid, None),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => bail!("{error}"),
            }
        }
    }

    fn go_on(&self, pid: Pid, signal: Option<Signal>) {
        // It may have been killed in the meantime.
        let counting = self.begun && self.counted < MOST;
        let _ = if counting { ptrace::step(pid, signal) } else { ptrace::cont(pid, signal) };
    }

    fn count(&mut self, pid: Pid) {
        let Some(now) = address(pid) else { return };
        if self.at.insert(pid, now) != Some(now) {
            self.counted += 1;
        }
    }

    fn executes(&mut self, pid: Pid) {
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        if program.to_str().is_some_and(|path| self.left_alone.contains(&path)) {
            let _ = ptrace::detach(pid, None);
            return;
        }
        self.begun = true;
        self.go_on(pid, None);
    }
}

/// Where the next instruction of a process is.
#[cfg(target_arch = "x86_64")]
fn address(pid: Pid) -> Option<u64> {
    ptrace::getregs(pid).ok().map(|registers| registers.rip)
}

#[cfg(not(target_arch = "x86_64"))]
fn address(_: Pid) -> Option<u64> {
    None
}
