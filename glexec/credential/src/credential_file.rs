//! The caller's credential as it lies in a file that was opened with the caller's rights.

use crate::refused::Refused;
use nix::sys::stat::{SFlag, fstat};
use std::io::Read as _;
use std::os::fd::AsFd;

/// The largest credential: VOMS attributes of a large collaboration take some tens of KiB.
pub const MOST: u64 = 1 << 20;

/// Reads a credential: a regular file, its owner's alone, bounded.
///
/// # Errors
/// [`Refused::credential`].
pub fn read(file: impl AsFd + std::io::Read, owner: u32) -> Result<Vec<u8>, Refused> {
    let unreadable = |why: String| Refused::credential(format!("cannot be read: {why}"));
    let stat = fstat(file.as_fd()).map_err(|errno| unreadable(errno.desc().to_owned()))?;
    if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
        return Err(Refused::credential("is no regular file"));
    }
    if stat.st_uid != owner {
        return Err(Refused::credential(format!(
            "belongs to uid {}, and not to the caller (uid {owner})",
            stat.st_uid
        )));
    }
    let mode = stat.st_mode & 0o7777;
    if mode & !0o700 != 0 {
        return Err(Refused::credential(format!(
            "is open to others (mode {mode:04o}); chmod 0600 it"
        )));
    }
    let mut text = Vec::new();
    file.take(MOST + 1).read_to_end(&mut text).map_err(|error| unreadable(error.to_string()))?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MOST) {
        return Err(Refused::credential(format!("is larger than {MOST} bytes")));
    }
    Ok(text)
}
