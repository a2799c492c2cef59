//! How a process between fork and exec tells its parent how far it came: a word just before exec,
//! or the step that failed, over a pipe that a successful exec closes. The word is what tells a
//! process that was executed from one that died on its way: a pipe is closed by both.

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags};
use nix::unistd::{pipe2, read, write};
use std::cell::Cell;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};

/// An enumeration of steps, each with what the log says.
macro_rules! steps {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $told:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$each])* $variant),+ }

        impl $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The clause by which the log names the step.
            pub const fn told(self) -> &'static str {
                match self {
                    $(Self::$variant => $told,)+
                }
            }
        }
    };
}

steps! {
    /// What is done between fork and exec, in this order.
    Step {
        /// The process itself.
        Start = "starting a process",
        /// Its session or group.
        Place = "making a process group or session",
        /// Its keyring.
        Keyring = "joining a new session keyring",
        /// What the caller had set of its process.
        Settings = "undoing what the caller has set of its process",
        /// setgroups(2).
        Groups = "setgroups",
        /// setresgid(2).
        Gid = "setresgid",
        /// setresuid(2).
        Uid = "setresuid",
        /// That the ids are as planned.
        Proof = "proving that the ids are as planned and root is out of reach",
        /// The parent's death signal.
        Parent = "asking for the parent's death signal",
        /// Its directory.
        Directory = "changing the directory",
        /// Its descriptors.
        Descriptors = "laying out the descriptors",
        /// Its resource limits.
        Limits = "setting the resource limits",
        /// The caller's credential.
        Credential = "opening the caller's credential",
        /// A lease in a gridmapdir.
        Lease = "making a lease",
        /// The payload's copy of a proxy.
        Proxy = "the payload's proxy",
        /// execve(2).
        Exec = "exec",
    }
}

/// The step that failed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub step: Step,
    /// What the kernel said.
    pub errno: Errno,
}

impl Failure {
    /// To be used with `map_err`.
    pub const fn at(step: Step) -> impl Fn(Errno) -> Self {
        move |errno| Self { step, errno }
    }

    /// One clause for the log.
    pub fn told(&self) -> String {
        format!("{}: {}", self.step.told(), self.errno.desc())
    }
}

/// The parent's end.
#[derive(Debug)]
pub struct StatusReader {
    pipe: OwnedFd,
    /// Whether the child has said that exec is its next call.
    at_exec: Cell<bool>,
}

/// The child's end, which exec closes.
#[derive(Debug)]
pub struct StatusWriter(OwnedFd);

/// What a parent knows of its child's way to exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Still under way.
    Pending,
    /// It has been executed.
    Executed,
    /// It has ended on its way, by a signal or without memory for a word: nothing was executed.
    Ended,
    /// The pipe cannot be read, so only its end tells something of it.
    Unknown,
    /// A step failed.
    Failed(Failure),
}

/// The first byte of what is written just before exec; that of a failure is the step's number.
const AT_EXEC: u8 = u8::MAX;

/// A pipe for one child.
///
/// # Errors
/// pipe2(2)'s.
pub fn pair() -> Result<(StatusReader, StatusWriter), Errno> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    Ok((StatusReader { pipe: reader, at_exec: Cell::new(false) }, StatusWriter(writer)))
}

impl StatusWriter {
    /// The descriptor that must stay open.
    pub(super) fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Says that exec is the next call, and makes it. Returns only where one of them failed.
    pub fn execute(&self, exec: impl FnOnce() -> Errno) -> Failure {
        match write(&self.0, &[AT_EXEC]) {
            Ok(1) => Failure { step: Step::Exec, errno: exec() },
            Ok(_) => Failure { step: Step::Start, errno: Errno::EIO },
            Err(errno) => Failure { step: Step::Start, errno },
        }
    }

    /// Tells of a failure. There is room: besides one byte it is the only thing ever written.
    pub fn tell(&self, failure: Failure) {
        let step = Step::ALL.iter().position(|step| *step == failure.step).unwrap_or(0);
        let mut message = [0u8; 5];
        let (head, tail) = message.split_at_mut(1);
        head.fill(u8::try_from(step).unwrap_or(0));
        tail.copy_from_slice(&(failure.errno as i32).to_ne_bytes());
        let _ = write(&self.0, &message);
    }
}

impl StatusReader {
    /// The descriptor that must stay open.
    pub(super) fn number(&self) -> RawFd {
        self.pipe.as_raw_fd()
    }

    /// To be waited for until the child has been executed or has ended. Whatever it says before
    /// wakes nobody: its end follows at once.
    pub(super) fn end(&self) -> PollFd<'_> {
        PollFd::new(self.pipe.as_fd(), PollFlags::empty())
    }

    /// The last that a child said, for a parent that knows the child to have ended.
    pub(super) fn last_verdict(&self) -> Verdict {
        let verdict = self.verdict();
        match (verdict == Verdict::Pending, self.at_exec.get()) {
            (false, _) => verdict,
            (true, true) => Verdict::Executed,
            (true, false) => Verdict::Ended,
        }
    }

    /// What has come so far. Never blocks.
    pub fn verdict(&self) -> Verdict {
        let mut message = [0u8; 6];
        loop {
            let length = match read(&self.pipe, &mut message) {
                Err(Errno::EAGAIN) => return Verdict::Pending,
                Err(Errno::EINTR) => continue,
                Err(_) => return Verdict::Unknown,
                Ok(length) => length,
            };
            let said = match message.get(..length) {
                Some([AT_EXEC, rest @ ..]) => {
                    self.at_exec.set(true);
                    rest
                }
                said => said.unwrap_or_default(),
            };
            match said {
                [step, errno @ ..] => return Verdict::Failed(failure(*step, errno)),
                [] if length > 0 => {}
                [] if self.at_exec.get() => return Verdict::Executed,
                [] => return Verdict::Ended,
            }
        }
    }
}

