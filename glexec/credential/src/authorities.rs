//! The site's directory of authorities: certificates `<hash>.N`, revocation lists `<hash>.rN`, and
//! `<hash>.signing_policy`, by OpenSSL's hash of the authority's name.

use crate::refused::Refused;
use crate::signing_policy::SigningPolicy;
use openssl::asn1::Asn1Time;
use openssl::x509::{X509, X509Crl, X509Ref};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{OpenOptions, read_dir};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// One finding: `error`, `warning` or `seen`, and the sentence.
pub(crate) type Finding = (&'static str, String);

/// The largest file that is read of it: revocation lists of large authorities have some MiB.
const MOST: u64 = 64 << 20;
/// How many authorities may have the same hash.
const MOST_OF_ONE_HASH: u32 = 16;
/// How many authorities may stand above one another.
const DEEPEST: usize = 16;

/// A directory of authorities.
#[derive(Debug, Clone)]
pub struct Authorities {
    directory: PathBuf,
    owner: u32,
}

impl Authorities {
    /// The directory at a path that nobody but the owner can change; its files, too, must be the
    /// owner's.
    pub fn new(directory: impl Into<PathBuf>, owner: u32) -> Self {
        Self { directory: directory.into(), owner }
    }

    /// The authorities above these certificates, as far as the directory has them.
    ///
    /// # Errors
    /// [`Refused::site`] where the directory has no authority at all, or a file that is asked for
    /// cannot be used.
    pub(crate) fn above(&self, certificates: &[X509]) -> Result<Vec<X509>, Refused> {
        let mut found = Vec::new();
        let mut asked = BTreeSet::new();
        let mut wanted: Vec<u32> = certificates.iter().map(|one| one.issuer_name_hash()).collect();
        for _ in 0..DEEPEST {
            let mut above = Vec::new();
            for hash in wanted.drain(..).filter(|hash| asked.insert(*hash)) {
                above.extend(self.of_hash(hash)?);
            }
            wanted.extend(above.iter().map(|one: &X509| one.issuer_name_hash()));
            found.extend(above);
        }
        if found.is_empty() {
            self.has_any()?;
        }
        Ok(found)
    }

    fn of_hash(&self, hash: u32) -> Result<Vec<X509>, Refused> {
        let mut found = Vec::new();
        for number in 0..MOST_OF_ONE_HASH {
            let path = self.path(hash, &number.to_string());
            let Some(text) = self.read(&path)? else { break };
            let certificate = X509::from_pem(&text);
            found.push(certificate.map_err(|_| {
                Refused::site(format!("{} holds no certificate in PEM", path.display()))
            })?);
        }
        Ok(found)
    }

    /// A directory without any authority knows nobody: that is no fault of a caller's.
    fn has_any(&self) -> Result<(), Refused> {
        let shown = self.directory.display();
        let names = names(&self.directory);
        let names =
            names.map_err(|error| Refused::site(format!("{shown} cannot be listed: {error}")))?;
        if names.iter().any(|name| hash_of(name).is_some()) {
            return Ok(());
        }
        Err(Refused::site(format!("{shown} has no authority in it (`<hash>.0`)")))
    }

    /// The revocation lists of an authority.
    ///
    /// # Errors
    /// [`Refused::site`].
    pub(crate) fn revocation_lists(&self, issuer: u32) -> Result<Vec<PathBuf>, Refused> {
        let mut found = Vec::new();
        for number in 0..MOST_OF_ONE_HASH {
            let path = self.path(issuer, &format!("r{number}"));
            if self.read(&path)?.is_none() {
                break;
            }
            found.push(path);
        }
        Ok(found)
    }

    /// What an authority may sign; `None` where the directory does not say, and the file.
    ///
    /// # Errors
    /// [`Refused::site`] with file and line.
    pub(crate) fn policy(
        &self,
        authority: &X509Ref,
    ) -> Result<Option<(SigningPolicy, PathBuf)>, Refused> {
        let path = self.path(authority.subject_name_hash(), "signing_policy");
        let Some(text) = self.read(&path)? else { return Ok(None) };
        let shown = path.display();
        let text = String::from_utf8(text)
            .map_err(|_| Refused::site(format!("{shown}: a byte that is no UTF-8")))?;
        let policy = SigningPolicy::parse(&text);
        let policy = policy
            .map_err(|(line, why)| Refused::site(format!("{shown}:{line}: the line {why}")))?;
        Ok(Some((policy, path)))
    }

    /// What an administrator should know of it.
    pub(crate) fn inspect(&self) -> Vec<Finding> {
        let shown = self.directory.display();
        let mut findings = Vec::new();
        let (mut count, mut without_lists, mut without_policy) = (0, 0, 0);
        let names = match names(&self.directory) {
            Ok(names) => names,
            Err(error) => return vec![("error", format!("{shown} cannot be listed: {error}"))],
        };
        for hash in names.iter().filter_map(|name| hash_of(name)) {
            let looked = self.of_hash(hash).and_then(|all| {
                count += all.len();
                let lists = self.revocation_lists(hash)?;
                without_lists += usize::from(lists.is_empty());
                for list in lists {
                    findings.extend(self.expired(&list)?);
                }
                for authority in all {
                    without_policy += usize::from(self.policy(&authority)?.is_none());
                    let now = Asn1Time::days_from_now(0);
                    if now.is_ok_and(|now| authority.not_after() < now) {
                        findings.push(("warning", format!("{shown}/{hash:08x}.0 has expired")));
                    }
                }
                Ok(())
            });
            findings.extend(looked.err().map(|refused| ("error", refused.detail)));
        }
        if let Err(refused) = self.has_any() {
            findings.push(("error", refused.detail));
        }
        for (number, what) in [
            (without_lists, "no revocation list (fetch-crl): what they have revoked is accepted"),
            (without_policy, "no signing_policy: they may sign for any subject"),
        ] {
            if number > 0 {
                findings.push(("warning", format!("{shown}: {number} authorities have {what}")));
            }
        }
        findings.push(("seen", format!("{shown}: {count} authorities by their hashes")));
        findings
    }

    /// What is wrong with the time of a revocation list.
    fn expired(&self, list: &Path) -> Result<Option<Finding>, Refused> {
        let shown = list.display();
        let text = self.read(list)?.unwrap_or_default();
        let read = X509Crl::from_pem(&text);
        let read =
            read.map_err(|_| Refused::site(format!("{shown} is no revocation list in PEM")))?;
        let now = Asn1Time::days_from_now(0);
        let now = now.map_err(|_| Refused::site("the time cannot be told"))?;
        let is_over = read.next_update().is_some_and(|next| next < now);
        let what = "is out of date, and ends every run of its authority's subjects with 202; run fetch-crl";
        Ok(is_over.then(|| ("error", format!("{shown} {what}"))))
    }

    fn path(&self, hash: u32, ending: &str) -> PathBuf {
        self.directory.join(format!("{hash:08x}.{ending}"))
    }

    /// A file's bytes; `None` where there is none.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, Refused> {
        let unusable = |why: &str| Refused::site(format!("{} {why}", path.display()));
        let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound && is_absent(path) => {
                return Ok(None);
            }
            Err(error) => return Err(unusable(&format!("cannot be opened: {error}"))),
            Ok(file) => file,
        };
        let meta =
            file.metadata().map_err(|error| unusable(&format!("cannot be read: {error}")))?;
        if !meta.is_file() {
            return Err(unusable("is no regular file"));
        }
        if meta.uid() != self.owner || meta.mode() & 0o022 != 0 {
            let (owner, mode) = (meta.uid(), meta.mode() & 0o7777);
            return Err(unusable(&format!(
                "can be changed by others (owner {owner}, mode {mode:04o}); chown root, chmod go-w"
            )));
        }
        let mut text = Vec::new();
        let read = file.take(MOST + 1).read_to_end(&mut text);
        read.map_err(|error| unusable(&format!("cannot be read: {error}")))?;
        if u64::try_from(text.len()).is_ok_and(|length| length > MOST) {
            return Err(unusable(&format!("is larger than {MOST} bytes")));
        }
        Ok(Some(text))
    }
}

fn names(directory: &Path) -> std::io::Result<BTreeSet<OsString>> {
    read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

/// The hash that a name has before its `.0`.
fn hash_of(name: &OsStr) -> Option<u32> {
    let hash = name.to_str()?.strip_suffix(".0").filter(|hash| hash.len() == 8)?;
    u32::from_str_radix(hash, 16).ok()
}

/// Whether a name is not there, and no link that leads nowhere.
fn is_absent(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}
