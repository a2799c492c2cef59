//! How large the setuid program may be: what is in it, an untrusted user can reach. Each number is
//! what it is today or less; who needs more says why in the commit that raises it.
//! `tests/budgets` prints them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, clippy::print_stdout)]

mod common;

use common::{cargo, metadata, shown, sources, top, without};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// The crates whose code is in it.
const SETUID: [&str; 7] = [
    "glexec",
    "glexec/act",
    "glexec/contract",
    "glexec/decide",
    "glexec/observe",
    "glexec/report",
    "glexec/system",
];

/// What is in the same files and not in it: tests, and what only the other programs are built with.
const NOT_IN_IT: [&str; 2] = ["#[cfg(test)]", "#[cfg(feature = \"read\")]"];

/// Lines of code of all of it: no blank lines, comments or tests.
const LINES: usize = 16_020;
/// Lines of code of one file.
const LINES_OF_FILE: usize = 300;
/// Crates of others that its own crates name.
const DEPENDENCIES: usize = 5;
/// All crates of others that are linked into it.
const CRATES: usize = 12;

fn code(path: &PathBuf) -> usize {
    let text = fs::read_to_string(path).unwrap();
    let lines = without(&text, &NOT_IN_IT).into_iter().map(|(_, line)| line.trim());
    lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

fn files() -> Vec<(PathBuf, usize)> {
    let all = SETUID.iter().flat_map(|package| sources(&top().join(package).join("src")));
    // Built for the other programs only: the feature `read` of decide.
    let others =
        ["tests.rs", "recorded_run.rs", "entry/read.rs", "config/show.rs", "config/migrate.rs"];
    let is_built = |path: &PathBuf| !others.iter().any(|other| path.ends_with(other));
    all.filter(is_built).map(|path| (path.clone(), code(&path))).collect()
}

/// What `cargo tree` says of the program alone, as it is built to be installed.
fn linked() -> BTreeSet<String> {
    let words =
        ["tree", "-p", "glexec", "-e", "normal,no-proc-macro", "--offline", "--prefix", "none"];
    let text = String::from_utf8(cargo(&words)).unwrap();
    // Those of the workspace stand there with their path.
    let others = text.lines().filter(|line| !line.is_empty() && !line.contains("(/"));
    let names = others.filter_map(|line| line.split(' ').next()).map(str::to_owned);
    names.filter(|name| !name.starts_with("glexec")).collect()
}

fn direct() -> BTreeSet<String> {
    let own: Vec<String> = SETUID.iter().map(|path| path.replace('/', "-")).collect();
    let mut found = BTreeSet::new();
    for package in metadata() {
        if !own.iter().any(|name| package["name"] == name.as_str()) {
            continue;
        }
        for dependency in package["dependencies"].as_array().unwrap() {
            let normal = dependency["kind"].is_null() && dependency["optional"] == false;
            if normal && dependency["path"].is_null() {
                found.insert(dependency["name"].as_str().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn the_setuid_program_stays_within_its_budgets() {
    let files = files();
    let lines: usize = files.iter().map(|(_, lines)| lines).sum();
    println!("code lines of the setuid program: {lines} of {LINES}");
    for package in SETUID {
        let below = top().join(package).join("src");
        let of: usize =
            files.iter().filter(|(path, _)| path.starts_with(&below)).map(|(_, n)| n).sum();
        println!("    {package}: {of}");
    }
    let mut largest = files.clone();
    largest.sort_by_key(|(_, lines)| std::cmp::Reverse(*lines));
    for (path, lines) in largest.iter().take(5) {
        println!("    {}: {lines} of {LINES_OF_FILE}", shown(path));
    }
    let (direct, all) = (direct(), linked());
    println!("crates of others: {} named ({direct:?}) of {DEPENDENCIES}", direct.len());
    println!("    {} linked ({all:?}) of {CRATES}", all.len());
    assert!(lines > 1000 && lines <= LINES, "{lines} lines of code, and {LINES} are allowed");
    for (path, lines) in files {
        assert!(lines <= LINES_OF_FILE, "{}: {lines} lines of code", shown(&path));
    }
    assert!((1..=DEPENDENCIES).contains(&direct.len()), "{direct:?}");
    assert!((1..=CRATES).contains(&all.len()), "{all:?}");
}
