//! The descriptors a caller names: status stream out, orders in. Each is opened anew, so that
//! neither a sleeping reader nor a flag set on the shared description can ever block glexec.

use super::root::Privilege;
use contract::{Invocation, Reason};
use decide::refusal::Refusal;
use decide::reporter::Sink;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open, readlink};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockaddrLike as _, SockaddrStorage, getsockname, recv, send,
};
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{read, write};
use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;
use system::{kernel, process};

/// One named descriptor.
#[derive(Debug)]
pub(super) struct Named {
    file: OwnedFd,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A description of our own, which never blocks.
    Pipe,
    /// One description for all its holders, used without waiting.
    Socket,
    /// The caller's own description, where there is no root to open another: asked first.
    Shared,
    /// A pipe of ours, to or from the descriptor proxy.
    Own,
}

/// Where status records go.
#[derive(Debug)]
pub struct StatusStream {
    named: RefCell<Option<Named>>,
    /// Set once half a record went out: nothing more can be told without forging a line.
    broken: Cell<bool>,
}

/// Where orders come from.
#[derive(Debug)]
pub struct Orders(Named);

/// What was read of the orders.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    Bytes(Vec<u8>),
    Nothing,
    End,
}

/// Takes the descriptors that the command line names.
///
/// # Errors
/// [`Reason::Descriptor`] where one is not an open pipe or socket above 2 of its own.
pub fn take(
    invocation: &Invocation,
    privilege: Option<&Privilege>,
) -> Result<(Option<StatusStream>, Option<Orders>), Refusal> {
    let (status, control) = (invocation.status_fd, invocation.control_fd);
    let mut all: Vec<RawFd> = status.into_iter().chain(control).collect();
    all.extend(&invocation.keep_fds);
    let bad = |fd: RawFd, what: &str| {
        Refusal::new(Reason::Descriptor, format!("descriptor {fd} {what}"))
            .hint("name different open pipes or sockets above 2")
    };
    for (at, fd) in all.iter().enumerate() {
        if *fd <= 2 {
            return Err(bad(*fd, "is not above 2"));
        }
        if all.iter().skip(at + 1).any(|other| other == fd) {
            return Err(bad(*fd, "is named twice"));
        }
        if kind(*fd).is_none() {
            return Err(bad(*fd, "is not an open pipe or socket"));
        }
    }
    let open = |fd: RawFd, way: OFlag| {
        anew(fd, way, privilege).map_err(|e| bad(fd, &format!("cannot be used: {}", e.desc())))
    };
    let status = status.map(|fd| open(fd, OFlag::O_WRONLY)).transpose()?;
    let control = control.map(|fd| open(fd, OFlag::O_RDONLY)).transpose()?;
    let stream =
        |named| StatusStream { named: RefCell::new(Some(named)), broken: Cell::new(false) };
    Ok((status.map(stream), control.map(Orders)))
}

/// Pipe or socket, or neither. A socket that speaks with the kernel (netlink(7), packet(7)) is
/// neither: to write to it as root could ask for what the caller may not have.
fn kind(fd: RawFd) -> Option<SFlag> {
    fcntl(kernel::borrow(fd), FcntlArg::F_GETFD).ok()?;
    let (kind, _) = kernel::kind_and_device(kernel::borrow(fd)).ok()?;
    match SFlag::from_bits_truncate(kind) {
        SFlag::S_IFIFO => Some(SFlag::S_IFIFO),
        SFlag::S_IFSOCK => {
            let family = getsockname::<SockaddrStorage>(fd).ok()?.family();
            let of_processes = [AddressFamily::Unix, AddressFamily::Inet, AddressFamily::Inet6];
            family.is_some_and(|family| of_processes.contains(&family)).then_some(SFlag::S_IFSOCK)
        }
        _ => None,
    }
}

/// A description of our own. A socket has one for all its holders, so it is used without
/// waiting; a pipe is opened again: with the caller's rights, or, where somebody else made the
/// pipe and handed it to the caller, with root's, for the same direction the caller has.
fn anew(fd: RawFd, way: OFlag, privilege: Option<&Privilege>) -> Result<Named, Errno> {
    if kind(fd) == Some(SFlag::S_IFSOCK) {
        return Ok(Named { file: process::duplicate(fd)?, kind: Kind::Socket });
    }
    let has =
        OFlag::from_bits_truncate(fcntl(kernel::borrow(fd), FcntlArg::F_GETFL)?) & OFlag::O_ACCMODE;
    if has != way && has != OFlag::O_RDWR {
        return Err(Errno::EBADF);
    }
    let path = process::descriptor_name(kernel::borrow(fd)).ok_or(Errno::EBADF)?;
    let flags = way | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let reopen = || open(path.as_c_str(), flags, Mode::empty());
    // A name that begins with a slash would lead into some file system's hands.
    let anonymous = readlink(path.as_c_str()).is_ok_and(|to| to.as_bytes().starts_with(b"pipe:["));
    let opened = match (reopen(), privilege) {
        (Err(Errno::EACCES), Some(privilege)) if anonymous => {
            let _root = privilege.raise().map_err(|_| Errno::EPERM)?;
            reopen()
        }
        (Err(Errno::EACCES), None) if anonymous => {
            return Ok(Named { file: process::duplicate(fd)?, kind: Kind::Shared });
        }
        // A reader that is gone already: nothing to write to, and no harm in it.
        (Err(Errno::ENXIO), _) => process::dev_null(),
        (done, _) => done,
    };
    Ok(Named { file: opened?, kind: Kind::Pipe })
}

