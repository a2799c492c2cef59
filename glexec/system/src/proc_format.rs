//! The text of /proc, which a payload can write parts of: its own name, for one.

use memchr::memmem;
use nix::unistd::{Pid, Uid};

/// The fields of /proc/PID/stat that are used (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `T`, `Z` and so on.
    pub state: u8,
    /// Its parent.
    pub parent: Pid,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// 0 where the process has no controlling terminal.
    pub terminal: i32,
    /// How many threads there are; a leader that has exited before its threads looks like a
    /// zombie, and the process lives.
    pub threads: i32,
    /// When it was born, in clock ticks since the boot.
    pub start: u64,
    /// In the form of wait(2); 0 where it may not be seen.
    pub exit_status: i32,
}

impl Stat {
    /// Reads the line. The name is in parentheses and may hold any byte, `)` and newline
    /// included: the fields begin after the last `)`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let end = memchr::memrchr(b')', text)?;
        let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.bytes().next()?;
        // The n-th field from here on.
        let mut number = |nth: usize| fields.nth(nth).and_then(|field| field.parse::<i32>().ok());
        let (parent, group, session, terminal) = (number(0)?, number(0)?, number(0)?, number(0)?);
        let threads = number(12)?;
        let start = fields.nth(1).and_then(|field| field.parse().ok())?;
        let exit_status = fields.nth(29).and_then(|field| field.parse().ok()).unwrap_or(0);
        let parent = Pid::from_raw(parent);
        Some(Self { state, parent, group, session, terminal, threads, start, exit_status })
    }

    /// Whether a signal has stopped it (`proc_pid_stat(5)`, state T).
    pub const fn is_stopped(&self) -> bool {
        self.state == b'T'
    }

    /// Whether it has ended and waits to be reaped.
    pub const fn has_ended(&self) -> bool {
        matches!(self.state, b'X' | b'x') || (self.state == b'Z' && self.threads <= 1)
    }
}

/// The numbers of /proc/PID/task/TID/children.
pub fn children(text: &str) -> Vec<Pid> {
    // Where the text was cut, its last number may be a part of one: each is followed by a blank.
    let whole = text.rfind(' ').and_then(|end| text.get(..end)).unwrap_or_default();
    let numbers = whole.split_ascii_whitespace().filter_map(|n| n.parse().ok());
    numbers.filter(|n| *n > 1).map(Pid::from_raw).collect()
}

/// Real, effective and saved uid of /proc/PID/status.
pub fn uids(status: &str) -> Option<[Uid; 3]> {
    let line = status.lines().find_map(|l| l.strip_prefix("Uid:"))?;
    let mut ids = line.split_ascii_whitespace().map(|n| n.parse().map(Uid::from_raw));
    Some([ids.next()?.ok()?, ids.next()?.ok()?, ids.next()?.ok()?])
}

/// Sets of signals, bit n-1 for signal n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signals {
    /// Those that do not have what they do by default: ignored, or with a handler.
    pub set: u64,
    /// Those that wait for the process or its first thread.
    pub pending: u64,
}

/// The signals of /proc/PID/status, which stand there one below the other.
pub fn signals(status: &[u8]) -> Option<Signals> {
    let at = memmem::find(status, b"\nSigPnd:")?;
    let mut lines = std::str::from_utf8(status.get(at..)?).ok()?.lines();
    let mut set = |name: &str| {
        let digits = lines.find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(digits.trim(), 16).ok()
    };
    let (waiting, shared) = (set("SigPnd:")?, set("ShdPnd:")?);
    Some(Signals { set: set("SigIgn:")? | set("SigCgt:")?, pending: waiting | shared })
}

/// A mount, by its number or, where the kernel does not tell that, by its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKey {
    /// The number that statx(2) and /proc/PID/mountinfo give it.
    Number(u64),
    /// Major and minor of its device.
    Device((u32, u32)),
}

/// The file system's type of a mount, as /proc/PID/mountinfo has it (`proc_pid_mountinfo(5)`); of
/// several on one device the last.
pub fn mount_type(text: &str, key: MountKey) -> Option<&str> {
    let is_it = |line: &&str| {
        let mut fields = line.split(' ');
        let (number, device) = (fields.next(), fields.nth(1));
        match key {
            MountKey::Number(wanted) => number.and_then(|n| n.parse().ok()) == Some(wanted),
            MountKey::Device((major, minor)) => device == Some(&format!("{major}:{minor}")),
        }
    };
    let line = text.lines().rev().find(is_it)?;
    line.split_once(" - ")?.1.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_number_or_its_device() {
        let text = "21 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
                    36 21 0:45 / /home/u/m rw,nosuid - fuse.sshfs u@h:/ rw,user_id=1\n";
        let of = |key| mount_type(text, key);
        assert_eq!(of(MountKey::Number(36)), Some("fuse.sshfs"));
        assert_eq!(of(MountKey::Device((0, 45))), Some("fuse.sshfs"));
        assert_eq!(of(MountKey::Device((8, 1))), Some("ext4"));
        assert_eq!((of(MountKey::Number(3)), of(MountKey::Device((0, 4)))), (None, None));
        assert_eq!(mount_type("garbage", MountKey::Number(3)), None);
    }

    #[test]
    fn a_name_that_looks_like_fields_shifts_none() {
        let tail = "S 7 42 42 34816 -1".to_owned() + &" 0".repeat(43) + " 256";
        let text = format!("42 (a) S 1 (\n) {tail}\n");
        let stat = Stat::parse(text.as_bytes()).unwrap();
        assert_eq!((stat.state, stat.parent.as_raw(), stat.terminal), (b'S', 7, 34816));
        assert_eq!(Stat::parse(b"42 (x S 1 2 3"), None);
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn signals_are_read_where_all_four_sets_stand() {
        let status = "Name:\tSigIgn:\nState:\tR\nSigQ:\t0/9\nSigPnd:\t0000000000000001\n\
                      ShdPnd:\t0000000000002000\nSigBlk:\tffffffffffffffff\n\
                      SigIgn:\t8000000000000000\nSigCgt:\t0000000000000440\nCapInh:\t0\n";
        let found = signals(status.as_bytes()).unwrap();
        assert_eq!(found, Signals { set: 1 << 63 | 0x440, pending: 0x2001 });
        for absent in ["SigPnd", "ShdPnd", "SigIgn:\t8", "SigCgt", "8000000000000000"] {
            let cut = status.replace(absent, "x");
            assert_eq!(signals(cut.as_bytes()), None, "{absent}");
        }
    }

    #[test]
    fn children_are_numbers_above_one() {
        assert_eq!(children("12 13 x 1 0 -5 "), [Pid::from_raw(12), Pid::from_raw(13)]);
        assert_eq!(children("12 41937 419"), [Pid::from_raw(12), Pid::from_raw(41_937)]);
    }

    #[test]
    fn the_three_uids_are_read() {
        let status = "Name:\tUid:\t9\nUid:\t1\t2\t3\t4\n";
        assert_eq!(uids(status), Some([1, 2, 3].map(Uid::from_raw)));
    }
}
