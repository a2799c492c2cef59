//! Whose credential a caller presents, and whom the site's files map its subject to: the files are
//! opened as root, the credential with the caller's rights, and both are read by a helper that has
//! nothing of root's.

use crate::config_file;
use act::helper;
use act::root::{Privilege, Root};
use decide::config::GridmapRule;
use decide::credential::{self, Credential};
use decide::refusal::Refusal;
use nix::sys::stat::SFlag;
use nix::unistd::Uid;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};
use system::file_trust::Trust;
use system::secure_open::{self, Untrusted};

/// The helper that verifies certificates.
pub const HELPER: &str = "glexec-credential";

/// The site's files, opened and not looked at yet: that needs no right of root's.
#[derive(Debug)]
pub struct SiteFiles {
    /// The grid-mapfile and, where there is one, the ban file.
    files: Vec<OwnedFd>,
    ca_dir: String,
}

impl SiteFiles {
    /// Opens them. The directory of authorities may be a link to another one of root's.
    ///
    /// # Errors
    /// [`Reason::Mapping`](contract::Reason::Mapping), [`Reason::Limits`](contract::Reason::Limits).
    pub fn open(_root: &Root, rule: &GridmapRule) -> Result<Self, Refusal> {
        let trust = Trust::default();
        let paths = std::iter::once(&rule.grid_mapfile).chain(&rule.ban_file);
        let open = |path: &String| secure_open::open_file(path, &trust).map(|opened| opened.file);
        let files = paths.map(open).collect::<Result<_, _>>();
        let authorities = secure_open::resolve(&rule.ca_dir, SFlag::S_IFDIR, &trust);
        let ca_dir = authorities.map_err(|untrusted| refused(&untrusted))?.path;
        Ok(Self { files: files.map_err(|untrusted| refused(&untrusted))?, ca_dir })
    }

    /// The caller's credential, verified and looked up.
    ///
    /// # Errors
    /// As [`credential::read_answer`]; [`Reason::Credential`](contract::Reason::Credential) where it
    /// cannot be opened.
    pub fn read(
        &self,
        privilege: Option<&Privilege>,
        rule: &GridmapRule,
        path: (&CStr, &'static str),
        (owner, without_key): (Uid, bool),
    ) -> Result<Credential, Refusal> {
        let words = self.question(rule).about_caller(owner.as_raw(), without_key);
        credential::read_answer(&self.ask(privilege, &words, Some(path))?, path.1)
    }

    /// What the helper says of the files, or of another question, to who is not setuid.
    ///
    /// # Errors
    /// [`Reason::Mapping`](contract::Reason::Mapping).
    pub fn told_of(&self, rule: &GridmapRule, what: &str) -> Result<Vec<u8>, Refusal> {
        self.ask(None, &self.question(rule).about(what), None)
    }

    fn question<'q>(&'q self, rule: &'q GridmapRule) -> credential::Question<'q> {
        let mut numbers = self.files.iter().map(AsRawFd::as_raw_fd);
        let (map, ban) = (numbers.next(), numbers.next());
        credential::Question { rule, ca_dir: &self.ca_dir, map, ban }
    }

    fn ask(
        &self,
        privilege: Option<&Privilege>,
        words: &[String],
        input: Option<(&CStr, &'static str)>,
    ) -> Result<Vec<u8>, Refusal> {
        let (program, files, unusable) = (HELPER, self.files.as_slice(), Refusal::mapping);
        helper::ask(privilege, &helper::Call { program, words, files, input, unusable })
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
    let call = helper::Call {
        program: HELPER,
        words: &credential::Question::for_copy(owner.as_raw()),
        files: &[],
        input: Some(path),
        unusable: Refusal::mapping,
    };
    credential::read_copy(&helper::ask(privilege, &call)?, path.1).map(<[u8]>::to_vec)
}

fn refused(untrusted: &Untrusted) -> Refusal {
    if let Untrusted::Exhausted(clause) = untrusted {
        return config_file::exhausted(clause);
    }
    Refusal::mapping(format!("[mapping.gridmap]: {}", untrusted.clause()))
}
