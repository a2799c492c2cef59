//! bench: what a launch costs. Runs glexec, a C program with the same duties, other launchers and
//! nothing at all turn and turn about in random order, and prints a table for each payload.
//!
//! The machine may be slow and busy: what holds are the ratios, each taken within one round.

mod caller;
mod chart;
mod growth;
mod heading;
mod install;
mod launch;
mod peers;
mod request;
mod rounds;
mod statistics;
mod table;
mod trace;

use anyhow::{Context as _, Result};
use growth::Growth;
use install::Compiled;
use peers::Peer;
use request::Request;
use serde::Serialize;
use statistics::Dice;
use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;

/// Everything that was measured, for programs.
#[derive(Debug, Serialize)]
struct Report {
    /// Where and how, line by line.
    heading: Vec<String>,
    launches: Vec<launch::Table>,
    growth: Growth,
}

fn main() -> ExitCode {
    match bench() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(stderr(), "bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether no launch failed.
fn bench() -> Result<bool> {
    let request = Request::read()?;
    let (peers, missing) = Peer::chosen(|name| request.leaves_out(name));
    let mut dice = Dice::new(request.seed);
    let compiled = Compiled::new()?;
    let heading = heading::text(&request, &peers, &missing);
    write!(stdout(), "{heading}")?;
    let heading = heading.lines().map(str::to_owned).collect();
    let mut report = Report { heading, launches: Vec::new(), growth: Growth::default() };
    if request.launch {
        report.launches = launch::measure(&request, &peers, &compiled, &mut dice)?;
        for table in &report.launches {
            write!(stdout(), "{}", table::of_launches(table))?;
        }
    }
    if request.growth {
        report.growth = growth::measure(&compiled, &mut dice);
        write!(stdout(), "{}", table::of_growth(&report.growth))?;
    }
    report.write(&request)?;
    Ok(report.is_whole())
}

impl Report {
    /// Whether no launch failed, and everything could be measured.
    fn is_whole(&self) -> bool {
        let mut rows = self.launches.iter().flat_map(|table| &table.rows);
        rows.all(|row| row.failures.is_empty()) && self.growth.not_measured.is_empty()
    }

    /// Into the files that were asked for.
    fn write(&self, request: &Request) -> Result<()> {
        if let Some(path) = &request.json {
            let text = serde_json::to_string_pretty(self)? + "\n";
            std::fs::write(path, text).with_context(|| path.display().to_string())?;
        }
        if let (Some(path), Some(table)) = (&request.svg, self.launches.first()) {
            std::fs::write(path, chart::of_launches(table))
                .with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}
