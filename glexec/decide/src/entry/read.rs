//! Reading what a run has written down: for who pays and who looks, not for the setuid program.

use super::{Bytes, OF_CONTROL, RecordedRun, Unreadable, VERSION};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use system::Birth;

/// How a process is read: [`Birth`] knows nothing of files.
#[derive(Deserialize)]
#[serde(remote = "Birth")]
pub(super) struct Process {
    pid: i32,
    start: u64,
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes: Option<Vec<u8>> = text.chars().map(byte_of).collect();
        bytes.map(Self).ok_or_else(|| D::Error::custom("a character that stands for no byte"))
    }
}

fn byte_of(character: char) -> Option<u8> {
    let number = u32::from(character);
    match number.checked_sub(OF_CONTROL) {
        None => u8::try_from(number).ok(),
        Some(control) => u8::try_from(control).ok().filter(u8::is_ascii_control),
    }
}

impl RecordedRun {
    /// Reads a file. A line that is not whole, at the end or before it, was being written when the
    /// disk was full or the power went. It tells nothing: least of all that something is paid, so
    /// what it would have said is owed still.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(text: &[u8]) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let garbage =
            |e: serde_json::Error| Unreadable::Garbage(system::text::one_line(&e.to_string()));
        let whole = memchr::memrchr(b'\n', text).and_then(|end| text.get(..end));
        let whole = whole.ok_or_else(|| Unreadable::Garbage("it has no whole line".to_owned()))?;
        let mut lines = whole.split(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        let Versioned { version } = serde_json::from_slice(first).map_err(garbage)?;
        if !(1..=VERSION).contains(&version) {
            return Err(Unreadable::Version(version));
        }
        let entry = serde_json::from_slice(first).map_err(garbage)?;
        let phases = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
        Ok(Self { entry, phases })
    }
}
