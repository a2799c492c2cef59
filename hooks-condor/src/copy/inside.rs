//! The target's end: what glexec runs instead of the job's command. It makes the copy, runs the
//! command in it as a process group of its own, passes signals on, gives the files back, and ends
//! as the command ended.

use super::place::moved;
use super::{LONGEST_SENTENCE, READY, STARTERS, TAKEN, names};
use crate::archive::{Rules, pack, unpack};
use adapter::tree::{open_directory, open_own_directory, remove};
use adapter::{end_as, take_kept};
use contract::{ADMIN_MUST_ACT, Ending};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::prctl::set_dumpable;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{AccessFlags, Pid, access};
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

/// The first word of a call by itself.
const BECOME: &str = "become";
/// The shell's codes for what cannot be executed, and what is not there.
const NOT_EXECUTABLE: u8 = 126;
const NOT_THERE: u8 = 127;

/// The words that the wrapper gives.
struct Task<'a> {
    line: UnixStream,
    scratch: &'a Path,
    place: &'a Path,
    /// Where the wrapper was.
    directory: &'a Path,
    command: &'a [OsString],
}

/// `glexec-condor-copy DESCRIPTOR SANDBOX COPY DIRECTORY COMMAND [ARG…]`, as `glexec-condor-wrapper`
/// calls it by glexec. Ends as the command ends; with 202 where the copy could not be made, which
/// the wrapper is told.
pub fn copy(words: &[OsString]) -> ! {
    if let [first, program, arguments @ ..] = words {
        if first == BECOME {
            end_as(become_command(program, arguments));
        }
    }
    // The payload has the same uid: it must not take the socket to the wrapper out of this process
    // (pidfd_getfd), or write in its memory. Where the program is not readable for the target
    // (mode 0711) that holds from the exec on.
    if let Err(errno) = set_dumpable(false) {
        complain(&format!("the payload could trace this program: {}", errno.desc()));
        end_as(Ending::Exited(ADMIN_MUST_ACT));
    }
    let Some(task) = Task::read(words) else {
        complain("this program is glexec-condor-wrapper's; nobody else calls it");
        end_as(Ending::Exited(ADMIN_MUST_ACT));
    };
    let _held = task.take_in().unwrap_or_else(|error| {
        // After a line the wrapper reads no more; it ends with this program.
        let sentence = format!("{}: {error}", task.place.display());
        let sentence = sentence.replace(|c: char| c.is_control(), " ");
        let line: String = sentence.chars().take(LONGEST_SENTENCE).collect();
        let _ = (&task.line).write_all(format!("{line}\n").as_bytes());
        end_as(Ending::Exited(ADMIN_MUST_ACT))
    });
    let ending = task.run();
    if let Err(error) = task.give_back() {
        complain(&format!("what the job made in {} is lost: {error}", task.place.display()));
    }
    let _ = env::set_current_dir("/");
    if let Err(error) = remove(task.place) {
        complain(&format!("{} is left behind: {error}", task.place.display()));
    }
    end_as(ending)
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "[glexec-condor]: {text}");
}

impl<'a> Task<'a> {
    fn read(words: &'a [OsString]) -> Option<Self> {
        let [descriptor, scratch, place, directory, command @ ..] = words else { return None };
        if command.is_empty() {
            return None;
        }
        let number = descriptor.to_str()?.parse().ok()?;
        let line = UnixStream::from(take_kept(number).ok()?);
        let [scratch, place, directory] = [scratch, place, directory].map(Path::new);
        Some(Self { line, scratch, place, directory, command })
    }

    /// Makes the copy. As long as what this gives is there nobody takes it for one that a dead run has
    /// left; a file system without such locks has nobody who removes them either.
    fn take_in(&self) -> io::Result<Option<Flock<OwnedFd>>> {
        DirBuilder::new().mode(0o700).create(self.place)?;
        let unpacked = open_directory(self.place).and_then(|directory| {
            let held = directory.try_clone()?;
            let held = Flock::lock(held, FlockArg::LockSharedNonblock).ok();
            unpack(directory.as_fd(), &mut BufReader::new(&self.line), Rules::default())?;
            self.enter()?;
            Ok(held)
        });
        match unpacked {
            Ok(held) => (&self.line).write_all(READY).map(|()| held),
            Err(error) => {
                let _ = remove(self.place);
                Err(error)
            }
        }
    }

