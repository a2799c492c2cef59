//! Every command line of README.md and docs, executed as it stands there, or known to be executed by
//! another test.
//!
//! A command is an indented line, and in the text what stands in backquotes and begins with
//! `glexec-admin `. What is in a fence is no command, but a file (`toml`) or what is shown (`text`).

mod lines;

use harness::{CONFIG, Site, built};
use lines::{How, PAGES, Page};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the checkout is in a site: its `conf`, and what is built as a release's.
const CHECKOUT: &str = "/srv/checkout";
/// Where a command of a page has left the shell.
const DIRECTORY: &str = "/run/directory";

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// README.md and every page of docs.
fn documents() -> Vec<String> {
    let pages = fs::read_dir(top().join("docs")).unwrap().map(|e| e.unwrap().file_name());
    let pages = pages.map(|name| format!("docs/{}", name.into_string().unwrap()));
    let mut all: Vec<String> = pages.filter(|name| name.ends_with(".md")).collect();
    all.push("README.md".to_owned());
    all.sort();
    assert!(all.len() > 20, "{all:?}");
    all
}

/// A line without its comment; nothing where it is one.
fn without_comment(line: &str) -> Option<&str> {
    let line = line.split(" #").next().unwrap_or(line).trim();
    (!line.is_empty() && !line.starts_with('#')).then_some(line)
}

/// The commands of a page in their order, each once.
fn commands(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut is_fenced = false;
    let mut loop_: Option<String> = None;
    for line in text.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            assert!(is_fenced || ["toml", "text"].contains(&language), "a fence of {language:?}");
            is_fenced = !is_fenced;
        } else if is_fenced {
            continue;
        } else if let Some(indented) = line.strip_prefix("    ") {
            let Some(command) = without_comment(indented) else { continue };
            let whole = match loop_.take() {
                Some(begin) => format!("{begin}\n{command}"),
                None => command.to_owned(),
            };
            // Over several lines to its `done`.
            if whole.starts_with("for ") && !whole.ends_with("done") {
                loop_ = Some(whole);
            } else {
                found.push(whole);
            }
        } else {
            let spans = line.split('`').skip(1).step_by(2);
            found.extend(spans.filter(|span| span.starts_with("glexec-admin ")).map(str::to_owned));
        }
    }
    assert_eq!((is_fenced, loop_), (false, None), "something is not closed");
    let mut seen = BTreeSet::new();
    found.retain(|command| seen.insert(command.clone()));
    found
}

fn commands_of(page: &str) -> Vec<String> {
    commands(&fs::read_to_string(top().join(page)).unwrap())
}

#[test]
fn commands_are_found_where_they_stand() {
    let text = "x\n\n    one  # why\n    # two\n    for a in b; do\n        three\n    done\n\n```toml\n    key = 1\n```\n`glexec-admin show`, `glexec`\n    one\n";
    assert_eq!(commands(text), ["one", "for a in b; do\nthree\ndone", "glexec-admin show"]);
}

