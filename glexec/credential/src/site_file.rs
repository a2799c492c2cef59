//! A file of the site's, as glexec has opened it.

use crate::refused::Refused;
use std::io::Read as _;
use std::os::fd::RawFd;
use system::kernel::borrow;

/// The largest map file: a million lines.
const MOST_OF_MAP: u64 = 128 << 20;

/// A file of the site's that was opened by who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapFile {
    /// Its descriptor.
    pub(crate) number: RawFd,
    /// Its path, for what is said of it.
    pub path: String,
}

impl MapFile {
    pub(crate) fn of(word: &str) -> Option<Self> {
        let (number, path) = word.split_once(':')?;
        let number = number.parse().ok().filter(|number| *number > 2)?;
        Some(Self { number, path: path.to_owned() })
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`Refused::site`].
    pub fn read(&self) -> Result<Vec<u8>, Refused> {
        let failed = |why: &str| Refused::site(format!("{} {why}", self.path));
        let file = borrow(self.number).try_clone_to_owned();
        let file = file.map_err(|error| failed(&format!("is not open: {error}")))?;
        let file = std::fs::File::from(file);
        // Read into room for all of it, and a byte more, by which its end is seen.
        let size = file.metadata().map_or(0, |meta| meta.len()).min(MOST_OF_MAP);
        let room = usize::try_from(size + 1).map_err(|_| failed("is too large"))?;
        let mut text = Vec::with_capacity(room);
        let read = file.take(MOST_OF_MAP + 1).read_to_end(&mut text);
        read.map_err(|error| failed(&format!("cannot be read: {error}")))?;
        if u64::try_from(text.len()).is_ok_and(|length| length > MOST_OF_MAP) {
            return Err(failed(&format!("is larger than {MOST_OF_MAP} bytes")));
        }
        Ok(text)
    }
}
