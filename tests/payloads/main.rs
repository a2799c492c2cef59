//! What a shell cannot play: payloads, epilogues and stragglers for the tests. Whatever it
//! starts has a bounded life and a bounded number.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::exit
)]

mod storm;
mod tamper;
mod toil;

use harness::{Look, SAW, processes, raw};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

fn main() {
    let words: Vec<String> =
        std::env::args_os().map(|w| w.to_string_lossy().into_owned()).collect();
    let word = |n: usize| words.get(n).map_or("", String::as_str);
    let number = |n: usize| word(n).parse().unwrap_or(0i32);
    match word(1) {
        // Prints what it sees.
        "look" => println!("{}", serde_json::to_string(&Look::around()).unwrap()),
        // The standard epilogue: appends what it sees to a file of the site.
        "look-into" => append(SAW, &serde_json::to_string(&Look::around()).unwrap()),
        // Prints the whole state of the process, or appends it to a file.
        "state" => println!("{}", serde_json::to_string(&harness::state()).unwrap()),
        "state-into" => append(harness::TOLD, &serde_json::to_string(&harness::state()).unwrap()),
        // The epilogue that counts: which processes of the target are there as it starts.
        "count-into" => {
            let uid = std::env::var("GLEXEC_EPILOG_TARGET_UID").unwrap().parse().unwrap();
            let names: Vec<String> =
                here(uid).iter().map(|p| format!("{}:{}:{}", p.name, p.pid, p.state)).collect();
            append("/var/lib/site/count", &serde_json::to_string(&names).unwrap());
        }
        "exit" => std::process::exit(number(2)),
        "die" => die(number(2)),
        // Says when it ends.
        "last-words" => print!("{}", raw::now_ns()),
        // Fills its account's quota of keys, and stays.
        "hoard-keys" => {
            println!("{}", raw::hoard_keys());
            std::thread::sleep(Duration::from_secs(20));
        }
        // Ignores what can be ignored, for so many milliseconds, then exits 5.
        "endure" => {
            (1..=64).for_each(|signal| raw::set_ignored(signal, true));
            println!("enduring");
            std::thread::sleep(Duration::from_millis(u64::try_from(number(2)).unwrap()));
            std::process::exit(5);
        }
        "storm" => storm::storm(number(2)),
        "traced" => storm::traced(number(2), word(3) == "stubborn"),
        "headless" => storm::headless(number(2)),
        "chain" => storm::chain(number(2), number(3)),
        // The payload and the epilogue of the tests with tampered calls.
        "toil" => toil::toil(),
        "attend" => toil::attend(),
        "tamper" => std::process::exit(tamper::tamper(&words[2..])),
        "type" => type_into_terminal(),
        // Prints its arguments, each in hexadecimal.
        "argv" => {
            for word in std::env::args_os() {
                let bytes = std::os::unix::ffi::OsStrExt::as_bytes(word.as_os_str()).to_vec();
                println!("{}", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>());
            }
        }
        other => panic!("actor cannot play {other:?}"),
    }
}

/// The target's processes in this site, and those that only glexec has not reaped yet.
fn here(uid: u32) -> Vec<harness::Process> {
    let place = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let own = place(nix::unistd::getpid().as_raw());
    let glexec = nix::unistd::getppid().as_raw();
    let all = processes(uid).into_iter();
    all.filter(|p| p.parent == glexec || (own.is_some() && place(p.pid) == own)).collect()
}

pub(crate) fn append(path: &str, line: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).expect(path);
    file.write_all(format!("{line}\n").as_bytes()).expect(path);
}

/// Sends itself the signal; exits 77 where that did not end it.
fn die(signal: i32) -> ! {
    raw::set_ignored(signal, false);
    let _ = raw::kill(nix::unistd::getpid().as_raw(), signal);
    std::process::exit(77);
}

/// Tries to type into whatever terminal is in reach; prints how each try ended.
fn type_into_terminal() {
    use std::os::fd::AsRawFd as _;
    for fd in 0..=2 {
        println!("{fd}: {:?}", raw::type_into(fd, b'!'));
    }
    match OpenOptions::new().read(true).write(true).open("/dev/tty") {
        Ok(tty) => println!("tty: {:?}", raw::type_into(tty.as_raw_fd(), b'!')),
        Err(error) => println!("tty: no: {error}"),
    }
}
