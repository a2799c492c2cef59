//! A process of root's own, apart from whoever asked for it, in which runs are settled: without
//! children, descriptors, session, priority or limits of somebody else's, out of everybody's reach
//! but root's. Nothing in it can be made to wait for who asked, and nothing that was there before is
//! ever signalled, waited for or counted. It becomes the program glexec-settle: the setuid program
//! itself pays no debt of another run.

use super::clean;
use super::close_descriptors;
use super::descendants;
use super::exec_status::{self, Failure, StatusReader, StatusWriter, Step, Verdict};
use super::helper::DIRECTORY;
use super::root::Privilege;
use super::state::Settling;
use contract::{Ending, Reason};
use decide::refusal::Refusal;
use decide::settling::{Row, SettleCall, Wanted, read_answer};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, pipe2, read};
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;
use system::Birth;
use system::file_trust::Trust;
use system::kernel::{self, Block, Side};
use system::process;
use system::secure_open;

/// The program that pays.
pub const PROGRAM: &str = "glexec-settle";
/// The most an answer may be.
const MOST: usize = 16 << 20;

/// The process that settles, for who waits for it.
#[derive(Debug)]
pub struct Apart {
    pid: Pid,
    /// The pipe that its answer comes by.
    answer: OwnedFd,
    reader: StatusReader,
}

/// Starts a process of root's own that becomes glexec-settle, which does what is wanted and answers
/// as the caller. The lock is held for as long as it works.
///
/// # Errors
/// [`Reason::State`].
pub fn start(
    privilege: &Privilege,
    lock: Option<&Settling>,
    wanted: &Wanted,
) -> Result<Apart, Refusal> {
    let errno = |e: Errno| failed(e.desc());
    let path = format!("{DIRECTORY}/{PROGRAM}");
    // Here the log can still be told which program is missing.
    let root = privilege.raise()?;
    secure_open::open_file(&path, &Trust::default()).map_err(|u| failed(u.clause()))?;
    drop(root);
    let (answer, theirs) = pipe2(OFlag::O_CLOEXEC).map_err(errno)?;
    let (reader, writer) = exec_status::pair().map_err(errno)?;
    match privilege.fork().map_err(errno)? {
        Side::Parent(pid) => Ok(Apart { pid, answer, reader }),
        Side::Child => {
            // The reader, too: without one the word before exec would not get through where who asked
            // is gone, and the work has to go on.
            let mut open = vec![theirs.as_raw_fd(), writer.number(), reader.number()];
            open.extend(lock.map(Settling::number));
            let failure = match stand_apart(privilege, &open) {
                Ok(asides) => {
                    let (uid, gid) = privilege.ids();
                    let call = SettleCall {
                        answer: theirs.as_raw_fd(),
                        lock: lock.map(|lock| (lock.number(), uid.as_raw())),
                        answer_as: (uid.as_raw(), gid.as_raw()),
                        asides,
                        wanted: wanted.clone(),
                    };
                    become_program(&path, &call, &writer)
                }
                Err(failure) => failure,
            };
            writer.tell(failure);
            kernel::exit_now(127)
        }
    }
}

/// Executes the program with these descriptors and none besides; returns only where that failed.
fn become_program(path: &str, call: &SettleCall, writer: &StatusWriter) -> Failure {
    let words = std::iter::once(OsString::from(path)).chain(call.words());
    // A word that were left out would make it settle more than was asked for.
    let argv: Result<Vec<CString>, _> =
        words.map(|word| CString::new(word.into_encoded_bytes())).collect();
    let Ok(argv) = argv else { return Failure { step: Step::Exec, errno: Errno::EINVAL } };
    let environment = [c"PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned(), c"LC_ALL=C".to_owned()];
    let (block, environment) = (Block::new(argv.iter()), Block::new(environment.iter()));
    let inherited = [Some(call.answer), call.lock.map(|(number, _)| number)];
    for number in inherited.into_iter().flatten() {
        let kept = fcntl(kernel::borrow(number), FcntlArg::F_SETFD(FdFlag::empty()));
        if let Err(errno) = kept {
            return Failure { step: Step::Descriptors, errno };
        }
    }
    let path = argv.first().map(CString::as_c_str).unwrap_or_default();
    writer.execute(|| kernel::execute(path, &block, &environment))
}

/// As long as something here may wait for the caller (a close), this process is the caller's.
fn stand_apart(privilege: &Privilege, open: &[i32]) -> Result<Vec<Birth>, Failure> {
    privilege.lower_again().map_err(Failure::at(Step::Uid))?;
    close_descriptors::close_all_but(open).map_err(Failure::at(Step::Descriptors))?;
    let (closed, closers) =
        close_descriptors::let_go_of_standard(privilege).map_err(Failure::at(Step::Descriptors))?;
    let switched = |_| Failure { step: Step::Uid, errno: Errno::EPERM };
    let root = privilege.become_immune(&closed).map_err(switched)?;
    clean::start(&root)?;
    // A closer that has ended by now is no child of the program any more.
    let closers = closers.into_iter().filter_map(|pid| process::own_birth(pid).ok());
    Ok(closers.collect())
}

impl Apart {
    /// Whether the answer has begun, or cannot come any more, before so much time has passed; for who
    /// tells a person meanwhile that it waits. Any signal ends it, as in [`Apart::answer`].
    pub fn has_answered_within(&self, patience: Duration) -> bool {
        kernel::set_mask(0);
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        poll(&mut [PollFd::new(self.answer.as_fd(), PollFlags::POLLIN)], timeout) != Ok(0)
    }

    /// Waits for its answer and its end, as an ordinary process that any signal ends. Who is ended
    /// meanwhile ends nothing: the work goes on.
    ///
    /// # Errors
    /// What glexec-settle refused; [`Reason::State`] where it failed, or answers too much.
    pub fn answer(self) -> Result<Vec<Row>, Refusal> {
        kernel::set_mask(0);
        let (mut answer, mut room) = (Vec::new(), vec![0u8; 65_536]);
        loop {
            match read(&self.answer, &mut room) {
                Ok(0) => break,
                Ok(length) => answer.extend_from_slice(room.get(..length).unwrap_or_default()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed(errno.desc())),
            }
            if answer.len() > MOST {
                return Err(failed("it says too much"));
            }
        }
        // glexec-settle has closed its answer, so it is about to end.
        kernel::wait_for_end(self.pid).map_err(|e| failed(e.desc()))?;
        match (self.reader.verdict(), descendants::reap(self.pid)) {
            (Verdict::Failed(failure), _) => Err(failed(&failure.told())),
            (_, Some((Ending::Exited(0), _))) => read_answer(&answer),
            (_, Some((Ending::Exited(code), _))) => Err(failed(&format!("it exited {code}"))),
            (_, Some((Ending::Killed { signal, .. }, _))) => {
                Err(failed(&format!("it was ended by signal {signal}")))
            }
            (_, None) => Err(failed("its end cannot be told")),
        }
    }
}

fn failed(why: &str) -> Refusal {
    Refusal::new(Reason::State, "what is owed could not be settled; see the log")
        .detail(format!("the process that settles: {why}"))
}
