//! The hook before a job.

use crate::copy;
use crate::dialect::{self, Ad, Fate};
use crate::settings::{Prepare, Settings, Way, seconds};
use crate::starter::{LONGEST_AD, node, scratch};
use crate::starters_wrapper;
use crate::unsupported::{self, Starter};
use crate::verdict::{self, Admission};
use adapter::rehearse;
use contract::{ADMIN_MUST_ACT, variables};
use std::env::var_os;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// A rehearsal reads files, and at most asks the account helper.
const REHEARSAL: Duration = Duration::from_secs(20);

/// When the starter asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// `PREPARE_JOB_BEFORE_TRANSFER`: the job's files are not here yet.
    BeforeTransfer,
    /// `PREPARE_JOB`: all is there, and the job comes next.
    BeforeJob,
}

/// `PREPARE_JOB`: whether glexec would run the job. The starter reads stdout for attributes: nothing
/// else is written there.
pub fn prepare() -> u8 {
    answer(When::BeforeJob)
}

/// `PREPARE_JOB_BEFORE_TRANSFER`: the same, before a plug-in of the job's fetches anything. The job's
/// command is not here yet, so it is not rewritten.
pub fn prepare_transfer() -> u8 {
    answer(When::BeforeTransfer)
}

fn answer(when: When) -> u8 {
    let prepared = match (Settings::read(), read_ad(std::io::stdin().lock())) {
        (Err(sentence), _) => Err(verdict::site_fault(&node(), &sentence)),
        (_, None) => Err(verdict::not_by_glexec(&node(), "its ad cannot be read to its end")),
        (Ok(settings), Some(ad)) => match beside(&ad).or_else(|| admit(&settings, &ad, when)) {
            Some(fate) => Err(fate),
            None => routed(&settings, &ad, when),
        },
    };
    // A starter that is too old to know HookStatusCode holds the job by the exit code.
    let (out, code) = prepared.map_or_else(|fate| (fate.lines(), fate.code()), |out| (out, 0));
    match std::io::stdout().write_all(out.as_bytes()) {
        Ok(()) => code,
        Err(_) => ADMIN_MUST_ACT,
    }
}

/// What makes the job go through glexec's wrapper; nothing where the starter's `USER_JOB_WRAPPER` does.
fn routed(settings: &Settings, ad: &Ad, when: When) -> Result<String, Fate> {
    if !settings.prepare.rewrite {
        let ours = starters_wrapper::is_ours(settings).map(|()| String::new());
        return ours.map_err(|what| verdict::not_our_wrapper(&node(), &what));
    }
    match when {
        When::BeforeTransfer => Ok(String::new()),
        When::BeforeJob => {
            rewritten(settings, ad).map_err(|what| verdict::not_by_glexec(&node(), &what))
        }
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
fn admit(settings: &Settings, ad: &Ad, when: When) -> Option<Fate> {
    if settings.sandbox.way == Way::Copy {
        if let Err(sentence) = copy::check(&settings.sandbox.directory) {
            return Some(verdict::site_fault(&node(), &sentence));
        }
    }
    let mut set = dialect::own_of_glexec(ad);
    let proxy = scratch().and_then(|sandbox| dialect::proxy(ad, &sandbox));
    let names = |wanted: &str| set.iter().any(|(name, _)| name == wanted);
    let (has_own, has_own_token) = (names(variables::CLIENT_CERT), names(variables::CLIENT_TOKEN));
    let token = scratch().zip(settings.wrapper.token.as_ref());
    let token = token
        .and_then(|(sandbox, name)| dialect::token(ad, &sandbox.join(dialect::CREDENTIALS), name));
    let brings = has_own || has_own_token || proxy.is_some() || token.is_some();
    let later = when == When::BeforeTransfer && brings || dialect::names_a_token(ad);
    // A pilot's own must not be taken for the job's.
    set.push((variables::BEARER_TOKEN_FILE.into(), "".into()));
    if let Some(token) = token.filter(|token| !has_own_token && token.is_file()) {
        set.push((variables::CLIENT_TOKEN.into(), token.into()));
    }
    if let Some(proxy) = proxy.filter(|proxy| !has_own && proxy.is_file()) {
        set.push((variables::CLIENT_CERT.into(), proxy.into()));
    }
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
        let (code, sentence) = match verdict::admission(&records, &node(), later) {
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
    // A file of this machine that has the name of one that should have been sent is another one.
    let here = || dialect::runs_a_file_of_this_machine(ad) && path.is_absolute() && path.is_file();
    let path = sent.or_else(|| here().then(|| path.to_owned()));
    let path = path.and_then(|path| path.into_os_string().into_string().ok());
    let path = path.ok_or_else(|| format!("its command {command:?} is not there"))?;
    dialect::rewritten(ad, wrapper, &path)
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
        let own = "TransferExecutable = false\n";
        for ad in ["", "Cmd = 7\n", "Cmd = \"sub/x\"\n", "Cmd = \"/no/such\"\n"] {
            assert!(rewritten(&settings, &Ad::parse(&format!("{ad}{own}"))).is_err(), "{ad}");
        }
        let ad = "Cmd = \"/bin/sh\"\n";
        assert!(rewritten(&settings, &Ad::parse(&format!("{ad}{own}"))).is_ok());
        let shared = "ShouldTransferFiles = \"NO\"\n";
        assert!(rewritten(&settings, &Ad::parse(&format!("{ad}{shared}"))).is_ok());
        // The job's own /bin/sh should have been sent.
        let sent = "ShouldTransferFiles = \"YES\"\n";
        assert!(rewritten(&settings, &Ad::parse(&format!("{ad}{sent}"))).is_err());
    }
}
