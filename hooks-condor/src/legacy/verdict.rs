//! What is decided: whether a call of glexec is repeated, and after which time. Pure. (Facts 1.2
//! and 1.3.)

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
