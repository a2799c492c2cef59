//! The first breath: what a hostile caller left in this process, before anything else is read.

use super::clean::{BOUNDS, Bound, NO_LIMIT, TIMER_SLACK_NS};
use super::root::{Privilege, Root};
use contract::Reason;
use decide::refusal::Refusal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, geteuid};
use std::ffi::{CString, OsString};
use system::kernel::{self, Limit, Resource};
use system::proc_format::Signals;
use system::process;

/// What the process was born with, as plain values.
#[derive(Debug)]
pub struct Inherited {
    /// The words after the program's name.
    pub words: Vec<OsString>,
    /// The environment, raw. The process itself has none any more.
    pub environment: Vec<CString>,
    /// What the payload gets back.
    pub restore: Restore,
    /// Set where the caller's limits are too low and may not be raised.
    pub trouble: Option<Refusal>,
    /// The right to be root, or why there is none.
    pub rights: Result<Privilege, Reason>,
}

/// The caller's settings that the payload gets back.
#[derive(Debug, Clone)]
pub struct Restore {
    pub(super) umask: Mode,
    /// Those that are not as the caller had them.
    pub(super) limits: Vec<(Resource, Limit)>,
    /// In nanoseconds, where it is not the usual one.
    pub(super) timer_slack: Option<u64>,
    /// Whether reading the processor's time stamp counter ends the process (`PR_SET_TSC`).
    pub(super) reading_time_is_fatal: bool,
}

/// Where processes are bounded and the bound cannot be raised, a clean-up that goes on as the
/// target still has to start its own.
const LEAST_PROCESSES: u64 = 32;
const CAP_KILL: u64 = 1 << 5;
const CAP_SETGID: u64 = 1 << 6;
const CAP_SETUID: u64 = 1 << 7;

/// Takes the process over from whoever started it.
///
/// # Errors
/// [`Reason::Usage`] for argc 0; [`Reason::Switch`] and [`Reason::Internal`] where the kernel
/// refuses what it never refuses.
pub fn threshold() -> Result<Inherited, Refusal> {
    // First of all: whoever asks for the time would die of SIGSEGV, with a payload that runs.
    let reading_time_is_fatal = may_read_time()?;
    quiet_signals();
    let environment = kernel::take_environment();
    let mut argv = std::env::args_os();
    if argv.next().is_none() {
        return Err(Refusal::new(Reason::Usage, "called without even a program name"));
    }
    let umask = umask(Mode::from_bits_truncate(0o077));
    own_descriptors()?;
    let limits = own_limits();
    let trouble = cannot_be_undone()?.or_else(|| limits.as_ref().err().cloned());
    let timer_slack = kernel::timer_slack().ok().filter(|slack| *slack != TIMER_SLACK_NS);
    let rights = own_rights()?;
    Ok(Inherited {
        words: argv.collect(),
        environment,
        restore: Restore {
            umask,
            limits: limits.unwrap_or_default(),
            timer_slack,
            reading_time_is_fatal,
        },
        trouble,
        rights,
    })
}

/// No timer runs, every signal is blocked, and none has a handler.
fn quiet_signals() {
    kernel::set_mask(u64::MAX);
    kernel::stop_timers();
    // One look instead of 64 calls; where it cannot be taken all of them are made.
    let unknown = Signals { set: u64::MAX, pending: u64::MAX };
    let Signals { set, pending } = process::own_signals().unwrap_or(unknown);
    for signal in 1..=kernel::LAST_SIGNAL {
        let is_in = |set: u64| set & (1 << (signal - 1)) != 0;
        // Ignoring throws away what is pending: an alarm of the caller's that has just run out.
        let late =
            [libc::SIGALRM, libc::SIGVTALRM, libc::SIGPROF].contains(&signal) && is_in(pending);
        if late {
            kernel::set_disposition(signal, true);
        }
        if late || is_in(set) || signal == libc::SIGPIPE {
            kernel::set_disposition(signal, signal == libc::SIGPIPE);
        }
    }
}

