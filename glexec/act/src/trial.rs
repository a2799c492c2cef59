//! That a run could be written down: an entry is, under a name that nobody takes for a run's, and
//! removed again.
//!
//! Anybody may have this done without end, so it leaves nothing to count on: at most `SLOTS`
//! files of one caller's exist, each is emptied before its name goes, and nobody waits for a lock.

use super::launch;
use super::root::Root;
use super::state::{NEW, StateDir, lock, write_all};
use decide::config::StateRule;
use decide::entry::{Entry, line};
use decide::plan::Plan;
use decide::refusal::Refusal;
use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::unistd::{UnlinkatFlags, fsync, ftruncate, unlinkat};
use std::os::fd::OwnedFd;

/// How many rehearsals of one caller's try at the same time; a further one takes their word.
const SLOTS: u8 = 4;

/// Writes down what a run by this plan would, and removes it.
///
/// # Errors
/// As where a run begins: [`Reason::State`], [`Reason::TooManyRuns`],
/// [`Reason::ArgumentsTooLong`], [`Reason::NoProc`].
///
/// [`Reason::State`]: contract::Reason::State
/// [`Reason::TooManyRuns`]: contract::Reason::TooManyRuns
/// [`Reason::ArgumentsTooLong`]: contract::Reason::ArgumentsTooLong
/// [`Reason::NoProc`]: contract::Reason::NoProc
pub fn of_plan(root: &Root, plan: &Plan, rule: &StateRule) -> Result<(), Refusal> {
    let supervisor = launch::supervisor(super::clock::now(), false)?;
    let directory = StateDir::open(root, rule)?;
    let entry: Entry = plan.entry(supervisor, Vec::new());
    directory.has_room(&entry.caller, rule.most_runs)?;
    let line = line(&entry);
    directory.has_room_for(&entry.caller, line.len())?;
    write(&directory, entry.caller.uid, &line)
}

/// The same with a line as long as a small entry, for who looks after the node.
///
/// # Errors
/// [`Reason::State`](contract::Reason::State).
pub fn of_directory(_root: &Root, directory: &StateDir) -> Result<(), Refusal> {
    const LENGTH: usize = 4096;
    write(directory, 0, &[b'\n'; LENGTH])
}

fn write(directory: &StateDir, caller: u32, line: &[u8]) -> Result<(), Refusal> {
    for slot in 0..SLOTS {
        // What a killed one has left is used again by the next, or removed by a sweep.
        let name = format!("{NEW}trial.{caller}.{slot}");
        let failed = |errno| directory.unusable(&name, errno);
        let file = directory.open_lock(&name)?;
        match lock(&file) {
            Ok(()) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => continue,
            Err(errno) => return Err(failed(errno)),
        }
        // Another one has removed the name between our open and our lock: it was its.
        if fstat(&file).map_err(failed)?.st_nlink == 0 {
            continue;
        }
        let written = put(&file, line, directory.syncs());
        let removed = ftruncate(&file, 0).and_then(|()| {
            unlinkat(directory.descriptor(), name.as_str(), UnlinkatFlags::NoRemoveDir)
        });
        return written.and(removed).map_err(failed);
    }
    Ok(())
}

fn put(file: &OwnedFd, line: &[u8], sync: bool) -> Result<(), Errno> {
    ftruncate(file, 0)?;
    write_all(file, line)?;
    if sync { fsync(file) } else { Ok(()) }
}
