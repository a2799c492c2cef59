//! What the tests of the sources share.
#![allow(dead_code, reason = "each uses a part")]

use std::fs;
use std::path::{Path, PathBuf};

/// The top of the checkout.
pub(crate) fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A file's lines and their numbers from 0, but for what is there for tests alone.
pub(crate) fn without_tests(text: &str) -> Vec<(usize, &str)> {
    without(text, &["#[cfg(test)]"])
}

/// A file's lines and their numbers from 0, but for the items that have one of these attributes.
pub(crate) fn without<'t>(text: &'t str, attributes: &[&str]) -> Vec<(usize, &'t str)> {
    let mut kept = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(indent) = attributes.iter().find_map(|attribute| line.strip_suffix(attribute))
        else {
            kept.push((number, line));
            continue;
        };
        // One item: up to the brace below its first letter, or a line that ends as a whole item or a
        // field does.
        let (end, brace) = (format!("{indent}}}"), format!("{indent} "));
        let is_last =
            |line: &str| line == end || (!line.starts_with(&brace) && line.ends_with([';', ',']));
        lines.by_ref().find(|(_, line)| is_last(line));
    }
    kept
}

pub(crate) fn sources(under: &Path) -> Vec<PathBuf> {
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

/// A file's path as people write it.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(top()).unwrap().display().to_string()
}

/// What cargo answers in the folder of the setuid program.
pub(crate) fn cargo(words: &[&str]) -> Vec<u8> {
    let told = std::process::Command::new(env!("CARGO"))
        .args(words)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    told.stdout
}

/// Everything that is built or tested with, as cargo knows it.
pub(crate) fn metadata() -> Vec<serde_json::Value> {
    let platform = "--filter-platform=x86_64-unknown-linux-gnu";
    let told = cargo(&["metadata", "--format-version=1", "--locked", platform]);
    let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
    told["packages"].as_array().unwrap().clone()
}
