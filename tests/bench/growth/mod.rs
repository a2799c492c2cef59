//! The second part: what grows with the site, the caller's words and the load.

mod accounts;
mod adapters;
mod added;
mod entries;
mod ground;
mod handover;
mod moments;
mod processes;
mod throughput;
mod waiting;
mod words;

use crate::install::Compiled;
use crate::statistics::{Dice, Interval};
use anyhow::Result;
use serde::Serialize;

/// A figure of glexec's, the same of what it is compared with, and how many times that it is.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Beside {
    pub(crate) ours: Option<Interval>,
    pub(crate) base: Option<Interval>,
    pub(crate) ratio: Option<Interval>,
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    /// What the base is.
    pub(crate) beside: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) figure: Beside,
    /// The same in time of the processors, which says more on a busy machine.
    pub(crate) cpu: Beside,
}

/// What was measured, and what could not be.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Growth {
    pub(crate) rows: Vec<Row>,
    /// What, and why not.
    pub(crate) not_measured: Vec<String>,
}

/// Compiled programs and chance, for those who measure.
#[derive(Debug)]
pub(crate) struct Tools<'a> {
    compiled: &'a Compiled,
    dice: &'a mut Dice,
}

/// What is measured, and by whom.
type Part = (&'static str, fn(&mut Tools) -> Result<Vec<Row>>);

const PARTS: [Part; 10] = [
    ("accounts", accounts::measure),
    ("state entries", entries::measure),
    ("mapping rows", accounts::mapping_rows),
    ("environment and arguments", words::measure),
    ("processes on the host", processes::measure),
    ("throughput", throughput::measure),
    ("waiting", waiting::measure),
    ("the epilogue's start", moments::measure),
    ("hand_over", handover::measure),
    ("adapters", adapters::measure),
];

/// Measures everything that can be measured here.
pub(crate) fn measure(compiled: &Compiled, dice: &mut Dice) -> Growth {
    let mut tools = Tools { compiled, dice };
    let mut growth = Growth::default();
    for (what, part) in PARTS {
        match part(&mut tools) {
            Ok(rows) => growth.rows.extend(rows),
            Err(error) => growth.not_measured.push(format!("{what}: {error:#}")),
        }
    }
    growth
}
