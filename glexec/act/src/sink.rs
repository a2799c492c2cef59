//! Where log lines go: a syslog or journal socket, or root's own file. Everything here is sent
//! as root, so that the receiver's record of the sender can be believed.

use super::root::{Privilege, Root};
use decide::config::{LogDestination, LogRule};
use decide::reporter::Sink;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, socket,
};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Gid, Uid, Whence, fchown, ftruncate, lseek, write};
use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::time::{Duration, Instant};
use system::file_trust::Trust;
use system::secure_open::{self, Untrusted};

/// Where syslog(3) sends to.
const SYSLOG: &str = "/dev/log";
/// Where journald takes the same lines: /dev/log is a link to it, which a container may not have.
const SYSLOG_OF_JOURNAL: &str = "/run/systemd/journal/dev-log";
/// Where `sd_journal_send(3)` sends to.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// An open log.
#[derive(Debug)]
pub struct Post<'p> {
    privilege: Option<&'p Privilege>,
    place: RefCell<Place>,
    /// Why the last line that was not taken was not.
    trouble: Cell<Errno>,
}

#[derive(Debug)]
enum Place {
    Socket { path: &'static str, socket: Option<OwnedFd> },
    File { path: String, file: OwnedFd },
}

impl<'p> Post<'p> {
    /// Syslog, connected when there is something to say.
    pub const fn syslog(privilege: Option<&'p Privilege>) -> Self {
        let place = Place::Socket { path: SYSLOG, socket: None };
        Self { privilege, place: RefCell::new(place), trouble: Cell::new(Errno::UnknownErrno) }
    }

    /// Opens where the rule says. A socket that nobody listens at is tried again at each line.
    ///
    /// # Errors
    /// Why a log file is not trusted or cannot be opened.
    pub fn open(privilege: Option<&'p Privilege>, rule: &LogRule) -> Result<Self, Untrusted> {
        let socket = |path| match connected(path) {
            Ok((path, socket)) => Place::Socket { path, socket: Some(socket) },
            Err(_) => Place::Socket { path, socket: None },
        };
        let place = match (rule.destination, &rule.file) {
            (LogDestination::Journal, _) => socket(JOURNAL),
            (LogDestination::File, Some(path)) => as_root(privilege, |root| log_file(root, path))?,
            (LogDestination::Syslog, _) | (LogDestination::File, None) => socket(SYSLOG),
        };
        let (place, trouble) = (RefCell::new(place), Cell::new(Errno::UnknownErrno));
        Ok(Self { privilege, place, trouble })
    }

    /// Where that is.
    pub fn shown(&self) -> String {
        match &*self.place.borrow() {
            Place::Socket { path, .. } => format!("{path} takes a line"),
            Place::File { path, .. } => format!("{path} takes a line"),
        }
    }

    /// The descriptor that must stay open.
    pub fn number(&self) -> Option<RawFd> {
        match &*self.place.borrow() {
            Place::Socket { socket, .. } => socket.as_ref().map(OwnedFd::as_raw_fd),
            Place::File { file, .. } => Some(file.as_raw_fd()),
        }
    }
}

/// Does `work` as root where that is possible, else with what rights there are: a payload that
/// exec refused is logged by the target it has become.
fn as_root<T>(privilege: Option<&Privilege>, work: impl FnOnce(&Root) -> T) -> T {
    match privilege.and_then(|p| p.raise().ok()) {
        Some(root) => work(&root),
        None => work(&Root::without_rights()),
    }
}

impl Sink for Post<'_> {
    fn deliver(&self, bytes: &[u8], patience: Duration) -> bool {
        let sent = as_root(self.privilege, |_| match &mut *self.place.borrow_mut() {
            Place::File { file, .. } => append(file, bytes),
            Place::Socket { path, socket } => {
                let until = Instant::now() + patience;
                let send = |socket: &OwnedFd| send_until(socket, bytes, until);
                match socket.as_ref().map(send) {
                    Some(Ok(())) => Ok(()),
                    // It is there, and sleeps.
                    Some(Err(Errno::EAGAIN)) => Err(Errno::EAGAIN),
                    // It was not there, or has been started anew.
                    Some(Err(_)) | None => connected(path).and_then(|(found, anew)| {
                        let sent = send(&anew);
                        (*path, *socket) = (found, Some(anew));
                        sent
                    }),
                }
            }
        });
        self.trouble.set(sent.err().unwrap_or(Errno::UnknownErrno));
        sent.is_ok()
    }

