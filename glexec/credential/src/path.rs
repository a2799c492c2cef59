//! The path from a certificate to an authority of the site's, as libcrypto builds and verifies it.

use crate::authorities::Authorities;
use crate::certificate::Parts;
use crate::refused::Refused;
use crate::subject;
use openssl::error::ErrorStack;
use openssl::ssl::SslFiletype;
use openssl::stack::Stack;
use openssl::x509::store::{X509Lookup, X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509Ref, X509StoreContext};
use std::path::PathBuf;

/// Keys and signatures of 80 bits of security and more: no MD5, no SHA-1, RSA from 1024 bits on.
const SECURITY_LEVEL: i32 = 1;

/// What there is to build a path of.
pub(crate) struct Chain<'c> {
    /// The site's authorities.
    pub(crate) above: &'c [X509],
    /// What the caller presents.
    pub(crate) certificates: &'c [X509],
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
    pub(crate) fn path(&self, leaf: &X509Ref) -> Result<Vec<X509>, Refused> {
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
    pub(crate) fn is_not_revoked(
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

/// A certificate's subject for a sentence.
pub(crate) fn shown(certificate: &X509Ref) -> String {
    let der = certificate.to_der().unwrap_or_default();
    let name = Parts::of(&der).map(|parts| subject::text(parts.subject).unwrap_or_default());
    name.unwrap_or_default()
}

/// What libcrypto cannot even begin with.
pub(crate) fn unreadable(_: ErrorStack) -> Refused {
    Refused::credential("cannot be read as certificates in PEM")
}
