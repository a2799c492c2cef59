//! Chains of certificates, asked as LCMAPS 1.6.6 was with its plug-in verify-proxy
//! (tests/vectors/lcmaps): the same answers, but for the cases that are listed with their reason.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::{Case, of_area, vectors};
use credential::map_file::{Mapped, look_up};
use credential::{Authorities, Refused, Rules, Verified, Whose, verify};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::LazyLock;
use tempfile::TempDir;

/// Where glexec answers otherwise than LCMAPS, and why.
const DIFFERS: [(&str, &str); 14] = [
    ("vp-rfc-independent", "an independent proxy does not stand for its issuer (RFC 3820, 3.8.2)"),
    ("vp-rfc-restricted", "a policy that is not understood must be refused (RFC 3820, 3.8.2)"),
    ("vp-gt3-full", "proxies of before RFC 3820 are not accepted"),
    ("vp-gt2-limited", "proxies of before RFC 3820 are not accepted"),
    ("vp-gt2-2-noku-eec", "proxies of before RFC 3820 are not accepted"),
    ("vp-rfc-policybreak", "an authority's signing_policy is obeyed"),
    ("nov-rfc-expired", "nobody is mapped unverified"),
    ("nov-rfc-nokey", "nobody is mapped unverified"),
    ("nov-eec-nokey", "nobody is mapped unverified"),
    ("vpo-rfc-limited-disallow-limited-proxy", "there is no option that refuses limited proxies"),
    ("vpo-rfc-full-require-limited-proxy", "there is no option that asks for limited proxies"),
    ("vpo-alice-max-proxy-level-ttl0", "there is no option that bounds the life of proxies"),
    ("vpo-alice-max-proxy-level-ttlL", "there is no option that bounds the life of proxies"),
    ("vpo-nokey-env", "no variable takes a check away"),
];

/// The authorities of a case, in a copy that nobody else may write to, whatever the checkout is.
fn authorities(name: &str) -> Authorities {
    static COPIES: LazyLock<TempDir> = LazyLock::new(|| {
        let copies = tempfile::tempdir().unwrap();
        for name in ["ca", "ca-nocrl", "ca-crlexp"] {
            fs::create_dir(copies.path().join(name)).unwrap();
            for entry in fs::read_dir(vectors().join(name)).unwrap() {
                let (from, entry) = (entry.as_ref().unwrap().path(), entry.as_ref().unwrap());
                let to = copies.path().join(name).join(entry.file_name());
                fs::copy(from, &to).unwrap();
                fs::set_permissions(&to, fs::Permissions::from_mode(0o644)).unwrap();
            }
        }
        copies
    });
    let owner = fs::metadata(COPIES.path()).unwrap().uid();
    Authorities::new(COPIES.path().join(name), owner)
}

fn rules() -> Rules {
    Rules { rfc3820: true, plain: true, without_key: false }
}

fn verified(pem: &str, rules: Rules, ca: &str) -> Result<Verified, Refused> {
    let pem = std::fs::read(vectors().join("pem").join(format!("{pem}.pem"))).unwrap();
    verify(&pem, rules, &authorities(ca))
}

/// The directory of authorities of a case.
fn directory(case: &Case) -> &'static str {
    let all = ["ca-nocrl", "ca-crlexp", "ca-empty", "nowhere"];
    all.into_iter().find(|name| case.uses(&format!("@DIR@/{name}"))).unwrap_or("ca")
}

fn uid(case: &Case) -> (Option<u32>, Result<Verified, Refused>) {
    let answer = verified(case.pem.as_ref().unwrap(), rules(), directory(case));
    let of = |subject: &str| {
        let found = look_up(&case.file("grid-mapfile").unwrap(), subject.as_bytes()).unwrap();
        match found.mapped? {
            (_, Mapped::Accounts(accounts)) => common::uid_of(&accounts[0]),
            (_, Mapped::Pool(_)) => None,
        }
    };
    (answer.as_ref().ok().and_then(|answer| of(&answer.subject)), answer)
}

