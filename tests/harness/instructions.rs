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
const FAILED: [u64; 3] = [u64::MAX; 3];

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
    /// Those of them that its first process makes as root, between its first lowering of its
    /// effective uid and its exec. Of a launch that lingers as root they are no measure.
    pub as_root: u64,
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
    let mut bytes = [[0; size_of::<u64>()]; 3];
    let read = File::from(answer).read_exact(bytes.as_flattened_mut());
    waitpid(tracer, None)?;
    read?;
    let told = bytes.map(u64::from_le_bytes);
    ensure!(told != FAILED, "{words:?} does not launch, one instruction at a time");
    let [instructions, as_root, faults] = told;
    Ok(Some(Counted { instructions, as_root, faults }))
}

/// In the tracer, which is root: else the kernel would ignore the setuid bit of what is traced.
fn trace(site: &Site, who: &str, words: &[String], left_alone: &[&str]) -> Result<[u64; 3]> {
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
    let steps = Steps {
        first,
        left_alone,
        begun: false,
        counted: 0,
        raised: None,
        as_root: 0,
        at: HashMap::new(),
    };
    let [counted, as_root] = steps.follow()?;
    let faults = getrusage(UsageWho::RUSAGE_CHILDREN)?.minor_page_faults();
    Ok([counted, as_root, faults.try_into()?])
}

struct Steps<'l> {
    first: Pid,
    left_alone: &'l [&'l str],
    /// Whether the first process has executed the peer.
    begun: bool,
    counted: u64,
    /// Whether the first process is root; `None` until it first is not.
    raised: Option<bool>,
    as_root: u64,
    /// Where each process was.
    at: HashMap<Pid, u64>,
}

impl Steps<'_> {
    /// Until the first process has ended.
    fn follow(mut self) -> Result<[u64; 2]> {
        loop {
            match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.first => {
                    ensure!(code == 0, "it exits {code}");
                    return Ok([self.counted, self.as_root]);
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
        let Some((now, set)) = step(pid) else { return };
        if self.at.insert(pid, now) != Some(now) {
            self.counted += 1;
            self.as_root += u64::from(pid == self.first && self.raised == Some(true));
        }
        match set {
            Some(euid) if pid == self.first && (euid != 0 || self.raised.is_some()) => {
                self.raised = Some(euid == 0);
            }
            _ => {}
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

/// Where the next instruction of a process is, and the effective uid that the last one set.
#[cfg(target_arch = "x86_64")]
fn step(pid: Pid) -> Option<(u64, Option<u32>)> {
    /// -1 leaves it as it is.
    const AS_IT_IS: u32 = u32::MAX;
    let registers = ptrace::getregs(pid).ok()?;
    // Of an instruction that was no system call the kernel tells -1.
    let sets = registers.orig_rax == libc::SYS_setresuid as u64 && registers.rax == 0;
    let euid = u32::try_from(registers.rsi & u64::from(u32::MAX)).ok()?;
    let euid = (sets && euid != AS_IT_IS).then_some(euid);
    Some((registers.rip, euid))
}

#[cfg(not(target_arch = "x86_64"))]
fn step(_: Pid) -> Option<(u64, Option<u32>)> {
    None
}
