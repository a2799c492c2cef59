//! One function for each program: from the process's environment to its exit code.

use crate::chirp::{self, Chirp};
use crate::copy::{self, CopyOutcome, SandboxCopy};
use crate::dialect::{self, Ad, Attribute, Fate, KEY};
use crate::record::{self, Record};
use crate::settings::{Prepare, Settings, Way, seconds};
use crate::unsupported::{self, Starter};
use crate::verdict::{self, Admission};
use adapter::{Held, Hold, Log, Removal, Urgency, end_as, rehearse, remove_as_told, settle, tree};
use contract::{ADMIN_MUST_ACT, CALLER_MUST_ACT, Ending};
use nix::unistd::{Pid, Uid, getppid};
use std::env::{args_os, var_os, vars_os};
use std::ffi::{CString, OsString};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// A rehearsal reads files, and at most asks the account helper.
const REHEARSAL: Duration = Duration::from_secs(20);
/// What is left of a copy after a kill may cost the epilogue so much.
const REMOVAL: Duration = Duration::from_secs(10);
/// An ad is some ten KiB.
pub(crate) const LONGEST_AD: u64 = 4 << 20;

pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "[glexec-condor]: {text}");
}

pub(crate) fn scratch() -> Option<PathBuf> {
    var_os(KEY).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// As the kernel calls it; no secret of the site's.
fn node() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "this node".to_owned() } else { name.to_owned() }
}

/// `USER_JOB_WRAPPER`: runs the command by glexec and ends as it ended.
pub fn wrapper(words: Vec<OsString>) -> ! {
    let settings = Settings::read().unwrap_or_else(|sentence| {
        not_run(&format!("{}: {sentence}; tell the site (202)", node()));
        end_as(Ending::Exited(ADMIN_MUST_ACT))
    });
    if words.is_empty() {
        complain("usage: glexec-condor-wrapper COMMAND [ARG...]");
        end_as(Ending::Exited(CALLER_MUST_ACT));
    }
    // Now: while it runs the sandbox is the payload's.
    let chirp = Chirp::before_a_run();
    let lent = chirp::lend();
    let journey = copying(&settings);
    let mut hold = held(&settings, words, journey.as_ref());
    hold.set.extend(lent.map(|copy| (chirp::VARIABLE.into(), copy.into())));
    let run = hold.run();
    let trip = journey.map(SandboxCopy::end);
    chirp::take_back();
    match run {
        Ok(held) => ended(&settings, (&held, &chirp), trip.as_ref()),
        Err(error) => {
            let program = settings.programs.glexec.display();
            not_run(&format!("{}: {program} cannot be started: {error} (202)", node()));
            let reason = Attribute::text("Refused", "not-started");
            let told = vec![reason, Attribute::number("RefusedCode", ADMIN_MUST_ACT.into())];
            chirp.tell(&settings, told);
            end_as(Ending::Exited(ADMIN_MUST_ACT))
        }
    }
}

/// The sandbox sets out, where the site has it copied.
fn copying(settings: &Settings) -> Option<SandboxCopy> {
    let scratch = scratch().filter(|_| settings.sandbox.way == Way::Copy)?;
    let journey = SandboxCopy::begin(settings, &scratch).unwrap_or_else(|sentence| {
        not_run(&format!("{}: {sentence} (202)", node()));
        end_as(Ending::Exited(ADMIN_MUST_ACT))
    });
    Some(journey)
}

fn held<'a>(
    settings: &'a Settings,
    words: Vec<OsString>,
    journey: Option<&SandboxCopy>,
) -> Hold<'a> {
    let temporary = match (var_os("GLEXEC_TMPDIR"), var_os("TMPDIR")) {
        (None, Some(directory)) => Some(("GLEXEC_TMPDIR".into(), directory)),
        _ => None,
    };
    let secrets = vars_os().map(|(name, _)| name).filter(|name| dialect::is_secret(name));
    let words = match journey.zip(scratch()) {
        Some((journey, scratch)) => journey.words(&settings.programs.copy, &scratch, words),
        None => words,
    };
    Hold {
        program: &settings.programs.glexec,
        words,
        keep: journey.map(SandboxCopy::kept).into_iter().collect(),
        set: temporary.into_iter().chain(journey.map(SandboxCopy::variable)).collect(),
        unset: secrets.collect(),
    }
}