impl Sink for StatusStream {
    fn deliver(&self, bytes: &[u8], _: Duration) -> bool {
        if self.broken.get() {
            return false;
        }
        let named = self.named.borrow();
        let Some(named) = named.as_ref() else { return false };
        // With the effective uid as it is: who lowers it, were it for this write alone, may not have
        // the right to end the payload when it is killed in that moment. What a socket's reader
        // learns of the sender is the real uid, which is the caller's (unix(7), SCM_CREDENTIALS).
        let written = named.put(bytes);
        let whole = written == Ok(bytes.len());
        self.broken.set(!whole && written.is_ok());
        whole
    }

    fn trouble(&self) -> String {
        "who reads the status stream takes no record".to_owned()
    }
}

impl Named {
    fn put(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match self.kind {
            Kind::Socket => send(self.file.as_raw_fd(), bytes, flags),
            Kind::Shared if !self.is_ready(PollFlags::POLLOUT) => Err(Errno::EAGAIN),
            Kind::Shared | Kind::Pipe | Kind::Own => write(&self.file, bytes),
        }
    }

    fn get(&self, room: &mut [u8]) -> Result<usize, Errno> {
        match self.kind {
            Kind::Socket => recv(self.file.as_raw_fd(), room, MsgFlags::MSG_DONTWAIT),
            Kind::Shared if !self.is_ready(PollFlags::POLLIN) => Err(Errno::EAGAIN),
            Kind::Shared | Kind::Pipe | Kind::Own => read(&self.file, room),
        }
    }

    fn is_ready(&self, what: PollFlags) -> bool {
        poll(&mut [PollFd::new(self.file.as_fd(), what)], PollTimeout::ZERO).is_ok_and(|n| n > 0)
    }
}

impl Named {
    pub(super) fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Writes all of it, however long that takes. For the descriptor proxy alone.
    pub(super) fn put_all(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.put(bytes) {
                Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
                Err(Errno::EAGAIN | Errno::EINTR) => {
                    let ready = PollFd::new(self.file.as_fd(), PollFlags::POLLOUT);
                    let _ = poll(&mut [ready], PollTimeout::NONE);
                }
                Err(_) => return,
            }
        }
    }

    /// Reads what is there of the orders.
    pub(super) fn read_order(&self) -> Order {
        let mut room = [0u8; 4096];
        match self.get(&mut room) {
            Err(Errno::EAGAIN | Errno::EINTR) => Order::Nothing,
            Ok(0) | Err(_) => Order::End,
            Ok(length) => Order::Bytes(room.get(..length).unwrap_or_default().to_vec()),
        }
    }
}

impl StatusStream {
    /// The descriptor that must stay open.
    pub fn number(&self) -> Option<RawFd> {
        self.named.borrow().as_ref().map(Named::number)
    }

    /// Takes the caller's descriptor out; nothing is told any more.
    pub(super) fn take(&self) -> Option<Named> {
        self.named.take()
    }

    /// From now on records go to this pipe of ours. The caller's descriptor is closed.
    pub(super) fn go_by(&self, pipe: OwnedFd) {
        self.named.replace(Some(Named { file: pipe, kind: Kind::Own }));
    }

    /// Nothing more will be told.
    pub fn close(&self) {
        self.named.replace(None);
    }
}

impl Orders {
    /// The descriptor that must stay open.
    pub fn number(&self) -> RawFd {
        self.0.file.as_raw_fd()
    }

    pub(super) fn into_named(self) -> Named {
        self.0
    }

    /// Orders that come by a pipe of ours.
    pub(super) fn of_pipe(file: OwnedFd) -> Self {
        Self(Named { file, kind: Kind::Own })
    }

    /// Reads what is there.
    pub(super) fn read(&self) -> Order {
        self.0.read_order()
    }
}

impl AsFd for Orders {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}
