//! Whether the man pages have everything that the programs have, and whether those who show them
//! understand them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use contract::{Reason, variables};
use std::fs;
use std::path::Path;
use std::process::Command;

const DATE: &str = "2026-01-31";

/// What a reader sees of a page.
fn seen(name: &str) -> String {
    let pages = manual::pages(DATE);
    let page = pages.iter().find(|page| page.path.ends_with(name)).expect(name);
    manual::shown(&page.text)
}

/// Whether a page has this as a whole word.
fn has(page: &str, word: &str) -> bool {
    let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    page.match_indices(word).any(|(at, _)| {
        let before = page[..at].chars().next_back();
        let after = page[at + word.len()..].chars().next();
        !before.is_some_and(is_of_word) && !after.is_some_and(is_of_word)
    })
}

fn all_are_in<'w>(name: &str, words: impl Iterator<Item = &'w str>) {
    let page = seen(name);
    let (mut count, mut missing) = (0, Vec::new());
    for word in words {
        count += 1;
        missing.extend(Some(word).filter(|word| !has(&page, word)));
    }
    assert!(count > 0 && missing.is_empty(), "{name} lacks {missing:?} of {count}");
}

#[test]
fn every_option_of_glexec_is_in_its_page() {
    all_are_in("glexec.1", contract::options().flat_map(|(ways, ..)| ways.split(", ")));
}

#[test]
fn every_reason_and_every_exit_code_is_in_the_page_of_glexec() {
    all_are_in("glexec.1", Reason::ALL.iter().map(|reason| reason.word()));
    all_are_in(
        "glexec.1",
        Reason::ALL.iter().map(|reason| reason.meaning().trim()).map(first_line),
    );
    all_are_in("glexec.1", ["201", "202", "203", "204", "126", "127", "128+n"].into_iter());
}

/// Up to where a page breaks it.
fn first_line(text: &str) -> &str {
    text.split(['`', '.']).next().unwrap_or(text).trim()
}

#[test]
fn the_page_of_reasons_is_what_explain_says() {
    let page = include_str!("../../../docs/reasons.md");
    let how = "write it anew: cargo run -p glexec-manual -- /tmp/manual 2026-01-31, and copy /tmp/manual/reasons.md to docs";
    assert!(page == manual::document().text, "docs/reasons.md is not the table's; {how}");
    for reason in Reason::ALL {
        assert!(page.contains(&format!("\n### {}\n", reason.word())), "{}", reason.word());
    }
}

/// Every reason that a source of a hook's has in its sentences: `(202 word)`.
fn reasons_of_hooks() -> Vec<String> {
    let mut found = Vec::new();
    let mut directories =
        ["hooks-condor/src", "hooks-slurm/src"].map(|d| Path::new("../..").join(d)).to_vec();
    while let Some(directory) = directories.pop() {
        for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for code in ["(201 ", "(202 ", "(203 "] {
                let words = text.split(code).skip(1).filter_map(|rest| rest.split_once(')'));
                let words = words.map(|(word, _)| word);
                let is_word =
                    |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
                let words = words.filter(is_word);
                found.extend(words.map(str::to_owned));
            }
        }
    }
    found
}

#[test]
fn every_reason_that_a_hook_gives_is_explained() {
    let page = manual::document().text;
    let own = hooks_condor::OWN_REASONS.map(str::to_owned).to_vec();
    for word in [own, reasons_of_hooks()].concat() {
        assert!(page.contains(&format!("\n### {word}\n")), "{word}");
    }
}

/// The first two columns of a table's rows below a heading.
fn rows<'p>(page: &'p str, heading: &str) -> Vec<(&'p str, &'p str)> {
    let below = page.split_once(&format!("\n## {heading}\n")).expect(heading).1;
    let below = below.split("\n## ").next().unwrap();
    let rows = below.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.trim_matches('|').split(" | ").map(str::trim);
        (cells.next().unwrap(), cells.next().unwrap())
    })
    .collect()
}

#[test]
fn the_page_for_callers_has_the_programs_own_options_and_variables() {
    let page = include_str!("../../../docs/callers.md");
    let options: Vec<(String, String)> = contract::options()
        .map(|(ways, value, help)| {
            let words = format!("{ways} {value}");
            (format!("`{}`", words.trim_end()), help.to_owned())
        })
        .collect();
    let told = rows(page, "Options");
    assert_eq!(told.len(), options.len(), "{told:?}");
    for ((name, text), (option, help)) in told.iter().zip(&options) {
        assert!(name == option && text.starts_with(help), "{name}: {text}, and not {help}");
    }
    let told = rows(page, "Variables");
    assert_eq!(told.len(), variables::ALL.len(), "{told:?}");
    for ((name, text), (variable, says)) in told.iter().zip(variables::ALL) {
        assert_eq!(*name, format!("`{variable}`"));
        assert_eq!(*text, says.trim(), "{name}");
    }
    let codes: Vec<&str> = rows(page, "Exit codes").iter().map(|(code, _)| *code).collect();
    let own = [
        contract::FOUND_NOT_EXECUTABLE,
        contract::NOT_FOUND,
        contract::CALLER_MUST_ACT,
        contract::ADMIN_MUST_ACT,
        contract::REFUSED,
        contract::COLLISION,
    ];
    assert_eq!(codes, own.map(|code| format!("`{code}`")));
}

