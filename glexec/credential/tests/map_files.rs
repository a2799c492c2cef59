//! Grid-mapfiles and ban files, asked as LCMAPS 1.6.6 was (tests/vectors/lcmaps): the same answers,
//! but for the cases that are listed with their reason.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::{Case, of_area};
use credential::map_file::{Mapped, banned, look_up};

/// Where glexec answers otherwise than LCMAPS, and why.
const DIFFERS: [(&str, &str); 4] = [
    ("gm-unbalanced-before", "a line that cannot be understood refuses nobody else"),
    ("gm-unbalanced-unmapped", "a line that cannot be understood refuses nobody else"),
    ("gm-account-root", "root is never a target"),
    ("ban-wild-off", "there is no option that takes the wildcards out of a ban file"),
];

/// Of LCMAPS's options and defaults, which glexec has not: every file is named in its configuration.
const OF_LCMAPS_ALONE: [&str; 4] =
    ["gm-default-file", "gm-default-env", "gm-relative-file", "ban-no-file-option"];

/// The uid that the case's subject is mapped to by name.
fn uid(case: &Case) -> Option<u32> {
    if let Some(ban) = case.file("ban") {
        if banned(&ban, case.dn.as_bytes()) != Ok(None) {
            return None;
        }
    } else if case.uses("ban_dn") {
        return None;
    }
    let found = look_up(&case.file("grid-mapfile")?, case.dn.as_bytes()).ok()?;
    match found.mapped? {
        (_, Mapped::Accounts(accounts)) => common::uid_of(&accounts[0]).filter(|uid| *uid > 0),
        (_, Mapped::Pool(_)) => None,
    }
}

#[test]
fn a_subject_is_mapped_and_banned_as_lcmaps_does_it() {
    let (mut asked, mut wrong) = (0, Vec::new());
    for case in of_area("grid-mapfile").into_iter().chain(of_area("ban")) {
        if OF_LCMAPS_ALONE.contains(&case.id.as_str()) {
            continue;
        }
        asked += 1;
        let same = uid(&case) == case.uid;
        if same == DIFFERS.iter().any(|(id, _)| *id == case.id) {
            wrong.push(format!(
                "{}: {:?}, LCMAPS {:?}: {}",
                case.id,
                uid(&case),
                case.uid,
                case.note
            ));
        }
    }
    assert!(wrong.is_empty() && asked == 69, "{asked} asked\n{}", wrong.join("\n"));
}

#[test]
fn a_broken_line_is_told_with_its_number_and_admits_nobody() {
    let file =
        b"# x\n\"/O=x/CN=broken bob\n\"/O=x/CN=A\" alice \\\n/O=x/CN=B bob\r\n/O=x/CN=B carol\n";
    let found = |name: &str| look_up(file, name.as_bytes()).unwrap();
    assert_eq!(found("/O=x/CN=A").mapped, None);
    let (b, broken) = (found("/O=x/CN=B"), [2, 3, 4]);
    assert_eq!(b.mapped, Some((5, Mapped::Accounts(vec!["carol".to_owned()]))));
    assert_eq!(b.broken.iter().map(|(line, _)| *line).collect::<Vec<_>>(), broken);
    assert_eq!(look_up(b"# x\n\0\n", b"/O=x").unwrap_err().line, 2);
}

#[test]
fn a_ban_file_with_a_line_that_may_mean_anybody_bans_everybody() {
    let file = b"\"/O=x/CN=A\"\n\"/O=x/CN=Mallory\n";
    assert_eq!(banned(file, b"/O=x/CN=A"), Ok(Some(1)));
    assert_eq!(banned(file, b"/O=x/CN=B").unwrap_err().line, 2);
    assert_eq!(banned(b"", b"/O=x/CN=B"), Ok(None));
    // As a pattern this one has no bracket in it.
    assert_eq!(banned(b"\"/O=x/CN=A [b]\"\n", b"/O=x/CN=A [b]"), Ok(Some(1)));
    assert!(banned(b"/O=x/CN=A\0", b"/O=x/CN=B").is_err());
}

#[test]
fn several_accounts_and_pools_of_a_line_are_kept_in_their_order() {
    let mapped = |rest: &str| {
        look_up(format!("/O=x {rest}\n").as_bytes(), b"/O=x").unwrap().mapped.map(|(_, m)| m)
    };
    let accounts = |names: &[&str]| {
        Some(Mapped::Accounts(names.iter().map(|name| (*name).to_owned()).collect()))
    };
    assert_eq!(mapped("a,.p, b"), accounts(&["a", "b"]));
    assert_eq!(mapped(".p,.q"), Some(Mapped::Pool("p".to_owned())));
    assert_eq!(mapped("."), None);
    assert_eq!(mapped("two\\ words"), None);
    assert_eq!(mapped("-x"), None);
}
