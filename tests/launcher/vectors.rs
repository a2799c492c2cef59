//! What LCMAPS 1.6.6 answered (tests/vectors/lcmaps), asked again of glexec by its own files and of
//! the site's LCMAPS through glexec: a table of each case with what either answers, and why not the
//! same. It is printed, and every difference must have its reason here:
//!
//!   tests/vectors/lcmaps/compare

use harness::{LIBEXEC, Pki, Site};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where a case's files are in the site.
const PLACE: &str = "/etc/case";

/// What is answered, or why nothing was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Uid(u32),
    Nobody,
    NotAsked(&'static str),
}

/// A case of the file.
struct Case<'v>(&'v Value);

impl Case<'_> {
    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    fn uses(&self, word: &str) -> bool {
        self.text("lcmaps_db").contains(word)
    }

    /// The credential: the case's, or one with its subject.
    fn credential(&self, made: &mut BTreeMap<String, Option<Vec<u8>>>) -> Option<Vec<u8>> {
        match (self.0["pem"].as_str(), self.text("dn")) {
            (Some(name), _) => Some(Pki::of_lcmaps(name)),
            (None, "/DC=org/DC=example/O=Users/CN=Alice Smith") => Some(Pki::of_lcmaps("alice")),
            (None, "/DC=org/DC=example/O=Users/CN=Bob Jones") => Some(Pki::of_lcmaps("bob")),
            (None, dn) => made.entry(dn.to_owned()).or_insert_with(|| with_subject(dn)).clone(),
        }
    }

    /// Puts its files into the site, and gives the path of each that is there.
    fn plant(&self, site: &Site, credential: Option<&[u8]>) {
        let _ = fs::remove_dir_all(site.path(PLACE));
        site.directory(PLACE, (0, 0), 0o755);
        for name in ["ca", "ca-nocrl", "ca-crlexp", "vomsdir/testvo"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/lcmaps").join(name);
            fs::create_dir_all(site.path(&format!("{PLACE}/{name}"))).expect("a directory");
            for entry in fs::read_dir(from).expect("files") {
                let entry = entry.expect("an entry");
                let name = format!("{PLACE}/{name}/{}", entry.file_name().to_string_lossy());
                site.file(&name, fs::read(entry.path()).expect("a file"), 0o644);
            }
        }
        fs::create_dir(site.path(&format!("{PLACE}/ca-empty"))).expect("a directory");
        for (name, file) in self.0["files"].as_object().into_iter().flatten() {
            if let Some(text) = file.as_str() {
                site.file(&self.path(name), text, 0o644);
            } else if let Some(base64) = file["b64"].as_str() {
                site.file(&self.path(name), decoded(base64), 0o644);
            }
        }
        for directory in ["gridmapdir", "groupmapdir"] {
            self.plant_leases(site, directory);
        }
        if !self.0["lcmaps_db"].is_null() {
            let database = self.text("lcmaps_db").replace("@DIR@", PLACE);
            site.file(&format!("{PLACE}/lcmaps.db"), database, 0o644);
        }
        site.file(&format!("{PLACE}/proxy"), credential.unwrap_or_default(), 0o600);
    }

    fn path(&self, name: &str) -> String {
        match name.strip_prefix("grid-security/") {
            Some(name) => format!("/etc/grid-security/{name}"),
            None => format!("{PLACE}/{name}"),
        }
    }

    fn plant_leases(&self, site: &Site, directory: &str) {
        let said = &self.0[directory];
        if said.is_null() {
            return;
        }
        let base = site.path(&format!("{PLACE}/{directory}"));
        fs::create_dir(&base).expect("a directory");
        for entry in said["entries"].as_array().into_iter().flatten() {
            fs::write(base.join(entry.as_str().expect("a name")), "").expect("a file");
        }
        for pair in said["leases"].as_array().into_iter().flatten() {
            let (lease, entry) = (pair[0].as_str().expect("a name"), pair[1].as_str());
            match entry {
                Some(entry) if base.join(entry).exists() => {
                    fs::hard_link(base.join(entry), base.join(lease)).expect("a link");
                }
                _ => fs::write(base.join(lease), "").expect("a file"),
            }
        }
        for link in said["extra_links"].as_array().into_iter().flatten() {
            let outside = base.with_extension("outside");
            fs::hard_link(base.join(link.as_str().expect("a name")), outside).expect("a link");
        }
    }

    /// Whom glexec maps it to by its own files.
    fn native(&self, site: &Site) -> Answer {
        match self.text("area") {
            "voms" => return Answer::NotAsked("attributes are LCMAPS's to verify and to map"),
            "policy" => return Answer::NotAsked("a policy is LCMAPS's: `methods` is glexec's"),
            _ => {}
        }
        let has = |name: &str| site.path(&format!("{PLACE}/{name}")).exists();
        let ca = ["ca-nocrl", "ca-crlexp", "ca-empty", "nowhere"];
        let ca = ca.into_iter().find(|name| self.uses(&format!("/{name}"))).unwrap_or("ca");
        let mut lines = format!(
            "grid_mapfile = \"{PLACE}/grid-mapfile\"\nca_dir = \"{PLACE}/{ca}\"\naccept = [\"rfc3820\", \"plain\"]\n"
        );
        if self.uses("ban_dn") {
            lines += &format!("ban_file = \"{PLACE}/ban\"\n");
        }
        if has("gridmapdir") {
            lines += &format!("gridmapdir = \"{PLACE}/gridmapdir\"\n");
        }
        site.config(&format!("[mapping]\nmethods = [\"gridmap\"]\n[mapping.gridmap]\n{lines}"));
        let proxy = format!("{PLACE}/proxy");
        let about = match self.0["pem"].is_null() {
            true => ["--dn", self.text("dn")],
            false => ["--credential", &proxy],
        };
        let words = [&["/usr/sbin/glexec-admin", "map", "--json"], &about[..]].concat();
        let told = site.program(words).by("root").run().output();
        let told: Value = serde_json::from_str(&told).unwrap_or_default();
        uid(told["accounts"][0]["uid"].as_u64())
    }

    /// Whom the site's LCMAPS maps it to, asked as glexec asks it.
    fn by_library(&self, site: &Site, credential: Option<&[u8]>) -> Answer {
        if !self.0["fqans"].is_null() {
            return Answer::NotAsked(
                "its attributes are text, and glexec gives LCMAPS certificates",
            );
        }
        if credential.is_none() {
            return Answer::NotAsked("no certificate has this subject");
        }
        let database = format!("{PLACE}/lcmaps.db");
        let helper = format!("{LIBEXEC}/glexec-lcmaps");
        let policies = self.0["policies"].as_array().map(|names| {
            let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
            format!("LCMAPS_POLICY_NAME={} ", names.join(":"))
        });
        let variables = format!(
            "LCMAPS_LOG_FILE=/proc/self/fd/63 LCMAPS_DB_FILE={database} LCMAPS_DEBUG_LEVEL=4 {}X509_CERT_DIR={PLACE}/ca LCMAPS_X509_CERT_DIR={PLACE}/ca X509_VOMS_DIR={PLACE}/vomsdir LCMAPS_X509_VOMS_DIR={PLACE}/vomsdir",
            policies.unwrap_or_default()
        );
        let library = "liblcmaps_return_account_from_pem.so.0";
        let call = format!(
            "exec env -i PATH=/usr/bin:/bin LC_ALL=C {variables} {helper} library={library} db={database} < {PLACE}/proxy"
        );
        let told = site.shell(&call).by("root").run().output();
        let number = told.lines().find_map(|line| line.strip_prefix("uid="));
        uid(number.and_then(|number| number.parse().ok()))
    }

    /// What LCMAPS answered; several where its choice was by the order of a directory.
    fn expected(&self) -> Vec<Answer> {
        let expect = &self.0["expect"];
        match expect["uid_any_of"].as_array() {
            Some(uids) => uids.iter().map(|number| uid(number.as_u64())).collect(),
            None => vec![uid(expect["uid"].as_u64().filter(|_| expect["ok"] == true))],
        }
    }
}

