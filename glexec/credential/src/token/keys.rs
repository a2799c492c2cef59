//! The public keys of an issuer: a JWK Set (RFC 7517), or one key in PEM. Each key is for one
//! algorithm, whatever a token says.

use super::form::{Members, Token};
use super::quoted;
use crate::refused::Refused;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Public};
use openssl::rsa::Rsa;
use openssl::sha::sha256;
use openssl::sign::Verifier;
use serde::Deserialize;
use serde_json::Value;

/// The algorithms that are accepted (RFC 7518, 3.1).
const ES256: &str = "ES256";
const RS256: &str = "RS256";
/// The bytes of a number of P-256.
const NUMBER: usize = 32;

/// What an issuer's file holds.
pub(super) struct Keys(Vec<Key>);

struct Key {
    /// What tokens call it; a key in PEM is meant whatever they say.
    name: Name,
    key: PublicKey,
}

#[derive(PartialEq, Eq)]
enum Name {
    Any,
    None,
    Is(String),
}

enum PublicKey {
    /// For ES256.
    P256(EcKey<Public>),
    /// For RS256.
    Rsa(PKey<Public>),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Members>,
}

impl Keys {
    /// Reads a file; where it cannot be used what follows its path: why, and what to do.
    pub(super) fn of(text: &[u8]) -> Result<Self, String> {
        const CURE: &str =
            "put the issuer's JWK Set there, as it publishes it, or one public key in PEM";
        Self::read(text).map_err(|why| format!("{why}; {CURE}"))
    }

    fn read(text: &[u8]) -> Result<Self, String> {
        if text.trim_ascii_start().starts_with(b"-----BEGIN") {
            let key = PKey::public_key_from_pem(text).ok().as_ref().and_then(of_pem);
            let key = key.ok_or("holds no public key in PEM that is P-256 or RSA of 2048 bits")?;
            return Ok(Self(vec![Key { name: Name::Any, key }]));
        }
        let set: Set = serde_json::from_slice(text)
            .map_err(|error| format!("is neither a JWK Set nor a key in PEM: {error}"))?;
        let mut keys: Vec<Key> = Vec::new();
        for (at, members) in set.keys.iter().enumerate() {
            let number = at + 1;
            let key =
                of_jwk(members).map_err(|why| format!("has a key, number {number}, {why}"))?;
            let Some(key) = key else { continue };
            let name = members.text("kid").map_or(Name::None, |name| Name::Is(name.to_owned()));
            if keys.iter().any(|other| other.name == name && name != Name::None) {
                return Err(format!("has two keys of one `kid`, the second is number {number}"));
            }
            keys.push(Key { name, key });
        }
        if keys.is_empty() {
            return Err(format!("has no key for {ES256} or {RS256} in it"));
        }
        Ok(Self(keys))
    }

    /// That a token is signed with one of them, which is the one that it names, or the only one.
    pub(super) fn verify(&self, token: &Token<'_>, path: &str) -> Result<(), Refused> {
        let said = quoted(&token.algorithm);
        if ![ES256, RS256].contains(&token.algorithm.as_str()) {
            let why = format!("is signed by `{said}` (`alg`): {ES256} and {RS256} are accepted");
            return Err(Refused::credential(why));
        }
        let key = self.meant(token.key.as_deref(), path)?;
        let algorithm = key.algorithm();
        if token.algorithm != algorithm {
            let why = format!("is signed by `{said}` (`alg`), and its key is for {algorithm}");
            return Err(Refused::credential(why));
        }
        if !key.has_signed(token.signed, &token.signature) {
            let why = "has a signature that is not its issuer's";
            return Err(Refused::credential(why).detail(format!("by the keys in {path}")));
        }
        Ok(())
    }

    fn meant(&self, name: Option<&str>, path: &str) -> Result<&PublicKey, Refused> {
        let is_it = |key: &&Key| match (&key.name, name) {
            (Name::Any, _) => true,
            (Name::Is(is), Some(name)) => is == name,
            (Name::None, Some(_)) => false,
            (Name::None | Name::Is(_), None) => self.0.len() == 1,
        };
        if let Some(found) = self.0.iter().find(is_it) {
            return Ok(&found.key);
        }
        Err(match name {
            Some(name) => {
                let why = "is signed with a key that this site does not have (`kid`)";
                Refused::credential(why).detail(format!("{path} has no key `{}`", quoted(name)))
            }
            None => {
                let why = "does not say with which of its issuer's keys it is signed (`kid`)";
                Refused::credential(why).detail(format!("{path} has {} keys", self.0.len()))
            }
        })
    }
}

