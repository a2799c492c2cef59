//! Whether the tests would notice: one small change of the program at a time, and the tests that
//! should fail with it. See the list, `tests/mutants/edits`, and `tests/mutants/run`.
//!
//! ```text
//! mutants fit                       does every edit of the list still fit the sources?
//! mutants write DIRECTORY           copies the sources there and writes every edit in, as a choice
//! mutants measure DIRECTORY DIST    tries them: what was built there, the unmutated tests of here
//! ```
//! Nothing of this is in what is installed: the checkout stays as it is, and a program that was
//! built of the copy has digits in it that say which edit is active.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod edits;
mod measure;
mod table;

use anyhow::{Context as _, Result, bail, ensure};
use edits::Edit;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const LIST: &str = "tests/mutants/edits";

/// What is asked by every choice, and what says which edit is active: digits that `measure` puts
/// into a copy of the built program. Read as memory that may have changed, so that no compiler
/// knows them.
const SWITCH: &str = r#"
//! Which edit is active: tests/mutants.
#![allow(unsafe_code, missing_docs, clippy::all)]
#[used]
static ACTIVE: [u8; 19] = *b"GLEXEC-MUTANT:0000;";
pub fn on(number: u32) -> bool {
    let digits = unsafe { std::ptr::read_volatile(&raw const ACTIVE) };
    number == digits[14..18].iter().fold(0, |n, digit| n * 10 + u32::from(digit - b'0'))
}
"#;

const MANIFEST: &str = "[package]\nname = \"mutant\"\nversion = \"0.0.0\"\nedition = \"2024\"\n";

/// The folder of every package that edits may be in: the workspace's default members.
pub(crate) fn packages(top: &Path) -> Result<Vec<String>> {
    let manifest = fs::read_to_string(top.join("Cargo.toml")).context("Cargo.toml")?;
    let list =
        manifest.split_once("\ndefault-members = [").and_then(|(_, rest)| rest.split_once(']'));
    let (list, _) = list.context("Cargo.toml has no default members")?;
    Ok(list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("mutants: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(words: &[&str]) -> Result<bool> {
    let list =
        fs::read_to_string(LIST).with_context(|| format!("{LIST}: in a checkout, please"))?;
    let all = edits::read(&list).context(LIST)?;
    match words {
        ["fit"] => {
            let changed = changed(&all)?;
            println!("{} edits fit {} files", all.len(), changed.len());
            Ok(true)
        }
        ["write", directory] => write(&all, Path::new(directory)).map(|()| true),
        ["measure", directory, dist, which @ ..] => {
            let (quick, which): (Vec<&str>, Vec<&str>) =
                which.iter().partition(|word| **word == "quick");
            let chosen = chosen(&all, &which)?;
            let place = measure::Place::new(Path::new(directory), Path::new(dist))?;
            place.measure(&chosen, quick.is_empty())
        }
        _ => bail!("fit, write DIRECTORY, or measure DIRECTORY DIST [quick] [AREA|NUMBER...]"),
    }
}

/// The edits of these areas and numbers; without any, all.
fn chosen<'e>(all: &'e [Edit], which: &[&str]) -> Result<Vec<&'e Edit>> {
    let is = |edit: &Edit, word: &str| edit.area == word || edit.number.to_string() == word;
    if let Some(word) = which.iter().find(|word| !all.iter().any(|edit| is(edit, word))) {
        bail!("{word} is no area and no number of {LIST}");
    }
    let wanted = |edit: &&Edit| which.is_empty() || which.iter().any(|word| is(edit, word));
    Ok(all.iter().filter(wanted).collect())
}

/// Every file that an edit changes, with all of its edits. Says of all that do not fit.
fn changed(all: &[Edit]) -> Result<BTreeMap<PathBuf, String>> {
    let mut of_files: BTreeMap<&str, Vec<&Edit>> = BTreeMap::new();
    for edit in all {
        of_files.entry(&edit.file).or_default().push(edit);
    }
    let (mut texts, mut wrong) = (BTreeMap::new(), 0);
    for (file, edits) in of_files {
        let source = fs::read_to_string(file).with_context(|| format!("{file}, of an edit"))?;
        for edit in &edits {
            if let Err(error) = edits::apply(&source, &[edit]) {
                eprintln!("mutants: {error:#}");
                wrong += 1;
            }
        }
        if wrong == 0 {
            texts.insert(PathBuf::from(file), edits::apply(&source, &edits)?);
        }
    }
    ensure!(wrong == 0, "{wrong} edits of {LIST} do not fit the sources any more: adapt them");
    Ok(texts)
}

/// Copies what is built, and writes the edits in.
fn write(all: &[Edit], directory: &Path) -> Result<()> {
    let texts = changed(all)?;
    let target = directory.join("target");
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        // What was built before makes the next build short.
        if entry.path() != target {
            let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
        }
    }
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let sources = [
        "Cargo.toml",
        "Cargo.lock",
        "conf",
        "docs",
        "glexec",
        "hooks-condor",
        "hooks-slurm",
        "tests",
    ];
    let copied = Command::new("cp").arg("-a").args(sources).arg(directory).status()?;
    ensure!(copied.success(), "the sources cannot be copied to {}", directory.display());
    for (file, text) in texts {
        fs::write(directory.join(&file), text).with_context(|| file.display().to_string())?;
    }
    // A crate of its own, which every package may ask: the same name and the same number everywhere.
    let switch = directory.join("mutant");
    fs::create_dir_all(switch.join("src"))?;
    fs::write(switch.join("Cargo.toml"), MANIFEST)?;
    fs::write(switch.join("src/lib.rs"), SWITCH.trim_start())?;
    for package in &packages(directory)? {
        let manifest = directory.join(package).join("Cargo.toml");
        let up = "../".repeat(package.split('/').count());
        let text = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
        let with = format!("[dependencies]\nmutant = {{ path = \"{up}mutant\" }}\n");
        ensure!(text.contains("[dependencies]\n"), "{} has no dependencies", manifest.display());
        fs::write(&manifest, text.replacen("[dependencies]\n", &with, 1))?;
    }
    Ok(())
}
