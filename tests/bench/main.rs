//! bench: what a launch costs. Runs glexec, a C program with the same duties, other launchers and
//! nothing at all turn and turn about in random order, and prints a table for each payload.
//!
//! The machine may be slow and busy: what holds are the ratios, each taken within one round.

mod caller;
mod chart;
mod growth;
mod install;
mod instructions;
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
    let heading = heading(&request, &peers, &missing);
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

/// Where and how, and what is not there.
fn heading(request: &Request, peers: &[Peer], missing: &[&str]) -> String {
    let one_line = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let processor = one_line("/proc/cpuinfo");
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name\t: "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut text = format!(
        "{} rounds of {} launches each, in random order (seed {}); {} x {}, Linux {}, load {}\n",
        request.rounds,
        request.launches,
        request.seed,
        cores,
        processor.unwrap_or("unknown processor"),
        one_line("/proc/sys/kernel/osrelease"),
        one_line("/proc/loadavg"),
    );
    let measured = |name: &str| peers.iter().any(|peer| peer.name == name);
    let flavour = std::env::var("GLEXEC_DIST").map(|dist| one_line(&format!("{dist}/flavour")));
    text += &match (measured("glexec"), flavour) {
        (true, Ok(flavour)) => format!("glexec: {flavour}\n"),
        (true, Err(_)) => "glexec: the tests' build (GLEXEC_DIST is not set), slower\n".to_owned(),
        (false, _) => "glexec: left out\n".to_owned(),
    };
    for name in missing {
        text += &format!("{name}: not installed here, left out\n");
    }
    if which::which("strace").is_err() {
        text += "strace is not installed: system calls are not counted\n";
    }
    text + "\
        x C: to the C program with the same duties (tests/bench/features.c), paired within a round:\n\
        the median and its 95 % interval. Wall time and CPU (user and system, of every process of a\n\
        launch) in microseconds. Page faults: those that read nothing from a disk. User instructions\n\
        and system calls are counted in a launch of their own; the payload's and the epilogue's\n\
        instructions do not count.\n"
}
