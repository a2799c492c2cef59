//! What the caller asks for.

use contract::{Invocation, Reason};
use decide::environment::Environ;
use decide::plan::Request;
use decide::refusal::Refusal;
use nix::unistd::Pid;
use std::ffi::{CString, OsString};
use std::time::SystemTime;

/// Reads words and variables, and looks where the caller is.
///
/// # Errors
/// [`Reason::Usage`].
pub(super) fn request(words: Vec<OsString>, environment: Vec<CString>) -> Result<Request, Refusal> {
    let invocation = Invocation::parse(words)
        .map_err(|usage| Refusal::new(Reason::Usage, usage.0).hint("see glexec --help"))?;
    // With the caller's effective uid; None where the directory is gone or out of reach. Whatever
    // keeps it from being told, the payload then begins where it does without one, at home, and a
    // relative command is refused.
    let directory = nix::unistd::getcwd().ok().filter(|path| path.is_absolute());
    let run_id = run_id(SystemTime::now(), Pid::this());
    Ok(Request { invocation, environ: Environ::read(environment), directory, run_id })
}

/// Time and pid: no process begins two runs, and no pid has two processes in a nanosecond. By the
/// time a list of them is in order.
fn run_id(now: SystemTime, pid: Pid) -> String {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:09}.{pid}", now.as_secs(), now.subsec_nanos())
}
