//! The same job natively and under glexec, side by side: docs/fidelity.md is what these tests find.

use crate::Look;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// What was found of one job, aspect by aspect in their order.
#[derive(Debug, Default, Clone)]
pub struct Findings {
    rows: Vec<(String, String)>,
    variables: BTreeMap<String, String>,
}

/// Why something is otherwise under glexec: the aspect, or the variable's name, and a sentence.
pub type Why = (&'static str, &'static str);

impl Findings {
    /// What a program sees of itself; `tidy` takes out what is another one's each time.
    pub fn of(look: &Look, tidy: impl Fn(&str) -> String) -> Self {
        let mut found = Self::default();
        let standard = |n: i32| look.descriptors.get(&n).map_or("closed".to_owned(), |to| tidy(to));
        found.add("working directory", tidy(&look.directory));
        found.add("umask", format!("{:03o}", look.umask));
        found.add("stdin, stdout, stderr", (0..3).map(standard).collect::<Vec<_>>().join(", "));
        let more = look.descriptors.iter().filter(|(n, _)| **n > 2);
        let more: Vec<_> = more.map(|(n, to)| format!("{n}: {}", tidy(to))).collect();
        found.add("other descriptors", or_none(more.join(", ")));
        let arguments: Vec<_> =
            look.arguments.iter().skip(1).map(|word| format!("`{word}`")).collect();
        found.add("arguments", arguments.join(" "));
        for (name, (soft, hard)) in &look.limits {
            found.add(&format!("limit {name}"), format!("{} / {}", limit(*soft), limit(*hard)));
        }
        found.add("nice", look.nice.to_string());
        // 32 to 34 are the C libraries' own.
        let [blocked, ignored] = [look.blocked, look.ignored].map(|set| set & !(7 << 31));
        found.add("signals blocked, ignored", format!("{blocked:x}, {ignored:x}"));
        let [pid, _, group, session] = look.ids;
        let leads = |leads| if leads { "its own" } else { "another's" };
        found.add("process group", leads(group == pid).to_owned());
        found.add("session", leads(session == pid).to_owned());
        found.add("terminal", if look.terminal == 0 { "none" } else { "one" }.to_owned());
        found.add("no_new_privs", look.no_new_privs.to_string());
        let effective = look.capabilities.get(2).copied().unwrap_or_default();
        found.add("capabilities", format!("{effective:x}"));
        for entry in &look.environment {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            found.variables.insert(tidy(name), tidy(value));
        }
        found
    }

    /// One aspect more.
    pub fn add(&mut self, aspect: &str, value: String) {
        self.rows.push((aspect.to_owned(), value));
    }

    /// The table of both, with the reason where they differ.
    ///
    /// # Panics
    /// Where they differ and no reason is given, and where a reason is given and they do not.
    pub fn beside(&self, ours: &Self, reasons: &[Why]) -> String {
        let mut used = Vec::new();
        let mut wrong = Vec::new();
        let mut why = |aspect: &str, native: &str, under: &str| {
            if native == under {
                return "equal".to_owned();
            }
            let reason = reasons.iter().find(|(known, _)| *known == aspect);
            used.extend(reason.map(|(known, _)| *known));
            if reason.is_none() {
                wrong.push(format!("{aspect}: {native} natively, {under} under glexec"));
            }
            reason.map_or_else(String::new, |(_, why)| (*why).to_owned())
        };
        let mut table = String::from("| | natively | under glexec | |\n|---|---|---|---|\n");
        for ((aspect, native), (_, under)) in self.rows.iter().zip(&ours.rows) {
            let why = why(aspect, native, under);
            // What is the machine's is not told, where it is the same.
            let [native, under] = match aspect.strip_prefix("limit ") {
                Some(_) if native == under => ["the daemon's", "the daemon's"],
                _ => [native.as_str(), under],
            };
            let _ = writeln!(table, "| {aspect} | {native} | {under} | {why} |");
        }
        let mut equal = Vec::new();
        let names: std::collections::BTreeSet<&String> =
            self.variables.keys().chain(ours.variables.keys()).collect();
        for name in names {
            let value =
                |of: &Self| of.variables.get(name).map_or("not set".to_owned(), Clone::clone);
            let (native, under) = (value(self), value(ours));
            let why = why(name, &native, &under);
            if native == under {
                equal.push(format!("`{name}`"));
            } else {
                let _ = writeln!(table, "| `{name}` | {native} | {under} | {why} |");
            }
        }
        if !equal.is_empty() {
            let _ = writeln!(table, "| other variables | {} | the same | equal |", equal.join(" "));
        }
        let idle = reasons.iter().map(|(name, _)| *name).filter(|name| !used.contains(name));
        wrong.extend(idle.map(|name| format!("{name}: a reason is given, and nothing differs")));
        assert!(wrong.is_empty() && self.rows.len() == ours.rows.len(), "{wrong:#?}\n{table}");
        table
    }
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}

fn limit(value: u64) -> String {
    if value == u64::MAX { "none".to_owned() } else { value.to_string() }
}

/// That docs/fidelity.md has this table under this heading. With `GLEXEC_WRITE_FIDELITY` set it is put
/// there.
///
/// # Panics
/// Where it has another, or none.
pub fn documented(heading: &str, table: &str) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fidelity.md");
    let text = fs::read_to_string(&page).expect("the page");
    let heading = format!("## {heading}\n\n");
    let start = text.find(&heading).map(|at| at + heading.len());
    let before = start.map_or_else(|| format!("{text}\n{heading}"), |at| text[..at].to_owned());
    let after = start.map_or("", |at| text[at..].find("\n## ").map_or("", |end| &text[at + end..]));
    let new = format!("{before}{table}{after}");
    if std::env::var_os("GLEXEC_WRITE_FIDELITY").is_some() {
        fs::write(&page, new).expect("a page that can be written");
    } else {
        assert!(text == new, "docs/fidelity.md is not what was found: {heading}{table}");
    }
}
