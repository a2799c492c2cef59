//! How a lingering run ended, all told, and what glexec returns for it.

use super::config::EpilogueFailure;
use contract::{Ending, EpilogueResult, Outcome, ResourceUsage};
use std::time::Duration;

/// Everything that is known of a run once nothing of it is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// How the payload ended, or the code for a payload that could not be started.
    pub ending: Result<Ending, u8>,
    /// What the payload used.
    pub usage: ResourceUsage,
    /// What it left behind.
    pub stragglers: Leftovers,
    /// How the epilogue ended and how long it took, where there was one.
    pub epilogue: Option<(EpilogueResult, Duration)>,
    /// Whether every directory that the target had is the caller's again, and its proxy is gone.
    pub handed_back: bool,
}

/// What a payload left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leftovers {
    /// Processes that were there when the payload had ended, or came to light later.
    pub found: u32,
    /// Of these, how many are gone.
    pub ended: u32,
}

impl Ended {
    /// What glexec returns. `failure` is the site's rule for an epilogue that failed.
    pub fn outcome(&self, failure: EpilogueFailure) -> Outcome {
        let told = match failure {
            EpilogueFailure::Fail => self.epilogue.map(|(result, _)| result),
            EpilogueFailure::Report => None,
        };
        match self.ending {
            Ok(ending) => Outcome::of_run(ending, told),
            Err(code) => match Outcome::of_run(Ending::Exited(0), told) {
                Outcome::Payload(_) => Outcome::from(code),
                failed @ (Outcome::Stopped(_) | Outcome::Collided) => failed,
            },
        }
    }

    /// Whether nothing is owed any more: the epilogue ran to its own end or was timed out, and what
    /// the target had is back or gone.
    pub fn is_paid(&self) -> bool {
        self.handed_back && !matches!(self.epilogue, Some((result, _)) if result.is_owed())
    }

    /// The epilogue's failure, where it failed.
    pub fn epilogue_failure(&self) -> Option<EpilogueResult> {
        self.epilogue.map(|(result, _)| result).filter(|result| *result != EpilogueResult::Ok)
    }

    /// One clause for the log: how the payload ended.
    pub fn told(&self) -> String {
        match self.ending {
            Ok(Ending::Exited(code)) => format!("exit {code}"),
            Ok(Ending::Killed { signal, core: false }) => format!("signal {signal}"),
            Ok(Ending::Killed { signal, core: true }) => format!("signal {signal} (core dumped)"),
            Err(code) => format!("not started ({code})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(ending: Result<Ending, u8>, epilogue: Option<EpilogueResult>) -> Ended {
        let epilogue = epilogue.map(|result| (result, Duration::ZERO));
        let (usage, stragglers) = (ResourceUsage::default(), Leftovers::default());
        Ended { ending, usage, stragglers, epilogue, handed_back: true }
    }

    #[test]
    fn a_run_is_paid_when_its_epilogue_and_its_hand_back_are() {
        for (epilogue, handed_back, paid) in [
            (None, true, true),
            (None, false, false),
            (Some(EpilogueResult::Ok), false, false),
            (Some(EpilogueResult::Exit(3)), true, true),
            (Some(EpilogueResult::NotStarted), true, false),
        ] {
            let run = Ended { handed_back, ..ended(Ok(Ending::Exited(0)), epilogue) };
            assert_eq!(run.is_paid(), paid, "{run:?}");
        }
    }

    #[test]
    fn an_epilogue_that_fails_counts_unless_the_site_only_wants_it_reported() {
        let failed = Some(EpilogueResult::Exit(3));
        for (ending, epilogue, fail, report) in [
            (Ok(Ending::Exited(7)), failed, 202, 7),
            (Ok(Ending::Exited(7)), Some(EpilogueResult::Ok), 7, 7),
            (Ok(Ending::Exited(202)), None, 204, 204),
            (Err(127), failed, 202, 127),
            (Err(127), Some(EpilogueResult::Exit(203)), 204, 127),
            (Err(126), Some(EpilogueResult::Ok), 126, 126),
            (Err(202), None, 202, 202),
        ] {
            let run = ended(ending, epilogue);
            assert_eq!(run.outcome(EpilogueFailure::Fail).exit_code(), fail, "{run:?}");
            assert_eq!(run.outcome(EpilogueFailure::Report).exit_code(), report, "{run:?}");
        }
    }
}
