//! Who is calling, by the kernel's word.

use contract::Reason;
use decide::facts::KernelIds;
use decide::refusal::Refusal;
use nix::unistd::{Gid, Uid, getgroups};

/// Real uid, real gid and supplementary groups of this process.
///
/// # Errors
/// [`Reason::Internal`].
pub(super) fn kernel_ids() -> Result<KernelIds, Refusal> {
    let groups = getgroups().map_err(|e| {
        Refusal::new(Reason::Internal, "the kernel does not tell the caller's groups")
            .detail(format!("getgroups: {}", e.desc()))
    })?;
    Ok(KernelIds { uid: Uid::current(), gid: Gid::current(), groups })
}
