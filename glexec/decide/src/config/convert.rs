//! From the keys of a file to a [`Config`]: defaults, ranges, and what excludes what.

use super::keys::{
    Method, PayloadCgroup, RawFile, RawGlexec, RawLine, RawMapping, RawPool, RawRow, Series, Table,
};
use super::{
    AccountSource, CgroupRule, Config, EpilogueEnvironment, EpilogueFailure, EpilogueOutput,
    EpilogueRule, LogDestination, LogRule, Mapping, Means, PoolRow, StateRule, StaticRow,
    Stragglers, Terminal, WorkingDirectory, to_come, words,
};
use std::time::Duration;

const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
const DEFAULT_MIN_TARGET_UID: u32 = 100;
const DEFAULT_KILL_GRACE: Duration = Duration::from_secs(10);
const DEFAULT_EPILOGUE_TIMEOUT: Duration = Duration::from_secs(300);
const DEFAULT_STATE_DIR: &str = "/var/lib/glexec";
const DEFAULT_MOST_RUNS: i64 = 512;
const DEFAULT_LOG_LEVEL: u8 = 3;
/// `LOG_DAEMON`.
const DEFAULT_FACILITY: u8 = 3;

/// The most that `log_level` says.
pub(super) const MOST_LOG_LEVEL: i64 = 5;
/// 7 days: more is a slip of the pen, and clock arithmetic on it stays far from overflow.
const LONGEST: i64 = 604_800;
/// They are copied into the epilogue's environment, whose size is bounded by the kernel.
const MOST_JOB_VARIABLES: usize = 32;

/// A value that cannot be used. The syntax that it came in knows line and column.
#[derive(Debug)]
pub(super) struct Bad {
    /// Which row of `[[mapping.static]]`, or which line of the original's `[mapping]`, from 0.
    pub(super) row: Option<usize>,
    pub(super) key: &'static str,
    pub(super) sentence: String,
}

impl Bad {
    pub(super) fn new(key: &'static str, why: impl AsRef<str>) -> Self {
        Self { row: None, key, sentence: format!("`{key}`: {}", why.as_ref()) }
    }
}

/// The one conversion. `notices` are those of the syntax.
pub(super) fn config(file: &RawFile, mut notices: Vec<String>) -> Result<Config, Bad> {
    let Table(raw) = &file.glexec;
    to_come::refuse(raw)?;
    to_come::refuse_mapping(&file.mapping.0)?;
    notices.extend(to_come::idle(raw));
    let config = Config {
        linger: raw.linger.unwrap_or(true),
        user_white_list: each("user_white_list", &raw.user_white_list, words::listed)?,
        group_white_list: each("group_white_list", &raw.group_white_list, words::listed)?,
        preserve: each("preserve_env_variables", &raw.preserve_env_variables, words::kept)?,
        epilogue: epilogue(raw)?,
        log: log(raw)?,
        path: one("path", raw.path.as_deref(), words::search_path)?
            .unwrap_or_else(|| DEFAULT_PATH.to_owned()),
        working_directory: raw.working_directory.unwrap_or(WorkingDirectory::Home),
        min_target_uid: min_target_uid(raw)?,
        stragglers: raw.stragglers.unwrap_or(Stragglers::Kill),
        kill_grace: seconds("kill_grace", raw.kill_grace, 0)?.unwrap_or(DEFAULT_KILL_GRACE),
        term_grace: seconds("term_grace", raw.term_grace, 1)?,
        terminal: raw.terminal.unwrap_or(Terminal::Detach),
        log_only: raw.log_only,
        keep_descriptors: raw.keep_descriptors,
        suspend_with_caller: raw.suspend_with_caller,
        account_source: raw.account_source.unwrap_or(AccountSource::Auto),
        state: state(raw)?,
        cgroups: CgroupRule {
            supervisor: one(
                "supervisor_cgroup",
                raw.supervisor_cgroup.as_deref(),
                words::canonical,
            )?,
            payload: raw.payload_cgroup == Some(PayloadCgroup::Auto),
        },
        job_variables: job_variables(raw)?,
        hand_over: each("hand_over", &raw.hand_over, words::job_variable)?,
        mapping: mapping(&file.mapping.0)?,
        notices,
    };
    fits_together(&config, &file.mapping.0)?;
    Ok(config)
}