impl PublicKey {
    const fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => ES256,
            Self::Rsa(_) => RS256,
        }
    }

    fn has_signed(&self, text: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::P256(key) => of_p256(key, text, signature),
            Self::Rsa(key) => Verifier::new(MessageDigest::sha256(), key)
                .and_then(|mut verifier| verifier.verify_oneshot(signature, text)),
        };
        verified.unwrap_or(false)
    }
}

/// RFC 7518, 3.4: the two numbers one after the other, and not in DER.
fn of_p256(key: &EcKey<Public>, text: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
    if signature.len() != 2 * NUMBER {
        return Ok(false);
    }
    let (r, s) = signature.split_at(NUMBER);
    let signature =
        EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?;
    signature.verify(&sha256(text), key)
}

fn of_pem(key: &PKey<Public>) -> Option<PublicKey> {
    if let Ok(key) = key.ec_key() {
        let is_p256 = key.group().curve_name() == Some(Nid::X9_62_PRIME256V1);
        return is_p256.then_some(PublicKey::P256(key));
    }
    of_rsa(key.rsa().ok()?).ok()
}

/// A key of a set; `None` for one of another kind or use. A clause where it is none at all.
fn of_jwk(key: &Members) -> Result<Option<PublicKey>, String> {
    let is = |name: &str, wanted: &str| key.text(name).is_none_or(|text| text == wanted);
    if let Some(doubled) = &key.doubled {
        return Err(format!("that says `{}` twice", quoted(doubled)));
    }
    let may_verify = key.find("key_ops").and_then(Value::as_array);
    let may_verify = may_verify.is_none_or(|all| all.iter().any(|one| one == "verify"));
    if !is("use", "sig") || !may_verify {
        return Ok(None);
    }
    let (kind, number) = (key.text("kty"), |name| number(key, name));
    let read = if kind == Some("EC") && key.text("crv") == Some("P-256") && is("alg", ES256) {
        p256(&number("x")?, &number("y")?).map(PublicKey::P256)
    } else if kind == Some("RSA") && is("alg", RS256) {
        let (modulus, exponent) = (number("n")?, number("e")?);
        let rsa = BigNum::from_slice(&modulus).and_then(|modulus| {
            Rsa::from_public_components(modulus, BigNum::from_slice(&exponent)?)
        });
        return of_rsa(rsa.map_err(|_| "that is no key".to_owned())?).map(Some);
    } else {
        return Ok(None);
    };
    read.map(Some).map_err(|_| "that is no point of P-256".to_owned())
}

fn p256(x: &[u8], y: &[u8]) -> Result<EcKey<Public>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let (x, y) = (BigNum::from_slice(x)?, BigNum::from_slice(y)?);
    EcKey::from_public_key_affine_coordinates(&group, &x, &y)
}

/// RFC 7518, 3.3: of 2048 bits or more.
fn of_rsa(key: Rsa<Public>) -> Result<PublicKey, String> {
    const LEAST: i32 = 2048;
    const MOST: i32 = 16_384;
    let exponent = key.e();
    if !(LEAST..=MOST).contains(&key.n().num_bits())
        || !(2..=64).contains(&exponent.num_bits())
        || !exponent.is_bit_set(0)
    {
        return Err(format!("that is not RSA of {LEAST} to {MOST} bits"));
    }
    PKey::from_rsa(key).map(PublicKey::Rsa).map_err(|_| "that is no key".to_owned())
}

fn number(key: &Members, name: &str) -> Result<Vec<u8>, String> {
    let text = key.text(name).ok_or_else(|| format!("without `{name}`"))?;
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("whose `{name}` is not base64url"))
}

/// How many keys a file has, or a clause that says why it cannot be used.
pub(crate) fn inspect(text: &[u8]) -> Result<usize, String> {
    Keys::of(text).map(|keys| keys.0.len())
}
