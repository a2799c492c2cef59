//! Payloads that will not go: they fork and fork, leave every group, or are traced by their own
//! grandchildren. At most about 40 processes at a time, gone after 10 s by themselves.

use harness::raw;
use nix::sys::ptrace;
use nix::unistd::{getpid, pipe, setsid};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

const LIFE: Duration = Duration::from_secs(10);
const COMETS: usize = 6;
const SITTERS: usize = 20;

fn ignore_everything() {
    (1..=64).for_each(|signal| raw::set_ignored(signal, true));
}

fn close_outputs() {
    (0..=2).for_each(raw::close);
}

/// Leaves behind processes that double-forked, called setsid, ignore every signal and fork in a
/// loop; exits with `code` as soon as they are under way.
pub(crate) fn storm(code: i32) -> ! {
    let (ready, tell) = pipe().unwrap();
    let end = Instant::now() + LIFE;
    for n in 0..COMETS + SITTERS {
        detached(&tell, || if n < COMETS { comet(end) } else { sit(end) });
    }
    drop(tell);
    let mut told = Vec::new();
    let _ = File::from(ready).take((COMETS + SITTERS) as u64).read_to_end(&mut told);
    std::process::exit(code);
}

/// A daemon, the usual way: fork, setsid, fork.
pub(crate) fn detached(tell: &OwnedFd, then: impl FnOnce()) {
    let middle = raw::fork(|| {
        let _ = setsid();
        ignore_everything();
        let last = raw::fork(|| {
            close_outputs();
            let _ = File::from(tell.try_clone().unwrap()).write_all(b".");
            then();
            0
        });
        i32::from(last.is_err())
    });
    let _ = nix::sys::wait::waitpid(middle.unwrap(), None);
}

/// Always a new pid, session and group: each generation forks the next and exits.
fn comet(end: Instant) {
    while Instant::now() < end {
        if raw::fork(|| 1).is_err() || raw::pass_on().is_err() {
            return;
        }
        let _ = setsid();
    }
}

fn sit(end: Instant) {
    std::thread::sleep(end.saturating_duration_since(Instant::now()));
}

/// Exits with `code` while a grandchild traces it and so holds its status back.
pub(crate) fn traced(code: i32, stubborn: bool) -> ! {
    let payload = getpid();
    let (ready, tell) = pipe().unwrap();
    // A traced process stops for every signal, SIGCHLD included: first the child has to be gone.
    let (gone, go) = pipe().unwrap();
    let child = raw::fork(|| {
        let grandchild = raw::fork(|| {
            if stubborn {
                ignore_everything();
            }
            close_outputs();
            let _ = File::from(gone.try_clone().unwrap()).read(&mut [0u8; 1]);
            let answer = match ptrace::seize(payload, ptrace::Options::empty()) {
                Ok(()) => b"+",
                Err(_) => b"-",
            };
            let _ = File::from(tell.try_clone().unwrap()).write_all(answer);
            sit(Instant::now() + LIFE);
            0
        });
        i32::from(grandchild.is_err())
    });
    let _ = nix::sys::wait::waitpid(child.unwrap(), None);
    let _ = File::from(go).write_all(b".");
    drop(tell);
    let mut told = [0u8; 1];
    let _ = File::from(ready).read(&mut told);
    std::process::exit(if &told == b"+" { code } else { 99 });
}

/// Leaves behind a daemon whose first thread has ended while another lives: for a glance it looks
/// like a zombie.
pub(crate) fn headless(code: i32) -> ! {
    let (ready, tell) = pipe().unwrap();
    detached(&tell, || {
        std::thread::spawn(|| sit(Instant::now() + LIFE));
        raw::end_thread();
    });
    drop(tell);
    let _ = File::from(ready).read(&mut [0u8; 1]);
    std::thread::sleep(Duration::from_millis(50));
    std::process::exit(code);
}

/// Leaves behind a chain of `length` processes, each the parent of the next, that ignore
/// everything.
pub(crate) fn chain(length: i32, code: i32) -> ! {
    let (ready, tell) = pipe().unwrap();
    detached(&tell, || {
        for _ in 1..length.min(2000) {
            // The parent sits; the child forks the next.
            if raw::go_down().unwrap_or(true) {
                break;
            }
        }
        sit(Instant::now() + LIFE);
    });
    drop(tell);
    let _ = File::from(ready).read(&mut [0u8; 1]);
    std::thread::sleep(Duration::from_millis(u64::try_from(length).unwrap_or(0)));
    std::process::exit(code);
}
