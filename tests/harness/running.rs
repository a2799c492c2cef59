//! A call that runs, and what came of it.

use crate::look::Look;
use crate::site::Site;
use crate::{accounts, raw};
use contract::{Ending, Reason, Record};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// The harness's ends of what a call reads and writes.
#[derive(Debug, Default)]
pub(crate) struct Wires {
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    pub(crate) status: Option<OwnedFd>,
    pub(crate) control: Option<OwnedFd>,
    pub(crate) terminal: Option<OwnedFd>,
}

/// What was read from one pipe so far, and when it ended.
#[derive(Debug, Default)]
struct Read {
    bytes: Vec<u8>,
    end: Option<u64>,
}

#[derive(Debug, Clone, Default)]
struct Reader(Arc<(Mutex<Read>, Condvar)>);

impl Reader {
    fn of(file: Option<OwnedFd>) -> Self {
        let reader = Self::default();
        let Some(file) = file else {
            reader.0.0.lock().unwrap().end = Some(raw::now_ns());
            return reader;
        };
        let mine = reader.clone();
        std::thread::spawn(move || mine.follow(File::from(file)));
        reader
    }

    fn follow(&self, mut file: File) {
        let mut some = [0u8; 65_536];
        loop {
            // A terminal whose last user has gone says EIO.
            let length = file.read(&mut some).unwrap_or(0);
            let mut read = self.0.0.lock().unwrap();
            if length == 0 {
                read.end = Some(raw::now_ns());
            } else {
                read.bytes.extend_from_slice(&some[..length]);
            }
            self.0.1.notify_all();
            if length == 0 {
                return;
            }
        }
    }

    /// Waits until what was read so far satisfies `enough`, or the end, or the time is up.
    fn wait<T>(&self, time: Duration, enough: impl Fn(&Read) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + time;
        let mut read = self.0.0.lock().unwrap();
        loop {
            if let Some(found) = enough(&read) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            read = self.0.1.wait_timeout(read, left).unwrap().0;
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.0.lock().unwrap().bytes.clone()
    }
}

fn records(bytes: &[u8]) -> Vec<Record> {
    let text = String::from_utf8_lossy(bytes);
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole
        .map(|line| Record::parse(line).unwrap_or_else(|e| panic!("no record: {line:?}: {e}")))
        .collect()
}

/// A call that has been started.
#[derive(Debug)]
pub struct Running<'a> {
    site: &'a Site,
    pid: Pid,
    ended: bool,
    stdout: Reader,
    stderr: Reader,
    status: Reader,
    /// The write end of the control descriptor; dropping it says that the caller is gone.
    pub control: Option<OwnedFd>,
    /// The terminal's other side.
    pub terminal: Option<OwnedFd>,
    limit: Duration,
}

impl<'a> Running<'a> {
    pub(crate) fn new(site: &'a Site, pid: Pid, mut wires: Wires, limit: Duration) -> Self {
        let copy = |fd: &OwnedFd| fd.try_clone().expect("a copy");
        let stdout = wires.stdout.take().or_else(|| wires.terminal.as_ref().map(copy));
        Self {
            site,
            pid,
            ended: false,
            stdout: Reader::of(stdout),
            stderr: Reader::of(wires.stderr),
            status: Reader::of(wires.status),
            control: wires.control,
            terminal: wires.terminal,
            limit,
        }
    }

    /// The process that was started.
    pub const fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Waits for the `started` record: glexec's and the payload's pids.
    pub fn started(&self) -> (i32, i32) {
        let started = |read: &Read| {
            records(&read.bytes).into_iter().find_map(|record| match record {
                Record::Started { glexec_pid, payload_pid, .. } => Some((glexec_pid, payload_pid)),
                _ => None,
            })
        };
        self.status
            .wait(self.limit, started)
            .unwrap_or_else(|| panic!("it never started; {}", self.state()))
    }

    /// Waits for a record that this is true of.
    pub fn record(&self, is: impl Fn(&Record) -> bool) -> Record {
        let found = |read: &Read| records(&read.bytes).into_iter().find(|r| is(r));
        self.status
            .wait(self.limit, found)
            .unwrap_or_else(|| panic!("no such record; {}", self.state()))
    }

    /// Waits until this text is in the output.
    pub fn says(&self, text: &str) {
        let has = |read: &Read| String::from_utf8_lossy(&read.bytes).contains(text).then_some(());
        self.stdout
            .wait(self.limit, has)
            .unwrap_or_else(|| panic!("it never said {text:?}; {}", self.state()));
    }

