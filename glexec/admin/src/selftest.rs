//! `glexec-admin selftest`: one real run of the installed program, from its caller to the log.

use super::node;
use super::rehearse::{PROGRAM, become_account};
use adapter::{Answer, BoundedCommand};
use contract::{Invocation, Reason, Record};
use decide::config::{Config, LogDestination};
use decide::refusal::Refusal;
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::{Uid, User};
use observe::accounts::{AccountFiles, Lookups};
use observe::config_file::{self, Etc};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The subcommand by which this program becomes the caller and then glexec.
pub(super) const AS_CALLER: &str = "selftest-as";
/// What is run: it tells the ids that it has.
const PAYLOAD: &str = "/usr/bin/id";
/// For everything but the epilogue.
const LIMIT: Duration = Duration::from_secs(60);

/// What was seen, a line each; what is not as it should be begins with `FAILED`.
#[derive(Debug, Default)]
struct Seen {
    rows: Vec<(&'static str, Result<String, String>)>,
}

impl Seen {
    fn good(&mut self, name: &'static str, text: impl Into<String>) {
        self.rows.push((name, Ok(text.into())));
    }

    fn bad(&mut self, name: &'static str, text: impl Into<String>) {
        self.rows.push((name, Err(text.into())));
    }

    fn text(&self) -> (String, u8) {
        let row = |(name, told): &(&str, Result<String, String>)| match told {
            Ok(text) => format!("{name:<12} {text}\n"),
            Err(text) => format!("{name:<12} FAILED: {text}\n"),
        };
        let failed = self.rows.iter().any(|(_, told)| told.is_err());
        let end = if failed {
            "failed; glexec-admin check says what would keep a run from working"
        } else {
            "passed"
        };
        let text: String = self.rows.iter().map(row).collect();
        (format!("{text}{:<12} {end}\n", "selftest"), u8::from(failed))
    }
}

/// Runs it and prints what was seen; 0 where all of it is as it should be, else 1.
pub(super) fn run(caller: Option<String>) -> u8 {
    match tested(caller) {
        Ok(seen) => {
            let (text, code) = seen.text();
            u8::from(!report::print(&text)).max(code)
        }
        Err(stop) => {
            let detail = stop.detail.as_deref().unwrap_or(&stop.sentence);
            let _ = writeln!(std::io::stderr(), "glexec-admin: {detail} ({})", stop.reason.word());
            1
        }
    }
}

fn tested(caller: Option<String>) -> Result<Seen, Refusal> {
    let wrong = |sentence: String| Refusal::new(Reason::Usage, sentence);
    if !Uid::effective().is_root() {
        return Err(wrong("selftest is for root only; call it as root".to_owned()));
    }
    let config = config_file::read()?;
    let caller = match caller {
        Some(name) => name,
        None => somebody(&config)?.ok_or_else(|| {
            wrong(
                "nobody by name is listed and mapped; name who is to call, with --caller USER"
                    .to_owned(),
            )
        })?,
    };
    let epilogue = config.epilogue.as_ref().map_or(Duration::ZERO, |rule| rule.timeout);
    let call = BoundedCommand {
        program: Path::new("/proc/self/exe"),
        words: vec![AS_CALLER.into(), caller.as_str().into()],
        environment: Vec::new(),
        ids: None,
        limit: LIMIT + epilogue + config.kill_grace,
        end_it: true,
    };
    let before = log_length(&config);
    let answer = call.run().map_err(|e| wrong(format!("glexec-admin cannot start itself: {e}")))?;
    let mut seen = Seen::default();
    seen.good("caller", &caller);
    look(&config, &answer, before, &mut seen);
    Ok(seen)
}

fn somebody(config: &Config) -> Result<Option<String>, Refusal> {
    let files = AccountFiles::read(&Etc::open());
    let mut lookups = Lookups::new(None, files, config.account_source)?;
    Ok(node::somebody(config, &mut lookups))
}

/// In the child: becomes the caller and then glexec, with the records on what is stderr.
///
/// # Errors
/// A sentence; else it does not return.
pub(super) fn become_caller(user: &str) -> Result<String, String> {
    become_account(user)?;
    // Above 2, and open after the exec.
    let status = fcntl(std::io::stderr(), FcntlArg::F_DUPFD(3));
    let status =
        status.map_err(|errno| format!("no descriptor for the records: {}", errno.desc()))?;
    let invocation = Invocation { status_fd: Some(status), ..Invocation::run([PAYLOAD]) };
    #[expect(clippy::disallowed_methods, reason = "an absolute path, and no rights to lose")]
    let error = Command::new(PROGRAM).args(invocation.build()).exec();
    Err(format!("{PROGRAM} cannot be executed by {user}: {error}"))
}

fn look(config: &Config, answer: &Answer, before: u64, seen: &mut Seen) {
    let records: Vec<Record> =
        answer.stderr.lines().filter_map(|line| Record::parse(line).ok()).collect();
    let said = answer.stderr.lines().find(|line| Record::parse(line).is_err());
    let started = records.iter().find_map(|record| {
        if let Record::Started { target, run_id, .. } = record {
            Some((target.as_str(), run_id.as_str()))
        } else {
            None
        }
    });
    let Some((target, run)) = started else {
        let refused = records.iter().find_map(|record| {
            if let Record::Refused { code, reason, sentence } = record {
                Some(format!("{code}: {sentence} ({reason}); glexec-admin explain {reason}"))
            } else {
                None
            }
        });
        let said = refused.or_else(|| said.map(str::to_owned));
        return seen.bad("run", said.unwrap_or_else(|| "glexec said nothing".to_owned()));
    };
    seen.good("run", run);
    id(answer, target, seen);
    match answer.code {
        Some(0) => seen.good("code", "0"),
        Some(code) => seen.bad("code", format!("{code}; glexec-admin explain {code}")),
        None => seen.bad("code", "none: glexec was killed, or has not ended in time"),
    }
    epilogue(config, &records, seen);
    log(config, (before, run), seen);
}

/// Whether the payload was whom the records say.
fn id(answer: &Answer, target: &str, seen: &mut Seen) {
    let told = answer.stdout.lines().next().unwrap_or_default();
    let wanted = User::from_name(target).ok().flatten().map(|user| format!("uid={}(", user.uid));
    match wanted {
        Some(wanted) if told.starts_with(&wanted) => seen.good("id", told),
        Some(_) => seen.bad("id", format!("the target is {target}, and {PAYLOAD} says '{told}'")),
        None => seen.bad("id", format!("the target {target} cannot be looked up")),
    }
}

fn epilogue(config: &Config, records: &[Record], seen: &mut Seen) {
    let Some(rule) = &config.epilogue else {
        return seen.good("epilogue", "none is configured");
    };
    let told = records.iter().find_map(|record| {
        if let Record::Epilogue { result, code, seconds } = record {
            Some((result, code, seconds))
        } else {
            None
        }
    });
    match told {
        Some((result, _, seconds)) if result == "ok" => {
            seen.good("epilogue", format!("{}: ok, {seconds:.3} s", rule.path));
        }
        Some((result, code, _)) => {
            let code = code.map(|code| format!("({code})")).unwrap_or_default();
            let path = &rule.path;
            seen.bad("epilogue", format!("{path}: {result}{code}; glexec-admin explain {result}"));
        }
        None => seen.bad("epilogue", format!("{}: nothing was told of it", rule.path)),
    }
}

/// How long the log is, where it is a file.
fn log_length(config: &Config) -> u64 {
    let file = config.log.file.as_ref().and_then(|file| std::fs::metadata(file).ok());
    file.map_or(0, |file| file.len())
}

/// Whether the log has the run's lines. What a socket took cannot be read again here: that it was
/// taken is what the run has begun by.
fn log(config: &Config, (before, run): (u64, &str), seen: &mut Seen) {
    let rule = &config.log;
    let key = format!("run={run}");
    if rule.level < 3 {
        let level = rule.level;
        return seen
            .bad("log", format!("`log_level` = {level} leaves no line of a run; write 3 or more"));
    }
    let Some(path) = rule.file.as_ref().filter(|_| rule.destination == LogDestination::File) else {
        let place =
            if rule.destination == LogDestination::Journal { "the journal" } else { "syslog" };
        return seen
            .good("log", format!("{place} has taken the line of the begin; look there for {key}"));
    };
    match lines(path, before, &key) {
        Ok(found) if config.linger && found < 2 => {
            seen.bad("log", format!("{path}: {found} of the two lines of the run ({key})"));
        }
        Ok(0) => seen.bad("log", format!("{path} has no line of the run ({key})")),
        Ok(found) => seen.good("log", format!("{path}: {found} lines ({key})")),
        Err(error) => seen.bad("log", format!("{path} cannot be read: {error}")),
    }
}

/// How many lines of a run were added to a log.
fn lines(path: &str, before: u64, key: &str) -> std::io::Result<usize> {
    const MOST: u64 = 16 << 20;
    let mut file = std::fs::OpenOptions::new().read(true).open(path)?;
    // A log that was rotated meanwhile is shorter.
    let begin = before.min(file.metadata()?.len());
    file.seek(SeekFrom::Start(begin))?;
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().filter(|line| line.split(' ').any(|word| word == key)).count())
}
