//! What a lingering glexec has and does while its payload runs.

use super::ground::{self, C_EPILOGUE, C_LINGER, NOTHING};
use super::{Beside, Row, Tools};
use crate::peers::{AND_EPILOGUE, FEATURES, LINGER};
use crate::statistics::{Interval, ratio};
use anyhow::{Context as _, Result, bail, ensure};
use harness::{GLEXEC, Running, Site};
use std::time::{Duration, Instant};

/// Waiting at once.
const MANY: usize = 100;
/// How often one waits alone.
const ALONE: usize = 5;
/// How long nothing happens.
const SECONDS: u64 = 5;
/// What comes after the payload's start is done by then.
const SETTLED: Duration = Duration::from_millis(500);
/// How long a payload may take to start.
const PATIENCE: Duration = Duration::from_secs(20);
const PAYLOAD: [&str; 2] = ["/bin/sleep", "300"];

/// Starts a run, and waits until its payload is there.
fn start<'a>(site: &'a Site, words: &[&str]) -> Result<Running<'a>> {
    let run = site.program(words.iter().chain(&PAYLOAD).copied()).start();
    let deadline = Instant::now() + PATIENCE;
    let children = format!("/proc/{0}/task/{0}/children", run.pid());
    loop {
        let list = std::fs::read_to_string(&children).unwrap_or_default();
        let executed = |pid: &str| {
            let program = std::fs::read_link(format!("/proc/{pid}/exe"));
            program.is_ok_and(|program| program.ends_with("sleep"))
        };
        if list.split_whitespace().any(executed) {
            return Ok(run);
        }
        ensure!(!run.has_ended(), "{words:?} ended before its payload");
        ensure!(Instant::now() < deadline, "{words:?}: its payload does not start");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A number after this name in a file of /proc that has one a line.
fn number(pid: i32, file: &str, name: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/{file}");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|line| line.split_whitespace().next());
    let word = word.with_context(|| format!("{path}: no {name}"))?;
    word.parse().with_context(|| format!("{path}: {name} {word}"))
}

/// KiB of each of 100 that wait at once: what it shares with others is divided among them.
fn of_many(site: &Site, words: &[&str]) -> Result<Vec<f64>> {
    let runs = (0..MANY).map(|_| start(site, words)).collect::<Result<Vec<_>>>()?;
    std::thread::sleep(SETTLED);
    runs.iter().map(|run| number(run.pid(), "smaps_rollup", "Pss:")).collect()
}

/// KiB of one that waits alone.
fn of_one(site: &Site, words: &[&str]) -> Result<Vec<f64>> {
    let one = |_| {
        let run = start(site, words)?;
        std::thread::sleep(SETTLED);
        number(run.pid(), "smaps_rollup", "Rss:")
    };
    (0..ALONE).map(one).collect()
}

/// What is read of waiting runs.
type Reading = fn(&Site, &[&str]) -> Result<Vec<f64>>;

/// Memory while waiting, and context switches while nothing happens.
pub(crate) fn measure(tools: &mut Tools) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (settings, word, beside) in
        [(LINGER, "linger", C_LINGER), (AND_EPILOGUE, "epilogue", C_EPILOGUE)]
    {
        let site = ground::site(tools, settings)?;
        let readings: [(&str, Reading); 2] =
            [("PSS of each of 100", of_many), ("RSS of one alone", of_one)];
        for (name, read) in readings {
            let (ours, base) = (read(&site, &[GLEXEC])?, read(&site, &[FEATURES, word])?);
            rows.push(Row {
                what: format!("waiting, {word}: {name}"),
                beside,
                unit: "KiB",
                figure: Beside {
                    ratio: ratio(&ours, &base),
                    ours: Interval::of(ours),
                    base: Interval::of(base),
                },
                cpu: Beside::default(),
            });
        }
    }
    rows.extend(idle(tools)?);
    Ok(rows)
}

/// Context switches of waiting runs in some seconds in which nothing happens.
fn idle(tools: &mut Tools) -> Result<Vec<Row>> {
    const SUSPENDS: &str = "linger = true\nsuspend_with_caller = true";
    let mut sites = Vec::new();
    for settings in [LINGER, AND_EPILOGUE, SUSPENDS] {
        sites.push(ground::site(tools, settings)?);
    }
    let [lingers, pays, suspends] = &sites[..] else { bail!("three sites were made") };
    let runs = [
        start(lingers, &[GLEXEC])?,
        start(lingers, &[FEATURES, "linger"])?,
        start(pays, &[GLEXEC])?,
        start(pays, &[FEATURES, "epilogue"])?,
        start(suspends, &[GLEXEC])?,
    ];
    std::thread::sleep(SETTLED);
    let switches = |run: &Running| -> Result<f64> {
        Ok(number(run.pid(), "status", "voluntary_ctxt_switches:")?
            + number(run.pid(), "status", "nonvoluntary_ctxt_switches:")?)
    };
    let before = runs.iter().map(switches).collect::<Result<Vec<_>>>()?;
    std::thread::sleep(Duration::from_secs(SECONDS));
    let after = runs.iter().map(switches).collect::<Result<Vec<_>>>()?;
    let more = |at: usize| Some(after.get(at)? - before.get(at)?);
    let value = |at: usize| more(at).and_then(|more| Interval::of(vec![more]));
    let row = |what: &str, beside, ours, base: Option<usize>| Row {
        what: format!("context switches in {SECONDS} idle seconds, {what}"),
        beside,
        unit: "switches",
        figure: Beside { ours: value(ours), base: base.and_then(value), ratio: None },
        cpu: Beside::default(),
    };
    Ok(vec![
        row("linger", C_LINGER, 0, Some(1)),
        row("epilogue", C_EPILOGUE, 2, Some(3)),
        row("suspend_with_caller", NOTHING, 4, None),
    ])
}