    fn trouble(&self) -> String {
        let errno = self.trouble.get();
        let why = errno.desc();
        match (&*self.place.borrow(), errno) {
            (Place::Socket { path, .. }, Errno::EAGAIN) => {
                format!("who listens at {path} takes no line; restart that daemon")
            }
            (Place::Socket { path: SYSLOG, .. }, Errno::ENOENT) => format!(
                "there is no syslog at {SYSLOG} (nor a journal in its stead); start one, or write `log_destination = \"file\"` and a `log_file`"
            ),
            (Place::Socket { path, .. }, _) => format!(
                "nobody takes a line at {path} ({why}); start the daemon that listens there, or set another `log_destination`"
            ),
            (Place::File { path, .. }, Errno::ENOSPC | Errno::EDQUOT) => {
                format!("log_file {path} takes no line ({why}); make room there")
            }
            (Place::File { path, .. }, _) => {
                format!("log_file {path} takes no line ({why}); correct that, or name another")
            }
        }
    }
}

/// A socket, and the path that it is connected to: the journal's where there is no syslog.
fn connected(path: &'static str) -> Result<(&'static str, OwnedFd), Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    let to = |path| connect(socket.as_raw_fd(), &UnixAddr::new(path)?).map(|()| path);
    let found = match to(path) {
        Err(Errno::ENOENT) if path == SYSLOG => to(SYSLOG_OF_JOURNAL),
        found => found,
    };
    Ok((found?, socket))
}

fn send_until(socket: &OwnedFd, bytes: &[u8], until: Instant) -> Result<(), Errno> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    loop {
        match send(socket.as_raw_fd(), bytes, flags) {
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => {}
            done => return done.map(drop),
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Errno::EAGAIN);
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], timeout);
    }
}

/// Opens root's log file for appending, and makes it where it is not there.
fn log_file(_root: &Root, path: &str) -> Result<Place, Untrusted> {
    let trust = Trust::default();
    let (directory, name) = secure_open::open_parent(path, &trust).map_err(with_cure)?;
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK;
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let file = openat(&directory, name, flags, mode).or_else(|errno| {
        if errno != Errno::ENOENT {
            return Err(errno);
        }
        // The effective gid is still the caller's.
        let file = openat(&directory, name, flags | OFlag::O_CREAT, mode)?;
        let root = (Some(Uid::from_raw(0)), Some(Gid::from_raw(0)));
        fchown(&file, root.0, root.1).map(|()| file)
    });
    let file = file.map_err(|errno| {
        let why = if errno == Errno::ELOOP {
            "is a symbolic link; put a file there".to_owned()
        } else {
            format!("cannot be opened: {}; correct that, or name another", errno.desc())
        };
        Untrusted::Because(format!("log_file: {path} {why}"))
    })?;
    secure_open::judge(&file, path, SFlag::S_IFREG, &trust).map_err(with_cure)?;
    Ok(Place::File { path: path.to_owned(), file })
}

/// What is to be done about a log file that cannot be trusted.
fn with_cure(untrusted: Untrusted) -> Untrusted {
    let cure = match untrusted {
        Untrusted::Missing(_) => "make that directory, root's",
        Untrusted::Exhausted(_) => "close some descriptors",
        Untrusted::Changeable(..) | Untrusted::Because(_) => {
            "the file and every directory above it must be root's, without links, and writable by root only"
        }
    };
    untrusted.reworded(|clause| format!("log_file: {clause}; {cure}"))
}

/// One line, whole or not at all: what a full disk left of it is taken back.
fn append(file: &OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    let wanted = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    let written = i64::try_from(write(file, bytes)?).unwrap_or(0);
    if written == wanted {
        return Ok(());
    }
    let copy = file.try_clone().map_err(|_| Errno::EMFILE)?;
    // Others append at the same time; the lock is root's alone, for the file is.
    if let Ok(locked) = Flock::lock(copy, FlockArg::LockExclusiveNonblock) {
        let end = lseek(&*locked, 0, Whence::SeekCur).unwrap_or(0);
        let is_last = fstat(&*locked).is_ok_and(|s| s.st_size == end);
        if is_last && end >= written {
            let _ = ftruncate(&*locked, end - written);
        }
    }
    Err(Errno::ENOSPC)
}
