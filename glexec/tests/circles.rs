//! No file of a crate needs itself by way of others. What a module has its own children use, as Rust
//! means it, is no arrow; everything else that `use` and paths name is, through lists, `super::super`
//! and other names.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use common::{shown, sources, top, without_tests};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module by its names below the crate's root.
type Module = Vec<String>;

fn module_of(path: &Path, src: &Path) -> Module {
    let below = path.strip_prefix(src).unwrap().with_extension("");
    let mut names: Module = below.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    let roots: &[&str] = if names.len() == 1 { &["lib", "main"] } else { &["mod"] };
    if names.last().is_some_and(|name| roots.contains(&name.as_str())) {
        names.pop();
    }
    names
}

/// A `use` tree, or another path, as single paths.
fn flat(tree: &str, before: &[String], into: &mut BTreeSet<Module>) {
    match tree.split_once('{') {
        None => {
            let path = tree.split(" as ").next().unwrap();
            let names = path.split("::").map(|name| name.trim().to_owned());
            into.insert(before.iter().cloned().chain(names).collect());
        }
        Some((head, list)) => {
            let head = head.trim().trim_end_matches("::");
            let names = head.split("::").filter(|name| !name.is_empty()).map(str::to_owned);
            let before: Module = before.iter().cloned().chain(names).collect();
            let (mut depth, mut begin) = (0, 0);
            let list = list.trim_end().strip_suffix('}').unwrap();
            for (at, letter) in list.char_indices().chain([(list.len(), ',')]) {
                match letter {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        let item = list[begin..at].trim();
                        if !item.is_empty() {
                            flat(item, &before, into);
                        }
                        begin = at + 1;
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Every path that a file names.
fn paths(text: &str) -> BTreeSet<Module> {
    let lines = without_tests(text).into_iter().map(|(_, line)| line);
    let code = lines.map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let item = line.trim_start();
        let item = item.strip_prefix("pub").map_or(item, |rest| {
            let rest = rest.trim_start();
            rest.split_once(')').filter(|_| rest.starts_with('(')).map_or(rest, |(_, rest)| rest)
        });
        let Some(tree) = item.trim_start().strip_prefix("use ") else { continue };
        let mut tree = tree.to_owned();
        while !tree.contains(';') {
            tree += lines.next().unwrap();
        }
        flat(tree.split(';').next().unwrap(), &[], &mut found);
    }
    let is_of_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let words = code.split(|letter| !is_of_path(letter));
    for word in words.filter(|word| word.contains("::")) {
        flat(word.trim_matches(':'), &[], &mut found);
    }
    found
}

/// The module that a path of `own` begins in; `None` where it is of another crate.
fn resolved(
    path: &[String],
    own: &[String],
    modules: &BTreeMap<Module, PathBuf>,
) -> Option<Module> {
    let mut at: Module = own.to_vec();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => at.clear(),
        "self" => {}
        "super" => {
            at.pop();
        }
        child => {
            at.push(child.to_owned());
            if !modules.contains_key(&at) {
                return None;
            }
        }
    }
    rest = rest.get(1..)?;
    while let Some((name, further)) = rest.split_first() {
        if name == "super" {
            at.pop();
        } else {
            at.push(name.clone());
            if !modules.contains_key(&at) {
                at.pop();
                break;
            }
        }
        rest = further;
    }
    Some(at)
}

/// From each module to those that it needs, but for its ancestors and itself.
fn arrows(src: &Path) -> BTreeMap<Module, BTreeSet<Module>> {
    let files = sources(src).into_iter().filter(|path| !path.starts_with(src.join("bin")));
    let modules: BTreeMap<Module, PathBuf> =
        files.filter(|p| !p.ends_with("tests.rs")).map(|p| (module_of(&p, src), p)).collect();
    let needs = |(own, path): (&Module, &PathBuf)| {
        let text = fs::read_to_string(path).unwrap();
        let needed = paths(&text).into_iter().filter_map(|path| resolved(&path, own, &modules));
        (own.clone(), needed.filter(|module| !own.starts_with(module)).collect())
    };
    modules.iter().map(needs).collect()
}

/// What is left where every module is taken away that nobody needs, or that needs nobody.
fn circles(mut arrows: BTreeMap<Module, BTreeSet<Module>>) -> BTreeMap<Module, BTreeSet<Module>> {
    loop {
        let needed: BTreeSet<Module> = arrows.values().flatten().cloned().collect();
        let before = arrows.len();
        arrows.retain(|module, needs| !needs.is_empty() && needed.contains(module));
        let left: BTreeSet<Module> = arrows.keys().cloned().collect();
        arrows.values_mut().for_each(|needs| needs.retain(|module| left.contains(module)));
        if arrows.len() == before {
            return arrows;
        }
    }
}

#[test]
fn no_file_of_a_crate_needs_itself_by_way_of_others() {
    let folders = ["glexec", "hooks-condor", "hooks-slurm"].map(|name| top().join(name));
    let crates = folders
        .iter()
        .flat_map(|folder| sources(folder))
        .filter(|path| path.ends_with("src/lib.rs") || path.ends_with("src/main.rs"))
        .map(|path| path.parent().unwrap().to_owned())
        .collect::<BTreeSet<_>>();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for src in &crates {
        let arrows = arrows(src);
        count += arrows.values().map(BTreeSet::len).sum::<usize>();
        for (module, needs) in circles(arrows) {
            let needs: Vec<String> = needs.iter().map(|module| module.join("::")).collect();
            wrong.push(format!("{}: {} -> {}", shown(src), module.join("::"), needs.join(", ")));
        }
    }
    assert!(crates.len() > 12 && count > 300, "{} crates, {count} arrows", crates.len());
    assert!(wrong.is_empty(), "{count} arrows, and circles:\n{}", wrong.join("\n"));
}

#[test]
fn a_circle_is_seen_through_lists_and_other_names() {
    let found =
        paths("use crate::{\n    a::{self, B as C},\n    d,\n};\nfn f() { super::e::g(); }\n");
    let found: Vec<String> = found.iter().map(|path| path.join("::")).collect();
    for path in ["crate::a::self", "crate::a::B", "crate::d", "super::e::g"] {
        assert!(found.contains(&path.to_owned()), "{path} in {found:?}");
    }
    let arrow = |from: &str, to: &[&str]| {
        (vec![from.to_owned()], to.iter().map(|name| vec![(*name).to_owned()]).collect())
    };
    let three = [arrow("a", &["b"]), arrow("b", &["c", "d"]), arrow("c", &["a"]), arrow("d", &[])];
    assert_eq!(circles(three.into()).len(), 3);
    let none = [arrow("a", &["b", "c"]), arrow("b", &["c"]), arrow("c", &[])];
    assert!(circles(none.into()).is_empty());
}