/// glexec has ended: everybody is told, and the job ends.
fn ended(settings: &Settings, (held, chirp): (&Held, &Chirp), trip: Option<&CopyOutcome>) -> ! {
    let end = verdict::job(held, settings.wrapper.signal_exit, trip);
    // The stream has said it all; what is left would be taken for the job's output.
    scratch().and_then(|scratch| record::take(&scratch));
    chirp.tell(settings, verdict::attributes(held, trip));
    match &end.not_run {
        Some(why) => not_run(&format!("glexec on {}: {why}", node())),
        // With a file of the payload's the job would go back to the queue, again and again.
        None => forget_failure(),
    }
    if let Some(sentence) = &end.sentence {
        complain(sentence);
    }
    match trip {
        Some(CopyOutcome::Back(left)) if !left.is_nothing() => complain(&left.to_string()),
        _ => {}
    }
    end_as(end.ending)
}

/// Where the payload did not run the starter is told by its own file, so that the job goes back
/// to the queue instead of being done.
fn not_run(sentence: &str) {
    complain(sentence);
    let Some(file) = failure_file() else { return };
    let line = sentence.replace(|c: char| c.is_control(), " ");
    // Through no link, and over nothing.
    let opened = fs::OpenOptions::new().write(true).create_new(true).open(&file);
    if let Err(error) = opened.and_then(|mut to| to.write_all(format!("{line}\n").as_bytes())) {
        complain(&format!("{}: {error}", file.display()));
    }
}

/// Whatever the payload has left under that name, a directory among it.
fn forget_failure() {
    let Some(file) = failure_file() else { return };
    let name = file.file_name().and_then(|name| CString::new(name.as_bytes()).ok());
    let (Some(directory), Some(name)) = (file.parent(), name) else { return };
    let gone = tree::open_directory(directory)
        .and_then(|directory| tree::remove_entry(directory.as_fd(), &name));
    if let Err(error) = gone {
        complain(&format!("{}: {error}; the starter takes it for a failure", file.display()));
    }
}

/// The starter's file for the wrapper's failure. A starter without a wrapper of its own names
/// none, and then the variable is the job's word: it counts in the sandbox only.
fn failure_file() -> Option<PathBuf> {
    let file = var_os("_CONDOR_WRAPPER_ERROR_FILE").map(PathBuf::from)?;
    let sandbox = scratch();
    Some(file).filter(|file| sandbox.is_some() && file.parent() == sandbox.as_deref())
}

/// `PREPARE_JOB` and `PREPARE_JOB_BEFORE_TRANSFER`: whether glexec would run the job. The starter
/// reads stdout for attributes: nothing else is written there.
pub fn prepare() -> u8 {
    let prepared = match (Settings::read(), read_ad(std::io::stdin().lock())) {
        (Err(sentence), _) => Err(verdict::site_fault(&node(), &sentence)),
        (_, None) => Err(verdict::not_by_glexec(&node(), "its ad cannot be read to its end")),
        (Ok(settings), Some(ad)) => match beside(&ad).or_else(|| admit(&settings, &ad)) {
            Some(fate) => Err(fate),
            None if settings.prepare.rewrite => {
                rewritten(&settings, &ad).map_err(|what| verdict::not_by_glexec(&node(), &what))
            }
            None => Ok(String::new()),
        },
    };
    // A starter that is too old to know HookStatusCode holds the job by the exit code.
    let (out, code) = prepared.map_or_else(|fate| (fate.lines(), fate.code()), |out| (out, 0));
    match std::io::stdout().write_all(out.as_bytes()) {
        Ok(()) => code,
        Err(_) => ADMIN_MUST_ACT,
    }
}

/// The whole of it; of a part nobody knows what is missing.
fn read_ad(input: impl std::io::Read) -> Option<Ad> {
    let mut ad = Vec::new();
    let length = input.take(LONGEST_AD).read_to_end(&mut ad).ok()?;
    (length as u64 != LONGEST_AD).then(|| Ad::parse(&String::from_utf8_lossy(&ad)))
}

