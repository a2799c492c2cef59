//! A call: who runs what, with which words, variables and descriptors, in which hostile state.

use crate::accounts;
use crate::raw::{self, Block};
use crate::running::{Ran, Running, Wires};
use crate::site::{GLEXEC, Site};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::pty::openpty;
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, pipe2, setsid};
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::sync::PoisonError;
use std::time::Duration;

/// The descriptor a call's status stream is on.
pub(crate) const STATUS_FD: RawFd = 9;
/// The descriptor a call's orders are read from.
pub(crate) const CONTROL_FD: RawFd = 8;
/// The exit code of a child that could not come as far as its exec; also told by a pipe.
const NEVER_STARTED: i32 = 119;

/// A resource limit to start with.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// The soft limit only.
    Soft(Resource, u64),
    /// Soft and hard.
    Hard(Resource, u64),
}

/// What happens in the child before its exec.
#[derive(Debug)]
enum Step {
    Limit(Limit),
    Umask(u32),
    Timer(i32, i64),
    Slack(u64),
    Ignore(i32),
    Mask(u64),
    Close(RawFd),
    NoNewPrivs,
    Nice(i32),
    Keyring,
    Inheritable,
    Securebits(u64),
    Child(Duration),
    SilentChild(Duration),
    Control(libc::c_int, [u64; 3]),
    /// The same, where this kernel and this processor let a process choose.
    ControlIfPossible(libc::c_int, [u64; 3]),
    Write(&'static str, &'static str),
    Placement,
    KeyDestination,
}

/// A call that is being put together. [`Call::run`] or [`Call::start`] makes it.
#[derive(Debug)]
pub struct Call<'a> {
    site: &'a Site,
    path: CString,
    argv: Vec<CString>,
    options: Vec<CString>,
    environment: Vec<CString>,
    who: accounts::Account,
    before: Vec<Step>,
    steps: Vec<Step>,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    passed: Vec<(RawFd, OwnedFd)>,
    directory: CString,
    status: bool,
    control: bool,
    terminal: bool,
    limit: Duration,
}

fn text(word: impl Into<OsString>) -> CString {
    CString::new(word.into().into_vec()).expect("no NUL")
}

impl<'a> Call<'a> {
    pub(crate) fn new(site: &'a Site, path: impl Into<OsString>) -> Self {
        let path = text(path);
        Self {
            site,
            argv: vec![path.clone()],
            path,
            options: Vec::new(),
            environment: vec![c"PATH=/usr/local/bin:/usr/bin:/bin".to_owned()],
            who: accounts::named("pilot"),
            before: Vec::new(),
            steps: Vec::new(),
            stdin: None,
            stdout: None,
            passed: Vec::new(),
            directory: c"/".to_owned(),
            status: false,
            control: false,
            terminal: false,
            limit: Duration::from_secs(30),
        }
    }

