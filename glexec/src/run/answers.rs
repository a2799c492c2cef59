//! What is answered without a plan: `-v`, `-h`, `-V`; and that there are no rights.

use super::outputs::Outputs;
use act::helper;
use contract::{Mode, Reason, usage_text};
use decide::refusal::Refusal;
use nix::unistd::Uid;
use observe::config_file;
use report::{SiteReporter, paths, version};

/// What is answered without a configuration.
///
/// # Errors
/// [`Reason::Usage`] where that is for root only, [`Reason::NotAvailable`] for what is to come.
pub(super) fn answer(mode: Mode) -> Result<Option<String>, Refusal> {
    match mode {
        Mode::Run | Mode::Rehearse | Mode::Settle => Ok(None),
        Mode::Help => Ok(Some(usage_text())),
        Mode::Version => Ok(Some(version())),
        Mode::Paths if Uid::current().is_root() => Ok(Some(paths(&[
            ("GLEXEC_CONFIG_FILE", config_file::OURS),
            ("GLEXEC_ORIGINAL_CONFIG_FILE", config_file::ORIGINAL),
            ("GLEXEC_CONFIG_DIRECTORY", config_file::DIRECTORY),
            ("GLEXEC_HELPER_DIRECTORY", helper::DIRECTORY),
        ]))),
        Mode::Paths => Err(Refusal::new(Reason::Usage, "-V is for root only")),
    }
}

/// The threshold itself failed: there are no rights, and only the usual places to tell it.
pub(super) fn refuse_without_rights(stop: &Refusal) -> u8 {
    let outputs = Outputs::new(None);
    SiteReporter::new(outputs.early(), Uid::current().to_string()).stopped(stop)
}
