//! The metrics: their names, what they count, and their forms, text and JSON.

use super::totals::{BOUNDS, Counter, Totals};
use contract::Reason;
use serde::Serialize;
use std::collections::BTreeMap;

/// One metric with all its values.
#[derive(Debug, Serialize)]
pub(super) struct Family {
    name: &'static str,
    /// counter, gauge or histogram.
    #[serde(rename = "type")]
    kind: &'static str,
    help: &'static str,
    samples: Vec<Sample>,
}

/// One value of a metric.
#[derive(Debug, Serialize)]
struct Sample {
    /// What follows the metric's name: `_bucket`, `_sum`, `_count` of a histogram.
    #[serde(skip_serializing_if = "str::is_empty")]
    suffix: &'static str,
    labels: BTreeMap<&'static str, String>,
    value: f64,
}

/// A counter's metric.
struct Row {
    counter: Counter,
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    /// What one unit of the metric is in the counter's.
    unit: f64,
    /// Values of the labels that are shown as 0 before anything is counted, so that the first one is
    /// an increase.
    from_begin: fn() -> Vec<String>,
}

const ROWS: [Row; 10] = [
    Row {
        counter: Counter::Launches,
        name: "glexec_launches_total",
        help: "Payloads that were about to be started, by the way of it.",
        labels: &["launch"],
        unit: 1.0,
        from_begin: || super::LAUNCHES.iter().map(ToString::to_string).collect(),
    },
    Row {
        counter: Counter::Refusals,
        name: "glexec_refusals_total",
        help: "Calls and rehearsals that ended with 201, 202 or 203 before a payload, by the reason.",
        labels: &["reason"],
        unit: 1.0,
        from_begin: || Reason::ALL.iter().map(|reason| reason.word().to_owned()).collect(),
    },
    Row {
        counter: Counter::PayloadEnds,
        name: "glexec_payload_ends_total",
        help: "Payloads of lingering runs that ended: exit or signal with its number, not-started with glexec's code.",
        labels: &["how", "number"],
        unit: 1.0,
        from_begin: || vec!["exit 0".to_owned()],
    },
    Row {
        counter: Counter::Epilogues,
        name: "glexec_epilogues_total",
        help: "Epilogues that ended, by the run itself or by a sweep, by their result.",
        labels: &["by", "result"],
        unit: 1.0,
        from_begin: || {
            let of = |by: &str| super::results().map(|result| format!("{by} {result}"));
            [of("run"), of("sweep")].concat()
        },
    },
    Row {
        counter: Counter::Stragglers,
        name: "glexec_stragglers_total",
        help: "Processes that payloads have left behind.",
        labels: &[],
        unit: 1.0,
        from_begin: || vec![String::new()],
    },
    Row {
        counter: Counter::StragglersLeft,
        name: "glexec_stragglers_left_total",
        help: "Stragglers that could not be ended.",
        labels: &[],
        unit: 1.0,
        from_begin: || vec![String::new()],
    },
    Row {
        counter: Counter::PayloadCpu,
        name: "glexec_payload_cpu_seconds_total",
        help: "Processor time of payloads of lingering runs, in seconds.",
        labels: &["mode"],
        unit: 1_000_000.0,
        from_begin: || vec!["system".to_owned(), "user".to_owned()],
    },
    Row {
        counter: Counter::LinesOdd,
        name: "glexec_log_odd_lines_total",
        help: "Lines of the log file that could not be read.",
        labels: &[],
        unit: 1.0,
        from_begin: || vec![String::new()],
    },
    Row {
        counter: Counter::LinesLost,
        name: "glexec_log_lost_lines_total",
        help: "Lines that the log did not take, as later lines of the same run tell.",
        labels: &[],
        unit: 1.0,
        from_begin: || vec![String::new()],
    },
    Row {
        counter: Counter::Gaps,
        name: "glexec_log_gaps_total",
        help: "Times that a log file was cut, or gone before it was known to be counted to its end.",
        labels: &[],
        unit: 1.0,
        from_begin: || vec![String::new()],
    },
];

/// Every metric, in a fixed order; `runs` is how many entries of each state there are.
pub(super) fn all(totals: &Totals, runs: &[(&'static str, usize)]) -> Vec<Family> {
    let mut all: Vec<Family> = ROWS.iter().map(|row| counted(row, totals)).collect();
    all.push(durations(totals));
    all.push(Family {
        name: "glexec_runs",
        kind: "gauge",
        help: "Entries of the state directory: live, owed (a debt), aside (given up), odd (not to be read).",
        samples: runs
            .iter()
            .map(|(state, count)| sample("", vec![("state", (*state).to_owned())], number(*count)))
            .collect(),
    });
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    all.push(Family {
        name: "glexec_build_info",
        kind: "gauge",
        help: "The version of the program that counts.",
        samples: vec![sample("", version, 1.0)],
    });
    all
}

fn counted(row: &Row, totals: &Totals) -> Family {
    let mut values: BTreeMap<String, u64> =
        (row.from_begin)().into_iter().map(|labels| (labels, 0)).collect();
    values.extend(totals.of(row.counter));
    let samples = values.into_iter().map(|(labels, value)| {
        let labels = row.labels.iter().copied().zip(labels.split(' ').map(str::to_owned));
        sample("", labels.collect(), count(value) / row.unit)
    });
    Family { name: row.name, kind: "counter", help: row.help, samples: samples.collect() }
}

fn durations(totals: &Totals) -> Family {
    let (upwards, all, milliseconds) = totals.histogram();
    let bounds = BOUNDS.iter().map(|bound| (count(*bound) / 1000.0).to_string());
    let mut samples: Vec<Sample> = bounds
        .zip(upwards)
        .map(|(bound, value)| sample("_bucket", vec![("le", bound)], count(value)))
        .collect();
    samples.push(sample("_bucket", vec![("le", "+Inf".to_owned())], count(all)));
    samples.push(sample("_sum", Vec::new(), count(milliseconds) / 1000.0));
    samples.push(sample("_count", Vec::new(), count(all)));
    let help = "How long epilogues took, in seconds, those of a sweep included.";
    Family { name: "glexec_epilogue_seconds", kind: "histogram", help, samples }
}

fn sample(suffix: &'static str, labels: Vec<(&'static str, String)>, value: f64) -> Sample {
    Sample { suffix, labels: labels.into_iter().collect(), value }
}

/// Prometheus has floating point and nothing else: from 2^53 on a count is rounded.
#[expect(clippy::cast_precision_loss, reason = "the format has no other numbers")]
const fn count(value: u64) -> f64 {
    value as f64
}

fn number(value: usize) -> f64 {
    count(u64::try_from(value).unwrap_or(u64::MAX))
}

/// The text format of Prometheus, version 0.0.4
/// (<https://prometheus.io/docs/instrumenting/exposition_formats/>). No help has a line's end or a
/// backslash in it, and no label's value a quote.
pub(super) fn text(families: &[Family]) -> String {
    let mut text = String::new();
    for Family { name, kind, help, samples } in families {
        text += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for Sample { suffix, labels, value } in samples {
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let labels =
                if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            text += &format!("{name}{suffix}{labels} {value}\n");
        }
    }
    text
}
