//! Root, made visible: whoever needs it takes `&Root`, so a search for it lists all root does.

mod for_good;

use contract::Reason;
use decide::refusal::Refusal;
use nix::errno::Errno;
use nix::unistd::{Gid, Uid};
use std::cell::Cell;
use system::kernel::{self, Side};

const SAME: Uid = Uid::from_raw(u32::MAX);

/// The right to become root for a moment: saved uid 0, effective uid the caller's.
#[derive(Debug)]
pub struct Privilege {
    caller: Uid,
    gid: Gid,
    /// Set once this process is root and nobody else: there is no way down any more.
    immune: Cell<bool>,
}

/// Effective uid 0, until dropped.
#[derive(Debug)]
pub struct Root {
    back: Option<Uid>,
}

impl Privilege {
    /// Lowers a setuid-root process to its caller, with the way back kept in the saved uid.
    /// A setgid bit on the file gives nothing.
    ///
    /// # Errors
    /// [`Reason::Switch`].
    pub(super) fn lower(caller: Uid, gid: Gid) -> Result<Self, Refusal> {
        kernel::set_gids(gid, gid, gid).map_err(|e| failed("giving up a setgid bit", e))?;
        kernel::set_uids(SAME, caller, Uid::from_raw(0))
            .map_err(|e| failed("lowering to the caller", e))?;
        // A change of ids undoes this where fs.suid_dumpable says so.
        kernel::control(libc::PR_SET_DUMPABLE, 0).map_err(|e| failed("PR_SET_DUMPABLE", e))?;
        Ok(Self { caller, gid, immune: Cell::new(false) })
    }

    /// Root for as long as the value lives.
    ///
    /// # Errors
    /// [`Reason::Switch`].
    pub fn raise(&self) -> Result<Root, Refusal> {
        // Root already, for a time that is not this value's to end.
        if self.immune.get() || Uid::effective().is_root() {
            return Ok(Root { back: None });
        }
        kernel::set_uids(SAME, Uid::from_raw(0), SAME).map_err(|e| failed("becoming root", e))?;
        Ok(Root { back: Some(self.caller) })
    }

    /// fork(2), by root where this process has that right: the caller's limit on processes, which
    /// this process may count under, does not bind it then (`CAP_SYS_ADMIN`). The child still has
    /// root's effective uid: [`Privilege::lower_again`] is for it.
    ///
    /// # Errors
    /// fork(2)'s.
    pub(super) fn fork(&self) -> Result<Side, Errno> {
        self.forked(kernel::fork)
    }

    /// The same, for a child that shares this process's descriptors.
    ///
    /// # Errors
    /// clone(2)'s.
    pub(super) fn fork_sharing_descriptors(&self) -> Result<Side, Errno> {
        self.forked(kernel::fork_sharing_descriptors)
    }

    fn forked(&self, fork: impl FnOnce() -> Result<Side, Errno>) -> Result<Side, Errno> {
        let root = self.raise().map_err(|_| Errno::EPERM)?;
        let side = fork()?;
        if matches!(side, Side::Child) {
            // A child tells its parent itself where it cannot be lowered.
            root.spend();
        }
        Ok(side)
    }

    /// In a child: the caller's effective uid again, as its parent has it.
    ///
    /// # Errors
    /// setresuid(2)'s.
    pub(super) fn lower_again(&self) -> Result<(), Errno> {
        if self.immune.get() { Ok(()) } else { kernel::set_uids(SAME, self.caller, SAME) }
    }

    /// Root until this process becomes somebody else for good: for a child on its way to an exec.
    ///
    /// # Errors
    /// [`Reason::Switch`].
    pub(super) fn raise_for_good(&self) -> Result<Root, Refusal> {
        kernel::set_uids(SAME, Uid::from_raw(0), SAME).map_err(|e| failed("becoming root", e))?;
        Ok(Root { back: None })
    }

    /// Whether [`Privilege::become_immune`] has been done.
    pub fn is_immune(&self) -> bool {
        self.immune.get()
    }

    /// Who runs glexec.
    pub const fn caller(&self) -> Uid {
        self.caller
    }

    /// Uid and gid of who runs glexec.
    pub(super) const fn ids(&self) -> (Uid, Gid) {
        (self.caller, self.gid)
    }
}

impl Root {
    /// Root where there are rights. In log-only mode there are none: whoever takes it then works with
    /// the rights that this process has, which are less.
    ///
    /// # Errors
    /// [`Reason::Switch`].
    pub fn as_far_as_there_is(rights: &Result<Privilege, Reason>) -> Result<Self, Refusal> {
        rights.as_ref().map_or_else(|_| Ok(Self::without_rights()), Privilege::raise)
    }

    /// That of a process which is root and stays it; `None` where this one is not.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        Uid::effective().is_root().then_some(Self { back: None })
    }

    /// Stands in for root where there is none.
    pub(super) const fn without_rights() -> Self {
        Self { back: None }
    }

    /// Ends it in a process that has given root up for good: there is nothing left to lower.
    pub(super) fn spend(mut self) {
        self.back = None;
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if let Some(caller) = self.back {
            set_effective(caller);
        }
    }
}

/// Changes the effective uid alone. A process that cannot give up what it holds must not go on.
pub(super) fn set_effective(uid: Uid) {
    if kernel::set_uids(SAME, uid, SAME).is_err() {
        kernel::exit_now(Reason::Switch.fault().exit_code());
    }
}

fn failed(what: &str, errno: Errno) -> Refusal {
    Refusal::new(Reason::Switch, "the identity switch failed; see the log")
        .detail(format!("{what}: {}", errno.desc()))
}
