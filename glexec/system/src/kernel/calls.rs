//! The system calls that are made as they are, without a C library's function: three closed lists
//! of them, by what the kernel does with memory of this process, and the one block of each list.
//!
//! A call is on a list with everything that makes it harmless to memory: the words that may be
//! chosen are typed, the others are written down in `words`, and an address is always made here, of
//! a reference to as much as the kernel takes, or is 0 where the manual page allows that. So no call
//! and no number from elsewhere reaches the blocks. What a call does to identity, descriptors and
//! processes is for its caller to know.

use nix::errno::Errno;
use std::ffi::{CStr, c_int, c_long};
use std::os::fd::{AsRawFd as _, BorrowedFd};

#[cfg(not(target_pointer_width = "64"))]
compile_error!("what the kernel reads and writes is laid out here as 64-bit Linux has it");

/// The kernel's name of a call, and its first words; none here has more.
type Words = (c_long, [c_long; 5]);

/// No address.
const NONE: c_long = 0;

/// Bytes of a signal mask, which the kernel wants to be told.
const MASK: c_long = 8;

/// The interface's version 3, of two 32-bit halves, and this process: what capget(2) and capset(2)
/// read first. They would write there only if they did not know the version, and fail.
static CAPABILITIES: [u32; 2] = [0x2008_0522, 0];

/// What prctl(2) takes numbers for and nothing else. Of `PR_SCHED_CORE` that is true as long as the
/// fifth word is 0, the address at which it answers.
const OF_NUMBERS: [c_int; 18] = {
    const PR_GET_SPECULATION_CTRL: c_int = 52;
    const PR_SET_SPECULATION_CTRL: c_int = 53;
    const PR_SET_IO_FLUSHER: c_int = 57;
    const PR_GET_MDWE: c_int = 66;
    const PR_SET_MEMORY_MERGE: c_int = 67;
    [
        PR_GET_MDWE,
        PR_GET_SPECULATION_CTRL,
        PR_SET_IO_FLUSHER,
        PR_SET_MEMORY_MERGE,
        PR_SET_SPECULATION_CTRL,
        libc::PR_CAP_AMBIENT,
        libc::PR_GET_NO_NEW_PRIVS,
        libc::PR_GET_SECUREBITS,
        libc::PR_GET_TIMERSLACK,
        libc::PR_MCE_KILL,
        libc::PR_SCHED_CORE,
        libc::PR_SET_CHILD_SUBREAPER,
        libc::PR_SET_DUMPABLE,
        libc::PR_SET_PDEATHSIG,
        libc::PR_SET_SECUREBITS,
        libc::PR_SET_THP_DISABLE,
        libc::PR_SET_TIMERSLACK,
        libc::PR_SET_TSC,
    ]
};

/// An option of prctl(2) that takes numbers alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct NumberOption(c_int);

impl NumberOption {
    /// An option that is on the list.
    ///
    /// # Errors
    /// EOPNOTSUPP for every other: EINVAL is the kernel's, of an option that it does not know.
    pub(super) fn new(option: c_int) -> Result<Self, Errno> {
        OF_NUMBERS.contains(&option).then_some(Self(option)).ok_or(Errno::EOPNOTSUPP)
    }
}

/// Calls that get numbers: the kernel reads and writes no memory of this process.
#[derive(Debug, Clone, Copy)]
pub(super) enum Numbers {
    /// `close_range(2)`.
    CloseRange { first: u32, last: u32, flags: u32 },
    /// prctl(2), the last word of which is 0.
    Control(NumberOption, [u64; 3]),
    /// waitid(2) until this child has ended; it is not reaped, and nothing is told of it.
    End(c_int),
    /// clone(2) as fork(2): a stack and memory of its own, a copy of what there is; with the same
    /// table of descriptors or with a copy of it.
    Fork { shares_descriptors: bool },
    /// setresgid(2): real, effective, saved.
    Gids([u32; 3]),
    /// `ioprio_set(2)` of this process: none of its own.
    IoPriority,
    /// keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`, a keyring without a name.
    JoinNewKeyring,
    /// keyctl(2), `KEYCTL_SET_REQKEY_KEYRING`, the kernel's choice.
    KeyDestination,
    /// kill(2).
    Kill { to: c_int, signal: c_int },
    /// `set_mempolicy(2)`, the default, which has no mask.
    MemoryPolicy,
    /// personality(2), Linux's own.
    Personality,
    /// `pidfd_open(2)`.
    Pidfd(c_int),
    /// `pidfd_send_signal(2)`, with the siginfo that kill(2) makes.
    PidfdSignal { pidfd: c_int, signal: c_int },
    /// getpriority(2), `PRIO_USER`.
    PriorityOf(u32),
    /// setresuid(2): real, effective, saved.
    Uids([u32; 3]),
}

