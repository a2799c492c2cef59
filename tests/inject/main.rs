//! Every system call of glexec's, from its start to the sweep after it, fails, lies or is the
//! last; and whatever it is, the promises hold (trial.rs has them).
//!
//! ```text
//! tests/run inject                          every fault of every call: half an hour
//! tests/run inject WORD...                  those whose name has one of the words in it
//! tests/run inject pool/glexec:openat:7:EIO one of them, as a violation names it
//! tests/run                                 a share of them, another one for each seed
//! GLEXEC_SEED=N GLEXEC_LANES=N              the seed; how many sites at a time (2)
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::exit,
    clippy::wildcard_enum_match_arm
)]

mod faults;
mod scenario;
mod trial;

use harness::tamper::Spot;
use scenario::Scenario;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};
use trial::{Lane, Planned, Verdict, Way};

/// Without a word so many of each scenario are tried: three minutes on two processors.
const SHARE: usize = 240;

/// Which spots are tried.
struct Choice {
    /// Every one whose name has one of these in it, or every one; `None` for a share.
    words: Option<Vec<String>>,
    seed: usize,
    lanes: u32,
}

impl Choice {
    fn from_the_command_line() -> Option<Self> {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seed = number("GLEXEC_SEED")
            .unwrap_or_else(|| clock.map_or(0, |d| d.subsec_micros() as usize));
        let lanes = number("GLEXEC_LANES").and_then(|n| u32::try_from(n).ok()).unwrap_or(2).max(1);
        let words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
        let mut words: Vec<String> = words.collect();
        let words = match words.first().map(String::as_str) {
            None => None,
            Some("all") => Some(words.split_off(1)),
            // Names of other tests: not for us.
            Some(_) => return None,
        };
        Some(Self { words, seed, lanes })
    }

    /// Those of a scenario's spots that are tried.
    fn of<'s>(&self, scenario: &Scenario, all: &'s [Spot]) -> Vec<&'s Spot> {
        let Some(words) = &self.words else {
            // How many there are depends on the processes of the machine: glexec looks at them.
            let step = all.len().div_ceil(SHARE).max(1);
            return all.iter().skip(self.seed % step).step_by(step).collect();
        };
        let named = |spot: &&Spot| {
            let name = name(scenario, spot);
            words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
        };
        all.iter().filter(named).collect()
    }

    /// Whether a scenario may have a spot that is wanted.
    fn may_have(&self, scenario: &Scenario) -> bool {
        self.words.as_ref().is_none_or(|words| {
            let of = |word: &String| {
                word.split_once('/').is_none_or(|(of, _)| scenario.name.ends_with(of))
            };
            words.is_empty() || words.iter().any(of)
        })
    }
}

fn name(scenario: &Scenario, spot: &Spot) -> String {
    format!("{}/{spot}", scenario.name)
}

#[derive(Default)]
struct Tally {
    runs: usize,
    unreached: usize,
    unmoved: usize,
    stopped: usize,
    killed: usize,
    owed: usize,
    violations: usize,
}

impl Tally {
    fn add(&mut self, verdict: &Verdict) {
        self.runs += 1;
        self.owed += usize::from(verdict.owed);
        self.violations += usize::from(!verdict.wrong.is_empty());
        let way = match verdict.way {
            Way::NotReached => &mut self.unreached,
            Way::Unmoved => &mut self.unmoved,
            Way::Stopped => &mut self.stopped,
            Way::Killed => &mut self.killed,
        };
        *way += 1;
    }
}

fn main() {
    let Some(choice) = Choice::from_the_command_line() else { return };
    let start = Instant::now();
    if choice.words.is_none() {
        println!(
            "{SHARE} faults of each scenario, GLEXEC_SEED={}; all of them: tests/run inject",
            choice.seed
        );
    }
    println!("scenario          runs unmoved stopped  killed    owed not-reached violations");
    let (mut runs, mut failed) = (0, 0);
    for scenario in scenario::ALL.iter().filter(|scenario| choice.may_have(scenario)) {
        let tally = of_a_scenario(scenario, &choice);
        runs += tally.runs;
        failed += tally.violations;
    }
    println!("{:.0} s", start.elapsed().as_secs_f64());
    println!("{} passed, {failed} failed", runs.saturating_sub(failed));
    std::process::exit(i32::from(failed > 0));
}

fn of_a_scenario(scenario: &Scenario, choice: &Choice) -> Tally {
    let start = Instant::now();
    let first = Lane::new(scenario, 1);
    let recorded = first.trial(None);
    let mut tally = Tally::default();
    if let Err(why) = recorded.is_clean(&first) {
        println!("{}: without tampering, too: {why}", scenario.name);
        return Tally { runs: 1, violations: 1, ..tally };
    }
    let all = faults::spots(&recorded.tampering);
    let chosen = choice.of(scenario, &all);
    let (next, told) = (AtomicUsize::new(0), Mutex::new(&mut tally));
    drop(first);
    std::thread::scope(|scope| {
        for number in 1..=scenario.lanes(choice.lanes) {
            let (next, told, chosen) = (&next, &told, &chosen);
            scope.spawn(move || walk(&Lane::new(scenario, number), (chosen, next), told));
        }
    });
    if tally.unreached * 5 > tally.runs {
        println!("{}: too many runs never came to the spot", scenario.name);
        tally.violations += 1;
    }
    println!(
        "{:15} {:6} {:7} {:7} {:7} {:7} {:11} {:10}   {} spots, {:.0} s",
        scenario.name,
        tally.runs,
        tally.unmoved,
        tally.stopped,
        tally.killed,
        tally.owed,
        tally.unreached,
        tally.violations,
        all.len(),
        start.elapsed().as_secs_f64(),
    );
    tally
}

/// Tries one spot after the other until none is left.
fn walk(lane: &Lane<'_>, (spots, next): (&[&Spot], &AtomicUsize), told: &Mutex<&mut Tally>) {
    // A pool's accounts differ from lane to lane: each has its own measure.
    let clean = lane.trial(None);
    if let Err(why) = clean.is_clean(lane) {
        println!("{}: without tampering: {why}", lane.scenario.name);
        told.lock().unwrap().violations += 1;
        return;
    }
    let planned: Planned = clean.planned;
    while let Some(spot) = spots.get(next.fetch_add(1, Ordering::Relaxed)) {
        let tried = catch_unwind(AssertUnwindSafe(|| {
            let mut verdict = lane.trial(Some(spot));
            verdict.compare(&planned);
            verdict
        }));
        let mut tally = told.lock().unwrap();
        match tried {
            Ok(verdict) => {
                tally.add(&verdict);
                if !verdict.wrong.is_empty() {
                    println!(
                        "\nVIOLATION tests/run inject {}\n  {}\n    {}",
                        name(lane.scenario, spot),
                        verdict.wrong.join("\n  "),
                        verdict.details
                    );
                } else if spots.len() == 1 {
                    // Who asks for one of them wants to see it.
                    println!("\n{}\n    {}", name(lane.scenario, spot), verdict.details);
                }
            }
            Err(_) => {
                tally.runs += 1;
                tally.violations += 1;
                println!(
                    "\nVIOLATION tests/run inject {}\n  the trial itself failed",
                    name(lane.scenario, spot)
                );
            }
        }
    }
}
