//! What a chain of certificates is worth: the path that libcrypto builds and verifies from the
//! first certificate to an authority of the site's, and what RFC 3820 asks of it beyond that.

use crate::authorities::Authorities;
use crate::certificate::{Parts, Proxy};
use crate::refused::Refused;
use crate::subject;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::SslFiletype;
use openssl::stack::Stack;
use openssl::x509::store::{X509Lookup, X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509Ref, X509StoreContext};
use std::path::PathBuf;

/// More certificates are no chain.
const MOST: usize = 64;
/// Keys and signatures of 80 bits of security and more: no MD5, no SHA-1, RSA from 1024 bits on.
const SECURITY_LEVEL: i32 = 1;

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
}

/// Verifies a credential as it stands in a file, at this moment.
///
/// # Errors
/// [`Refused`].
pub fn verify(pem: &[u8], rules: Rules, authorities: &Authorities) -> Result<Verified, Refused> {
    let certificates = certificates(pem)?;
    let leaf =
        certificates.first().ok_or_else(|| Refused::credential("has no certificate in it"))?;
    key(pem, leaf, rules)?;
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
    signed_by_right(&issued, authorities)?;
    for pair in issued.windows(2) {
        if let [certificate, _] = pair {
            chain.is_not_revoked(certificate, authorities)?;
        }
    }
    let ends = path.iter().map(|one| seconds(one.not_after()));
    let until =
        ends.min().flatten().ok_or_else(|| Refused::credential("has no end that can be read"))?;
    Ok(Verified { subject, until })
}

fn unreadable(_: ErrorStack) -> Refused {
    Refused::credential("cannot be read as certificates in PEM")
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

/// That the private key is there and is the first certificate's.
fn key(pem: &[u8], leaf: &X509, rules: Rules) -> Result<(), Refused> {
    const MARK: &[u8] = b"PRIVATE KEY-----";
    if !pem.windows(MARK.len()).any(|window| window == MARK) {
        return if rules.without_key {
            Ok(())
        } else {
            Err(Refused::credential("has no private key in it"))
        };
    }
    // Nobody is there to type a word.
    let key = PKey::private_key_from_pem_callback(pem, |_| Ok(0)).map_err(|_| {
        Refused::credential("has a private key that cannot be read, or is encrypted")
    })?;
    let public = leaf.public_key().map_err(unreadable)?;
    if public.public_eq(&key) {
        Ok(())
    } else {
        Err(Refused::credential("has a private key that is not its first certificate's"))
    }
}

/// What there is to build a path of.
struct Chain<'c> {
    above: &'c [X509],
    certificates: &'c [X509],
}

