//! What a credential is worth: a path from its first certificate to an authority of the site's, and
//! what RFC 3820 asks of it beyond what libcrypto does.

use crate::authorities::Authorities;
use crate::certificate::{Parts, Proxy};
use crate::path::{Chain, shown, unreadable};
use crate::refused::Refused;
use crate::subject;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Private, Public};
use openssl::rand::rand_bytes;
use openssl::sign::{Signer, Verifier};
use openssl::x509::{X509, X509Ref};

/// More certificates are no chain.
const MOST: usize = 64;

/// What a site accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Proxies of RFC 3820.
    pub rfc3820: bool,
    /// A user's own certificate, without a proxy.
    pub plain: bool,
    /// Credentials without their private key.
    pub without_key: bool,
}

/// A credential that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The subject of the user's own certificate.
    pub subject: String,
    /// When the first certificate of its path ends, in seconds since 1970.
    pub until: i64,
    /// The verified path as text: its first certificate, the private key where there is one, and
    /// the others, but for the authority's own that ends it.
    pub pem: Vec<u8>,
}

/// Verifies a credential as it stands in a file, at this moment.
///
/// # Errors
/// [`Refused`].
pub fn verify(pem: &[u8], rules: Rules, authorities: &Authorities) -> Result<Verified, Refused> {
    if [&b"-----BEGIN ENCRYPTED"[..], b",ENCRYPTED"].iter().any(|mark| has(pem, mark)) {
        return Err(Refused::credential("is encrypted, and nobody is there to type a pass phrase"));
    }
    let certificates = certificates(pem)?;
    let leaf =
        certificates.first().ok_or_else(|| Refused::credential("has no certificate in it"))?;
    let key = key(pem, leaf, rules)?;
    let above = authorities.above(&certificates)?;
    let chain = Chain { above: &above, certificates: &certificates };
    let path = chain.path(leaf)?;
    let encoded: Vec<Vec<u8>> = each(&path, |one| one.to_der())?;
    let parts: Vec<Parts<'_>> = encoded.iter().map(|der| parts(der)).collect::<Result<_, _>>()?;
    let user = users_own(&parts, rules)?;
    for certificate in &certificates {
        let der = certificate.to_der().map_err(unreadable)?;
        if !encoded.contains(&der) {
            return Err(Refused::credential("holds a certificate that is not of its chain")
                .detail(shown(certificate)));
        }
    }
    let subject = text(parts.get(user))?;
    let issued: Vec<&X509Ref> = path.iter().skip(user).map(AsRef::as_ref).collect();
    signed_by_right(&issued, &above, authorities)?;
    for pair in issued.windows(2) {
        if let [certificate, _] = pair {
            chain.is_not_revoked(certificate, authorities)?;
        }
    }
    let ends = path.iter().map(|one| seconds(one.not_after()));
    let until =
        ends.min().flatten().ok_or_else(|| Refused::credential("has no end that can be read"))?;
    Ok(Verified { subject, until, pem: as_text(&path, key.as_ref()).map_err(unreadable)? })
}

fn each<T>(path: &[X509], of: impl Fn(&X509) -> Result<T, ErrorStack>) -> Result<Vec<T>, Refused> {
    path.iter().map(|one| of(one).map_err(unreadable)).collect()
}

fn parts(der: &[u8]) -> Result<Parts<'_>, Refused> {
    Parts::of(der).map_err(|_| Refused::credential("holds a certificate that cannot be read"))
}

fn certificates(pem: &[u8]) -> Result<Vec<X509>, Refused> {
    let all = X509::stack_from_pem(pem).map_err(unreadable)?;
    if all.len() > MOST {
        return Err(Refused::credential(format!("has more than {MOST} certificates")));
    }
    Ok(all)
}

/// A path for a program that takes whatever stands in the text for verified.
fn as_text(path: &[X509], key: Option<&PKey<Private>>) -> Result<Vec<u8>, ErrorStack> {
    let mut text = Vec::new();
    // The last one is the site's own.
    for (at, certificate) in path.iter().take(path.len().saturating_sub(1)).enumerate() {
        text.extend(certificate.to_pem()?);
        if let Some(key) = key.filter(|_| at == 0) {
            text.extend(key.private_key_to_pem_pkcs8()?);
        }
    }
    Ok(text)
}

