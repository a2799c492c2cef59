//! The C library's own fnmatch(3) has the last word on wildcards.
#![allow(unsafe_code, clippy::unwrap_used)]

use proptest::prelude::*;
use std::ffi::CString;

fn by_the_c_library(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (CString::new(pattern).unwrap(), CString::new(text).unwrap());
    const FNM_NOESCAPE: i32 = 2;
    // SAFETY: two NUL-ended texts that live until it returns.
    unsafe { libc::fnmatch(pattern.as_ptr(), text.as_ptr(), FNM_NOESCAPE) == 0 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn wildcards_stand_for_what_the_c_library_says(
        pattern in "[\\[\\]ab*?!^:\\\\/-]{0,9}",
        text in "[\\[\\]ab*?!^:\\\\/-]{0,7}",
    ) {
        let ours = credential::wildcard::matches(pattern.as_bytes(), text.as_bytes());
        prop_assert_eq!(ours, by_the_c_library(&pattern, &text), "{} {}", pattern, text);
    }
}
