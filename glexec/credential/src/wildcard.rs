//! Wildcards of map files as LCMAPS has them: by the C library's own fnmatch(3) with
//! `FNM_NOESCAPE`, in the C locale, which this program never leaves.

use nix::errno::Errno;
use std::ffi::CString;
use system::kernel;

/// Whether a name with wildcards stands for this text.
///
/// # Errors
/// EINVAL where there is a NUL in one of them, or the C library does not say.
pub fn matches(pattern: &[u8], text: &[u8]) -> Result<bool, Errno> {
    // Most names of a long file have no wildcard.
    if memchr::memchr3(b'*', b'?', b'[', pattern).is_none() {
        return Ok(pattern == text);
    }
    let in_c = |bytes| CString::new(bytes).map_err(|_| Errno::EINVAL);
    kernel::wildcards_match(&in_c(pattern)?, &in_c(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_wildcards_stand_for_what_lcmaps_says() {
        for (pattern, text, stands) in [
            ("/O=x/*", "/O=x/CN=a/b", true),
            ("*", ".x", true),
            ("*", "", true),
            ("?", "", false),
            ("a", "a", true),
            ("a", "b", false),
            ("a\\*", "a\\b", true),
            ("a\\b", "a\\b", true),
            ("CN=[A-C]*", "CN=Bob", true),
            ("CN=[!B]*", "CN=Bob", false),
            ("CN=[^B]*", "CN=Alice", true),
            ("Br [ab] L", "Br [ab] L", false),
            ("[]a]", "]", true),
            ("[a", "[a", true),
            ("[[:digit:]x]", "7", true),
            ("[[:digit:]x]", "y", false),
            // Where our own code for it was found to differ from the library's.
            ("[*-", "[-", false),
            ("[[:none:]]", "[", false),
            ("[[=a=]]", "a", true),
            ("[[.a.]]", "a", true),
            ("a*b*c", "a.b.b.c", true),
            ("a*b*c", "a.b.b.d", false),
        ] {
            let found = matches(pattern.as_bytes(), text.as_bytes());
            assert_eq!(found, Ok(stands), "{pattern} {text}");
        }
    }

    #[test]
    fn what_the_library_cannot_be_asked_is_no_no() {
        assert_eq!(matches(b"a*\0", b"ab"), Err(Errno::EINVAL));
        assert_eq!(matches(b"a*", b"a\0"), Err(Errno::EINVAL));
    }

    #[test]
    fn many_stars_take_no_time_without_end() {
        let (pattern, text) = ("*a".repeat(2000), "a".repeat(1999));
        assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), Ok(false));
    }
}
