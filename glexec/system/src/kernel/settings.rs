//! Identity, limits and whatever else a process is set up with.

use super::calls::{NumberOption, Numbers, Reads, Writes};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use std::ffi::c_int;

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
    let (new, mut old) = (new.map(|limit| [limit.soft, limit.hard]), [0; 2]);
    let resource = resource.into();
    Writes::Limit { resource, new: new.as_ref(), old: &mut old }.make()?;
    let [soft, hard] = old;
    Ok(Limit { soft, hard })
}

/// The capability sets of this process: effective, permitted, inheritable.
pub fn capabilities() -> Result<[u64; 3], Errno> {
    let mut data = [0; 6];
    Writes::Capabilities(&mut data).make()?;
    let [e0, p0, i0, e1, p1, i1] = data.map(u64::from);
    Ok([e0 | (e1 << 32), p0 | (p1 << 32), i0 | (i1 << 32)])
}

/// Empties the inheritable set and leaves the two others as `effective` and `permitted` say.
pub fn clear_inheritable(effective: u64, permitted: u64) -> Result<(), Errno> {
    let half = |set: u64| [(set & 0xffff_ffff) as u32, (set >> 32) as u32];
    let ([e0, e1], [p0, p1]) = (half(effective), half(permitted));
    Reads::Capabilities(&[e0, p0, 0, e1, p1, 0]).make().map(drop)
}

/// prctl(2) with one number and no pointer; the result as a number.
///
/// # Errors
/// prctl(2)'s; EOPNOTSUPP for an option that is not known here to take numbers alone.
pub fn control(option: c_int, argument: u64) -> Result<c_int, Errno> {
    control_with(option, [argument, 0, 0])
}

/// prctl(2) with up to three numbers and no pointer; the result as a number.
///
/// # Errors
/// As `control`'s.
pub fn control_with(option: c_int, numbers: [u64; 3]) -> Result<c_int, Errno> {
    let answer = Numbers::Control(NumberOption::new(option)?, numbers).make()?;
    c_int::try_from(answer).map_err(|_| Errno::EOVERFLOW)
}

/// The timer slack of this process in nanoseconds: more than prctl(3) has room for in its result.
pub fn timer_slack() -> Result<u64, Errno> {
    let slack = Numbers::Control(NumberOption::new(libc::PR_GET_TIMERSLACK)?, [0; 3]).make()?;
    Ok(u64::from_ne_bytes(slack.to_ne_bytes()))
}

/// Whether reading the processor's time stamp counter ends this process with SIGSEGV
/// (`PR_SET_TSC`). Errors where the processor knows no such thing.
pub fn reading_time_is_fatal() -> Result<bool, Errno> {
    let mut how = 0;
    Writes::TimeStamp(&mut how).make()?;
    Ok(how == libc::PR_TSC_SIGSEGV)
}

/// Joins a new anonymous session keyring (keyctl(2)).
pub fn join_new_keyring() -> Result<(), Errno> {
    Numbers::JoinNewKeyring.make().map(drop)
}

/// Has keys that are asked for go where the kernel puts them by default
/// (`keyctl_set_reqkey_keyring(3)`).
pub fn reset_key_destination() -> Result<(), Errno> {
    Numbers::KeyDestination.make().map(drop)
}

/// Gives up an execution domain and a memory policy of the caller's choice.
pub fn reset_personality() {
    let _ = Numbers::Personality.make();
    // A kernel without NUMA has no policies.
    let _ = Numbers::MemoryPolicy.make();
}

/// Gives up a nice value, a scheduling class with all its parameters, an I/O class and an affinity
/// of the caller's choice.
pub fn reset_priority() {
    // The kernel takes what it has processors for.
    let _ = Reads::Affinity(&[u64::MAX; 128]).make();
    // Kernels without utilization clamps have none to give up.
    if reset_scheduling(true).or_else(|_| reset_scheduling(false)).is_err() {
        // Without CAP_SYS_NICE the nice value stays; the class alone can be had.
        let _ = Reads::Class(&0).make();
    }
    let _ = Numbers::IoPriority.make();
}

fn reset_scheduling(clamps: bool) -> Result<(), Errno> {
    Writes::Scheduling { clamps, attributes: &mut [0; 14] }.make().map(drop)
}

/// setresuid(2), the call itself: one thread needs none of what a C library adds for more.
pub fn set_uids(real: Uid, effective: Uid, saved: Uid) -> Result<(), Errno> {
    Numbers::Uids([real, effective, saved].map(Uid::as_raw)).make().map(drop)
}

/// setresgid(2), likewise.
pub fn set_gids(real: Gid, effective: Gid, saved: Gid) -> Result<(), Errno> {
    Numbers::Gids([real, effective, saved].map(Gid::as_raw)).make().map(drop)
}

/// setgroups(2), likewise.
pub fn set_groups(groups: &[Gid]) -> Result<(), Errno> {
    let raw: Vec<u32> = groups.iter().map(|gid| gid.as_raw()).collect();
    Reads::Groups(&raw).make().map(drop)
}

/// The file-system uid and gid as they are now.
pub fn file_system_ids() -> (u32, u32) {
    // -1 is no id: both calls change nothing and return what is.
    (setfsuid(Uid::from_raw(u32::MAX)).as_raw(), setfsgid(Gid::from_raw(u32::MAX)).as_raw())
}
