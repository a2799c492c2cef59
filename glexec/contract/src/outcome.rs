//! The exit byte and what it means, in both directions.

use super::{EpilogueResult, Fault};

/// The caller must change something: credential, permissions, command.
pub const CALLER_MUST_ACT: u8 = 201;
/// The site must act: configuration, permissions, mapping set-up, epilogue failed.
pub const ADMIN_MUST_ACT: u8 = 202;
/// Refused: not listed, banned, no mapping, target not admitted.
pub const REFUSED: u8 = 203;
/// The payload, or the epilogue, itself ended with 201 to 204.
pub const COLLISION: u8 = 204;
/// The command was there and exec refused it in the end.
pub const FOUND_NOT_EXECUTABLE: u8 = 126;
/// The command was gone when exec looked for it.
pub const NOT_FOUND: u8 = 127;

/// How a process ended, as wait(2) tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this code, 0 to 255.
    Exited(u8),
    /// It died of this signal, 1 to 64.
    Killed {
        /// The signal's number.
        signal: u8,
        /// Whether the kernel wrote a core.
        core: bool,
    },
}

impl Ending {
    /// The code as the epilogue and a shell see it: the exit code, or 128+n for signal n.
    /// Not folded to 204.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Killed { signal, .. } => 128u8.saturating_add(signal),
        }
    }

    /// From the status word of wait(2); `None` for stopped or continued.
    #[must_use]
    pub fn from_wait_status(status: i32) -> Option<Self> {
        let low = status & 0x7f;
        if low == 0 {
            u8::try_from((status >> 8) & 0xff).ok().map(Self::Exited)
        } else if low == 0x7f {
            None
        } else {
            u8::try_from(low).ok().map(|signal| Self::Killed { signal, core: status & 0x80 != 0 })
        }
    }

    const fn exit_byte(self) -> u8 {
        let code = self.code();
        if code >= CALLER_MUST_ACT && code <= COLLISION { COLLISION } else { code }
    }
}

/// What glexec's exit byte says to whoever called it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The payload ran and its code is this byte: an exit code, or 128+n for signal n.
    Payload(u8),
    /// 201, 202 or 203.
    Stopped(Fault),
    /// 204: the payload's own code was 201 to 204, or the epilogue's was.
    Collided,
}

impl Outcome {
    /// What a lingering run returns once payload and epilogue have ended.
    ///
    /// `epilogue` is `None` where there is none, or where its failure is only reported.
    #[must_use]
    pub fn of_run(payload: Ending, epilogue: Option<EpilogueResult>) -> Self {
        match epilogue {
            None | Some(EpilogueResult::Ok) => Self::from(payload.exit_byte()),
            Some(EpilogueResult::Exit(CALLER_MUST_ACT..=COLLISION)) => Self::Collided,
            Some(
                EpilogueResult::Exit(_)
                | EpilogueResult::Signal(_)
                | EpilogueResult::Timeout
                | EpilogueResult::NotStarted,
            ) => Self::Stopped(Fault::Internal),
        }
    }

    /// The exit byte, 0 to 255.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Payload(code) => code,
            Self::Stopped(fault) => fault.exit_code(),
            Self::Collided => COLLISION,
        }
    }
}

/// The meaning of an exit byte of a lingering glexec (Nikhef wiki, "Exit codes of gLExec").
impl From<u8> for Outcome {
    fn from(code: u8) -> Self {
        match code {
            CALLER_MUST_ACT => Self::Stopped(Fault::Client),
            ADMIN_MUST_ACT => Self::Stopped(Fault::Internal),
            REFUSED => Self::Stopped(Fault::Denied),
            COLLISION => Self::Collided,
            code => Self::Payload(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_decodes_and_encodes_to_itself() {
        for code in 0..=255u8 {
            assert_eq!(Outcome::from(code).exit_code(), code);
        }
    }

    #[test]
    fn a_payload_that_exits_201_to_204_is_204_and_nothing_else_is() {
        for code in 0..=255u8 {
            let seen = Outcome::of_run(Ending::Exited(code), None).exit_code();
            let want = if (201..=204).contains(&code) { 204 } else { code };
            assert_eq!(seen, want);
        }
    }

    #[test]
    fn a_failing_epilogue_is_202_and_204_where_it_exits_201_to_204() {
        let ran = Ending::Exited(7);
        let table = [
            (EpilogueResult::Ok, 7),
            (EpilogueResult::Exit(1), 202),
            (EpilogueResult::Exit(200), 202),
            (EpilogueResult::Exit(201), 204),
            (EpilogueResult::Exit(204), 204),
            (EpilogueResult::Exit(205), 202),
            (EpilogueResult::Signal(9), 202),
            (EpilogueResult::Timeout, 202),
            (EpilogueResult::NotStarted, 202),
        ];
        for (result, code) in table {
            assert_eq!(Outcome::of_run(ran, Some(result)).exit_code(), code);
        }
    }

    #[test]
    fn a_wait_status_is_read_as_wait_2_says() {
        assert_eq!(Ending::from_wait_status(42 << 8), Some(Ending::Exited(42)));
        let core = Ending::Killed { signal: 11, core: true };
        assert_eq!(Ending::from_wait_status(0x8b), Some(core));
        assert_eq!(core.code(), 139);
        assert_eq!(Ending::from_wait_status(0x137f), None);
    }
}
