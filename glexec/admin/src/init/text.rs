//! The text that `init` writes.

use super::Scheduler;
use decide::config::{LogDestination, LogRule};

const SLURM: &str = include_str!("../../../../conf/slurm/glexec.toml.slurm");
const CONDOR: &str = include_str!("../../../../conf/condor/glexec.toml.condor");
/// For whoever calls glexec by itself.
const PLAIN: &str = "\
# Stay as the parent of the payload.
linger = true
# The payload starts in its target's home.
working_directory = \"home\"
# A program of the site's that runs as root after the payload: docs/epilogue.md.
#epilogue = \"/usr/libexec/site/glexec-epilogue\"
# It has nothing of the caller's but GLEXEC_EPILOG_*.
epilogue_environment = \"own\"
";

/// The whole file.
///
/// # Errors
/// A sentence, where a pool stands beside other accounts.
pub(super) fn of(
    scheduler: Scheduler,
    (callers, accounts): (&[String], &[String]),
    log: &LogRule,
) -> Result<String, String> {
    let settings = match scheduler {
        Scheduler::Slurm => SLURM,
        Scheduler::Condor => CONDOR,
        Scheduler::None => PLAIN,
    };
    let (groups, users): (Vec<&String>, Vec<&String>) =
        callers.iter().partition(|caller| caller.starts_with('@'));
    let groups = groups.iter().map(|group| group.trim_start_matches('@'));
    let users = list(users.iter().map(|user| user.as_str()));
    let groups = list(groups);
    Ok(format!(
        "# /etc/glexec.toml, by glexec-admin init. Owner root, not writable by others. Every key:\n\
         # docs/configuration.md. What is written here: glexec-admin check.\n\n\
         [glexec]\n\n\
         # Who may call glexec: accounts, and groups of callers.\n\
         user_white_list = {users}\ngroup_white_list = {groups}\n\n\
         # Where the log goes.\n{}\n{settings}\n{}",
        of_log(log),
        mapping(callers, accounts)?
    ))
}

fn of_log(log: &LogRule) -> String {
    match (log.destination, &log.file) {
        (LogDestination::File, Some(file)) => {
            format!("log_destination = \"file\"\nlog_file = {file:?}\n")
        }
        (LogDestination::Journal, _) => "log_destination = \"journal\"\n".to_owned(),
        (LogDestination::Syslog, _) | (LogDestination::File, None) => {
            "log_destination = \"syslog\"\n".to_owned()
        }
    }
}

fn mapping(callers: &[String], accounts: &[String]) -> Result<String, String> {
    let is_pool = |account: &String| account.contains('[');
    let pool = accounts.iter().find(|account| is_pool(account));
    let (method, accounts) = match pool {
        Some(pool) if accounts.len() == 1 => ("pool", literal(pool)),
        Some(pool) => {
            return Err(format!("--account {pool} is a pool; name it alone, or accounts alone"));
        }
        None => ("static", list(accounts.iter().map(String::as_str))),
    };
    let what = if pool.is_some() {
        "an account of the pool for each run, until its epilogue has ended"
    } else {
        "the first account, or the one that GLEXEC_TARGET_USER names"
    };
    let rows = callers.iter().map(|caller| {
        format!("[[mapping.{method}]]\ncaller = {}\naccounts = {accounts}\n", literal(caller))
    });
    let rows: Vec<String> = rows.collect();
    Ok(format!(
        "[mapping]\nmethods = [\"{method}\"]\n# Who becomes whom: {what}.\n{}",
        rows.join("\n")
    ))
}

/// A text of TOML's; whatever is no name in it is refused when the whole is read.
fn literal(word: &str) -> String {
    let mut text = "\"".to_owned();
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => text += &format!("\\u{:04x}", u32::from(c)),
            c => text.push(c),
        }
    }
    text + "\""
}

fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", words.map(literal).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use decide::config::{Accounts, Config, RowCaller, Syntax};

    fn words(all: &str) -> Vec<String> {
        all.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_written_is_read_as_it_was_asked_for() {
        for scheduler in [Scheduler::Slurm, Scheduler::Condor, Scheduler::None] {
            let log = LogRule {
                destination: LogDestination::File,
                file: Some("/var/log/glexec/log".to_owned()),
                ..LogRule::default()
            };
            let (callers, accounts) = (words("pilot @grid ops"), words("a b"));
            let text = of(scheduler, (&callers, &accounts), &log).unwrap();
            let config = Config::parse(text.as_bytes(), Syntax::Toml).expect(&text);
            assert_eq!(config.log, log);
            assert_eq!(config.notices, Vec::<String>::new(), "{text}");
            assert_eq!((config.user_white_list.len(), config.group_white_list.len()), (2, 1));
            let rows: Vec<_> = config.mapping.rows.iter().map(|row| row.caller.clone()).collect();
            let user = |name: &str| RowCaller::User(name.to_owned());
            assert_eq!(rows, [user("pilot"), RowCaller::Group("grid".to_owned()), user("ops")]);
            assert!(config.mapping.rows.iter().all(|row| row.accounts == words("a b")));
        }
    }

    #[test]
    fn a_pool_is_one_of_runs_and_stands_alone() {
        let log = LogRule::default();
        let (callers, accounts) = (words("pilot"), words("work[001-064]"));
        let text = of(Scheduler::None, (&callers, &accounts), &log).unwrap();
        let config = Config::parse(text.as_bytes(), Syntax::Toml).expect(&text);
        assert_eq!(config.mapping.pools.first().map(|pool| pool.accounts.count()), Some(64));
        assert!(matches!(config.mapping.pools[0].accounts, Accounts::Series { .. }));
        let both = words("work[001-064] payload1");
        assert!(of(Scheduler::None, (&callers, &both), &log).is_err());
    }

    #[test]
    fn a_word_cannot_say_more_than_a_name() {
        for word in ["a\"]\nlinger = false\n#", "x\\\"", "x\\", "\"", "\u{7}"] {
            let words = [word.to_owned()];
            let text = of(Scheduler::None, (&words, &words), &LogRule::default()).unwrap();
            match Config::parse(text.as_bytes(), Syntax::Toml) {
                Ok(config) => assert_eq!(config.mapping.rows[0].accounts, words, "{text}"),
                Err(bad) => assert!(word.chars().any(char::is_control), "{bad:?}: {text}"),
            }
        }
    }
}
