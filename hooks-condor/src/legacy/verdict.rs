//! What is decided: whether a call of glexec is repeated, after which time, and which links may
//! come back to the pilot. Pure. (Facts 1.2 and 1.3.)

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

/// All is well.
pub(crate) const DONE: u8 = 0;
/// Wrong words; of cleanup and `update_proxy` every failure.
pub(crate) const WRONG: u8 = 1;
/// It failed, and trying again is of no use.
pub(crate) const FINAL: u8 = 2;
/// It failed as often as it may.
pub(crate) const USED_UP: u8 = 3;

/// What the end of glexec means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It did its work.
    Done,
    /// Perhaps transient.
    Again,
    /// Trying again is of no use.
    Final,
}

/// 0 is good, 202 and 203 are perhaps transient, the rest and every signal is final.
pub(crate) const fn after(code: Option<i32>) -> After {
    match code {
        Some(0) => After::Done,
        Some(202 | 203) => After::Again,
        _ => After::Final,
    }
}

/// How long to wait after so many errors: the delay times one plus something random below the
/// number of errors, at most a hundredfold.
pub(crate) fn pause(delay: Duration, errors: u32, random: u64) -> Duration {
    let factor = 1 + random % u64::from(errors.max(1));
    delay.saturating_mul(u32::try_from(factor.min(100)).unwrap_or(100))
}

/// Whether a symbolic link, `depth` directories below the sandbox, leads to somewhere in it,
/// whatever other such links it passes: it goes up only at its beginning and no higher than the
/// sandbox, or names the sandbox in full.
pub(crate) fn stays_inside(target: &OsStr, depth: usize, sandbox: &Path) -> bool {
    let target = target.as_bytes();
    let is_up = |part: &&[u8]| *part == b"..";
    if target.first() == Some(&b'/') {
        let rest = target.strip_prefix(sandbox.as_os_str().as_bytes());
        let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with(b"/"));
        return rest.is_some_and(|rest| !rest.split(|b| *b == b'/').any(|part| is_up(&part)));
    }
    let plain = |part: &&[u8]| !part.is_empty() && *part != b".";
    let parts: Vec<&[u8]> = target.split(|b| *b == b'/').filter(plain).collect();
    let ups = parts.iter().take_while(|part| is_up(part)).count();
    ups <= depth && !parts[ups..].iter().any(is_up)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_202_and_203_are_tried_again() {
        assert_eq!(after(Some(0)), After::Done);
        for code in [202, 203] {
            assert_eq!(after(Some(code)), After::Again);
        }
        for code in [1, 126, 127, 201, 204, 255] {
            assert_eq!(after(Some(code)), After::Final);
        }
        assert_eq!(after(None), After::Final);
    }

    #[test]
    fn links_that_leave_are_told_from_those_that_stay() {
        let sandbox = Path::new("/execute/dir_1");
        let inside = |target: &str, depth| stays_inside(OsStr::new(target), depth, sandbox);
        for stays in ["a", "a/b", "./a", ".", "/execute/dir_1", "/execute/dir_1/a", "...", "a b"] {
            assert!(inside(stays, 0), "{stays}");
        }
        for leaves in [
            "..",
            "../a",
            "a/..",
            "a/../../b",
            "./../x",
            "/",
            "/etc/passwd",
            "/execute/dir_10",
            "/execute/dir_1/../dir_2",
            "/execute",
        ] {
            assert!(!inside(leaves, 0), "{leaves}");
        }
        assert!(inside("../../x", 2) && !inside("../../x", 1) && !inside("../a/../x", 2));
    }

    proptest! {
        #[test]
        fn the_pause_is_between_the_delay_and_a_hundredfold(
            seconds in 0u64..100_000, errors in 0u32..1000, random: u64
        ) {
            let delay = Duration::from_secs(seconds);
            let pause = pause(delay, errors, random);
            let most = delay * errors.clamp(1, 100);
            prop_assert!(delay <= pause && pause <= most, "{pause:?}");
        }
    }
}
