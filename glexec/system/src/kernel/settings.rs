//! Identity, limits and whatever else a process is set up with.

use nix::errno::Errno;
use nix::unistd::{Gid, Uid};
use std::ffi::{c_int, c_long};

/// A resource of getrlimit(2), in the C library's type.
#[cfg(target_env = "gnu")]
pub type Resource = libc::__rlimit_resource_t;

/// A resource of getrlimit(2), in the C library's type.
#[cfg(not(target_env = "gnu"))]
pub type Resource = c_int;

/// A resource limit: soft and hard, `u64::MAX` for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What is enforced.
    pub soft: u64,
    /// What the soft one may be raised to.
    pub hard: u64,
}

/// Sets (where `new` is given) and returns the old value of a limit of this process.
pub fn limit(resource: Resource, new: Option<Limit>) -> Result<Limit, Errno> {
    let wanted = new.map(|l| libc::rlimit64 { rlim_cur: l.soft, rlim_max: l.hard });
    let wanted = wanted.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let mut old = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `wanted` is null or valid for reading, `old` valid for writing.
    let done = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, wanted, &raw mut old) };
    Errno::result(done)?;
    Ok(Limit { soft: old.rlim_cur, hard: old.rlim_max })
}

/// The capability sets of this process: effective, permitted, inheritable.
pub fn capabilities() -> Result<[u64; 3], Errno> {
    let mut header: [u32; 2] = [0x2008_0522, 0];
    let mut data = [0u32; 6];
    // SAFETY: version 3 of the interface writes two structs of three u32, which `data` is.
    let done = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, &raw mut data) };
    Errno::result(done)?;
    let [e0, p0, i0, e1, p1, i1] = data.map(u64::from);
    Ok([e0 | (e1 << 32), p0 | (p1 << 32), i0 | (i1 << 32)])
}

/// Empties the inheritable set and leaves the two others as `effective` and `permitted` say.
pub fn clear_inheritable(effective: u64, permitted: u64) -> Result<(), Errno> {
    let half = |set: u64| [(set & 0xffff_ffff) as u32, (set >> 32) as u32];
    let ([e0, e1], [p0, p1]) = (half(effective), half(permitted));
    let mut header: [u32; 2] = [0x2008_0522, 0];
    let data = [e0, p0, 0, e1, p1, 0];
    // SAFETY: version 3 of the interface reads two structs of three u32, which `data` is.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, &raw const data) };
    Errno::result(done).map(drop)
}

/// prctl(2) with one number and no pointer; the result as a number.
pub fn control(option: c_int, argument: u64) -> Result<c_int, Errno> {
    control_with(option, [argument, 0, 0])
}

/// prctl(2) with up to three numbers and no pointer; the result as a number.
pub fn control_with(option: c_int, numbers: [u64; 3]) -> Result<c_int, Errno> {
    let [first, second, third] = numbers;
    // SAFETY: used only for options that take numbers: no memory is read or written.
    Errno::result(unsafe { libc::prctl(option, first, second, third, 0u64) })
}

/// The timer slack of this process in nanoseconds: more than prctl(3) has room for in its result.
pub fn timer_slack() -> Result<u64, Errno> {
    // SAFETY: numbers only.
    let slack = unsafe { libc::syscall(libc::SYS_prctl, libc::PR_GET_TIMERSLACK, 0, 0, 0, 0) };
    Errno::result(slack).map(|slack: c_long| u64::from_ne_bytes(slack.to_ne_bytes()))
}

/// Whether reading the processor's time stamp counter ends this process with SIGSEGV
/// (`PR_SET_TSC`). Errors where the processor knows no such thing.
pub fn reading_time_is_fatal() -> Result<bool, Errno> {
    let mut how: c_int = 0;
    // SAFETY: writes one int, which `how` is.
    let done = unsafe { libc::prctl(libc::PR_GET_TSC, &raw mut how, 0u64, 0u64, 0u64) };
    Errno::result(done).map(|_| how == libc::PR_TSC_SIGSEGV)
}

/// Joins a new anonymous session keyring (keyctl(2)).
pub fn join_new_keyring() -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring; nothing is read.
    let done = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0usize) };
    Errno::result(done).map(drop)
}

