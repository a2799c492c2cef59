//! The compact form of a signed token (RFC 7515, 7.1): header, claims and signature in base64url,
//! with dots between them.

use super::quoted;
use crate::refused::Refused;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// A token, taken apart; nothing of it is verified.
#[derive(Debug)]
pub(super) struct Token<'t> {
    /// How it says that it is signed.
    pub(super) algorithm: String,
    /// The name of the key it says that it is signed with.
    pub(super) key: Option<String>,
    /// What it says.
    pub(super) claims: Members,
    /// What is signed.
    pub(super) signed: &'t [u8],
    pub(super) signature: Vec<u8>,
}

impl<'t> Token<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`Refused::credential`].
    pub(super) fn of(text: &'t [u8]) -> Result<Self, Refused> {
        let refused = |why: &str| Err(Refused::credential(why));
        let in_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        match text.iter().find(|byte| !in_token(byte)) {
            None if text.is_empty() => return refused("is empty"),
            None => {}
            Some(b'=') => return refused("has padding (`=`), which a token has not"),
            Some(_) => return refused("holds no token: it has a byte that no token has"),
        }
        let parts: Vec<&[u8]> = text.split(|byte| *byte == b'.').collect();
        let [header, claims, signature] = parts.as_slice() else {
            let count = parts.len();
            return Err(Refused::credential(format!(
                "holds no signed token: it has {count} parts between dots, and not three"
            )));
        };
        let signed = text.get(..=header.len() + claims.len()).unwrap_or_default();
        let (header, claims) = (members(header, "header")?, members(claims, "claims")?);
        let signature = decoded(signature, "signature")?;
        let (algorithm, key) = heading(&header)?;
        Ok(Self { algorithm, key, claims, signed, signature })
    }
}

fn decoded(part: &[u8], name: &str) -> Result<Vec<u8>, Refused> {
    let why = |_| Refused::credential(format!("has a {name} that is not base64url"));
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(why)
}

fn members(part: &[u8], name: &str) -> Result<Members, Refused> {
    let why = |_| Refused::credential(format!("has a part that is no JSON object: its {name}"));
    let members: Members = serde_json::from_slice(&decoded(part, name)?).map_err(why)?;
    match &members.doubled {
        Some(doubled) => {
            Err(Refused::credential(format!("says `{}` twice in its {name}", quoted(doubled))))
        }
        None => Ok(members),
    }
}

/// Algorithm and key. What else stands there (keys, addresses of keys) is the token's own word for
/// itself, and nothing is taken from it.
fn heading(header: &Members) -> Result<(String, Option<String>), Refused> {
    let text = |name: &str| match header.find(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Refused::credential(format!("has a `{name}` that is no text"))),
    };
    // RFC 7515, 4.1.11: who does not know an extension that is critical must not accept the token.
    if header.find("crit").is_some() {
        return Err(Refused::credential(
            "has `crit` in its header, and no extension is known here",
        ));
    }
    // RFC 8725, 3.11: what an issuer signs for another use is no access token.
    let kind = text("typ")?.map(|kind| kind.to_ascii_lowercase());
    let kind = kind.as_ref().map(|kind| kind.strip_prefix("application/").unwrap_or(kind));
    if let Some(kind) = kind.filter(|kind| !["jwt", "at+jwt"].contains(kind)) {
        return Err(Refused::credential(format!("is of the kind `{}` (`typ`)", quoted(kind))));
    }
    let algorithm = text("alg")?.ok_or_else(|| Refused::credential("has no `alg`"))?;
    Ok((algorithm, text("kid")?))
}

/// The members of a JSON object.
#[derive(Debug, Default)]
pub(super) struct Members {
    all: BTreeMap<String, Value>,
    /// The first name that stands there twice, which JSON allows and of which nobody can tell the
    /// meaning.
    pub(super) doubled: Option<String>,
}

impl Members {
    pub(super) fn find(&self, name: &str) -> Option<&Value> {
        self.all.get(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.find(name).and_then(Value::as_str)
    }
}

impl<'d> Deserialize<'d> for Members {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'d> Visitor<'d> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'d>>(self, mut object: A) -> Result<Members, A::Error> {
                let mut members = Members::default();
                while let Some((name, value)) = object.next_entry::<String, Value>()? {
                    if members.all.insert(name.clone(), value).is_some() {
                        members.doubled.get_or_insert(name);
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Object)
    }
}