/// What excludes what.
fn fits_together(config: &Config, mapping: &RawMapping) -> Result<(), Bad> {
    if config.epilogue.is_some() && !config.linger {
        return Err(Bad::new("epilogue", "nobody is left to run it with `linger = false`"));
    }
    if !config.hand_over.is_empty() && (!config.linger || config.log_only) {
        return Err(Bad::new(
            "hand_over",
            "nobody would give the directories back with `linger = false` or `log_only = true`",
        ));
    }
    let line = config.mapping.pools.first().filter(|_| !mapping.lines.is_empty());
    if let (Some(PoolRow { at, .. }), false) = (line, config.linger) {
        let why = "a series of accounts gives one for the time of a lingering run; nobody would give it back with `linger = no`";
        return Err(Bad { row: Some(*at), ..Bad::new("mapping", why) });
    }
    if config.mapping.methods.contains(&Means::Pool) && !config.linger {
        return Err(Bad::new(
            "methods",
            "\"pool\" gives an account for the time of a lingering run; nobody would give it back with `linger = false`",
        ));
    }
    if config.epilogue.is_some() && config.log_only {
        return Err(Bad::new("epilogue", "there is no root to run it with `log_only = true`"));
    }
    Ok(())
}

fn epilogue(raw: &RawGlexec) -> Result<Option<EpilogueRule>, Bad> {
    let user = one("epilogue_user", raw.epilogue_user.as_deref(), words::name)?;
    let group = one("epilogue_group", raw.epilogue_group.as_deref(), words::name)?;
    let least = i64::from(raw.epilogue.is_some());
    let timeout = seconds("epilogue_timeout", raw.epilogue_timeout, least)?;
    let path = one("epilogue", raw.epilogue.as_deref(), words::canonical)?;
    Ok(path.map(|path| EpilogueRule {
        path,
        user,
        group,
        timeout: timeout.unwrap_or(DEFAULT_EPILOGUE_TIMEOUT),
        environment: raw.epilogue_environment.unwrap_or(EpilogueEnvironment::Payload),
        failure: raw.epilogue_failure.unwrap_or(EpilogueFailure::Fail),
        output: raw.epilogue_output.unwrap_or(EpilogueOutput::Null),
    }))
}

fn log(raw: &RawGlexec) -> Result<LogRule, Bad> {
    let destination = raw.log_destination.unwrap_or(LogDestination::Syslog);
    let to_file = destination == LogDestination::File;
    let file = one("log_file", raw.log_file.as_deref().filter(|_| to_file), words::canonical)?;
    if to_file && file.is_none() {
        return Err(Bad::new("log_destination", "\"file\" needs a `log_file`"));
    }
    let level = match raw.log_level {
        None => DEFAULT_LOG_LEVEL,
        Some(level) => u8::try_from(level)
            .ok()
            .filter(|level| i64::from(*level) <= MOST_LOG_LEVEL)
            .ok_or_else(|| Bad::new("log_level", format!("{level} is not in 0 to 5")))?,
    };
    let facility = one("syslog_facility", raw.syslog_facility.as_deref(), words::facility)?;
    Ok(LogRule {
        destination,
        file,
        level,
        facility: facility.unwrap_or(DEFAULT_FACILITY),
        silent: raw.silent_logging,
    })
}

fn state(raw: &RawGlexec) -> Result<StateRule, Bad> {
    let directory = one("state_dir", raw.state_dir.as_deref(), words::canonical)?;
    let most = raw.max_runs_per_caller.unwrap_or(DEFAULT_MOST_RUNS);
    let admissible = u32::try_from(most).ok().filter(|most| (1..=1_000_000).contains(most));
    let most_runs = admissible
        .ok_or_else(|| Bad::new("max_runs_per_caller", format!("{most} is not in 1 to 1000000")))?;
    Ok(StateRule {
        directory: directory.unwrap_or_else(|| DEFAULT_STATE_DIR.to_owned()),
        sync: raw.state_sync,
        most_runs,
    })
}

fn min_target_uid(raw: &RawGlexec) -> Result<u32, Bad> {
    let Some(uid) = raw.min_target_uid else {
        return Ok(DEFAULT_MIN_TARGET_UID);
    };
    // -1 means "leave it" to setresuid(2): it is nobody's uid.
    let admissible = u32::try_from(uid).ok().filter(|uid| (1..u32::MAX).contains(uid));
    admissible.ok_or_else(|| {
        Bad::new(
            "min_target_uid",
            format!("{uid} is not in 1 to 4294967294; root is never a target"),
        )
    })
}

fn job_variables(raw: &RawGlexec) -> Result<Vec<String>, Bad> {
    let key = "job_variables";
    let names = each(key, &raw.job_variables, words::job_variable)?;
    if names.len() > MOST_JOB_VARIABLES {
        return Err(Bad::new(key, format!("{} names, and 32 is the most", names.len())));
    }
    let mut sorted = names.clone();
    sorted.sort_unstable();
    let twice = sorted.iter().zip(sorted.iter().skip(1)).find(|(a, b)| a == b);
    match twice {
        Some((name, _)) => Err(Bad::new(key, format!("`{name}` stands there twice"))),
        None => Ok(names),
    }
}

