//! The payload of the run that holds a sandbox's account: as the target it does what the calls of a
//! sandbox ask for, each in a process of its own with the descriptors of the one that asked. It has no
//! right that they could not have by a run of glexec's of their own; what it adds is the account.
//!
//! Its end is the job's: the epilogue is told the job's exit code or signal.

use super::OBEYED;
use super::dialect::{AS_TARGET, ENTER, SIGNAL, aim};
use super::request::{END, END_JOB, READY, Request, answer, receive};
use adapter::tree::{open_own_directory, remove};
use adapter::{end_as, listen};
use contract::Ending;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal as Name;
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, Uid, read};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use system::kernel;
use system::process::{children_of, dev_null, own_children, put};
use system::signal_info::{SIGNAL_INFO, Signal};

const KILL: i32 = Name::SIGKILL as i32;
const STOP: i32 = Name::SIGSTOP as i32;
const CONT: i32 = Name::SIGCONT as i32;
const TERM: i32 = Name::SIGTERM as i32;
const CHLD: i32 = Name::SIGCHLD as i32;
/// How long the end of a job waits for the end of what it has left behind: processes that fork faster
/// than they are killed. glexec ends those with the account.
const LONGEST_END: Duration = Duration::from_secs(10);

/// A process that does what somebody has asked for.
struct Call {
    /// To who asked.
    stream: UnixStream,
    /// Who asked, by which HTCondor knows the job.
    asker: Pid,
    child: Pid,
    /// A job, or a session beside it; else an errand.
    is_job: bool,
    /// Whether its end is the run's.
    counts: bool,
    /// Whether who asked is gone.
    is_orphaned: bool,
    /// How it has ended, and how long it waits for what it has left behind.
    ended: Option<(Ending, Instant)>,
}

struct Server {
    listener: UnixListener,
    signals: OwnedFd,
    pilot: Uid,
    sandbox: PathBuf,
    calls: Vec<Call>,
    /// Who waits for the job's end.
    waiting: Vec<UnixStream>,
    /// How the last job ended that did not begin beside another.
    job: Ending,
    /// Who has asked for the end of it all, or was ended itself.
    end: Option<End>,
}

enum End {
    Asked,
    /// Nobody comes for the sandbox any more.
    Told,
}

/// Does what this pilot asks for on the socket that is standard input, until its end is asked for, and
/// then ends as the job did.
pub(crate) fn serve(pilot: &OsStr, sandbox: &OsStr) -> io::Result<()> {
    let pilot = pilot.to_str().and_then(|uid| uid.parse().ok()).map(Uid::from_raw);
    let pilot = pilot.ok_or(io::ErrorKind::InvalidInput)?;
    let signals = listen()?;
    // What a job leaves behind is seen here, and not by glexec, which lets this process go on.
    set_child_subreaper(true)?;
    let mut server = Server {
        listener: io::stdin().as_fd().try_clone_to_owned()?.into(),
        signals,
        pilot,
        sandbox: sandbox.into(),
        calls: Vec::new(),
        waiting: Vec::new(),
        job: Ending::Exited(0),
        end: None,
    };
    writeln!(io::stderr(), "{READY}")?;
    // Nobody is to wait for the end of the stream for as long as the sandbox lives.
    let null = dev_null()?;
    for number in 0..=2 {
        put(&null, number)?;
    }
    drop(null);
    server.run()?;
    if matches!(server.end, Some(End::Told)) && open_own_directory(&server.sandbox).is_ok() {
        // The account's next user is to find nothing in it.
        let _ = remove(&server.sandbox);
    }
    end_as(server.job)
}

impl Server {
    fn run(&mut self) -> io::Result<()> {
        while !(self.end.is_some() && self.calls.is_empty()) {
            let (asked, heard) = self.wait()?;
            self.hear();
            self.reap();
            self.obey(heard);
            if asked && self.end.is_none() {
                self.accept();
            }
            self.finish();
        }
        Ok(())
    }