    /// Goes where the job begins: into the copy, or where HTCondor has put it. A job that began elsewhere
    /// would find none of its files by their names, and leave its output where nobody looks for it.
    fn enter(&self) -> io::Result<()> {
        let begin = self.directory.as_os_str();
        let begin = moved(begin, self.scratch, self.place).unwrap_or_else(|| begin.to_owned());
        env::set_current_dir(&begin).map_err(|error| {
            let begin = begin.to_string_lossy();
            io::Error::other(format!(
                "the job would begin in {begin}, closed to its account: {error}"
            ))
        })
    }

    /// Runs the command until it ends.
    fn run(&self) -> Ending {
        let _ = SigSet::all().thread_block();
        let there = |word: &OsStr| moved(word, self.scratch, self.place);
        let or_same = |word: &OsString| there(word).unwrap_or_else(|| word.clone());
        let variables = env::vars_os().filter_map(|(name, value)| {
            let new = there(&value).or_else(|| self.instead_of_temporary(&name, &value));
            new.map(|value| (name, value))
        });
        // A child begins with the signals blocked that are blocked here: this program undoes that,
        // and becomes the command.
        let child = env::current_exe().and_then(|this| {
            let mut command = Command::new(this);
            command.arg(BECOME).args(self.command.iter().map(or_same)).envs(variables);
            command.process_group(0).spawn()
        });
        match child {
            Ok(child) => follow(child),
            Err(error) => not_started("glexec-condor-copy".as_ref(), &error),
        }
    }

    /// The copy, for a variable that names a directory for temporary files which is not for the
    /// target: what root's daemons mount on /tmp is the job owner's alone.
    fn instead_of_temporary(&self, name: &OsStr, value: &OsStr) -> Option<OsString> {
        let is_one = ["TMPDIR", "TEMP", "TMP"].iter().any(|known| name == *known);
        let may = AccessFlags::W_OK | AccessFlags::X_OK;
        (is_one && access(value, may).is_err()).then(|| self.place.as_os_str().to_owned())
    }

    fn give_back(&self) -> io::Result<()> {
        let mut out = BufWriter::new(&self.line);
        let left = pack(open_own_directory(self.place)?.as_fd(), &mut out, &names(&STARTERS))?;
        out.flush()?;
        if !left.is_nothing() {
            complain(&left.to_string());
        }
        let mut said = [0; TAKEN.len()];
        let heard = (&self.line).read_exact(&mut said);
        if heard.is_ok() && said == TAKEN {
            return Ok(());
        }
        Err(io::Error::other("glexec-condor-wrapper has not taken it, or is gone"))
    }
}

/// Passes on what comes until the command has ended, and ends what is left of its group.
fn follow(mut child: Child) -> Ending {
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        match SigSet::all().wait() {
            Ok(Signal::SIGCHLD) => {
                if !matches!(waitid(Id::Pid(group), ended), Ok(WaitStatus::StillAlive)) {
                    break;
                }
            }
            Ok(signal) => {
                let _ = killpg(group, signal);
            }
            // A real-time signal, which this library has no name for.
            Err(_) => {}
        }
    }
    // Not yet waited for, so that the number is still the group's.
    let _ = killpg(group, Signal::SIGKILL);
    child.wait().map_or(Ending::Exited(ADMIN_MUST_ACT), ending)
}

fn ending(status: ExitStatus) -> Ending {
    let byte = |number: i32| number.to_le_bytes()[0];
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(byte(code)),
        (None, Some(signal)) => Ending::Killed { signal: byte(signal), core: status.core_dumped() },
        (None, None) => Ending::Exited(ADMIN_MUST_ACT),
    }
}

/// Returns only where that cannot be.
fn become_command(program: &OsStr, arguments: &[OsString]) -> Ending {
    let _ = SigSet::empty().thread_set_mask();
    not_started(program, &Command::new(program).args(arguments).exec())
}

fn not_started(program: &OsStr, error: &io::Error) -> Ending {
    complain(&format!("{}: {error}", program.to_string_lossy()));
    let gone = error.kind() == io::ErrorKind::NotFound;
    Ending::Exited(if gone { NOT_THERE } else { NOT_EXECUTABLE })
}
