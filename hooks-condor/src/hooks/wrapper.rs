//! The job wrapper.

use crate::chirp::{self, Chirp};
use crate::copy::{CopyOutcome, SandboxCopy};
use crate::dialect::{self, Ad, Attribute};
use crate::record;
use crate::settings::{Settings, Way};
use crate::starter::{complain, node, scratch};
use crate::verdict;
use adapter::{Held, Hold, Lifetime, end_as, tree};
use contract::{ADMIN_MUST_ACT, CALLER_MUST_ACT, Ending, variables};
use std::env::{var_os, vars_os};
use std::ffi::{CString, OsString};
use std::fs;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// `USER_JOB_WRAPPER`: runs the command by glexec and ends as it ended.
pub fn wrapper(mut words: Vec<OsString>) -> ! {
    let settings = Settings::read().unwrap_or_else(|sentence| {
        not_run(&format!("{}: {sentence}; tell the site (202)", node()));
        end(Ending::Exited(ADMIN_MUST_ACT))
    });
    // A job that was rewritten, where USER_JOB_WRAPPER is this program, too.
    let own = words.iter().take_while(|word| *word == settings.programs.wrapper.as_os_str());
    words.drain(..own.count());
    if words.is_empty() {
        complain("usage: glexec-condor-wrapper COMMAND [ARG...]");
        end(Ending::Exited(CALLER_MUST_ACT));
    }
    // Now: while it runs the sandbox is the payload's.
    let chirp = Chirp::before_a_run();
    let lent = chirp::lend();
    let copied = copying(&settings);
    let mut hold = held(&settings, words, copied.as_ref());
    hold.set.extend(lent.map(|copy| (chirp::VARIABLE.into(), copy.into())));
    hold.set.extend(credential(chirp.ad()));
    hold.set.extend(token(&settings, chirp.ad()));
    if !dialect::names_a_token(chirp.ad()) {
        // A pilot's own must not be taken for the job's.
        hold.unset.push(variables::BEARER_TOKEN_FILE.into());
    }
    // Whatever the job itself says of it.
    hold.set.push((variables::JOB_ENVIRONMENT.into(), dialect::jobs_own(chirp.ad())));
    let run = hold.run();
    let outcome = copied.map(SandboxCopy::end);
    chirp::take_back();
    match run {
        Ok(held) => ended(&settings, &held, &chirp, outcome.as_ref()),
        Err(error) => {
            let program = settings.programs.glexec.display();
            not_run(&format!("{}: {program} cannot be started: {error} (202)", node()));
            let reason = Attribute::text("Refused", "not-started");
            let told = vec![reason, Attribute::number("RefusedCode", ADMIN_MUST_ACT.into())];
            chirp.tell(&settings, told);
            end(Ending::Exited(ADMIN_MUST_ACT))
        }
    }
}

/// The job's proxy, where the job names no other: a site that maps by credential maps by it.
fn credential(ad: &Ad) -> Option<(OsString, OsString)> {
    let has_own = var_os(variables::CLIENT_CERT).is_some_and(|path| !path.is_empty());
    let proxy = dialect::proxy(ad, &scratch()?).filter(|proxy| !has_own && proxy.is_file())?;
    Some((variables::CLIENT_CERT.into(), proxy.into()))
}

/// The job's token, where the site's file says which it is and the job names no other.
fn token(settings: &Settings, ad: &Ad) -> Option<(OsString, OsString)> {
    let has_own = var_os(variables::CLIENT_TOKEN).is_some_and(|path| !path.is_empty());
    let credentials = var_os("_CONDOR_CREDS").map(PathBuf::from)?;
    let token = dialect::token(ad, &credentials, settings.wrapper.token.as_ref()?);
    let token = token.filter(|token| !has_own && token.is_file())?;
    Some((variables::CLIENT_TOKEN.into(), token.into()))
}

/// The job ends. That it went through this program the hook after it is told by a mark.
fn end(ending: Ending) -> ! {
    if let Some(error) = scratch().and_then(|scratch| record::mark(&scratch).err()) {
        complain(&format!("the hook after the job will miss this run: {error}"));
    }
    end_as(ending)
}

/// The sandbox sets out, where the site has it copied.
fn copying(settings: &Settings) -> Option<SandboxCopy> {
    let scratch = scratch().filter(|_| settings.sandbox.way == Way::Copy)?;
    let copied = SandboxCopy::begin(settings, &scratch).unwrap_or_else(|sentence| {
        not_run(&format!("{}: {sentence} (202)", node()));
        end(Ending::Exited(ADMIN_MUST_ACT))
    });
    Some(copied)
}

fn held<'a>(
    settings: &'a Settings,
    words: Vec<OsString>,
    copied: Option<&SandboxCopy>,
) -> Hold<'a> {
    let temporary = match (var_os(variables::TMPDIR), var_os("TMPDIR")) {
        (None, Some(directory)) => Some((variables::TMPDIR.into(), directory)),
        _ => None,
    };
    let secrets = vars_os().map(|(name, _)| name).filter(|name| dialect::is_secret(name));
    let words = match copied.zip(scratch()) {
        Some((copied, scratch)) => copied.words(&settings.programs.copy, &scratch, words),
        None => words,
    };
    Hold {
        program: &settings.programs.glexec,
        words,
        input: None,
        keep: copied.map(SandboxCopy::kept).into_iter().collect(),
        set: temporary.into_iter().chain(copied.map(SandboxCopy::variable)).collect(),
        unset: secrets.collect(),
        lifetime: Lifetime::Parent,
    }
}

/// glexec has ended: everybody is told, and the job ends.
fn ended(settings: &Settings, held: &Held, chirp: &Chirp, outcome: Option<&CopyOutcome>) -> ! {
    let job_end = verdict::job(held, settings.wrapper.signal_exit, outcome);
    // The stream has said it all; what is left would be taken for the job's output.
    scratch().and_then(|scratch| record::take(&scratch));
    chirp.tell(settings, verdict::attributes(held, outcome));
    match &job_end.not_run {
        Some(why) => not_run(&format!("glexec on {}: {why}", node())),
        // With a file of the payload's the job would go back to the queue, again and again.
        None => forget_failure(),
    }
    if let Some(sentence) = &job_end.sentence {
        complain(sentence);
    }
    match outcome {
        Some(CopyOutcome::Back(left)) if !left.is_nothing() => complain(&left.to_string()),
        _ => {}
    }
    end(job_end.ending)
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
