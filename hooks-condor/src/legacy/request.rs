//! What is asked of the run that holds a sandbox's account, over the socket in the pilot's half, and
//! what is answered.

use contract::Ending;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeVal;
use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// The socket's name in the pilot's half of the sandbox.
pub(crate) const SOCKET: &str = ".condor_glexec.socket";
/// What the run says on standard error when it can be asked.
pub(crate) const READY: &str = "condor_glexec: ready";
/// Asks that what runs of the job is ended.
pub(crate) const END_JOB: &str = "end-job";
/// Asks the same of the whole run.
pub(crate) const END: &str = "end";
/// The kernel takes no words of this length for a program.
const LONGEST: u32 = 16 << 20;
/// How long one side waits for the rest of a request.
const PATIENCE: i64 = 10;

/// The way to the socket by an open directory: a socket's path has 107 bytes at most.
pub(crate) fn path_within(directory: BorrowedFd<'_>) -> PathBuf {
    Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(SOCKET)
}

/// Words, and the asking process's descriptors 0, 1 and 2.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) words: Vec<OsString>,
    pub(crate) streams: [OwnedFd; 3],
}

/// Sends a request.
///
/// # Errors
/// The words are too long, or nobody takes them.
pub(crate) fn send(
    mut stream: &UnixStream,
    words: &[&OsStr],
    streams: [BorrowedFd<'_>; 3],
) -> io::Result<()> {
    let mut text = Vec::new();
    for word in words {
        text.extend(word.as_bytes());
        text.push(0);
    }
    let length = u32::try_from(text.len()).ok().filter(|length| *length <= LONGEST);
    let length = length.ok_or(io::ErrorKind::ArgumentListTooLong)?.to_ne_bytes();
    let numbers = streams.map(|stream| stream.as_raw_fd());
    let rights = [ControlMessage::ScmRights(&numbers)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    let sent = sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(&length)], &rights, flags, None)?;
    if sent != length.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    stream.write_all(&text)
}

/// Takes a request.
///
/// # Errors
/// It is none, or does not come in time.
pub(crate) fn receive(stream: &UnixStream) -> io::Result<Request> {
    setsockopt(stream, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE, 0))?;
    let none = || io::Error::new(io::ErrorKind::InvalidData, "it is no request");
    let mut length = [0; 4];
    let mut space = nix::cmsg_space!([RawFd; 3]);
    let mut parts = [IoSliceMut::new(&mut length)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut came: Vec<OwnedFd> = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = part {
            came.extend(numbers.into_iter().map(system::kernel::adopt));
        }
    }
    let whole = message.bytes == 4;
    let streams: [OwnedFd; 3] = came.try_into().map_err(|_| none())?;
    let length = u32::from_ne_bytes(length);
    if !whole || length == 0 || length > LONGEST {
        return Err(none());
    }
    let mut text = Vec::new();
    stream.take(length.into()).read_to_end(&mut text)?;
    if u32::try_from(text.len()) != Ok(length) || text.pop() != Some(0) {
        return Err(none());
    }
    let words = text.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    Ok(Request { words: words.collect(), streams })
}

/// How what was asked for has ended, as it is sent.
pub(crate) fn answer(ending: Ending) -> [u8; 2] {
    match ending {
        Ending::Exited(code) => [0, code],
        Ending::Killed { signal, .. } => [1, signal],
    }
}

/// The same, as it is read; `None` where whoever answers was ended, too.
pub(crate) fn answered(mut stream: &UnixStream) -> Option<Ending> {
    let mut said = [0; 2];
    stream.read_exact(&mut said).ok()?;
    match said {
        [0, code] => Some(Ending::Exited(code)),
        [1, signal] => Some(Ending::Killed { signal, core: false }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd as _;

    fn streams() -> [File; 3] {
        [(); 3].map(|()| File::open("/dev/null").unwrap())
    }

    fn sent(words: &[&OsStr]) -> io::Result<Request> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let streams = streams();
        send(&ours, words, [streams[0].as_fd(), streams[1].as_fd(), streams[2].as_fd()])?;
        receive(&theirs)
    }

    #[test]
    fn words_arrive_as_they_were() {
        let long = "x".repeat(100_000);
        let words: [&OsStr; 4] = ["enter", "", "two words\n", &long].map(OsStr::new);
        assert_eq!(sent(&words).unwrap().words, words);
        assert!(sent(&[]).is_err(), "no word is no request");
    }

    #[test]
    fn what_has_no_descriptors_with_it_or_is_cut_short_is_no_request() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&[2, 0, 0, 0, b'x', 0]).unwrap();
        assert!(receive(&theirs).is_err());
        let (ours, theirs) = UnixStream::pair().unwrap();
        let numbers = [0; 3];
        let rights = [ControlMessage::ScmRights(&numbers)];
        let parts = [IoSlice::new(&[9, 0, 0, 0, b'x', 0])];
        sendmsg::<()>(ours.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None).unwrap();
        drop(ours);
        assert!(receive(&theirs).is_err());
    }

    #[test]
    fn an_ending_arrives() {
        for ending in [Ending::Exited(7), Ending::Killed { signal: 9, core: false }] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(&answer(ending)).unwrap();
            assert_eq!(answered(&theirs), Some(ending));
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(ours);
        assert_eq!(answered(&theirs), None);
    }
}
