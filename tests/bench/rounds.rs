//! Rounds in which every way has a turn, in an order of their own each.

use crate::caller::{Caller, Launch, Line};
use crate::statistics::{Dice, median};
use anyhow::{Context as _, Result, ensure};
use harness::Site;

/// One way to launch that takes its turns: a caller who knows one line.
#[derive(Debug)]
pub(crate) struct Way<'a> {
    name: String,
    site: &'a Site,
    /// What is written into `[glexec]` before each turn.
    settings: Option<&'a str>,
    caller: Caller,
    /// What came of it so far.
    pub(crate) figures: Figures,
}

/// What was measured of one way, round by round: the medians of the round's launches.
#[derive(Debug, Default, Clone)]
pub(crate) struct Figures {
    /// Microseconds of the clock.
    pub(crate) wall: Vec<f64>,
    /// Microseconds of the processors.
    pub(crate) cpu: Vec<f64>,
    pub(crate) faults: Vec<f64>,
    /// The exit codes other than 0.
    pub(crate) failures: Vec<u64>,
}

impl<'a> Way<'a> {
    /// `who` calls `line` in a site whose configuration stays as it is.
    ///
    /// # Errors
    /// Where no caller can be started.
    pub(crate) fn new(name: &str, site: &'a Site, who: &str, line: Line) -> Result<Self> {
        let caller = Caller::start(site, who, &[line]).with_context(|| name.to_owned())?;
        let figures = Figures::default();
        Ok(Self { name: name.to_owned(), site, settings: None, caller, figures })
    }

    /// The configuration is written anew before each turn, the same one as well: else only those
    /// after whom it changes would find a fresh file.
    pub(crate) fn with_settings(mut self, settings: &'a str) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Launches so often, one after the other.
    ///
    /// # Errors
    /// Where the caller is gone or hangs.
    pub(crate) fn turn(&mut self, launches: u32) -> Result<()> {
        if let Some(settings) = self.settings {
            self.site.settings(settings);
        }
        let done = self.caller.launch(0, launches).with_context(|| self.name.clone())?;
        self.figures.add(&done);
        Ok(())
    }

    /// Says which codes other than 0 there were.
    ///
    /// # Errors
    /// Where there was one.
    pub(crate) fn all_went_well(&self) -> Result<()> {
        let failures = &self.figures.failures;
        ensure!(failures.is_empty(), "{}: exit codes {failures:?}", self.name);
        Ok(())
    }
}

impl Figures {
    fn add(&mut self, launches: &[Launch]) {
        let middle = |of: fn(&Launch) -> u64| {
            median(launches.iter().map(|launch| of(launch) as f64).collect())
        };
        self.wall.extend(middle(|launch| launch.nanoseconds).map(|ns| ns / 1000.0));
        self.cpu.extend(middle(|launch| launch.cpu));
        self.faults.extend(middle(|launch| launch.faults));
        self.failures.extend(launches.iter().map(|launch| launch.code).filter(|code| *code != 0));
    }
}

/// Has every way its turn in each round, after one round for warmth that is not kept.
///
/// # Errors
/// Where a caller is gone or hangs.
pub(crate) fn take_turns(
    ways: &mut [Way],
    rounds: u32,
    launches: u32,
    dice: &mut Dice,
) -> Result<()> {
    for way in ways.iter_mut() {
        way.turn(1)?;
        way.figures = Figures::default();
    }
    for _ in 0..rounds {
        for at in dice.order(ways.len()) {
            if let Some(way) = ways.get_mut(at) {
                way.turn(launches)?;
            }
        }
    }
    Ok(())
}
