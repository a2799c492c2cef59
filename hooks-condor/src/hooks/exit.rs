//! The hook after a job.

use crate::chirp::{self, Chirp};
use crate::dialect::{self, Ad, Attribute};
use crate::record::{self, Record};
use crate::record_store;
use crate::settings::{FILE, Settings, seconds};
use crate::starter::{LONGEST_AD, complain, scratch};
use crate::verdict;
use adapter::{Log, Settlement, Urgency, settle};
use contract::Ending;
use nix::unistd::{Pid, getppid};
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

const LOG: Log = Log::new("glexec-condor-exit");

/// `JOB_EXIT`: what the job still owes is settled before its sandbox goes. Never a failure.
pub fn exit() -> u8 {
    settle_and_tell();
    0
}

/// The same for HTCondor from 25.4 on, whose starter leaves when this hook ends, output or no
/// output: so it ends after the starter.
pub fn exit_stay() -> u8 {
    const LOOK: Duration = Duration::from_millis(250);
    const INIT: Pid = Pid::from_raw(1);
    // Before anything else: where the starter is gone already, this is who adopted the hook.
    let starter = getppid();
    settle_and_tell();
    while starter != INIT && getppid() == starter {
        std::thread::sleep(LOOK);
    }
    0
}

fn settle_and_tell() {
    let mut ad = Vec::new();
    let _ = std::io::stdin().lock().take(LONGEST_AD).read_to_end(&mut ad);
    let ad = Ad::parse(&String::from_utf8_lossy(&ad));
    let settings = Settings::read().unwrap_or_else(|sentence| {
        complain(&sentence);
        Settings::default()
    });
    if let Some(scratch) = scratch() {
        settle_job(&settings, &scratch, ad);
    }
}

/// Whether there was a job, and nobody ended it: one that was refused before has no code, and one that
/// was killed has perhaps not come as far as its wrapper.
fn ended_by_itself() -> bool {
    let code = ["_CONDOR_MAINJOB_EXIT_CODE", "_CONDOR_MAINJOB_EXIT_SIGNAL"];
    let ended = code.iter().any(|name| std::env::var_os(name).is_some());
    ended && std::env::args_os().nth(1).is_some_and(|word| word == "exit")
}

/// What the epilogue has left. One that runs as an account of its own cannot take a record out of the
/// sandbox again, so its word is asked for only where the wrapper has not told everything.
fn recorded(settings: &Settings, scratch: &Path, marked: bool) -> Option<Record> {
    let kept = || match record_store::read(scratch, &settings.records) {
        Ok(kept) => kept,
        Err(sentence) => {
            complain(&sentence);
            None
        }
    };
    record::take(scratch).or_else(|| if marked { None } else { kept() })
}

fn settle_job(settings: &Settings, scratch: &Path, ad: Ad) {
    let keys = [dialect::key_word(scratch.as_os_str())];
    let settled = settle(&settings.programs.glexec, &keys, seconds(settings.exit.wait));
    let settlement = settled.unwrap_or_else(|error| {
        complain(&format!("{} cannot be started: {error}", settings.programs.glexec.display()));
        None
    });
    chirp::take_back();
    let marked = record::take_mark(scratch);
    if settlement.is_none() {
        complain("glexec has not said what the job owes; a sweep will pay it");
    }
    let mut told = Vec::new();
    let mut before = Ad::default();
    if let Some(Record { target, rc, signal, result, .. }) = recorded(settings, scratch, marked) {
        let ending =
            signal.map_or(Ending::Exited(rc), |signal| Ending::Killed { signal, core: false });
        told.push(Attribute::text("TargetUser", &target));
        told.extend(verdict::ending(ending));
        told.push(Attribute::text("Result", &result));
        // The wrapper was killed, and has told nothing.
        before = ad;
    }
    told.extend(verdict::settled(settlement).map(|word| Attribute::text("Epilogue", word)));
    let is_nothing = settlement.is_some_and(|settled| settled == Settlement::default());
    if !marked && told.is_empty() && is_nothing && ended_by_itself() {
        let shown = dialect::short(scratch).display();
        let sentence = format!(
            "{shown}: the job has run without glexec, as the starter's user and with no epilogue: \
             look at USER_JOB_WRAPPER, or set `rewrite = true` in {FILE}"
        );
        LOG.say(Urgency::Error, &sentence);
        complain(&sentence);
        told.push(Attribute::text("Result", "not-by-glexec"));
    }
    Chirp::after_a_run(before).tell(settings, told);
}
