//! What a change adds to a launch, and what the same change adds to the C program's.

use super::{Beside, Row, Tools};
use crate::rounds::{Figures, Way, take_turns};
use crate::statistics::{Dice, Interval, differences, ratio_of_medians};
use anyhow::{Context as _, Result, ensure};

/// The launches of a round, of which the median counts.
const LAUNCHES: u32 = 3;

/// Two ways that differ in one thing.
#[derive(Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) plain: Way<'a>,
    pub(crate) grown: Way<'a>,
}

/// What is compared, and in how many rounds.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) what: &'a str,
    pub(crate) beside: &'static str,
    pub(crate) rounds: u32,
}

/// Has all ways take turns: how much more the grown one takes than the plain one.
///
/// # Errors
/// Where a launch fails or hangs.
pub(crate) fn measure(
    question: &Question,
    ours: Pair,
    base: Option<Pair>,
    tools: &mut Tools,
) -> Result<Row> {
    let mut ways = vec![ours.plain, ours.grown];
    ways.extend(base.into_iter().flat_map(|base| [base.plain, base.grown]));
    take_turns(&mut ways, question.rounds, LAUNCHES, tools.dice)?;
    for way in &ways {
        way.all_went_well().with_context(|| question.what.to_owned())?;
    }
    let figures: Vec<Figures> = ways.into_iter().map(|way| way.figures).collect();
    let of = |which: fn(&Figures) -> &Vec<f64>, dice: &mut Dice| {
        let added = |plain: usize| {
            let (plain, grown) = (figures.get(plain)?, figures.get(plain + 1)?);
            Some(differences(which(grown), which(plain)))
        };
        beside(added(0), added(2), dice)
    };
    let figure = of(|figures| &figures.wall, tools.dice);
    ensure!(figure.ours.is_some(), "{}: nothing was measured", question.what);
    Ok(Row {
        what: question.what.to_owned(),
        beside: question.beside,
        unit: "us added",
        figure,
        cpu: of(|figures| &figures.cpu, tools.dice),
    })
}

fn beside(ours: Option<Vec<f64>>, base: Option<Vec<f64>>, dice: &mut Dice) -> Beside {
    let ratio = match (&ours, &base) {
        (Some(ours), Some(base)) => ratio_of_medians(ours, base, dice),
        _ => None,
    };
    Beside { ours: ours.and_then(Interval::of), base: base.and_then(Interval::of), ratio }
}
