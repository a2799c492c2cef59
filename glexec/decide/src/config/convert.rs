//! From the keys of a file to a [`Config`]: what the words mean, and what excludes what.

use super::entries::{Bad, Entry, Table, Value};
use super::reading::File;
use super::words;
use super::{
    AccountSource, Accounts, CgroupRule, Config, EpilogueEnvironment, EpilogueFailure,
    EpilogueOutput, EpilogueRule, JobEnvironment, LogDestination, LogRule, Mapping, Means, PoolRow,
    StateRule, StaticRow, Stragglers, Terminal, WorkingDirectory, credentials,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// They are copied into the epilogue's environment, whose size is bounded by the kernel.
const MOST_JOB_VARIABLES: usize = 32;

/// The one conversion.
///
/// # Errors
/// A word that its key cannot mean, and keys that exclude each other.
pub(super) fn config(file: File<'_>) -> Result<Config, Bad> {
    let glexec = &file.glexec;
    let config = Config {
        linger: glexec.flag("linger"),
        user_white_list: glexec.each("user_white_list", words::listed)?,
        group_white_list: glexec.each("group_white_list", words::listed)?,
        preserve: glexec.each("preserve_env_variables", words::kept)?,
        job_environment: glexec.must("job_environment", JobEnvironment::of)?,
        epilogue: epilogue(glexec)?,
        log: log(glexec)?,
        path: glexec.must("path", words::search_path)?,
        working_directory: glexec.must("working_directory", WorkingDirectory::of)?,
        min_target_uid: glexec.must_number("min_target_uid")?,
        stragglers: glexec.must("stragglers", Stragglers::of)?,
        kill_grace: glexec.must_number("kill_grace").map(Duration::from_secs)?,
        term_grace: glexec.number("term_grace")?.map(Duration::from_secs),
        terminal: glexec.must("terminal", Terminal::of)?,
        log_only: glexec.flag("log_only"),
        keep_descriptors: glexec.flag("keep_descriptors"),
        suspend_with_caller: glexec.flag("suspend_with_caller"),
        account_source: glexec.must("account_source", AccountSource::of)?,
        state: StateRule {
            directory: glexec.must("state_dir", words::canonical)?,
            sync: glexec.flag("state_sync"),
            most_runs: glexec.must_number("max_runs_per_caller")?,
        },
        cgroups: CgroupRule {
            supervisor: glexec.one("supervisor_cgroup", words::canonical)?,
            payload: glexec.word("payload_cgroup") == Some("auto"),
        },
        job_variables: job_variables(glexec)?,
        hand_over: glexec.each("hand_over", words::job_variable)?,
        create_target_proxy: glexec.flag("create_target_proxy"),
        remove_target_proxy: glexec.flag("remove_target_proxy"),
        mapping: mapping(&file)?,
        notices: Vec::new(),
    };
    fits_together(&config, &file)?;
    let told = credentials::notices(&config, &file);
    Ok(Config { notices: file.notices.into_iter().chain(told).collect(), ..config })
}

/// What excludes what.
fn fits_together(config: &Config, file: &File<'_>) -> Result<(), Bad> {
    let bad = |key: &str, why: &str| Err(file.glexec.bad(key, why));
    if config.epilogue.is_some() && !config.linger {
        return bad("epilogue", "nobody is left to run it with `linger = false`");
    }
    if !config.hand_over.is_empty() && (!config.linger || config.log_only) {
        let why =
            "nobody would give the directories back with `linger = false` or `log_only = true`";
        return bad("hand_over", why);
    }
    if config.epilogue.is_some() && config.log_only {
        return bad("epilogue", "there is no root to run it with `log_only = true`");
    }
    if config.log_only && config.mapping.lcmaps.is_some() {
        return bad(
            "log_only",
            "LCMAPS is asked as root, and there is none with `log_only = true`",
        );
    }
    let is_apart = config.epilogue.as_ref().is_none_or(EpilogueRule::is_apart);
    if config.job_environment == JobEnvironment::All && !is_apart {
        let why = "with \"all\" the epilogue needs `epilogue_environment = \"own\"`: what a job tells its own loader must not reach it";
        return bad("job_environment", why);
    }
    if config.linger {
        return Ok(());
    }
    let series = config.mapping.pools.first().and_then(|pool| file.lines.get(pool.at));
    if let Some(line) = series {
        let why = "a series of accounts gives one for the time of a lingering run; nobody would give it back with `linger = no`";
        return Err(bad_line(line, why));
    }
    if config.mapping.methods.contains(&Means::Pool) {
        let why = "\"pool\" gives an account for the time of a lingering run; nobody would give it back with `linger = false`";
        return Err(file.mapping.bad("methods", why));
    }
    Ok(())
}

fn epilogue(glexec: &Table<'_>) -> Result<Option<EpilogueRule>, Bad> {
    let user = glexec.one("epilogue_user", words::name)?;
    let group = glexec.one("epilogue_group", words::name)?;
    let Some(path) = glexec.one("epilogue", words::canonical)? else { return Ok(None) };
    let timeout = glexec.must_number("epilogue_timeout").map(Duration::from_secs)?;
    if timeout.is_zero() {
        let why = "0 is not in 1 to 604800 s (7 days), and there is an `epilogue`";
        return Err(glexec.bad("epilogue_timeout", why));
    }
    let environment = glexec.must("epilogue_environment", EpilogueEnvironment::of)?;
    let failure = glexec.must("epilogue_failure", EpilogueFailure::of)?;
    let output = glexec.must("epilogue_output", EpilogueOutput::of)?;
    Ok(Some(EpilogueRule { path, user, group, timeout, environment, failure, output }))
}

/// The log's rule.
///
/// # Errors
/// A file that is missing or cannot be meant, and a facility that is none.
pub(super) fn log(glexec: &Table<'_>) -> Result<LogRule, Bad> {
    let destination = glexec.must("log_destination", LogDestination::of)?;
    let file = match destination {
        LogDestination::File => glexec.one("log_file", words::canonical)?,
        LogDestination::Syslog | LogDestination::Journal => None,
    };
    if destination == LogDestination::File && file.is_none() {
        return Err(glexec.bad("log_destination", "\"file\" needs a `log_file`"));
    }
    let level = glexec.must_number("log_level")?;
    let facility = glexec.must("syslog_facility", words::facility)?;
    Ok(LogRule { destination, file, level, facility, silent: glexec.flag("silent_logging") })
}

fn job_variables(glexec: &Table<'_>) -> Result<Vec<String>, Bad> {
    let key = "job_variables";
    let names = glexec.each(key, words::job_variable)?;
    if names.len() > MOST_JOB_VARIABLES {
        let why = format!("{} names, and {MOST_JOB_VARIABLES} is the most", names.len());
        return Err(glexec.bad(key, why));
    }
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        Some(name) => Err(glexec.bad(key, format!("`{name}` stands there twice"))),
        None => Ok(names),
    }
}

