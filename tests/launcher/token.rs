//! Mapping by a bearer token: whom it maps, what refuses it, and whose move that is.

use crate::credential::{self, PROXY};
use contract::Reason;
use harness::accounts::{OTHER, PILOT};
use harness::{AUDIENCE, Call, GRID_MAPFILE, ISSUER, Issuer, Pki, Site, base64url};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub(crate) const TOKEN: &str = "/home/pilot/token";
const KEYS: &str = "/etc/grid-security/issuer.jwks";
const MAPFILE: &str = "/etc/grid-security/token-mapfile";

const MAP: &str = r"# As HTCondor-CE has it.
GSI /.*/ gsi
SCITOKENS https://issuer.trial.example/,alice payload1
SCITOKENS /^https:\/\/issuer\.trial\.example\/,bob-(\d+)$/ payload\1@users.example
SCITOKENS /^https:\/\/issuer\.trial\.example\/,nobody$/ root
SCITOKENS /^https:\/\/issuer\.trial\.example\/,ghost$/ ghost
SCITOKENS /^https:\/\/issuer\.trial\.example\/,any (.*)$/ \1
";

/// `/etc/glexec.toml` with these lines in `[glexec]`, `[mapping]` and the issuer's row.
fn configure(site: &Site, glexec: &str, mapping: &str, row: &str) {
    let methods = if mapping.contains("methods") { "" } else { "methods = [\"token\"]" };
    site.config(&format!(
        "[glexec]\nuser_white_list = [\"pilot\", \"other\", \"root\"]\nkill_grace = 1\n{glexec}\n[mapping]\n{methods}\ntoken_mapfile = \"{MAPFILE}\"\n{mapping}\n\
         [[mapping.token]]\nissuer = \"{ISSUER}\"\nkeys = \"{KEYS}\"\naudience = [\"{AUDIENCE}\"]\n{row}\n"
    ));
}

/// A site that maps by token, with an issuer, and alice's token in [`TOKEN`].
pub(crate) fn site() -> (Site, Issuer) {
    let (site, issuer) = (Site::new(), Issuer::new());
    site.directory("/etc/grid-security", (0, 0), 0o755);
    site.file(KEYS, issuer.keys().to_string(), 0o644);
    site.file(MAPFILE, MAP, 0o644);
    configure(&site, "", "", "");
    present(&site, issuer.token("alice"));
    (site, issuer)
}

/// Puts a token where the caller has it.
pub(crate) fn present(site: &Site, token: impl AsRef<[u8]>) {
    let _ = std::fs::remove_file(site.path(TOKEN));
    site.file(TOKEN, token, 0o600);
    site.own(TOKEN, (PILOT, PILOT));
}

fn call<'s>(site: &'s Site, words: &[&str]) -> Call<'s> {
    site.glexec(words.iter().copied()).env("GLEXEC_CLIENT_TOKEN", TOKEN).with_status()
}

fn who(call: Call<'_>) -> String {
    call.run().look().variable("USER").expect("an account").to_owned()
}

const LOOK: [&str; 2] = ["actor", "look"];
const SEVEN: [&str; 3] = ["actor", "exit", "7"];

