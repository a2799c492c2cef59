//! Leases in a gridmapdir: LCMAPS's cases (tests/vectors/lcmaps), and many processes at once. To be
//! run as root, as every test that makes a file of root's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use act::gridmapdir::{Gridmapdir, Wanted};
use act::root::Root;
use decide::gridmapdir::lease_name;
use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

fn root() -> Root {
    Root::of_this_process().expect("run as root: leases are root's files")
}

fn opened(directory: &Path) -> Gridmapdir {
    let file = fs::File::open(directory).unwrap();
    Gridmapdir::of(file.into(), directory.to_str().unwrap())
}

/// An account of the pool for a subject, as a run takes it; `None` where there is none for it.
fn lease(
    directory: &Path,
    subject: &str,
    pool: &str,
    exists: impl Fn(&str) -> bool,
) -> Option<String> {
    let name = lease_name(subject)?;
    let wanted = Wanted { subject, lease: &name, pool, take: true };
    let account = opened(directory).account(&|| Ok(root()), &wanted, &mut |name| Ok(exists(name)));
    account.ok()
}

/// Leases and their accounts.
fn leases(directory: &Path) -> BTreeMap<String, Option<String>> {
    let all: Vec<(String, u64)> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().ino()))
        .collect();
    let (leases, accounts): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(name, _)| name.starts_with('%'));
    let account =
        |inode| accounts.iter().find(|(_, own)| *own == inode).map(|(name, _)| name.clone());
    leases.into_iter().map(|(name, inode)| (name, account(inode))).collect()
}

/// Where glexec answers otherwise than LCMAPS, and why.
const DIFFERS: [(&str, &str); 6] = [
    ("pool-strict-no", "an account of a pool has digits behind the pool's name, without exception"),
    (
        "pool-strict-no-bare",
        "an account of a pool has digits behind the pool's name, without exception",
    ),
    ("pool-moved-override", "a lease that is another pool's is for the site to remove"),
    ("pool-relative-dir", "a relative path is refused where the configuration is read"),
    ("pool-no-passwd", "an account that does not exist is not leased"),
    ("pool-mapcounter-1", "one subject has one account"),
];
/// Cases of what never comes out of a certificate, or of another file than the directory.
const OTHERS: [&str; 8] = [
    "pool-enc-utf8",
    "pool-enc-utf8-end",
    "pool-enc-utf8-collision",
    "pool-mapcounter-2-max2",
    "pool-local-then-pool-both",
    "pool-local-then-pool-none",
    "pool-list-two-pools",
    "pool-wild-bracket-exact",
];

fn plant(case: &Value, directory: &Path) {
    let before = &case["gridmapdir"];
    let list = |key: &str| before[key].as_array().cloned().unwrap_or_default();
    for entry in list("entries") {
        fs::write(directory.join(entry.as_str().unwrap()), "").unwrap();
    }
    for pair in list("leases") {
        let lease = directory.join(pair[0].as_str().unwrap());
        match pair[1].as_str() {
            Some(entry) => fs::hard_link(directory.join(entry), lease).unwrap(),
            None => fs::write(lease, "").unwrap(),
        }
    }
    let outside = directory.with_extension("outside");
    for link in list("extra_links") {
        fs::hard_link(directory.join(link.as_str().unwrap()), &outside).unwrap();
    }
}

/// The first pool of the case's grid-mapfile.
fn pool(case: &Value) -> String {
    let text = case["files"]["grid-mapfile"].as_str().unwrap();
    let words = text.split([' ', ',', '\n']);
    let mut pools = words.filter_map(|word| word.strip_prefix('.'));
    pools.next().unwrap_or_default().to_owned()
}

