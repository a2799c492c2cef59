//! Between an immune glexec and the descriptors its caller named stands a process with the
//! caller's rights and no others: whatever the caller does to them (a pipe locked by splice(2),
//! a socket that lingers at its close, a reader that sleeps), it does to that process. glexec
//! itself touches two pipes of its own, which never wait.

use super::caller_descriptors::{Named, Order, Orders, StatusStream};
use super::close_descriptors;
use super::descendants;
use super::launch::not_forked;
use super::root::Privilege;
use contract::Reason;
use decide::refusal::Refusal;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, chdir, pipe2, read, write};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;
use system::Birth;
use system::kernel::{self, Side};
use system::process;

/// The process in between. It ends when it has handed on what glexec had to say.
#[derive(Debug)]
pub struct DescriptorProxy {
    pid: Pid,
    /// No straggler.
    pub(super) birth: Option<Birth>,
    /// Where there is no status stream: by the end of this pipe it learns of our end.
    lifeline: Option<OwnedFd>,
}

/// How long an ending glexec waits for its last record to be handed on.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Puts a descriptor proxy in between. What glexec held of the caller's descriptors is closed here,
/// before it is immune: a close that hangs hangs the caller's own call. 0 to 2 are /dev/null by
/// now, for the descriptor proxy, too.
///
/// # Errors
/// [`Reason::Internal`].
pub(super) fn start(
    privilege: &Privilege,
    status: Option<&StatusStream>,
    orders: &mut Option<Orders>,
) -> Result<Option<DescriptorProxy>, Refusal> {
    if status.is_none() && orders.is_none() {
        return Ok(None);
    }
    let failed = |e: Errno| {
        Refusal::new(Reason::Internal, "glexec could not start a process; see the log")
            .detail(format!("the descriptor proxy: {}", e.desc()))
    };
    let (records, to_records) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    let (from_orders, to_orders) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    process::make_non_blocking(&to_records).map_err(failed)?;
    process::make_non_blocking(&from_orders).map_err(failed)?;
    let pid = match privilege.fork().map_err(not_forked)? {
        Side::Parent(pid) => pid,
        Side::Child => {
            drop((to_records, from_orders));
            let named =
                (status.and_then(StatusStream::take), orders.take().map(Orders::into_named));
            become_descriptor_proxy(privilege, named, (records, to_orders))
        }
    };
    drop((records, to_orders));
    let lifeline = match status {
        Some(status) => {
            status.go_by(to_records);
            None
        }
        None => Some(to_records),
    };
    if orders.is_some() {
        *orders = Some(Orders::of_pipe(from_orders));
    }
    let birth = Some(process::own_birth(pid).map_err(failed)?);
    Ok(Some(DescriptorProxy { pid, birth, lifeline }))
}

fn become_descriptor_proxy(
    privilege: &Privilege,
    (status, orders): (Option<Named>, Option<Named>),
    (records, to_orders): (OwnedFd, OwnedFd),
) -> ! {
    let ready = privilege.give_up().and_then(|()| chdir("/"));
    let mut kept = vec![records.as_raw_fd(), to_orders.as_raw_fd()];
    kept.extend(status.as_ref().map(Named::number));
    kept.extend(orders.as_ref().map(Named::number));
    if ready.and_then(|()| close_descriptors::close_all_but(&kept)).is_ok() {
        // It is of the caller's uid and in the caller's group: a scheduler that signals every
        // process of a job must not cut the wires. Only KILL does; glexec's own end ends it too.
        kernel::set_mask(u64::MAX);
        hand_on(status.as_ref(), orders, &records, to_orders);
    }
    kernel::exit_now(0)
}

/// Until glexec has said its last word, and that is handed on.
fn hand_on(
    status: Option<&Named>,
    mut orders: Option<Named>,
    records: &OwnedFd,
    to_orders: OwnedFd,
) {
    let mut to_orders = Some(to_orders);
    let mut room = [0u8; 4096];
    loop {
        let mut polled = vec![PollFd::new(records.as_fd(), PollFlags::POLLIN)];
        polled.extend(orders.as_ref().map(|o| PollFd::new(o.as_fd(), PollFlags::POLLIN)));
        let _ = poll(&mut polled, PollTimeout::NONE);
        let ready: Vec<bool> = polled.iter().map(|p| p.any().unwrap_or(true)).collect();
        drop(polled);
        if ready.first() == Some(&true) {
            match read(records, &mut room) {
                Ok(0) | Err(_) => return,
                Ok(length) => {
                    let bytes = room.get(..length).unwrap_or_default();
                    if let Some(status) = status {
                        status.put_all(bytes);
                    }
                }
            }
        }
        if ready.get(1) == Some(&true) {
            match orders.as_ref().map_or(Order::Nothing, Named::read_order) {
                Order::Nothing => {}
                Order::Bytes(bytes) => {
                    if let Some(pipe) = &to_orders {
                        let _ = write(pipe, &bytes);
                    }
                }
                Order::End => (orders, to_orders) = (None, None),
            }
        }
    }
}

impl DescriptorProxy {
    /// Waits a moment for the last record to be handed on; then it is on its own.
    pub fn leave(self) {
        drop(self.lifeline);
        if let Ok(pidfd) = kernel::pidfd(self.pid) {
            let timeout = PollTimeout::try_from(LAST_WORDS).unwrap_or(PollTimeout::ZERO);
            let _ = poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout);
        }
        let _ = descendants::reap(self.pid);
    }
}
