//! The one place where a process changes its identity for good, for payload and epilogue alike.

use super::channel::{Failure, Step};
use super::root::Root;
use super::sys;
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, getgroups, getresgid, getresuid};

/// As whom a process goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity<'a> {
    /// Effective, saved and, unless `real` says otherwise, real.
    pub(super) uid: Uid,
    /// A real uid that is another's, so that nobody of `uid` may trace the process.
    pub(super) real: Option<Uid>,
    pub(super) gid: Gid,
    /// The supplementary groups, exactly.
    pub(super) groups: &'a [Gid],
}

/// Groups, gid, uid, in this order, real, effective and saved; then reads everything back and,
/// where the identity is not root's, tries to become root again. Nobody comes back from here.
///
/// # Errors
/// The step that failed, or [`Step::Proof`] where a call lied. The process must then end.
pub(super) fn assume(_root: &Root, who: &Identity<'_>) -> Result<(), Failure> {
    sys::set_groups(who.groups).map_err(Failure::at(Step::Groups))?;
    sys::set_gids(who.gid, who.gid, who.gid).map_err(Failure::at(Step::Gid))?;
    let real = who.real.unwrap_or(who.uid);
    sys::set_uids(real, who.uid, who.uid).map_err(Failure::at(Step::Uid))?;
    // Until exec this process still holds descriptors of root's; fs.suid_dumpable may have said
    // otherwise.
    sys::control(libc::PR_SET_DUMPABLE, 0).map_err(Failure::at(Step::Uid))?;
    prove(who).map_err(Failure::at(Step::Proof))
}

/// Takes an effective uid alone, with real and saved uid `apart`, no groups and no way back: for
/// a child that is to signal what that uid may signal.
///
/// # Errors
/// The step that failed.
pub(super) fn assume_effective(_root: &Root, apart: Uid, effective: Uid) -> Result<(), Failure> {
    sys::set_groups(&[]).map_err(Failure::at(Step::Groups))?;
    let gid = Gid::from_raw(apart.as_raw());
    sys::set_gids(gid, gid, gid).map_err(Failure::at(Step::Gid))?;
    sys::set_uids(apart, effective, apart).map_err(Failure::at(Step::Uid))?;
    let ids = getresuid().map_err(Failure::at(Step::Proof))?;
    let as_planned = (ids.real, ids.effective, ids.saved) == (apart, effective, apart);
    if as_planned && !comes_back() && sys::capabilities() == Ok([0; 3]) {
        Ok(())
    } else {
        Err(Failure { step: Step::Proof, errno: Errno::EPERM })
    }
}

fn prove(who: &Identity<'_>) -> Result<(), Errno> {
    let (uids, gids) = (getresuid()?, getresgid()?);
    let real = who.real.unwrap_or(who.uid);
    let uids_are = (uids.real, uids.effective, uids.saved) == (real, who.uid, who.uid);
    let gids_are = [gids.real, gids.effective, gids.saved].iter().all(|gid| *gid == who.gid);
    let file_system = sys::file_system_ids() == (who.uid.as_raw(), who.gid.as_raw());
    let same_groups = sorted(&getgroups()?) == sorted(who.groups);
    let harmless = who.uid.is_root() || (sys::capabilities()? == [0; 3] && !comes_back());
    if uids_are && gids_are && file_system && same_groups && harmless {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// Whether root's ids can be had again.
fn comes_back() -> bool {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    let same = (Uid::from_raw(u32::MAX), Gid::from_raw(u32::MAX));
    sys::set_uids(uid, uid, uid).is_ok()
        || sys::set_uids(same.0, uid, same.0).is_ok()
        || sys::set_gids(same.1, gid, same.1).is_ok()
}

fn sorted(groups: &[Gid]) -> Vec<u32> {
    let mut raw: Vec<u32> = groups.iter().map(|gid| gid.as_raw()).collect();
    raw.sort_unstable();
    raw
}
