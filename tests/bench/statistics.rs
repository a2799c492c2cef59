//! Medians and what is known of them, ratios of what was measured in the same round, and the
//! random order of the rounds.

use serde::Serialize;

/// How often a ratio of two medians is drawn anew for its interval.
const DRAWS: usize = 400;

/// Some values in order.
fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The value that this part of a hundred is below, of values in order.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last * percent + 50) / 100).copied()
}

/// The middle of some values; `None` where there is none.
pub(crate) fn median(values: Vec<f64>) -> Option<f64> {
    percentile(&sorted(values), 50)
}

/// The middle of some values, and what a tenth of them is below and above.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    #[serde(rename = "p10")]
    pub(crate) low: f64,
    #[serde(rename = "median")]
    pub(crate) middle: f64,
    #[serde(rename = "p90")]
    pub(crate) high: f64,
}

impl Spread {
    /// `None` where there is no value.
    pub(crate) fn of(values: Vec<f64>) -> Option<Self> {
        let values = sorted(values);
        let at = |percent| percentile(&values, percent);
        Some(Self { low: at(10)?, middle: at(50)?, high: at(90)? })
    }
}

/// A median, and the interval that the true one is in with 95 %.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    #[serde(rename = "median")]
    pub(crate) middle: f64,
    pub(crate) high: f64,
}

impl Interval {
    /// By the sign test: how many of n values are below the true median is a toss of n coins, so
    /// the values at n/2 ± 0.98 √n enclose it, whatever the values are like.
    pub(crate) fn of(values: Vec<f64>) -> Option<Self> {
        Self::at(values, 50)
    }

    /// The same for the value that this part of a hundred is below.
    pub(crate) fn at(values: Vec<f64>, percent: usize) -> Option<Self> {
        let values = sorted(values);
        let (count, part) = (values.len() as f64, percent as f64 / 100.0);
        let half = 1.96 * (count * part * (1.0 - part)).sqrt();
        let not_above = |limit: f64| (1..=values.len()).take_while(|n| *n as f64 <= limit).count();
        let first = not_above(count * part - half).saturating_sub(1);
        let last = not_above(count * part + half).min(values.len().checked_sub(1)?);
        Some(Self {
            low: *values.get(first)?,
            middle: percentile(&values, percent)?,
            high: *values.get(last)?,
        })
    }
}

/// How many times the base, round by round: a machine that slows down slows both.
pub(crate) fn ratio(values: &[f64], base: &[f64]) -> Option<Interval> {
    let pairs = values.iter().zip(base).filter(|(_, base)| **base > 0.0);
    Interval::of(pairs.map(|(one, other)| one / other).collect())
}

/// How much more than the base, round by round.
pub(crate) fn differences(values: &[f64], base: &[f64]) -> Vec<f64> {
    values.iter().zip(base).map(|(one, other)| one - other).collect()
}

/// A ratio of two medians where a single base may be near zero, so that a ratio within a round
/// says nothing.
pub(crate) fn ratio_of_medians(above: &[f64], below: &[f64], dice: &mut Dice) -> Option<Interval> {
    ratio_of_percentiles(above, below, 50, dice)
}

/// A ratio of what a part of a hundred is below, with the interval in which it falls when the
/// values are drawn anew.
pub(crate) fn ratio_of_percentiles(
    above: &[f64],
    below: &[f64],
    percent: usize,
    dice: &mut Dice,
) -> Option<Interval> {
    let of = |values: Vec<f64>| percentile(&sorted(values), percent);
    let middle = of(above.to_vec())? / of(below.to_vec())?;
    let mut drawn = Vec::new();
    for _ in 0..DRAWS {
        let draw = |values: &[f64], dice: &mut Dice| {
            let picked = (0..values.len()).filter_map(|_| values.get(dice.below(values.len())));
            of(picked.copied().collect())
        };
        drawn.push(draw(above, dice)? / draw(below, dice)?);
    }
    let drawn = sorted(drawn);
    let at = |part: usize| drawn.get(part).copied();
    Some(Interval { low: at(DRAWS / 40)?, middle, high: at(DRAWS - 1 - DRAWS / 40)? })
}

/// Random numbers that the same seed gives again (xorshift64*).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// From a seed; the state must not be 0.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15 | 1)
    }

    /// A number below this one; 0 where it is 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).ok().and_then(|number| number.checked_rem(limit)).unwrap_or(0)
    }

    /// The numbers below this one in random order.
    pub(crate) fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}