impl Numbers {
    fn words(self) -> Words {
        const IOPRIO_WHO_PROCESS: c_long = 1;
        const KEYCTL_JOIN_SESSION_KEYRING: c_long = 1;
        const KEYCTL_SET_REQKEY_KEYRING: c_long = 14;
        const MPOL_DEFAULT: c_long = 0;
        match self {
            Self::CloseRange { first, last, flags } => {
                (libc::SYS_close_range, [first.into(), last.into(), flags.into(), 0, 0])
            }
            Self::Control(NumberOption(option), numbers) => {
                // The bits are what counts: the kernel takes its own type out of them.
                let [second, third, fourth] = numbers.map(|number| number as c_long);
                (libc::SYS_prctl, [option.into(), second, third, fourth, 0])
            }
            Self::End(child) => {
                let options = libc::WEXITED | libc::WNOWAIT | libc::__WALL;
                let kind = c_long::from(libc::P_PID);
                (libc::SYS_waitid, [kind, child.into(), NONE, options.into(), NONE])
            }
            Self::Fork { shares_descriptors } => {
                let shared = if shares_descriptors { libc::CLONE_FILES } else { 0 };
                (libc::SYS_clone, [(libc::SIGCHLD | shared).into(), NONE, NONE, NONE, NONE])
            }
            Self::Gids(ids) => (libc::SYS_setresgid, three(ids)),
            Self::IoPriority => (libc::SYS_ioprio_set, [IOPRIO_WHO_PROCESS, 0, 0, 0, 0]),
            Self::JoinNewKeyring => {
                (libc::SYS_keyctl, [KEYCTL_JOIN_SESSION_KEYRING, NONE, 0, 0, 0])
            }
            Self::KeyDestination => (libc::SYS_keyctl, [KEYCTL_SET_REQKEY_KEYRING, 0, 0, 0, 0]),
            Self::Kill { to, signal } => (libc::SYS_kill, [to.into(), signal.into(), 0, 0, 0]),
            Self::MemoryPolicy => (libc::SYS_set_mempolicy, [MPOL_DEFAULT, NONE, 0, 0, 0]),
            Self::Personality => (libc::SYS_personality, [0; 5]),
            Self::Pidfd(pid) => (libc::SYS_pidfd_open, [pid.into(), 0, 0, 0, 0]),
            Self::PidfdSignal { pidfd, signal } => {
                (libc::SYS_pidfd_send_signal, [pidfd.into(), signal.into(), NONE, 0, 0])
            }
            Self::PriorityOf(uid) => {
                (libc::SYS_getpriority, [libc::PRIO_USER.into(), uid.into(), 0, 0, 0])
            }
            Self::Uids(ids) => (libc::SYS_setresuid, three(ids)),
        }
    }

    /// Makes the call; the kernel's answer is a number, too.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn make(self) -> Result<c_long, Errno> {
        let (call, [a, b, c, d, e]) = self.words();
        // SAFETY: every call that `words` has gets numbers, and 0 in the place of each address,
        // which its manual page allows: no memory is read or written.
        Errno::result(unsafe { libc::syscall(call, a, b, c, d, e) })
    }
}

fn three([first, second, third]: [u32; 3]) -> [c_long; 5] {
    [first.into(), second.into(), third.into(), 0, 0]
}

/// What a signal does, as the kernel's struct sigaction has it on 64-bit Linux: handler, flags,
/// restorer, mask. There is none with a handler.
#[derive(Debug)]
pub(super) struct Disposition([u64; 4]);

impl Disposition {
    /// `SIG_DFL`.
    pub(super) const DEFAULT: Self = Self([0; 4]);
    /// `SIG_IGN`.
    pub(super) const IGNORED: Self = Self([1, 0, 0, 0]);
}

