//! Asking a helper: a program with libraries, in a process of its own, that answers in text. All but
//! one have nothing of root's.

use super::clean;
use super::close_descriptors::close_all_but;
use super::exec_status;
use super::identity::{Identity, assume, become_root};
use super::root::{Privilege, Root, set_effective};
use super::state::write_all;
use contract::Reason;
use decide::refusal::Refusal;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, FdFlag, OFlag, fcntl, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Pid, Uid, Whence, chdir, getegid, getgroups, lseek, pipe2, read, setsid};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};
use system::file_trust::Trust;
use system::kernel::{self, Block, Side};
use system::process;
use system::secure_open;
use system::text::escaped;

/// Where the helpers are.
pub const DIRECTORY: &str = "/usr/libexec/glexec";
/// How long a helper may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most an answer may be.
const MOST: usize = 16 << 20;
/// A uid that nobody's files belong to.
const NOBODY: Uid = Uid::from_raw(65_534);

/// A question to a helper.
#[derive(Debug, Clone, Copy)]
pub struct Call<'c> {
    /// The program's name in [`DIRECTORY`].
    pub program: &'c str,
    /// Its words.
    pub words: &'c [String],
    /// Files that were opened for it, whose numbers the words have.
    pub files: &'c [OwnedFd],
    /// Its standard input.
    pub input: Input<'c>,
    /// Its variables, besides PATH and the language.
    pub environment: &'c [CString],
    /// With whose rights it runs.
    pub rights: Rights,
    /// What is told of a helper that gives no answer; it takes what the log is told.
    pub unusable: fn(String) -> Refusal,
}

/// What a helper reads.
#[derive(Debug, Clone, Copy)]
pub enum Input<'c> {
    /// Nothing.
    Nothing,
    /// A file of the caller's, opened with the caller's rights, and the variable that names it.
    File(&'c CStr, &'static str),
    /// These bytes.
    Bytes(&'c [u8]),
}

/// With whose rights a helper runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// The caller's uid, gid and groups, but another real uid: so the caller may not trace it
    /// (ptrace(2) wants all three uids), or it could dictate the answer.
    Callers,
    /// Root's, out of the caller's reach: with no descriptor, session or setting of its.
    Roots,
}

/// Whom a helper runs as.
#[derive(Clone, Copy)]
enum Whose {
    /// As who asks.
    Own,
    /// As the caller.
    Uid(Uid),
    Root,
}

/// Runs a helper and gives what it printed.
///
/// # Errors
/// What `unusable` makes of it where it is not trusted, cannot be started, fails, takes too long or
/// says too much; [`Reason::Credential`] where its input cannot be opened.
pub fn ask(privilege: Option<&Privilege>, call: &Call<'_>) -> Result<Vec<u8>, Refusal> {
    let path = format!("{DIRECTORY}/{}", call.program);
    let failed = |why: &str| (call.unusable)(format!("{path} {}: {why}", call.words.join(" ")));
    let root = match privilege {
        Some(privilege) => privilege.raise()?,
        None => Root::without_rights(),
    };
    secure_open::open_file(&path, &Trust::default()).map_err(|e| failed(e.clause()))?;
    let errno = |e: Errno| failed(e.desc());
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC).map_err(errno)?;
    let (reader, writer) = exec_status::pair().map_err(errno)?;
    let whose = match (privilege, call.rights) {
        (None, _) => Whose::Own,
        (Some(_), Rights::Roots) => Whose::Root,
        (Some(privilege), Rights::Callers) => Whose::Uid(whose_rights(privilege)),
    };
    match kernel::fork().map_err(errno)? {
        Side::Child => {
            writer.tell(become_helper(&root, (&path, call), whose, &theirs, &writer));
            kernel::exit_now(127)
        }
        Side::Parent(pid) => {
            drop((theirs, writer));
            let answer = listen(&ours, pid);
            let status = end(pid, Duration::from_secs(1));
            let answer = answer.map_err(failed)?;
            match (reader.verdict(), status) {
                (exec_status::Verdict::Failed(failure), _)
                    if failure.step == exec_status::Step::Credential =>
                {
                    let Input::File(_, variable) = call.input else {
                        return Err(failed(&failure.told()));
                    };
                    Err(not_opened(variable, failure.errno))
                }
                (exec_status::Verdict::Failed(failure), _) => Err(failed(&failure.told())),
                (_, Some(0)) => Ok(answer),
                (_, Some(code)) => Err(failed(&format!("it exited {code}{}", told(&answer)))),
                (_, None) => Err(failed("it was killed")),
            }
        }
    }
}

fn not_opened(variable: &str, errno: Errno) -> Refusal {
    let sentence = format!("the credential in {variable} cannot be opened: {}", errno.desc());
    Refusal::new(Reason::Credential, sentence).hint("set it to the path of yours")
}

/// What a helper says instead of an answer: which service failed, and why.
fn told(answer: &[u8]) -> String {
    const LONGEST: usize = 400;
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.get(..LONGEST).unwrap_or(line);
    if line.is_empty() { String::new() } else { format!(" ({})", escaped(line)) }
}

