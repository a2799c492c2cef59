//! The ears of a lingering glexec: signals, orders, the mirror's end, and one clock.

use super::named::{Order, Orders};
use super::sys;
use crate::contract::order;
use crate::decide::heard::{SIGNAL_INFO, Signal};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::read;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// One thing heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    Signal(Signal),
    /// A signal's number, by a line of the control descriptor.
    Order(u8),
    /// A line that is no order, cut.
    Nonsense(Vec<u8>),
    /// Who started the run is gone.
    CallerGone,
}

/// What a wait brought.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) heard: Vec<Heard>,
    /// For each of the descriptors that were given: whether something is there.
    pub(super) ready: Vec<bool>,
}

/// The ears.
#[derive(Debug)]
pub(super) struct Watch {
    signals: OwnedFd,
    orders: Option<Orders>,
    /// The other end is the mirror's; its end is the mirror's end.
    lifeline: Option<OwnedFd>,
    line: Vec<u8>,
    /// Inside a line that is too long already.
    overflow: bool,
}

/// An order is short; what is longer is none.
const LONGEST_ORDER: usize = 64;

impl Watch {
    /// Listens to every signal there is; all are blocked since the threshold.
    ///
    /// # Errors
    /// signalfd(2)'s.
    pub(super) fn new(orders: Option<Orders>, lifeline: Option<OwnedFd>) -> Result<Self, Errno> {
        let signals = sys::signal_descriptor()?;
        Ok(Self { signals, orders, lifeline, line: Vec::new(), overflow: false })
    }

    /// Waits until something is heard, one of `others` is ready, or it is `until`.
    pub(super) fn wait(&mut self, others: &[BorrowedFd<'_>], until: Option<Instant>) -> News {
        let own = [
            Some(self.signals.as_fd()),
            self.orders.as_ref().map(|o| o.as_fd()),
            self.lifeline.as_ref().map(|l| l.as_fd()),
        ];
        let listened: Vec<usize> =
            own.iter().enumerate().filter_map(|(n, fd)| fd.map(|_| n)).collect();
        let fds = own.iter().flatten().chain(others);
        let mut polled: Vec<PollFd<'_>> =
            fds.map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        let _ = poll(&mut polled, timeout(until));
        let any: Vec<bool> = polled.iter().map(|p| p.any().unwrap_or(true)).collect();
        drop(polled);
        let (own_ready, ready) = any.split_at_checked(listened.len()).unwrap_or_default();
        let mut news = News { heard: Vec::new(), ready: ready.to_vec() };
        for (which, _) in listened.iter().zip(own_ready).filter(|(_, ready)| **ready) {
            match which {
                0 => self.take_signals(&mut news.heard),
                1 => self.take_orders(&mut news.heard),
                _ => {
                    self.lifeline = None;
                    news.heard.push(Heard::CallerGone);
                }
            }
        }
        news
    }

    fn take_signals(&self, heard: &mut Vec<Heard>) {
        const AT_ONCE: usize = 16;
        let mut room = [0u8; SIGNAL_INFO * AT_ONCE];
        while let Ok(length) = read(&self.signals, &mut room) {
            let infos = room.get(..length).unwrap_or_default().chunks_exact(SIGNAL_INFO);
            heard.extend(infos.filter_map(Signal::read).map(Heard::Signal));
            if length < room.len() {
                break;
            }
        }
    }

    fn take_orders(&mut self, heard: &mut Vec<Heard>) {
        match self.orders.as_ref().map_or(Order::Nothing, Orders::read) {
            Order::Nothing => {}
            Order::End => {
                self.orders = None;
                heard.push(Heard::CallerGone);
            }
            Order::Bytes(bytes) => bytes.iter().for_each(|byte| self.take_byte(*byte, heard)),
        }
    }

    fn take_byte(&mut self, byte: u8, heard: &mut Vec<Heard>) {
        if byte != b'\n' {
            self.overflow |= self.line.len() >= LONGEST_ORDER;
            if !self.overflow {
                self.line.push(byte);
            }
            return;
        }
        let line = std::mem::take(&mut self.line);
        let overflow = std::mem::take(&mut self.overflow);
        let known = std::str::from_utf8(&line).ok().filter(|_| !overflow).and_then(order);
        heard.push(known.map_or(Heard::Nonsense(line), Heard::Order));
    }
}

/// Rounded up to the next millisecond, so that a clock has run out when it is said to have.
fn timeout(until: Option<Instant>) -> PollTimeout {
    let Some(until) = until else { return PollTimeout::NONE };
    let left = until.saturating_duration_since(Instant::now());
    let left = left.checked_add(Duration::from_micros(999)).unwrap_or(left);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}
