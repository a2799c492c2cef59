//! Ending what was left behind: TERM to the tree, a grace, then KILL to our own children until
//! there are none. Bounded, and woken by events only.

use super::cgroups::Leaf;
use super::descendants::{self, Descendant, Exempt};
use super::event_sources::{Event, EventSources, Events};
use super::root::Root;
use decide::ended::Leftovers;
use decide::state_machine::{Action, Input, StateMachine};
use nix::unistd::Pid;
use std::time::{Duration, Instant};
use system::signal_info::Signal;

/// What the kernel is given to make a killed process vanish. One in uninterruptible sleep may
/// never do: it is counted, and life goes on.
pub(super) const UNKILLABLE: Duration = Duration::from_secs(10);
/// A storm of forks that outruns every KILL for so long is counted as it is.
const STORM: Duration = Duration::from_secs(30);

/// The clocks of a clearing.
#[derive(Debug, Clone, Copy)]
pub struct Graces {
    /// From TERM to KILL.
    pub kill: Duration,
    /// How long a nested glexec that owes something may take once its payload is dead.
    pub nested: Duration,
}

/// Who hears and decides meanwhile.
#[derive(Debug)]
pub struct EventWait<'a> {
    /// What is heard.
    pub watch: &'a mut EventSources,
    /// What follows from it.
    pub machine: &'a mut StateMachine,
    /// Set by a second TERM of root's: no more graces.
    pub hurry: &'a mut bool,
}

impl EventWait<'_> {
    /// Waits, and notes what is heard: afterwards nothing is forwarded any more.
    pub(super) fn wait(&mut self, others: &[nix::poll::PollFd<'_>], until: Instant) -> Events {
        let news = self.watch.wait(others, Some(until));
        for heard in &news.heard {
            let event = match heard {
                Event::Signal(signal) => event_of(signal),
                Event::Order(number) => Input::Order(*number),
                Event::CallerGone | Event::Nonsense(_) => Input::CallerGone,
            };
            *self.hurry |= self.machine.hear(event, None) == Action::Hurry;
        }
        news
    }
}

/// A signal as the state machine takes it.
pub(super) fn event_of(signal: &Signal) -> Input {
    match signal.number {
        15 => Input::Term { from_root: signal.is_from_root() },
        number => Input::Signal(number),
    }
}

/// Ends every descendant that is not spared, by its control group, too, where it has one.
pub(super) fn clear(
    root: &Root,
    events: &mut EventWait<'_>,
    spared: &Exempt,
    leaf: Option<&Leaf>,
    graces: Graces,
) -> Leftovers {
    let tree = descendants::descendants(root, spared, false, Instant::now() + UNKILLABLE);
    if tree.is_empty() {
        return Leftovers::default();
    }
    for descendant in &tree.processes {
        // Without a grace only who runs an epilogue of its own is asked first.
        if !graces.kill.is_zero() || spared.nested.is(root, descendant.pid) {
            descendants::signal(root, *descendant, libc::SIGTERM);
            descendants::signal(root, *descendant, libc::SIGCONT);
        }
    }
    let until = Instant::now() + graces.kill;
    let somebody_is_left =
        || descendants::living_children(spared).map_or(true, |children| !children.is_empty());
    while Instant::now() < until && !*events.hurry && somebody_is_left() {
        events.wait(&[], until);
    }
    let left = kill(root, events, spared, leaf, graces.nested);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let found = tree.processes.len().max(left);
    Leftovers { found: count(found), ended: count(found - left) }
}

/// The clocks of killing.
struct Patience {
    /// When who was killed should be gone; anew with everybody who goes.
    until: Instant,
    /// When who forks faster than it is killed has won.
    storm: Instant,
}

impl Patience {
    fn new() -> Self {
        let now = Instant::now();
        Self { until: now + UNKILLABLE, storm: now + STORM }
    }
}

/// KILL until nobody is left, or who is left cannot be killed. Gives how many that are.
fn kill(
    root: &Root,
    events: &mut EventWait<'_>,
    spared: &Exempt,
    leaf: Option<&Leaf>,
    nested: Duration,
) -> usize {
    /// Before the next look, where the kernel has not shown everything.
    const LOOK: Duration = Duration::from_millis(100);
    let (mut patience, nested_until) = (Patience::new(), Instant::now() + nested);
    let (mut before, mut waited_for_nested) = (Vec::new(), false);
    loop {
        let pass = Instant::now() + UNKILLABLE;
        let tree = descendants::descendants(root, spared, false, pass);
        let children = descendants::living_children(spared);
        if tree.is_empty() && children.as_ref().is_ok_and(Vec::is_empty) {
            return 0;
        }
        let now = Instant::now();
        let has_time = |pid: Pid| now < nested_until && spared.nested.is(root, pid);
        let (supervisors, others): (Vec<Descendant>, Vec<Descendant>) =
            tree.processes.iter().partition(|descendant| has_time(descendant.pid));
        // Who was under a nested run, or was one, has had no KILL so far: its clocks begin now.
        if waited_for_nested && supervisors.is_empty() {
            patience = Patience::new();
        }
        waited_for_nested = !supervisors.is_empty();
        if tree.processes != before {
            patience.until = now + UNKILLABLE;
        }
        if (now >= patience.until || now >= patience.storm) && supervisors.is_empty() {
            return tree.processes.len().max(1);
        }
        before = tree.processes;
        // A killed process forks no more, so a storm loses ground with every round.
        for descendant in &others {
            descendants::signal(root, *descendant, libc::SIGKILL);
        }
        for child in children.iter().flatten().filter(|child| !has_time(**child)) {
            descendants::kill_child(root, *child);
        }
        match leaf.filter(|_| supervisors.is_empty()) {
            Some(leaf) => leaf.kill_now(root),
            None => supervisors.iter().for_each(|nested| descendants::kill_below(root, nested.pid)),
        }
        let next =
            if supervisors.is_empty() { patience.until.min(patience.storm) } else { nested_until };
        let shown = tree.whole && children.is_ok();
        events.wait(&[], if shown { next } else { next.min(now + LOOK) });
    }
}
