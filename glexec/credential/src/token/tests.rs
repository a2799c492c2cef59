use super::*;
use crate::refused::Whose;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

const NOW: i64 = 1_800_000_000;
const CLOCK: Clock = Clock { now: NOW, skew: 60 };

/// The keys of an issuer, and its set of their public halves.
struct Issuing {
    p256: EcKey<Private>,
    rsa: PKey<Private>,
}

static ISSUING: LazyLock<Issuing> = LazyLock::new(|| {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let p256 = EcKey::generate(&group).unwrap();
    Issuing { p256, rsa: PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap() }
});

impl Issuing {
    fn p256_jwk(&self) -> Value {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let mut context = BigNumContext::new().unwrap();
        let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
        let point = self.p256.public_key();
        point.affine_coordinates(&group, &mut x, &mut y, &mut context).unwrap();
        let number = |n: BigNum| BASE64.encode(n.to_vec_padded(32).unwrap());
        json!({"kty": "EC", "crv": "P-256", "kid": "e", "x": number(x), "y": number(y)})
    }

    fn rsa_jwk(&self) -> Value {
        let rsa = self.rsa.rsa().unwrap();
        let (n, e) = (BASE64.encode(rsa.n().to_vec()), BASE64.encode(rsa.e().to_vec()));
        json!({"kty": "RSA", "kid": "r", "use": "sig", "alg": "RS256", "n": n, "e": e})
    }

    fn set(&self) -> Value {
        let other = json!({"kty": "OKP", "crv": "Ed25519", "kid": "o", "x": "AA"});
        json!({"keys": [other, self.p256_jwk(), self.rsa_jwk()]})
    }

    /// A token of these two texts, signed as the header says.
    fn sign(&self, header: &str, claims: &str) -> String {
        let text = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let signature = if header.contains("RS256") {
            let mut signer = Signer::new(MessageDigest::sha256(), &self.rsa).unwrap();
            signer.sign_oneshot_to_vec(text.as_bytes()).unwrap()
        } else {
            let digest = openssl::sha::sha256(text.as_bytes());
            let signature = EcdsaSig::sign(&digest, &self.p256).unwrap();
            let number = |n: &openssl::bn::BigNumRef| n.to_vec_padded(32).unwrap();
            [number(signature.r()), number(signature.s())].concat()
        };
        format!("{text}.{}", BASE64.encode(signature))
    }
}

const HEADER: &str = r#"{"alg":"ES256","kid":"e","typ":"JWT"}"#;

fn claims() -> Value {
    json!({
        "iss": "https://i.example/", "sub": "alice", "aud": "https://site.example",
        "exp": NOW + 600, "nbf": NOW - 5, "iat": NOW - 5, "scope": "storage.read:/ compute.create",
    })
}

fn with(name: &str, value: Value) -> String {
    let mut claims = claims();
    claims[name] = value;
    claims.to_string()
}

fn without(name: &str) -> String {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims.to_string()
}

fn issuer() -> Issuer {
    Issuer {
        name: "https://i.example/".to_owned(),
        keys: None,
        audiences: vec!["https://site.example".to_owned(), "other".to_owned()],
        scopes: vec!["compute.create".to_owned()],
    }
}

/// As [`verify`], with the keys in this text.
fn judged(token: &str, keys: &str) -> Result<VerifiedToken, Refused> {
    let token = form::Token::of(token.trim().as_bytes())?;
    let issuers = [issuer()];
    let issuer = claims::issuer(&token.claims, &issuers)?;
    let keys = Keys::of(keys.as_bytes()).map_err(|why| Refused::site(format!("/keys {why}")))?;
    keys.verify(&token, "/keys")?;
    claims::judge(&token.claims, issuer, CLOCK)
}

fn clause(token: &str) -> String {
    let refused = judged(token, &ISSUING.set().to_string()).expect_err(token);
    assert_eq!(refused.whose, Whose::Callers, "{token}");
    refused.clause
}