/// What a job wants beside its run by glexec holds it.
fn beside(ad: &Ad) -> Option<Fate> {
    let machine = var_os("_CONDOR_MACHINE_AD").and_then(|path| fs::read(path).ok());
    let machine = machine.map(|text| Ad::parse(&String::from_utf8_lossy(&text)));
    let starter = Starter {
        is_roots: starter_is_roots(),
        sandbox: &scratch().unwrap_or_default(),
        domain: machine.and_then(|machine| machine.text("FileSystemDomain")),
    };
    unsupported::asks(ad, &starter).map(|what| verdict::not_by_glexec(&node(), &what))
}

/// Whether who called this hook can become the job's owner.
fn starter_is_roots() -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", nix::unistd::getppid()));
    let status = status.unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    uids.split_whitespace().any(|uid| uid == "0")
}

/// `None` where it may run.
fn admit(settings: &Settings, ad: &Ad) -> Option<Fate> {
    if settings.sandbox.way == Way::Copy {
        if let Err(sentence) = copy::check(&settings.sandbox.directory) {
            return Some(verdict::site_fault(&node(), &sentence));
        }
    }
    let set = dialect::own_of_glexec(ad);
    let Prepare { time_limit, retries, retry_delay, hold_on_initial_failure: hold, .. } =
        settings.prepare;
    let until = Instant::now() + seconds(time_limit);
    let left = || until.saturating_duration_since(Instant::now());
    let mut tries = 0;
    loop {
        let records = match rehearse(&settings.programs.glexec, set.clone(), REHEARSAL.min(left()))
        {
            Ok(records) => records,
            Err(error) => {
                let program = settings.programs.glexec.display();
                let what = format!("{program} cannot be started: {error}");
                return Some(verdict::site_fault(&node(), &what));
            }
        };
        let (code, sentence) = match verdict::admission(&records, &node()) {
            Admission::Granted => return None,
            Admission::Final(fate) => return Some(fate),
            Admission::Passing(code, sentence) => (code, sentence),
        };
        tries += 1;
        let pause = verdict::pause(seconds(retry_delay), tries, random());
        if tries > retries || left() <= pause {
            return Some(verdict::given_up(code, sentence, hold));
        }
        std::thread::sleep(pause);
    }
}

/// Enough for jobs that start together not to come back together.
fn random() -> u32 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.subsec_micros()) ^ std::process::id()
}

/// The wrapper as the job's command; nothing where it is that already.
///
/// # Errors
/// Why it cannot be: the starter would run the job without glexec.
fn rewritten(settings: &Settings, ad: &Ad) -> Result<String, String> {
    let wrapper = settings.programs.wrapper.to_str().ok_or("the wrapper's path is not UTF-8")?;
    let command = ad.text("Cmd").ok_or("its ad has no command that can be read")?;
    if command == wrapper {
        return Ok(String::new());
    }
    let path = Path::new(&command);
    let sent = scratch().zip(path.file_name()).map(|(scratch, name)| scratch.join(name));
    let sent = sent.filter(|sent| sent.is_file());
    let path = sent.or_else(|| (path.is_absolute() && path.is_file()).then(|| path.to_owned()));
    let path = path.and_then(|path| path.into_os_string().into_string().ok());
    let path = path.ok_or_else(|| format!("its command {command:?} is not there"))?;
    dialect::rewritten(ad, wrapper, &path)
}

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

fn settle_job(settings: &Settings, scratch: &Path, ad: Ad) {
    let keys = [dialect::key_word(scratch.as_os_str())];
    let settled = settle(&settings.programs.glexec, &keys, seconds(settings.exit.wait));
    let settlement = settled.unwrap_or_else(|error| {
        complain(&format!("{} cannot be started: {error}", settings.programs.glexec.display()));
        None
    });
    chirp::take_back();
    if settlement.is_none() {
        complain("glexec has not said what the job owes; a sweep will pay it");
    }
    let mut told = Vec::new();
    let mut before = Ad::default();
    if let Some(Record { target, rc, signal, result, .. }) = record::take(scratch) {
        let ending =
            signal.map_or(Ending::Exited(rc), |signal| Ending::Killed { signal, core: false });
        told.push(Attribute::text("TargetUser", &target));
        told.extend(verdict::ending(ending));
        told.push(Attribute::text("Result", &result));
        // The wrapper was killed, and has told nothing.
        before = ad;
    }
    told.extend(verdict::settled(settlement).map(|word| Attribute::text("Epilogue", word)));
    Chirp::after_a_run(before).tell(settings, told);
}

