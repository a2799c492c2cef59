//! What a lingering glexec waits for: signals, orders, the status proxy's end, and one clock.

use super::caller_descriptors::{Order, Orders};
use contract::order;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::read;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use system::kernel;
use system::signal_info::{SIGNAL_INFO, Signal};

/// To be waited for until there is something to be read, or an end.
pub(super) fn input(descriptor: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::new(descriptor, PollFlags::POLLIN)
}

/// One thing heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
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
pub(super) struct Events {
    pub(super) heard: Vec<Event>,
    /// For each of the descriptors that were given: whether something is there.
    pub(super) ready: Vec<bool>,
}

/// The descriptors that a lingering glexec waits on.
#[derive(Debug)]
pub struct EventSources {
    signals: OwnedFd,
    orders: Option<Orders>,
    /// The other end is the status proxy's; its end is the status proxy's end.
    lifeline: Option<OwnedFd>,
    line: Vec<u8>,
    /// Inside a line that is too long already.
    overflow: bool,
}

/// An order is short; what is longer is none.
const LONGEST_ORDER: usize = 64;

impl EventSources {
    /// Listens to every signal there is; all are blocked since the threshold.
    ///
    /// # Errors
    /// signalfd(2)'s.
    pub fn new(orders: Option<Orders>, lifeline: Option<OwnedFd>) -> Result<Self, Errno> {
        let signals = kernel::signal_descriptor()?;
        Ok(Self { signals, orders, lifeline, line: Vec::new(), overflow: false })
    }

    /// Waits until something is heard, one of `others` is ready, or it is `until`.
    pub(super) fn wait(&mut self, others: &[PollFd<'_>], until: Option<Instant>) -> Events {
        let own = [
            Some(self.signals.as_fd()),
            self.orders.as_ref().map(|o| o.as_fd()),
            self.lifeline.as_ref().map(|l| l.as_fd()),
        ];
        let listened: Vec<usize> =
            own.iter().enumerate().filter_map(|(n, fd)| fd.map(|_| n)).collect();
        let own = own.into_iter().flatten().map(input);
        let mut polled: Vec<PollFd<'_>> = own.chain(others.iter().cloned()).collect();
        let _ = poll(&mut polled, timeout(until));
        let any: Vec<bool> = polled.iter().map(|p| p.any().unwrap_or(true)).collect();
        drop(polled);
        let (own_ready, ready) = any.split_at_checked(listened.len()).unwrap_or_default();
        let mut news = Events { heard: Vec::new(), ready: ready.to_vec() };
        for (which, _) in listened.iter().zip(own_ready).filter(|(_, ready)| **ready) {
            match which {
                0 => self.take_signals(&mut news.heard),
                1 => self.take_orders(&mut news.heard),
                _ => {
                    self.lifeline = None;
                    news.heard.push(Event::CallerGone);
                }
            }
        }
        news.heard = condensed(news.heard);
        news
    }

    /// Takes a bounded number: who sends without end keeps us from no clock.
    fn take_signals(&self, heard: &mut Vec<Event>) {
        const AT_ONCE: usize = 16;
        const READS: usize = 8;
        let mut room = [0u8; SIGNAL_INFO * AT_ONCE];
        for _ in 0..READS {
            let Ok(length) = read(&self.signals, &mut room) else { return };
            let infos = room.get(..length).unwrap_or_default().chunks_exact(SIGNAL_INFO);
            heard.extend(infos.filter_map(Signal::read).map(Event::Signal));
            if length < room.len() {
                return;
            }
        }
    }

    /// Takes as much as a pipe holds, and its end with it where that is there: an end must not wait
    /// until everything that was written before it has been done.
    fn take_orders(&mut self, heard: &mut Vec<Event>) {
        const READS: usize = 17;
        for _ in 0..READS {
            match self.orders.as_ref().map_or(Order::Nothing, Orders::read) {
                Order::Nothing => return,
                Order::End => {
                    self.orders = None;
                    heard.push(Event::CallerGone);
                    return;
                }
                Order::Bytes(bytes) => bytes.iter().for_each(|byte| self.take_byte(*byte, heard)),
            }
        }
    }

    fn take_byte(&mut self, byte: u8, heard: &mut Vec<Event>) {
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
        heard.push(known.map_or(Event::Nonsense(line), Event::Order));
    }
}

/// What is left to do of a batch: of the same order, or the same signal of the same sender, the
/// last; of STOP and CONT, which undo each other and go to everybody, the last of both; of lines
/// that are no orders, a few. Real-time signals are counted by who gets them, and all stay.
fn condensed(heard: Vec<Event>) -> Vec<Event> {
    const NONSENSE: usize = 8;
    const STOP: u8 = 19;
    const CONT: u8 = 18;
    const FIRST_REAL_TIME: u8 = 32;
    let undo_each_other = |n: &u8| [STOP, CONT].contains(n);
    let replaces = |later: &Event, earlier: &Event| match (later, earlier) {
        (Event::Order(a), Event::Order(b)) => a == b || undo_each_other(a) && undo_each_other(b),
        (Event::Signal(a), Event::Signal(b)) => a == b && a.number < FIRST_REAL_TIME,
        _ => false,
    };
    let mut kept: Vec<Event> = Vec::new();
    let mut nonsense = 0;
    for one in heard {
        if matches!(one, Event::Nonsense(_)) {
            nonsense += 1;
            if nonsense > NONSENSE {
                continue;
            }
        }
        kept.retain(|earlier| !replaces(&one, earlier));
        kept.push(one);
    }
    kept
}

/// Rounded up to the next millisecond, so that a clock has run out when it is said to have.
fn timeout(until: Option<Instant>) -> PollTimeout {
    let Some(until) = until else { return PollTimeout::NONE };
    let left = until.saturating_duration_since(Instant::now());
    let left = left.checked_add(Duration::from_micros(999)).unwrap_or(left);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use system::signal_info::Sender;

    #[test]
    fn of_a_flood_of_orders_the_last_of_each_kind_is_done_and_the_end_is_heard() {
        let flood: Vec<Event> = (0..10_000)
            .flat_map(|n| {
                [19, 10, 18, 10]
                    .map(Event::Order)
                    .into_iter()
                    .chain([Event::Nonsense(vec![u8::try_from(n % 256).unwrap()])])
            })
            .chain([Event::Order(15), Event::CallerGone])
            .collect();
        let kept = condensed(flood);
        let orders: Vec<&Event> =
            kept.iter().filter(|h| !matches!(h, Event::Nonsense(_))).collect();
        let want = [18, 10, 15].map(Event::Order);
        assert_eq!(orders, want.iter().chain([&Event::CallerGone]).collect::<Vec<_>>());
        assert_eq!(kept.len(), 4 + 8);
    }

    #[test]
    fn signals_of_two_senders_and_real_time_signals_all_arrive() {
        let signal = |number, pid| {
            let uid = nix::unistd::Uid::from_raw(7);
            let sender = Sender::Process { pid: nix::unistd::Pid::from_raw(pid), uid };
            Event::Signal(Signal { number, sender })
        };
        let heard = vec![signal(15, 5), signal(15, 6), signal(15, 5), signal(40, 5), signal(40, 5)];
        let want = [signal(15, 6), signal(15, 5), signal(40, 5), signal(40, 5)];
        assert_eq!(condensed(heard), want);
    }
}