#[test]
fn a_token_of_a_known_issuer_is_believed() {
    let good = VerifiedToken { principal: "https://i.example/,alice".to_owned(), until: NOW + 600 };
    let set = ISSUING.set().to_string();
    let rsa = r#"{"alg":"RS256","kid":"r"}"#;
    for (header, claims) in [
        (HEADER, claims().to_string()),
        (rsa, claims().to_string()),
        (r#"{"typ":"application/at+jwt","alg":"ES256","kid":"e"}"#, claims().to_string()),
        (HEADER, with("aud", json!(["x", "other"]))),
        (HEADER, without("nbf")),
        (HEADER, without("iat")),
        (HEADER, with("iat", json!(NOW + 60))),
        (HEADER, with("extra", json!({"a": [1.5, null]}))),
    ] {
        assert_eq!(judged(&ISSUING.sign(header, &claims), &set), Ok(good.clone()), "{claims}");
    }
    let late = ISSUING.sign(HEADER, &with("exp", json!(NOW - 59)));
    assert!(judged(&late, &set).is_ok());
    // One key in PEM, whatever the token calls it.
    let pem = |key: PKey<Private>| String::from_utf8(key.public_key_to_pem().unwrap()).unwrap();
    let p256 = pem(PKey::from_ec_key(ISSUING.p256.clone()).unwrap());
    let token = ISSUING.sign(HEADER, &claims().to_string());
    assert_eq!(judged(&format!("\n{token}\n"), &p256), Ok(good.clone()));
    let token = ISSUING.sign(r#"{"alg":"RS256"}"#, &claims().to_string());
    assert_eq!(judged(&token, &pem(ISSUING.rsa.clone())), Ok(good));
    assert!(judged(&token, &p256).unwrap_err().clause.contains("its key is for ES256"));
}

#[test]
fn what_is_no_signed_token_is_refused_with_what_it_is_not() {
    let token = ISSUING.sign(HEADER, &claims().to_string());
    let (text, signature) = token.rsplit_once('.').unwrap();
    let bad_header = |header: &str| ISSUING.sign(header, &claims().to_string());
    let bad_claims = |claims: &str| ISSUING.sign(HEADER, claims);
    let doubled = claims().to_string().replacen('{', "{\"sub\":\"root\",", 1);
    for (token, part) in [
        (String::new(), "is empty"),
        ("\n \n".to_owned(), "is empty"),
        ("\u{1}\u{2}".to_owned(), "a byte that no token has"),
        ("a b.c.d".to_owned(), "a byte that no token has"),
        (format!("{token}="), "padding"),
        (text.to_owned(), "it has 2 parts"),
        (format!("{token}.x"), "it has 4 parts"),
        ("...".to_owned(), "it has 4 parts"),
        ("..".to_owned(), "no JSON object: its header"),
        ("e30.e30.".to_owned(), "has no `alg`"),
        ("x.x.x".to_owned(), "a header that is not base64url"),
        (format!("{text}.{}", &signature[..85]), "signature"),
        (format!("{}.x.x", BASE64.encode(HEADER)), "claims that is not base64url"),
        (bad_header("[]"), "no JSON object: its header"),
        (bad_header("{\"alg\":\"ES256\""), "no JSON object: its header"),
        (bad_header(r#"{"alg":5}"#), "has a `alg` that is no text"),
        (bad_header(r#"{"alg":"ES256","alg":"none"}"#), "says `alg` twice in its header"),
        (bad_header(r#"{"alg":"ES256","kid":7}"#), "has a `kid` that is no text"),
        (bad_header(r#"{"alg":"ES256","kid":"e","crit":["b64"],"b64":false}"#), "`crit`"),
        (bad_header(r#"{"alg":"ES256","kid":"e","typ":"logout+jwt"}"#), "kind `logout+jwt`"),
        (bad_claims("7"), "no JSON object: its claims"),
        (bad_claims("{}{}"), "no JSON object: its claims"),
        (bad_claims(&doubled), "says `sub` twice in its claims"),
        (bad_claims(&"[".repeat(40_000)), "no JSON object: its claims"),
    ] {
        let found = clause(&token);
        assert!(found.contains(part), "{part:?} is not in {found:?}: {token}");
    }
    let long = verify(&vec![b'x'; MOST + 1], &[issuer()], CLOCK).unwrap_err();
    assert!(long.clause.contains("longer than"), "{long:?}");
}

#[test]
fn only_a_key_of_the_issuers_and_only_its_algorithm_count() {
    let all = claims().to_string();
    let token = ISSUING.sign(HEADER, &all);
    let (text, signature) = token.rsplit_once('.').unwrap();
    let of = |header: &str| ISSUING.sign(header, &all);
    let secret = ISSUING.p256_jwk().to_string();
    let key = PKey::hmac(secret.as_bytes()).unwrap();
    let confused =
        format!("{}.{}", BASE64.encode(r#"{"alg":"HS256","kid":"e"}"#), BASE64.encode(&all));
    let mac = Signer::new(MessageDigest::sha256(), &key).unwrap();
    let mac = { mac }.sign_oneshot_to_vec(confused.as_bytes()).unwrap();
    let unsigned = format!("{}.{}.", BASE64.encode(r#"{"alg":"none"}"#), BASE64.encode(&all));
    let der = {
        let digest = openssl::sha::sha256(text.as_bytes());
        EcdsaSig::sign(&digest, &ISSUING.p256).unwrap().to_der().unwrap()
    };
    let other = text.replacen(&BASE64.encode(&all), &BASE64.encode(with("sub", json!("root"))), 1);
    for (token, part) in [
        (format!("{confused}.{}", BASE64.encode(mac)), "is signed by `HS256`"),
        (unsigned, "is signed by `none`"),
        (of(r#"{"alg":"ES384","kid":"e"}"#), "is signed by `ES384`"),
        (of(r#"{"alg":"es256","kid":"e"}"#), "is signed by `es256`"),
        (of(r#"{"alg":"RS256","kid":"e"}"#), "its key is for ES256"),
        (of(r#"{"alg":"ES256","kid":"r"}"#), "its key is for RS256"),
        (of(r#"{"alg":"ES256"}"#), "does not say with which"),
        (of(r#"{"alg":"ES256","kid":"gone"}"#), "a key that this site does not have"),
        (of(r#"{"alg":"ES256","kid":"o"}"#), "a key that this site does not have"),
        (format!("{other}.{signature}"), "not its issuer's"),
        (format!("{text}."), "not its issuer's"),
        (format!("{text}.{}", BASE64.encode([0; 64])), "not its issuer's"),
        (format!("{text}.{}", BASE64.encode([255; 64])), "not its issuer's"),
        (format!("{text}.{}", BASE64.encode(der)), "not its issuer's"),
    ] {
        let found = clause(&token);
        assert!(found.contains(part), "{part:?} is not in {found:?}");
        assert!(!found.contains(signature), "{found}");
    }
}

#[test]
fn what_an_issuer_has_signed_is_judged_claim_by_claim() {
    let site = || json!("https://site.example");
    for (claims, part) in [
        (without("iss"), "has no `iss`"),
        (with("iss", json!(["https://i.example/"])), "has a `iss` that is no text"),
        (with("iss", json!("https://evil.example/")), "does not know (`iss`)"),
        (with("iss", json!("https://i.example")), "differs by a `/`"),
        (with("iss", json!("https://i.example//")), "differs by a `/`"),
        (without("exp"), "has no `exp`"),
        (with("exp", json!(NOW - 60)), "not valid any more (`exp`)"),
        (with("exp", json!(-1)), "has a `exp` that is no whole number"),
        (with("exp", json!(1.5e9)), "has a `exp` that is no whole number"),
        (with("exp", json!(u64::MAX)), "has a `exp` that is no whole number"),
        (with("exp", json!(i64::MAX)), "has a `exp` that is no whole number"),
        (with("exp", json!("2000000000")), "has a `exp` that is no whole number"),
        (with("exp", Value::Null), "has a `exp` that is no whole number"),
        (claims().to_string().replace(&(NOW + 600).to_string(), "1e999"), "no JSON object"),
        (claims().to_string().replace(&(NOW + 600).to_string(), &"9".repeat(300)), "`exp`"),
        (with("nbf", json!(NOW + 61)), "not valid yet (`nbf`)"),
        (with("nbf", json!(0.5)), "has a `nbf` that is no whole number"),
        (with("iat", json!(NOW + 61)), "in the future (`iat`)"),
        (without("aud"), "has no `aud`"),
        (with("aud", json!("https://site.example/")), "for another audience"),
        (with("aud", json!([])), "for another audience"),
        (with("aud", json!([site(), 7])), "neither a text nor texts"),
        (with("aud", json!({"a": site()})), "neither a text nor texts"),
        (without("scope"), "has no `scope`"),
        (with("scope", json!("compute.created xcompute.create")), "the scope compute.create"),
        (with("scope", json!(["compute.create"])), "has a `scope` that is no text"),
        (without("sub"), "has no `sub`"),
        (with("sub", json!(7)), "has a `sub` that is no text"),
        (with("sub", json!("")), "no line can name"),
        (with("sub", json!("a,b")), "no line can name"),
        (with("sub", json!("a\nb")), "no line can name"),
        (with("sub", json!("a\u{0}b")), "no line can name"),
        (with("sub", json!("\u{e4}")), "no line can name"),
        (with("sub", json!("x".repeat(1025))), "no line can name"),
    ] {
        let found = clause(&ISSUING.sign(HEADER, &claims));
        assert!(found.contains(part), "{part:?} is not in {found:?}: {claims}");
    }
    // Without a scope that is asked for, none needs to be there.
    let token = ISSUING.sign(HEADER, &without("scope"));
    let token = form::Token::of(token.as_bytes()).unwrap();
    let issuer = Issuer { scopes: vec![], ..issuer() };
    assert!(claims::judge(&token.claims, &issuer, CLOCK).is_ok());
}

#[test]
fn keys_that_cannot_be_used_are_the_sites_fault() {
    let token = ISSUING.sign(HEADER, &claims().to_string());
    let p256 = ISSUING.p256_jwk();
    let changed = |name: &str, value: Value| {
        let mut key = p256.clone();
        key[name] = value;
        json!({"keys": [key]}).to_string()
    };
    let small = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
    let small = String::from_utf8(small.public_key_to_pem().unwrap()).unwrap();
    for (keys, part) in [
        (String::new(), "neither a JWK Set nor a key in PEM"),
        ("{}".to_owned(), "neither a JWK Set nor a key in PEM"),
        (r#"{"keys":[],"keys":[]}"#.to_owned(), "neither a JWK Set nor a key in PEM"),
        (r#"{"keys":[]}"#.to_owned(), "no key for ES256 or RS256"),
        (json!({"keys": [p256, p256]}).to_string(), "two keys of one `kid`"),
        (changed("kty", json!("oct")), "no key for ES256 or RS256"),
        (changed("crv", json!("P-384")), "no key for ES256 or RS256"),
        (changed("alg", json!("ES384")), "no key for ES256 or RS256"),
        (changed("use", json!("enc")), "no key for ES256 or RS256"),
        (changed("key_ops", json!(["sign"])), "no key for ES256 or RS256"),
        (changed("x", json!("AAAA")), "number 1, that is no point of P-256"),
        (changed("x", json!("=")), "number 1, whose `x` is not base64url"),
        (changed("x", json!(7)), "number 1, without `x`"),
        (small, "RSA of 2048 bits"),
        ("-----BEGIN PUBLIC KEY-----\nx\n".to_owned(), "no public key in PEM"),
    ] {
        let refused = judged(&token, &keys).expect_err(&keys);
        assert_eq!(refused.whose, Whose::Sites, "{keys}");
        assert!(refused.detail.contains(part), "{part:?} is not in {refused:?}");
    }
    // A key that was taken out of the set is revoked.
    let revoked = json!({"keys": [ISSUING.rsa_jwk()]}).to_string();
    let refused = judged(&token, &revoked).unwrap_err();
    assert!(refused.clause.contains("does not have (`kid`)"), "{refused:?}");
    assert!(refused.detail.contains("/keys has no key `e`"), "{refused:?}");
}

proptest! {
    #[test]
    fn no_bytes_stop_the_reading(text: Vec<u8>, tail in "[A-Za-z0-9_.-]{0,40}") {
        prop_assert!(verify(&text, &[issuer()], CLOCK).is_err());
        prop_assert!(verify(tail.as_bytes(), &[issuer()], CLOCK).is_err());
        prop_assert!(Keys::of(&text).is_err());
    }

    #[test]
    fn a_token_with_any_byte_changed_is_refused(at in 0..1000_usize, byte in "[A-Za-z0-9_-]") {
        static TOKEN: LazyLock<(String, String)> = LazyLock::new(|| {
            (ISSUING.sign(HEADER, &claims().to_string()), ISSUING.set().to_string())
        });
        let (token, keys) = &*TOKEN;
        let mut changed = token.clone().into_bytes();
        let at = at % changed.len();
        changed[at] = byte.as_bytes()[0];
        let changed = String::from_utf8(changed).unwrap();
        prop_assert_eq!(judged(&changed, keys).is_ok(), changed == *token);
    }
}
