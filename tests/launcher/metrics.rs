//! `glexec-admin metrics`: what the log file and the state directory tell, as Prometheus reads it.

use harness::{Ran, Site};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

const LOG: &str = "/var/log/glexec/log";
const TOTALS: &str = "/var/lib/glexec-metrics/totals.json";
const TO_FILE: &str = "log_destination = \"file\"\nlog_file = \"/var/log/glexec/log\"";

/// Every series and its value.
type Values = BTreeMap<String, f64>;

fn site(lines: &str) -> Site {
    Site::with(&format!("{TO_FILE}\n{lines}"))
}

fn metrics(site: &Site, words: &[&str]) -> Ran {
    site.program(["/usr/sbin/glexec-admin", "metrics"]).words(words).by("root").run()
}

fn counted(site: &Site) -> Values {
    values(&metrics(site, &[]).exited(0).output())
}

fn is_name(word: &str) -> bool {
    let good = |byte: u8| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit();
    word.bytes().all(good) && word.starts_with(|c: char| c.is_ascii_lowercase())
}

/// Strictly what the text format has, 0.0.4: HELP and TYPE once before a metric's samples, which
/// stand together; counters end in _total; a histogram's buckets go upwards to _count.
fn values(text: &str) -> Values {
    let mut found = Values::new();
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helped: Option<&str> = None;
    let mut current = "";
    assert!(text.ends_with('\n'), "{text}");
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect(line);
            assert!(is_name(name) && !kinds.contains_key(name) && !help.contains('\\'), "{line}");
            helped = Some(name);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect(line);
            assert_eq!(helped.take(), Some(name), "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            kinds.insert(name, kind);
            current = name;
        } else {
            let (series, value) = line.rsplit_once(' ').expect(line);
            let name = series.split('{').next().expect(line);
            let suffix = name.strip_prefix(current).expect(line);
            let suffixes = ["_bucket", "_sum", "_count"];
            let fits = if kinds[current] == "histogram" {
                suffixes.contains(&suffix)
            } else {
                suffix.is_empty()
            };
            assert!(fits, "{line}");
            if let Some(labels) = series.strip_prefix(name).and_then(|l| l.strip_prefix('{')) {
                for label in labels.strip_suffix('}').expect(line).split(',') {
                    let (name, value) = label.split_once("=\"").expect(line);
                    let value = value.strip_suffix('"').expect(line);
                    assert!(is_name(name) && !value.contains(['"', '\\']), "{line}");
                }
            }
            let value: f64 = value.parse().expect(line);
            assert!(value >= 0.0 && value.is_finite(), "{line}");
            assert_eq!(found.insert(series.to_owned(), value), None, "twice: {line}");
        }
    }
    assert_eq!(helped, None);
    for (name, _) in kinds.iter().filter(|(_, kind)| **kind == "histogram") {
        let begin = format!("{name}_bucket{{le=\"");
        let bound = |series: &str| {
            let word = series.strip_prefix(&begin)?.strip_suffix("\"}")?;
            word.replace("+Inf", "inf").parse::<f64>().ok()
        };
        let mut buckets: Vec<(f64, f64)> =
            found.iter().filter_map(|(series, value)| Some((bound(series)?, *value))).collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert!(buckets.len() > 2 && buckets.windows(2).all(|w| w[0].1 <= w[1].1), "{buckets:?}");
        let (last, most) = *buckets.last().unwrap();
        assert!(last.is_infinite() && found[&format!("{name}_count")] == most, "{buckets:?}");
        assert!(found.contains_key(&format!("{name}_sum")));
    }
    found
}

