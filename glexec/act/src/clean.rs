//! The state that root's own program starts with: the epilogue, the account helper, what settles.
//! Whatever a caller can set of itself and the kernel hands on through a setuid exec, a fork and
//! an exec is here as it is under a caller who has set nothing.
//!
//! What stays is root's to set, or harmless:
//! - `no_new_privs`, seccomp filters, Landlock, namespaces, the root directory, an `IO_FLUSHER` or
//!   KSM flag where this process may not take it back: a process without privileges cannot set
//!   them and still start a setuid program, so the site has;
//! - speculation that is disabled for good: the program is slower, and leaks less;
//! - a low priority or a high standing with the OOM killer where root itself may not undo them (a
//!   container without `CAP_SYS_NICE` or `CAP_SYS_RESOURCE`): an epilogue that is killed is owed;
//! - the audit identity (loginuid), which is there to stay.
//!
//! What cannot be undone and harms is refused at the threshold: `PR_SET_MDWE`, and hard limits
//! below `Bound::least`. What exec itself clears (alternate stack, POSIX timers, robust lists,
//! syscall user dispatch, CPUID faulting, dumpable, `keep_caps`, process and thread keyring) is
//! not here.

use super::exec_status::{Failure, Step};
use super::keyring;
use super::root::Root;
use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, setsid};
use system::kernel::{self, Limit, Resource};
use system::process;

/// The timer slack of a process that never set one (`PR_SET_TIMERSLACK(2const)`).
pub(super) const TIMER_SLACK_NS: u64 = 50_000;
/// No limit (getrlimit(2), `RLIM_INFINITY`).
pub(super) const NO_LIMIT: u64 = u64::MAX;
/// What the kernel writes of a process into its core, where nobody has said otherwise (core(5)).
const COREDUMP_FILTER: &str = "0x33";
const CAP_SYS_RESOURCE: u64 = 1 << 24;

/// What root's own program may use of one resource, whatever the caller's limits are.
pub(super) struct Bound {
    pub(super) resource: Resource,
    pub(super) name: &'static str,
    /// Where this process may raise hard limits.
    full: Limit,
    /// Where it may not, soft and hard; a caller with less is refused. `None`: what the caller
    /// has, for no process of root's is bound by it.
    pub(super) least: Option<u64>,
}

