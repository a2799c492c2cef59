//! The walls of the house: which room may use which (docs/architecture.md). In one crate nothing
//! else keeps an arrow from pointing up.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

use std::fs;
use std::path::{Path, PathBuf};

/// Each wing and what it may name of the crate, besides itself.
const ARROWS: [(&str, &[&str]); 6] = [
    ("contract", &[]),
    ("decide", &["contract"]),
    ("observe", &["contract", "decide"]),
    ("act", &["contract", "decide"]),
    ("report", &["contract", "decide"]),
    ("hook", &["contract", "decide", "act"]),
];

/// Every room there is, the ones on the top floor included.
const ROOMS: [&str; 12] = [
    "contract", "decide", "observe", "act", "report", "admin", "carry", "lookups", "settings",
    "sweep", "bin", "hook",
];

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
fn unsafe_code_is_in_one_room_of_the_setuid_program_and_each_block_says_why() {
    // A program of its own, with nothing of root's, that loads the site's name services.
    const HELPER: &str = "bin/glexec-accounts/module.rs";
    let (mut wrong, mut blocks) = (Vec::new(), 0);
    for path in sources(&house()) {
        let text = fs::read_to_string(&path).unwrap();
        let place = path.strip_prefix(house()).unwrap().display().to_string();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains("unsafe {") || code.contains("unsafe extern") {
                blocks += 1;
                if !place.starts_with("act/sys/") && place != HELPER {
                    wrong.push(format!("src/{place}:{}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty() && blocks > 0, "unsafe outside act/sys: {wrong:?}");
}

#[test]
fn nothing_that_may_fail_is_unwrapped_in_shipped_code() {
    let mut wrong = Vec::new();
    for path in sources(&house()).into_iter().filter(|p| !p.ends_with("tests.rs")) {
        let text = fs::read_to_string(&path).unwrap();
        let shipped = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for (number, line) in shipped.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let panics = [".unwrap()", ".expect(", "panic!(", "unreachable!(", "todo!("];
            if panics.iter().any(|word| code.contains(word)) {
                let place = path.strip_prefix(house()).unwrap().display();
                wrong.push(format!("src/{place}:{}: {}", number + 1, line.trim()));
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
