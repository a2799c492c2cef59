//! Reads nsswitch.conf(5), which tells whether a site has more accounts than the files name.

use contract::Reason;
use decide::refusal::Refusal;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::Read as _;

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
    let failed = |why: &str| {
        Refusal::new(Reason::Accounts, "the account database cannot be read; see the log")
            .detail(format!("{SWITCH} cannot be read: {why}"))
    };
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = match openat(AT_FDCWD, SWITCH, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(failed(errno.desc())),
    };
    let mut text = Vec::with_capacity(2048);
    file.take(MOST + 1).read_to_end(&mut text).map_err(|error| failed(&error.to_string()))?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MOST) {
        return Err(failed(&format!("it has more than {MOST} bytes")));
    }
    Ok(text)
}
