//! Rights that are taken, or given up, for good.

use super::{Privilege, Root, SAME, failed};
use crate::close_descriptors::DescriptorsClosed;
use crate::identity;
use decide::refusal::Refusal;
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, getgroups, getresgid, getresuid};
use std::cell::Cell;
use system::kernel;

impl Privilege {
    /// Root for good, and nobody's but root's: real, effective and saved uid 0, gid 0, no
    /// groups. From here on no process but root's may send this one a signal, so nothing it does
    /// may wait for the caller: it must have let go of the caller's descriptors.
    ///
    /// # Errors
    /// [`Reason::Switch`](contract::Reason::Switch).
    pub fn become_immune(&self, _: &DescriptorsClosed) -> Result<Root, Refusal> {
        let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
        kernel::set_uids(SAME, uid, SAME).map_err(|e| failed("becoming root", e))?;
        kernel::set_groups(&[]).map_err(|e| failed("dropping the caller's groups", e))?;
        kernel::set_gids(gid, gid, gid).map_err(|e| failed("taking gid 0", e))?;
        kernel::set_uids(uid, uid, uid).map_err(|e| failed("taking uid 0", e))?;
        let ids = getresuid().map_err(|e| failed("reading the uids back", e))?;
        if (ids.real, ids.effective, ids.saved) != (uid, uid, uid) {
            return Err(failed("reading the uids back", Errno::EPERM));
        }
        kernel::control(libc::PR_SET_DUMPABLE, 0).map_err(|e| failed("PR_SET_DUMPABLE", e))?;
        self.immune.set(true);
        Ok(Root { back: None })
    }

    /// The caller's for good, and nothing of root's: for a process that may have to wait for its
    /// caller from here on, which the caller then can end.
    ///
    /// # Errors
    /// Of the call that failed; the process must then end.
    pub fn give_up(&self) -> Result<(), Errno> {
        let (uid, gid) = (self.caller, self.gid);
        kernel::set_gids(gid, gid, gid)?;
        kernel::set_uids(uid, uid, uid)?;
        // A change of ids may have set it anew (fs.suid_dumpable).
        kernel::control(libc::PR_SET_DUMPABLE, 0)?;
        identity::prove_given_up(uid, gid)
    }

    /// That of a process which has been root's alone since before its exec: looked at, not taken.
    /// `answer_as` is who it becomes when it gives its rights up.
    ///
    /// # Errors
    /// [`Reason::Switch`](contract::Reason::Switch) where an id or a group is not root's.
    pub(crate) fn of_root_alone(
        (caller, gid): (Uid, Gid),
        _: &DescriptorsClosed,
    ) -> Result<(Self, Root), Refusal> {
        let (uids, gids) = (getresuid(), getresgid());
        let (uids, gids) =
            uids.and_then(|u| Ok((u, gids?))).map_err(|e| failed("reading the ids", e))?;
        let groups = getgroups().map_err(|e| failed("reading the groups", e))?;
        let all = [uids.real, uids.effective, uids.saved].iter().all(|uid| uid.is_root())
            && [gids.real, gids.effective, gids.saved].iter().all(|gid| gid.as_raw() == 0)
            && groups.is_empty();
        if !all {
            return Err(failed("looking whether every id is root's", Errno::EPERM));
        }
        kernel::control(libc::PR_SET_DUMPABLE, 0).map_err(|e| failed("PR_SET_DUMPABLE", e))?;
        let privilege = Self { caller, gid, immune: Cell::new(true) };
        Ok((privilege, Root { back: None }))
    }
}
