//! Who is told while a run goes on. `act` calls it, `report` is it.

use super::refusal::Refusal;
use contract::Record;
use std::time::Duration;

/// How much a line matters, as in `log_level`: 1 to 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The site must act.
    Error = 1,
    /// Somebody should look.
    Warning = 2,
    /// Every begin and end.
    Notice = 3,
    /// What was left out or changed on the way.
    Info = 4,
    /// Every step.
    Debug = 5,
}

/// The one who tells the log and the status stream. Neither ever blocks, neither ever fails.
pub trait Reporter {
    /// A line for the log.
    fn log(&self, level: Level, text: &str);
    /// A record for the status stream.
    fn status(&self, record: &Record);
    /// The line that the caller is to read on stderr about this; `None` where the site wants none
    /// there.
    fn complaint(&self, stop: &Refusal) -> Option<String>;
}

/// Where finished bytes go. `act` opens it, `report` fills it.
pub trait Sink {
    /// Sends one line whole or not at all, and says which. `patience` is how long a reader that
    /// sleeps is waited for; zero never waits.
    fn deliver(&self, bytes: &[u8], patience: Duration) -> bool;

    /// Why it did not take the last one: one clause that names the place and says what to do.
    fn trouble(&self) -> String;
}
