//! What was counted so far, and where the counting goes on.

use super::line::{self, Epilogue, Event, Payload};
use super::log_files::Known;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Upper bounds of the histogram of epilogues' durations, in milliseconds.
pub(super) const BOUNDS: [u64; 10] =
    [10, 50, 100, 500, 1000, 5000, 10_000, 30_000, 60_000, 300_000];
/// What this version writes.
const VERSION: u32 = 1;

/// A counter, as its metric is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Counter {
    Launches,
    Refusals,
    PayloadEnds,
    Epilogues,
    Stragglers,
    StragglersLeft,
    /// In microseconds.
    PayloadCpu,
    LinesOdd,
    LinesLost,
    Gaps,
}

/// What is kept between two calls, in one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Totals {
    version: u32,
    /// Of each counter, by the values of its labels with blanks between them.
    counts: BTreeMap<Counter, BTreeMap<String, u64>>,
    /// How many epilogues took no longer than each bound and longer than the one before; then those
    /// that took longer than all.
    durations: [u64; BOUNDS.len() + 1],
    /// What all of them took together.
    milliseconds: u64,
    /// Where the log goes on.
    pub(super) files: Vec<Known>,
}

impl Default for Totals {
    fn default() -> Self {
        let (counts, durations) = (BTreeMap::new(), [0; BOUNDS.len() + 1]);
        Self { version: VERSION, counts, durations, milliseconds: 0, files: Vec::new() }
    }
}

impl Totals {
    /// Reads what was written by [`Totals::text`].
    ///
    /// # Errors
    /// One clause.
    pub(super) fn from_text(text: &[u8]) -> Result<Self, String> {
        let totals: Self = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        if totals.version == VERSION {
            return Ok(totals);
        }
        Err(format!("it is of version {} and this program knows {VERSION}", totals.version))
    }

    /// As it is kept.
    pub(super) fn text(&self) -> Result<String, String> {
        serde_json::to_string(self).map(|text| text + "\n").map_err(|e| e.to_string())
    }

    /// Counts one line of the log.
    pub(super) fn count(&mut self, line: &[u8]) {
        let told = match line::read(line) {
            Ok(None) => return,
            Ok(Some(told)) => told,
            Err(line::Odd) => return self.add(Counter::LinesOdd, "", 1),
        };
        self.add(Counter::LinesLost, "", told.lost);
        match told.event {
            Event::Begun(launch) => self.add(Counter::Launches, launch, 1),
            Event::Refused(reason) => self.add(Counter::Refusals, reason.word(), 1),
            Event::Settled(epilogue) => self.epilogue("sweep", epilogue),
            Event::Ended(ended) => {
                let how = match ended.payload {
                    Payload::Exit(code) => format!("exit {code}"),
                    Payload::Signal(signal) => format!("signal {signal}"),
                    Payload::NotStarted(code) => format!("not-started {code}"),
                };
                self.add(Counter::PayloadEnds, &how, 1);
                self.add(Counter::Stragglers, "", ended.stragglers.0);
                self.add(Counter::StragglersLeft, "", ended.stragglers.1);
                self.add(Counter::PayloadCpu, "user", ended.cpu.0);
                self.add(Counter::PayloadCpu, "system", ended.cpu.1);
                ended.epilogue.into_iter().for_each(|epilogue| self.epilogue("run", epilogue));
            }
        }
    }

    fn epilogue(&mut self, by: &str, epilogue: Epilogue<'_>) {
        let Epilogue { result, milliseconds } = epilogue;
        self.add(Counter::Epilogues, &format!("{by} {result}"), 1);
        let at = BOUNDS.iter().position(|bound| milliseconds <= *bound).unwrap_or(BOUNDS.len());
        if let Some(count) = self.durations.get_mut(at) {
            *count = count.saturating_add(1);
        }
        self.milliseconds = self.milliseconds.saturating_add(milliseconds);
    }

    /// Adds to a counter.
    pub(super) fn add(&mut self, counter: Counter, labels: &str, number: u64) {
        if number > 0 {
            let count = self.counts.entry(counter).or_default().entry(labels.to_owned());
            let count = count.or_default();
            *count = count.saturating_add(number);
        }
    }

    /// Every value of a counter that is not zero.
    pub(super) fn of(&self, counter: Counter) -> BTreeMap<String, u64> {
        self.counts.get(&counter).cloned().unwrap_or_default()
    }

    /// How many epilogues took no longer than each bound; all of them; their milliseconds.
    pub(super) fn histogram(&self) -> (Vec<u64>, u64, u64) {
        let mut all = 0_u64;
        let mut upwards: Vec<u64> = Vec::new();
        for count in self.durations {
            all = all.saturating_add(count);
            upwards.push(all);
        }
        upwards.truncate(BOUNDS.len());
        (upwards, all, self.milliseconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_nothing_else_is() {
        let mut totals = Totals::default();
        totals.count(b"glexec[1] t warning: banned: caller a: no exit_code=203 lost_lines=2\n");
        totals.count(b"glexec[1] t notice: settled a->b: epilogue=exit attempt=1 epilogue_seconds=400.000 run=1\n");
        totals.count(b"torn\n");
        let text = totals.text().unwrap();
        assert_eq!(Totals::from_text(text.as_bytes()), Ok(totals.clone()));
        assert_eq!(totals.of(Counter::Refusals)["banned"], 1);
        assert_eq!(totals.of(Counter::LinesLost)[""], 2);
        assert_eq!(totals.of(Counter::LinesOdd)[""], 1);
        assert_eq!(totals.histogram(), (vec![0; BOUNDS.len()], 1, 400_000));
        for other in
            [text.replace("\"version\":1", "\"version\":2"), text.replace('}', ""), String::new()]
        {
            assert!(Totals::from_text(other.as_bytes()).is_err(), "{other}");
        }
    }
}
