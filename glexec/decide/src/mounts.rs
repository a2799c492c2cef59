//! The text of /proc/self/mountinfo: what kind of file system a device number is
//! (`proc_pid_mountinfo(5)`).

/// Whether files of the file system with this device (major, minor) close without asking
/// anybody: memory or a local disk. False for one that is not mounted here, and for one whose
/// mounts disagree.
pub fn closes_at_once(mountinfo: &str, (major, minor): (u32, u32)) -> bool {
    const LOCAL: [&str; 6] = ["tmpfs", "ramfs", "devtmpfs", "hugetlbfs", "btrfs", "zfs"];
    let device = format!("{major}:{minor}");
    let mut kinds = mountinfo.lines().filter_map(kind).filter(|(of, _)| *of == device).peekable();
    kinds.peek().is_some() && kinds.all(|(_, kind)| LOCAL.contains(&kind))
}

/// Device and file system type of one line.
fn kind(line: &str) -> Option<(&str, &str)> {
    let (place, kind) = line.split_once(" - ")?;
    Some((place.split(' ').nth(2)?, kind.split(' ').next()?))
}

#[cfg(test)]
mod tests {
    use super::closes_at_once;

    #[test]
    fn memory_closes_at_once_and_what_a_user_or_the_network_serves_does_not() {
        let mounts = "24 1 0:21 / /tmp rw - tmpfs tmpfs rw\n\
            30 25 0:26 / /mnt/a\\040-\\040b rw,relatime shared:9 - fuse.sshfs pilot@host: rw\n\
            31 25 0:27 / /home rw - nfs4 server:/home rw\n\
            32 25 0:28 /a /x rw - tmpfs tmpfs rw\n33 25 0:28 /b /y rw - fuse x rw\nbroken\n";
        assert!(closes_at_once(mounts, (0, 21)));
        for other in [(0, 26), (0, 27), (0, 28), (0, 99), (1, 21)] {
            assert!(!closes_at_once(mounts, other), "{other:?}");
        }
        assert!(!closes_at_once("", (0, 21)));
    }
}
