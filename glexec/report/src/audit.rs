//! The lines of the log, and the form each destination wants them in.

use decide::config::{LogDestination, LogRule};
use decide::ended::Ended;
use decide::plan::{Launch, Plan};
use decide::reporter::Level;
use std::fmt::Write as _;
use std::time::SystemTime;
use system::text::{LONGEST_LINE, cut, escaped, one_line};

/// Fields beside the message, for a log that keeps them apart: name and value.
pub(super) type Fields = Vec<(&'static str, String)>;

/// `real_user(u),real_group(g)->mapped_user(u),mapped_group(g)`, as the original has it.
fn identities(plan: &Plan) -> String {
    let shown = |name: &str| escaped(name.as_bytes());
    format!(
        "real_user({}),real_group({})->mapped_user({}),mapped_group({})",
        shown(&plan.caller.shown_name()),
        shown(&plan.caller.shown_group()),
        shown(plan.target.name()),
        shown(&plan.target.shown_group()),
    )
}

/// The line at the begin of a run.
pub(super) fn begin(plan: &Plan, id: Option<&[u8]>) -> String {
    let bytes =
        |word: Option<&std::ffi::CString>| word.map(|w| escaped(w.as_bytes())).unwrap_or_default();
    let mut line = format!(
        "{} cwd: \"{}\" cmd: \"{}\" (=\"{}\")",
        identities(plan),
        bytes(plan.directories.first()),
        bytes(plan.argv.first()),
        escaped(&plan.command.resolved),
    );
    let args: Vec<String> = plan.argv.iter().skip(1).map(|word| escaped(word.as_bytes())).collect();
    if !args.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(line, " args: \"{}\"", args.join(" "));
    }
    let how = match plan.launch {
        Launch::Replace => "replace",
        Launch::Linger(_) => "linger",
        Launch::LogOnly => "log-only",
    };
    let owed = if plan.epilogue().is_some() { "yes" } else { "no" };
    let (uid, target) = (plan.caller.uid(), plan.target.uid());
    let run = &plan.run_id;
    let tail =
        format!(" real_uid={uid} mapped_uid={target} launch={how} epilogue={owed} run={run}");
    let subject = plan.subject.as_ref().map(|subject| cut(escaped(subject.as_bytes()), 1024));
    let subject = subject.map(|subject| format!(" subject=\"{subject}\"")).unwrap_or_default();
    let tail = tail + &subject;
    let id = id.map(|id| format!(" id=\"{}\"", escaped(id))).unwrap_or_default();
    // What comes last must not be what an overlong argument cuts off.
    let room = LONGEST_LINE.saturating_sub(tail.len() + id.len().min(1024) + 64);
    let whole = line.len();
    let line = cut(line, room);
    // What was cut off took the closing quote with it.
    let quote = if line.len() < whole { "\"" } else { "" };
    line + quote + &tail + &cut(id, 1024)
}

/// The line of a rehearsal: who could run as whom.
pub(super) fn rehearsal(plan: &Plan) -> String {
    format!("rehearsal: {}", identities(plan))
}

/// The line at the end of a lingering run; `code` is glexec's own.
pub(super) fn end(plan: &Plan, ended: &Ended, code: u8) -> String {
    let (caller, target) = (plan.caller.shown_name(), plan.target.name());
    let mut line = format!(
        "end of {}->{}: payload {} exit_code={code}",
        escaped(caller.as_bytes()),
        escaped(target.as_bytes()),
        ended.told()
    );
    if let Some((result, took)) = ended.epilogue {
        let number = result.number().map(|n| format!("({n})")).unwrap_or_default();
        let _ = write!(
            line,
            " epilogue={}{number} epilogue_seconds={:.3}",
            result.word(),
            took.as_secs_f64()
        );
    }
    let (usage, left) = (ended.usage, ended.stragglers);
    let seconds = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    let _ = write!(
        line,
        " stragglers={} left={} user_seconds={} system_seconds={} max_rss_kib={} run={}",
        left.found,
        left.found.saturating_sub(left.ended),
        seconds(usage.user_us),
        seconds(usage.system_us),
        usage.max_rss_kib,
        plan.run_id,
    );
    line
}

/// The fields of a run.
pub(super) fn fields(plan: &Plan, event: &str) -> Fields {
    let mut fields = vec![
        ("GLEXEC_EVENT", event.to_owned()),
        ("GLEXEC_RUN_ID", plan.run_id.clone()),
        ("GLEXEC_REAL_USER", escaped(plan.caller.shown_name().as_bytes())),
        ("GLEXEC_REAL_UID", plan.caller.uid().to_string()),
        ("GLEXEC_MAPPED_USER", escaped(plan.target.name().as_bytes())),
        ("GLEXEC_MAPPED_UID", plan.target.uid().to_string()),
    ];
    fields
        .extend(plan.subject.iter().map(|subject| ("GLEXEC_SUBJECT", escaped(subject.as_bytes()))));
    fields
}

/// A line as its destination wants it.
pub(super) fn dressed(rule: &LogRule, level: Level, line: &str, fields: &Fields) -> Vec<u8> {
    let line = cut(one_line(line), LONGEST_LINE);
    let pid = std::process::id();
    match rule.destination {
        // Without a time: the receiver has a better clock, and no zone has to be looked up.
        LogDestination::Syslog => {
            format!("<{}>glexec[{pid}]: {line}", u32::from(rule.facility) * 8 + priority(level))
                .into_bytes()
        }
        LogDestination::File => {
            let now = humantime::format_rfc3339_seconds(SystemTime::now());
            format!("glexec[{pid}] {now} {}: {line}\n", word(level)).into_bytes()
        }
        // A value without a newline is NAME=value (systemd, "Native Journal Protocol").
        LogDestination::Journal => {
            let mut out = format!(
                "MESSAGE={line}\nPRIORITY={}\nSYSLOG_FACILITY={}\nSYSLOG_IDENTIFIER=glexec\nSYSLOG_PID={pid}\n",
                priority(level),
                rule.facility
            );
            for (name, value) in fields {
                let _ = writeln!(out, "{name}={value}");
            }
            out.into_bytes()
        }
    }
}

/// Severities of syslog(3).
const fn priority(level: Level) -> u32 {
    match level {
        Level::Error => 3,
        Level::Warning => 4,
        Level::Notice => 5,
        Level::Info => 6,
        Level::Debug => 7,
    }
}

const fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Notice => "notice",
        Level::Info => "info",
        Level::Debug => "debug",
    }
}
