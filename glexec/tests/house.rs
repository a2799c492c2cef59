//! The walls of the house: which room may use which (docs/architecture.md). Between crates cargo sees
//! to it; within one nothing else keeps an arrow from pointing up.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

use std::fs;
use std::path::{Path, PathBuf};

/// Each folder of the setuid program and what it may name of that crate, besides itself. What the
/// crates may name of each other is in their Cargo.toml: cargo allows no circle.
const ARROWS: [(&str, &[&str]); 4] =
    [("decide", &[]), ("observe", &["decide"]), ("act", &["decide"]), ("report", &["decide"])];

/// Every folder and file there is, the ones on the top floor included.
const ROOMS: [&str; 9] =
    ["decide", "observe", "act", "report", "admin", "carry", "lookups", "settings", "sweep"];

/// A file's lines and their numbers from 0, but for what is there for tests alone.
fn without_tests(text: &str) -> Vec<(usize, &str)> {
    let mut kept = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(indent) = line.strip_suffix("#[cfg(test)]") else {
            kept.push((number, line));
            continue;
        };
        // One item: a line that ends with a semicolon, or up to the brace below its first letter.
        let (end, brace) = (format!("{indent}}}"), format!("{indent} "));
        let is_last =
            |line: &str| line == end || (!line.starts_with(&brace) && line.ends_with(';'));
        lines.by_ref().find(|(_, line)| is_last(line));
    }
    kept
}

/// Every crate that is shipped.
const PACKAGES: [&str; 6] =
    ["glexec", "glexec/adapter", "glexec/contract", "glexec/system", "hooks-condor", "hooks-slurm"];

fn sources(under: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(under).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

fn house() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// What is shipped, of every crate.
fn shipped() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for package in PACKAGES {
        found.extend(sources(&top.join(package).join("src")));
    }
    found
}

/// A file's path as people write it.
fn shown(path: &Path) -> String {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    path.strip_prefix(top).unwrap().display().to_string()
}

/// The rooms that a line of code names with `crate::`, alone or in a list.
fn named(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let words = match rest.strip_prefix('{') {
            Some(list) => list.split(',').collect(),
            None => vec![rest],
        };
        for word in words {
            let name = word.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_');
            rooms.push(name.collect::<String>());
        }
    }
    rooms.retain(|room| ROOMS.contains(&room.as_str()));
    rooms
}

#[test]
fn no_arrow_points_up() {
    let mut wrong = Vec::new();
    for (wing, may) in ARROWS {
        for path in sources(&house().join(wing)) {
            let text = fs::read_to_string(&path).unwrap();
            for (number, line) in text.lines().enumerate() {
                for room in named(line) {
                    if room != wing && !may.contains(&room.as_str()) {
                        let place = path.strip_prefix(house()).unwrap().display();
                        wrong.push(format!("src/{place}:{}: {wing} names {room}", number + 1));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_is_in_one_folder_and_each_block_says_why() {
    // A program of its own, with nothing of root's, that loads the site's name services.
    const HELPER: &str = "glexec/src/bin/glexec-accounts/module.rs";
    let (mut wrong, mut blocks) = (Vec::new(), 0);
    for path in shipped() {
        let text = fs::read_to_string(&path).unwrap();
        let place = shown(&path);
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains("unsafe {") || code.contains("unsafe extern") {
                blocks += 1;
                if !place.starts_with("glexec/system/src/kernel/") && place != HELPER {
                    wrong.push(format!("{place}:{}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty() && blocks > 0, "unsafe outside system::kernel: {wrong:?}");
}

#[test]
fn nothing_that_may_fail_is_unwrapped_in_shipped_code() {
    let mut wrong = Vec::new();
    for path in shipped().into_iter().filter(|p| !p.ends_with("tests.rs")) {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in without_tests(&text) {
            let code = line.split("//").next().unwrap_or_default();
            let panics = [".unwrap()", ".expect(", "panic!(", "unreachable!(", "todo!("];
            if panics.iter().any(|word| code.contains(word)) {
                wrong.push(format!("{}:{}: {}", shown(&path), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Everything that is built or tested with, as cargo knows it.
fn packages() -> Vec<serde_json::Value> {
    let words = ["metadata", "--format-version=1", "--locked", "--filter-platform"];
    let told = std::process::Command::new(env!("CARGO"))
        .args(words)
        .arg("x86_64-unknown-linux-gnu")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    told["packages"].as_array().unwrap().clone()
}

#[test]
fn every_dependency_has_a_licence_that_is_accepted_and_comes_from_crates_io() {
    const ACCEPTED: [&str; 3] = ["MIT", "Apache-2.0", "Unicode-3.0"];
    let all = packages();
    assert!(all.len() > 30, "{}", all.len());
    for package in &all {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or_default();
        // Every part of an AND needs one of its alternatives.
        let parts = licence.split(" AND ").map(|part| part.trim_matches(['(', ')']));
        let accepted = |part: &str| {
            part.split(" OR ").flat_map(|one| one.split('/')).any(|one| ACCEPTED.contains(&one))
        };
        assert!(parts.into_iter().all(accepted), "{name}: {licence:?}");
        let source = package["source"].as_str();
        let known = "registry+https://github.com/rust-lang/crates.io-index";
        assert!(source.is_none_or(|source| source == known), "{name}: {source:?}");
    }
}

#[test]
fn the_test_itself_sees_what_it_looks_for() {
    assert_eq!(named("use crate::act::root::Root;"), ["act"]);
    assert_eq!(named("use crate::{act, report, settings};"), ["act", "report", "settings"]);
    assert_eq!(named("let x = crate::report::print(\"\"); // crate::act"), ["report"]);
    assert!(named("use crate::Walk;").is_empty());
}
