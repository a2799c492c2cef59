//! The walls of the house: which crate may stand on which (docs/architecture.md), where unsafe code
//! is, and what shipped code never does.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use common::{cargo, metadata, shown, sources, top, without, without_tests};
use std::fs;
use std::path::{Path, PathBuf};

/// Every crate of glexec's and which of the others it may stand on.
const ARROWS: [(&str, &[&str]); 16] = [
    ("about", &[]),
    ("contract", &[]),
    ("system", &[]),
    ("decide", &["contract", "system"]),
    ("act", &["contract", "decide", "system"]),
    ("report", &["contract", "decide", "system"]),
    ("observe", &["act", "contract", "decide", "system"]),
    ("recovery", &["about", "act", "contract", "decide", "observe", "report", "system"]),
    ("", &["act", "contract", "decide", "observe", "report", "system"]),
    ("adapter", &["contract", "system"]),
    (
        "admin",
        &[
            "about", "act", "adapter", "contract", "decide", "observe", "recovery", "report",
            "system",
        ],
    ),
    ("accounts", &["about"]),
    ("credential", &["about", "system"]),
    ("lcmaps", &["about", "system"]),
    ("manual", &["about", "admin", "contract", "decide", "tools"]),
    ("tools", &["about"]),
];

/// The folder of every crate that is shipped: the workspace's default members.
fn packages() -> Vec<String> {
    let manifest = fs::read_to_string(top().join("Cargo.toml")).unwrap();
    let list = manifest.split("\ndefault-members = [").nth(1).unwrap().split(']').next().unwrap();
    let found: Vec<String> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(found.len() > 10, "{found:?}");
    found
}

/// What is shipped, of every crate.
fn shipped() -> Vec<PathBuf> {
    packages().iter().flat_map(|package| sources(&top().join(package).join("src"))).collect()
}

/// The crates of this workspace that a crate's Cargo.toml names under `[dependencies]`.
fn stands_on(manifest: &str) -> Vec<String> {
    let after = manifest.split("[dependencies]\n").nth(1).unwrap();
    let lines = after.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split(['.', ' ', '=']).next());
    let own = |name: &&str| ARROWS.iter().any(|(crate_, _)| crate_ == name);
    names.filter(|name| !name.is_empty()).filter(own).map(str::to_owned).collect()
}

#[test]
fn every_crate_stands_on_what_it_may_and_on_nothing_else() {
    let house = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, may) in ARROWS {
        let manifest = fs::read_to_string(house.join(name).join("Cargo.toml")).unwrap();
        assert_eq!(stands_on(&manifest), may, "glexec/{name}/Cargo.toml");
    }
}

#[test]
fn what_decides_asks_the_kernel_nothing() {
    let mut wrong = Vec::new();
    let house = Path::new(env!("CARGO_MANIFEST_DIR")).join("decide/src");
    for path in sources(&house) {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in without_tests(&text) {
            let asks = ["kernel", "process", "secure_open"]
                .iter()
                .any(|module| line.contains(&format!("system::{module}")))
                || [
                    "std::fs",
                    "std::env",
                    "std::process",
                    "std::net",
                    "SystemTime",
                    "Instant::now",
                ]
                .iter()
                .any(|word| line.contains(word));
            if asks || line.contains("use system::{") {
                wrong.push(format!("{}:{}: {}", shown(&path), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_is_in_one_folder_and_each_block_says_why() {
    // Programs of their own that load the site's code: its name services, with nothing of root's, and
    // LCMAPS, as root.
    const HELPERS: [&str; 2] = ["glexec/accounts/src/module.rs", "glexec/lcmaps/src/library.rs"];
    // The budget of the crate: a block more is a block that this number tells of. One of them,
    // fnmatch(3), is not in the setuid program: glexec-credential alone calls it.
    const BUDGET: usize = 25;
    let (mut wrong, mut blocks) = (Vec::new(), 0);
    for path in shipped() {
        let text = fs::read_to_string(&path).unwrap();
        let place = shown(&path);
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains("unsafe {") || code.contains("unsafe extern") {
                if place.starts_with("glexec/system/src/kernel/") {
                    blocks += 1;
                } else if !HELPERS.contains(&place.as_str()) {
                    wrong.push(format!("{place}:{}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty() && blocks > 0, "unsafe outside system::kernel: {wrong:?}");
    assert!(blocks <= BUDGET, "{blocks} unsafe blocks, and a budget of {BUDGET}");
}

/// The options of prctl(2) that code names outside of its texts, but for values of others.
fn options(code: &str) -> impl Iterator<Item = &str> {
    let words = code
        .split('"')
        .step_by(2)
        .flat_map(|code| code.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()));
    words.filter(|word| word.starts_with("PR_") && !word.starts_with("PR_TSC_"))
}

#[test]
fn every_option_of_prctl_is_one_that_the_kernels_list_knows() {
    let mut wrong = Vec::new();
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(top.join("system/src/kernel/calls.rs")).unwrap();
    let list = list.split("\n#[cfg(test)]").next().unwrap();
    let known: Vec<&str> = list.lines().filter(|l| !l.contains("//")).flat_map(options).collect();
    for path in shipped() {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in without_tests(&text) {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(option) = options(code).find(|option| !known.contains(option)) {
                wrong.push(format!("{}:{}: {option}", shown(&path), number + 1));
            }
        }
    }
    assert!(wrong.is_empty() && known.len() > 10, "{}", wrong.join("\n"));
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

#[test]
fn the_setuid_program_has_nothing_in_it_that_only_the_others_need() {
    const OTHERS: [&str; 12] = [
        "anyhow",
        "base64",
        "clap",
        "clap_complete",
        "miniz_oxide",
        "openssl",
        "openssl-sys",
        "serde",
        "serde_core",
        "serde_json",
        "strsim",
        "tracing",
    ];
    let told = cargo(&["tree", "-p", "glexec", "-e", "normal", "--offline", "--prefix", "none"]);
    let told = String::from_utf8(told).unwrap();
    let names = || told.lines().filter_map(|line| line.split(' ').next());
    assert!(names().any(|name| name == "glexec-act"), "{told}");
    let found: Vec<&str> =
        OTHERS.into_iter().filter(|other| names().any(|name| name == *other)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn every_dependency_has_a_licence_that_is_accepted_and_comes_from_crates_io() {
    const ACCEPTED: [&str; 3] = ["MIT", "Apache-2.0", "Unicode-3.0"];
    let all = metadata();
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
fn the_tests_themselves_see_what_they_look_for() {
    let manifest = "[package]\nname = \"x\"\n\n[dependencies]\nact.workspace = true\nnix = \"1\"\n\n[dev-dependencies]\ndecide.workspace = true\n";
    assert_eq!(stands_on(manifest), ["act"]);
    let text = "a\n#[cfg(test)]\nmod tests {\n    b\n}\nc\n    #[cfg(test)]\n    use d;\ne";
    let kept: Vec<&str> = without_tests(text).into_iter().map(|(_, line)| line).collect();
    assert_eq!(kept, ["a", "c", "e"]);
    let text = "s {\n    #[cfg(x)]\n    a: b,\n    c: d,\n}\n#[cfg(x)]\nfn e(\n    f: g,\n) {\n    h,\n}\ni";
    let kept: Vec<&str> = without(text, &["#[cfg(x)]"]).into_iter().map(|(_, line)| line).collect();
    assert_eq!(kept, ["s {", "    c: d,", "}", "i"]);
}
