//! The documents as a book: the README lists every page once, and no link leads nowhere.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use common::top;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every page: those beside the README, and those in docs.
fn pages() -> Vec<PathBuf> {
    let within = |directory: &Path| {
        let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|end| end == "md")).collect::<Vec<_>>()
    };
    let all = [within(top()), within(&top().join("docs"))].concat();
    assert!(all.len() > 20, "{all:?}");
    all
}

/// What stands in brackets behind `]`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// What a heading is called in a link.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let plain = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
    };
    headings.map(plain).collect()
}

#[test]
fn the_readme_lists_every_page_once() {
    let readme = fs::read_to_string(top().join("README.md")).unwrap();
    let book = readme.split_once("\n## Documents\n").unwrap().1.split("\n## ").next().unwrap();
    let listed: Vec<&str> = links(book).filter(|link| link.ends_with(".md")).collect();
    for page in pages() {
        let name = page.strip_prefix(top()).unwrap().to_str().unwrap();
        let count = listed.iter().filter(|link| **link == name).count();
        assert_eq!(count, usize::from(name != "README.md"), "{name} in README.md, Documents");
    }
    let numbers: Vec<&str> =
        book.lines().filter_map(|line| line.split_once(". ")).map(|n| n.0).collect();
    let expected: Vec<String> = (1..=numbers.len()).map(|number| number.to_string()).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn no_link_leads_nowhere() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text).filter(|link| !link.contains("://")) {
            count += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let to = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            let is_there = to.exists()
                && (anchor.is_empty()
                    || anchors(&fs::read_to_string(&to).unwrap()).contains(anchor));
            wrong.extend((!is_there).then(|| format!("{}: {link}", page.display())));
        }
        // Named and not linked.
        for word in text
            .split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | ';' | ':' | '`'))
        {
            let word = word.trim_end_matches('.');
            if word.starts_with("docs/") && word.ends_with(".md") && !top().join(word).exists() {
                wrong.push(format!("{}: {word}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty() && count > 80, "{count}: {wrong:#?}");
}
