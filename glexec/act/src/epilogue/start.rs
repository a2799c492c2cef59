//! The epilogue's process, from fork to exec.

use super::EpilogueContext;
use super::check::as_planned;
use crate::clean;
use crate::clock::now;
use crate::exec_status::{self, Failure, StatusWriter, Step};
use crate::identity::assume;
use crate::keyring;
use crate::output::Output;
use crate::payload::die_with;
use crate::program::Program;
use crate::root::Root;
use decide::config::EpilogueOutput;
use decide::entry::Phase;
use decide::reporter::Reporter;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{Pid, pipe2};
use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};
use system::kernel::{self, Block, Side};
use system::process;

pub(crate) fn launch(
    root: &Root,
    context: &EpilogueContext<'_>,
    program: &Program,
    reporter: &dyn Reporter,
) -> Result<(Pid, exec_status::StatusReader, Output), Errno> {
    let (reader, writer) = exec_status::pair()?;
    let (ours, theirs) = match context.epilogue.output {
        EpilogueOutput::Null => (None, None),
        EpilogueOutput::Log => {
            // Only our end must never block; the epilogue's is an ordinary pipe.
            let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
            process::make_non_blocking(&ours)?;
            (Some(ours), Some(theirs))
        }
    };
    let parent = Pid::this();
    let (latch, key) = exec_status::gate()?;
    match kernel::fork()? {
        Side::Parent(pid) => {
            if let Ok(epilogue) = process::own_birth(pid) {
                let (number, at) = (context.attempt, now());
                context.note(
                    &Phase::Attempt { number, at, epilogue, within: context.within },
                    reporter,
                );
            }
            key.turn();
            Ok((pid, reader, Output::new(ours)))
        }
        Side::Child if latch.wait(key) != exec_status::Released::Go => {
            // What was not let go has not run, and is owed.
            writer.tell(Failure { step: Step::Start, errno: Errno::ECANCELED });
            kernel::exit_now(127)
        }
        Side::Child => become_epilogue(root, context, program, theirs.as_ref(), parent, &writer),
    }
}

pub(crate) fn become_epilogue(
    root: &Root,
    context: &EpilogueContext<'_>,
    program: &Program,
    output: Option<&OwnedFd>,
    parent: Pid,
    writer: &StatusWriter,
) -> ! {
    let path = CString::new(context.epilogue.path.as_str()).unwrap_or_default();
    let argv = Block::new(std::iter::once(&path));
    let environment = Block::new(context.environment.iter());
    let failure = match prepare(root, context, output, parent) {
        Err(failure) => failure,
        // A script is opened by its interpreter, by name; nobody untrusted can have changed what
        // the name leads to, or the directories would not have been found trustworthy.
        Ok(()) if program.script => writer.execute(|| kernel::execute(&path, &argv, &environment)),
        Ok(()) => {
            writer.execute(|| kernel::execute_descriptor(program.file.as_fd(), &argv, &environment))
        }
    };
    writer.tell(failure);
    kernel::exit_now(127)
}

pub(crate) fn prepare(
    root: &Root,
    context: &EpilogueContext<'_>,
    output: Option<&OwnedFd>,
    parent: Pid,
) -> Result<(), Failure> {
    clean::start(root)?;
    let identity = as_planned(&context.epilogue.identity);
    assume(root, &identity)?;
    if !identity.uid.is_root() {
        keyring::join_own().map_err(Failure::at(Step::Keyring))?;
    }
    die_with(parent).map_err(Failure::at(Step::Parent))?;
    if let Some(output) = output {
        (1..=2)
            .try_for_each(|number| process::put(output, number))
            .map_err(Failure::at(Step::Descriptors))?;
    }
    kernel::set_disposition(libc::SIGPIPE, false);
    kernel::set_mask(0);
    Ok(())
}