    /// Whether somebody asks, and which of the calls have something to say.
    fn wait(&self) -> io::Result<(bool, Vec<Pid>)> {
        let deadline =
            self.calls.iter().filter_map(|call| call.ended).map(|(_, until)| until).min();
        let timeout = deadline.map_or(PollTimeout::NONE, |until| {
            let left = until.saturating_duration_since(Instant::now());
            // A millisecond later rather than earlier, and then again and again.
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        // What is never read would be told again and again.
        let wanted = if self.end.is_none() { PollFlags::POLLIN } else { PollFlags::empty() };
        let asks = PollFd::new(self.listener.as_fd(), wanted);
        let signals = PollFd::new(self.signals.as_fd(), PollFlags::POLLIN);
        let is_heard = |call: &&Call| call.ended.is_none() && !call.is_orphaned;
        let running: Vec<&Call> = self.calls.iter().filter(is_heard).collect();
        let streams =
            running.iter().map(|call| PollFd::new(call.stream.as_fd(), PollFlags::POLLIN));
        let mut all: Vec<PollFd<'_>> = [asks, signals].into_iter().chain(streams).collect();
        match poll(&mut all, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok((false, Vec::new())),
            Err(errno) => return Err(errno.into()),
        }
        let mut ready = all.iter().map(|one| one.any() == Some(true));
        let asked = ready.next() == Some(true);
        let heard = running.iter().zip(ready.skip(1)).filter(|(_, ready)| *ready);
        Ok((asked, heard.map(|(call, _)| call.child).collect()))
    }

    /// Signals to this process: glexec sends them, in the name of who holds the run.
    fn hear(&mut self) {
        let mut info = [0u8; SIGNAL_INFO];
        while read(&self.signals, &mut info) == Ok(SIGNAL_INFO) {
            let ends = Signal::read(&info).is_some_and(|signal| {
                [Name::SIGTERM, Name::SIGHUP, Name::SIGINT, Name::SIGQUIT]
                    .iter()
                    .any(|name| *name as i32 == i32::from(signal.number))
            });
            if ends && !matches!(self.end, Some(End::Told)) {
                self.end = Some(End::Told);
                self.calls.iter().for_each(|call| call.signal(TERM));
            }
        }
    }

    fn reap(&mut self) {
        loop {
            let (pid, ending) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => {
                    (pid, Ending::Exited(u8::try_from(code & 0xff).unwrap_or(u8::MAX)))
                }
                Ok(WaitStatus::Signaled(pid, signal, core)) => {
                    let signal = u8::try_from(signal as i32).unwrap_or(u8::MAX);
                    (pid, Ending::Killed { signal, core })
                }
                Err(Errno::EINTR) => continue,
                Ok(_) | Err(_) => return,
            };
            if let Some(call) = self.calls.iter_mut().find(|call| call.child == pid) {
                call.ended = Some((ending, Instant::now() + LONGEST_END));
                if call.counts {
                    self.job = ending;
                }
            }
        }
    }

    /// Signals that somebody passes on to what it has asked for, or that it is gone.
    fn obey(&mut self, heard: Vec<Pid>) {
        for child in heard {
            let Some(call) = self.calls.iter_mut().find(|call| call.child == child) else {
                continue;
            };
            let mut signals = [0u8; 64];
            match read(&call.stream, &mut signals) {
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Ok(0) | Err(_) => {
                    call.is_orphaned = true;
                    call.signal(KILL);
                }
                Ok(length) => signals
                    .iter()
                    .take(length)
                    .map(|number| i32::from(*number))
                    .filter(|number| *number != CHLD)
                    .for_each(|number| call.signal(number)),
            }
        }
    }

    fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        let Ok(peer) = getsockopt(&stream, sockopt::PeerCredentials) else { return };
        // The socket's permissions say the same.
        if Uid::from_raw(peer.uid()) != self.pilot {
            return;
        }
        let Ok(Request { words, streams }) = receive(&stream) else { return };
        let asked: Vec<&OsStr> = words.iter().map(OsString::as_os_str).collect();
        match asked.as_slice() {
            [word] if *word == END || *word == END_JOB => {
                if *word == END {
                    self.end = Some(End::Asked);
                }
                let all = self.end.is_some();
                let ended = self.calls.iter().filter(|call| call.is_job || all);
                ended.for_each(|call| call.signal(KILL));
                self.waiting.push(stream);
            }
            [word, pid, signal] if *word == SIGNAL && self.signals_job(pid, signal) => {
                let [_, output, _] = streams;
                let _ = File::from(output).write_all(OBEYED);
                let _ = (&stream).write_all(&answer(Ending::Exited(0)));
            }
            words => self.start(words, streams, (stream, Pid::from_raw(peer.pid()))),
        }
    }

