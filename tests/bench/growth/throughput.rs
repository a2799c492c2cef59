//! How many launches a second, one after the other and at once.

use super::ground::{self, C_LINGER};
use super::{Beside, Row, Tools};
use crate::caller::{Caller, Launch};
use crate::peers::LINGER;
use crate::statistics::{Interval, ratio};
use anyhow::{Result, ensure};

/// 1,000 in sequence, in parts that take turns.
const PARTS: u32 = 10;
const IN_SEQUENCE: u32 = 100;
/// How often 200 at once.
const TIMES: u32 = 5;
const AT_ONCE: u32 = 200;

/// Launches a second: by the clock, and of one processor.
#[derive(Default)]
struct Rates {
    wall: Vec<f64>,
    cpu: Vec<f64>,
}

impl Rates {
    fn add(&mut self, launches: &[Launch], count: u32) -> Result<()> {
        let failed = launches.iter().find(|launch| launch.code != 0);
        ensure!(failed.is_none(), "a launch failed: {failed:?}");
        let sum = |of: fn(&Launch) -> u64| launches.iter().map(of).sum::<u64>() as f64;
        self.wall.push(f64::from(count) * 1e9 / sum(|launch| launch.nanoseconds));
        self.cpu.push(f64::from(count) * 1e6 / sum(|launch| launch.cpu));
        Ok(())
    }
}

/// Beside the C program.
pub(crate) fn measure(tools: &mut Tools) -> Result<Vec<Row>> {
    let site = ground::site(tools, LINGER)?;
    let mut caller =
        Caller::start(&site, "pilot", &[ground::glexec(), ground::features("linger")])?;
    let mut rows = Vec::new();
    for (what, turns, at_once) in
        [("1,000 launches in sequence", PARTS, false), ("200 launches at once", TIMES, true)]
    {
        let mut rates = [Rates::default(), Rates::default()];
        for _ in 0..turns {
            for line in tools.dice.order(rates.len()) {
                let Some(rates) = rates.get_mut(line) else { continue };
                if at_once {
                    rates.add(&[caller.launch_at_once(line, AT_ONCE)?], AT_ONCE)?;
                } else {
                    rates.add(&caller.launch(line, IN_SEQUENCE)?, IN_SEQUENCE)?;
                }
            }
        }
        let [ours, base] = rates;
        rows.push(Row {
            what: what.to_owned(),
            beside: C_LINGER,
            unit: "launches/s",
            figure: beside(&ours.wall, &base.wall),
            cpu: beside(&ours.cpu, &base.cpu),
        });
    }
    Ok(rows)
}

fn beside(ours: &[f64], base: &[f64]) -> Beside {
    let [of_ours, of_base] = [ours, base].map(|rates| Interval::of(rates.to_vec()));
    Beside { ours: of_ours, base: of_base, ratio: ratio(ours, base) }
}
