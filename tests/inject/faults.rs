//! Which faults fit which call.

use harness::tamper::{Fault, Spot, Tampering};
use nix::errno::Errno;
use std::collections::HashMap;

const fn fails(errno: Errno) -> Fault {
    Fault::Fails(errno)
}

/// What a call may come to, its end by KILL or a fault of its own left out. None for a call that cannot fail.
fn of(call: &str) -> Vec<Fault> {
    use Errno as E;
    let errors = |list: &[E]| -> Vec<Fault> { list.iter().copied().map(fails).collect() };
    match call {
        // These cannot fail, or end the process.
        "getpid" | "gettid" | "getppid" | "getuid" | "geteuid" | "getgid" | "getegid" | "umask"
        | "exit" | "exit_group" | "rt_sigreturn" | "rt_sigprocmask" | "rt_sigaction"
        | "set_tid_address" | "set_robust_list" | "rseq" | "arch_prctl" | "clock_gettime"
        | "getpgrp" | "sched_yield" | "setfsuid" | "setfsgid" | "sigaltstack" => vec![],
        // Who lies here makes root.
        "setresuid" | "setresgid" | "setgroups" | "setuid" | "setgid" | "setreuid" | "setregid" => {
            vec![fails(E::EAGAIN), fails(E::EPERM), Fault::Gives(0)]
        }
        "getresuid" | "getresgid" | "getgroups" | "capget" | "capset" => {
            vec![fails(E::EPERM), Fault::Gives(0)]
        }
        "prctl" => vec![fails(E::EINVAL), fails(E::EPERM)],
        "open" | "openat" => errors(&[E::EMFILE, E::EIO, E::EACCES]),
        "openat2" => errors(&[E::EMFILE, E::EIO]),
        "read" | "pread64" | "readv" => errors(&[E::EIO, E::EINTR]),
        "getdents64" => errors(&[E::EIO, E::ENOMEM]),
        "write" | "writev" | "pwrite64" => {
            vec![fails(E::EIO), fails(E::ENOSPC), fails(E::EAGAIN), fails(E::EINTR), Fault::Short]
        }
        "sendto" | "sendmsg" => errors(&[E::EAGAIN, E::ECONNREFUSED, E::ENOBUFS]),
        "recvfrom" | "recvmsg" => errors(&[E::EIO, E::EINTR]),
        "close" => vec![Fault::FailsLate(E::EIO)],
        "fsync" | "fdatasync" => vec![Fault::FailsLate(E::EIO)],
        "fork" | "vfork" | "clone" => errors(&[E::EAGAIN, E::ENOMEM]),
        "clone3" => errors(&[E::EAGAIN, E::ENOSYS]),
        "execve" | "execveat" => errors(&[E::ENOMEM, E::EACCES, E::ENOENT]),
        "mmap" | "brk" | "mprotect" | "mremap" => errors(&[E::ENOMEM]),
        "kill" | "tgkill" | "pidfd_send_signal" => errors(&[E::EPERM, E::ESRCH]),
        "waitid" | "wait4" => errors(&[E::EINTR]),
        "poll" | "ppoll" => vec![fails(E::EINTR), fails(E::ENOMEM), Fault::Gives(0)],
        "pipe" | "pipe2" | "eventfd2" | "signalfd4" | "socket" | "socketpair"
        | "timerfd_create" | "memfd_create" => errors(&[E::EMFILE, E::ENOMEM]),
        "pidfd_open" => errors(&[E::EMFILE, E::ENOMEM, E::ENOSYS]),
        "fcntl" => errors(&[E::EMFILE, E::ENOLCK, E::EBADF]),
        "flock" => errors(&[E::ENOLCK, E::EINTR]),
        "fstat" | "stat" | "lstat" | "newfstatat" | "fstatfs" | "statfs" | "readlink"
        | "readlinkat" | "access" | "faccessat" => errors(&[E::EIO, E::ENOMEM]),
        "statx" => errors(&[E::EIO, E::ENOMEM]),
        "faccessat2" => errors(&[E::EIO, E::ENOSYS]),
        "fgetxattr" | "getxattr" | "flistxattr" | "fremovexattr" | "fsetxattr" => {
            errors(&[E::EIO, E::ENOMEM])
        }
        "setpgid" | "setsid" => errors(&[E::EPERM, E::ESRCH]),
        "chdir" | "fchdir" => errors(&[E::EACCES, E::EIO]),
        "prlimit64" | "setrlimit" | "getrlimit" => errors(&[E::EPERM]),
        "close_range" => errors(&[E::ENOSYS, E::EMFILE]),
        "keyctl" => errors(&[E::EDQUOT, E::ENOMEM, E::ENOSYS]),
        "dup" | "dup2" | "dup3" => errors(&[E::EMFILE, E::EBADF, E::EINTR]),
        "rename" | "renameat" | "renameat2" | "unlink" | "unlinkat" | "mkdir" | "mkdirat"
        | "linkat" | "fchown" | "fchownat" | "fchmod" | "fchmodat" | "fchmodat2" | "ftruncate" => {
            errors(&[E::EIO, E::ENOSPC, E::EROFS])
        }
        _ => errors(&[E::EIO, E::EPERM]),
    }
}

/// Every call of every process, with every fault that fits it.
pub(crate) fn spots(recorded: &Tampering) -> Vec<Spot> {
    let mut all = Vec::new();
    for (process, calls) in &recorded.calls {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for call in calls {
            let nth = counts.entry(call).and_modify(|n| *n += 1).or_insert(1);
            let (process, call, nth) = (process.clone(), call.clone(), *nth);
            // At its exec a process has nothing left to do that could be at fault.
            let crash = (!call.starts_with("execve")).then_some(Fault::Crash);
            // Without memory for a word.
            let silent = (call == "write" && process.contains('.')).then_some(Fault::Exit);
            let faults = of(&call).into_iter().chain([Fault::Kill]).chain(crash).chain(silent);
            all.extend(faults.map(|fault| Spot {
                process: process.clone(),
                call: call.clone(),
                nth,
                fault,
            }));
        }
    }
    all
}
