//! What of a certificate libcrypto's bindings do not tell: its names as they were encoded, and its
//! extensions.

use crate::der::{BOOLEAN, NotDer, OBJECT, Reader, SEQUENCE};

const EXTENSIONS: u8 = 0xa3;
const OCTET_STRING: u8 = 0x04;

/// 1.3.6.1.5.5.7.1.14 (RFC 3820, 3.8)
const PROXY_CERT_INFO: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 14];
/// 1.3.6.1.4.1.3536.1.222: the same of a draft, in proxies of Globus Toolkit 3
const DRAFT_PROXY_CERT_INFO: &[u8] = &[0x2b, 6, 1, 4, 1, 0x9b, 0x50, 1, 0x81, 0x5e];
/// 2.5.29.19 (RFC 5280, 4.2.1.9)
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
/// 1.3.6.1.5.5.7.21.1, id-ppl-inheritAll (RFC 3820, 3.8.2)
const INHERIT_ALL: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 21, 1];
/// 1.3.6.1.4.1.3536.1.1.1.9, the limited proxy of the Globus Toolkit
const LIMITED: &[u8] = &[0x2b, 6, 1, 4, 1, 0x9b, 0x50, 1, 1, 1, 9];

/// What makes a certificate a proxy (RFC 3820).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proxy {
    /// It has all rights of its issuer.
    Full,
    /// It may start no jobs by itself, and neither may what it issues.
    Limited,
    /// The extension cannot be obeyed; a clause that says why.
    Unusable(&'static str),
}

/// The parts of one certificate.
#[derive(Debug)]
pub(crate) struct Parts<'d> {
    /// The content of the subject's SEQUENCE.
    pub(crate) subject: &'d [u8],
    /// Object identifier, whether it is critical, and value.
    extensions: Vec<(&'d [u8], bool, &'d [u8])>,
}

impl<'d> Parts<'d> {
    /// Takes a certificate apart.
    pub(crate) fn of(der: &'d [u8]) -> Result<Self, NotDer> {
        const VERSION: u8 = 0xa0;
        let mut certificate = Reader(Reader(der).tagged(SEQUENCE)?);
        let mut signed = Reader(certificate.tagged(SEQUENCE)?);
        signed.optional(VERSION)?;
        // Serial number, algorithm, issuer, validity.
        for _ in 0..4 {
            signed.any()?;
        }
        let subject = signed.tagged(SEQUENCE)?;
        let mut extensions = Vec::new();
        while !signed.is_at_end() {
            let element = signed.any()?;
            if element.tag != EXTENSIONS {
                continue;
            }
            let mut list = Reader(Reader(element.content).tagged(SEQUENCE)?);
            while !list.is_at_end() {
                let mut one = Reader(list.tagged(SEQUENCE)?);
                let name = one.tagged(OBJECT)?;
                let critical = one.optional(BOOLEAN)?.is_some_and(|value| value != [0]);
                extensions.push((name, critical, one.tagged(OCTET_STRING)?));
            }
        }
        Ok(Self { subject, extensions })
    }

    fn all(&self, name: &[u8]) -> impl Iterator<Item = (bool, &'d [u8])> {
        let of_it = self.extensions.iter().filter(move |(found, ..)| *found == name);
        of_it.map(|(_, critical, value)| (*critical, *value))
    }

    /// What kind of proxy it is; `None` where it is none.
    pub(crate) fn proxy(&self) -> Option<Proxy> {
        let found: Vec<_> = self.all(PROXY_CERT_INFO).collect();
        Some(match found.as_slice() {
            [] => return None,
            [(false, _)] => Proxy::Unusable("its proxyCertInfo is not critical (RFC 3820, 3.8)"),
            [(true, value)] => {
                language(value).unwrap_or(Proxy::Unusable("its proxyCertInfo cannot be read"))
            }
            _ => Proxy::Unusable("it has proxyCertInfo twice"),
        })
    }

    /// Whether it is a proxy as they were before RFC 3820.
    pub(crate) fn is_draft_proxy(&self) -> bool {
        self.all(DRAFT_PROXY_CERT_INFO).next().is_some()
    }

    /// Whether it says that it may issue certificates. What cannot be read says so.
    pub(crate) fn is_authority(&self) -> bool {
        self.all(BASIC_CONSTRAINTS).any(|(_, value)| {
            let authority =
                Reader(value).tagged(SEQUENCE).and_then(|seq| Reader(seq).optional(BOOLEAN));
            authority.map_or(true, |flag| flag.is_some_and(|flag| flag != [0]))
        })
    }
}

/// The policy language of a proxyCertInfo.
fn language(value: &[u8]) -> Result<Proxy, NotDer> {
    const INTEGER: u8 = 0x02;
    let mut info = Reader(Reader(value).tagged(SEQUENCE)?);
    info.optional(INTEGER)?;
    let mut policy = Reader(info.tagged(SEQUENCE)?);
    let language = policy.tagged(OBJECT)?;
    Ok(match language {
        INHERIT_ALL if !policy.is_at_end() => {
            Proxy::Unusable("its policy says more than its language allows")
        }
        INHERIT_ALL => Proxy::Full,
        LIMITED => Proxy::Limited,
        _ => Proxy::Unusable(
            "its policy is neither `inherit all` nor `limited`, so it does not stand for its issuer",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_policy_that_is_not_understood_makes_no_proxy() {
        let info = |language: &[u8], policy: &[u8]| {
            let length = u8::try_from(language.len() + policy.len() + 2).unwrap();
            let object = [&[OBJECT, u8::try_from(language.len()).unwrap()], language].concat();
            super::language(
                &[&[SEQUENCE, length + 2, SEQUENCE, length][..], &object, policy].concat(),
            )
        };
        assert_eq!(info(INHERIT_ALL, &[]), Ok(Proxy::Full));
        assert_eq!(info(LIMITED, &[]), Ok(Proxy::Limited));
        assert!(matches!(info(INHERIT_ALL, &[4, 1, 0]), Ok(Proxy::Unusable(_))));
        assert!(matches!(info(&[0x2b, 6, 1, 5, 5, 7, 21, 0], &[]), Ok(Proxy::Unusable(_))));
        assert!(matches!(info(&[0x2b, 6, 1, 5, 5, 7, 21, 2], &[]), Ok(Proxy::Unusable(_))));
        assert_eq!(language(&[SEQUENCE, 0]), Err(NotDer));
    }

    proptest! {
        #[test]
        fn no_bytes_stop_the_reading(bytes: Vec<u8>) {
            let _ = Parts::of(&bytes);
            let _ = language(&bytes);
        }
    }
}
