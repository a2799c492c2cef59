//! What the caller asks for.

use crate::contract::{Invocation, Reason};
use crate::decide::environment::Environ;
use crate::decide::plan::Request;
use crate::decide::stop::Stop;
use std::ffi::{CString, OsString};

/// Reads words and variables, and looks where the caller is.
///
/// # Errors
/// [`Reason::Usage`].
pub(crate) fn request(words: Vec<OsString>, environment: Vec<CString>) -> Result<Request, Stop> {
    let invocation = Invocation::parse(words)
        .map_err(|usage| Stop::new(Reason::Usage, usage.0).hint("see glexec --help"))?;
    // With the caller's effective uid; None where the directory is gone or out of reach. Whatever
    // keeps it from being told, the payload then begins where it does without one, at home, and a
    // relative command is refused.
    let directory = nix::unistd::getcwd().ok().filter(|path| path.is_absolute());
    Ok(Request { invocation, environ: Environ::read(environment), directory })
}
