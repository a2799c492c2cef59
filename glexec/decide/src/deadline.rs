//! A deadline of a process that may itself be stopped or frozen: time that it slept through does
//! not count. It looks up in small steps, and who looks up late was away.

use std::time::{Duration, Instant};

/// The steps.
const STEP: Duration = Duration::from_secs(1);
/// What a busy machine may make of a step without that counting as away.
const LATE: Duration = Duration::from_secs(1);
/// How often time is given back for having been away. Each time is as long as it was, so this
/// bounds what a machine that is always late can make of a deadline.
const MOST: u32 = 100;

/// When something must have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    until: Instant,
    /// When to look up next.
    next: Instant,
    given: u32,
    /// What may still be given back for the other's standing still.
    credit: Duration,
}

impl Deadline {
    /// `timeout` from `start` on. As much again may be given back for what stood still.
    pub fn new(start: Instant, timeout: Duration) -> Self {
        let until = start + timeout;
        Self { until, next: start.min(until), given: 0, credit: timeout }
    }

    /// Another time, from now on.
    pub fn renew(&mut self, now: Instant, time: Duration) {
        self.until = now + time;
    }

    /// Until when to sleep at most.
    pub fn next(&mut self, now: Instant) -> Instant {
        self.next = self.until.min(now + STEP);
        self.next
    }

    /// It woke up. Time slept through is given back; whether it was, or would have been.
    pub fn woke(&mut self, now: Instant) -> Away {
        let late = now.saturating_duration_since(self.next);
        if late < LATE {
            return Away::No;
        }
        if self.given >= MOST {
            return Away::TooOften;
        }
        self.given += 1;
        self.until += late;
        Away::GivenBack(late)
    }

    /// What is waited for stood still for so long. Whether that could be given back.
    pub fn stood_still(&mut self, time: Duration) -> bool {
        let given = time.min(self.credit);
        self.credit -= given;
        self.until += given;
        given == time
    }

    /// Whether it is past.
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }
}

/// Whether a sleeper was away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Away {
    /// It woke up in time.
    No,
    /// So much later, which is given back.
    GivenBack(Duration),
    /// Later, and nothing is given back any more.
    TooOften,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn time_awake_counts_and_time_away_does_not() {
        let start = Instant::now();
        let mut deadline = Deadline::new(start, 10 * SECOND);
        let mut now = start;
        for _ in 0..5 {
            now = deadline.next(now);
            assert_eq!(deadline.woke(now), Away::No);
        }
        let hour = 3600 * SECOND;
        now = deadline.next(now) + hour;
        assert_eq!(deadline.woke(now), Away::GivenBack(hour));
        assert!(!deadline.is_over(now) && !deadline.is_over(now + 3 * SECOND));
        assert!(deadline.is_over(now + 4 * SECOND));
    }

    #[test]
    fn who_is_always_late_comes_to_an_end() {
        let start = Instant::now();
        let mut deadline = Deadline::new(start, 10 * SECOND);
        let mut now = start;
        let mut rounds = 0;
        while !deadline.is_over(now) {
            now = deadline.next(now) + 5 * SECOND;
            let _ = deadline.woke(now);
            rounds += 1;
            assert!(rounds < 1000, "it never ends");
        }
        let mut deadline = Deadline::new(start, 3 * SECOND);
        for round in 0..5 {
            assert_eq!(deadline.stood_still(SECOND), round < 3, "{round}");
        }
        assert!(deadline.is_over(start + 6 * SECOND));
    }
}