#[test]
fn launches_refusals_ends_epilogues_and_stragglers_are_counted() {
    let site = site("");
    site.glexec(["true"]).run().exited(0);
    site.glexec(["sh", "-c", "exit 3"]).run().exited(3);
    site.glexec(["sh", "-c", "kill -9 $$"]).run().exited(137);
    site.glexec(["/nonexistent"]).run().exited(201);
    for _ in 0..2 {
        site.glexec(["true"]).by("other").run().exited(203);
    }
    site.settings(&format!("{TO_FILE}\nepilogue = \"{}\"", harness::EPILOGUE));
    site.epilogue("#!/bin/sh\nsleep 0.2\nexit 4\n");
    site.glexec(["sh", "-c", "setsid sleep 600 & exit 0"]).run().exited(202);
    let found = counted(&site);
    for (series, expected) in [
        ("glexec_launches_total{launch=\"linger\"}", 4.0),
        ("glexec_launches_total{launch=\"replace\"}", 0.0),
        ("glexec_refusals_total{reason=\"not-listed\"}", 2.0),
        ("glexec_refusals_total{reason=\"command-not-found\"}", 1.0),
        ("glexec_refusals_total{reason=\"audit\"}", 0.0),
        ("glexec_payload_ends_total{how=\"exit\",number=\"0\"}", 2.0),
        ("glexec_payload_ends_total{how=\"exit\",number=\"3\"}", 1.0),
        ("glexec_payload_ends_total{how=\"signal\",number=\"9\"}", 1.0),
        ("glexec_epilogues_total{by=\"run\",result=\"exit\"}", 1.0),
        ("glexec_epilogues_total{by=\"sweep\",result=\"ok\"}", 0.0),
        ("glexec_stragglers_total", 1.0),
        ("glexec_stragglers_left_total", 0.0),
        ("glexec_epilogue_seconds_count", 1.0),
        ("glexec_epilogue_seconds_bucket{le=\"0.1\"}", 0.0),
        ("glexec_log_odd_lines_total", 0.0),
        ("glexec_log_gaps_total", 0.0),
        ("glexec_runs{state=\"owed\"}", 0.0),
    ] {
        assert_eq!(found.get(series), Some(&expected), "{series}: {found:#?}");
    }
    let sum = found["glexec_epilogue_seconds_sum"];
    assert!((0.2..60.0).contains(&sum), "{sum}");
    // Asked again, nothing is counted again.
    assert_eq!(counted(&site), found);
    let json: serde_json::Value =
        serde_json::from_str(&metrics(&site, &["--json"]).exited(0).output()).unwrap();
    let refusals = json.as_array().unwrap().iter().find(|f| f["name"] == "glexec_refusals_total");
    let samples = refusals.unwrap()["samples"].as_array().unwrap();
    let listed = samples.iter().find(|sample| sample["labels"]["reason"] == "not-listed");
    assert_eq!(listed.unwrap()["value"], 2.0);
    // Every reason there is, so that the first one is an increase.
    assert_eq!(samples.len(), contract::Reason::ALL.len());
}

#[test]
fn what_is_owed_is_seen_and_so_is_who_pays_it() {
    let site = site(&format!("epilogue = \"{}\"", harness::EPILOGUE));
    let running = site.glexec(["sleep", "600"]).with_status().start();
    running.started();
    assert_eq!(counted(&site)["glexec_runs{state=\"live\"}"], 1.0);
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    let found = counted(&site);
    assert_eq!(found["glexec_runs{state=\"owed\"}"], 1.0);
    assert_eq!(found["glexec_launches_total{launch=\"linger\"}"], 1.0);
    assert_eq!(found["glexec_epilogue_seconds_count"], 0.0);
    super::debts::sweep(&site).exited(0);
    let found = counted(&site);
    assert_eq!(found["glexec_runs{state=\"owed\"}"], 0.0);
    assert_eq!(found["glexec_epilogues_total{by=\"sweep\",result=\"ok\"}"], 1.0);
    assert_eq!(found["glexec_epilogue_seconds_count"], 1.0);
}

#[test]
fn a_rotated_log_is_counted_to_its_end_and_the_new_one_from_its_begin() {
    const ENDS: &str = "glexec_payload_ends_total{how=\"exit\",number=\"7\"}";
    let site = site("");
    let by_root = |text: &str| {
        site.shell(text).by("root").run().exited(0);
    };
    let wait = "while [ ! -e /var/lib/site/flag ]; do sleep 0.02; done; exit 7";
    let running = site.glexec(["sh", "-c", wait]).with_status().start();
    running.started();
    site.glexec(["sh", "-c", "exit 7"]).run().exited(7);
    assert_eq!(counted(&site)[ENDS], 1.0);
    site.glexec(["sh", "-c", "exit 7"]).run().exited(7);
    by_root(&format!("mv {LOG} {LOG}.1"));
    site.glexec(["sh", "-c", "exit 7"]).run().exited(7);
    assert_eq!(counted(&site)[ENDS], 3.0);
    // The first run writes its end into the file that it began in.
    site.file("/var/lib/site/flag", "", 0o644);
    running.wait().exited(7);
    assert_eq!(counted(&site)[ENDS], 4.0);
    // Twice between two calls, a copy beside them, and what is compressed.
    site.glexec(["sh", "-c", "exit 7"]).run().exited(7);
    by_root(&format!(
        "gzip -c {LOG}.1 > {LOG}.3.gz; mv {LOG}.1 {LOG}.2; cp {LOG} {LOG}-20261129; mv {LOG} {LOG}.1"
    ));
    site.glexec(["sh", "-c", "exit 7"]).run().exited(7);
    let found = counted(&site);
    assert_eq!((found[ENDS], found["glexec_log_gaps_total"]), (6.0, 0.0));
    assert_eq!(found["glexec_launches_total{launch=\"linger\"}"], 6.0);
    // Gone, not renamed: whether anything was missed cannot be told, and that is told.
    by_root(&format!("rm {LOG}"));
    site.glexec(["sh", "-c", "exit 7"]).run().exited(7);
    let found = counted(&site);
    assert_eq!((found[ENDS], found["glexec_log_gaps_total"]), (7.0, 1.0));
    assert_eq!(counted(&site), found);
}

