//! `actor tamper SPOT WHO PROGRAM WORDS...`: runs a program as somebody, under ptrace(2), and has
//! one call of one of its processes fail, lie, or be its last. Knows the registers of x86_64 only.

use harness::tamper::{Fault, Spot, TAMPERING, Tampering, spot_of};
use harness::{accounts, raw};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, pipe};
use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

/// What executes a program whose name begins so stays in sight.
const OURS: &str = "glexec";

#[derive(Debug, Default)]
struct Tracee {
    name: String,
    /// How often it has made which call.
    counts: HashMap<String, usize>,
    children: usize,
    /// How the call it is in comes out.
    answer: Option<i64>,
    inside: bool,
}

struct Tracer {
    spot: Option<Spot>,
    told: Tampering,
    tracees: HashMap<Pid, Tracee>,
    /// Children that stopped before their parent's fork was reported.
    early: Vec<Pid>,
    first: Pid,
}

/// Runs the program; gives its exit code, or 128+n for signal n.
pub(crate) fn tamper(words: &[String]) -> i32 {
    let [spot, who, program, ..] = words else { panic!("tamper SPOT WHO PROGRAM WORDS...") };
    let spot = spot_of(spot).unwrap();
    let who = accounts::named(who);
    let text = |word: &str| CString::new(word).unwrap();
    let path = text(program);
    let argv = raw::Block::new(words[2..].iter().map(|word| text(word)).collect());
    let environment = std::env::vars().map(|(name, value)| text(&format!("{name}={value}")));
    let environment = raw::Block::new(environment.collect());
    let (ready, go) = pipe().unwrap();
    let first = raw::fork(|| {
        raw::close(go.as_raw_fd());
        let _ = nix::unistd::read(&ready, &mut [0]);
        raw::close(ready.as_raw_fd());
        raw::become_user(who.uid, who.gid, &who.groups).unwrap();
        let errno = raw::exec(&path, &argv, &environment);
        let _ = writeln!(std::io::stderr(), "{program}: {errno}");
        119
    })
    .unwrap();
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC;
    ptrace::seize(first, options).unwrap();
    // What is the program's is not this process's, too; but for the place to complain.
    drop(ready);
    (0..=255).filter(|fd| *fd != 2 && *fd != go.as_raw_fd()).for_each(raw::close);
    drop(go);
    let tracees = HashMap::from([(first, Tracee::default())]);
    let mut tracer = Tracer { spot, told: Tampering::default(), tracees, early: Vec::new(), first };
    tracer.follow();
    let told = serde_json::to_string(&tracer.told).unwrap();
    std::fs::write(TAMPERING, told).unwrap();
    tracer.told.code.or(tracer.told.signal.map(|signal| 128 + signal)).unwrap_or(119)
}

