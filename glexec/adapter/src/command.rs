//! Asking another program, within a time limit.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// More than this of its output is not kept.
const MOST: usize = 1 << 20;
/// What KILL is given to take effect.
const DEATH: Duration = Duration::from_secs(2);
/// What it gets of PATH: the adapters run where there is none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to be asked.
#[derive(Debug)]
pub struct BoundedCommand<'a> {
    /// Its absolute path.
    pub program: &'a Path,
    /// Its arguments.
    pub words: Vec<OsString>,
    /// Its variables; with PATH that is its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Whom it runs as: uid and gid, and no other group. Needs root.
    pub ids: Option<(u32, u32)>,
    /// How long it may take.
    pub limit: Duration,
    /// What then: `true` ends it and its group, `false` lets it finish alone.
    pub end_it: bool,
}

/// What it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its exit code; `None` where it was killed, or has not ended in time.
    pub code: Option<i32>,
    /// What it printed, as far as it is UTF-8.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
    /// Whether the time was up first.
    pub late: bool,
}

impl BoundedCommand<'_> {
    /// Runs it in a process group of its own, so that who ends the adapter does not end it, and
    /// with no descriptor of the adapter's.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn run(self) -> io::Result<Answer> {
        use std::os::unix::process::CommandExt as _;
        #[expect(clippy::disallowed_methods, reason = "an absolute path, and no rights to lose")]
        let mut command = Command::new(self.program);
        command.args(&self.words).env_clear().env("PATH", PATH).envs(self.environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some((uid, gid)) = self.ids {
            command.uid(uid).gid(gid);
        }
        let mut child = command.current_dir("/").process_group(0).spawn()?;
        let until = Instant::now() + self.limit;
        let [stdout, stderr] = read_both(&mut child, until)?;
        let status = wait(&mut child, until)?;
        if status.is_none() && self.end_it {
            let _ = killpg(crate::wait_signals::pid_of(&child), Signal::SIGKILL);
            // What hangs in a file system dies when that answers: nobody waits for it.
            wait(&mut child, Instant::now() + DEATH)?;
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Answer {
            code: status.and_then(|status| status.code()),
            stdout: text(stdout),
            stderr: text(stderr),
            late: status.is_none(),
        })
    }
}

fn read_both(child: &mut Child, until: Instant) -> io::Result<[Vec<u8>; 2]> {
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let mut kept = [Vec::new(), Vec::new()];
    let mut some = [0u8; 8192];
    while out.is_some() || err.is_some() {
        let mut ready = [false; 2];
        {
            let fds = [out.as_ref().map(|f| f.as_fd()), err.as_ref().map(|f| f.as_fd())];
            let open: Vec<usize> =
                (0..2).filter(|n| fds.get(*n).is_some_and(Option::is_some)).collect();
            let mut polled: Vec<PollFd<'_>> =
                fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            match poll(&mut polled, left(until)) {
                Ok(0) => break,
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            for (n, poll) in open.into_iter().zip(polled) {
                if let Some(flag) = ready.get_mut(n) {
                    *flag = poll.any() == Some(true);
                }
            }
        }
        let [keep_out, keep_err] = &mut kept;
        let [out_ready, err_ready] = ready;
        if out_ready && !take(out.as_mut(), keep_out, &mut some) {
            out = None;
        }
        if err_ready && !take(err.as_mut(), keep_err, &mut some) {
            err = None;
        }
    }
    Ok(kept)
}

/// Reads once; false at the end.
fn take(file: Option<&mut impl io::Read>, kept: &mut Vec<u8>, some: &mut [u8]) -> bool {
    let Some(file) = file else { return false };
    let length = file.read(some).unwrap_or(0);
    let room = MOST.saturating_sub(kept.len());
    kept.extend(some.iter().take(length.min(room)));
    length > 0
}

fn wait(child: &mut Child, until: Instant) -> io::Result<Option<ExitStatus>> {
    const NAP: Duration = Duration::from_millis(2);
    loop {
        let status = child.try_wait()?;
        let rest = until.saturating_duration_since(Instant::now());
        if status.is_some() || rest.is_zero() {
            return Ok(status);
        }
        // Its output has ended, so it ends too, or hangs.
        #[expect(clippy::disallowed_methods, reason = "bounded, and nothing tells of the end")]
        std::thread::sleep(NAP.min(rest));
    }
}

fn left(until: Instant) -> PollTimeout {
    let left = until.saturating_duration_since(Instant::now());
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}