fn mapping(file: &File<'_>) -> Result<Mapping, Bad> {
    let without_key = file.glexec.each("omission_private_key_white_list", words::listed)?;
    let mapping = &file.mapping;
    if let Some(line) = file.lines.first() {
        if let Some(entry) = mapping.entries.iter().find(|entry| entry.at.is_some()) {
            let (path, line) = file.texts.place(line.key_at);
            let why = format!("{path}:{line} maps in the original's syntax; write all there");
            return Err(mapping.bad(&entry.key, why));
        }
        return Ok(Mapping { without_key, ..lines(file)? });
    }
    let methods = match credentials::is_lcmaps_alone(file) {
        true => vec![Means::Lcmaps],
        false => mapping.each("methods", means)?,
    };
    if methods.is_empty() {
        let why = "no method at all would map nobody; write [\"static\"]";
        return Err(mapping.bad("methods", why));
    }
    let credentials::Rules { credential, gridmap, lcmaps, token } =
        credentials::rules(file, &methods)?;
    let rows = mapping.rows("static").enumerate().map(|(at, table)| row(at, table));
    let pools = mapping.rows("pool").enumerate().map(|(at, table)| pool(at, table));
    Ok(Mapping {
        methods,
        banned: mapping.each("banned", words::banned)?,
        rows: rows.collect::<Result<_, _>>()?,
        pools: pools.collect::<Result<_, _>>()?,
        credential,
        gridmap,
        lcmaps,
        token,
        without_key,
    })
}

