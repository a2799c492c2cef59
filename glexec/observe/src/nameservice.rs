//! Reads nsswitch.conf(5), which tells whether a site has more accounts than the files name.

use contract::Reason;
use decide::refusal::Refusal;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use system::secure_open::{self, Opened};

const SWITCH: &str = "/etc/nsswitch.conf";

/// The text of nsswitch.conf(5), empty where there is none: the files are all there is then. It is
/// read as the C library reads it, links followed: some distributions keep it elsewhere, and only
/// root can change what `/etc` says.
///
/// # Errors
/// [`Reason::Accounts`] where it is there and cannot be read: a site's other accounts and groups
/// would be missing.
pub(crate) fn text() -> Result<Vec<u8>, Refusal> {
    const MOST: u64 = 1 << 20;
    let failed = |clause: &str| {
        Refusal::new(Reason::Accounts, "the account database cannot be read; see the log")
            .detail(clause)
    };
    let unread = |errno: Errno| failed(&format!("{SWITCH} cannot be read: {}", errno.desc()));
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = match openat(AT_FDCWD, SWITCH, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::ENOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(unread(errno)),
    };
    let stat = fstat(&file).map_err(unread)?;
    secure_open::read(Opened { file, stat }, SWITCH, MOST).map_err(|u| failed(u.clause()))
}