fn mapping(raw: &RawMapping) -> Result<Mapping, Bad> {
    if !raw.lines.is_empty() {
        return lines(&raw.lines);
    }
    if raw.methods.as_deref().is_some_and(<[Method]>::is_empty) {
        let why = "no method at all would map nobody; write [\"static\"]";
        return Err(Bad::new("methods", why));
    }
    let rows = raw.rows.iter().enumerate();
    let rows =
        rows.map(|(at, Table(raw))| row(at, raw).map_err(|bad| Bad { row: Some(at), ..bad }));
    let pools = raw.pools.iter().enumerate().map(|(at, Table(raw))| pool(at, raw));
    Ok(Mapping {
        methods: methods(raw),
        banned: each("banned", &raw.banned, words::banned)?,
        rows: rows.collect::<Result<_, _>>()?,
        pools: pools.collect::<Result<_, _>>()?,
    })
}

/// Whoever writes one of these into the original's file would count on it in vain.
const KEYS_OF_TABLES: [&str; 5] = ["banned", "methods", "caller", "account", "accounts"];

/// The lines of `[mapping]` in the original's syntax. Of a caller that stands there twice nobody
/// should have to guess which counts.
fn lines(raw: &[RawLine]) -> Result<Mapping, Bad> {
    let mut mapping = Mapping { methods: vec![Means::Lines], ..Mapping::default() };
    for (at, RawLine { caller: key, accounts, .. }) in raw.iter().enumerate() {
        let bad = |why: String| Bad {
            row: Some(at),
            key: "mapping",
            sentence: format!("`{key}` in [mapping]: {why}"),
        };
        if KEYS_OF_TABLES.contains(&key.as_str()) {
            let why = "it is a key of /etc/glexec.toml; each line here is `caller = account`";
            return Err(bad(why.to_owned()));
        }
        if let Some(first) = raw.iter().take(at).find(|line| line.caller == *key) {
            return Err(bad(format!("it stands in line {} already; keep one of them", first.line)));
        }
        let caller = words::row_caller(key).map_err(bad)?;
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

/// Those that are not there yet have been refused before.
fn methods(raw: &RawMapping) -> Vec<Means> {
    let Some(methods) = &raw.methods else { return vec![Means::Static] };
    let means = |method: &Method| match method {
        Method::Static => Some(Means::Static),
        Method::Pool => Some(Means::Pool),
        Method::Gridmap | Method::Lcmaps | Method::Token => None,
    };
    methods.iter().filter_map(means).collect()
}

fn pool(at: usize, raw: &RawPool) -> Result<PoolRow, Bad> {
    let caller = one("caller", raw.caller.as_deref(), words::row_caller)?;
    let caller =
        caller.ok_or_else(|| Bad::new("pool", "each [[mapping.pool]] needs a `caller`"))?;
    let accounts = match &raw.accounts {
        Some(Series::Names(names)) => each("accounts", names, words::name)?,
        Some(Series::Numbered(series)) => {
            words::series(series).map_err(|why| Bad::new("pool", why))?
        }
        None => Vec::new(),
    };
    if accounts.is_empty() {
        return Err(Bad::new("pool", "each [[mapping.pool]] needs `accounts`"));
    }
    Ok(PoolRow { at, caller, accounts })
}

fn row(at: usize, raw: &RawRow) -> Result<StaticRow, Bad> {
    let caller = one("caller", raw.caller.as_deref(), words::row_caller)?;
    let caller = caller.ok_or_else(|| Bad::new("caller", "each [[mapping.static]] needs one"))?;
    let accounts = match (&raw.account, &raw.accounts) {
        (Some(account), None) => each("account", std::slice::from_ref(account), words::name)?,
        (None, Some(accounts)) => each("accounts", accounts, words::name)?,
        (Some(_), Some(_)) => {
            return Err(Bad::new("accounts", "there is an `account` already; keep one of them"));
        }
        (None, None) => {
            return Err(Bad::new("account", "each [[mapping.static]] needs it, or `accounts`"));
        }
    };
    if accounts.is_empty() {
        return Err(Bad::new("accounts", "the list is empty"));
    }
    let groups =
        raw.groups.as_deref().map(|groups| each("groups", groups, words::name)).transpose()?;
    Ok(StaticRow { at, caller, accounts, groups })
}

fn each<T>(
    key: &'static str,
    list: &[String],
    parse: fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Bad> {
    list.iter().map(|word| parse(word).map_err(|why| Bad::new(key, why))).collect()
}

fn one<T>(
    key: &'static str,
    word: Option<&str>,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Option<T>, Bad> {
    word.map(|word| parse(word).map_err(|why| Bad::new(key, why))).transpose()
}

fn seconds(key: &'static str, value: Option<i64>, least: i64) -> Result<Option<Duration>, Bad> {
    let Some(value) = value else {
        return Ok(None);
    };
    let admissible = u64::try_from(value).ok().filter(|_| (least..=LONGEST).contains(&value));
    match admissible {
        Some(value) => Ok(Some(Duration::from_secs(value))),
        None => Err(Bad::new(key, format!("{value} s is not in {least} to {LONGEST} (7 days)"))),
    }
}
