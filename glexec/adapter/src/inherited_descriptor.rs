//! Descriptors that a program was given by number.

use nix::unistd::close;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use system::kernel::borrow;

/// A descriptor that [`Hold`](super::Hold) kept for this program: a copy that no program started
/// from here inherits. The number itself is free afterwards.
///
/// # Errors
/// Where the number is none above 2, nothing is open under it, or no descriptor is left.
pub fn take_kept(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let own = borrow(number).try_clone_to_owned()?;
    close(number)?;
    Ok(own)
}