/// struct `sched_attr` in 32-bit words (linux/sched/types.h): size, policy, flags (two), nice,
/// priority, runtime, deadline and period (two each), the clamps; 48 bytes without them. The
/// ordinary class, nice 0, a slice of the kernel's choice, and utilization clamps of its choice
/// (Linux 5.3) where they are asked for.
fn ordinary(clamps: bool) -> [u32; 14] {
    // SCHED_FLAG_UTIL_CLAMP_MIN and SCHED_FLAG_UTIL_CLAMP_MAX.
    const CLAMPS: u32 = 0x20 | 0x40;
    let mut words = [0u32; 14];
    words[0] = if clamps { 56 } else { 48 };
    if clamps {
        words[2] = CLAMPS;
        // -1: as if none had ever been set.
        (words[12], words[13]) = (u32::MAX, u32::MAX);
    }
    words
}

/// Calls that read memory of this process and write none.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reads<'a> {
    /// `sched_setaffinity(2)` of this process: a bit for each processor.
    Affinity(&'a [u64; 128]),
    /// capset(2) of this process: effective, permitted, inheritable, the lower halves first.
    Capabilities(&'a [u32; 6]),
    /// `sched_setscheduler(2)` of this process, `SCHED_OTHER`; struct `sched_param` is one int.
    Class(&'a c_int),
    /// setgroups(2).
    Groups(&'a [u32]),
    /// `rt_sigprocmask(2)`, `SIG_SETMASK`.
    Mask(&'a u64),
    /// `rt_sigaction(2)`.
    Signal(c_int, &'a Disposition),
    /// signalfd4(2): a new descriptor for the signals of this mask.
    SignalDescriptor(&'a u64, c_int),
    /// setitimer(2): the interval and what is left, seconds and microseconds each.
    Timer(c_int, &'a [i64; 4]),
}

impl Reads<'_> {
    fn words(self) -> Words {
        const NEW: c_long = -1;
        match self {
            Self::Affinity(mask) => {
                (libc::SYS_sched_setaffinity, [0, length(mask), address(mask), 0, 0])
            }
            Self::Capabilities(sets) => {
                (libc::SYS_capset, [address(&CAPABILITIES), address(sets), 0, 0, 0])
            }
            Self::Class(parameters) => {
                let class = c_long::from(libc::SCHED_OTHER);
                (libc::SYS_sched_setscheduler, [0, class, address(parameters), 0, 0])
            }
            Self::Groups(gids) => {
                let count = length(gids) / length(&0u32);
                (libc::SYS_setgroups, [count, address(gids), 0, 0, 0])
            }
            Self::Mask(mask) => {
                let how = c_long::from(libc::SIG_SETMASK);
                (libc::SYS_rt_sigprocmask, [how, address(mask), NONE, MASK, 0])
            }
            Self::Signal(signal, wanted) => {
                (libc::SYS_rt_sigaction, [signal.into(), address(&wanted.0), NONE, MASK, 0])
            }
            Self::SignalDescriptor(mask, flags) => {
                (libc::SYS_signalfd4, [NEW, address(mask), MASK, flags.into(), 0])
            }
            Self::Timer(which, value) => {
                (libc::SYS_setitimer, [which.into(), address(value), NONE, 0, 0])
            }
        }
    }

    /// Makes the call.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn make(self) -> Result<c_long, Errno> {
        let (call, [a, b, c, d, e]) = self.words();
        // SAFETY: every call that `words` has only reads, and from references alone, which `self`
        // keeps valid: of each as many bytes as its type has or as the call is told, which is its
        // length. Where an old value could be written the address is 0. No handler is installed.
        Errno::result(unsafe { libc::syscall(call, a, b, c, d, e) })
    }
}

/// Calls that write memory of this process.
#[derive(Debug)]
pub(super) enum Writes<'a> {
    /// capget(2) of this process: effective, permitted, inheritable, the lower halves first.
    Capabilities(&'a mut [u32; 6]),
    /// getdents64(2): as many entries as there is room for.
    Entries { directory: BorrowedFd<'a>, room: &'a mut [u8; 8192] },
    /// prlimit(2) of this process: soft and hard; the new limit, if any, and the old one.
    Limit { resource: c_long, new: Option<&'a [u64; 2]>, old: &'a mut [u64; 2] },
    /// `sched_setattr(2)` of this process: the ordinary class, with clamps or without. It is told in
    /// `attributes`; a kernel that cannot read it writes there how much it would read.
    Scheduling { clamps: bool, attributes: &'a mut [u32; 14] },
    /// statx(2) of an open file; struct statx has 256 bytes.
    Status { file: BorrowedFd<'a>, flags: c_int, wanted: u32, answer: &'a mut [u32; 64] },
    /// prctl(2), `PR_GET_TSC`, which answers with an int.
    TimeStamp(&'a mut c_int),
    /// waitid(2): kind and id, what for, siginfo (128 bytes), and rusage (linux/resource.h: two
    /// times and 14 numbers more).
    Wait {
        whom: (u32, c_int),
        options: c_int,
        info: &'a mut [c_int; 32],
        used: &'a mut [c_long; 18],
    },
}

impl Writes<'_> {
    fn words(self) -> Words {
        match self {
            Self::Capabilities(sets) => {
                (libc::SYS_capget, [address(&CAPABILITIES), room(sets), 0, 0, 0])
            }
            Self::Entries { directory, room: entries } => {
                let size = length(entries);
                (libc::SYS_getdents64, [directory.as_raw_fd().into(), room(entries), size, 0, 0])
            }
            Self::Limit { resource, new, old } => {
                let new = new.map_or(NONE, address);
                (libc::SYS_prlimit64, [0, resource, new, room(old), 0])
            }
            Self::Scheduling { clamps, attributes } => {
                *attributes = ordinary(clamps);
                (libc::SYS_sched_setattr, [0, room(attributes), 0, 0, 0])
            }
            Self::Status { file, flags, wanted, answer } => {
                const ITSELF: &CStr = c"";
                let (file, name) = (file.as_raw_fd(), address(ITSELF));
                let flags = flags | libc::AT_EMPTY_PATH;
                (libc::SYS_statx, [file.into(), name, flags.into(), wanted.into(), room(answer)])
            }
            Self::TimeStamp(how) => {
                (libc::SYS_prctl, [libc::PR_GET_TSC.into(), room(how), 0, 0, 0])
            }
            Self::Wait { whom: (kind, id), options, info, used } => {
                let (info, used) = (room(info), room(used));
                (libc::SYS_waitid, [kind.into(), id.into(), info, options.into(), used])
            }
        }
    }

    /// Makes the call.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn make(self) -> Result<c_long, Errno> {
        let (call, [a, b, c, d, e]) = self.words();
        // SAFETY: every call that `words` has writes to exclusive references alone, which are
        // valid until this returns, into each at most as many bytes as its type has; integers are
        // valid whatever is written. It reads a string that ends, and shared references.
        Errno::result(unsafe { libc::syscall(call, a, b, c, d, e) })
    }
}

/// Where something is, for the kernel to read.
fn address<T: ?Sized>(memory: &T) -> c_long {
    std::ptr::from_ref(memory).cast::<u8>().expose_provenance() as c_long
}

/// Where something is, for the kernel to write.
fn room<T>(memory: &mut T) -> c_long {
    std::ptr::from_mut(memory).expose_provenance() as c_long
}

/// How many bytes something has.
fn length<T: ?Sized>(memory: &T) -> c_long {
    size_of_val(memory) as c_long
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_takes_an_address_is_none_of_numbers() {
        for option in
            [libc::PR_GET_PDEATHSIG, libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_MM]
        {
            assert_eq!(NumberOption::new(option).err(), Some(Errno::EOPNOTSUPP));
        }
        let core = NumberOption::new(libc::PR_SCHED_CORE).unwrap();
        assert_eq!(Numbers::Control(core, [u64::MAX; 3]).words().1.last(), Some(&0));
    }

    #[test]
    fn what_the_kernel_writes_has_the_size_that_the_library_knows() {
        assert_eq!(size_of::<libc::siginfo_t>(), size_of::<[c_int; 32]>());
        assert_eq!(std::mem::offset_of!(libc::siginfo_t, si_code), 2 * size_of::<c_int>());
        assert_eq!(size_of::<libc::rlimit64>(), size_of::<[u64; 2]>());
        assert_eq!(size_of::<libc::itimerval>(), size_of::<[i64; 4]>());
        // The C library of musl leaves room for more than the kernel has.
        assert!(size_of::<libc::rusage>() >= size_of::<[c_long; 18]>());
    }

    #[test]
    fn sched_attr_is_never_longer_than_there_is_memory() {
        for clamps in [true, false] {
            let words = ordinary(clamps);
            assert!(usize::try_from(words[0]).unwrap() <= size_of_val(&words));
        }
    }
}
