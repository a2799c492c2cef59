//! The one place where a process changes its identity for good, for payload and epilogue alike.

use super::exec_status::{Failure, Step};
use super::root::Root;
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, getgroups, getresgid, getresuid};
use system::kernel;

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
/// where the identity is not root's, tries to be somebody else again. Nobody comes back from here.
///
/// # Errors
/// The step that failed, or [`Step::Proof`] where a call lied. The process must then end.
pub(super) fn assume(_root: &Root, who: &Identity<'_>) -> Result<(), Failure> {
    let former = Former::of_this_process().map_err(Failure::at(Step::Proof))?;
    kernel::set_groups(who.groups).map_err(Failure::at(Step::Groups))?;
    kernel::set_gids(who.gid, who.gid, who.gid).map_err(Failure::at(Step::Gid))?;
    let real = who.real.unwrap_or(who.uid);
    kernel::set_uids(real, who.uid, who.uid).map_err(Failure::at(Step::Uid))?;
    // Until exec this process still holds descriptors of root's; fs.suid_dumpable may have said
    // otherwise.
    kernel::control(libc::PR_SET_DUMPABLE, 0).map_err(Failure::at(Step::Uid))?;
    prove(who, &former).map_err(Failure::at(Step::Proof))
}

/// Root and nobody else: out of reach of its caller's signals.
///
/// # Errors
/// As [`assume`].
pub(super) fn become_root(root: &Root) -> Result<(), Failure> {
    let uid = Uid::from_raw(0);
    assume(root, &Identity { uid, real: None, gid: Gid::from_raw(0), groups: &[] })
}

/// Takes an effective uid alone, with real and saved uid `apart`, no groups and no way back: for
/// a child that is to signal what that uid may signal.
///
/// # Errors
/// The step that failed.
pub(super) fn assume_effective(_root: &Root, apart: Uid, effective: Uid) -> Result<(), Failure> {
    let former = Former::of_this_process().map_err(Failure::at(Step::Proof))?;
    kernel::set_groups(&[]).map_err(Failure::at(Step::Groups))?;
    let gid = Gid::from_raw(apart.as_raw());
    kernel::set_gids(gid, gid, gid).map_err(Failure::at(Step::Gid))?;
    kernel::set_uids(apart, effective, apart).map_err(Failure::at(Step::Uid))?;
    let ids = getresuid().map_err(Failure::at(Step::Proof))?;
    let as_planned = (ids.real, ids.effective, ids.saved) == (apart, effective, apart);
    let planned = Planned { uids: [apart, effective], gid, groups: &[] };
    if as_planned && !planned.can_be_left(&former) && kernel::capabilities() == Ok([0; 3]) {
        Ok(())
    } else {
        Err(Failure { step: Step::Proof, errno: Errno::EPERM })
    }
}

/// Proves of a process which has given root up that it is its caller's, and has no way back. Its
/// groups are the caller's all along.
///
/// # Errors
/// `EPERM` where it is not. The process must then end.
pub(super) fn prove_given_up(uid: Uid, gid: Gid) -> Result<(), Errno> {
    let groups = getgroups()?;
    let who = Identity { uid, real: None, gid, groups: &groups };
    prove(&who, &Former { uid, gid })
}

fn prove(who: &Identity<'_>, former: &Former) -> Result<(), Errno> {
    let (uids, gids) = (getresuid()?, getresgid()?);
    let real = who.real.unwrap_or(who.uid);
    let uids_are = (uids.real, uids.effective, uids.saved) == (real, who.uid, who.uid);
    let gids_are = [gids.real, gids.effective, gids.saved].iter().all(|gid| *gid == who.gid);
    let file_system = kernel::file_system_ids() == (who.uid.as_raw(), who.gid.as_raw());
    let same_groups = sorted(&getgroups()?) == sorted(who.groups);
    let planned = Planned { uids: [real, who.uid], gid: who.gid, groups: who.groups };
    // Who is to be root may be anybody: there is nothing to prove.
    let bound = || Ok(kernel::capabilities()? == [0; 3] && !planned.can_be_left(former));
    let harmless = who.uid.is_root() || bound()?;
    if uids_are && gids_are && file_system && same_groups && harmless {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// The real ids before the change: root's, or the caller's.
struct Former {
    uid: Uid,
    gid: Gid,
}

impl Former {
    fn of_this_process() -> Result<Self, Errno> {
        Ok(Self { uid: getresuid()?.real, gid: getresgid()?.real })
    }
}

/// The ids that a process is to have, and no others.
struct Planned<'a> {
    /// Real and effective; the saved one is one of them.
    uids: [Uid; 2],
    /// All three. It may be 0: the group alone is no way back to root.
    gid: Gid,
    groups: &'a [Gid],
}

impl Planned<'_> {
    /// Tries to be somebody else: root, whom this process was before, and a neighbour for all
    /// others. The kernel asks the same of each of the three ids (setresuid(2)), so one is enough.
    fn can_be_left(&self, former: &Former) -> bool {
        /// Leaves an id as it is.
        const SAME: u32 = u32::MAX;
        let [_, own] = self.uids.map(Uid::as_raw);
        let others = |former: u32, own: u32| {
            let former = if former == 0 { SAME } else { former };
            [0, former, own ^ 1].into_iter().filter(|id| *id != SAME)
        };
        let uids = others(former.uid.as_raw(), own);
        let gids = others(former.gid.as_raw(), self.gid.as_raw());
        let (same_uid, same_gid) = (Uid::from_raw(SAME), Gid::from_raw(SAME));
        let mut uids = uids.map(Uid::from_raw).filter(|id| !self.uids.contains(id));
        let mut gids = gids.map(Gid::from_raw).filter(|id| *id != self.gid);
        uids.any(|id| kernel::set_uids(same_uid, id, same_uid).is_ok())
            || gids.any(|id| kernel::set_gids(same_gid, id, same_gid).is_ok())
            || kernel::set_groups(self.groups).is_ok()
    }
}

fn sorted(groups: &[Gid]) -> Vec<u32> {
    let mut raw: Vec<u32> = groups.iter().map(|gid| gid.as_raw()).collect();
    raw.sort_unstable();
    raw
}
