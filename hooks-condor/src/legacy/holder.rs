//! An account of a pool for as long as a sandbox lives: one run of glexec, started by setup and ended
//! by cleanup, whose payload ([`server`](super::server)) does for every call between them what a run
//! of its own would do. Everything here runs as the pilot.
//!
//! The process that starts that run stays, holds its control descriptor, and is its end when it ends.

use super::complain;
use super::dialect::{AS_TARGET, Glexec, SERVE};
use super::request::{self, END, END_JOB, READY, SOCKET};
use super::timeout_io::{Patient, end_of};
use adapter::tree::{kind, look, open_directory};
use adapter::{Hold, Lifetime, listen};
use contract::{ADMIN_MUST_ACT, Ending, Outcome, variables};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::{Mode, SFlag, umask};
use nix::unistd::{Pid, close, geteuid, getppid, read, setsid};
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use system::kernel;
use system::process::{dev_null, open_descriptors, put};
use system::signal_info::{SIGNAL_INFO, Signal};

const KILL: i32 = nix::sys::signal::Signal::SIGKILL as i32;
/// The first word of a call that holds the account.
pub(crate) const HOLD: &str = "hold";
/// The first word of a call that has something done by the run that holds it.
pub(crate) const ASK: &str = "ask";

/// Whether a run holds the account of this sandbox, or did.
///
/// # Errors
/// It cannot be told.
pub(crate) fn is_there(pilots: &Path) -> io::Result<bool> {
    let directory = match open_directory(pilots) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    match look(directory.as_fd(), &CString::new(SOCKET)?) {
        Ok(stat) => Ok(kind(&stat) == SFlag::S_IFSOCK),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// How the start of a run went.
pub(crate) enum Start {
    /// It can be asked.
    Ready,
    /// glexec, or who holds it, has ended like this.
    Ended(io::Result<ExitStatus>),
}

/// Starts the run that holds an account for this sandbox. What it has to say is on this process's
/// standard error, up to the moment when it is ready.
pub(crate) fn start(glexec: &Glexec, sandbox: &Path, limit: Duration) -> Start {
    let nothing = OsString::new();
    let starter = OsString::from(getppid().to_string());
    let certificate = glexec.certificate.as_ref().map_or(nothing.as_os_str(), |p| p.as_os_str());
    let pilots = glexec.pilots.as_deref().map_or(nothing.as_os_str(), Path::as_os_str);
    let words = [glexec.program.as_os_str(), certificate, pilots, sandbox.as_os_str(), &starter];
    let child = std::env::current_exe().and_then(|own| {
        let mut command = Command::new(own);
        command.arg(HOLD).args(words).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped()).spawn()
    });
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Start::Ended(Err(error)),
    };
    let said = child.stderr.take().map(|said| BufReader::new(Patient(said, limit)));
    for line in said.into_iter().flat_map(|said| said.split(b'\n')) {
        match line {
            Ok(line) if line == READY.as_bytes() => return Start::Ready,
            Ok(line) => {
                let _ = io::stderr().write_all(&[line.as_slice(), b"\n"].concat());
            }
            Err(error) => {
                // Silence, and not an end: glexec ends with the one that holds it.
                let _ = child.kill();
                return Start::Ended(Err(error));
            }
        }
    }
    Start::Ended(end_of(&mut child, limit))
}

/// `hold GLEXEC CERTIFICATE PILOTS SANDBOX STARTER`: holds the run until it has ended, or until the
/// starter has.
///
/// # Errors
/// Why there is no such run.
pub(crate) fn hold(words: &[OsString]) -> Result<u8, String> {
    let [glexec, certificate, pilots, sandbox, starter] = words else {
        return Err(format!("{HOLD} wants five words"));
    };
    let cannot = |error: io::Error| format!("no run can hold an account: {error}");
    // This process outlives setup, and must not keep open what the starter has let through; nothing of
    // its own is open yet.
    let open = open_descriptors().map_err(|errno| cannot(errno.into()))?;
    for number in open.into_iter().filter(|number| *number > 2) {
        let _ = close(number);
    }
    let starter = starter.to_str().and_then(|pid| pid.parse().ok()).map(Pid::from_raw);
    let lifetime = match kernel::pidfd(starter.ok_or("the starter's pid is none")?) {
        Ok(starter) => Lifetime::Descriptor(starter),
        // Before Linux 5.3 the end of the starter's processes is this one's, by the startd's hand.
        Err(Errno::ENOSYS) => Lifetime::Own,
        Err(errno) => return Err(format!("the starter is gone: {}", errno.desc())),
    };
    // What the starter does to a group or a session of its own is not meant for this one.
    let _ = setsid();
    let directory = open_directory(Path::new(pilots)).map_err(cannot)?;
    let before = umask(Mode::from_bits_truncate(0o077));
    let listener = UnixListener::bind(request::path_within(directory.as_fd())).map_err(cannot)?;
    umask(before);
    let own = std::env::current_exe().map_err(cannot)?;
    let uid = geteuid().to_string().into();
    let words = [own.into(), AS_TARGET.into(), SERVE.into(), uid, sandbox.clone()];
    let mut set = vec![(variables::TARGET_PROXY.into(), "/dev/null".into())];
    // The pilot's own must not be taken for the job's.
    let mut unset: Vec<OsString> =
        [variables::CLIENT_TOKEN, variables::BEARER_TOKEN_FILE].map(Into::into).to_vec();
    if certificate.is_empty() {
        unset.push(variables::CLIENT_CERT.into());
    } else {
        set.push((variables::CLIENT_CERT.into(), certificate.clone()));
    }
    let (program, words) = (Path::new(glexec), words.to_vec());
    let (input, keep) = (Some(listener.into()), Vec::new());
    let held = Hold { program, words, input, keep, set, unset, lifetime }.run();
    match held.map_err(cannot)?.glexec {
        Some(Ending::Exited(code)) => Ok(code),
        Some(Ending::Killed { signal, .. }) => Ok(128u8.saturating_add(signal)),
        None => Ok(ADMIN_MUST_ACT),
    }
}