#[test]
fn chains_are_judged_as_lcmaps_judges_them() {
    let (mut asked, mut wrong) = (0, Vec::new());
    for case in of_area("verify").into_iter().chain(of_area("dn")) {
        asked += 1;
        let (uid, answer) = uid(&case);
        let differs = DIFFERS.iter().any(|(id, _)| *id == case.id);
        let same_subject = || match (&case.told_dn, &answer) {
            (Some(theirs), Ok(ours)) => *theirs == ours.subject,
            _ => true,
        };
        if (uid == case.uid) == differs || (uid.is_some() && !same_subject()) {
            wrong.push(format!(
                "{}: {uid:?} {answer:?}, LCMAPS {:?} {:?}",
                case.id, case.uid, case.told_dn
            ));
        }
    }
    assert!(wrong.is_empty() && asked == 76, "{asked} asked\n{}", wrong.join("\n"));
}

#[test]
fn what_is_wrong_is_said_and_whose_move_it_is() {
    let of =
        |pem: &str, ca: &str| verified(pem, Rules { plain: false, ..rules() }, ca).unwrap_err();
    for (pem, ca, whose, part) in [
        ("rfc-expired", "ca", Whose::Callers, "its proxy has expired"),
        ("eec-expired", "ca", Whose::Callers, "a certificate of its has expired"),
        ("rfc-notyet", "ca", Whose::Callers, "not valid yet"),
        ("rfc-unknownca", "ca", Whose::Callers, "no authority that this site knows"),
        ("rfc2-nomid", "ca", Whose::Callers, "no authority that this site knows"),
        ("rfc-nokey", "ca", Whose::Callers, "no private key"),
        ("rfc-wrongkey", "ca", Whose::Callers, "not its first certificate's"),
        ("eec-only", "ca", Whose::Callers, "make a proxy"),
        ("rfc-noncrit", "ca", Whose::Callers, "not critical"),
        ("rfc-limited-full", "ca", Whose::Callers, "below a limited one"),
        ("gt3-full", "ca", Whose::Callers, "before RFC 3820"),
        ("gt2-limited", "ca", Whose::Callers, "before RFC 3820"),
        ("rfc-policybreak", "ca", Whose::Callers, "may not sign for"),
        ("rfc-revoked", "ca", Whose::Callers, "was revoked"),
        ("bad-empty", "ca", Whose::Callers, "no certificate"),
        ("bad-second", "ca", Whose::Callers, "cannot be read"),
        ("bad-keyonly", "ca", Whose::Callers, "no certificate"),
        ("alice", "ca-crlexp", Whose::Sites, ".r0 cannot be used"),
        ("alice", "ca-empty", Whose::Sites, "cannot be listed"),
    ] {
        let refused = of(pem, ca);
        let told = format!("{} {}", refused.clause, refused.detail);
        assert!(refused.whose == whose && told.contains(part), "{pem} {ca}: {refused:?}");
    }
    let unwanted = Rules { rfc3820: false, ..rules() };
    assert!(verified("alice", unwanted, "ca").unwrap_err().clause.contains("not accepted"));
    let keyless = Rules { without_key: true, ..rules() };
    assert!(verified("rfc-nokey", keyless, "ca").is_ok());
    assert!(verified("rfc-wrongkey", keyless, "ca").is_err());
}

/// The flaw of LCMAPS: its subject is the last in the file, whatever was verified.
#[test]
fn a_certificate_that_is_not_of_the_chain_is_refused_wherever_it_stands() {
    let read =
        |name: &str| std::fs::read(vectors().join("pem").join(format!("{name}.pem"))).unwrap();
    let (alice, bob) = (read("alice"), read("bob"));
    for pem in [[alice.clone(), bob].concat(), [alice.clone(), read("rfc-unknownca")].concat()] {
        let refused = verify(&pem, rules(), &authorities("ca")).unwrap_err();
        assert!(refused.clause.contains("not of its chain"), "{refused:?}");
    }
    let twice = [alice.clone(), alice].concat();
    assert_eq!(
        verify(&twice, rules(), &authorities("ca")).unwrap().subject,
        "/DC=org/DC=example/O=Users/CN=Alice Smith"
    );
    let ended = verify(&read("alice"), rules(), &authorities("ca")).unwrap().until;
    assert_eq!(ended, 2_366_841_600, "2045-01-01");
}

#[test]
fn no_bytes_of_a_callers_stop_the_verification() {
    let good = std::fs::read(vectors().join("pem/alice.pem")).unwrap();
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] = bad[at].wrapping_add(1);
        let _ = verify(&bad, rules(), &authorities("ca"));
        let _ = verify(&good[..at], rules(), &authorities("ca"));
    }
}