/// As [`StatusWriter::tell`] wrote it.
fn failure(step: u8, errno: &[u8]) -> Failure {
    let step = Step::ALL.get(usize::from(step)).copied().unwrap_or(Step::Start);
    let number = errno.try_into().map_or(0, i32::from_ne_bytes);
    Failure { step, errno: Errno::from_raw(number) }
}

/// Where a child waits until its parent is ready for it.
#[derive(Debug)]
pub struct StartGate(OwnedFd);

/// What lets it go; dropped unused, it ends it.
#[derive(Debug)]
pub struct GateOpener(OwnedFd);

/// What a waiting child is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Released {
    /// Go on.
    Go,
    /// Say this line to the caller, in the parent's stead, and end.
    Say(Vec<u8>),
    /// End: the parent is gone, or does not want it any more.
    End,
}

/// What goes through a gate in one write is read in one (pipe(7), `PIPE_BUF`).
const LONGEST: usize = 4096;
const GO: u8 = b'.';
const SAY: u8 = b'!';

/// A latch for one child.
///
/// # Errors
/// pipe2(2)'s.
pub fn gate() -> Result<(StartGate, GateOpener), Errno> {
    let (latch, key) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((StartGate(latch), GateOpener(key)))
}

impl StartGate {
    /// In the child: waits for the parent's word.
    pub fn wait(&self, own_copy: GateOpener) -> Released {
        drop(own_copy);
        let mut message = [0u8; LONGEST];
        let length = loop {
            match read(&self.0, &mut message) {
                Err(Errno::EINTR) => {}
                Err(_) => return Released::End,
                Ok(length) => break length,
            }
        };
        match message.get(..length).and_then(<[u8]>::split_first) {
            Some((&GO, _)) => Released::Go,
            Some((&SAY, line)) => Released::Say(line.to_vec()),
            Some(_) | None => Released::End,
        }
    }
}

impl GateOpener {
    /// In the parent: lets the child go. Where the child is gone, its end tells.
    pub fn turn(self) {
        while write(&self.0, &[GO]) == Err(Errno::EINTR) {}
    }

    /// In the parent: has the child say a line, cut where it is too long for one write. The pipe is
    /// empty and ours, so this does not wait.
    pub fn say(self, line: &str) {
        let line = line.as_bytes();
        let line = line.get(..LONGEST - 1).unwrap_or(line);
        let _ = write(&self.0, &[&[SAY], line].concat());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_arrives_as_it_was_told_and_who_says_nothing_has_ended() {
        let (reader, writer) = pair().unwrap();
        assert_eq!(reader.verdict(), Verdict::Pending);
        let failure = Failure { step: Step::Exec, errno: Errno::ENOENT };
        writer.tell(failure);
        assert_eq!(reader.verdict(), Verdict::Failed(failure));
        assert_eq!(reader.last_verdict(), Verdict::Ended);
        drop(writer);
        assert_eq!(reader.verdict(), Verdict::Ended);
    }

    #[test]
    fn a_word_before_exec_and_an_end_is_an_exec() {
        for asked_between in [false, true] {
            let (reader, writer) = pair().unwrap();
            writer.execute(|| Errno::ENOENT);
            if asked_between {
                assert_eq!(reader.verdict(), Verdict::Pending);
            }
            assert_eq!(reader.last_verdict(), Verdict::Executed);
            drop(writer);
            assert_eq!(reader.verdict(), Verdict::Executed);
        }
    }

    #[test]
    fn an_exec_that_failed_is_a_failure() {
        for asked_between in [false, true] {
            let (reader, writer) = pair().unwrap();
            let failure = writer.execute(|| Errno::E2BIG);
            assert_eq!(failure, Failure { step: Step::Exec, errno: Errno::E2BIG });
            if asked_between {
                assert_eq!(reader.verdict(), Verdict::Pending);
            }
            writer.tell(failure);
            drop(writer);
            assert_eq!(reader.verdict(), Verdict::Failed(failure));
        }
    }

    #[test]
    fn a_child_that_waits_goes_on_says_a_line_or_ends() {
        let (latch, key) = gate().unwrap();
        let copy = GateOpener(key.0.try_clone().unwrap());
        key.turn();
        assert_eq!(latch.wait(copy), Released::Go);
        for (line, length) in [("[gLExec]: no\n".to_owned(), 13), ("x".repeat(5000), LONGEST - 1)] {
            let (latch, key) = gate().unwrap();
            let copy = GateOpener(key.0.try_clone().unwrap());
            key.say(&line);
            assert_eq!(latch.wait(copy), Released::Say(line.as_bytes()[..length].to_vec()));
        }
        let (latch, key) = gate().unwrap();
        assert_eq!(latch.wait(key), Released::End);
    }

    #[test]
    fn every_step_has_its_number() {
        for &step in Step::ALL {
            let (reader, writer) = pair().unwrap();
            writer.tell(Failure { step, errno: Errno::EPERM });
            assert!(matches!(reader.verdict(), Verdict::Failed(f) if f.step == step));
        }
    }
}