fn uid(number: Option<u64>) -> Answer {
    number.map_or(Answer::Nobody, |number| Answer::Uid(u32::try_from(number).expect("a uid")))
}

/// A certificate with this subject, and its key; `None` where openssl(1) makes none whose subject is
/// that text.
fn with_subject(dn: &str) -> Option<Vec<u8>> {
    let base = tempfile::tempdir().expect("a directory");
    let openssl = |words: &[&str]| {
        let told = Command::new("openssl").args(words).current_dir(base.path()).output();
        told.expect("openssl is missing: tests/run installs it")
    };
    let subject = dn.replace('\\', "\\\\");
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key"];
    // Without the extensions that would make an authority of it.
    let plain = "[req]\ndistinguished_name = dn\n[dn]\n";
    fs::write(base.path().join("cnf"), plain).expect("a file");
    let user = ["-addext", "basicConstraints=critical,CA:FALSE"];
    let own = ["req", "-x509", "-config", "cnf", "-utf8", "-days", "30"];
    let own = [&own[..], &user[..], &["-subj", &subject, "-out", "own"]].concat();
    if !dn.starts_with('/') || !openssl(&[&own[..], &key].concat()).status.success() {
        return None;
    }
    let told = openssl(&["x509", "-in", "own", "-noout", "-subject", "-nameopt", "compat"]).stdout;
    let told = String::from_utf8(told).expect("text");
    let is_it =
        told.trim_end_matches('\n').strip_prefix("subject=").is_some_and(|s| s.trim_start() == dn);
    let read = |name: &str| fs::read(base.path().join(name)).expect("a file");
    is_it.then(|| [read("own"), read("key")].concat())
}

