//! An issuer of bearer tokens: JSON Web Tokens that openssl(1) signs, with a key on P-256 or of RSA.

use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// The name of the tests' issuer.
pub const ISSUER: &str = "https://issuer.trial.example/";
/// For whom its tokens are.
pub const AUDIENCE: &str = "https://node.trial.example";

/// An issuer's private keys: `e`, for ES256, and `r`, for RS256.
#[derive(Debug)]
pub struct Issuer {
    base: TempDir,
}

impl Issuer {
    /// One with new keys.
    pub fn new() -> Self {
        let issuer = Self { base: tempfile::tempdir().expect("a directory") };
        issuer.openssl(
            &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "e"],
            b"",
        );
        let size = "rsa_keygen_bits:2048";
        issuer.openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", size, "-out", "r"], b"");
        issuer
    }

    /// Its public keys, as it publishes them (RFC 7517).
    pub fn keys(&self) -> Value {
        json!({"keys": [self.p256_key(), self.rsa_key()]})
    }

    /// The public key `e`.
    pub fn p256_key(&self) -> Value {
        let der = self.openssl(&["pkey", "-in", "e", "-pubout", "-outform", "DER"], b"");
        // An uncompressed point is the last of it.
        let (x, y) = der[der.len() - 64..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "kid": "e", "x": base64url(x), "y": base64url(y)})
    }

    /// The public key `r`.
    pub fn rsa_key(&self) -> Value {
        let told = self.openssl(&["rsa", "-in", "r", "-noout", "-modulus"], b"");
        let hex = String::from_utf8(told).expect("text");
        let hex = hex.trim().strip_prefix("Modulus=").expect("a modulus");
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("a byte");
        let modulus: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        json!({"kty": "RSA", "kid": "r", "alg": "RS256", "n": base64url(&modulus), "e": "AQAB"})
    }

    /// The public key `e` in PEM.
    pub fn pem(&self) -> String {
        String::from_utf8(self.openssl(&["pkey", "-in", "e", "-pubout"], b"")).expect("text")
    }

    /// What a good token for this subject says.
    pub fn claims(subject: &str) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
        json!({
            "iss": ISSUER, "sub": subject, "aud": AUDIENCE, "exp": now + 3600, "nbf": now, "iat": now,
            "scope": "storage.read:/ compute.create", "wlcg.ver": "1.0",
        })
    }

    /// A good token for this subject.
    pub fn token(&self, subject: &str) -> String {
        self.sign(r#"{"alg":"ES256","kid":"e"}"#, &Self::claims(subject).to_string())
    }

    /// A token with this header and these claims, signed by ES256, or by RS256 where the header has
    /// that word.
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let text = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
        let key = if header.contains("RS256") { "r" } else { "e" };
        let signature = self.openssl(&["dgst", "-sha256", "-sign", key], text.as_bytes());
        let signature = if key == "e" { numbers(&signature) } else { signature };
        format!("{text}.{}", base64url(&signature))
    }

    fn openssl(&self, words: &[&str], input: &[u8]) -> Vec<u8> {
        fs::write(self.base.path().join("input"), input).expect("a file");
        let input = fs::File::open(self.base.path().join("input")).expect("a file");
        let mut command = Command::new("openssl");
        command.args(words).current_dir(self.base.path()).stdin(Stdio::from(input));
        let told = command.output().expect("openssl is missing: tests/run installs it");
        assert!(told.status.success(), "{words:?}: {}", String::from_utf8_lossy(&told.stderr));
        told.stdout
    }
}

impl Default for Issuer {
    fn default() -> Self {
        Self::new()
    }
}

/// The two numbers of a signature in DER, each in 32 bytes (RFC 7518, 3.4).
fn numbers(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut all = Vec::new();
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        all.extend(vec![0; 32 - number.len()]);
        all.extend(number);
        rest = &rest[2 + length..];
    }
    all
}

/// Base64 for addresses and without padding (RFC 4648, 5).
pub fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..=three.len() {
            let six = bits >> (18 - 6 * at) & 63;
            text.push(char::from(LETTERS[usize::try_from(six).expect("six bits")]));
        }
    }
    text
}