/// Has keys that are asked for go where the kernel puts them by default
/// (`keyctl_set_reqkey_keyring(3)`).
pub fn reset_key_destination() -> Result<(), Errno> {
    const KEYCTL_SET_REQKEY_KEYRING: c_int = 14;
    // SAFETY: numbers only; 0 is the default destination.
    let done = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SET_REQKEY_KEYRING, 0usize) };
    Errno::result(done).map(drop)
}

/// Gives up an execution domain and a memory policy of the caller's choice.
pub fn reset_personality() {
    // SAFETY: numbers only.
    unsafe { libc::personality(0) };
    // SAFETY: MPOL_DEFAULT (0) takes no mask.
    unsafe { libc::syscall(libc::SYS_set_mempolicy, 0, 0usize, 0usize) };
}

/// Gives up a nice value, a scheduling class with all its parameters, an I/O class and an affinity
/// of the caller's choice.
pub fn reset_priority() {
    let every = [u64::MAX; 128];
    // SAFETY: reads the mask; the kernel takes what it has processors for.
    unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&every), every.as_ptr()) };
    // Kernels without utilization clamps have none to give up.
    if reset_scheduling(true).or_else(|_| reset_scheduling(false)).is_err() {
        let no_parameters = 0i32;
        // Without CAP_SYS_NICE the nice value stays; the class alone can be had.
        // SAFETY: reads one int, the whole of struct sched_param as the kernel has it.
        unsafe {
            libc::syscall(
                libc::SYS_sched_setscheduler,
                0,
                libc::SCHED_OTHER,
                &raw const no_parameters,
            )
        };
    }
    // SAFETY: numbers only; who 1 is a process, 0 this one, priority 0 none of its own.
    unsafe { libc::syscall(libc::SYS_ioprio_set, 1, 0, 0) };
}

/// `sched_setattr(2)`: the ordinary class, nice 0, a slice of the kernel's choice, and utilization
/// clamps of its choice (Linux 5.3) where they are asked for.
fn reset_scheduling(clamps: bool) -> Result<(), Errno> {
    // SCHED_FLAG_UTIL_CLAMP_MIN and SCHED_FLAG_UTIL_CLAMP_MAX.
    const CLAMPS: u32 = 0x20 | 0x40;
    // struct sched_attr in 32-bit words (linux/sched/types.h): size, policy, flags (two), nice,
    // priority, runtime, deadline and period (two each), the clamps; 48 bytes without them.
    let mut attributes = [0u32; 14];
    attributes[0] = if clamps { 56 } else { 48 };
    if clamps {
        attributes[2] = CLAMPS;
        // -1: as if none had ever been set.
        (attributes[12], attributes[13]) = (u32::MAX, u32::MAX);
    }
    // SAFETY: reads as many bytes as the first word says, which `attributes` has.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, attributes.as_ptr(), 0) };
    Errno::result(done).map(drop)
}

/// setresuid(2), the call itself: one thread needs none of what a C library adds for more.
pub fn set_uids(real: Uid, effective: Uid, saved: Uid) -> Result<(), Errno> {
    let (real, effective, saved) = (real.as_raw(), effective.as_raw(), saved.as_raw());
    // SAFETY: numbers only.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, real, effective, saved) }).map(drop)
}

/// setresgid(2), likewise.
pub fn set_gids(real: Gid, effective: Gid, saved: Gid) -> Result<(), Errno> {
    let (real, effective, saved) = (real.as_raw(), effective.as_raw(), saved.as_raw());
    // SAFETY: numbers only.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, real, effective, saved) }).map(drop)
}

/// setgroups(2), likewise.
pub fn set_groups(groups: &[Gid]) -> Result<(), Errno> {
    let raw: Vec<u32> = groups.iter().map(|gid| gid.as_raw()).collect();
    // SAFETY: `raw` is valid for its length and only read.
    Errno::result(unsafe { libc::syscall(libc::SYS_setgroups, raw.len(), raw.as_ptr()) }).map(drop)
}

/// The file-system uid and gid as they are now.
pub fn file_system_ids() -> (u32, u32) {
    // SAFETY: -1 is no id: both calls change nothing and return what is.
    let uid = unsafe { libc::setfsuid(u32::MAX) };
    // SAFETY: as above.
    let gid = unsafe { libc::setfsgid(u32::MAX) };
    (u32::from_ne_bytes(uid.to_ne_bytes()), u32::from_ne_bytes(gid.to_ne_bytes()))
}
