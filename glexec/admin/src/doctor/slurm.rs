//! Slurm's side, as the hooks' own check tells it.

use super::{Finding, ask};
use std::path::Path;
use std::time::Duration;

/// Where Slurm's configuration is: packages, and a node that has it of its controller.
const CONFIGURATIONS: [&str; 4] = [
    "/etc/slurm/slurm.conf",
    "/etc/slurm-llnl/slurm.conf",
    "/usr/local/etc/slurm.conf",
    "/run/slurm/conf/slurm.conf",
];
/// What looks at it.
const CHECK: &str = "/usr/libexec/glexec/glexec-slurm-prolog";
/// It asks slurmctld, and has glexec checked.
const LIMIT: Duration = Duration::from_secs(120);

/// Whether this is a node of Slurm's.
pub(super) fn is_here() -> bool {
    CONFIGURATIONS.iter().any(|path| Path::new(path).exists())
}

/// What is wrong, but for what `known` says already.
pub(super) fn findings(known: &[String]) -> Vec<Finding> {
    if !Path::new(CHECK).exists() {
        let text = format!(
            "{CHECK} is not there: jobs run without glexec's hooks; install them (docs/slurm.md)"
        );
        return vec![Finding::warning("slurm", text)];
    }
    match ask(CHECK, &["--check"], LIMIT) {
        Ok(answer) => read(&answer.stdout, answer.code, known),
        Err(sentence) => vec![Finding::error("slurm", sentence)],
    }
}

fn read(told: &str, code: Option<i32>, known: &[String]) -> Vec<Finding> {
    let mut found = Vec::new();
    let is_known = |text: &str| {
        known.iter().any(|known| known.contains(text) || text.contains(known.as_str()))
    };
    for line in told.lines() {
        let (word, text) = line.split_once(' ').unwrap_or((line, ""));
        let text = text.trim_start();
        if !text.is_empty() && is_known(text) {
            continue;
        }
        match word {
            "ERROR" => found.push(Finding::error("slurm", text)),
            "WARNING" => found.push(Finding::warning("slurm", text)),
            _ => found.push(Finding::error("slurm", format!("{CHECK} --check says: {line}"))),
        }
    }
    // Whoever says nothing and is not content has not looked.
    if told.is_empty() && code != Some(0) {
        let text = format!("{CHECK} --check ended without a word; run it by hand");
        found.push(Finding::error("slurm", text));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn what_the_hooks_check_says_is_told_and_nothing_twice() {
        let told = "ERROR    slurm.conf in force cannot be looked at\nWARNING  no nohold\nERROR    a (missing)\nodd\n";
        let found = read(told, Some(1), &["a (missing)".to_owned()]);
        let shown: Vec<_> = found.iter().map(|f| (f.level, f.text.as_str())).collect();
        let odd = format!("{CHECK} --check says: odd");
        assert_eq!(
            shown,
            [
                (Level::Error, "slurm.conf in force cannot be looked at"),
                (Level::Warning, "no nohold"),
                (Level::Error, odd.as_str()),
            ]
        );
        assert!(read("", Some(0), &[]).is_empty());
        assert_eq!(read("", Some(1), &[]).len(), 1);
        assert_eq!(read("", None, &[]).len(), 1);
    }
}