    /// What it has said by now.
    pub fn output_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stdout.bytes()).into_owned()
    }

    /// Waits for the end of the output; when that was, by [`raw::now_ns`].
    pub fn output_end(&self) -> u64 {
        self.stdout.wait(self.limit, |read| read.end).expect("an end of the output")
    }

    /// Sends glexec a signal as this account; what kill(2) said.
    ///
    /// # Errors
    /// kill(2)'s.
    pub fn signal_by(&self, who: &str, signal: i32) -> Result<(), Errno> {
        let who = accounts::named(who);
        raw::kill_as((who.uid, who.gid), self.pid(), signal)
    }

    /// The same, for a run that may have ended: whether anybody could hear it.
    pub fn orders_if_heard(&self, line: &str) -> bool {
        let control = self.control.as_ref().expect("with_control()");
        let mut file = File::from(control.try_clone().expect("a copy"));
        file.write_all(format!("{line}\n").as_bytes()).is_ok()
    }

    /// Writes a line to the control descriptor.
    pub fn order(&self, line: &str) {
        let control = self.control.as_ref().expect("with_control()");
        let mut file = File::from(control.try_clone().expect("a copy"));
        file.write_all(format!("{line}\n").as_bytes()).expect("a reader");
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let now = nix::sys::wait::waitid(nix::sys::wait::Id::Pid(self.pid), flags);
        !matches!(now, Ok(WaitStatus::StillAlive))
    }

    /// Waits for its end; whether that came within its time.
    pub fn ends_in_time(&self) -> bool {
        let Ok(pidfd) = raw::pidfd(self.pid) else { return self.has_ended() };
        let mut ready = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        let time = PollTimeout::try_from(self.limit).expect("in range");
        poll(&mut ready, time) == Ok(1)
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ran {
        let status =
            self.reap().unwrap_or_else(|| panic!("it hung for {:?}; {}", self.limit, self.state()));
        self.ended = true;
        let ended_ns = raw::now_ns();
        // Who still has a copy of an output may keep it: give what is on its way a moment.
        for reader in [&self.stdout, &self.stderr, &self.status] {
            reader.wait(Duration::from_secs(1), |read| read.end);
        }
        let (code, signal) = match status {
            Ending::Exited(code) => (Some(code.into()), None),
            Ending::Killed { signal, .. } => (None, Some(signal.into())),
        };
        let stdout_end_ns = self.stdout.0.0.lock().unwrap().end;
        Ran {
            code,
            signal,
            stdout: self.stdout.bytes(),
            stderr: self.stderr.bytes(),
            records: records(&self.status.bytes()),
            log: self.site.log(),
            ended_ns,
            stdout_end_ns,
        }
    }

    fn reap(&self) -> Option<Ending> {
        let pidfd = raw::pidfd(self.pid).ok();
        let deadline = Instant::now() + self.limit;
        loop {
            if let Some(status) = raw::reap(self.pid).expect("a child") {
                return Ending::from_wait_status(status);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let mut ready: Vec<PollFd<'_>> =
                pidfd.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
            let left = if ready.is_empty() { left.min(Duration::from_millis(2)) } else { left };
            if poll(&mut ready, PollTimeout::try_from(left).expect("in range")) == Ok(1) {
                // Ended; a tracer may hold its status back.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// For messages.
    fn state(&self) -> String {
        let text = |reader: &Reader| String::from_utf8_lossy(&reader.bytes()).into_owned();
        format!(
            "stdout {:?}, stderr {:?}, status {:?}, log {:#?}",
            text(&self.stdout),
            text(&self.stderr),
            text(&self.status),
            self.site.log()
        )
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let _ = raw::kill(self.pid.as_raw(), libc::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}

/// What came of a call.
#[derive(Clone)]
pub struct Ran {
    /// The exit code, where it exited.
    pub code: Option<i32>,
    /// The signal it died of.
    pub signal: Option<i32>,
    /// What it wrote, where that was collected.
    pub stdout: Vec<u8>,
    /// What it wrote to descriptor 2.
    pub stderr: Vec<u8>,
    /// The status stream.
    pub records: Vec<Record>,
    /// What the site had logged by then, all runs.
    pub log: Vec<String>,
    /// When it had ended, by [`raw::now_ns`].
    pub ended_ns: u64,
    /// When its output ended.
    pub stdout_end_ns: Option<u64>,
}

impl Ran {
    /// The exit code of something that must have exited.
    pub fn code(&self) -> i32 {
        self.code.unwrap_or_else(|| panic!("it died: {self:#?}"))
    }

    /// It exited with this code.
    pub fn exited(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// glexec stopped for this reason: its code, one sentence on stderr, the reason in the log
    /// and, where there is one, on the status stream.
    pub fn stopped(&self, reason: Reason) -> &Self {
        self.exited(i32::from(reason.fault().exit_code()));
        self.said_one_sentence();
        let logged = self.log.iter().any(|line| line.contains(reason.word()));
        assert!(logged, "the log lacks `{}`: {self:#?}", reason.word());
        for record in &self.records {
            match record {
                Record::Refused { reason: word, .. } => {
                    assert_eq!(word, reason.word(), "{self:#?}");
                }
                other => panic!("{other:?} in {self:#?}"),
            }
        }
        self
    }

    /// One line on stderr, as glexec's lines begin, and nothing on stdout.
    pub fn said_one_sentence(&self) -> &Self {
        let text = self.error();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() == 1 && text.starts_with("[gLExec]: "), "{self:#?}");
        assert!(!text.trim_end().contains(|c: char| c.is_control()), "{self:#?}");
        assert!(self.stdout.is_empty(), "{self:#?}");
        self
    }

    /// Standard output as text.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn error(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// What `actor look` printed.
    pub fn look(&self) -> Look {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }
}

/// Outputs as text: this is what a failing test shows.
impl std::fmt::Debug for Ran {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |text: String| text.chars().take(2000).collect::<String>();
        formatter
            .debug_struct("Ran")
            .field("code", &self.code)
            .field("signal", &self.signal)
            .field("stdout", &short(self.output()))
            .field("stderr", &short(self.error()))
            .field("records", &self.records)
            .field(
                "log",
                &self.log.iter().rev().take(4).rev().cloned().map(short).collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}
