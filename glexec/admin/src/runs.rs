//! `glexec-admin ps` and `sweep`: what lingers, what is owed, and paying it.

use act::apart::{self, Apart};
use act::root::Root;
use act::state::StateDir;
use act::threshold::threshold;
use contract::Reason;
use decide::recorded_run::RecordedRun;
use decide::refusal::Refusal;
use decide::refusal::powerless;
use decide::settling::{Became, Row, Wanted};
use nix::unistd::Uid;
use observe::config_file;
use recovery::entries::{self, Found};
use report::print;
use serde::Serialize;
use std::time::{Duration, Instant, SystemTime};
use system::text::escaped;

const CANNOT: u8 = 2;

/// One row of `ps`.
#[derive(Serialize)]
struct Shown {
    name: String,
    /// What log, status stream and epilogue call the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<String>,
    /// live, owed, aside, or odd.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_pid: Option<i32>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    job: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Shows what lingers or is owed. Takes no lock that lasts and changes nothing.
pub(super) fn ps(json: bool) -> u8 {
    told(rows().map(|rows| {
        let header = format!(
            "{:<6} {:<16} {:>8} {:>7} {:<24} CALLER -> TARGET  COMMAND  JOB",
            "STATE", "PHASE", "PID", "AGE", "RUN"
        );
        show(json, Some(header), &rows, |row| {
            let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let job: Vec<String> = row.job.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!(
                "{:<6} {:<16} {:>8} {:>7} {:<24} {} -> {}  {}  {}{}",
                row.state,
                row.phase.unwrap_or("-"),
                row.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                row.since.map_or_else(|| "-".to_owned(), age),
                row.run_id.as_ref().unwrap_or(&row.name),
                or(&row.caller),
                or(&row.target),
                or(&row.command),
                job.join(" "),
                row.why.as_ref().map(|why| format!("{} {why}", row.name)).unwrap_or_default(),
            )
        })
    }))
}

/// How long ago this was, in the two largest units.
pub(super) fn age(since: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = now.map_or(0, |now| now.as_secs()).saturating_sub(since);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, ..) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// The state of every entry, as [`ps`] names it.
///
/// # Errors
/// Where the directory cannot be used or listed.
pub(super) fn states() -> Result<Vec<&'static str>, Refusal> {
    Ok(rows()?.into_iter().map(|row| row.state).collect())
}

fn rows() -> Result<Vec<Shown>, Refusal> {
    roots_only("ps")?;
    let root = Root::of_this_process().ok_or_else(|| for_root("ps"))?;
    let config = config_file::read()?;
    let directory = StateDir::open(&root, &config.state)?;
    let names = directory.entries()?.into_iter();
    Ok(names
        .filter_map(|name| entries::look(&directory, &name).map(|found| row(name, found)))
        .collect())
}

fn row(name: String, found: Found) -> Shown {
    match found {
        Found::Live(recorded) => filled(name, "live", recorded.as_deref(), None),
        Found::Owed(recorded) if name.starts_with("aside.") => {
            filled(name, "aside", Some(&*recorded), Some("was set aside".to_owned()))
        }
        Found::Owed(recorded) => filled(name, "owed", Some(&*recorded), None),
        Found::Odd(why) => filled(name, "odd", None, Some(why)),
    }
}

fn filled(
    name: String,
    state: &'static str,
    recorded: Option<&RecordedRun>,
    why: Option<String>,
) -> Shown {
    let entry = recorded.map(|recorded| &recorded.entry);
    let job = entry.map(|entry| entry.job.as_slice()).unwrap_or_default();
    Shown {
        name,
        run_id: entry.map(|entry| escaped(entry.run_id.as_bytes())).filter(|id| !id.is_empty()),
        state,
        phase: recorded.map(RecordedRun::word),
        pid: entry.map(|entry| entry.glexec.pid),
        payload_pid: recorded.and_then(RecordedRun::payload).map(|birth| birth.pid),
        since: entry.map(|entry| entry.since),
        caller: entry.map(|entry| escaped(entry.caller.name.as_bytes())),
        target: entry.map(|entry| escaped(entry.target.name.as_bytes())),
        command: entry.map(|entry| entry.command.clone()),
        job: job.iter().map(|(k, v)| (k.clone(), escaped(&v.0))).collect(),
        why,
    }
}

