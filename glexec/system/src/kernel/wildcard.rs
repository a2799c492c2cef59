//! Wildcards, as the C library itself understands them.

use nix::errno::Errno;
use std::ffi::CStr;

/// Whether a pattern of fnmatch(3) with `FNM_NOESCAPE` stands for the whole of a text: `*` matches
/// `/`, too, a leading dot is like any other byte, and a backslash stands for itself. Sets in
/// brackets are those of the process's locale.
///
/// # Errors
/// EINVAL where the C library has another answer than yes and no: glibc's for want of memory.
pub fn wildcards_match(pattern: &CStr, text: &CStr) -> Result<bool, Errno> {
    // SAFETY: two texts that end with a NUL and outlive the call, which only reads them.
    match unsafe { libc::fnmatch(pattern.as_ptr(), text.as_ptr(), libc::FNM_NOESCAPE) } {
        0 => Ok(true),
        libc::FNM_NOMATCH => Ok(false),
        _ => Err(Errno::EINVAL),
    }
}