#[test]
fn leases_are_made_and_kept_as_lcmaps_does_it() {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/lcmaps/vectors.json");
    let all: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let passwd = all["meta"]["passwd"].as_str().unwrap();
    let exists = |name: &str| passwd.lines().any(|line| line.split(':').next() == Some(name));
    let (mut asked, mut wrong) = (0, Vec::new());
    for case in all["vectors"].as_array().unwrap().iter().filter(|c| c["area"] == "gridmapdir") {
        let id = case["id"].as_str().unwrap();
        if OTHERS.contains(&id) {
            continue;
        }
        asked += 1;
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("gridmapdir");
        fs::create_dir(&directory).unwrap();
        plant(case, &directory);
        let account = lease(&directory, case["dn"].as_str().unwrap(), &pool(case), exists);
        let after: BTreeMap<String, Option<String>> =
            serde_json::from_value::<Vec<(String, Option<String>)>>(
                case["expect"]["gridmapdir"]["leases"].clone(),
            )
            .unwrap()
            .into_iter()
            .collect();
        let same = if case["expect"]["uid_any_of"].is_array() {
            account.is_some() && leases(&directory).keys().eq(after.keys())
        } else {
            account.is_some() == (case["expect"]["ok"] == true) && leases(&directory) == after
        };
        if same == DIFFERS.iter().any(|(other, _)| *other == id) {
            wrong.push(format!("{id}: {account:?} {:?}, LCMAPS {after:?}", leases(&directory)));
        }
    }
    assert!(wrong.is_empty() && asked == 28, "{asked} asked\n{}", wrong.join("\n"));
}

#[test]
fn subjects_that_differ_in_case_do_not_share_an_account_that_was_leased_here() {
    let base = tempfile::tempdir().unwrap();
    let directory = base.path().join("gridmapdir");
    fs::create_dir(&directory).unwrap();
    ["p1", "p2"].iter().for_each(|name| fs::write(directory.join(name), "").unwrap());
    let account = |subject: &str| lease(&directory, subject, "p", |_| true);
    let first = account("/CN=Alice").unwrap();
    assert_eq!(account("/CN=ALICE"), None);
    assert_eq!(account("/CN=Alice"), Some(first.clone()));
    assert_eq!(fs::read_to_string(directory.join(&first)).unwrap(), "/CN=Alice");
    // The site has taken it back, and another lease of the same account says whose that is.
    fs::remove_file(directory.join(lease_name("/CN=Alice").unwrap())).unwrap();
    fs::remove_file(directory.join(if first == "p1" { "p2" } else { "p1" })).unwrap();
    assert_eq!(account("/CN=B"), Some(first.clone()));
    assert_eq!((account("/CN=B"), account("/CN=b")), (Some(first), None));
}

/// A gridmapdir with these accounts, and the names that each of its other files has.
fn planted(accounts: &[&str], links: &[(&str, &str)]) -> tempfile::TempDir {
    let base = tempfile::tempdir().unwrap();
    accounts.iter().for_each(|name| fs::write(base.path().join(name), "").unwrap());
    for (account, name) in links {
        fs::hard_link(base.path().join(account), base.path().join(name)).unwrap();
    }
    base
}

#[test]
fn nobody_who_may_read_the_directory_can_hold_up_a_lease() {
    let base = planted(&["p1", "%2fcn%3da"], &[]);
    let users = fs::File::open(base.path()).unwrap();
    let _held = Flock::lock(users, FlockArg::LockExclusive).unwrap();
    assert_eq!(lease(base.path(), "/CN=a", "p", |_| true).as_deref(), Some("p1"));
    // A lock that others can open is none.
    let lock = base.path().join(".glexec.lock");
    assert_eq!(fs::metadata(&lock).unwrap().mode() & 0o7777, 0o600);
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(base.path().join("%2fcn%3da")).unwrap();
    assert_eq!(lease(base.path(), "/CN=a", "p", |_| true), None);
}

#[test]
fn what_an_interrupted_glexec_leaves_is_mended_by_the_next() {
    let account = |base: &tempfile::TempDir, subject| lease(base.path(), subject, "p", |_| true);
    let links = |base: &tempfile::TempDir| fs::metadata(base.path().join("p1")).unwrap().nlink();
    let half = ".glexec.new";
    // Before it had looked whether it was alone: the account was another subject's, or nobody's.
    let base = planted(&["p1"], &[("p1", "%2fcn%3da"), ("p1", half)]);
    assert_eq!((account(&base, "/CN=a").as_deref(), links(&base)), (Some("p1"), 2));
    assert_eq!(account(&base, "/CN=b"), None);
    let base = planted(&["p1"], &[("p1", half)]);
    assert_eq!((account(&base, "/CN=b").as_deref(), links(&base)), (Some("p1"), 2));
    // With another subject's name in it, whose lease would have the same name.
    let base = planted(&["p1"], &[("p1", half)]);
    fs::write(base.path().join("p1"), "/CN=B").unwrap();
    assert_eq!(account(&base, "/CN=b").as_deref(), Some("p1"));
    // While it removed a lease that leads nowhere.
    let base = planted(&["p1", ".glexec.old"], &[("p1", half)]);
    assert_eq!((account(&base, "/CN=a").as_deref(), links(&base)), (Some("p1"), 2));
    assert!(!base.path().join(".glexec.old").exists() && !base.path().join(half).exists());
}

