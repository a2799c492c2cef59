//! Who calls glexec where it is measured: nothing of the harness is about it.

use crate::site::Site;
use crate::{accounts, raw};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::unistd::{chdir, setsid};
use std::fs::File;
use std::os::fd::AsRawFd as _;

/// In a child: the site's files, somebody's ids, a batch system's plain state.
pub fn become_caller(site: &Site, who: &str, null: &File) -> Result<(), Errno> {
    setns(site.namespace(), CloneFlags::CLONE_NEWNS)?;
    setsid()?;
    raw::end_with_exec_from(3)?;
    for number in 0..3 {
        raw::put(null.as_raw_fd(), number)?;
    }
    raw::set_mask(0);
    (1..=64).for_each(|signal| raw::set_ignored(signal, false));
    let who = accounts::named(who);
    raw::become_user(who.uid, who.gid, &who.groups)?;
    // After the change of ids, which clears it.
    raw::control(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64)?;
    chdir("/")
}