    /// Sends a signal to the job that HTCondor knows by this pid, which is that of who asked for it.
    fn signals_job(&self, pid: &OsStr, signal: &OsStr) -> bool {
        let Ok((pid, signal)) = aim(pid, signal) else { return false };
        let job = self.calls.iter().find(|call| call.is_job && call.asker.as_raw() == pid);
        job.map(|job| job.signal(signal)).is_some()
    }

    fn start(
        &mut self,
        words: &[&OsStr],
        [input, output, error]: [OwnedFd; 3],
        (stream, asker): (UnixStream, Pid),
    ) {
        let child = std::env::current_exe().and_then(|own| {
            let mut command = Command::new(own);
            command.arg(AS_TARGET).args(words).process_group(0);
            command.stdin(input).stdout(output).stderr(error).spawn()
        });
        // Who asked sees the end of the stream, and takes it for an end.
        let Ok(child) = child else { return };
        let is_job = words.first().is_some_and(|word| *word == ENTER);
        self.calls.push(Call {
            stream,
            asker,
            child: Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX)),
            is_job,
            counts: is_job && !self.calls.iter().any(|call| call.is_job),
            is_orphaned: false,
            ended: None,
        });
    }

    /// Answers for what has ended. A job has when what it has left behind has, too; where another runs
    /// beside it, nobody can tell whose that is, and it stays until the last one's end.
    fn finish(&mut self) {
        let is_alone = !self.calls.iter().any(|call| call.is_job && call.ended.is_none());
        let waits = self.calls.iter().any(|call| call.is_job && call.ended.is_some());
        let is_clean = !waits || !is_alone || self.kill_orphans();
        let now = Instant::now();
        self.calls.retain(|call| match call.ended {
            Some((ending, until)) if !call.is_job || is_clean || until <= now => {
                let _ = (&call.stream).write_all(&answer(ending));
                false
            }
            _ => true,
        });
        if !self.calls.iter().any(|call| call.is_job) {
            for stream in self.waiting.drain(..) {
                let _ = (&stream).write_all(&answer(Ending::Exited(0)));
            }
        }
    }

    /// Kills what has come to this process by its parent's death; true where there is none any more.
    /// None of it is reaped meanwhile, so that no pid is another's by now.
    fn kill_orphans(&self) -> bool {
        let Ok(children) = own_children() else { return false };
        let running = self.calls.iter().filter(|call| call.ended.is_none());
        let own: BTreeSet<Pid> = running.map(|call| call.child).collect();
        let orphans = children.into_iter().filter(|child| !own.contains(child));
        let mut none = true;
        for orphan in orphans {
            none = false;
            let _ = kernel::kill(orphan.as_raw(), KILL);
        }
        none
    }
}

impl Call {
    /// As glexec sends a signal to its payload: to its group, and what cannot be caught to all that
    /// descends from it.
    fn signal(&self, signal: i32) {
        if self.ended.is_some() {
            return;
        }
        let child = self.child.as_raw();
        let _ = kernel::kill(-child, signal).or_else(|_| kernel::kill(child, signal));
        match signal {
            KILL => drop(kernel::kill(child, KILL)),
            TERM => drop(kernel::kill(-child, CONT)),
            STOP | CONT => descendants(self.child).into_iter().for_each(|pid| {
                let _ = kernel::kill(pid.as_raw(), signal);
            }),
            _ => {}
        }
    }
}

fn descendants(of: Pid) -> BTreeSet<Pid> {
    let (mut all, mut next) = (BTreeSet::new(), vec![of]);
    while let Some(pid) = next.pop() {
        let children = children_of(pid).unwrap_or_default();
        next.extend(children.into_iter().filter(|child| all.insert(*child)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_descends_from_a_process_is_found() {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "sh -c 'sleep 60 & echo; wait' & wait"])
            .stdout(std::process::Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut out = [0];
        io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut out).unwrap();
        let pid = Pid::from_raw(i32::try_from(shell.id()).unwrap());
        assert_eq!(descendants(pid).len(), 2);
        nix::sys::signal::killpg(pid, Name::SIGKILL).unwrap();
        shell.wait().unwrap();
        assert!(descendants(pid).is_empty());
    }
}