/// The run that holds a sandbox's account, and who holds the run.
struct Holder {
    stream: UnixStream,
    pid: Pid,
}

impl Holder {
    fn reach(pilots: &Path) -> io::Result<Self> {
        let directory = open_directory(pilots)?;
        let stream = UnixStream::connect(request::path_within(directory.as_fd()))?;
        // Of who has made the socket.
        let peer = getsockopt(&stream, sockopt::PeerCredentials)?;
        if peer.uid() != geteuid().as_raw() {
            let text = format!("{SOCKET} in {pilots:?} is uid {}'s", peer.uid());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(Self { stream, pid: Pid::from_raw(peer.pid()) })
    }

    fn ask(&self, words: &[&OsStr]) -> io::Result<()> {
        let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
        request::send(&self.stream, words, [input.as_fd(), output.as_fd(), error.as_fd()])
    }
}

/// `ask PILOTS WORD...`: has the words done by the run that holds the account, with this process's
/// streams, and ends as a lingering glexec would that had run them. Signals are passed on.
///
/// # Errors
/// It cannot be reached.
pub(crate) fn ask(words: &[OsString]) -> Result<u8, String> {
    let words: Vec<&OsStr> = words.iter().map(OsString::as_os_str).collect();
    let (pilots, words) = words.split_first().ok_or_else(|| format!("{ASK} wants more words"))?;
    let cannot = |error: io::Error| {
        format!("the run of glexec that held this sandbox's account cannot be asked: {error}")
    };
    let holder = Holder::reach(Path::new(pilots)).map_err(cannot)?;
    let signals = listen().map_err(|errno| cannot(errno.into()))?;
    holder.ask(words).map_err(cannot)?;
    // As glexec does: nobody is to wait for the end of a stream because of a process that only waits.
    if let Ok(null) = dev_null() {
        for number in 0..=2 {
            let _ = put(&null, number);
        }
    }
    let ending = follow(&holder.stream, &signals).map_err(cannot)?;
    // What runs for the pilot as its account was killed, and what it had started with it.
    let ending = ending.unwrap_or(Ending::Killed { signal: 9, core: false });
    Ok(Outcome::of_run(ending, None).exit_code())
}

fn follow(stream: &UnixStream, signals: &OwnedFd) -> io::Result<Option<Ending>> {
    loop {
        let mut both = [
            PollFd::new(stream.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut both, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if both[0].any() == Some(true) {
            return Ok(request::answered(stream));
        }
        let mut info = [0u8; SIGNAL_INFO];
        while read(signals, &mut info) == Ok(SIGNAL_INFO) {
            if let Some(signal) = Signal::read(&info) {
                // Where it cannot be passed on, the answer, or its end, comes next.
                let _ = (&*stream).write_all(&[signal.number]);
            }
        }
    }
}

/// Has the job's processes ended.
///
/// # Errors
/// The run cannot be asked, or does not answer in time.
pub(crate) fn end_job(pilots: &Path, limit: Duration) -> io::Result<()> {
    let holder = Holder::reach(pilots)?;
    holder.stream.set_read_timeout(Some(limit))?;
    holder.ask(&[END_JOB.as_ref()])?;
    request::answered(&holder.stream).map(drop).ok_or(io::ErrorKind::TimedOut.into())
}

/// Ends the run, waits for its epilogue, and takes the socket away. A run that does not end in time is
/// ended by force: glexec then ends its payload, and nobody waits for the epilogue.
pub(crate) fn end(pilots: &Path, limit: Duration) {
    let until = Instant::now() + limit;
    let ended = Holder::reach(pilots).and_then(|holder| {
        let pidfd = kernel::pidfd(holder.pid);
        holder.ask(&[END.as_ref()])?;
        wait_for_end(holder.pid, pidfd, until)
    });
    match ended {
        Ok(()) => {}
        // It has ended already.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) => complain(&format!("the run that holds the account does not end: {error}")),
    }
    // A file of that name is the job's.
    if is_there(pilots).unwrap_or(false) {
        let _ = fs::remove_file(pilots.join(SOCKET));
    }
}

fn wait_for_end(pid: Pid, pidfd: Result<OwnedFd, Errno>, until: Instant) -> io::Result<()> {
    let left = || until.saturating_duration_since(Instant::now());
    let Ok(pidfd) = pidfd else {
        // Before Linux 5.3, or gone.
        while nix::sys::signal::kill(pid, None) != Err(Errno::ESRCH) {
            if left().is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        return Ok(());
    };
    loop {
        let mut ended = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ended, PollTimeout::try_from(left()).unwrap_or(PollTimeout::MAX)) {
            Err(Errno::EINTR) => {}
            Ok(0) => {
                let _ = kernel::signal_pidfd(pidfd.as_fd(), KILL);
                return Err(io::ErrorKind::TimedOut.into());
            }
            other => return other.map(drop).map_err(io::Error::from),
        }
    }
}
