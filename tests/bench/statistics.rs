//! Medians, tenths, and ratios of what was measured in the same round.

/// The middle of some values, and what a tenth of them is below and above.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) middle: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// None where there is no value.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |percent: usize| values.get((last * percent + 50) / 100).copied();
        Some(Self { low: at(10)?, middle: at(50)?, high: at(90)? })
    }
}

/// How many times as long as the base, round by round: a machine that slows down slows both.
pub(crate) fn ratio(rounds: &[Vec<f64>], base: &[Vec<f64>]) -> Option<Spread> {
    let middle = |round: &Vec<f64>| Spread::of(round.clone()).map(|spread| spread.middle);
    let pairs = rounds.iter().zip(base);
    Spread::of(pairs.filter_map(|(one, other)| Some(middle(one)? / middle(other)?)).collect())
}
