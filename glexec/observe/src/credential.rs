//! Whose credential a caller presents, and whom the site's files map its subject to: the files are
//! opened as root, the credential with the caller's rights, and both are read by a helper that has
//! nothing of root's.

use crate::config_file;
use act::helper;
use act::root::{Privilege, Root};
use decide::config::{CredentialRule, GridmapRule, Mapping, Means};
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

/// By what credentials are judged.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'r> {
    credential: &'r CredentialRule,
    /// The site's files, where there are any.
    pub gridmap: Option<&'r GridmapRule>,
    /// Whether LCMAPS is asked, which gets the verified path.
    with_pem: bool,
}

impl<'r> Rules<'r> {
    /// Those of a configuration; `None` where no method asks for a credential.
    pub fn of(mapping: &'r Mapping) -> Option<Self> {
        let credential = mapping.credential.as_ref()?;
        let asked = |method| mapping.methods.contains(&method);
        let gridmap = mapping.gridmap.as_ref().filter(|_| asked(Means::Gridmap));
        let with_pem = asked(Means::Lcmaps);
        (gridmap.is_some() || with_pem).then_some(Self { credential, gridmap, with_pem })
    }
}

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
    pub fn open(_root: &Root, rules: Rules<'_>) -> Result<Self, Refusal> {
        let trust = Trust::default();
        let maps = rules.gridmap.into_iter();
        let paths = maps.flat_map(|rule| std::iter::once(&rule.grid_mapfile).chain(&rule.ban_file));
        let open = |path: &String| secure_open::open_file(path, &trust).map(|opened| opened.file);
        let files = paths.map(open).collect::<Result<_, _>>();
        let authorities = secure_open::resolve(&rules.credential.ca_dir, SFlag::S_IFDIR, &trust);
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
        rules: Rules<'_>,
        (path, variable): (&CStr, &'static str),
        (owner, without_key): (Uid, bool),
    ) -> Result<Credential, Refusal> {
        let words = self.question(rules).about_caller(owner.as_raw(), without_key);
        let input = helper::Input::File(path, variable);
        credential::read_answer(&self.ask(privilege, &words, input)?, variable)
    }

    /// What the helper says of the files, or of another question.
    ///
    /// # Errors
    /// [`Reason::Mapping`](contract::Reason::Mapping).
    pub fn told_of(
        &self,
        privilege: Option<&Privilege>,
        rules: Rules<'_>,
        what: &str,
    ) -> Result<Vec<u8>, Refusal> {
        self.ask(privilege, &self.question(rules).about(what), helper::Input::Nothing)
    }

    /// That every file can be used, for who presents no credential.
    ///
    /// # Errors
    /// [`Reason::Mapping`](contract::Reason::Mapping), with the first fault.
    pub fn are_good(&self, privilege: Option<&Privilege>, rules: Rules<'_>) -> Result<(), Refusal> {
        let told = self.told_of(privilege, rules, "about=files")?;
        let told = String::from_utf8_lossy(&told);
        let fault = told.lines().find_map(|line| line.strip_prefix("error="));
        fault.map_or(Ok(()), |fault| Err(Refusal::mapping(fault)))
    }

    fn question<'q>(&'q self, rules: Rules<'q>) -> credential::Question<'q> {
        let Rules { credential, gridmap, with_pem } = rules;
        let mut numbers = self.files.iter().map(AsRawFd::as_raw_fd);
        let (map, ban) = (numbers.next(), numbers.next());
        credential::Question { credential, gridmap, with_pem, ca_dir: &self.ca_dir, map, ban }
    }

    fn ask(
        &self,
        privilege: Option<&Privilege>,
        words: &[String],
        input: helper::Input<'_>,
    ) -> Result<Vec<u8>, Refusal> {
        helper::ask(privilege, &call(words, &self.files, input))
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
