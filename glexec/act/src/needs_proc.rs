//! What glexec cannot do without: /proc.

use contract::Reason;
use decide::refusal::Refusal;
use nix::sys::statfs::{PROC_SUPER_MAGIC, statfs};
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
