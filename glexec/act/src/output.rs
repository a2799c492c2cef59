//! What the epilogue prints, line by line to the log, bounded.

use decide::reporter::{Level, Reporter};
use nix::unistd::read;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use system::text::escaped;

/// The most of one line, and of all.
const LONGEST_LINE: usize = 1024;
const MOST: usize = 64 * 1024;

/// The reading end of the epilogue's output, where that goes to the log.
#[derive(Debug)]
pub(super) struct Output {
    pipe: Option<OwnedFd>,
    line: Vec<u8>,
    told: usize,
}

impl Output {
    pub(super) const fn new(pipe: Option<OwnedFd>) -> Self {
        Self { pipe, line: Vec::new(), told: 0 }
    }

    /// What to wait for.
    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(|pipe| pipe.as_fd())
    }

    /// Reads some of what is there: so much that a writer without end does not keep us from
    /// the clock. Never blocks.
    pub(super) fn drain(&mut self, reporter: &dyn Reporter) {
        const READS: usize = 32;
        let mut room = [0u8; 4096];
        for _ in 0..READS {
            let Some(pipe) = &self.pipe else { return };
            match read(pipe, &mut room) {
                Ok(0) => {
                    self.pipe = None;
                    self.end_line(reporter);
                }
                Ok(length) => self.take(room.get(..length).unwrap_or_default(), reporter),
                Err(_) => return,
            }
        }
    }

    /// The rest, a last line without its end included.
    pub(super) fn finish(mut self, reporter: &dyn Reporter) {
        self.drain(reporter);
        self.end_line(reporter);
    }

    fn take(&mut self, bytes: &[u8], reporter: &dyn Reporter) {
        if self.told > MOST {
            return;
        }
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(reporter),
                _ if self.line.len() < LONGEST_LINE => self.line.push(*byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self, reporter: &dyn Reporter) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() || self.told > MOST {
            return;
        }
        self.told += line.len();
        reporter.log(Level::Notice, &format!("epilogue: \"{}\"", escaped(&line)));
        if self.told > MOST {
            reporter.log(Level::Warning, "epilogue: it prints too much; the rest is not logged");
        }
    }
}