/// One row of `sweep`.
#[derive(Serialize)]
struct Settled<'r> {
    name: &'r str,
    result: &'static str,
    detail: &'r str,
}

impl<'r> Settled<'r> {
    fn of(row: &'r Row) -> Self {
        Self { name: &row.name, result: row.result.word(), detail: &row.detail }
    }
}

/// Pays what is owed.
pub(super) fn sweep(wanted: &Wanted, json: bool) -> u8 {
    let narrow = !wanted.job.is_empty() || wanted.wait.is_some();
    told(paid(wanted, json).map(|rows| {
        let settled: Vec<Settled<'_>> = rows.iter().map(Settled::of).collect();
        let shown = show(json, None, &settled, |row| {
            format!("{:<7} {}  {}", row.result, row.name, row.detail)
        });
        let owed = rows.iter().any(|row| row.result.is_owed());
        let live = rows.iter().any(|row| row.result == Became::Live);
        match (owed, live && narrow) {
            (true, _) => 1,
            (false, true) => 3,
            (false, false) => shown,
        }
    }))
}

fn paid(wanted: &Wanted, json: bool) -> Result<Vec<Row>, Refusal> {
    // As in glexec itself: whoever calls this leaves nothing in the process that an epilogue
    // could stumble over.
    roots_only("sweep")?;
    let privilege = threshold()?.rights.map_err(powerless)?;
    let apart = apart::start(&privilege, None, wanted)?;
    if !json {
        tell_until_answered(&apart);
    }
    apart.answer()
}

/// Says on stderr, after one second, three, seven and so on, that this goes on and how many entries
/// are left: epilogues may take minutes, and a directory with many files takes its time.
fn tell_until_answered(apart: &Apart) {
    const LONGEST: Duration = Duration::from_secs(60);
    let begun = Instant::now();
    let mut pause = Duration::from_secs(1);
    while !apart.has_answered_within(pause) {
        let seconds = begun.elapsed().as_secs();
        let left = entries_left().map_or_else(
            |stop| format!("how many entries are left cannot be told ({})", stop.reason.word()),
            |left| format!("{left} entries are left"),
        );
        let line = format!("glexec-admin: the sweep goes on after {seconds} s; {left}\n");
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        pause = pause.saturating_mul(2).min(LONGEST);
    }
}

fn entries_left() -> Result<usize, Refusal> {
    let root = Root::of_this_process().ok_or_else(|| for_root("sweep"))?;
    let config = config_file::read()?;
    Ok(StateDir::open(&root, &config.state)?.entries()?.len())
}

/// The state directory is root's alone.
fn roots_only(what: &str) -> Result<(), Refusal> {
    if Uid::current().is_root() && Uid::effective().is_root() {
        return Ok(());
    }
    Err(for_root(what))
}

pub(super) fn for_root(what: &str) -> Refusal {
    Refusal::new(Reason::Usage, format!("{what} is for root only; call it as root"))
}

/// Where there are no rows there is no header.
pub(super) fn show<T: Serialize>(
    json: bool,
    header: Option<String>,
    rows: &[T],
    line: impl Fn(&T) -> String,
) -> u8 {
    let text = if json {
        serde_json::to_string(rows).unwrap_or_default() + "\n"
    } else {
        let header = header.filter(|_| !rows.is_empty());
        header.into_iter().chain(rows.iter().map(line)).map(|line| line + "\n").collect()
    };
    u8::from(!print(&text))
}

/// An administrator reads the detail at once.
pub(super) fn told(done: Result<u8, Refusal>) -> u8 {
    done.unwrap_or_else(|stop| {
        let detail = stop.detail.as_deref().unwrap_or(&stop.sentence);
        let line = format!("glexec-admin: {detail} ({})\n", stop.reason.word());
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        CANNOT
    })
}