impl Chain<'_> {
    fn store(&self, flags: X509VerifyFlags, lists: &[PathBuf]) -> Result<X509Store, ErrorStack> {
        let mut store = X509StoreBuilder::new()?;
        for authority in self.above {
            store.add_cert(authority.clone())?;
        }
        let mut rules = X509VerifyParam::new()?;
        rules.set_flags(flags)?;
        rules.set_auth_level(SECURITY_LEVEL);
        store.set_param(&rules)?;
        if !lists.is_empty() {
            let lookup = store.add_lookup(X509Lookup::file())?;
            for list in lists {
                lookup.load_crl_file(list, SslFiletype::PEM)?;
            }
        }
        Ok(store.build())
    }

    fn others(&self) -> Result<Stack<X509>, ErrorStack> {
        let mut others = Stack::new()?;
        for certificate in self.certificates.iter().chain(self.above) {
            others.push(certificate.clone())?;
        }
        Ok(others)
    }

    /// The path from this certificate to an authority, verified.
    fn path(&self, leaf: &X509Ref) -> Result<Vec<X509>, Refused> {
        let walk = || {
            let store = self.store(X509VerifyFlags::ALLOW_PROXY_CERTS, &[])?;
            X509StoreContext::new()?.init(&store, leaf, self.others()?.as_ref(), |context| {
                if context.verify_cert()? {
                    let path =
                        context.chain().map(|path| path.iter().map(ToOwned::to_owned).collect());
                    return Ok(Ok(path.unwrap_or_default()));
                }
                Ok(Err(Fault {
                    code: context.error().as_raw(),
                    text: context.error().error_string(),
                    at: context.current_cert().map(ToOwned::to_owned),
                }))
            })
        };
        walk().map_err(unreadable)?.map_err(|fault| self.told(&fault))
    }

    /// That the authority's revocation lists do not name a certificate of its. An authority without
    /// lists revokes nothing, as LCMAPS has it; lists that are there must be good.
    fn is_not_revoked(
        &self,
        certificate: &X509Ref,
        authorities: &Authorities,
    ) -> Result<(), Refused> {
        const REVOKED: i32 = 23;
        let lists = authorities.revocation_lists(certificate.issuer_name_hash())?;
        let Some(first) = lists.first() else { return Ok(()) };
        let look = || {
            let store = self.store(X509VerifyFlags::CRL_CHECK, &lists)?;
            X509StoreContext::new()?.init(&store, certificate, self.others()?.as_ref(), |context| {
                Ok(if context.verify_cert()? { None } else { Some(context.error()) })
            })
        };
        let list = first.display();
        let found =
            look().map_err(|_| Refused::site(format!("{list} is no revocation list in PEM")))?;
        match found {
            None => Ok(()),
            Some(error) if error.as_raw() == REVOKED => {
                Err(Refused::credential("was revoked by its authority").detail(shown(certificate)))
            }
            Some(error) => {
                let why = error.error_string();
                Err(Refused::site(format!("{list} cannot be used: {why}; run fetch-crl")))
            }
        }
    }

    fn told(&self, fault: &Fault) -> Refused {
        const NOT_YET_VALID: i32 = 9;
        const EXPIRED: i32 = 10;
        const NO_ISSUER: [i32; 5] = [2, 18, 19, 20, 21];
        let who = fault.at.as_ref().map(|one| shown(one)).unwrap_or_default();
        let is_sites =
            |at: &X509| self.above.iter().any(|own| own.to_der().ok() == at.to_der().ok());
        let of_site = fault.at.as_ref().is_some_and(is_sites);
        if self.certificates.iter().any(is_old_proxy) {
            let what = "is a proxy of before RFC 3820; make one of RFC 3820 (voms-proxy-init -rfc)";
            return Refused::credential(what).detail(who);
        }
        let is_proxy = fault.at.as_ref().and_then(is_proxy) == Some(true);
        let what = if is_proxy { "its proxy" } else { "a certificate of its" };
        match fault.code {
            EXPIRED if of_site => Refused::site(format!("an authority has expired: {who}")),
            EXPIRED => Refused::credential(format!("is not valid any more: {what} has expired")),
            NOT_YET_VALID => Refused::credential(format!("is not valid yet: {what} begins later")),
            code if NO_ISSUER.contains(&code) => {
                Refused::credential("leads to no authority that this site knows")
            }
            _ => Refused::credential(format!("cannot be verified: {}", fault.text)),
        }
        .or_detail(who)
    }
}

impl Refused {
    /// The same, with this for the log where there is nothing yet.
    fn or_detail(mut self, detail: String) -> Self {
        if self.detail.is_empty() {
            self.detail = detail;
        }
        self
    }
}

/// What libcrypto has against a path.
struct Fault {
    code: i32,
    text: &'static str,
    at: Option<X509>,
}

/// Whether it is a proxy of RFC 3820; `None` where it cannot be read.
fn is_proxy(certificate: &X509) -> Option<bool> {
    let der = certificate.to_der().ok()?;
    Some(Parts::of(&der).ok()?.proxy().is_some())
}

/// Proxies of Globus Toolkit 2 are told by their names only, those of 3 by a draft's extension.
fn is_old_proxy(certificate: &X509) -> bool {
    let Ok(der) = certificate.to_der() else { return false };
    let Ok(parts) = Parts::of(&der) else { return false };
    let name = subject::text(parts.subject).unwrap_or_default();
    let by_name = ["/CN=proxy", "/CN=limited proxy"].iter().any(|end| name.ends_with(end));
    parts.proxy().is_none() && (by_name || parts.is_draft_proxy())
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

/// That each authority may sign for the subject below it, where the site has a policy of its.
fn signed_by_right(path: &[&X509Ref], authorities: &Authorities) -> Result<(), Refused> {
    for pair in path.windows(2) {
        let [certificate, authority] = pair else { continue };
        let Some((policy, file)) = authorities.policy(authority)? else { continue };
        let (by, of) = (shown(authority), shown(certificate));
        if !policy.allows(&by, &of) {
            let why = format!("{} does not let {by} sign for {of}", file.display());
            return Err(
                Refused::credential("has a subject its authority may not sign for").detail(why)
            );
        }
    }
    Ok(())
}

/// A certificate's subject for a sentence.
fn shown(certificate: &X509Ref) -> String {
    let der = certificate.to_der().unwrap_or_default();
    let name = Parts::of(&der).map(|parts| subject::text(parts.subject).unwrap_or_default());
    name.unwrap_or_default()
}

fn seconds(time: &Asn1TimeRef) -> Option<i64> {
    let passed = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    i64::from(passed.days).checked_mul(86_400)?.checked_add(i64::from(passed.secs))
}
