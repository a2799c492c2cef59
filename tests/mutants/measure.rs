//! Trying edits: the number goes into the built programs, the tests run, and who fails has noticed.

use crate::edits::Edit;
use crate::table;
use anyhow::{Context as _, Result, bail, ensure};
use memchr::memmem;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Where the digits are.
const MARK: &[u8] = b"GLEXEC-MUTANT:";
/// How long the tests that are named for an edit may take: one that hangs has been noticed.
const NAMED: &str = "240";
/// How long everything may take.
const WHOLE: &str = "1800";

/// What became of an edit.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// A test failed: which.
    Noticed(String),
    Unnoticed,
}

/// Where things are.
#[derive(Debug)]
pub(crate) struct Place {
    /// Copies of what was built, with a number in them.
    dist: PathBuf,
    /// Every program that has a place for a number, and where.
    switches: Vec<(PathBuf, u64)>,
    /// The programs of the unit tests.
    units: Vec<PathBuf>,
    /// The unmutated end-to-end tests.
    suites: Vec<(String, PathBuf)>,
    log: PathBuf,
}

impl Place {
    pub(crate) fn new(directory: &Path, dist: &Path) -> Result<Self> {
        let built: Vec<PathBuf> = fs::read_dir(directory.join("target/dist/trial"))
            .context("what was built of the mutated sources")?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        let units = crate::packages(directory)?.into_iter().map(|package| {
            // Programs without a library have their unit tests in themselves.
            let kind = directory.join(&package).join("src/lib.rs");
            let kind = if kind.exists() { "--lib" } else { "--bins" };
            let manifest = format!("{package}/Cargo.toml");
            executable(directory, &["test", "--manifest-path", &manifest, kind])
        });
        let units = units.collect::<Result<Vec<_>>>()?;
        let suites = ["launcher", "legacy", "slurm", "condor"].map(|suite| {
            let words = ["test", "--package", "e2e", "--test", suite];
            Ok((suite.to_owned(), executable(Path::new("."), &words)?))
        });
        let suites = suites.into_iter().collect::<Result<_>>()?;
        fs::create_dir_all(dist).with_context(|| dist.display().to_string())?;
        let dist = fs::canonicalize(dist)?;
        let log = dist.with_file_name("log");
        let copy = |from: &PathBuf| {
            let to = dist.join(from.file_name().unwrap_or_default());
            fs::copy(from, &to).with_context(|| from.display().to_string()).map(|_| to)
        };
        let units = units.iter().map(copy).collect::<Result<Vec<_>>>()?;
        let built = built.iter().map(copy).collect::<Result<Vec<_>>>()?;
        let mut switches = Vec::new();
        for path in built.iter().chain(&units) {
            let bytes = fs::read(path)?;
            let places: Vec<usize> = memmem::find_iter(&bytes, MARK).collect();
            ensure!(places.len() <= 1, "{} has {} switches", path.display(), places.len());
            let places = places.into_iter().map(|at| (at + MARK.len()) as u64);
            switches.extend(places.map(|at| (path.clone(), at)));
        }
        let has = |name: &str| switches.iter().any(|(path, _)| path.ends_with(name));
        ensure!(has("glexec") && has("glexec-admin"), "what was built has no switch in it");
        Ok(Self { dist, switches, units, suites, log })
    }

    /// Tries these edits; whether enough of them were noticed.
    pub(crate) fn measure(&self, edits: &[&Edit], whole: bool) -> Result<bool> {
        fs::write(&self.log, "").context("the log")?;
        let tests: BTreeSet<&str> =
            edits.iter().flat_map(|edit| &edit.tests).map(String::as_str).collect();
        for test in &tests {
            self.names(test)?;
        }
        println!("edit 0, which changes nothing, has to pass {} filters", tests.len());
        let all: Vec<&str> = tests.into_iter().collect();
        if let Fate::Noticed(test) = self.tried(0, &all, WHOLE)? {
            bail!("{test} fails without any edit: {}", self.log.display());
        }
        let mut fates = Vec::new();
        for edit in edits {
            let named: Vec<&str> = edit.tests.iter().map(String::as_str).collect();
            let mut fate = self.tried(edit.number, &named, NAMED)?;
            let counts = edit.stays.is_none();
            if matches!(fate, Fate::Unnoticed) && whole && counts {
                fate = self.tried(edit.number, &["unit", ""], WHOLE)?;
            }
            println!("{}", table::line(edit, &fate));
            fates.push((*edit, fate));
        }
        self.activate(0)?;
        Ok(table::show(&fates))
    }

