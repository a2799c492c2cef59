//! Whose credential a caller presents, and whom the site's files map its subject to: the files are
//! opened as root, the credential with the caller's rights, and both are read by a helper that has
//! nothing of root's.

use crate::config_file;
use act::helper;
use act::root::{Privilege, Root};
use decide::config::{CredentialRule, GridmapRule, Mapping, Means, TokenRule};
use decide::credential::{self, Credential};
use decide::refusal::Refusal;
use nix::sys::stat::SFlag;
use nix::unistd::Uid;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};
use system::file_trust::Trust;
use system::secure_open::{self, Untrusted};

/// The helper that verifies certificates and tokens.
pub const HELPER: &str = "glexec-credential";

/// By what credentials are judged.
#[derive(Debug, Clone, Copy)]
pub enum Rules<'r> {
    /// Certificates.
    Certificates {
        /// Which are accepted.
        credential: &'r CredentialRule,
        /// The site's files, where there are any.
        gridmap: Option<&'r GridmapRule>,
        /// Whether LCMAPS is asked, which gets the verified path.
        with_pem: bool,
    },
    /// Tokens.
    Tokens(&'r TokenRule),
}

impl<'r> Rules<'r> {
    /// Those of a configuration for tokens, or for certificates; `None` where no method asks for them.
    pub fn of(mapping: &'r Mapping, by_token: bool) -> Option<Self> {
        if by_token {
            return mapping.token.as_ref().map(Self::Tokens);
        }
        let credential = mapping.credential.as_ref()?;
        let asked = |method| mapping.methods.contains(&method);
        let gridmap = mapping.gridmap.as_ref().filter(|_| asked(Means::Gridmap));
        let with_pem = asked(Means::Lcmaps);
        let rules = Self::Certificates { credential, gridmap, with_pem };
        (gridmap.is_some() || with_pem).then_some(rules)
    }

    /// The files that map certificates' subjects.
    pub const fn gridmap(self) -> Option<&'r GridmapRule> {
        if let Self::Certificates { gridmap, .. } = self { gridmap } else { None }
    }
}

/// The site's files, opened and not looked at yet: that needs no right of root's.
#[derive(Debug)]
pub struct SiteFiles<'r> {
    files: Vec<OwnedFd>,
    /// What is said of them.
    words: Vec<String>,
    rules: Rules<'r>,
}

impl<'r> SiteFiles<'r> {
    /// Opens them. The directory of authorities may be a link to another one of root's.
    ///
    /// # Errors
    /// [`Reason::Mapping`](contract::Reason::Mapping), [`Reason::Limits`](contract::Reason::Limits).
    pub fn open(_root: &Root, rules: Rules<'r>) -> Result<Self, Refusal> {
        let trust = Trust::default();
        let paths: Vec<&String> = match rules {
            Rules::Certificates { gridmap, .. } => {
                let maps = gridmap.into_iter();
                maps.flat_map(|rule| std::iter::once(&rule.grid_mapfile).chain(&rule.ban_file))
                    .collect()
            }
            Rules::Tokens(rule) => {
                let keys = rule.issuers.iter().map(|row| &row.keys);
                std::iter::once(&rule.mapfile).chain(keys).collect()
            }
        };
        let open = |path: &String| secure_open::open_file(path, &trust).map(|opened| opened.file);
        let files: Result<Vec<OwnedFd>, _> = paths.into_iter().map(open).collect();
        let files = files.map_err(|untrusted| refused(&untrusted))?;
        let numbers: Vec<_> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let words = match rules {
            Rules::Certificates { credential, gridmap, .. } => {
                let authorities = secure_open::resolve(&credential.ca_dir, SFlag::S_IFDIR, &trust);
                let ca_dir = &authorities.map_err(|untrusted| refused(&untrusted))?.path;
                let (map, ban) = (numbers.first().copied(), numbers.get(1).copied());
                credential::Question { credential, gridmap, ca_dir, map, ban }.words()
            }
            Rules::Tokens(rule) => credential::token_words(rule, &numbers),
        };
        Ok(Self { files, words, rules })
    }

    /// The caller's credential, verified and looked up.
    ///
    /// # Errors
    /// As [`credential::read_answer`]; [`Reason::Credential`](contract::Reason::Credential) where it
    /// cannot be opened.
    pub fn read(
        &self,
        privilege: Option<&Privilege>,
        (path, variable): (&CStr, &'static str),
        (owner, without_key): (Uid, bool),
    ) -> Result<Credential, Refusal> {
        let input = helper::Input::File(path, variable);
        let (about, issuers) = match self.rules {
            Rules::Certificates { with_pem, .. } => {
                (credential::about_certificates(owner.as_raw(), without_key, with_pem), &[][..])
            }
            Rules::Tokens(rule) => (vec![format!("token={owner}")], rule.issuers.as_slice()),
        };
        credential::read_answer(&self.ask(privilege, about, input)?, variable, issuers)
    }

    /// What the helper says of the files, or of another question.
    ///
    /// # Errors
    /// [`Reason::Mapping`](contract::Reason::Mapping).
    pub fn told_of(&self, privilege: Option<&Privilege>, what: &str) -> Result<Vec<u8>, Refusal> {
        self.ask(privilege, vec![what.to_owned()], helper::Input::Nothing)
    }

    /// That every file can be used, for who presents no credential.
    ///
    /// # Errors
    /// [`Reason::Mapping`](contract::Reason::Mapping), with the first fault.
    pub fn are_good(&self, privilege: Option<&Privilege>) -> Result<(), Refusal> {
        let told = self.told_of(privilege, "about=files")?;
        let told = String::from_utf8_lossy(&told);
        let fault = told.lines().find_map(|line| line.strip_prefix("error="));
        fault.map_or(Ok(()), |fault| Err(Refusal::mapping(fault)))
    }

    fn ask(
        &self,
        privilege: Option<&Privilege>,
        mut words: Vec<String>,
        input: helper::Input<'_>,
    ) -> Result<Vec<u8>, Refusal> {
        words.extend_from_slice(&self.words);
        helper::ask(privilege, &call(&words, &self.files, input))
    }
}

/// The bytes of a proxy that is to be copied, by the rules for a credential.
///
/// # Errors
/// [`Reason::Credential`](contract::Reason::Credential), [`Reason::Mapping`](contract::Reason::Mapping).
pub fn copy(
    privilege: Option<&Privilege>,
    path: (&CStr, &'static str),
    owner: Uid,
) -> Result<Vec<u8>, Refusal> {
    let words = credential::Question::for_copy(owner.as_raw());
    let answer = helper::ask(privilege, &call(&words, &[], helper::Input::File(path.0, path.1)))?;
    credential::read_copy(&answer, path.1).map(<[u8]>::to_vec)
}

const fn call<'c>(
    words: &'c [String],
    files: &'c [OwnedFd],
    input: helper::Input<'c>,
) -> helper::Call<'c> {
    helper::Call {
        program: HELPER,
        words,
        files,
        input,
        environment: &[],
        rights: helper::Rights::Callers,
        unusable: Refusal::mapping,
    }
}

fn refused(untrusted: &Untrusted) -> Refusal {
    if let Untrusted::Exhausted(clause) = untrusted {
        return config_file::exhausted(clause);
    }
    Refusal::mapping(format!("[mapping]: {}", untrusted.clause()))
}
