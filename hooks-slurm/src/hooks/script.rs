//! What conf/slurm/job_submit.lua makes the interpreter of batch scripts: the script is run by glexec,
//! with its own interpreter, its stdin and its words.
//!
//! The script is a file of the submitter's, in a directory that the target may not enter. So a copy
//! without a name goes through the wrapper and glexec to this program again, as the target.

use super::{complain, tasks};
use crate::dialect::script_of_submitter;
use adapter::{end_as, take_kept};
use contract::{ADMIN_MUST_ACT, CALLER_MUST_ACT, Ending, FOUND_NOT_EXECUTABLE, NOT_FOUND};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use system::kernel;

/// Where this program is installed: as slurmctld writes it into the script, and as the target finds it.
const PROGRAM: &str = "/usr/libexec/glexec/glexec-slurm-script";
/// The first word of the second time, before the number of the descriptor by which the script comes.
const RECEIVED: &str = "--received";
/// From here on scripts do not number descriptors of their own.
const ABOVE: RawFd = 63;

/// `glexec-slurm-script INTERPRETER SCRIPT [ARG…]`, as the kernel calls what a script names in its
/// first line; ends as the script ended. In between it is `--received DESCRIPTOR [ARG…]`.
pub fn script(words: Vec<OsString>) -> ! {
    if words.first().is_some_and(|word| word == RECEIVED) {
        received(words.into_iter().skip(1))
    }
    // What stands behind its name in the first line is one word, and not looked at: the script's own
    // first line is read with the script.
    let mut words = words.into_iter().skip(1);
    let Some(file) = words.next() else {
        complain(
            "usage: glexec-slurm-script INTERPRETER SCRIPT [ARG...], as a script's first line",
        );
        end_as(Ending::Exited(CALLER_MUST_ACT))
    };
    let sent = fs::read(&file).and_then(|text| sent(&script_of_submitter(&text, PROGRAM)));
    let socket = sent.unwrap_or_else(|error| {
        let file = Path::new(&file).display();
        complain(&format!(
            "{file}: the script cannot be read and passed on: {error}; tell the site"
        ));
        end_as(Ending::Exited(ADMIN_MUST_ACT))
    });
    let number = socket.as_raw_fd();
    let own = [PROGRAM.into(), RECEIVED.into(), number.to_string().into()];
    tasks::run(own.into_iter().chain(words).collect(), vec![number])
}

/// A socket from which a file with this text can be taken, by whoever has it.
fn sent(text: &[u8]) -> io::Result<OwnedFd> {
    let mut copy = File::from(memfd_create("batch script", MFdFlags::MFD_CLOEXEC)?);
    copy.write_all(text)?;
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    let numbers = [copy.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&numbers)];
    sendmsg::<()>(ours.as_raw_fd(), &[IoSlice::new(b"x")], &rights, MsgFlags::empty(), None)?;
    Ok(theirs)
}

/// As the target: the script is executed, by whatever its first line names.
fn received(mut words: impl Iterator<Item = OsString>) -> ! {
    let number = words.next().and_then(|word| word.to_str()?.parse().ok());
    let script = number.ok_or(Errno::EBADF).and_then(taken);
    let script = script.unwrap_or_else(|error| {
        complain(&format!("the batch script has not come through glexec: {error}; tell the site"));
        end_as(Ending::Exited(ADMIN_MUST_ACT))
    });
    let error = Command::new(format!("/proc/self/fd/{script}")).args(words).exec();
    complain(&format!("the batch script cannot be executed, see its first line: {error}"));
    let gone = error.kind() == io::ErrorKind::NotFound;
    end_as(Ending::Exited(if gone { NOT_FOUND } else { FOUND_NOT_EXECUTABLE }))
}

/// The number of a descriptor that stays open past exec: of what this socket has for us.
fn taken(socket: RawFd) -> Result<RawFd, Errno> {
    let socket = take_kept(socket).map_err(|_| Errno::EBADF)?;
    let mut byte = [0u8; 1];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!(RawFd);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = part {
            let file = numbers.first().copied().map(kernel::adopt).ok_or(Errno::ENOMSG)?;
            return fcntl(&file, FcntlArg::F_DUPFD(ABOVE));
        }
    }
    Err(Errno::ENOMSG)
}
