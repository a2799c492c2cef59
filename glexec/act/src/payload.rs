//! The child's side: from a fork of root's to the payload.

use super::exec_status::{Failure, StatusWriter, Step};
use super::helper;
use super::identity::{Identity, assume};
use super::keyring;
use super::root::Root;
use super::threshold::Restore;
use decide::plan::{Launch, Plan};
use decide::program::{HEAD, not_executed};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, chdir, getppid, read, setpgid, setsid, write};
use std::time::Duration;
use system::kernel::{self, Block, Limit, Side};
use system::process;
use system::text::{cut, one_line};

/// Where the payload stands among process groups and sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Where glexec is: it becomes the payload.
    Stay,
    /// In glexec's group and session, with the caller's terminal: what the caller's shell does with
    /// that group, it does with the payload.
    Shared,
    /// A process group of its own, in glexec's session.
    OwnGroup,
    /// A session of its own, without the terminal glexec has.
    OwnSession,
}

/// All that a process needs to become the payload.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) plan: &'a Plan,
    pub(super) restore: &'a Restore,
    pub(super) place: Place,
    /// The lingering glexec, whose death is the payload's.
    pub(super) parent: Option<Pid>,
}

/// Becomes the payload. Returns only where that failed; the process must then end.
///
/// The caller's limits come back last, just before exec, so that no step here is bound by them;
/// what exec reads is laid out first, so that exec needs no memory.
/// `writer` tells the parent that exec comes next; a process that nobody waits for has none.
pub(super) fn become_payload(
    root: &Root,
    start: &Start<'_>,
    writer: Option<&StatusWriter>,
) -> Failure {
    let argv = Block::new(start.plan.argv.iter());
    let environment = Block::new(start.plan.environment.iter());
    if let Err(failure) = prepare(root, start) {
        return failure;
    }
    let exec = || kernel::execute(&start.plan.command.path, &argv, &environment);
    match writer {
        Some(writer) => writer.execute(exec),
        None => Failure { step: Step::Exec, errno: exec() },
    }
}

/// How long what is said may take: nobody has to read it.
const PATIENCE: Duration = Duration::from_secs(1);
/// A pipe takes so much at once or not at all (`PIPE_BUF`, pipe(7)).
const LONGEST: usize = 4096;

/// Says on the payload's own stderr why it was not started, as the target, once this process has
/// the target's ids for good; before that only log and status stream tell it. The one who writes
/// is a child: whatever stderr is, a full pipe or a file system that sleeps, it holds up nobody.
pub(super) fn say_why(plan: &Plan, failure: Failure) {
    if plan.silent || !comes_after_the_proof(failure.step) {
        return;
    }
    match kernel::fork() {
        Ok(Side::Child) => {
            kernel::set_disposition(libc::SIGPIPE, false);
            // Behind another's terminal output would stop it.
            kernel::set_disposition(libc::SIGTTOU, true);
            kernel::set_mask(0);
            let line = cut(one_line(&reason(plan, failure)), LONGEST - 16);
            let line = format!("[gLExec]: {line}\n");
            let _ = write(kernel::borrow(libc::STDERR_FILENO), line.as_bytes());
            kernel::exit_now(0)
        }
        Ok(Side::Parent(speaker)) => helper::leave(speaker, PATIENCE),
        // The target has as many processes as it may: the log tells it.
        Err(_) => {}
    }
}

/// Whether a process that failed at this step has the target's ids, and no others for ever.
const fn comes_after_the_proof(step: Step) -> bool {
    match step {
        Step::Parent | Step::Directory | Step::Descriptors | Step::Limits | Step::Exec => true,
        Step::Start
        | Step::Place
        | Step::Keyring
        | Step::Settings
        | Step::Groups
        | Step::Gid
        | Step::Uid
        | Step::Credential
        | Step::Lease
        | Step::Proxy
        | Step::Proof => false,
    }
}