/// With whose rights the helper runs: the caller's; and where this process has none of those any more,
/// nobody's, as for root.
fn whose_rights(privilege: &Privilege) -> Uid {
    if privilege.is_immune() { Uid::from_raw(0) } else { privilege.caller() }
}

fn become_helper(
    root: &Root,
    (path, call): (&str, &Call<'_>),
    whose: Whose,
    output: &OwnedFd,
    writer: &exec_status::StatusWriter,
) -> exec_status::Failure {
    let strings = std::iter::once(path).chain(call.words.iter().map(String::as_str));
    let argv: Result<Vec<CString>, _> = strings.map(CString::new).collect();
    let Ok(argv) = argv else {
        return exec_status::Failure { step: exec_status::Step::Exec, errno: Errno::EINVAL };
    };
    let usual = [c"PATH=/usr/bin:/bin".to_owned(), c"LC_ALL=C".to_owned()];
    let environment = Block::new(usual.iter().chain(call.environment));
    let argv_block = Block::new(argv.iter());
    let prepared = input(call.input, whose).and_then(|input| {
        if matches!(whose, Whose::Root) {
            let kept = [input.as_ref().map_or(0, AsRawFd::as_raw_fd), output.as_raw_fd()];
            apart(&[&kept[..], &[writer.number()]].concat())?;
        }
        prepare(root, whose, (input, output))?;
        inherit(call.files)
    });
    if let Err(failure) = prepared {
        return failure;
    }
    let path = argv.first().map(CString::as_c_str).unwrap_or_default();
    writer.execute(|| kernel::execute(path, &argv_block, &environment))
}

/// Opens what is to be read, never waiting for who writes it.
fn input(input: Input<'_>, whose: Whose) -> Result<Option<OwnedFd>, exec_status::Failure> {
    let path = match input {
        Input::Nothing => return Ok(None),
        Input::File(path, _) => path,
        Input::Bytes(bytes) => {
            let failed = exec_status::Failure::at(exec_status::Step::Descriptors);
            return in_memory(bytes).map(Some).map_err(failed);
        }
    };
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let caller = if let Whose::Uid(uid) = whose { Some(uid) } else { None };
    caller.into_iter().for_each(set_effective);
    let opened = openat(AT_FDCWD, path, flags, Mode::empty());
    caller.into_iter().for_each(|_| set_effective(Uid::from_raw(0)));
    let failed = exec_status::Failure::at(exec_status::Step::Credential);
    opened.map(Some).map_err(failed)
}

/// A file that has no name and these bytes in it: a pipe would not hold them.
fn in_memory(bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let file = memfd_create(c"credential", MFdFlags::MFD_CLOEXEC)?;
    write_all(&file, bytes)?;
    lseek(&file, 0, Whence::SeekSet)?;
    Ok(file)
}

/// Away from the caller: with none of its descriptors but these, and in a session of its own.
fn apart(kept: &[RawFd]) -> Result<(), exec_status::Failure> {
    use exec_status::{Failure, Step};
    close_all_but(kept).map_err(Failure::at(Step::Descriptors))?;
    setsid().map(drop).map_err(Failure::at(Step::Place))
}

fn inherit(files: &[OwnedFd]) -> Result<(), exec_status::Failure> {
    let kept = |file| fcntl(file, FcntlArg::F_SETFD(FdFlag::empty())).map(drop);
    let failed = exec_status::Failure::at(exec_status::Step::Descriptors);
    files.iter().try_for_each(kept).map_err(failed)
}

fn prepare(
    root: &Root,
    whose: Whose,
    (input, output): (Option<OwnedFd>, &OwnedFd),
) -> Result<(), exec_status::Failure> {
    use exec_status::{Failure, Step};
    // As they are now: the caller's.
    let (gid, groups) = (getegid(), getgroups().map_err(Failure::at(Step::Groups))?);
    if !matches!(whose, Whose::Own) {
        clean::settings(root)?;
    }
    let descriptors = |e| Failure { step: Step::Descriptors, errno: e };
    let null = process::dev_null().map_err(descriptors)?;
    [(input.as_ref().unwrap_or(&null), 0), (output, 1), (&null, 2)]
        .into_iter()
        .try_for_each(|(file, number)| process::put(file, number))
        .map_err(descriptors)?;
    match whose {
        Whose::Own => {}
        Whose::Root => become_root(root)?,
        Whose::Uid(caller) => {
            // Root's helper runs as nobody: less is always enough.
            let (uid, gid, groups) = if caller.is_root() {
                (NOBODY, Gid::from_raw(NOBODY.as_raw()), Vec::new())
            } else {
                (caller, gid, groups)
            };
            let real = Some(if uid == NOBODY { Uid::from_raw(65_533) } else { NOBODY });
            assume(root, &Identity { uid, real, gid, groups: &groups })?;
        }
    }
    umask(Mode::from_bits_truncate(0o022));
    chdir("/").map_err(Failure::at(Step::Directory))?;
    kernel::set_disposition(libc::SIGPIPE, false);
    kernel::set_mask(0);
    Ok(())
}

/// Reads to the end of the output, in time and within bounds.
fn listen(output: &OwnedFd, helper: Pid) -> Result<Vec<u8>, &'static str> {
    let until = Instant::now() + PATIENCE;
    let (mut answer, mut room) = (Vec::new(), vec![0u8; 65_536]);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let ready = poll(&mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)], timeout);
        let trouble = match ready {
            Ok(0) => "it took too long",
            Ok(_) => match read(output, &mut room) {
                Ok(0) => return Ok(answer),
                Ok(length) => {
                    answer.extend_from_slice(room.get(..length).unwrap_or_default());
                    if answer.len() <= MOST {
                        continue;
                    }
                    "it says too much"
                }
                Err(_) => "reading its answer failed",
            },
            Err(Errno::EINTR) => continue,
            Err(_) => "waiting for it failed",
        };
        let _ = kernel::kill(helper.as_raw(), libc::SIGKILL);
        return Err(trouble);
    }
}

