//! Session keyrings: payload and root's own program each start with one that is theirs.

use super::root::Root;
use nix::errno::Errno;
use nix::unistd::{Gid, Uid};
use system::kernel;

/// In a child, before its ids change: real ids of root's, and a session keyring of root's without
/// the caller's keys. A keyring belongs to the real uid of who makes it: made while that is still
/// the caller's, the caller could give itself every right over it.
///
/// # Errors
/// Of the first call that failed.
pub(super) fn leave_callers(_root: &Root) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    kernel::set_gids(gid, gid, gid)?;
    kernel::set_uids(uid, uid, uid)?;
    join()
}

/// After the ids have changed: a session keyring that belongs to the new identity and counts for
/// its quota. Where that is used up, by many runs or for good by keys in the user's own keyring,
/// the empty one of root's stays: nobody must be able to keep the account from everybody else.
///
/// # Errors
/// keyctl(2)'s.
pub(super) fn join_own() -> Result<(), Errno> {
    match join() {
        Err(Errno::EDQUOT) => Ok(()),
        done => done,
    }
}

/// A kernel without keyrings, or a container that forbids them to everybody, hands none on either.
fn join() -> Result<(), Errno> {
    match kernel::join_new_keyring() {
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EOPNOTSUPP) => Ok(()),
        done => done,
    }
}
