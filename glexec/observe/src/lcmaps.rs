//! The site's own LCMAPS: asked by a helper that is root, in a process of its own.

use act::helper;
use act::root::Privilege;
use decide::config::{CredentialRule, LcmapsRule};
use decide::lcmaps::{self, Mapped};
use decide::refusal::Refusal;

/// The helper that loads it.
pub const HELPER: &str = "glexec-lcmaps";

/// Whom LCMAPS maps a verified path to; `without_key` where it may lack its private key.
///
/// # Errors
/// As [`lcmaps::read_answer`].
pub fn map(
    privilege: Option<&Privilege>,
    rules: (&LcmapsRule, &CredentialRule),
    pem: &[u8],
    without_key: bool,
) -> Result<Mapped, Refusal> {
    let answer = ask(privilege, rules, helper::Input::Bytes(pem), without_key)?;
    let none = || Refusal::mapping("glexec-lcmaps names nobody");
    lcmaps::read_answer(&answer)?.ok_or_else(none)
}

/// That the library, its database and the plug-ins can be used.
///
/// # Errors
/// [`Reason::Mapping`](contract::Reason::Mapping).
pub fn try_it(
    privilege: Option<&Privilege>,
    rules: (&LcmapsRule, &CredentialRule),
) -> Result<(), Refusal> {
    lcmaps::read_answer(&ask(privilege, rules, helper::Input::Nothing, false)?).map(drop)
}

fn ask(
    privilege: Option<&Privilege>,
    (rule, credential): (&LcmapsRule, &CredentialRule),
    input: helper::Input<'_>,
    without_key: bool,
) -> Result<Vec<u8>, Refusal> {
    let maps = !matches!(input, helper::Input::Nothing);
    let call = helper::Call {
        program: HELPER,
        words: &lcmaps::words(rule, maps),
        files: &[],
        input,
        environment: &lcmaps::environment(rule, credential, without_key),
        rights: helper::Rights::Roots,
        unusable: Refusal::mapping,
    };
    helper::ask(privilege, &call)
}
