//! That an epilogue can be started, before a payload is.

use crate::exec_status::{Failure, Step};
use crate::helper::attempt;
use crate::identity::{Identity, assume};
use crate::program::{self, Program};
use crate::root::Root;
use contract::Reason;
use decide::epilogue_identity::EpilogueIdentity;
use decide::plan::Epilogue;
use decide::program::found_by_env;
use decide::refusal::Refusal;
use nix::sys::stat::{SFlag, stat};
use nix::unistd::{AccessFlags, access};
use std::time::Duration;
use system::secure_open::Untrusted;
use system::text::escaped;

/// Opens the epilogue and says whether it can be trusted and started, as it is now.
///
/// # Errors
/// [`Reason::EpilogueUntrusted`], with file or directory for the log.
pub fn open(epilogue: &Epilogue) -> Result<Program, Refusal> {
    program::open(&epilogue.path, &epilogue.identity.trust).map_err(|untrusted| {
        let cure = match untrusted {
            Untrusted::Changeable(..) => {
                "; nobody but root, epilogue_user and members of epilogue_group may be able to change it or a directory above it"
            }
            Untrusted::Missing(_) => "; install it, or correct the name",
            Untrusted::Exhausted(_) | Untrusted::Because(_) => "",
        };
        let detail = format!("epilogue: {}{cure}", untrusted.clause());
        Refusal::configuration(Reason::EpilogueUntrusted, detail)
    })
}

/// Looks for what the epilogue's first line has env(1) look for, along this PATH. To be asked where
/// the directories are root's: who looks could be held up in another's.
///
/// # Errors
/// [`Reason::EpilogueUntrusted`], as of an interpreter that is missing.
pub fn finds_its_interpreter(epilogue: &str, program: &Program, path: &str) -> Result<(), Refusal> {
    let Some(name) = found_by_env(&program.head) else { return Ok(()) };
    let is_there = |file: &str| {
        stat(file).is_ok_and(|found| {
            found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits()
                && found.st_mode & 0o111 != 0
        })
    };
    let there = if name.contains('/') {
        is_there(name)
    } else {
        path.split(':').any(|directory| is_there(&format!("{directory}/{name}")))
    };
    if there {
        return Ok(());
    }
    let detail = format!(
        "epilogue: {epilogue} is started by env, which finds no '{}' in {path}; install it, or name the interpreter by its path",
        escaped(name.as_bytes())
    );
    Err(Refusal::configuration(Reason::EpilogueUntrusted, detail))
}

/// Has a child take the epilogue's identity for good and look whether it can start it: what is
/// wrong there is the site's fault, to be known before work is lost. Root needs no trial.
///
/// # Errors
/// [`Reason::EpilogueIdentity`], with the step that failed for the log.
pub fn try_identity(root: &Root, epilogue: &Epilogue, program: &Program) -> Result<(), Refusal> {
    /// For a child that makes a few system calls, on a machine that is very busy.
    const PATIENCE: Duration = Duration::from_secs(20);
    let identity = &epilogue.identity;
    let (uid, gid) = (identity.account.uid, identity.gid);
    if uid.is_root() && gid.as_raw() == 0 {
        return Ok(());
    }
    let refuse = |why: &str| {
        let detail = format!(
            "epilogue_user and epilogue_group: uid {uid} with gid {gid} cannot run {}: {why}; give the epilogue another identity, or correct its permissions",
            epilogue.path
        );
        Refusal::configuration(Reason::EpilogueIdentity, detail)
    };
    let tried = attempt(PATIENCE, &[], || {
        assume(root, &as_planned(identity))?;
        can_be_started(&epilogue.path, program).map(|()| 0)
    });
    match tried {
        Err(failure) => Err(refuse(&failure.told())),
        Ok(Some(0)) => Ok(()),
        Ok(_) => Err(refuse("the process that tried it did not end by itself")),
    }
}

/// Whether this process may execute the epilogue and what is started for it, and read the scripts
/// among them.
pub(crate) fn can_be_started(path: &str, program: &Program) -> Result<(), Failure> {
    let interpreters = program.interpreters.iter().map(|used| (used.path.as_str(), used.script));
    std::iter::once((path, program.script)).chain(interpreters).try_for_each(|(path, script)| {
        let read = if script { AccessFlags::R_OK } else { AccessFlags::empty() };
        access(path, AccessFlags::X_OK | read).map_err(Failure::at(Step::Exec))
    })
}

pub(crate) const fn as_planned(identity: &EpilogueIdentity) -> Identity<'_> {
    Identity { uid: identity.account.uid, real: None, gid: identity.gid, groups: &[] }
}