#[test]
fn a_line_that_is_torn_counts_once_it_is_whole() {
    let site = site("");
    site.glexec(["true"]).run().exited(0);
    let before = counted(&site);
    let line = "glexec[1] 2026-11-29T13:00:00Z warning: banned: caller x: no exit_code=203\n";
    let (begin, end) = line.split_at(40);
    let append = |text: &str| {
        let mut log = site.read(LOG);
        log.push_str(text);
        std::fs::write(site.path(LOG), log).unwrap();
    };
    append(begin);
    assert_eq!(counted(&site), before);
    append(end);
    let found = counted(&site);
    assert_eq!(found["glexec_refusals_total{reason=\"banned\"}"], 1.0);
    // Torn for good, with the next line behind it: odd, and the one after that is read.
    append(&format!("{begin}{line}{line}"));
    let found = counted(&site);
    assert_eq!(found["glexec_log_odd_lines_total"], 1.0);
    assert_eq!(found["glexec_refusals_total{reason=\"banned\"}"], 2.0);
}

#[test]
fn a_callers_loop_makes_nothing_longer_and_its_words_count_for_nothing() {
    let site = site("");
    let forged = "\" launch=replace epilogue=no run=1 lost_lines=99 id=\"";
    site.glexec(["true", forged]).env("GLEXEC_ID", forged).run().exited(0);
    site.glexec(["true"]).by("other").env("GLEXEC_ID", forged).run().exited(203);
    let (before, size) = (counted(&site), site.read(TOTALS).len());
    assert_eq!(before["glexec_launches_total{launch=\"replace\"}"], 0.0);
    assert_eq!(before["glexec_launches_total{launch=\"linger\"}"], 1.0);
    assert_eq!(before["glexec_log_lost_lines_total"], 0.0);
    let text =
        "i=0; while [ $i -lt 200 ]; do $GLEXEC \"x$i: caller y\" 2>&-; i=$((i + 1)); done; true";
    site.shell(text).by("other").run().exited(0);
    let found = counted(&site);
    assert_eq!(found["glexec_refusals_total{reason=\"not-listed\"}"], 201.0);
    assert_eq!(found.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert!(site.read(TOTALS).len() < size + 20, "{}", site.read(TOTALS));
}

#[test]
fn a_textfile_is_replaced_whole_and_nowhere_else() {
    let site = site("");
    site.glexec(["true"]).run().exited(0);
    const TEXTFILE: &str = "/var/lib/prometheus/node-exporter/glexec.prom";
    // As Debian has it: the upper one is the daemon's.
    let (uid, gid) = (harness::accounts::named("other").uid, harness::accounts::named("other").gid);
    site.directory("/var/lib/prometheus", (uid, gid), 0o755);
    site.directory("/var/lib/prometheus/node-exporter", (0, 0), 0o755);
    site.file("/root/other", "untouched", 0o600);
    site.link("/root/other", TEXTFILE);
    let write = format!("umask 077; /usr/sbin/glexec-admin metrics --textfile {TEXTFILE}");
    let ran = site.shell(&write).by("root").run();
    assert_eq!(ran.exited(0).output(), "");
    assert_eq!(site.read("/root/other"), "untouched");
    let meta = std::fs::symlink_metadata(site.path(TEXTFILE)).unwrap();
    assert!(meta.is_file() && meta.uid() == 0);
    assert_eq!(meta.permissions().mode() & 0o7777, 0o644);
    assert_eq!(values(&site.read(TEXTFILE)), counted(&site));
    let within = || std::fs::read_dir(site.path("/var/lib/prometheus/node-exporter")).unwrap();
    assert_eq!(within().count(), 1);
    // Where it cannot be done the file stays, and nothing is lost.
    let before = site.read(TEXTFILE);
    site.glexec(["true"]).run().exited(0);
    site.mode("/var/lib/prometheus/node-exporter", 0o777);
    let ran = metrics(&site, &["--textfile", TEXTFILE]);
    assert!(ran.exited(2).error().contains("writable by everybody"), "{ran:#?}");
    assert_eq!(site.read(TEXTFILE), before);
    assert_eq!(counted(&site)["glexec_launches_total{launch=\"linger\"}"], 2.0);
    let ran = metrics(&site, &["--textfile", "/root/glexec.txt"]);
    assert!(ran.exited(2).error().contains(".prom"), "{ran:#?}");
}

#[test]
fn where_nothing_can_be_counted_a_sentence_says_why() {
    let site = site("");
    site.glexec(["true"]).run().exited(0);
    counted(&site);
    let fails = |part: &str| {
        let ran = metrics(&site, &[]);
        assert!(ran.exited(2).error().contains(part) && ran.output().is_empty(), "{ran:#?}");
    };
    let text = site.read(TOTALS);
    site.file(TOTALS, &text[..text.len() / 2], 0o600);
    fails("remove /var/lib/glexec-metrics/totals.json");
    site.file(TOTALS, &text, 0o666);
    fails("totals.json is writable");
    site.file(TOTALS, &text, 0o600);
    site.mode("/var/lib/glexec", 0o755);
    fails("(state)");
    site.mode("/var/lib/glexec", 0o700);
    site.mode(LOG, 0o622);
    fails("/var/log/glexec/log is writable");
    site.mode(LOG, 0o600);
    let locked = "exec 7>/var/lib/glexec-metrics/lock; flock 7; /usr/sbin/glexec-admin metrics";
    let ran = site.shell(locked).by("root").run();
    assert!(ran.exited(2).error().contains("another glexec-admin metrics"), "{ran:#?}");
    counted(&site);
    // The doctor says it of a timer that is enabled, and of no other.
    let wanted = "/etc/systemd/system/timers.target.wants";
    let enable = format!("mkdir -p {wanted} && ln -s /dev/null {wanted}/glexec-metrics.timer");
    let doctor = || site.program(["/usr/sbin/glexec-admin", "doctor"]).by("root").run().output();
    let finds = || doctor().contains("glexec-metrics.timer is enabled; ");
    site.shell(&enable).by("root").run().exited(0);
    assert!(!finds());
    site.settings("");
    assert!(finds());
    fails("`log_destination = \"file\"`");
    site.settings(&format!("{TO_FILE}\nlog_level = 2"));
    fails("`log_level = 2`");
    site.config("rubbish");
    fails("(malformed)");
    let ran = site.program(["/usr/sbin/glexec-admin", "metrics"]).run();
    assert!(ran.exited(2).error().contains("for root only"), "{ran:#?}");
}

/// Every text under the key `expr`, wherever it stands.
fn queries(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            found.extend(map.get("expr").and_then(|expr| expr.as_str()).map(str::to_owned));
            map.values().for_each(|value| queries(value, found));
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

#[test]
fn dashboard_alerts_and_document_name_only_metrics_that_exist_and_the_document_all_of_them() {
    let site = site("");
    let found = counted(&site);
    let names: Vec<&str> = found.keys().map(|series| series.split('{').next().unwrap()).collect();
    let dashboard = serde_json::from_str(include_str!("../../conf/metrics/grafana.json")).unwrap();
    let mut asked = Vec::new();
    queries(&dashboard, &mut asked);
    assert!(asked.len() > 5, "{asked:?}");
    let document = include_str!("../../docs/metrics.md");
    asked.push(document.to_owned());
    let words = |text: &str| {
        let parts = text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        parts.filter(|word| word.starts_with("glexec_")).map(str::to_owned).collect::<Vec<_>>()
    };
    for text in &asked {
        assert!(!words(text).is_empty(), "{text}");
        for word in words(text).iter().filter(|word| *word != "glexec_epilogue_seconds") {
            assert!(names.contains(&word.as_str()), "{word} in {text}");
        }
    }
    for name in names {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let name = format!("`{}`", base.unwrap_or(name));
        assert!(document.contains(&name), "docs/metrics.md does not have {name}");
    }
}