fn decoded(base64: &str) -> Vec<u8> {
    let mut command = Command::new("sh");
    let script = format!("printf %s '{base64}' | base64 -d");
    command.args(["-c", &script]).output().expect("base64").stdout
}

const BROKEN: &str = "a line that cannot be understood refuses nobody else";
const NAMED: &str = "every file is named in glexec's configuration";
const DIGITS: &str = "an account of a pool has digits behind the pool's name, without exception";
const ACCOUNT: &str =
    "an account is looked for before a pool; the case has no plug-in for accounts";
const ASCII: &str = "no such text comes out of a certificate: a subject is printable ASCII";
const MEANT: &str = "such a proxy does not stand for its issuer (RFC 3820, 3.8.2)";
const DRAFT: &str = "proxies of before RFC 3820 are not accepted";
const VERIFIED: &str = "nobody is mapped unverified";
const OPTION: &str = "there is no such option";
const CHECK: &str = "no variable takes a check away";

/// Where glexec's own files answer otherwise, and why.
const NATIVE: &[(&str, &str)] = &[
    ("gm-unbalanced-before", BROKEN),
    ("gm-unbalanced-unmapped", BROKEN),
    ("gm-account-root", "root is never a target"),
    ("gm-default-file", NAMED),
    ("gm-default-env", NAMED),
    ("gm-relative-file", NAMED),
    ("pool-strict-no", DIGITS),
    ("pool-strict-no-bare", DIGITS),
    ("pool-moved-override", "a lease that is another pool's is for the site to remove"),
    ("pool-skip-account-line", ACCOUNT),
    ("pool-list-account-pool", ACCOUNT),
    ("pool-wild-lead-dot", "every subject begins with `/`"),
    ("pool-enc-utf8", ASCII),
    ("pool-enc-utf8-end", ASCII),
    ("pool-enc-utf8-collision", ASCII),
    ("pool-relative-dir", "the configuration takes no relative path, and is asked with another"),
    ("ban-wild-off", OPTION),
    ("ban-no-file-option", NAMED),
    ("vp-rfc-independent", MEANT),
    ("vp-rfc-restricted", MEANT),
    ("vp-gt3-full", DRAFT),
    ("vp-gt2-limited", DRAFT),
    ("vp-gt2-2-noku-eec", DRAFT),
    ("vp-rfc-policybreak", "an authority's signing_policy is obeyed"),
    ("nov-rfc-expired", VERIFIED),
    ("nov-rfc-nokey", VERIFIED),
    ("nov-eec-nokey", VERIFIED),
    ("vpo-rfc-limited-disallow-limited-proxy", OPTION),
    ("vpo-rfc-full-require-limited-proxy", OPTION),
    ("vpo-alice-max-proxy-level-ttl0", OPTION),
    ("vpo-alice-max-proxy-level-ttlL", OPTION),
    ("vpo-nokey-env", CHECK),
];
/// Where LCMAPS answers otherwise through glexec than it did alone, and why.
const LIBRARY: &[(&str, &str)] = &[
    ("gm-default-env", "no variable of anybody's names a file"),
    ("vpo-nokey-env", CHECK),
    ("db-dummy-good", "a map file that the database names must be there"),
    ("db-debug-bad", "the level is glexec's to say, and is one that there is"),
];