#[test]
fn every_variable_is_in_a_page() {
    all_are_in("glexec.1", variables::ALL.iter().map(|(name, _)| *name));
    let names: Vec<String> =
        variables::epilogue::ALL.iter().map(|(name, _)| variables::of_epilogue(name)).collect();
    let follows = |name: &String| match name.as_str() {
        "GLEXEC_EPILOG_ARGV" => "GLEXEC_EPILOG_ARGVN".to_owned(),
        "GLEXEC_EPILOG_JOB_" => "GLEXEC_EPILOG_JOB_NAME".to_owned(),
        name => name.to_owned(),
    };
    let names: Vec<String> = names.iter().map(follows).collect();
    all_are_in("glexec-epilogue.7", names.iter().map(String::as_str));
}

#[test]
fn every_key_is_in_the_page_of_the_configuration() {
    let keys: Vec<_> = decide::config::documented().collect();
    assert!(keys.len() > 60, "{}", keys.len());
    all_are_in("glexec.toml.5", keys.iter().map(|key| key.name));
    all_are_in("glexec.toml.5", keys.iter().map(|key| key.table).filter(|t| !t.is_empty()));
}

#[test]
fn every_word_of_glexec_admin_is_in_its_page() {
    let command = admin::command_line();
    let mut words = Vec::new();
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        words.push(format!("glexec-admin {}", sub.get_name()));
        let longs = sub.get_arguments().filter_map(clap::Arg::get_long);
        words.extend(longs.map(|long| format!("--{long}")));
    }
    assert!(words.len() > 15, "{words:?}");
    all_are_in("glexec-admin.8", words.iter().map(String::as_str));
}

#[test]
fn every_program_of_an_adapter_is_in_its_page() {
    all_are_in("glexec-slurm.7", hooks_slurm::about::PROGRAMS.iter().map(|program| program.name));
    all_are_in("glexec-condor.7", hooks_condor::about::PROGRAMS.iter().map(|program| program.name));
}

#[test]
fn every_tool_has_a_page_with_its_options() {
    for (page, options) in [
        ("glexec-wrapenv.1", &["glexec-wrapenv", "--exclude"][..]),
        ("glexec-unwrapenv.1", &["glexec-unwrapenv", "--exclude", "GLEXEC_ENV"]),
        ("mkgltempdir.8", &["mkgltempdir", "-h", "-t", "-m", "-r", "-f"]),
    ] {
        all_are_in(page, options.iter().copied());
    }
}

/// What a command says of a file that it shows; nothing where all is well.
fn complaints(command: &str, words: &[&str], file: &Path) -> String {
    let told = Command::new(command).args(words).arg(file).output();
    let told = told.unwrap_or_else(|error| {
        panic!("{command} is missing ({error}); install mandoc and groff-base, as tests/run does")
    });
    let [out, err] = [told.stdout, told.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let code = told.status.code();
    out + &err + &if code == Some(0) { String::new() } else { format!("exit code {code:?}") }
}

#[test]
fn what_shows_man_pages_has_nothing_to_say_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let wrong = directory.path().join("wrong.1");
    fs::write(&wrong, ".TH WRONG 1 2026-01-31\n.SH NAME\nwrong \\- a page\n.XX\n\\fQ\n").unwrap();
    let lint = ["-T", "lint", "-W", "warning"];
    let warn = ["-man", "-Tutf8", "-ww", "-z"];
    assert_ne!(complaints("mandoc", &lint, &wrong), "");
    assert_ne!(complaints("groff", &warn, &wrong), "");
    for page in manual::pages(DATE) {
        let file = directory.path().join(page.path.file_name().unwrap());
        fs::write(&file, &page.text).unwrap();
        assert_eq!(complaints("mandoc", &lint, &file), "", "{}", page.path.display());
        assert_eq!(complaints("groff", &warn, &file), "", "{}", page.path.display());
    }
}

/// What bash completes the last of these words to.
fn completed(script: &Path, words: &[&str]) -> Vec<String> {
    let (name, last) = (words[0], words[words.len() - 1]);
    let text = format!(
        "set -e; source '{}'; COMP_WORDS=({}); COMP_CWORD={}
        by=$(complete -p {name}); by=${{by#*-F }}; ${{by%% *}} {name} '{last}' '' || :
        printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        words.join(" "),
        words.len() - 1,
    );
    let told = Command::new("bash").args(["--norc", "-c", &text]).output().unwrap();
    assert!(told.status.success(), "{told:?}");
    String::from_utf8(told.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_options() {
    let directory = tempfile::tempdir().unwrap();
    let bash = manual::completions().into_iter().filter(|f| f.path.starts_with("completions/bash"));
    for file in bash {
        fs::write(directory.path().join(file.path.file_name().unwrap()), &file.text).unwrap();
    }
    let admin = directory.path().join("glexec-admin");
    assert_eq!(completed(&admin, &["glexec-admin", "swe"]), ["sweep"]);
    assert_eq!(completed(&admin, &["glexec-admin", "sweep", "--dr"]), ["--drop"]);
    assert_eq!(completed(&admin, &["glexec-admin", "rehearse"]), [""]);
    let glexec = directory.path().join("glexec");
    assert_eq!(completed(&glexec, &["glexec", "--stat"]), ["--status-fd"]);
}
