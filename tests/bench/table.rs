//! What was measured, for people.

use crate::Row;
use crate::statistics::{Spread, ratio};
use std::io::{Result, Write};

/// One line for each peer; the rows are in the peers' order, `direct` first.
pub(crate) fn write(out: &mut impl Write, title: &str, rows: &[Row]) -> Result<()> {
    writeln!(out, "\npayload: {title}")?;
    writeln!(
        out,
        "{:<24}{:>8}  {:<14}{:<22}{:<22}{:>6}{:>8}",
        "", "wall us", "[p10..p90]", "x C", "x direct", "calls", "failed"
    )?;
    let rounds_of =
        |name: &str| rows.iter().find(|row| row.peer.name == name).map(|row| row.rounds.as_slice());
    for row in rows {
        let against = |name: Option<&str>| {
            let spread = name.and_then(rounds_of).and_then(|base| ratio(&row.rounds, base));
            spread.map_or_else(
                || "-".to_owned(),
                |s| format!("{:.2} [{:.2}..{:.2}]", s.middle, s.low, s.high),
            )
        };
        let Some(wall) = Spread::of(row.rounds.concat()) else { continue };
        let range = format!("[{:.0}..{:.0}]", wall.low, wall.high);
        let calls = row.calls.map_or_else(|| "-".to_owned(), |calls| calls.to_string());
        writeln!(
            out,
            "{:<24}{:>8.0}  {range:<14}{:<22}{:<22}{calls:>6}{:>8}",
            row.peer.name,
            wall.middle,
            against(row.peer.base),
            against(Some("direct")),
            row.failures.len()
        )?;
    }
    Ok(())
}
