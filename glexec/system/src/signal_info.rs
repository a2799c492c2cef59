//! What a signalfd tells, and which of it is the payload's business.

use nix::unistd::{Pid, Uid};

/// Size of `struct signalfd_siginfo` (signalfd(2)).
pub const SIGNAL_INFO: usize = 128;

/// Who sent a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The kernel: a key on the terminal, a hang-up, a child's end.
    Kernel,
    /// kill(2) and its like. The pid is 0 for a process of another pid namespace.
    Process {
        /// Its pid.
        pid: Pid,
        /// Its real uid.
        uid: Uid,
    },
}

/// A signal that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// 1 to 64.
    pub number: u8,
    /// Who sent it.
    pub sender: Sender,
}

impl Signal {
    /// Reads one `struct signalfd_siginfo`; `None` where it is none.
    pub fn read(info: &[u8]) -> Option<Self> {
        let word = |at: usize| -> Option<[u8; 4]> { info.get(at..at + 4)?.try_into().ok() };
        let number = u8::try_from(u32::from_ne_bytes(word(0)?)).ok()?;
        if !(1..=64).contains(&number) {
            return None;
        }
        let code = i32::from_ne_bytes(word(8)?);
        let pid = Pid::from_raw(i32::from_ne_bytes(word(12)?));
        let uid = Uid::from_raw(u32::from_ne_bytes(word(16)?));
        // SI_USER, SI_QUEUE, SI_TKILL and so on are not positive (sigaction(2)).
        let sender = if code <= 0 { Sender::Process { pid, uid } } else { Sender::Kernel };
        Some(Self { number, sender })
    }

    /// Whether root sent it.
    pub fn is_from_root(&self) -> bool {
        // Where the kernel had no room for the sender, it says pid 0 and uid 0; RLIMIT_SIGPENDING
        // is the caller's to lower.
        matches!(self.sender, Sender::Process { pid, uid } if uid.is_root() && pid.as_raw() > 0)
    }

    /// Whether it says nothing to the payload of the glexec `own`: a child's end; a SIGPIPE of a write of glexec's own;
    /// and for an immune run a CONT, which kill(2) allows to everybody of one's session.
    pub fn is_ours(&self, immune: bool, own: Pid) -> bool {
        const SIGPIPE: u8 = 13;
        const SIGCHLD: u8 = 17;
        const SIGCONT: u8 = 18;
        match self.number {
            SIGCHLD => self.sender == Sender::Kernel,
            // The kernel sends it in the name of the process that writes.
            SIGPIPE => match self.sender {
                Sender::Kernel => true,
                Sender::Process { pid, .. } => pid == own,
            },
            SIGCONT => immune && !self.is_from_root(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(number: u32, code: i32, pid: i32, uid: u32) -> Vec<u8> {
        let mut out = vec![0u8; SIGNAL_INFO];
        let words =
            [number.to_ne_bytes(), code.to_ne_bytes(), pid.to_ne_bytes(), uid.to_ne_bytes()];
        for (at, word) in [0, 8, 12, 16].into_iter().zip(words) {
            out[at..at + 4].copy_from_slice(&word);
        }
        out
    }

    #[test]
    fn a_signal_says_who_sent_it() {
        let term = Signal::read(&info(15, 0, 77, 1000)).unwrap();
        let (pid, uid) = (Pid::from_raw(77), Uid::from_raw(1000));
        assert_eq!(term, Signal { number: 15, sender: Sender::Process { pid, uid } });
        assert!(!term.is_from_root());
        assert!(Signal::read(&info(15, -6, 1, 0)).unwrap().is_from_root());
        assert!(!Signal::read(&info(15, 0, 0, 0)).unwrap().is_from_root(), "nobody was named");
        assert_eq!(Signal::read(&info(2, 0x80, 0, 0)).unwrap().sender, Sender::Kernel);
        assert!(!Signal::read(&info(2, 0x80, 0, 0)).unwrap().is_from_root());
        assert_eq!(Signal::read(&info(0, 0, 1, 1)), None);
        assert_eq!(Signal::read(&info(65, 0, 1, 1)), None);
        assert_eq!(Signal::read(&[0; 7]), None);
    }

    #[test]
    fn a_pipe_of_ones_own_write_is_ones_own_and_anybody_elses_is_not() {
        let own = Pid::from_raw(77);
        assert!(Signal::read(&info(13, 0, 77, 1000)).unwrap().is_ours(false, own));
        assert!(!Signal::read(&info(13, 0, 78, 1000)).unwrap().is_ours(false, own));
        assert!(!Signal::read(&info(15, 0, 77, 1000)).unwrap().is_ours(false, own));
    }

    #[test]
    fn a_cont_of_the_session_is_nobodys_business_where_the_run_is_immune() {
        let own = Pid::from_raw(77);
        let cont = Signal::read(&info(18, 0, 5, 1000)).unwrap();
        assert!(cont.is_ours(true, own) && !cont.is_ours(false, own));
        assert!(!Signal::read(&info(18, 0, 5, 0)).unwrap().is_ours(true, own));
        assert!(Signal::read(&info(17, 1, 5, 1000)).unwrap().is_ours(false, own));
        let sent = Signal::read(&info(17, 0, 5, 1000)).unwrap();
        assert!(!sent.is_ours(false, own), "a CHLD that somebody sends is no child's end");
    }
}