/// The private key, which is the first certificate's.
fn key(pem: &[u8], leaf: &X509, rules: Rules) -> Result<Option<PKey<Private>>, Refused> {
    if !has(pem, b"PRIVATE KEY-----") {
        return if rules.without_key {
            Ok(None)
        } else {
            Err(Refused::credential("has no private key in it"))
        };
    }
    let key = PKey::private_key_from_pem_callback(pem, |_| Err(ErrorStack::get()))
        .map_err(|_| Refused::credential("has a private key that cannot be read"))?;
    let public = leaf.public_key().map_err(unreadable)?;
    if public.public_eq(&key) && fits(&key, &public).unwrap_or(false) {
        Ok(Some(key))
    } else {
        Err(Refused::credential("has a private key that is not its first certificate's"))
    }
}

/// Whether what this key signs is good by that one. That the public halves are alike says nothing:
/// everybody can write one into a file that has any private half, and OpenSSL does not look.
fn fits(key: &PKey<Private>, public: &PKey<Public>) -> Result<bool, ErrorStack> {
    let mut words = [0; 32];
    rand_bytes(&mut words)?;
    // These two have a digest of their own.
    let (mut signer, mut verifier) = if matches!(key.id(), Id::ED25519 | Id::ED448) {
        (Signer::new_without_digest(key)?, Verifier::new_without_digest(public)?)
    } else {
        let digest = MessageDigest::sha256();
        (Signer::new(digest, key)?, Verifier::new(digest, public)?)
    };
    let signature = signer.sign_oneshot_to_vec(&words)?;
    verifier.verify_oneshot(&signature, &words)
}

fn has(text: &[u8], mark: &[u8]) -> bool {
    text.windows(mark.len()).any(|window| window == mark)
}

/// The place in the path of the user's own certificate, the first that is no proxy.
fn users_own(path: &[Parts<'_>], rules: Rules) -> Result<usize, Refused> {
    let proxies: Vec<Proxy> = path.iter().map_while(Parts::proxy).collect();
    for proxy in &proxies {
        if let Proxy::Unusable(why) = proxy {
            return Err(Refused::credential(format!("has a proxy that cannot be accepted: {why}")));
        }
    }
    // From the user's own certificate down: once limited, always limited.
    let from_above = proxies.iter().rev();
    let limited = from_above.skip_while(|proxy| **proxy != Proxy::Limited);
    if limited.into_iter().any(|proxy| *proxy == Proxy::Full) {
        return Err(Refused::credential("has a full proxy below a limited one"));
    }
    match (proxies.len(), rules) {
        (0, Rules { plain: false, .. }) => {
            return Err(Refused::credential("is a user's own certificate; make a proxy of it"));
        }
        (1.., Rules { rfc3820: false, .. }) => {
            return Err(Refused::credential("is a proxy, which is not accepted here"));
        }
        _ => {}
    }
    let user = path.get(proxies.len()).ok_or_else(|| Refused::credential("is not of a user"))?;
    if user.is_authority() {
        return Err(Refused::credential("is an authority's own certificate"));
    }
    Ok(proxies.len())
}

fn text(parts: Option<&Parts<'_>>) -> Result<String, Refused> {
    use subject::NoText;
    let name = parts.map_or(Err(NoText::Empty), |parts| subject::text(parts.subject));
    name.map_err(|why| {
        Refused::credential(match why {
            NoText::Malformed => "has a subject that cannot be read",
            NoText::Empty => "has no subject",
            NoText::TooLong => "has a subject of more than 8192 bytes",
            NoText::Ambiguous => "has a subject that is written like another one",
        })
    })
}

/// That each authority may sign for the subject below it, where the site has a policy of its. One that
/// the credential has brought, and the site does not know, is bound by the policy above it.
fn signed_by_right(
    path: &[&X509Ref],
    sites: &[X509],
    authorities: &Authorities,
) -> Result<(), Refused> {
    for (at, certificate) in path.iter().enumerate() {
        for authority in path.iter().skip(at + 1) {
            if let Some((policy, file)) = authorities.policy(authority)? {
                let (by, of) = (shown(authority), shown(certificate));
                if !policy.allows(&by, &of) {
                    let why = format!("{} does not let {by} sign for {of}", file.display());
                    let told = "has a subject its authority may not sign for";
                    return Err(Refused::credential(told).detail(why));
                }
                break;
            }
            if sites.iter().any(|known| known.as_ref() == *authority) {
                break;
            }
        }
    }
    Ok(())
}

fn seconds(time: &Asn1TimeRef) -> Option<i64> {
    let passed = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    i64::from(passed.days).checked_mul(86_400)?.checked_add(i64::from(passed.secs))
}
