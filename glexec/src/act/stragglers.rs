//! Ending what was left behind: TERM to the tree, a grace, then KILL to our own children until
//! there are none. Bounded, and woken by events only.

use super::family::{self, Spared};
use super::process::is_nested_supervisor;
use super::root::Root;
use super::watch::{Heard, News, Watch};
use crate::decide::ended::Leftovers;
use crate::decide::heard::Signal;
use crate::decide::vigil::{Action, Event, Vigil};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// What the kernel is given to make a killed process vanish. One in uninterruptible sleep may
/// never do: it is counted, and life goes on.
pub(super) const UNKILLABLE: Duration = Duration::from_secs(10);
/// A storm of forks that outruns every KILL for so long is counted as it is.
const STORM: Duration = Duration::from_secs(30);
/// From so many children on, or after so many rounds, everybody is stopped before the next KILL.
const CROWD: usize = 64;
const ROUNDS: usize = 32;

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
            *self.hurry |= self.vigil.hear(event) == Action::Hurry;
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
    for pid in &tree {
        // Without a grace only who runs an epilogue of its own is asked first.
        if !graces.kill.is_zero() || is_nested_supervisor(*pid) {
            family::signal(root, *pid, libc::SIGTERM);
            family::signal(root, *pid, libc::SIGCONT);
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
    for round in 0.. {
        let children = family::living_children(spared);
        if children.is_empty() {
            return 0;
        }
        let now = Instant::now();
        let (supervisors, others): (Vec<Pid>, Vec<Pid>) =
            children.iter().partition(|pid| now < nested_until && is_nested_supervisor(**pid));
        if children != before {
            until = now + UNKILLABLE;
        }
        if (now >= until || now >= storm) && supervisors.is_empty() {
            return children.len();
        }
        before = children;
        if before.len() > CROWD || round > ROUNDS {
            let crowd = family::descendants(spared, false).into_iter();
            crowd.filter(|pid| !is_nested_supervisor(*pid)).for_each(|pid| {
                family::signal(root, pid, libc::SIGSTOP);
            });
        }
        others.iter().for_each(|child| family::kill_child(root, *child));
        for supervisor in &supervisors {
            family::kill_below(root, *supervisor);
        }
        ears.wait(&[], if supervisors.is_empty() { until } else { nested_until });
    }
    0
}
