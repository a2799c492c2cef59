//! A process of root's own, apart from whoever asked for it, in which runs are settled: without
//! children, descriptors, session, priority or limits of somebody else's, out of everybody's reach
//! but root's. Nothing in it can be made to wait for who asked, and nothing that was there before is
//! ever signalled, waited for or counted.

use super::clean;
use super::close_descriptors;
use super::descendants;
use super::exec_status::{self, Failure, StatusReader, Step, Verdict};
use super::root::{Privilege, Root};
use super::state::Settling;
use crate::decide::refusal::Refusal;
use contract::{Ending, Reason};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{Pid, pipe2, read};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use system::Birth;
use system::kernel::{self, Side};
use system::process;

/// The most an answer may be.
const MOST: usize = 16 << 20;

/// Such a process.
#[derive(Debug)]
pub(crate) struct Apart {
    pid: Pid,
    /// What it has to say.
    answer: OwnedFd,
    hearing: StatusReader,
}

/// Starts a process of root's own that does `work`, and then, as its caller again, gives what came
/// of it as its answer. `work` is told which of its children are no children of its own: they close
/// the caller's descriptors, and may hang. The lock is held for as long as it works.
///
/// # Errors
/// [`Reason::State`].
pub(crate) fn start(
    privilege: &Privilege,
    lock: Option<&Settling>,
    work: impl FnOnce(&Root, Vec<Birth>) -> Vec<u8>,
) -> Result<Apart, Refusal> {
    let errno = |e: Errno| failed(e.desc());
    let (answer, theirs) = pipe2(OFlag::O_CLOEXEC).map_err(errno)?;
    let (hearing, telling) = exec_status::pair().map_err(errno)?;
    match privilege.fork().map_err(errno)? {
        Side::Parent(pid) => Ok(Apart { pid, answer, hearing }),
        Side::Child => {
            let mut open = vec![theirs.as_raw_fd(), telling.number()];
            open.extend(lock.map(Settling::number));
            match stand_apart(privilege, &open) {
                Ok((root, closers)) => {
                    let answer = work(&root, closers);
                    // Who reads it may sleep, and the pipe may be small.
                    let told = privilege.give_up().is_ok()
                        && File::from(theirs).write_all(&answer).is_ok();
                    kernel::exit_now(u8::from(!told))
                }
                Err(failure) => telling.tell(failure),
            }
            kernel::exit_now(127)
        }
    }
}

/// As long as something here may wait for the caller (a close), this process is the caller's.
fn stand_apart(privilege: &Privilege, open: &[i32]) -> Result<(Root, Vec<Birth>), Failure> {
    privilege.lower_again().map_err(Failure::at(Step::Uid))?;
    close_descriptors::close_all_but(open).map_err(Failure::at(Step::Descriptors))?;
    let (let_go, closers) =
        close_descriptors::let_go_of_standard(privilege).map_err(Failure::at(Step::Descriptors))?;
    let switched = |_| Failure { step: Step::Uid, errno: Errno::EPERM };
    let root = privilege.become_immune(&let_go).map_err(switched)?;
    clean::start(&root)?;
    // One that has ended by now is none.
    let closers = closers.into_iter().filter_map(|pid| process::own_birth(pid).ok());
    Ok((root, closers.collect()))
}

impl Apart {
    /// Waits for its answer and its end, as an ordinary process that any signal ends. Who is ended
    /// meanwhile ends nothing: the work goes on.
    ///
    /// # Errors
    /// [`Reason::State`] where it failed, or answers too much.
    pub(crate) fn answer(self) -> Result<Vec<u8>, Refusal> {
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
        // It has closed its answer, so it is about to end.
        kernel::wait_for_end(self.pid).map_err(|e| failed(e.desc()))?;
        match (self.hearing.verdict(), descendants::reap(self.pid)) {
            (Verdict::Failed(failure), _) => Err(failed(&failure.told())),
            (_, Some((Ending::Exited(0), _))) => Ok(answer),
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
