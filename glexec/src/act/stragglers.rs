//! Ending what was left behind: TERM to the tree, a grace, then KILL to our own children until
//! there are none. Bounded, and woken by events only.

use super::family::{self, Kin, Spared};
use super::process::is_nested_supervisor;
use super::root::Root;
use super::watch::{Heard, News, Watch};
use crate::decide::ended::Leftovers;
use crate::decide::heard::Signal;
use crate::decide::vigil::{Action, Event, Vigil};
use std::time::{Duration, Instant};

/// What the kernel is given to make a killed process vanish. One in uninterruptible sleep may
/// never do: it is counted, and life goes on.
pub(super) const UNKILLABLE: Duration = Duration::from_secs(10);
/// A storm of forks that outruns every KILL for so long is counted as it is.
const STORM: Duration = Duration::from_secs(30);

/// The clocks of a clearing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Graces {
    /// From TERM to KILL.
    pub(super) kill: Duration,
    /// How long a nested glexec that owes something may take once its payload is dead.
    pub(super) nested: Duration,
}

/// Who hears and decides meanwhile.
#[derive(Debug)]
pub(super) struct Ears<'a> {
    pub(super) watch: &'a mut Watch,
    pub(super) vigil: &'a mut Vigil,
    /// Set by a second TERM of root's: no more graces.
    pub(super) hurry: &'a mut bool,
}

impl Ears<'_> {
    /// Waits, and notes what is heard: afterwards nothing is forwarded any more.
    pub(super) fn wait(&mut self, others: &[std::os::fd::BorrowedFd<'_>], until: Instant) -> News {
        let news = self.watch.wait(others, Some(until));
        for heard in &news.heard {
            let event = match heard {
                Heard::Signal(signal) => event_of(signal),
                Heard::Order(number) => Event::Order(*number),
                Heard::CallerGone | Heard::Nonsense(_) => Event::CallerGone,
            };
            *self.hurry |= self.vigil.hear(event, None) == Action::Hurry;
        }
        news
    }
}

/// A signal as the vigil hears it.
pub(super) fn event_of(signal: &Signal) -> Event {
    match signal.number {
        15 => Event::Term { from_root: signal.is_from_root() },
        number => Event::Signal(number),
    }
}

/// Ends every descendant that is not spared.
pub(super) fn clear(
    root: &Root,
    ears: &mut Ears<'_>,
    spared: &Spared,
    graces: Graces,
) -> Leftovers {
    let tree = family::descendants(spared, false);
    if tree.is_empty() {
        return Leftovers::default();
    }
    for kin in &tree {
        // Without a grace only who runs an epilogue of its own is asked first.
        if !graces.kill.is_zero() || is_nested_supervisor(kin.pid) {
            family::signal(root, *kin, libc::SIGTERM);
            family::signal(root, *kin, libc::SIGCONT);
        }
    }
    let until = Instant::now() + graces.kill;
    while Instant::now() < until && !*ears.hurry && !family::living_children(spared).is_empty() {
        ears.wait(&[], until);
    }
    let left = kill(root, ears, spared, graces.nested);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let found = tree.len().max(left);
    Leftovers { found: count(found), ended: count(found - left) }
}

/// KILL until nobody is left, or who is left cannot be killed. Gives how many that are.
fn kill(root: &Root, ears: &mut Ears<'_>, spared: &Spared, nested: Duration) -> usize {
    let (mut until, nested_until) = (Instant::now() + UNKILLABLE, Instant::now() + nested);
    let storm = Instant::now() + STORM;
    let mut before = Vec::new();
    loop {
        let tree = family::descendants(spared, false);
        if tree.is_empty() && family::living_children(spared).is_empty() {
            return 0;
        }
        let now = Instant::now();
        let is_supervisor = |kin: &Kin| now < nested_until && is_nested_supervisor(kin.pid);
        let (supervisors, others): (Vec<Kin>, Vec<Kin>) =
            tree.iter().partition(|kin| is_supervisor(kin));
        if tree != before {
            until = now + UNKILLABLE;
        }
        if (now >= until || now >= storm) && supervisors.is_empty() {
            return tree.len().max(1);
        }
        before = tree;
        // A killed process forks no more, so a storm loses ground with every round.
        for kin in &others {
            family::signal(root, *kin, libc::SIGKILL);
        }
        family::living_children(spared).iter().for_each(|child| {
            if !is_nested_supervisor(*child) || now >= nested_until {
                family::kill_child(root, *child);
            }
        });
        for supervisor in &supervisors {
            family::kill_below(root, supervisor.pid);
        }
        ears.wait(&[], if supervisors.is_empty() { until.min(storm) } else { nested_until });
    }
}
