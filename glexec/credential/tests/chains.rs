//! Chains of certificates, asked as LCMAPS 1.6.6 was with its plug-in verify-proxy
//! (tests/vectors/lcmaps): the same answers, but for the cases that are listed with their reason.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::{Case, of_area, vectors};
use credential::map_file::{Mapped, look_up};
use credential::{Authorities, Refused, Rules, Verified, Whose, verify};
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, BigNumRef};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::symm::Cipher;
use openssl::x509::extension::{BasicConstraints, KeyUsage};
use openssl::x509::{X509, X509Builder, X509NameBuilder};
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

/// Certificates of these tests' own.
struct Made {
    certificate: X509,
    key: PKey<Private>,
}

/// A certificate for this name and key, by `issuer` or by itself.
fn made(name: &str, key: PKey<Private>, issuer: Option<&Made>, is_authority: bool) -> Made {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("O", "T").unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(name.len().try_into().unwrap()).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(issuer.map_or(&subject, |one| one.certificate.subject_name())).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    let mut constraints = BasicConstraints::new();
    constraints.critical();
    if is_authority {
        constraints.ca();
    }
    builder.append_extension(constraints.build().unwrap()).unwrap();
    let mut usage = KeyUsage::new();
    usage.critical();
    if is_authority {
        usage.key_cert_sign().crl_sign();
    } else {
        usage.digital_signature();
    }
    builder.append_extension(usage.build().unwrap()).unwrap();
    builder.sign(issuer.map_or(&key, |one| &one.key), MessageDigest::sha256()).unwrap();
    Made { certificate: builder.build(), key }
}

fn rsa() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

/// A site that knows this authority and, where there is one, has this policy of it.
fn site_of(authority: &Made, policy: Option<&str>) -> (TempDir, Authorities) {
    let directory = tempfile::tempdir().unwrap();
    let hash = format!("{:08x}", authority.certificate.subject_name_hash());
    let put = |name: String, text: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    };
    put(format!("{hash}.0"), &authority.certificate.to_pem().unwrap());
    policy.iter().for_each(|text| put(format!("{hash}.signing_policy"), text.as_bytes()));
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let owner = fs::metadata(directory.path()).unwrap().uid();
    let authorities = Authorities::new(directory.path(), owner);
    (directory, authorities)
}

/// Everybody has the public half, by the certificate.
#[test]
fn a_key_that_has_no_more_than_the_public_half_is_none() {
    let authority = made("Authority", rsa(), None, true);
    let (_site, authorities) = site_of(&authority, None);
    let bare = |n: u32| BigNum::from_u32(n).unwrap();
    let forged_rsa = |key: &PKey<Private>| {
        let rsa = key.rsa().unwrap();
        let own = |part: &BigNumRef| part.to_owned().unwrap();
        let forged = Rsa::from_private_components(
            own(rsa.n()),
            own(rsa.e()),
            bare(12_345),
            bare(3),
            bare(5),
            bare(1),
            bare(1),
            bare(2),
        );
        PKey::from_rsa(forged.unwrap()).unwrap()
    };
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let ec = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let forged_ec = |key: &PKey<Private>| {
        let key = key.ec_key().unwrap();
        let forged = EcKey::from_private_components(&group, &bare(7), key.public_key());
        PKey::from_ec_key(forged.unwrap()).unwrap()
    };
    let rsa = rsa();
    for (key, forged) in [(rsa.clone(), forged_rsa(&rsa)), (ec.clone(), forged_ec(&ec))] {
        assert!(forged.public_eq(&key), "the public halves are alike");
        let user = made("Victim", key, Some(&authority), false);
        let file = |key: &PKey<Private>| {
            let pem = key.private_key_to_pem_pkcs8().unwrap();
            [user.certificate.to_pem().unwrap(), pem].concat()
        };
        assert!(verify(&file(&user.key), rules(), &authorities).is_ok());
        let refused = verify(&file(&forged), rules(), &authorities).unwrap_err();
        assert!(refused.clause.contains("not its first certificate's"), "{refused:?}");
    }
}

#[test]
fn what_is_encrypted_asks_nobody_for_a_word() {
    let authority = made("Authority", rsa(), None, true);
    let (_site, authorities) = site_of(&authority, None);
    let user = made("User", rsa(), Some(&authority), false);
    let own = user.certificate.to_pem().unwrap();
    let key = |word: &[u8]| {
        user.key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_128_cbc(), word).unwrap()
    };
    let text = String::from_utf8(own.clone()).unwrap();
    let header = "-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n";
    let certificate = text.replace("-----BEGIN CERTIFICATE-----\n", header).into_bytes();
    let plain = user.key.private_key_to_pem_pkcs8().unwrap();
    for file in [[own.clone(), key(b"word")].concat(), [certificate, plain].concat()] {
        let refused = verify(&file, rules(), &authorities).unwrap_err();
        assert!(refused.clause.contains("is encrypted"), "{refused:?}");
    }
}

/// What the site does not know has no policy of its own, and is bound by the one above.
#[test]
fn a_policy_binds_what_an_authority_of_the_callers_own_signs() {
    let root = made("Root", rsa(), None, true);
    let below = made("Below", rsa(), Some(&root), true);
    let user = made("User", rsa(), Some(&below), false);
    let key = user.key.private_key_to_pem_pkcs8().unwrap();
    let pem = |one: &Made| one.certificate.to_pem().unwrap();
    let file = [pem(&user), key, pem(&below)].concat();
    let policy = |subjects: &str| {
        format!(
            "access_id_CA X509 '/O=T/CN=Root'\npos_rights globus CA:sign\ncond_subjects globus '{subjects}'\n"
        )
    };
    for (subjects, fine) in [("\"/O=T/*\"", true), ("\"/O=T/CN=Below\"", false)] {
        let (_site, authorities) = site_of(&root, Some(&policy(subjects)));
        let answer = verify(&file, rules(), &authorities);
        assert_eq!(answer.is_ok(), fine, "{subjects}: {answer:?}");
    }
}
