//! What a token says, and whether that is enough. RFC 7519, 4.1; RFC 9068, 2.2.

use super::form::Members;
use super::{Clock, Issuer, VerifiedToken, quoted};
use crate::refused::Refused;
use serde_json::Value;

/// The longest subject.
const LONGEST_SUBJECT: usize = 1024;
/// The last second of the year 9999.
const LAST: i64 = 253_402_300_799;

/// The issuer, which is not verified yet, by the site's list.
///
/// # Errors
/// [`Refused::credential`].
pub(super) fn issuer<'i>(claims: &Members, issuers: &'i [Issuer]) -> Result<&'i Issuer, Refused> {
    let said = text(claims, "iss")?;
    let mut found = issuers.iter().filter(|issuer| issuer.name == said);
    match (found.next(), found.next()) {
        (Some(issuer), None) => return Ok(issuer),
        (Some(_), Some(_)) => return Err(Refused::site(twice(said))),
        (None, _) => {}
    }
    let bare = |name: &str| name.trim_end_matches('/').to_owned();
    let is_near = issuers.iter().any(|issuer| bare(&issuer.name) == bare(said));
    let why = match is_near {
        true => "has an issuer that differs by a `/` from one of this site's (`iss`)",
        false => "has an issuer that this site does not know (`iss`)",
    };
    Err(Refused::credential(why).detail(format!("its issuer is `{}`", quoted(said))))
}

/// What is wrong with two rows of one issuer: which of them was meant cannot be told.
pub(crate) fn twice(issuer: &str) -> String {
    format!("[[mapping.token]] has the issuer {issuer} twice")
}

/// Judges what the issuer has signed.
///
/// # Errors
/// [`Refused::credential`].
pub(super) fn judge(
    claims: &Members,
    issuer: &Issuer,
    clock: Clock,
) -> Result<VerifiedToken, Refused> {
    let until = times(claims, clock)?;
    audience(claims, issuer)?;
    scope(claims, issuer)?;
    let subject = text(claims, "sub")?;
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b',';
    if subject.is_empty() || subject.len() > LONGEST_SUBJECT || !subject.bytes().all(plain) {
        let why = "has a subject that no line can name (`sub`): a comma, or what cannot be printed, in it";
        return Err(Refused::credential(why));
    }
    Ok(VerifiedToken { principal: format!("{},{subject}", issuer.name), until })
}

fn text<'c>(claims: &'c Members, name: &str) -> Result<&'c str, Refused> {
    match claims.find(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Refused::credential(format!("has a `{name}` that is no text"))),
        None => Err(Refused::credential(format!("has no `{name}`"))),
    }
}

/// When it ends.
fn times(claims: &Members, Clock { now, skew }: Clock) -> Result<i64, Refused> {
    let (until, from, issued) = (time(claims, "exp")?, time(claims, "nbf")?, time(claims, "iat")?);
    let until = until.ok_or_else(|| Refused::credential("has no `exp`"))?;
    let is_to_come = |moment: i64| moment > now.saturating_add(skew);
    let why = if now >= until.saturating_add(skew) {
        "is not valid any more (`exp`)"
    } else if from.is_some_and(is_to_come) {
        "is not valid yet (`nbf`)"
    } else if issued.is_some_and(is_to_come) {
        "was issued in the future (`iat`)"
    } else {
        return Ok(until);
    };
    Err(Refused::credential(why).detail(format!("the time here is {now} s after 1970")))
}

/// Whole numbers only: of what has a fraction, or an exponent, nobody counts on the rest.
fn time(claims: &Members, name: &str) -> Result<Option<i64>, Refused> {
    let Some(said) = claims.find(name) else { return Ok(None) };
    let time = said.as_i64().filter(|time| (0..=LAST).contains(time));
    let why = || format!("has a `{name}` that is no whole number of seconds from 1970 to 9999");
    time.map(Some).ok_or_else(|| Refused::credential(why()))
}

fn audience(claims: &Members, issuer: &Issuer) -> Result<(), Refused> {
    let is_ours = |said: &Value| issuer.audiences.iter().any(|own| said == own.as_str());
    let good = match claims.find("aud") {
        None => return Err(Refused::credential("has no `aud`")),
        Some(Value::Array(all)) if all.iter().all(Value::is_string) => all.iter().any(is_ours),
        Some(one @ Value::String(_)) => is_ours(one),
        Some(_) => {
            return Err(Refused::credential("has an `aud` that is neither a text nor texts"));
        }
    };
    let own = issuer.audiences.join(", ");
    let why = || Refused::credential("is for another audience (`aud`)");
    if good { Ok(()) } else { Err(why().detail(format!("this site is {own}"))) }
}

fn scope(claims: &Members, issuer: &Issuer) -> Result<(), Refused> {
    if issuer.scopes.is_empty() {
        return Ok(());
    }
    let said = text(claims, "scope")?;
    match issuer.scopes.iter().find(|wanted| !said.split(' ').any(|word| word == *wanted)) {
        None => Ok(()),
        Some(wanted) => {
            Err(Refused::credential(format!("does not have the scope {wanted} (`scope`)")))
        }
    }
}