fn reason(plan: &Plan, failure: Failure) -> String {
    let command = &plan.command.path;
    if failure.step != Step::Exec {
        let name = plan.target.name();
        return format!("the payload could not be started as {name}: {}", failure.told());
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let head = open(command.as_c_str(), flags, Mode::empty()).and_then(|file| {
        let mut head = vec![0u8; HEAD];
        let length = read(&file, &mut head)?;
        head.truncate(length);
        Ok(head)
    });
    not_executed(command.as_bytes(), failure.errno, head.ok().as_deref())
}

fn prepare(root: &Root, start: &Start<'_>) -> Result<(), Failure> {
    let Start { plan, restore, place, parent } = start;
    take_place(*place).map_err(Failure::at(Step::Place))?;
    // Out of where the caller is, whatever becomes of the calls below: the target may have no
    // right to be there.
    chdir("/").map_err(Failure::at(Step::Directory))?;
    if !matches!(plan.launch, Launch::LogOnly) {
        keyring::leave_callers(root).map_err(Failure::at(Step::Keyring))?;
        let target = &plan.target;
        let who =
            Identity { uid: target.uid(), real: None, gid: target.gid(), groups: target.groups() };
        assume(root, &who)?;
        keyring::join_own().map_err(Failure::at(Step::Keyring))?;
    }
    umask(restore.umask);
    if let Some(parent) = parent {
        die_with(*parent).map_err(Failure::at(Step::Parent))?;
    }
    enter(plan).map_err(Failure::at(Step::Directory))?;
    for fd in &plan.keep_fds {
        let flags = FcntlArg::F_SETFD(FdFlag::empty());
        fcntl(kernel::borrow(*fd), flags).map_err(Failure::at(Step::Descriptors))?;
    }
    for (resource, limit) in &restore.limits {
        kernel::limit(*resource, Some(*limit)).map_err(Failure::at(Step::Limits))?;
    }
    if let Some(soft) = plan.stack {
        let stack = |new| kernel::limit(libc::RLIMIT_STACK, new).map_err(Failure::at(Step::Limits));
        let had = stack(None)?;
        stack(Some(Limit { soft: soft.min(had.hard), ..had }))?;
    }
    if let Some(slack) = restore.timer_slack {
        kernel::control(libc::PR_SET_TIMERSLACK, slack).map_err(Failure::at(Step::Settings))?;
    }
    if restore.reading_time_is_fatal {
        let fatal = u64::from(libc::PR_TSC_SIGSEGV.unsigned_abs());
        kernel::control(libc::PR_SET_TSC, fatal).map_err(Failure::at(Step::Settings))?;
    }
    kernel::set_disposition(libc::SIGPIPE, false);
    kernel::set_mask(0);
    Ok(())
}

fn take_place(place: Place) -> Result<(), Errno> {
    match place {
        Place::Stay | Place::Shared => Ok(()),
        Place::OwnGroup => setpgid(Pid::from_raw(0), Pid::from_raw(0)),
        Place::OwnSession => setsid().map(drop),
    }
}

/// Asks for KILL at the parent's death. A change of ids clears the request, so this comes after
/// it; a parent that died before is found out by looking.
pub(super) fn die_with(parent: Pid) -> Result<(), Errno> {
    let kill = u64::from(libc::SIGKILL.unsigned_abs());
    kernel::control(libc::PR_SET_PDEATHSIG, kill)?;
    if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH) }
}

/// Enters the first directory that the target may enter; the last is `/`.
fn enter(plan: &Plan) -> Result<(), Errno> {
    let mut refused = Errno::ENOENT;
    for directory in &plan.directories {
        match chdir(directory.as_c_str()) {
            Ok(()) => return Ok(()),
            Err(errno) => refused = errno,
        }
    }
    Err(refused)
}

/// Becomes the payload in this very process. Returns only where that failed.
pub fn replace(root: Root, plan: &Plan, restore: &Restore) -> Failure {
    let detach = plan.detach_terminal && process::has_terminal();
    let place = if detach { Place::OwnSession } else { Place::Stay };
    let failure = become_payload(&root, &Start { plan, restore, place, parent: None }, None);
    say_why(plan, failure);
    if comes_after_the_proof(failure.step) {
        root.spend();
    }
    failure
}