/// The start of a program that only root's own process executes, once it is out of everybody's reach
/// ([`super::apart`]): it is looked at whether it is. `answer_as` are the uid and gid that it gives
/// its rights up for in the end.
///
/// # Errors
/// [`Reason::Switch`] where an id is not root's, or 0 to 2 are not /dev/null; [`Reason::Internal`].
pub fn of_root_alone(answer_as: (Uid, Gid)) -> Result<(Privilege, Root), Refusal> {
    quiet_signals();
    own_descriptors()?;
    let closed = super::close_descriptors::found_closed().ok_or_else(|| {
        Refusal::new(Reason::Switch, "this program is started by glexec alone")
            .detail("its standard descriptors are not /dev/null")
    })?;
    Privilege::of_root_alone(answer_as, &closed)
}

/// Allows this process to read the processor's time stamp counter, by which the C library tells
/// the time. Whether that was forbidden.
fn may_read_time() -> Result<bool, Refusal> {
    // Other processors than those of x86 know no such thing.
    if kernel::reading_time_is_fatal() != Ok(true) {
        return Ok(false);
    }
    let allowed = u64::from(libc::PR_TSC_ENABLE.unsigned_abs());
    kernel::control(libc::PR_SET_TSC, allowed).map_err(|e| internal("PR_SET_TSC", e))?;
    Ok(true)
}

/// What the caller has set of this process for good, and what root's own program would have, too:
/// with `PR_SET_MDWE` (Linux 6.3) a program that makes code while it runs fails in the middle.
fn cannot_be_undone() -> Result<Option<Refusal>, Refusal> {
    use nix::errno::Errno;
    const PR_GET_MDWE: i32 = 66;
    match kernel::control(PR_GET_MDWE, 0) {
        Ok(0) | Err(Errno::EINVAL) => Ok(None),
        Ok(_) if !geteuid().is_root() => Ok(None),
        Ok(_) => {
            let sentence = "glexec is called with PR_SET_MDWE (memory-deny-write-execute), which the site's epilogue would inherit and nobody can undo";
            let stop = Refusal::new(Reason::ProcessState, sentence);
            Ok(Some(stop.hint(
                "switch it off where the job is started (systemd: MemoryDenyWriteExecute=no)",
            )))
        }
        Err(errno) => Err(internal("PR_GET_MDWE", errno)),
    }
}

/// 0 to 2 are open (the runtime sees to it before main); all others end with the next exec.
fn own_descriptors() -> Result<(), Refusal> {
    #[cfg(target_env = "gnu")]
    replace_dev_full();
    match kernel::close_on_exec_from(3) {
        Err(nix::errno::Errno::ENOSYS | nix::errno::Errno::EINVAL) => mark_one_by_one(),
        done => done.map_err(|e| internal("marking the caller's descriptors", e)),
    }
}

/// Kernels before 5.11: one fcntl for each descriptor that is open.
fn mark_one_by_one() -> Result<(), Refusal> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let open = process::open_descriptors().map_err(|e| {
        Refusal::new(Reason::NoProc, "there is no usable /proc")
            .detail(format!("/proc/self/fd: {}", e.desc()))
    })?;
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        match fcntl(kernel::borrow(fd), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)) {
            // The directory's own descriptor is on the list and gone by now.
            Ok(_) | Err(nix::errno::Errno::EBADF) => {}
            Err(errno) => return Err(internal("marking the caller's descriptors", errno)),
        }
    }
    Ok(())
}

/// glibc opens /dev/full for a closed 0 of a setuid program: one rule for every build.
#[cfg(target_env = "gnu")]
fn replace_dev_full() {
    use nix::fcntl::{OFlag, open};
    use nix::sys::stat::{fstat, makedev};
    for fd in 0..=2 {
        let is_full = fstat(kernel::borrow(fd)).is_ok_and(|s| s.st_rdev == makedev(1, 7));
        if is_full {
            let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty());
            let _ = null.and_then(|null| system::process::put(&null, fd));
        }
    }
}

