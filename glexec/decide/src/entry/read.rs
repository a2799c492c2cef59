//! Reading what a run has written down: for who pays and who looks, not for the setuid program.

use super::{Bytes, OF_CONTROL};
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
