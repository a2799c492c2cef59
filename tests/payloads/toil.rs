//! The payload and the epilogue of the tests with tampered calls: each says what it sees, and the
//! epilogue says whether it is alone.

use crate::{append, storm};
use harness::{Look, SAW, raw};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::pipe;
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What an epilogue holds to be alone.
const ALONE: &str = "/var/lib/site/alone";
/// One line for each epilogue that was not.
const OVERLAP: &str = "/var/lib/site/overlap";
/// One line for each epilogue that came to its end.
const ENDS: &str = "/var/lib/site/ends";
/// How long the epilogue takes, so that its glexec waits for it and two of them would meet.
const TAKES: Duration = Duration::from_millis(10);

/// How long a daemon stays that nobody ends.
const LIFE: Duration = Duration::from_secs(10);

/// Makes files in `GLEXEC_INTO`; leaves daemons behind for `GLEXEC_LEAVE`; says what it sees; stays
/// where `GLEXEC_STAY` says so; exits 7, or 8 where not all of `GLEXEC_INTO` is its own.
pub(crate) fn toil() -> ! {
    let set = |name: &str| std::env::var_os(name);
    let look = serde_json::to_string(&Look::around()).unwrap();
    if let Some(directory) = set("GLEXEC_INTO").map(PathBuf::from) {
        if !is_mine(&directory) {
            std::process::exit(8);
        }
        std::fs::create_dir(directory.join("made")).unwrap();
        std::fs::write(directory.join("made/out"), "of the target\n").unwrap();
        std::fs::write(directory.join("out"), "of the target\n").unwrap();
    }
    if set("GLEXEC_LEAVE").is_some() {
        let (ready, tell) = pipe().unwrap();
        // One goes when it is asked to, one does not.
        storm::detached(&tell, || {
            (1..=64).for_each(|signal| raw::set_ignored(signal, false));
            std::thread::sleep(LIFE);
        });
        storm::detached(&tell, || std::thread::sleep(LIFE));
        drop(tell);
        let _ = File::from(ready).take(2).read_to_end(&mut Vec::new());
    }
    println!("{look}");
    let stays = if set("GLEXEC_STAY").is_some() { Duration::from_secs(30) } else { TAKES };
    std::thread::sleep(stays);
    std::process::exit(7);
}

/// Whether everything in a directory is this process's own.
fn is_mine(path: &Path) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    let below = |meta: &std::fs::Metadata| {
        !meta.is_dir()
            || std::fs::read_dir(path).is_ok_and(|mut list| {
                list.all(|entry| entry.is_ok_and(|entry| is_mine(&entry.path())))
            })
    };
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.uid() == own && below(&meta))
}

/// Takes a lock that goes with the process, says what it sees, and that it has come to its end.
pub(crate) fn attend() {
    let told = |name: &str| std::env::var(format!("GLEXEC_EPILOG_{name}")).unwrap_or("-".into());
    let which = ["JOB_JOB", "ATTEMPT", "RESULT", "TARGET_RC"].map(told).join(" ");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o666).open(ALONE);
    let lock = Flock::lock(file.unwrap(), FlockArg::LockExclusiveNonblock);
    if lock.is_err() {
        append(OVERLAP, &which);
    }
    append(SAW, &serde_json::to_string(&Look::around()).unwrap());
    std::thread::sleep(TAKES);
    append(ENDS, &which);
}
