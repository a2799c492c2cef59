//! Waiting for the target, but not for ever: a payload that has taken over what runs as the target
//! must not hold the starter.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// A pipe on which something has to come within this time.
pub(crate) struct Patient<R>(pub(crate) R, pub(crate) Duration);

impl<R: Read + AsFd> Read for Patient<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let limit = PollTimeout::try_from(self.1).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], limit)? {
            0 => Err(io::Error::new(io::ErrorKind::TimedOut, "the target is silent")),
            _ => self.0.read(to),
        }
    }
}

/// Waits for a child's end, at most so long.
pub(crate) fn end_of(child: &mut Child, limit: Duration) -> io::Result<ExitStatus> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the target does not end"));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn what_says_nothing_and_does_not_end_is_not_waited_for() {
        let limit = Duration::from_millis(50);
        let mut child = Command::new("sleep").arg("60").stdout(Stdio::piped()).spawn().unwrap();
        let mut pipe = Patient(child.stdout.take().unwrap(), limit);
        assert_eq!(pipe.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(end_of(&mut child, limit).unwrap_err().kind(), io::ErrorKind::TimedOut);
        child.kill().unwrap();
        assert!(end_of(&mut child, Duration::from_secs(10)).is_ok());
        assert_eq!(pipe.read(&mut [0]).unwrap(), 0, "its end is no silence");
    }
}
