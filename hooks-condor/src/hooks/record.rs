//! The epilogue's record.

use crate::copy;
use crate::dialect::{self, KEY};
use crate::record::{self, Record};
use crate::record_store;
use crate::settings::Settings;
use crate::starter::complain;
use adapter::{Log, RecordField, Removal, Urgency, remove_as_told};
use contract::variables::{epilogue, of_epilogue};
use nix::unistd::Uid;
use std::env::{args_os, var_os};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is left of a copy after a kill may cost the epilogue so much.
const REMOVAL: Duration = Duration::from_secs(10);

/// The epilogue, or what the site's own epilogue calls: one line for the log, and a record for the
/// hook that comes after a killed wrapper. A run of no job of HTCondor's has the line alone.
pub fn record() -> u8 {
    const LOG: Log = Log::new("glexec-condor-record");
    if let Some(code) = remove_as_told(&args_os().skip(1).collect::<Vec<_>>()) {
        return code;
    }
    let refuse = |sentence: String| {
        LOG.say(Urgency::Error, &sentence);
        complain(&sentence);
        1
    };
    let mut record = match Record::of(|name| std::env::var(name).ok()) {
        Ok(record) => record,
        Err(sentence) => return refuse(sentence),
    };
    let records = match Settings::read() {
        Ok(settings) => settings.records,
        Err(sentence) => return refuse(sentence),
    };
    record.more = RecordField::of(&records.fields, |name| var_os(name));
    let sandbox = var_os(of_epilogue(&format!("{}{KEY}", epilogue::JOB))).map(PathBuf::from);
    let shown = dialect::short(sandbox.as_deref().unwrap_or(Path::new("")));
    LOG.say(Urgency::Notice, &format!("{}: {}", shown.display(), record.line()));
    let caller =
        std::env::var(of_epilogue(epilogue::GLEXEC_UID)).ok().and_then(|uid| uid.parse().ok());
    if let (Some(sandbox), Some(caller)) = (sandbox, caller) {
        let caller = Uid::from_raw(caller);
        let left = if Uid::effective().is_root() {
            record::leave(&record, &sandbox, caller)
        } else {
            record_store::keep(&record, &sandbox, caller, &records)
        };
        if let Err(sentence) = left {
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
    let number = |name: &str| std::env::var(of_epilogue(name)).ok().and_then(|id| id.parse().ok());
    let place =
        var_os(of_epilogue(&format!("{}{}", epilogue::JOB, copy::VARIABLE))).map(PathBuf::from);
    let (Some(place), Some(uid), Some(gid)) =
        (place, number(epilogue::TARGET_UID), number(epilogue::TARGET_GID))
    else {
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
