//! Waiting for the target, but not for ever: a payload that has taken over what runs as the target
//! must not hold the starter.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// What a pipe takes at once where it takes anything (pipe(7), PIPE_BUF).
const AT_ONCE: usize = 4096;

/// A pipe on which something has to come, or to be taken, within this time.
pub(crate) struct Patient<P>(pub(crate) P, pub(crate) Duration);

fn wait_for(pipe: BorrowedFd<'_>, what: PollFlags, limit: Duration) -> io::Result<()> {
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(pipe, what)], limit)? {
        0 => Err(io::Error::new(io::ErrorKind::TimedOut, "the target is silent")),
        _ => Ok(()),
    }
}

impl<R: Read + AsFd> Read for Patient<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        wait_for(self.0.as_fd(), PollFlags::POLLIN, self.1)?;
        self.0.read(to)
    }
}

impl<W: Write + AsFd> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        wait_for(self.0.as_fd(), PollFlags::POLLOUT, self.1)?;
        self.0.write(bytes.get(..AT_ONCE).unwrap_or(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Waits for a child's end, at most so long. Then it is ended: as long as it lives it holds the
/// pipe on which the starter waits for what this program has to say.
pub(crate) fn end_of(child: &mut Child, limit: Duration) -> io::Result<ExitStatus> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            if child.kill().is_ok() {
                let _ = child.wait();
            }
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
        assert!(child.try_wait().unwrap().is_some(), "it would hold the starter's pipe");
        assert_eq!(pipe.read(&mut [0]).unwrap(), 0, "its end is no silence");
    }

    #[test]
    fn what_takes_nothing_is_not_waited_for() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::piped()).spawn().unwrap();
        let mut pipe = Patient(child.stdin.take().unwrap(), Duration::from_millis(50));
        let error = pipe.write_all(&vec![0; 1 << 20]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(end_of(&mut child, Duration::ZERO).is_err());
        assert_eq!(pipe.write_all(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