    /// More words after the program's name.
    #[must_use]
    pub fn words<W: Into<OsString>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.argv.extend(words.into_iter().map(text));
        self
    }

    /// Options before the command.
    #[must_use]
    pub fn option(mut self, word: &str) -> Self {
        self.options.push(text(word));
        self
    }

    /// Another program name.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.argv[0] = text(name);
        self
    }

    /// No argument at all, not even a name: argc 0.
    #[must_use]
    pub fn no_argv(mut self) -> Self {
        self.argv.clear();
        self
    }

    /// A variable.
    #[must_use]
    pub fn env(self, name: &str, value: &str) -> Self {
        self.raw_env(format!("{name}={value}"))
    }

    /// An entry of the environment block, well-formed or not.
    #[must_use]
    pub fn raw_env(mut self, entry: impl Into<Vec<u8>>) -> Self {
        self.environment.push(CString::new(entry).expect("no NUL"));
        self
    }

    /// No variables but those added later.
    #[must_use]
    pub fn no_env(mut self) -> Self {
        self.environment.clear();
        self
    }

    /// Somebody else than `pilot`.
    #[must_use]
    pub fn by(mut self, name: &str) -> Self {
        self.who = accounts::named(name);
        self
    }

    /// Ids that need no account.
    #[must_use]
    pub fn by_ids(mut self, uid: u32, gid: u32, groups: &[u32]) -> Self {
        self.who = accounts::Account { uid, gid, groups: groups.to_vec(), ..self.who };
        self
    }

    /// The working directory, entered as the caller.
    #[must_use]
    pub fn within(mut self, directory: &str) -> Self {
        self.directory = text(directory);
        self
    }

    /// What can be read from descriptor 0; without this it is /dev/null.
    #[must_use]
    pub fn stdin(self, bytes: impl AsRef<[u8]>) -> Self {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes.as_ref()).expect("room");
        file.rewind().expect("a seekable file");
        self.stdin_from(file)
    }

    /// A descriptor as 0.
    #[must_use]
    pub fn stdin_from(mut self, file: impl Into<OwnedFd>) -> Self {
        self.stdin = Some(file.into());
        self
    }

    /// A descriptor as 1, which then is not collected.
    #[must_use]
    pub fn stdout_to(mut self, file: impl Into<OwnedFd>) -> Self {
        self.stdout = Some(file.into());
        self
    }

    /// An open descriptor with this number.
    #[must_use]
    pub fn passing(mut self, number: RawFd, file: impl Into<OwnedFd>) -> Self {
        self.passed.push((number, file.into()));
        self
    }

    /// A status stream, collected into [`Ran::records`]. For glexec itself the option is added.
    #[must_use]
    pub fn with_status(mut self) -> Self {
        self.status = true;
        self
    }

    /// A control descriptor, for [`Running::order`]. For glexec itself the option is added.
    #[must_use]
    pub fn with_control(mut self) -> Self {
        self.control = true;
        self
    }

    /// A session with a controlling terminal on 0, 1 and 2.
    #[must_use]
    pub fn on_terminal(mut self) -> Self {
        self.terminal = true;
        self
    }

    /// Longer or shorter than 30 s, after which a run counts as hung.
    #[must_use]
    pub fn within_time(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    fn root_step(mut self, step: Step) -> Self {
        self.before.push(step);
        self
    }

    /// A resource limit.
    #[must_use]
    pub fn limited(self, limit: Limit) -> Self {
        self.step(Step::Limit(limit))
    }

    /// These descriptors closed.
    #[must_use]
    pub fn closing(mut self, numbers: &[RawFd]) -> Self {
        self.steps.extend(numbers.iter().map(|n| Step::Close(*n)));
        self
    }

    /// These signals ignored.
    #[must_use]
    pub fn ignoring(mut self, signals: &[i32]) -> Self {
        self.steps.extend(signals.iter().map(|n| Step::Ignore(*n)));
        self
    }

    /// These signals blocked.
    #[must_use]
    pub fn blocking(self, signals: &[i32]) -> Self {
        let mask = signals.iter().fold(0, |mask, n| mask | (1u64 << (n - 1)));
        self.step(Step::Mask(mask))
    }

    /// This file mode creation mask.
    #[must_use]
    pub fn umask(self, mask: u32) -> Self {
        self.step(Step::Umask(mask))
    }

    /// An interval timer (`ITIMER_REAL` ...) that fires once.
    #[must_use]
    pub fn timer(self, which: i32, milliseconds: i64) -> Self {
        self.step(Step::Timer(which, milliseconds))
    }

    /// A timer slack in nanoseconds.
    #[must_use]
    pub fn slack(self, nanoseconds: u64) -> Self {
        self.step(Step::Slack(nanoseconds))
    }

    /// prctl's `no_new_privs`.
    #[must_use]
    pub fn no_new_privs(self) -> Self {
        self.step(Step::NoNewPrivs)
    }

    /// A lower priority.
    #[must_use]
    pub fn nice(self, nice: i32) -> Self {
        self.step(Step::Nice(nice))
    }

    /// prctl(2) with up to three numbers, as the caller.
    #[must_use]
    pub fn control(self, option: i32, numbers: [u64; 3]) -> Self {
        self.step(Step::Control(option, numbers))
    }

    /// Everything that a caller without privileges can set of its process, that a setuid exec hands
    /// on, that glexec does not refuse, and that lets a payload live: see [`Call::without_time`].
    #[must_use]
    pub fn hostile(self) -> Self {
        const SPECULATION: libc::c_int = 53;
        let signals: Vec<i32> =
            (1..=64).filter(|n| ![libc::SIGKILL, libc::SIGSTOP].contains(n)).collect();
        let mut call = self
            .slack(20_000_000_000)
            .nice(19)
            .umask(0)
            .ignoring(&signals)
            .blocking(&signals)
            .timer(libc::ITIMER_REAL, 3_600_000)
            .timer(libc::ITIMER_VIRTUAL, 3_600_000)
            .timer(libc::ITIMER_PROF, 3_600_000)
            .keyring()
            .step(Step::KeyDestination)
            .step(Step::Write("/proc/self/oom_score_adj", "1000"))
            .step(Step::Write("/proc/self/coredump_filter", "0xff"))
            .step(Step::Placement)
            .control(libc::PR_SET_THP_DISABLE, [1, 0, 0])
            // PR_MCE_KILL_SET, PR_MCE_KILL_EARLY.
            .control(libc::PR_MCE_KILL, [1, 1, 0]);
        // Store bypass and indirect branches disabled, the first cache flushed at every switch.
        for (which, value) in [(0, 4), (1, 4), (2, 2)] {
            call = call.step(Step::ControlIfPossible(SPECULATION, [which, value, 0]));
        }
        // PR_SCHED_CORE_CREATE for this thread.
        call.step(Step::ControlIfPossible(62, [1, 0, 0]))
    }

    /// Reading the time stamp counter is fatal: no dynamic program gets as far as its main.
    #[must_use]
    pub fn without_time(self) -> Self {
        self.control(libc::PR_SET_TSC, [2, 0, 0])
    }

    /// A session keyring with a secret in it.
    #[must_use]
    pub fn keyring(self) -> Self {
        self.step(Step::Keyring)
    }

    /// Every capability inheritable.
    #[must_use]
    pub fn inheritable_capabilities(self) -> Self {
        self.root_step(Step::Inheritable)
    }

    /// These securebits, set by root before it became the caller.
    #[must_use]
    pub fn securebits(self, bits: u64) -> Self {
        self.root_step(Step::Securebits(bits))
    }

    /// A child that is there before the exec, sleeps this long and exits 55.
    #[must_use]
    pub fn with_child(self, sleeping: Duration) -> Self {
        self.step(Step::Child(sleeping))
    }

    /// The same, of a kind whose end sends no signal, so that an ordinary wait does not see it.
    #[must_use]
    pub fn with_silent_child(self, sleeping: Duration) -> Self {
        self.step(Step::SilentChild(sleeping))
    }

    /// Runs it to its end.
    pub fn run(self) -> Ran {
        self.start().wait()
    }

    /// Starts it.
    pub fn start(mut self) -> Running<'a> {
        let mut wires = Wires::default();
        let null = || File::open("/dev/null").expect("/dev/null").into();
        let pipe = || pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        let mut passed = std::mem::take(&mut self.passed);
        if self.terminal {
            let pty = openpty(None, None).expect("a terminal");
            for number in 0..3 {
                passed.push((number, pty.slave.try_clone().expect("a copy")));
            }
            wires.terminal = Some(pty.master);
        } else {
            passed.push((0, self.stdin.take().unwrap_or_else(null)));
            let (stdout, theirs) = pipe();
            passed.push((1, self.stdout.take().unwrap_or(theirs)));
            let (stderr, theirs) = pipe();
            passed.push((2, theirs));
            wires.stdout = Some(stdout);
            wires.stderr = Some(stderr);
        }
        if self.status {
            let (ours, theirs) = pipe();
            passed.push((STATUS_FD, theirs));
            wires.status = Some(ours);
            self.announce(&format!("--status-fd={STATUS_FD}"));
        }
        if self.control {
            let (theirs, ours) = pipe();
            passed.push((CONTROL_FD, theirs));
            wires.control = Some(ours);
            self.announce(&format!("--control-fd={CONTROL_FD}"));
        }
        let (mut failed, tell) =
            pipe2(OFlag::O_CLOEXEC).map(|(r, w)| (File::from(r), w)).expect("a pipe");
        let at = self.argv.len().min(1);
        let options = std::mem::take(&mut self.options);
        self.argv.splice(at..at, options);
        let argv = Block::new(std::mem::take(&mut self.argv));
        let environment = Block::new(std::mem::take(&mut self.environment));
        let alone = raw::FORKING.write().unwrap_or_else(PoisonError::into_inner);
        let pid = raw::fork(|| {
            // Only the number is told: the pipe is above every number that is put or closed.
            let tell = raw::out_of_the_way(tell.as_raw_fd()).unwrap_or(-1);
            let errno = match self.prepare(&passed) {
                Ok(()) => raw::exec(&self.path, &argv, &environment),
                Err(errno) => errno,
            };
            let _ = File::from(raw::adopt(tell)).write_all(errno.desc().as_bytes());
            NEVER_STARTED
        })
        .expect("a child");
        drop((passed, tell));
        let mut trouble = String::new();
        let _ = failed.read_to_string(&mut trouble);
        drop(alone);
        assert!(trouble.is_empty(), "{:?} could not be started: {trouble}", self.path);
        Running::new(self.site, pid, wires, self.limit)
    }

    fn announce(&mut self, option: &str) {
        if self.path.as_bytes() == OsString::from(GLEXEC).as_bytes() {
            self.options.push(text(option));
        }
    }

    /// In the child. What is first needs root, what is last would get in the way of the rest.
    fn prepare(&self, passed: &[(RawFd, OwnedFd)]) -> Result<(), Errno> {
        setns(self.site.namespace(), CloneFlags::CLONE_NEWNS)?;
        setsid()?;
        raw::end_with_exec_from(3)?;
        let aside: Vec<(RawFd, RawFd)> = passed
            .iter()
            .map(|(number, file)| Ok((*number, raw::out_of_the_way(file.as_raw_fd())?)))
            .collect::<Result<_, Errno>>()?;
        for (number, file) in aside {
            raw::put(file, number)?;
        }
        if self.terminal {
            raw::take_terminal(0)?;
        }
        raw::set_mask(0);
        (1..=64).for_each(|signal| raw::set_ignored(signal, false));
        umask(Mode::from_bits_truncate(0o022));
        let (_, core) = nix::sys::resource::getrlimit(Resource::RLIMIT_CORE)?;
        setrlimit(Resource::RLIMIT_CORE, 0, core)?;
        self.before.iter().try_for_each(Step::take)?;
        raw::become_user(self.who.uid, self.who.gid, &self.who.groups)?;
        chdir(self.directory.as_c_str())?;
        self.steps.iter().try_for_each(Step::take)
    }
}