    /// Puts a number into every program.
    fn activate(&self, number: u32) -> Result<()> {
        for (path, at) in &self.switches {
            let program = OpenOptions::new().write(true).open(path);
            let program = program.with_context(|| path.display().to_string())?;
            program.write_all_at(format!("{number:04}").as_bytes(), *at)?;
        }
        Ok(())
    }

    /// Runs these tests with an edit; who failed first.
    fn tried(&self, number: u32, tests: &[&str], limit: &str) -> Result<Fate> {
        self.activate(number)?;
        if tests.iter().any(|test| is_unit(test)) {
            for unit in &self.units {
                let fate = self.run(unit, &[], (number, limit))?;
                if matches!(fate, Fate::Noticed(_)) {
                    return Ok(fate);
                }
            }
        }
        for (suite, program) in &self.suites {
            let filters: Vec<&str> = tests
                .iter()
                .filter(|test| !is_unit(test))
                .filter_map(|test| (suite_of(test).0 == suite).then_some(suite_of(test).1))
                .collect();
            if filters.is_empty() {
                continue;
            }
            let everything = filters.contains(&"");
            let filters = if everything { &[][..] } else { &filters[..] };
            let fate = self.run(program, filters, (number, limit))?;
            if matches!(fate, Fate::Noticed(_)) {
                return Ok(fate);
            }
        }
        Ok(Fate::Unnoticed)
    }

    /// Runs tests. Who fails has to fail once more, alone: a test that a busy machine has kept from
    /// passing has noticed nothing.
    fn run(&self, program: &Path, filters: &[&str], how: (u32, &str)) -> Result<Fate> {
        let (status, text) = self.once(program, filters, how)?;
        if status.success() {
            return Ok(Fate::Unnoticed);
        }
        let failed =
            |line: &str| line.strip_prefix("test ")?.strip_suffix(" ... FAILED").map(str::to_owned);
        let all: Vec<String> = text.lines().filter_map(failed).collect();
        for test in &all {
            if !self.once(program, &["--exact", test], how)?.0.success() {
                return Ok(Fate::Noticed(test.clone()));
            }
        }
        let hung = || Fate::Noticed(format!("{status}: it hung, or killed everybody"));
        Ok(if all.is_empty() { hung() } else { Fate::Unnoticed })
    }

    /// In a pid namespace of its own: a change may have a process of root's signal everybody, and
    /// who hangs must not be left.
    fn once(
        &self,
        program: &Path,
        filters: &[&str],
        (number, limit): (u32, &str),
    ) -> Result<(ExitStatus, String)> {
        // The first process of a namespace has to reap orphans.
        let reaper = "\"$@\"; exit $?";
        let output = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", reaper])
            .args(["mutants", "timeout", "--signal=KILL", limit])
            .arg(program)
            .args(filters)
            .env("GLEXEC_DIST", &self.dist)
            .stdin(Stdio::null())
            .output()
            .context("unshare")?;
        let mut log = OpenOptions::new().append(true).open(&self.log)?;
        writeln!(log, "== edit {number}: {} {filters:?}: {}", program.display(), output.status)?;
        log.write_all(&output.stdout)?;
        Ok((output.status, String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// That there are tests of this name.
    fn names(&self, test: &str) -> Result<()> {
        if is_unit(test) {
            return Ok(());
        }
        let (suite, filter) = suite_of(test);
        let program = self.suites.iter().find(|(name, _)| name == suite);
        let (_, program) = program.with_context(|| format!("{test}: no such suite"))?;
        let output = Command::new(program).args(["--list", filter]).output()?;
        let any = String::from_utf8_lossy(&output.stdout).contains(": test");
        ensure!(any, "no test has {filter} in its name");
        Ok(())
    }
}

fn is_unit(test: &str) -> bool {
    test == "unit"
}

/// Suite and filter; the launcher's where no other is named.
fn suite_of(test: &str) -> (&str, &str) {
    match test.split_once(':') {
        Some((suite, filter)) if !filter.starts_with(':') => (suite, filter),
        _ => ("launcher", test),
    }
}

/// Builds one program of tests and says where it is.
fn executable(directory: &Path, words: &[&str]) -> Result<PathBuf> {
    let output = Command::new("cargo")
        .current_dir(directory)
        .args(words)
        .args(["--no-run", "--message-format=json"])
        .stderr(Stdio::null())
        .output()
        .context("cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let test = message.get("profile")?.get("test")?.as_bool()?;
        let path = message.get("executable")?.as_str()?;
        test.then(|| PathBuf::from(path))
    });
    ensure!(output.status.success(), "cargo {words:?} fails in {}", directory.display());
    found.with_context(|| format!("cargo {words:?} makes no program"))
}