/// Limits that let this process do its work to the end. Gives what the caller had of those that are
/// others now: that comes back.
fn own_limits() -> Result<Vec<(Resource, Limit)>, Refusal> {
    let mut old = Vec::with_capacity(BOUNDS.len());
    let is_root = geteuid().is_root();
    for (resource, name, floor) in BOUNDS.iter().filter_map(|bound| floor(bound, is_root)) {
        let had = kernel::limit(resource, None).map_err(|e| internal(name, e))?;
        if had.soft >= floor {
            continue;
        }
        old.push((resource, had));
        if !raise(resource, had, floor) {
            let sentence = format!("the resource limit {name} is too low and may not be raised");
            return Err(Refusal::new(Reason::Limits, sentence)
                .hint("raise the hard limit where the job is started"));
        }
    }
    let core = kernel::limit(libc::RLIMIT_CORE, None).map_err(|e| internal("RLIMIT_CORE", e))?;
    if core.soft > 0 {
        old.push((libc::RLIMIT_CORE, core));
        let none = Limit { soft: 0, ..core };
        kernel::limit(libc::RLIMIT_CORE, Some(none)).map_err(|e| internal("RLIMIT_CORE", e))?;
    }
    Ok(old)
}

/// What this process itself cannot do without, and what root's own program could not have if the
/// caller's hard limit is lower.
fn floor(bound: &Bound, is_root: bool) -> Option<(Resource, &'static str, u64)> {
    let floor = match bound.resource {
        libc::RLIMIT_NPROC => NO_LIMIT,
        // These two bind neither this process nor, where it is not root, anybody else.
        libc::RLIMIT_MEMLOCK | libc::RLIMIT_MSGQUEUE if !is_root => return None,
        _ => bound.least?,
    };
    (floor > 0).then_some((bound.resource, bound.name, floor))
}

fn raise(resource: Resource, had: Limit, floor: u64) -> bool {
    let enough = Limit { soft: floor, hard: had.hard.max(floor) };
    if kernel::limit(resource, Some(enough)).is_ok() {
        return true;
    }
    // Root's own forks are not bound by NPROC, so its hard limit is high enough for them.
    let most = Limit { soft: had.hard, hard: had.hard };
    resource == libc::RLIMIT_NPROC
        && had.hard >= LEAST_PROCESSES
        && (had == most || kernel::limit(resource, Some(most)).is_ok())
}

/// Lowers to the caller, with root's way back; or says why this process is not root.
fn own_rights() -> Result<Result<Privilege, Reason>, Refusal> {
    let (caller, gid) = (Uid::current(), Gid::current());
    let control =
        |what: &str, option, value| kernel::control(option, value).map_err(|e| internal(what, e));
    control("PR_SET_DUMPABLE", libc::PR_SET_DUMPABLE, 0)?;
    control("PR_SET_TIMERSLACK", libc::PR_SET_TIMERSLACK, TIMER_SLACK_NS)?;
    if !geteuid().is_root() {
        return Ok(Err(why_not_root()));
    }
    // Ambient capabilities are cleared by a setuid exec; a root caller's are not.
    control("clearing the ambient capabilities", libc::PR_CAP_AMBIENT, 4)?;
    let [effective, permitted, inheritable] =
        kernel::capabilities().map_err(|e| internal("capget", e))?;
    if inheritable != 0 {
        kernel::clear_inheritable(effective, permitted).map_err(|e| internal("capset", e))?;
    }
    // Bits that would let capabilities survive the switch, from a caller that held CAP_SETPCAP.
    if control("PR_GET_SECUREBITS", libc::PR_GET_SECUREBITS, 0)? != 0 {
        control("clearing the securebits", libc::PR_SET_SECUREBITS, 0)?;
    }
    let needed = CAP_KILL | CAP_SETGID | CAP_SETUID;
    if effective & needed != needed {
        return Ok(Err(Reason::NotSetuid));
    }
    Privilege::lower(caller, gid).map(Ok)
}

fn why_not_root() -> Reason {
    use nix::sys::statvfs::{FsFlags, statvfs};
    if kernel::control(libc::PR_GET_NO_NEW_PRIVS, 0) == Ok(1) {
        return Reason::NoNewPrivs;
    }
    match system::process::in_user_namespace() {
        Ok(false) => {}
        Ok(true) => return Reason::UserNamespace,
        Err(_) => return Reason::NoProc,
    }
    match statvfs("/proc/self/exe") {
        Ok(fs) if fs.flags().contains(FsFlags::ST_NOSUID) => Reason::NosuidMount,
        _ => Reason::NotSetuid,
    }
}

fn internal(what: &str, errno: nix::errno::Errno) -> Refusal {
    Refusal::new(Reason::Internal, "glexec could not take its process over; see the log")
        .detail(format!("{what}: {}", errno.desc()))
}
