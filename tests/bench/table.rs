//! What was measured, for people: tables in Markdown.

use crate::growth::{self, Growth};
use crate::launch::{Row, Table};
use crate::statistics::{Interval, Spread};
use harness::instructions::MOST;

/// The heads of the columns that a table of launches has.
const HEADS: [&str; 11] = [
    "peer",
    "wall us [p10..p90]",
    "x C, wall",
    "CPU us [p10..p90]",
    "x C, CPU",
    "glexec linger / it, wall",
    "glexec linger / it, CPU",
    "page faults",
    "user instructions",
    "system calls",
    "failed",
];

/// The same of the table of what grows.
const GROWTH_HEADS: [&str; 9] = [
    "what",
    "beside",
    "unit",
    "glexec",
    "base",
    "x base",
    "CPU: glexec",
    "CPU: base",
    "CPU: x base",
];

/// A median and its interval.
pub(crate) fn interval(known: Option<Interval>, digits: usize) -> String {
    known.map_or_else(
        || "-".to_owned(),
        |i| format!("{:.digits$} [{:.digits$}..{:.digits$}]", i.middle, i.low, i.high),
    )
}

fn spread(spread: Spread) -> String {
    format!("{:.0} [{:.0}..{:.0}]", spread.middle, spread.low, spread.high)
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn instructions(counted: u64) -> String {
    let more = if counted == MOST { "> " } else { "" };
    format!("{more}{}", grouped(counted))
}

fn cells(row: &Row) -> Vec<String> {
    vec![
        row.peer.to_owned(),
        spread(row.wall),
        interval(row.wall_ratio, 2),
        spread(row.cpu),
        interval(row.cpu_ratio, 2),
        interval(row.ours_of_its_wall, 3),
        interval(row.ours_of_its_cpu, 3),
        format!("{:.0}", row.faults),
        row.instructions.map_or_else(|| "-".to_owned(), instructions),
        row.calls.map_or_else(|| "-".to_owned(), |calls| calls.to_string()),
        row.failures.len().to_string(),
    ]
}

/// One line for each peer, and one for each that failed.
pub(crate) fn of_launches(table: &Table) -> String {
    let rows: Vec<Vec<String>> = table.rows.iter().map(cells).collect();
    let mut text = format!("\n## Payload: {}\n\n{}", table.payload, markdown(&HEADS, &rows));
    for row in table.rows.iter().filter(|row| !row.failures.is_empty()) {
        text += &format!("\nFAILED: {}: exit codes {:?}\n", row.peer, row.failures);
    }
    text
}

/// A figure whose size decides how many digits it has.
fn figure(known: Option<Interval>) -> String {
    let large = known.is_some_and(|known| known.middle.abs() >= 10.0);
    interval(known, if large { 0 } else { 2 })
}

/// One line for each thing that grows, and one for each that could not be measured.
pub(crate) fn of_growth(growth: &Growth) -> String {
    let cells = |row: &growth::Row| {
        let mut cells = vec![row.what.clone(), row.beside.to_owned(), row.unit.to_owned()];
        for beside in [&row.figure, &row.cpu] {
            cells.extend([figure(beside.ours), figure(beside.base), interval(beside.ratio, 2)]);
        }
        cells
    };
    let rows: Vec<Vec<String>> = growth.rows.iter().map(cells).collect();
    let mut text = format!("\n## What grows\n\n{}", markdown(&GROWTH_HEADS, &rows));
    for line in &growth.not_measured {
        text += &format!("\nNOT MEASURED: {line}\n");
    }
    text
}

/// A table whose columns stand below each other in plain text, too; all but the first are numbers.
pub(crate) fn markdown(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(String::len);
        cells.chain(heads.get(at).map(|head| head.len())).max().unwrap_or(0)
    };
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().enumerate().map(|(at, cell)| match at {
            0 => format!(" {cell:<wide$} ", wide = width(at)),
            _ => format!(" {cell:>wide$} ", wide = width(at)),
        });
        format!("|{}|\n", padded.collect::<Vec<_>>().join("|"))
    };
    let rule = (0..heads.len()).map(|at| match at {
        0 => "-".repeat(width(at) + 2),
        _ => format!("{}:", "-".repeat(width(at) + 1)),
    });
    let rule = format!("|{}|\n", rule.collect::<Vec<_>>().join("|"));
    let rows = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    format!("{}{rule}{}", line(heads.to_vec()), rows.collect::<String>())
}
