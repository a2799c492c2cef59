//! What a lingering glexec does about what it hears: pure, so that every case can be read.

use std::time::Duration;

const SIGKILL: u8 = 9;
const SIGTERM: u8 = 15;
const SIGCONT: u8 = 18;
const SIGSTOP: u8 = 19;

/// How far the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The payload runs, and no clock does.
    Running,
    /// The payload runs and must end: at the end of a clock it is killed.
    Ending,
    /// The payload was killed; at the end of a clock it counts as one that cannot be killed.
    Killed,
    /// The payload has ended; what it left and the epilogue are left to do.
    After,
}

/// What was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// SIGTERM, and whether root sent it.
    /// TERM: the end is asked for.
    Term {
        /// Whether root sent it.
        from_root: bool,
    },
    /// Any other signal that is to be passed on.
    Signal(u8),
    /// A line on the control descriptor.
    Order(u8),
    /// The control descriptor's other end is closed: the caller is gone.
    CallerGone,
    /// The clock has run out.
    TimeUp,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Pass the signal to the payload's group, and to the payload where it left the group.
    Forward(u8),
    /// The same with TERM, followed by CONT; where a duration is given, a clock is started.
    Term(Option<Duration>),
    /// Send the signal to every descendant.
    Everybody(u8),
    /// Kill the payload and its group.
    Kill,
    /// Go on without its end.
    GiveUp,
    /// Skip what is left of the graces.
    Hurry,
}

/// The site's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// Between TERM and KILL.
    pub kill_grace: Duration,
    /// From a scheduler's TERM to KILL.
    pub term_grace: Option<Duration>,
}

impl Clocks {
    /// From `kill_grace` and `term_grace`.
    pub const fn of(kill_grace: Duration, term_grace: Option<Duration>) -> Self {
        Self { kill_grace, term_grace }
    }
}

/// Where a run is, and what it does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateMachine {
    /// How far the run is.
    pub progress: Progress,
    clocks: Clocks,
    terms_of_root: u32,
}

impl StateMachine {
    /// For a payload that is being started.
    pub const fn new(clocks: Clocks) -> Self {
        Self { progress: Progress::Running, clocks, terms_of_root: 0 }
    }

    /// What to do about an event; `asked` is how long ago the payload got its first TERM. A caller
    /// that is gone after it has asked for the end has given the payload its time: only what is
    /// left of `kill_grace` counts.
    pub fn hear(&mut self, event: Input, asked: Option<Duration>) -> Action {
        if event == (Input::Term { from_root: true }) {
            self.terms_of_root += 1;
        }
        let grace = self.clocks.kill_grace.saturating_sub(asked.unwrap_or_default());
        match (self.progress, event) {
            (Progress::Running, Input::Term { .. }) => {
                if self.clocks.term_grace.is_some() {
                    self.progress = Progress::Ending;
                }
                Action::Term(self.clocks.term_grace)
            }
            (Progress::Ending | Progress::Killed, Input::Term { .. }) => Action::Term(None),
            (Progress::Running | Progress::Ending | Progress::Killed, Input::Signal(n)) => {
                Action::Forward(n)
            }
            (Progress::Killed, Input::CallerGone) => Action::Nothing,
            (Progress::Killed, Input::TimeUp) => Action::GiveUp,
            (Progress::Running | Progress::Ending | Progress::Killed, Input::Order(n)) => match n {
                SIGKILL => {
                    self.progress = Progress::Killed;
                    Action::Everybody(n)
                }
                SIGSTOP | SIGCONT => Action::Everybody(n),
                SIGTERM => Action::Term(None),
                n => Action::Forward(n),
            },
            (Progress::Running | Progress::Ending, Input::CallerGone) => {
                self.progress = Progress::Ending;
                Action::Term(Some(grace))
            }
            (Progress::Running, Input::TimeUp) => Action::Nothing,
            (Progress::Ending, Input::TimeUp) => {
                self.progress = Progress::Killed;
                Action::Kill
            }
            (Progress::After, Input::Term { .. }) => {
                if self.terms_of_root >= 2 {
                    Action::Hurry
                } else {
                    Action::Nothing
                }
            }
            (
                Progress::After,
                Input::Signal(_) | Input::Order(_) | Input::CallerGone | Input::TimeUp,
            ) => Action::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn machine(term_grace: Option<Duration>) -> StateMachine {
        StateMachine::new(Clocks { kill_grace: GRACE, term_grace })
    }

    #[test]
    fn a_forwarded_term_starts_no_clock_unless_the_site_says_so() {
        let mut plain = machine(None);
        assert_eq!(plain.hear(Input::Term { from_root: false }, None), Action::Term(None));
        assert_eq!(plain.progress, Progress::Running);
        let mut timed = machine(Some(GRACE));
        assert_eq!(timed.hear(Input::Term { from_root: true }, None), Action::Term(Some(GRACE)));
        assert_eq!(timed.hear(Input::Term { from_root: true }, None), Action::Term(None));
        assert_eq!(timed.hear(Input::TimeUp, None), Action::Kill);
    }

    #[test]
    fn a_caller_that_is_gone_ends_the_payload() {
        let mut machine = machine(None);
        assert_eq!(machine.hear(Input::CallerGone, None), Action::Term(Some(GRACE)));
        assert_eq!(machine.hear(Input::TimeUp, None), Action::Kill);
        assert_eq!(
            machine.hear(Input::TimeUp, None),
            Action::GiveUp,
            "what cannot be killed is not waited for"
        );
    }

    #[test]
    fn who_was_asked_to_end_before_the_caller_was_gone_has_what_is_left_of_its_grace() {
        let seconds = Duration::from_secs;
        for (asked, left) in [(0, 10), (3, 7), (10, 0), (600, 0)] {
            let left = Action::Term(Some(seconds(left)));
            assert_eq!(machine(None).hear(Input::CallerGone, Some(seconds(asked))), left);
        }
    }

    #[test]
    fn afterwards_signals_are_noted_and_a_second_term_of_root_hurries() {
        let mut machine = machine(None);
        machine.progress = Progress::After;
        assert_eq!(machine.hear(Input::Signal(10), None), Action::Nothing);
        assert_eq!(machine.hear(Input::Term { from_root: false }, None), Action::Nothing);
        assert_eq!(machine.hear(Input::Term { from_root: true }, None), Action::Nothing);
        assert_eq!(machine.hear(Input::Term { from_root: true }, None), Action::Hurry);
    }

    #[test]
    fn kill_stop_and_cont_go_to_everybody() {
        for n in [9, 18, 19] {
            assert_eq!(machine(None).hear(Input::Order(n), None), Action::Everybody(n));
        }
        let mut killed = machine(None);
        killed.hear(Input::Order(9), None);
        assert_eq!(killed.hear(Input::TimeUp, None), Action::GiveUp, "and is not waited for");
        assert_eq!(machine(None).hear(Input::Order(15), None), Action::Term(None));
        assert_eq!(machine(None).hear(Input::Order(10), None), Action::Forward(10));
    }
}
