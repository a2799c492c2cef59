//! What each program says of itself: `--help` and `--version`, the hooks too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Every program that `tests/build` made.
fn programs() -> Vec<PathBuf> {
    let files = fs::read_dir(harness::built()).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = files.filter(|file| !file.ends_with("flavour")).collect();
    found.sort();
    assert!(found.len() > 20, "{found:?}");
    found
}

/// What a program says to this one word, which must be all it does.
fn said(program: &Path, word: &str) -> String {
    let mut call = Command::new(program);
    let told = call.arg(word).env_clear().stdin(Stdio::null()).output().unwrap();
    assert_eq!(told.status.code(), Some(0), "{program:?} {word}: {told:?}");
    assert_eq!(String::from_utf8_lossy(&told.stderr), "", "{program:?} {word}");
    String::from_utf8(told.stdout).unwrap()
}

#[test]
fn every_program_says_how_it_is_called() {
    for program in programs() {
        let name = program.file_name().unwrap().to_str().unwrap();
        let help = said(&program, "--help");
        assert!(help.contains(&format!("Usage: {name}")), "{name}: {help}");
        assert!(help.contains("--help") && help.contains("--version"), "{name}: {help}");
    }
}

#[test]
fn every_program_says_of_which_commit_it_is() {
    let glexec = said(&harness::built().join("glexec"), "--version");
    let (_, build) = glexec.trim_end().split_once('(').unwrap();
    let (commit, flavour) = build.trim_end_matches(')').rsplit_once(", ").unwrap();
    assert_eq!(flavour, harness::flavour());
    for program in programs() {
        let name = program.file_name().unwrap().to_str().unwrap();
        let version = said(&program, "--version");
        let is_dynamic = version == format!("{name} 0.1.0 ({commit}, shared glibc)\n");
        let is_static = version == format!("{name} 0.1.0 ({commit}, {flavour})\n");
        assert!(is_dynamic || is_static, "{name}: {version}");
    }
}