impl Tracer {
    /// Until the program's first process has ended. What is left then goes on by itself.
    fn follow(&mut self) {
        loop {
            match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.first => {
                    self.told.code = Some(code);
                    return;
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.first => {
                    self.told.signal = Some(signal as i32);
                    return;
                }
                Ok(WaitStatus::PtraceSyscall(pid)) => self.at_a_call(pid),
                Ok(WaitStatus::PtraceEvent(pid, signal, event)) => self.at(pid, signal, event),
                Ok(WaitStatus::Stopped(pid, signal)) => self.go_on(pid, Some(signal)),
                Ok(_) => {}
                Err(Errno::EINTR) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn go_on(&self, pid: Pid, signal: Option<Signal>) {
        // Nothing is left to strike: at full speed, but for a call whose outcome is ours.
        let struck = self.told.struck.is_some();
        let answers = self.tracees.get(&pid).is_some_and(|tracee| tracee.answer.is_some());
        // It may have been killed in the meantime.
        let _ = match struck && !answers {
            true => ptrace::cont(pid, signal),
            false => ptrace::syscall(pid, signal),
        };
    }

    fn at(&mut self, pid: Pid, signal: Signal, event: i32) {
        match event {
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                let child = ptrace::getevent(pid).ok().and_then(|child| i32::try_from(child).ok());
                if let (Some(child), Some(parent)) = (child, self.tracees.get_mut(&pid)) {
                    let child = Pid::from_raw(child);
                    parent.children += 1;
                    let name = format!("{}.{}", parent.name, parent.children);
                    self.tracees.insert(child, Tracee { name, ..Tracee::default() });
                    if let Some(at) = self.early.iter().position(|early| *early == child) {
                        self.early.remove(at);
                        self.go_on(child, None);
                    }
                }
                self.go_on(pid, None);
            }
            libc::PTRACE_EVENT_EXEC => self.at_an_exec(pid),
            libc::PTRACE_EVENT_STOP if !self.tracees.contains_key(&pid) => self.early.push(pid),
            // A group stop, too, goes on: nothing here is stopped for its own sake.
            _ => self.go_on(pid, (event == 0).then_some(signal)),
        }
    }

    fn at_an_exec(&mut self, pid: Pid) {
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let program = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(tracee) = self.tracees.get_mut(&pid) else { return };
        if pid == self.first && tracee.name.is_empty() {
            tracee.name = program;
        } else if program.starts_with(OURS) {
            tracee.name = format!("{}+{program}", tracee.name);
        } else if pid != self.first {
            self.tracees.remove(&pid);
            let _ = ptrace::detach(pid, None);
            return;
        } else {
            // The program itself has become the payload.
            tracee.name = String::new();
        }
        tracee.counts.clear();
        self.go_on(pid, None);
    }

    fn at_a_call(&mut self, pid: Pid) {
        let Some(tracee) = self.tracees.get_mut(&pid) else { return };
        tracee.inside =
            ptrace::syscall_info(pid).is_ok_and(|i| i.op == libc::PTRACE_SYSCALL_INFO_ENTRY);
        if !tracee.inside {
            if let (Some(answer), Ok(mut registers)) = (tracee.answer.take(), ptrace::getregs(pid))
            {
                registers.rax = u64::from_ne_bytes(answer.to_ne_bytes());
                let _ = ptrace::setregs(pid, registers);
            }
        } else if !tracee.name.is_empty() {
            self.entering(pid);
        }
        self.go_on(pid, None);
    }

    fn entering(&mut self, pid: Pid) {
        let Some(tracee) = self.tracees.get_mut(&pid) else { return };
        let Ok(mut registers) = ptrace::getregs(pid) else { return };
        let number = signed(registers.orig_rax);
        let call = name_of(number);
        let count = tracee.counts.entry(call.clone()).or_default();
        *count += 1;
        let Some(spot) = &self.spot else {
            self.told.calls.entry(tracee.name.clone()).or_default().push(call);
            return;
        };
        let here = tracee.name == spot.process && call == spot.call && *count == spot.nth;
        if !here || self.told.struck.is_some() {
            return;
        }
        self.told.struck = Some(shown(pid, &call, &registers));
        let failing = |errno: Errno| -i64::from(errno as i32);
        match spot.fault {
            Fault::Kill => {
                let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
                return;
            }
            // Nothing is there to be executed: whatever is blocked, the kernel ends the process.
            Fault::Crash => registers.rip = 0,
            Fault::Exit => {
                registers.orig_rax = u64::from_ne_bytes(libc::SYS_exit_group.to_ne_bytes());
                registers.rdi = 127;
            }
            Fault::Short => registers.rdx = registers.rdx.min(1),
            Fault::FailsLate(errno) => tracee.answer = Some(failing(errno)),
            Fault::Fails(errno) => tracee.answer = Some(failing(errno)),
            Fault::Gives(value) => tracee.answer = Some(value),
        }
        if matches!(spot.fault, Fault::Fails(_) | Fault::Gives(_) | Fault::Crash) {
            // No call: the kernel makes none for a number that is none.
            registers.orig_rax = u64::MAX;
        }
        ptrace::setregs(pid, registers).unwrap();
    }
}

/// The call with its arguments, a path as text.
fn shown(pid: Pid, call: &str, registers: &libc::user_regs_struct) -> String {
    let arguments = [registers.rdi, registers.rsi, registers.rdx];
    let path = match call {
        "openat" | "openat2" | "newfstatat" | "statx" | "unlinkat" | "mkdirat" | "readlinkat"
        | "faccessat" | "faccessat2" | "renameat" | "fchownat" => Some(1),
        "open" | "stat" | "lstat" | "access" | "readlink" | "unlink" | "mkdir" | "chdir"
        | "execve" | "chown" | "lchown" | "getxattr" => Some(0),
        _ => None,
    };
    let words = arguments.iter().enumerate().map(|(n, argument)| match path {
        Some(at) if at == n => text_at(pid, *argument),
        _ => i32::try_from(signed(*argument))
            .map_or_else(|_| format!("{argument:#x}"), |number| number.to_string()),
    });
    format!("{call}({})", words.collect::<Vec<_>>().join(", "))
}

/// A register as the kernel reads a number in it.
const fn signed(register: u64) -> i64 {
    i64::from_ne_bytes(register.to_ne_bytes())
}

/// A text in another process's memory.
fn text_at(pid: Pid, address: u64) -> String {
    let mut bytes = [0u8; 120];
    let memory = File::open(format!("/proc/{pid}/mem"));
    let length = memory.and_then(|memory| memory.read_at(&mut bytes, address)).unwrap_or(0);
    let end = bytes[..length].iter().position(|byte| *byte == 0).unwrap_or(length);
    format!("{:?}", String::from_utf8_lossy(&bytes[..end]))
}

macro_rules! names {
    ($($name:ident)*) => { [$((libc::$name, stringify!($name))),*] };
}

/// The calls that a program of glexec's makes; others are called by their number.
fn name_of(number: i64) -> String {
    thread_local! {
        static NAMES: BTreeMap<i64, &'static str> = BTreeMap::from(names!(
            SYS_read SYS_write SYS_open SYS_close SYS_stat SYS_fstat SYS_lstat SYS_poll SYS_lseek
            SYS_mmap SYS_mprotect SYS_munmap SYS_brk SYS_rt_sigaction SYS_rt_sigprocmask
            SYS_rt_sigreturn SYS_rt_sigtimedwait SYS_rt_sigpending SYS_ioctl SYS_pread64
            SYS_pwrite64 SYS_readv SYS_writev SYS_access SYS_pipe SYS_select SYS_sched_yield
            SYS_mremap SYS_madvise SYS_dup SYS_dup2 SYS_dup3 SYS_pause SYS_nanosleep
            SYS_clock_nanosleep SYS_clock_gettime SYS_clock_getres SYS_alarm SYS_setitimer
            SYS_getitimer SYS_getpid SYS_gettid SYS_getppid SYS_socket SYS_socketpair SYS_connect
            SYS_accept SYS_sendto SYS_recvfrom SYS_sendmsg SYS_recvmsg SYS_shutdown SYS_bind
            SYS_getsockname SYS_getpeername SYS_setsockopt SYS_getsockopt SYS_clone SYS_clone3
            SYS_fork SYS_vfork SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_wait4
            SYS_waitid SYS_kill SYS_tkill SYS_tgkill SYS_uname SYS_fcntl SYS_flock SYS_fsync
            SYS_fdatasync SYS_truncate SYS_ftruncate SYS_getdents64 SYS_getcwd SYS_chdir
            SYS_fchdir SYS_rename SYS_renameat SYS_renameat2 SYS_mkdir SYS_mkdirat SYS_rmdir
            SYS_link SYS_linkat SYS_unlink SYS_unlinkat SYS_symlink SYS_symlinkat SYS_readlink
            SYS_readlinkat SYS_chmod SYS_fchmod SYS_fchmodat SYS_fchmodat2 SYS_chown SYS_fchown
            SYS_lchown SYS_fchownat SYS_umask SYS_getrlimit SYS_setrlimit SYS_prlimit64
            SYS_getrusage SYS_sysinfo SYS_times SYS_getuid SYS_geteuid SYS_getgid SYS_getegid
            SYS_setuid SYS_setgid SYS_setreuid SYS_setregid SYS_getgroups SYS_setgroups
            SYS_setresuid SYS_getresuid SYS_setresgid SYS_getresgid SYS_setfsuid SYS_setfsgid
            SYS_setpgid SYS_getpgid SYS_getpgrp SYS_setsid SYS_getsid SYS_capget SYS_capset
            SYS_sigaltstack SYS_personality SYS_statfs SYS_fstatfs SYS_getpriority
            SYS_setpriority SYS_sched_setaffinity SYS_sched_getaffinity SYS_sched_setscheduler
            SYS_sched_getscheduler SYS_sched_setattr SYS_sched_getattr SYS_sched_setparam
            SYS_sched_getparam SYS_ioprio_set SYS_ioprio_get SYS_prctl SYS_arch_prctl SYS_mount
            SYS_umount2 SYS_setns SYS_unshare SYS_keyctl SYS_add_key SYS_request_key
            SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_setxattr SYS_fsetxattr SYS_removexattr
            SYS_fremovexattr SYS_listxattr SYS_flistxattr SYS_futex SYS_set_tid_address
            SYS_set_robust_list SYS_rseq SYS_getrandom SYS_epoll_create1 SYS_epoll_ctl
            SYS_epoll_wait SYS_epoll_pwait SYS_openat SYS_openat2 SYS_newfstatat SYS_statx
            SYS_faccessat SYS_faccessat2 SYS_ppoll SYS_pselect6 SYS_pipe2 SYS_eventfd2
            SYS_signalfd4 SYS_timerfd_create SYS_timerfd_settime SYS_memfd_create
            SYS_pidfd_open SYS_pidfd_send_signal SYS_pidfd_getfd SYS_close_range SYS_utimensat
            SYS_futimesat SYS_splice SYS_sendfile SYS_fallocate SYS_name_to_handle_at
            SYS_open_by_handle_at SYS_process_vm_readv SYS_set_mempolicy SYS_mlockall SYS_munlockall SYS_kcmp SYS_process_madvise
        ));
    }
    let known = NAMES.with(|names| names.get(&number).copied());
    known
        .map_or_else(|| format!("call-{number}"), |name| name.trim_start_matches("SYS_").to_owned())
}