#[test]
fn every_command_line_of_the_documents_is_executed_and_no_other_is_listed() {
    let mut wrong = Vec::new();
    let documents = documents();
    for page in &documents {
        let listed = PAGES.iter().find(|listed| listed.name == *page);
        let listed: Vec<&str> =
            listed.iter().flat_map(|page| page.lines).map(|(line, _)| *line).collect();
        let stands = commands_of(page);
        let has = |line: &String| listed.contains(&line.as_str());
        wrong.extend(stands.iter().filter(|l| !has(l)).map(|l| format!("{page}: no test: {l}")));
        let stale = listed.iter().filter(|line| !stands.iter().any(|l| l == *line));
        wrong.extend(stale.map(|line| format!("{page}: does not stand there: {line}")));
        let once: BTreeSet<&&str> = listed.iter().collect();
        assert_eq!(once.len(), listed.len(), "{page}: a line is listed twice");
    }
    for page in PAGES {
        assert!(documents.iter().any(|name| name == page.name), "{} is no document", page.name);
        for (line, how) in page.lines {
            wrong.extend(elsewhere(how).map(|why| format!("{}: {line}: {why}", page.name)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What is wrong with the word that another test executes a line.
fn elsewhere(how: &How) -> Option<String> {
    match how {
        How::In(test, part) => {
            let text = fs::read_to_string(top().join(test)).unwrap_or_default();
            let has = text.lines().any(|line| line.contains(part));
            (!has).then(|| format!("{test} has no {part:?}"))
        }
        How::Program(path) => {
            use std::os::unix::fs::PermissionsExt as _;
            let meta = fs::metadata(top().join(path));
            let good = meta.is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0);
            (!good).then(|| format!("{path} is no program of this checkout"))
        }
        How::Exits(_) | How::ByPilot(_) | How::With { .. } | How::Names => None,
    }
}

/// A site with the checkout in it, what a page expects to be there, and what no site has: a systemd
/// and an HTCondor that answer.
fn site(page: &Page) -> Site {
    let site = if page.is_bare { Site::bare().unwrap() } else { Site::new() };
    if !page.is_bare {
        site.config(&format!(
            "[glexec]\nuser_white_list = [\"pilot\"]\nkill_grace = 1\n{}\n[[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload001\"\n",
            page.settings
        ));
    }
    site.directory(&format!("{CHECKOUT}/target/dist/release"), (0, 0), 0o755);
    let mut directories = vec![top().join("conf")];
    while let Some(directory) = directories.pop() {
        let inside = directory.strip_prefix(top()).unwrap().to_str().unwrap();
        site.directory(&format!("{CHECKOUT}/{inside}"), (0, 0), 0o755);
        for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            use std::os::unix::fs::PermissionsExt as _;
            let inside = path.strip_prefix(top()).unwrap().to_str().unwrap();
            let mode = path.metadata().unwrap().permissions().mode() & 0o7777;
            site.install(&path, &format!("{CHECKOUT}/{inside}"), mode).unwrap();
        }
    }
    let installs = page.lines.iter().any(|(line, _)| line.contains("target/dist/release"));
    let programs = fs::read_dir(built()).unwrap().map(Result::unwrap).filter(|_| installs);
    for entry in programs {
        let name = entry.file_name().into_string().unwrap();
        let inside = format!("{CHECKOUT}/target/dist/release/{name}");
        site.install(&entry.path(), &inside, 0o755).unwrap();
    }
    let passwd = site.read("/etc/passwd");
    let more = [("payload001", 42_901), ("payload002", 42_902)];
    let lines = more.map(|(name, id)| format!("{name}:x:{id}:{id}::/home/{name}:/bin/sh\n"));
    site.file("/etc/passwd", passwd + &lines.concat(), 0o644);
    let group = site.read("/etc/group");
    let lines = more.map(|(name, id)| format!("{name}:x:{id}:\n"));
    site.file("/etc/group", group + &lines.concat(), 0o644);
    // su(1) asks for their passwords' age.
    let names = harness::accounts::all().into_iter().map(|account| account.name);
    let names = names.chain(more.map(|(name, _)| name.to_owned()));
    let shadow: String = names.map(|name| format!("{name}:*:19000:0:99999:7:::\n")).collect();
    site.file("/etc/shadow", shadow, 0o600);
    for (name, id) in more {
        site.directory(&format!("/home/{name}"), (id, id), 0o700);
    }
    for (name, text) in lines::STAND_INS {
        site.file(&format!("/usr/local/sbin/{name}"), text, 0o755);
    }
    site.file(DIRECTORY, CHECKOUT, 0o644);
    let none = "rm -rf /etc/condor /etc/slurm /etc/slurm-llnl /usr/local/etc/slurm.conf";
    by_root(&site, &format!("{none}; {}", page.before));
    site
}

fn by_root(site: &Site, text: &str) {
    let path = "PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH";
    let call = site.shell(&format!("{path}; {text}")).by("root");
    call.within_time(Duration::from_secs(120)).run().exited(0);
}

fn executes(name: &str) {
    let page = PAGES.iter().find(|page| page.name == name).unwrap();
    let mut wrong = Vec::new();
    let mut site_of_page = site(page);
    for line in commands_of(name) {
        let Some((_, how)) = page.lines.iter().find(|(known, _)| *known == line) else { continue };
        let (text, who, code) = match how {
            How::In(..) | How::Program(_) => continue,
            How::Exits(code) => (line.clone(), "root", *code),
            How::ByPilot(code) => (line.clone(), "pilot", *code),
            How::Names => (format!("{line} --help"), "root", 0),
            How::With { before, stands_for, code } => {
                if *before == lines::ANEW {
                    // The old one first: a thread that has a site must not ask for another alone.
                    drop(site_of_page);
                    site_of_page = site(page);
                } else {
                    by_root(&site_of_page, before);
                }
                let text = stands_for.iter().fold(line.clone(), |t, (a, b)| t.replace(a, b));
                (text, "root", *code)
            }
        };
        let script = format!(
            "PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH\ncd \"$(cat {DIRECTORY})\"\n{text}\ncode=$?\n[ $(id -u) != 0 ] || pwd >{DIRECTORY}\nexit $code"
        );
        let call = site_of_page.program(["/bin/sh", "-c", &script]).by(who);
        let ran = call.within_time(Duration::from_secs(120)).run();
        if ran.code() != code {
            let (out, error) = (ran.output(), ran.error());
            let told = ran.code();
            wrong.push(format!("{line}: {told} and not {code}: {out}{error}; {:#?}", ran.log));
        }
    }
    let config = site_of_page.read(CONFIG);
    assert!(wrong.is_empty(), "{}\n{config}", wrong.join("\n"));
}

/// A test for each page that has a line which is executed here, in the order of the README.
macro_rules! pages {
    ($($test:ident = $page:literal;)*) => {
        $(#[test] fn $test() { executes($page); })*

        #[test]
        fn every_page_is_executed() {
            let here = |page: &&Page| page.lines.iter().any(|(_, how)| !matches!(how, How::In(..) | How::Program(_)));
            let expected: Vec<&str> = PAGES.iter().filter(here).map(|page| page.name).collect();
            assert_eq!([$($page),*].as_slice(), expected);
        }
    };
}

pages! {
    the_readmes_lines_work = "README.md";
    the_lines_for_callers_work = "docs/callers.md";
    the_lines_of_the_configuration_work = "docs/configuration.md";
    the_lines_of_the_epilogue_work = "docs/epilogue.md";
    the_lines_of_credentials_work = "docs/credentials.md";
    the_lines_of_hand_over_work = "docs/hand-over.md";
    the_lines_of_the_migration_work = "docs/migration.md";
    the_lines_for_slurm_work = "docs/slurm.md";
    the_lines_for_htcondor_work = "docs/htcondor.md";
    the_lines_for_old_htcondors_work = "docs/htcondor-legacy.md";
    the_lines_of_the_administration_work = "docs/administration.md";
    the_lines_of_operations_work = "docs/operations.md";
    the_lines_of_the_sweep_work = "docs/sweep.md";
    the_lines_of_the_metrics_work = "docs/metrics.md";
    the_lines_against_trouble_work = "docs/troubleshooting.md";
    the_lines_about_reasons_work = "docs/reasons.md";
    the_lines_about_streams_work = "docs/streams.md";
    the_lines_about_packages_work = "docs/packages.md";
}