const fn bound(
    (resource, name): (Resource, &'static str),
    (soft, hard): (u64, u64),
    least: Option<u64>,
) -> Bound {
    Bound { resource, name, full: Limit { soft, hard }, least }
}

const UNBOUND: (u64, u64) = (NO_LIMIT, NO_LIMIT);
const MIB: u64 = 1 << 20;
/// The kernel's own default for `RLIMIT_MSGQUEUE` (linux/mqueue.h, `MQ_BYTES_MAX`).
const QUEUES: u64 = 819_200;

/// Every resource of getrlimit(2). NPROC binds no process whose real uid is root's, and RSS and
/// LOCKS bind nobody since Linux 2.4.
pub(super) const BOUNDS: [Bound; 16] = [
    bound((libc::RLIMIT_CPU, "RLIMIT_CPU"), UNBOUND, Some(NO_LIMIT)),
    bound((libc::RLIMIT_FSIZE, "RLIMIT_FSIZE"), UNBOUND, Some(NO_LIMIT)),
    bound((libc::RLIMIT_AS, "RLIMIT_AS"), UNBOUND, Some(NO_LIMIT)),
    bound((libc::RLIMIT_DATA, "RLIMIT_DATA"), UNBOUND, Some(NO_LIMIT)),
    bound((libc::RLIMIT_NPROC, "RLIMIT_NPROC"), UNBOUND, None),
    bound((libc::RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING"), UNBOUND, Some(1024)),
    bound((libc::RLIMIT_RTTIME, "RLIMIT_RTTIME"), UNBOUND, Some(NO_LIMIT)),
    bound((libc::RLIMIT_NOFILE, "RLIMIT_NOFILE"), (1024, 524_288), Some(1024)),
    bound((libc::RLIMIT_STACK, "RLIMIT_STACK"), (8 * MIB, NO_LIMIT), Some(8 * MIB)),
    bound((libc::RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK"), (8 * MIB, 8 * MIB), Some(MIB / 16)),
    bound((libc::RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE"), (QUEUES, QUEUES), Some(QUEUES)),
    bound((libc::RLIMIT_CORE, "RLIMIT_CORE"), (0, 0), Some(0)),
    bound((libc::RLIMIT_NICE, "RLIMIT_NICE"), (0, 0), Some(0)),
    bound((libc::RLIMIT_RTPRIO, "RLIMIT_RTPRIO"), (0, 0), Some(0)),
    bound((libc::RLIMIT_RSS, "RLIMIT_RSS"), UNBOUND, None),
    bound((libc::RLIMIT_LOCKS, "RLIMIT_LOCKS"), UNBOUND, None),
];

/// Takes a child of root's to the state in which root's own program starts, descriptors 0 to 2 on
/// /dev/null and a session of its own included. Descriptors above 2 and signals are left as they
/// are: all of the caller's end with an exec, and are default or blocked since the threshold.
///
/// # Errors
/// The step that failed. The process must then end, and what it was to do is still to be done.
pub(super) fn start(root: &Root) -> Result<(), Failure> {
    setsid().map_err(Failure::at(Step::Place))?;
    settings(root)?;
    let null = process::dev_null().map_err(Failure::at(Step::Descriptors))?;
    (0..=2)
        .try_for_each(|number| process::put(&null, number))
        .map_err(Failure::at(Step::Descriptors))
}

/// The same without session and descriptors.
///
/// # Errors
/// As [`start`].
pub(super) fn settings(root: &Root) -> Result<(), Failure> {
    keyring::leave_callers(root).map_err(Failure::at(Step::Keyring))?;
    // What knows no keyrings knows no destination of keys either.
    let _ = kernel::reset_key_destination();
    umask(Mode::from_bits_truncate(0o022));
    chdir("/").map_err(Failure::at(Step::Directory))?;
    kernel::reset_priority();
    kernel::reset_personality();
    attributes().map_err(Failure::at(Step::Settings))?;
    files(root).map_err(Failure::at(Step::Settings))?;
    limits().map_err(Failure::at(Step::Limits))
}

/// What prctl(2) sets.
fn attributes() -> Result<(), Errno> {
    const PR_SET_IO_FLUSHER: i32 = 57;
    const PR_SET_MEMORY_MERGE: i32 = 67;
    kernel::control(libc::PR_SET_TIMERSLACK, TIMER_SLACK_NS)?;
    known(kernel::control(libc::PR_SET_THP_DISABLE, 0))?;
    // The policy of the machine for a memory error, not one of the caller's.
    known(kernel::control(libc::PR_MCE_KILL, 0))?;
    speculation()?;
    // Only a process with CAP_SYS_RESOURCE could have set these two; only one such may ask.
    let _ = kernel::control(PR_SET_IO_FLUSHER, 0);
    let _ = kernel::control(PR_SET_MEMORY_MERGE, 0);
    // The core scheduling cookie of init, which has none: with the caller's own, a task of the
    // caller's could share a core with this one. Not to be had without SMT, nor before Linux 5.14.
    let _ = kernel::control_with(libc::PR_SCHED_CORE, [3, 1, 0]);
    Ok(())
}

/// A setting that the kernel does not know has not been set by anybody.
fn known(done: Result<i32, Errno>) -> Result<(), Errno> {
    match done {
        Ok(_) | Err(Errno::EINVAL) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Speculation as it is by default, where a process may choose (`PR_SET_SPECULATION_CTRL`).
/// Flushing the first cache at every switch would end the program with SIGBUS on a core with SMT.
fn speculation() -> Result<(), Errno> {
    const PR_GET_SPECULATION_CTRL: i32 = 52;
    const PR_SET_SPECULATION_CTRL: i32 = 53;
    const CHOICE: i32 = 1;
    const ENABLE: i32 = 2;
    const DISABLE: i32 = 4;
    const FOR_GOOD: i32 = 8;
    // Store bypass, indirect branches, flushing of the first data cache.
    for (which, default) in [(0, ENABLE), (1, ENABLE), (2, DISABLE)] {
        // Not known to this kernel or this processor: nothing to be undone.
        let Ok(now) = kernel::control(PR_GET_SPECULATION_CTRL, which) else { continue };
        if now & CHOICE != 0 && now & (default | FOR_GOOD) == 0 {
            let value = u64::from(default.unsigned_abs());
            kernel::control_with(PR_SET_SPECULATION_CTRL, [which, value, 0])?;
        }
    }
    Ok(())
}

/// What /proc/self sets.
fn files(_root: &Root) -> Result<(), Errno> {
    // Without CAP_SYS_RESOURCE not below what a privileged process has set.
    match process::set_oom_score("0") {
        Ok(()) | Err(Errno::EACCES | Errno::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    match process::set_coredump_filter(COREDUMP_FILTER) {
        // A kernel that writes no cores.
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Soft and hard limits that do not depend on the caller's.
fn limits() -> Result<(), Errno> {
    let [effective, ..] = kernel::capabilities()?;
    let may_raise = effective & CAP_SYS_RESOURCE != 0;
    BOUNDS.iter().try_for_each(|bound| bound.set(may_raise))
}

impl Bound {
    fn set(&self, may_raise: bool) -> Result<(), Errno> {
        // The administrator's sysctl fs.nr_open bounds root's NOFILE, too.
        if may_raise && kernel::limit(self.resource, Some(self.full)).is_ok() {
            return Ok(());
        }
        let most = match self.least {
            Some(least) => least,
            None => kernel::limit(self.resource, None)?.hard,
        };
        kernel::limit(self.resource, Some(Limit { soft: most, hard: most })).map(drop)
    }
}
