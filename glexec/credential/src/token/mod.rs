//! Bearer tokens (`SciTokens`, WLCG): JSON Web Tokens (RFC 7519) that an issuer has signed, verified
//! with the keys that the site has of it, without asking anybody.
//!
//! The form is taken apart here, with libcrypto, base64 and `serde_json`: the libraries for it bring a
//! second cryptography into this program, or much that nobody here needs.

mod claims;
mod form;
mod keys;

use crate::refused::Refused;
use crate::site_file::MapFile;
pub(crate) use claims::twice;
use keys::Keys;
pub(crate) use keys::inspect;

/// The longest token: a header of HTTP has no more.
const MOST: usize = 64 << 10;

/// An issuer that the site believes, and what its tokens must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Its name, as `iss` has it.
    pub name: String,
    /// Its public keys: a JWK Set, or one key in PEM.
    pub keys: Option<MapFile>,
    /// For one of these a token must be.
    pub audiences: Vec<String>,
    /// Each of these its scope must have.
    pub scopes: Vec<String>,
}

/// What a token is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    /// Issuer and subject with a comma between them, as `HTCondor` maps them.
    pub principal: String,
    /// When it ends, in seconds since 1970.
    pub until: i64,
}

/// At which moment a token is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Seconds since 1970.
    pub now: i64,
    /// By so many seconds the issuer's clock may differ.
    pub skew: i64,
}

/// Verifies the token in the text of a file.
///
/// # Errors
/// [`Refused::credential`] where it cannot be accepted, [`Refused::site`] where the issuer's keys
/// cannot be used.
pub fn verify(text: &[u8], issuers: &[Issuer], clock: Clock) -> Result<VerifiedToken, Refused> {
    let text = text.trim_ascii();
    if text.len() > MOST {
        return Err(Refused::credential(format!("is longer than {MOST} bytes")));
    }
    let token = form::Token::of(text)?;
    let issuer = claims::issuer(&token.claims, issuers)?;
    let file = issuer.keys.as_ref().ok_or_else(|| Refused::site("an issuer has no `keys`"))?;
    let keys = Keys::of(&file.read()?).map_err(|why| Refused::site(format!("{} {why}", file.path)));
    keys?.verify(&token, &file.path)?;
    claims::judge(&token.claims, issuer, clock)
}

/// What a token says, as a sentence may quote it.
fn quoted(said: &str) -> String {
    const LONGEST: usize = 200;
    system::text::cut(system::text::one_line(said), LONGEST)
}

#[cfg(test)]
mod tests;