impl Step {
    fn take(&self) -> Result<(), Errno> {
        match self {
            Self::Limit(Limit::Hard(resource, value)) => setrlimit(*resource, *value, *value)?,
            Self::Limit(Limit::Soft(resource, value)) => {
                let (_, hard) = nix::sys::resource::getrlimit(*resource)?;
                setrlimit(*resource, *value, hard)?;
            }
            Self::Umask(mask) => drop(umask(Mode::from_bits_truncate(*mask))),
            Self::Timer(which, milliseconds) => raw::arm_timer(*which, *milliseconds),
            Self::Slack(ns) => drop(raw::control(libc::PR_SET_TIMERSLACK, *ns)?),
            Self::Ignore(signal) => raw::set_ignored(*signal, true),
            Self::Mask(mask) => raw::set_mask(*mask),
            Self::Close(number) => raw::close(*number),
            Self::NoNewPrivs => drop(raw::control(libc::PR_SET_NO_NEW_PRIVS, 1)?),
            Self::Nice(nice) => raw::set_nice(*nice)?,
            Self::Keyring => raw::join_keyring_with_secret(&c"e2e-login".to_owned()),
            Self::Inheritable => raw::set_inheritable()?,
            Self::Securebits(bits) => drop(raw::control(libc::PR_SET_SECUREBITS, *bits)?),
            Self::Control(option, numbers) => drop(raw::control_with(*option, *numbers)?),
            Self::ControlIfPossible(option, numbers) => {
                let _ = raw::control_with(*option, *numbers);
            }
            Self::Write(path, text) => {
                // Or its files in /proc are root's.
                raw::control(libc::PR_SET_DUMPABLE, 1)?;
                let done = std::fs::write(path, text);
                done.map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(0)))?;
            }
            Self::Placement => raw::set_placement()?,
            Self::KeyDestination => raw::set_key_destination(),
            Self::SilentChild(sleeping) => {
                raw::fork_silently(|| {
                    (0..=255).for_each(raw::close);
                    std::thread::sleep(*sleeping);
                    55
                })?;
            }
            Self::Child(sleeping) => {
                raw::fork(|| {
                    (0..=255).for_each(raw::close);
                    std::thread::sleep(*sleeping);
                    55
                })?;
            }
        }
        Ok(())
    }
}