#[test]
fn every_case_is_answered_as_lcmaps_did_or_otherwise_with_a_reason() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/lcmaps/vectors.json");
    let all: Value = serde_json::from_slice(&fs::read(file).expect("cases")).expect("JSON");
    let site = Site::new();
    for name in ["passwd", "group"] {
        let path = format!("/etc/{name}");
        let more = all["meta"][name].as_str().expect("lines");
        site.file(&path, format!("{}{more}\n", site.read(&path)), 0o644);
    }
    site.directory("/etc/grid-security", (0, 0), 0o755);
    let (mut made, mut wrong) = (BTreeMap::new(), Vec::new());
    let mut counts = [[0; 3]; 2];
    let cases = all["vectors"].as_array().expect("cases");
    for case in cases.iter().map(Case) {
        let credential = case.credential(&mut made);
        let (id, expected) = (case.text("id"), case.expected());
        case.plant(&site, credential.as_deref());
        let native = case.native(&site);
        case.plant(&site, credential.as_deref());
        let by_library = case.by_library(&site, credential.as_deref());
        let mut line = format!("{:<14} {id:<28}", case.text("area"));
        for (at, (answer, differs)) in
            [(&native, NATIVE), (&by_library, LIBRARY)].into_iter().enumerate()
        {
            let reason = differs.iter().find(|(other, _)| *other == id).map(|(_, why)| *why);
            let (column, said) = match (answer, expected.contains(answer), reason) {
                (Answer::NotAsked(why), _, None) => (2, format!("not asked: {why}")),
                (_, true, None) => (0, "agrees".to_owned()),
                (Answer::Uid(_) | Answer::Nobody, false, Some(why)) => {
                    (1, format!("differs: {why}"))
                }
                (answer, ..) => {
                    wrong.push(format!(
                        "{id} {at}: {answer:?}, LCMAPS {expected:?}: {}",
                        case.text("note")
                    ));
                    (1, "WRONG".to_owned())
                }
            };
            counts[at][column] += 1;
            line += &format!(" | {said}");
        }
        println!("{line}");
    }
    println!(
        "agreed, differing, not asked: by glexec's own files {:?}, by LCMAPS {:?}",
        counts[0], counts[1]
    );
    let listed = NATIVE.iter().chain(LIBRARY).map(|(id, _)| *id);
    let is_case = |id: &&str| cases.iter().any(|case| case["id"] == **id);
    wrong.extend(listed.filter(|id| !is_case(id)).map(|id| format!("{id} is no case")));
    assert!(wrong.is_empty() && cases.len() == 256, "{}\n{}", cases.len(), wrong.join("\n"));
}