/// Waits for a child to end, and for no longer than this: then it is killed and left alone.
pub(super) fn leave(child: Pid, patience: Duration) {
    let until = Instant::now() + patience;
    while super::descendants::reap(child).is_none() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let _ = kernel::kill(child.as_raw(), libc::SIGKILL);
            return;
        }
        wait_for_end(child, left);
    }
}

/// Between two looks at a child for which there is no descriptor (kernels before 5.3), or that was
/// killed.
const LOOK: Duration = Duration::from_millis(10);

/// Returns when a child of ours may have ended, after this time at the latest.
fn wait_for_end(child: Pid, patience: Duration) {
    let pidfd = kernel::pidfd(child).ok();
    let patience = if pidfd.is_some() { patience } else { patience.min(LOOK) };
    let mut ready: Vec<_> =
        pidfd.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
    let _ = poll(&mut ready, PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX));
}

/// Has a child do something that ends it, with the code that it gives; none where it had to be
/// killed, or was.
///
/// Before its work the child lets go of all that is the caller's, but for the descriptors that it
/// keeps: a file system of the caller's that does not answer hangs it while its caller may still end
/// it, and before anything is done.
///
/// # Errors
/// The step that failed.
pub(super) fn attempt(
    patience: Duration,
    kept: &[RawFd],
    work: impl FnOnce() -> Result<u8, exec_status::Failure>,
) -> Result<Option<u8>, exec_status::Failure> {
    let start = exec_status::Failure::at(exec_status::Step::Start);
    let (reader, writer) = exec_status::pair().map_err(&start)?;
    match kernel::fork().map_err(&start)? {
        Side::Child => {
            let kept = [kept, &[writer.number()]].concat();
            let alone = leave_callers(&kept)
                .map_err(exec_status::Failure::at(exec_status::Step::Descriptors));
            match alone.and_then(|()| work()) {
                Ok(code) => kernel::exit_now(code),
                Err(failure) => writer.tell(failure),
            }
            kernel::exit_now(127)
        }
        Side::Parent(child) => {
            drop(writer);
            let code = end(child, patience);
            let failed = reader.verdict();
            if let exec_status::Verdict::Failed(failure) = failed { Err(failure) } else { Ok(code) }
        }
    }
}

fn leave_callers(kept: &[RawFd]) -> Result<(), Errno> {
    close_all_but(kept)?;
    let null = process::dev_null()?;
    (0..3).try_for_each(|number| process::put(&null, number))
}

/// Waits for a child that is about to end, and kills it where it has not in time. Gives its exit
/// code; none where it was killed. What not even that ends, for it waits for a file system, is left
/// alone after the same time again.
fn end(helper: Pid, patience: Duration) -> Option<u8> {
    let until = Instant::now() + patience;
    let given_up = until + patience;
    loop {
        match super::descendants::reap(helper) {
            Some((contract::Ending::Exited(code), _)) => return Some(code),
            Some((contract::Ending::Killed { .. }, _)) => return None,
            None if Instant::now() >= given_up => return None,
            None if Instant::now() >= until => {
                let _ = kernel::kill(helper.as_raw(), libc::SIGKILL);
            }
            None => {}
        }
        wait_for_end(helper, until.saturating_duration_since(Instant::now()).max(LOOK));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::fstat;

    #[test]
    fn who_is_to_work_alone_has_nothing_of_the_callers_but_what_it_keeps() {
        let open = || process::dev_null().unwrap();
        let (kept, callers) = (open(), open());
        let found = attempt(Duration::from_secs(20), &[kept.as_raw_fd()], || {
            let null = fstat(&kept).map(|stat| stat.st_rdev);
            let is_null = |fd| fstat(kernel::borrow(fd)).map(|stat| stat.st_rdev) == null;
            let alone = null.is_ok() && fstat(&callers).is_err() && (0..3).all(is_null);
            Ok(u8::from(alone))
        });
        assert_eq!(found.map_err(|failure| failure.told()), Ok(Some(1)));
    }
}
