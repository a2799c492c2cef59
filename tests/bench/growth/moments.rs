//! How soon after the payload's end the epilogue starts.

use super::ground::{self, C_EPILOGUE};
use super::{Beside, Row, Tools};
use crate::caller::Line;
use crate::install::STAMP;
use crate::peers::{AND_EPILOGUE, FEATURES};
use crate::rounds::Way;
use crate::statistics::{Interval, ratio, ratio_of_percentiles};
use anyhow::{Context as _, Result, ensure};
use harness::{EPILOGUE, GLEXEC, Site};

const ROUNDS: u32 = 200;
/// What the payload writes, and what the epilogue writes.
const END: &str = "/var/lib/site/end";
const BEGIN: &str = "/var/lib/site/begin";

fn stamp(site: &Site, path: &str) -> Result<u64> {
    let bytes = std::fs::read(site.path(path)).with_context(|| path.to_owned())?;
    let bytes = bytes.try_into().ok().with_context(|| format!("{path}: no stamp"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Microseconds between the two stamps of a launch.
fn between(site: &Site, way: &mut Way) -> Result<f64> {
    way.turn(1)?;
    way.all_went_well()?;
    let (end, begin) = (stamp(site, END)?, stamp(site, BEGIN)?);
    ensure!(begin >= end, "the epilogue began before the payload's end");
    site.file(BEGIN, "", 0o644);
    Ok((begin - end) as f64 / 1000.0)
}

/// Median, and what nine of ten are below.
pub(crate) fn measure(tools: &mut Tools) -> Result<Vec<Row>> {
    let site = ground::site(tools, AND_EPILOGUE)?;
    tools.compiled.install(&site, "stamp", STAMP, 0o755)?;
    tools.compiled.install(&site, "stamp", EPILOGUE, 0o755)?;
    site.file(END, "", 0o666);
    site.file(BEGIN, "", 0o644);
    let line = |words: &[&str]| {
        let words = words.iter().chain(&[STAMP, END]);
        Line::of(words.map(|word| (*word).to_owned()).collect())
    };
    let mut ways = [
        ground::way(&site, "glexec", line(&[GLEXEC]))?,
        ground::way(&site, "C", line(&[FEATURES, "epilogue"]))?,
    ];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for at in tools.dice.order(ways.len()) {
            let (Some(way), Some(times)) = (ways.get_mut(at), times.get_mut(at)) else { continue };
            times.push(between(&site, way)?);
        }
    }
    let [ours, base] = times;
    let row = |what: &str, percent, ratio| Row {
        what: what.to_owned(),
        beside: C_EPILOGUE,
        unit: "us",
        figure: Beside {
            ours: Interval::at(ours.clone(), percent),
            base: Interval::at(base.clone(), percent),
            ratio,
        },
        cpu: Beside::default(),
    };
    Ok(vec![
        row("epilogue starts after the payload's end, median", 50, ratio(&ours, &base)),
        row(
            "epilogue starts after the payload's end, p90",
            90,
            ratio_of_percentiles(&ours, &base, 90, tools.dice),
        ),
    ])
}