fn means(word: &str) -> Result<Means, String> {
    match word {
        "static" => Ok(Means::Static),
        "pool" => Ok(Means::Pool),
        "gridmap" => Ok(Means::Gridmap),
        "lcmaps" => Ok(Means::Lcmaps),
        "token" => Ok(Means::Token),
        // The table of keys has these words alone.
        _ => Err(format!("\"{word}\" is no method")),
    }
}

/// Whoever writes one of these into the original's file would count on it in vain.
const KEYS_OF_TABLES: [&str; 5] = ["banned", "methods", "caller", "account", "accounts"];

/// The lines of `[mapping]` in the original's syntax. Of a caller that stands there twice nobody
/// should have to guess which counts.
fn lines(file: &File<'_>) -> Result<Mapping, Bad> {
    let mut mapping = Mapping { methods: vec![Means::Lines], ..Mapping::default() };
    let mut seen = BTreeMap::new();
    for (at, line) in file.lines.iter().enumerate() {
        let bad = |why: String| bad_line(line, &why);
        let Value::Bare(accounts) = line.value else { continue };
        if KEYS_OF_TABLES.contains(&line.key.as_ref()) {
            let why = "it is a key of /etc/glexec.toml; each line here is `caller = account`";
            return Err(bad_line(line, why));
        }
        if let Some(first) = seen.insert(&line.key, line.key_at) {
            let (_, first) = file.texts.place(first);
            return Err(bad(format!("it stands in line {first} already; keep one of them")));
        }
        let caller = words::row_caller(&line.key).map_err(bad)?;
        if accounts.contains('[') {
            let accounts = words::series(accounts).map_err(bad)?;
            mapping.pools.push(PoolRow { at, caller, accounts });
        } else {
            let accounts = accounts.split(',').map(|word| words::name(word.trim()).map_err(bad));
            let accounts = accounts.collect::<Result<_, _>>()?;
            mapping.rows.push(StaticRow { at, caller, accounts, groups: None });
        }
    }
    Ok(mapping)
}

fn bad_line(line: &Entry<'_>, why: &str) -> Bad {
    let sentence = format!("`{}` in [mapping]: {why}", line.key);
    Bad { at: line.at.unwrap_or(line.key_at), sentence }
}

fn row(at: usize, row: &Table<'_>) -> Result<StaticRow, Bad> {
    let caller = row.one("caller", words::row_caller)?;
    let caller = caller.ok_or_else(|| row.bad("caller", "each [[mapping.static]] needs one"))?;
    let account = row.one("account", words::name)?;
    let mut accounts = row.each("accounts", words::name)?;
    let wrong = match (&account, row.find("accounts")) {
        (Some(_), Some(_)) => Some(("accounts", "there is an `account` already; keep one of them")),
        (None, None) => Some(("account", "each [[mapping.static]] needs it, or `accounts`")),
        (None, Some(_)) if accounts.is_empty() => Some(("accounts", "the list is empty")),
        (Some(_), None) | (None, Some(_)) => None,
    };
    if let Some((key, why)) = wrong {
        return Err(row.bad(key, why));
    }
    accounts.extend(account);
    let groups = row.each("groups", words::name)?;
    let groups = row.find("groups").map(|_| groups);
    Ok(StaticRow { at, caller, accounts, groups })
}

fn pool(at: usize, row: &Table<'_>) -> Result<PoolRow, Bad> {
    let caller = row.one("caller", words::row_caller)?;
    let caller =
        caller.ok_or_else(|| row.bad("caller", "each [[mapping.pool]] needs a `caller`"))?;
    let accounts = match row.one("accounts", words::series)? {
        Some(series) => series,
        None => Accounts::Listed(row.each("accounts", words::name)?),
    };
    if accounts.count() == 0 {
        return Err(row.bad("accounts", "each [[mapping.pool]] needs `accounts`"));
    }
    Ok(PoolRow { at, caller, accounts })
}