/// The epilogue, or what the site's own epilogue calls: one line for the log, and a record for the
/// hook that comes after a killed wrapper. A run of no job of HTCondor's has the line alone.
pub fn record() -> u8 {
    const LOG: Log = Log::new("glexec-condor-record");
    if let Some(code) = remove_as_told(&args_os().skip(1).collect::<Vec<_>>()) {
        return code;
    }
    let record = match Record::of(|name| std::env::var(name).ok()) {
        Ok(record) => record,
        Err(sentence) => {
            LOG.say(Urgency::Error, &sentence);
            complain(&sentence);
            return 1;
        }
    };
    let sandbox = var_os(format!("GLEXEC_EPILOG_JOB_{KEY}")).map(PathBuf::from);
    let shown = dialect::short(sandbox.as_deref().unwrap_or(Path::new("")));
    LOG.say(Urgency::Notice, &format!("{}: {}", shown.display(), record.line()));
    let caller = std::env::var("GLEXEC_EPILOG_GLEXEC_UID").ok().and_then(|uid| uid.parse().ok());
    if let (Some(sandbox), Some(caller)) = (sandbox, caller) {
        if let Err(sentence) = record::leave(&record, &sandbox, Uid::from_raw(caller)) {
            LOG.say(Urgency::Notice, &sentence);
        }
    }
    if let Err(sentence) = remove_copy() {
        LOG.say(Urgency::Warning, &sentence);
    }
    0
}

/// Removes what a killed run has left of its copy, with its target's rights: the path is the caller's
/// word, and the payload may have filled it so that the site's epilogue would have no time left.
fn remove_copy() -> Result<(), String> {
    let number = |name: &str| {
        std::env::var(format!("GLEXEC_EPILOG_TARGET_{name}")).ok().and_then(|id| id.parse().ok())
    };
    let place = var_os(format!("GLEXEC_EPILOG_JOB_{}", copy::VARIABLE)).map(PathBuf::from);
    let (Some(place), Some(uid), Some(gid)) = (place, number("UID"), number("GID")) else {
        return Ok(());
    };
    let directory = Settings::read()?.sandbox.directory;
    if !copy::is_one(&place, &directory) {
        return Err(format!("{} is no copy in {}; it stays", place.display(), directory.display()));
    }
    let until = Instant::now() + REMOVAL;
    let remove = |path: &Path, unless_held| {
        let limit = until.saturating_duration_since(Instant::now());
        Removal { path, owner: (uid, gid), limit, unless_held }.run()
    };
    let own = remove(&place, false)
        .map_err(|sentence| format!("{sentence}; the next run of this account goes on with it"));
    // What earlier runs of this account have left, where there was too much in it for one.
    let all = copy::all_of(uid, &directory).map_err(|error| error.to_string())?;
    let others = all
        .iter()
        .filter(|path| **path != place)
        .try_for_each(|path| if Instant::now() < until { remove(path, true) } else { Ok(()) });
    own.and(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ad_without_its_end_is_none() {
        let long = vec![b'x'; 5 << 20];
        assert!(read_ad(long.as_slice()).is_none());
        assert!(read_ad(&b"A = \"\xff\"\nCmd = \"/x\"\n"[..]).unwrap().has("Cmd"));
    }

    #[test]
    fn a_command_that_is_not_there_is_not_rewritten() {
        let settings = Settings::default();
        for ad in ["", "Cmd = 7\n", "Cmd = \"sub/x\"\n", "Cmd = \"/no/such\"\n"] {
            assert!(rewritten(&settings, &Ad::parse(ad)).is_err(), "{ad}");
        }
        assert!(rewritten(&settings, &Ad::parse("Cmd = \"/bin/sh\"\n")).is_ok());
    }
}