const DIRECTORY: &str = "GLEXEC_TEST_GRIDMAPDIR";
const SUBJECT: &str = "GLEXEC_TEST_SUBJECT";

/// One of the many processes; without the variables there is nothing for it to do.
#[test]
fn one_of_many_takes_its_lease() {
    let (Ok(directory), Ok(subject)) = (std::env::var(DIRECTORY), std::env::var(SUBJECT)) else {
        return;
    };
    std::io::stdout().write_all(b"\nready\n").unwrap();
    let gate = fs::File::open(Path::new(&directory).with_extension("gate")).unwrap();
    let _through = Flock::lock(gate, FlockArg::LockShared).unwrap();
    let account = lease(Path::new(&directory), &subject, "p", |_| true).expect("an account");
    fs::write(
        Path::new(&directory).with_extension(format!("got{}", std::process::id())),
        format!("{subject} {account}"),
    )
    .unwrap();
}

#[test]
fn thirty_two_processes_at_once_get_one_account_each_and_each_subject_keeps_its() {
    const SUBJECTS: usize = 16;
    let test = std::env::current_exe().unwrap();
    for round in 0..16 {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("gridmapdir");
        fs::create_dir(&directory).unwrap();
        for number in 0..SUBJECTS {
            fs::write(directory.join(format!("p{number}")), "").unwrap();
        }
        // A lease that leads nowhere, in every other round, for both of a subject's processes.
        if round % 2 == 1 {
            fs::write(directory.join(lease_name("/CN=s0").unwrap()), "").unwrap();
        }
        let gate = fs::File::create(directory.with_extension("gate")).unwrap();
        let gate = Flock::lock(gate, FlockArg::LockExclusive).unwrap();
        let started = (0..2 * SUBJECTS).map(|number| {
            Command::new(&test)
                .args(["--exact", "one_of_many_takes_its_lease", "--nocapture"])
                .env(DIRECTORY, &directory)
                .env(SUBJECT, format!("/CN=s{}", number % SUBJECTS))
                .output_later()
        });
        let mut started: Vec<_> = started.collect();
        for child in &mut started {
            wait_until_ready(child.stdout.as_mut().unwrap());
        }
        drop(gate);
        for child in started {
            let ended = child.wait_with_output().unwrap();
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
        }
        let got: Vec<String> = fs::read_dir(base.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.extension().is_some_and(|end| end.as_encoded_bytes().starts_with(b"got"))
            })
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        assert_eq!(got.len(), 2 * SUBJECTS);
        let pairs: BTreeSet<(String, String)> = got
            .iter()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(s, a)| (s.to_owned(), a.to_owned()))
            .collect();
        let accounts: BTreeSet<&String> = pairs.iter().map(|(_, account)| account).collect();
        assert_eq!((pairs.len(), accounts.len()), (SUBJECTS, SUBJECTS), "{pairs:?}");
        for (subject, account) in &pairs {
            assert_eq!(leases(&directory)[&lease_name(subject).unwrap()].as_ref(), Some(account));
        }
    }
}

fn wait_until_ready(told: &mut std::process::ChildStdout) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"ready\n") {
        let mut byte = [0];
        told.read_exact(&mut byte).expect("it waits at the gate");
        seen.extend(byte);
    }
}

trait Later {
    fn output_later(&mut self) -> std::process::Child;
}

impl Later for Command {
    fn output_later(&mut self) -> std::process::Child {
        self.stdout(std::process::Stdio::piped()).spawn().unwrap()
    }
}
