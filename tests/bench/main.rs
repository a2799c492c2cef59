//! bench: what a launch costs. Runs glexec, a C program with the same duties, other launchers and
//! nothing at all turn and turn about in random order, and prints a table for each payload.
//!
//! The machine may be slow and busy: what holds are the ratios, each taken within one round.

mod caller;
mod install;
mod instructions;
mod launch;
mod peers;
mod request;
mod rounds;
mod statistics;
mod table;
mod trace;

use anyhow::Result;
use install::Compiled;
use peers::Peer;
use request::Request;
use statistics::Dice;
use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;

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
    write!(stdout(), "{}", heading(&request, &peers, &missing))?;
    let mut good = true;
    if request.launch {
        for table in launch::measure(&request, &peers, &compiled, &mut dice)? {
            write!(stdout(), "{}", table::of_launches(&table))?;
            good &= table.rows.iter().all(|row| row.failures.is_empty());
        }
    }
    Ok(good)
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
