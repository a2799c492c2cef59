//! What glexec cannot do without: /proc, and for who lingers /dev/null.

use super::close_descriptors::is_null;
use contract::Reason;
use decide::refusal::Refusal;
use nix::errno::Errno;
use nix::sys::statfs::{PROC_SUPER_MAGIC, statfs};
use std::os::fd::AsRawFd as _;
use system::process;

/// That /proc is there, as whoever looks for a command needs it, and, for who lingers, that of this
/// pid namespace.
///
/// # Errors
/// [`Reason::NoProc`].
pub fn needs_proc(lingers: bool) -> Result<(), Refusal> {
    let usable = if lingers {
        process::proc_is_usable()
    } else {
        statfs("/proc/self/fd").is_ok_and(|fs| fs.filesystem_type() == PROC_SUPER_MAGIC)
    };
    if usable { Ok(()) } else { Err(no_proc()) }
}

/// That it is not.
pub(super) fn no_proc() -> Refusal {
    Refusal::new(Reason::NoProc, "there is no usable /proc, which glexec needs")
        .detail(
            "/proc is not mounted, or is that of another pid namespace; mount -t proc proc /proc",
        )
        .hint("the site has to mount it")
}

/// That /dev/null is the null device, which a lingering glexec has as 0, 1 and 2.
///
/// # Errors
/// [`Reason::NoDevNull`]; [`Reason::Internal`] where it cannot be told, for want of descriptors.
pub fn needs_dev_null() -> Result<(), Refusal> {
    match process::dev_null() {
        Ok(null) if is_null(null.as_raw_fd()) => return Ok(()),
        Err(errno @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => {
            let sentence = "glexec could not open /dev/null; see the log";
            return Err(Refusal::new(Reason::Internal, sentence)
                .detail(format!("opening /dev/null: {}", errno.desc())));
        }
        Ok(_) | Err(_) => {}
    }
    Err(Refusal::new(Reason::NoDevNull, "there is no usable /dev/null, which glexec needs")
        .detail("/dev/null is missing, closed to users, or another file; make it anew: mknod -m 666 /dev/null c 1 3")
        .hint("the site has to make it anew"))
}