#[test]
fn a_token_maps_its_subject_by_htcondors_map_file() {
    let (site, issuer) = site();
    let ran = call(&site, &LOOK).run();
    assert_eq!(ran.look().variable("USER"), Some("payload1"));
    let begun = ran.log.iter().find(|line| line.contains("mapped_user(payload1)")).expect("a line");
    assert!(begun.contains(&format!("subject=\"{ISSUER},alice\"")), "{begun}");
    call(&site, &["true"]).env("GLEXEC_TARGET_USER", "payload2").run().stopped(Reason::NoMapping);
    call(&site, &["true"]).option("--check").run().exited(0);
    let by_rsa = issuer.sign(r#"{"alg":"RS256","kid":"r"}"#, &Issuer::claims("bob-3").to_string());
    for (token, account) in [
        (format!("\n{}\n\n", issuer.token("alice")), "payload1"),
        (issuer.token("bob-2"), "payload2"),
        (by_rsa, "payload3"),
        (issuer.token("any payload4"), "payload4"),
    ] {
        present(&site, token);
        assert_eq!(who(call(&site, &LOOK)), account);
    }
    for subject in ["stranger", "nobody", "ghost", "any root", "any daemon", "Alice", "xalice"] {
        present(&site, issuer.token(subject));
        let ran = call(&site, &["true"]).run();
        assert_eq!(ran.code(), 203, "{subject}: {ran:#?}");
    }
    // What is not a name is nobody's account, and no line below is asked instead.
    present(&site, issuer.token("any ../x"));
    call(&site, &["true"]).run().stopped(Reason::Mapping);
    // One key in PEM.
    site.file(KEYS, issuer.pem(), 0o644);
    present(&site, issuer.token("alice"));
    call(&site, &SEVEN).run().exited(7);
}

#[test]
fn where_other_programs_find_a_token_it_is_found_last() {
    let (site, issuer) = site();
    let pki = Pki::new();
    pki.install(&site);
    site.file(GRID_MAPFILE, "\"/DC=org/DC=trial/CN=alice\" payload5\n", 0o644);
    credential::present(&site, pki.proxy("alice"));
    let found = |variables: &[(&str, &str)]| {
        let call = site.glexec(LOOK).with_status();
        variables.iter().fold(call, |call, (name, value)| call.env(name, value)).run()
    };
    assert_eq!(found(&[("BEARER_TOKEN_FILE", TOKEN)]).look().variable("USER"), Some("payload1"));
    found(&[]).stopped(Reason::Credential);
    found(&[("BEARER_TOKEN_FILE", ""), ("GLEXEC_CLIENT_TOKEN", "")]).stopped(Reason::Credential);
    // The token itself in a variable is not what is asked for.
    found(&[("BEARER_TOKEN", &issuer.token("alice"))]).stopped(Reason::Credential);
    let gridmap = format!(
        "[mapping.gridmap]\ngrid_mapfile = \"{GRID_MAPFILE}\"\nca_dir = \"{}\"\n",
        harness::CA_DIR
    );
    let both = [("GLEXEC_CLIENT_CERT", PROXY), ("GLEXEC_CLIENT_TOKEN", TOKEN)];
    let pilots = [("GLEXEC_CLIENT_CERT", PROXY), ("BEARER_TOKEN_FILE", "/nonexistent")];
    for (methods, of_both) in
        [("[\"token\", \"gridmap\"]", "payload1"), ("[\"gridmap\", \"token\"]", "payload5")]
    {
        configure(&site, "", &format!("methods = {methods}"), &gridmap);
        assert_eq!(found(&both).look().variable("USER"), Some(of_both), "{methods}");
        assert_eq!(found(&pilots).look().variable("USER"), Some("payload5"), "{methods}");
        assert_eq!(found(&both[1..]).look().variable("USER"), Some("payload1"), "{methods}");
    }
    // A later method maps who presents none; one that is there and wrong ends the search.
    let row = "[[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload6\"";
    configure(&site, "", "methods = [\"token\", \"static\"]", row);
    assert_eq!(found(&[]).look().variable("USER"), Some("payload6"));
    found(&[("GLEXEC_CLIENT_TOKEN", "/nonexistent")]).stopped(Reason::Credential);
    present(&site, issuer.token("stranger"));
    assert_eq!(found(&both[1..]).look().variable("USER"), Some("payload6"));
}

/// Claims with one of them changed; `Null` takes it away.
fn with(name: &str, value: Value) -> String {
    let mut claims = Issuer::claims("alice");
    match value {
        Value::Null => drop(claims.as_object_mut().expect("claims").remove(name)),
        value => claims[name] = value,
    }
    claims.to_string()
}

#[test]
fn a_token_that_is_not_good_is_the_callers_move_and_is_quoted_nowhere() {
    let (site, issuer) = site();
    let good = issuer.token("alice");
    let (text, signature) = good.rsplit_once('.').expect("three parts");
    let stranger = Issuer::new();
    let header = r#"{"alg":"ES256","kid":"e"}"#;
    let now = Issuer::claims("x")["iat"].as_i64().expect("a time");
    let claims = |name: &str, value: Value| issuer.sign(header, &with(name, value));
    let headed = |header: &str| issuer.sign(header, &with("none", Value::Null));
    let doubled = with("x", Value::Null).replacen('{', "{\"sub\":\"root\",", 1);
    let huge = with("exp", json!(7)).replace("\"exp\":7", "\"exp\":1e400");
    let unsigned =
        format!("{}.{}.", base64url(br#"{"alg":"none"}"#), text.split_once('.').expect("parts").1);
    for (token, part) in [
        (String::new(), "is empty"),
        (text.to_owned(), "it has 2 parts"),
        (format!("{good}.{signature}"), "it has 4 parts"),
        (good[..good.len() - 42].to_owned(), "not its issuer's"),
        (format!("{good}=="), "padding"),
        ("\u{7f}ELF\u{1}\0".to_owned(), "a byte that no token has"),
        (issuer.sign(header, &doubled), "says `sub` twice"),
        (issuer.sign(header, &huge), "no JSON object: its claims"),
        (claims("exp", json!(-5)), "`exp` that is no whole number"),
        (claims("exp", json!(4e9)), "`exp` that is no whole number"),
        (claims("exp", json!(u64::MAX)), "`exp` that is no whole number"),
        (claims("exp", json!(now - 61)), "not valid any more (`exp`)"),
        (claims("exp", Value::Null), "has no `exp`"),
        (claims("nbf", json!(now + 600)), "not valid yet (`nbf`)"),
        (claims("iat", json!(now + 600)), "in the future (`iat`)"),
        (claims("iss", json!("https://evil.example/")), "does not know (`iss`)"),
        (claims("iss", json!(ISSUER.trim_end_matches('/'))), "differs by a `/`"),
        (claims("aud", json!(["https://wlcg.cern.ch/jwt/v1/any"])), "another audience (`aud`)"),
        (claims("aud", Value::Null), "has no `aud`"),
        (claims("scope", json!("storage.read:/")), "the scope compute.create (`scope`)"),
        (claims("sub", json!("a,b")), "no line can name (`sub`)"),
        (claims("sub", json!("alice\nroot")), "no line can name (`sub`)"),
        (headed(r#"{"alg":"HS256","kid":"e"}"#), "is signed by `HS256`"),
        (unsigned, "is signed by `none`"),
        (headed(r#"{"alg":"ES256","kid":"r"}"#), "its key is for RS256"),
        (headed(r#"{"alg":"ES256"}"#), "does not say with which"),
        (headed(r#"{"alg":"ES256","kid":"gone"}"#), "a key that this site does not have (`kid`)"),
        (headed(r#"{"alg":"ES256","kid":"e","crit":["x"],"x":1}"#), "`crit`"),
        (stranger.token("alice"), "not its issuer's"),
    ] {
        present(&site, &token);
        let ran = call(&site, &["true"]).run();
        let said = ran.stopped(Reason::Credential).error();
        assert_eq!(ran.code(), 201, "{part}");
        assert!(said.contains(part), "{part:?} is not in {said}");
        assert!(said.contains("GLEXEC_CLIENT_TOKEN"), "{said}");
        let told = |line: &&String| line.contains(part) && line.contains(TOKEN);
        assert!(ran.log.iter().any(|line| told(&line)), "{part}: {:?}", ran.log);
        let all = format!("{said}{}", ran.log.join("\n"));
        let mut pieces = token.split('.').skip(1).filter(|piece| piece.len() > 40);
        assert!(!pieces.any(|piece| all.contains(piece)), "{part}: {all}");
    }
    // A key that the site has taken out is no key any more.
    present(&site, &good);
    call(&site, &SEVEN).run().exited(7);
    site.file(KEYS, json!({"keys": [issuer.rsa_key()]}).to_string(), 0o644);
    let said = call(&site, &["true"]).run().stopped(Reason::Credential).error();
    assert!(said.contains("a key that this site does not have"), "{said}");
}

#[test]
fn a_token_in_a_file_that_is_not_the_callers_alone_is_refused() {
    let (site, issuer) = site();
    let refused = |path: &str, part: &str| {
        let start = Instant::now();
        let ran = site.glexec(["true"]).env("GLEXEC_CLIENT_TOKEN", path).with_status().run();
        let said = ran.stopped(Reason::Credential).error();
        assert!(said.contains(part), "{path}: {part:?} is not in {said}");
        assert!(start.elapsed() < Duration::from_secs(8), "{path}: {:?}", start.elapsed());
    };
    for mode in [0o666, 0o640, 0o604, 0o4600] {
        site.mode(TOKEN, mode);
        refused(TOKEN, "open to others");
    }
    site.mode(TOKEN, 0o400);
    call(&site, &SEVEN).run().exited(7);
    site.file("/home/pilot/others", issuer.token("alice"), 0o644);
    site.own("/home/pilot/others", (OTHER, OTHER));
    refused("/home/pilot/others", "belongs to uid");
    let plant = "mkfifo fifo && mkdir dir && ln -s loop loop && ln -s /dev/zero zero && \
        truncate -s 100M huge && chmod 600 huge fifo && head -c 70000 /dev/zero | tr '\\0' a > long && chmod 600 long";
    site.shell(plant).within("/home/pilot").run().exited(0);
    for (name, part) in [
        ("fifo", "no regular file"),
        ("dir", "no regular file"),
        ("zero", "no regular file"),
        ("huge", "larger than"),
        ("long", "longer than"),
        ("loop", "cannot be opened"),
        ("gone", "cannot be opened"),
    ] {
        refused(&format!("/home/pilot/{name}"), part);
    }
}

#[test]
fn keys_and_map_file_that_cannot_be_used_are_the_sites_fault() {
    let (site, issuer) = site();
    call(&site, &SEVEN).run().exited(7);
    let key = issuer.p256_key();
    let doubled = json!({"keys": [key, key]}).to_string();
    let mend = || {
        site.file(KEYS, issuer.keys().to_string(), 0o644);
        site.file(MAPFILE, MAP, 0o644);
    };
    let above = |line: &str| format!("{line}\n{MAP}");
    for (file, text, mode, part) in [
        (KEYS, "{}".to_owned(), 0o644, "neither a JWK Set nor a key in PEM"),
        (KEYS, doubled, 0o644, "has two keys of one `kid`"),
        (KEYS, "{\"keys\":[]}".to_owned(), 0o644, "has no key for ES256 or RS256"),
        (KEYS, issuer.keys().to_string(), 0o664, "is writable by group 0"),
        (MAPFILE, MAP.to_owned(), 0o666, "is writable by everybody"),
        (MAPFILE, above("SCITOKENS /(/ payload1"), 0o644, ":1: the line has an expression"),
        (MAPFILE, above("SCITOKENS /.*/"), 0o644, ":1: the line has no account"),
        (MAPFILE, above("@include /etc/x"), 0o644, ":1: the line includes another file"),
        (MAPFILE, above("SCITOKENS /.*/ PLUGIN:*"), 0o644, "asks a plug-in"),
    ] {
        site.file(file, text, mode);
        site.mode(file, mode);
        let ran = call(&site, &["true"]).run();
        let said = ran.stopped(Reason::Mapping).error();
        assert!(!said.contains("/etc"), "{said}");
        let told = |line: &String| line.contains(part) && line.contains(file);
        assert!(ran.log.iter().any(told), "{part}: {:?}", ran.log);
        let check = site.program(["/usr/sbin/glexec-admin", "check"]).by("root").run();
        let is_warned = part.contains("plug-in");
        assert_eq!(check.code() == 0, is_warned, "{part}: {check:#?}");
        assert!(check.output().contains(part), "{part}: {check:#?}");
        // Who asks before a job starts has no token yet.
        let rehearsal = site.glexec(["true"]).option("--check").with_status().run();
        let reason = if is_warned { Reason::Credential } else { Reason::Mapping };
        rehearsal.stopped(reason);
        mend();
        site.mode(file, 0o644);
    }
    call(&site, &SEVEN).run().exited(7);
    for file in [KEYS, MAPFILE] {
        std::fs::remove_file(site.path(file)).expect("a file");
        let ran = call(&site, &["true"]).run();
        ran.stopped(Reason::Mapping);
        assert!(ran.log.iter().any(|line| line.contains(&format!("{file} does not exist"))));
        mend();
    }
    // An issuer that stands there twice is nobody's.
    let twice = format!(
        "[[mapping.token]]\nissuer = \"{ISSUER}\"\nkeys = \"{KEYS}\"\naudience = [\"other\"]"
    );
    configure(&site, "", "", &twice);
    call(&site, &["true"]).run().stopped(Reason::Mapping);
}

#[test]
fn a_subject_of_a_token_is_banned_with_its_issuer() {
    let (site, issuer) = site();
    configure(&site, "", &format!("banned = [\"{ISSUER},alice\"]"), "");
    let ran = call(&site, &["true"]).run();
    assert_eq!(ran.stopped(Reason::Banned).error(), "[gLExec]: refused\n");
    present(&site, issuer.token("bob-2"));
    call(&site, &SEVEN).run().exited(7);
}

#[test]
fn a_payload_has_a_copy_of_the_token_for_as_long_as_it_runs() {
    let (site, issuer) = site();
    let shows =
        "echo $BEARER_TOKEN_FILE; stat -c '%a %U' $BEARER_TOKEN_FILE; cat $BEARER_TOKEN_FILE";
    let shown = |call: Call<'_>| {
        let output = call.run().exited(0).output();
        let lines: Vec<String> = output.lines().map(str::to_owned).collect();
        assert_eq!(lines[1..], ["600 payload1".to_owned(), site.read(TOKEN)], "{output}");
        assert!(!site.path(&lines[0]).exists(), "{output}");
        lines[0].clone()
    };
    let shows = ["/bin/sh", "-c", shows];
    let usual = shown(call(&site, &shows));
    assert!(usual.starts_with("/tmp/bt_u42002.glexec."), "{usual}");
    let found = site.glexec(shows).with_status().env("BEARER_TOKEN_FILE", TOKEN);
    assert_ne!(shown(found), usual);
    let named = "/home/payload1/t";
    assert_eq!(shown(call(&site, &shows).env("GLEXEC_TARGET_TOKEN", named)), named);
    let none = call(&site, &LOOK).env("GLEXEC_TARGET_TOKEN", "/dev/null").run();
    assert_eq!(none.look().variable("BEARER_TOKEN_FILE"), None);
    for (target, part) in [
        ("/root/t", "Permission denied"),
        ("/etc/passwd", "not permitted"),
        ("relative", "GLEXEC_TARGET_TOKEN is no absolute path"),
    ] {
        let ran = call(&site, &["true"]).env("GLEXEC_TARGET_TOKEN", target).run();
        let said = ran.stopped(Reason::Credential).error();
        assert!(said.contains(part), "{target}: {part:?} is not in {said}");
    }
    // Without a command it is renewed, and stays.
    present(&site, issuer.token("alice"));
    let renewal = site.glexec::<&str>([]).env("GLEXEC_CLIENT_TOKEN", TOKEN);
    renewal.env("GLEXEC_TARGET_TOKEN", named).with_status().run().exited(0);
    assert_eq!(site.read(named), site.read(TOKEN));
}

#[test]
fn an_administrator_is_told_whom_a_token_is_mapped_to() {
    let (site, issuer) = site();
    let admin = |words: &[&str]| {
        let words = [&["/usr/sbin/glexec-admin"], words].concat();
        site.program(words).by("root").run()
    };
    let told = admin(&["map", "--token", TOKEN]).exited(0).output();
    assert!(told.contains(&format!("{ISSUER},alice")), "{told}");
    assert!(told.contains("payload1 (uid 42002"), "{told}");
    let told = admin(&["map", "--token", TOKEN, "--json"]).exited(0).output();
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["accounts"][0]["name"], "payload1");
    for (token, part) in [
        (issuer.token("stranger"), "no line of /etc/grid-security/token-mapfile maps"),
        (String::new(), "is empty"),
    ] {
        present(&site, token);
        let told = admin(&["map", "--token", TOKEN]).exited(1).output();
        assert!(told.contains(part), "{told}");
    }
    assert!(admin(&["map", "--dn", "/CN=x"]).exited(1).output().contains("nobody by credential"));
    assert_eq!(admin(&["map", "--token", TOKEN, "--dn", "/CN=x"]).code(), 2);
    let check = admin(&["check"]).exited(0).output();
    for part in ["2 keys", "5 lines", "1 accounts that do not exist: ghost"] {
        assert!(check.contains(part), "{part}: {check}");
    }
    site.file(MAPFILE, format!("{MAP}SCITOKENS /x,y/ payload1\n"), 0o644);
    let check = admin(&["check"]).exited(0).output();
    assert!(check.contains(":8: its expression is not bound"), "{check}");
}
