//! Which process it is, whatever becomes of its number.

/// A process that cannot be mistaken for another: its pid, and when it was born, in clock ticks
/// since the boot (`proc_pid_stat(5)`, starttime).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Birth {
    /// Its pid, in this pid namespace.
    pub pid: i32,
    /// Clock ticks since the boot.
    pub start: u64,
}
