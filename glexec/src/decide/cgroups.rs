//! The text of /proc/self/cgroup and /proc/self/mountinfo: in which control groups this process
//! is, and where they are seen (cgroups(7), `proc_pid_mountinfo(5)`).

/// One hierarchy that this process is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Where it is mounted.
    pub(crate) mount: String,
    /// This process's group in it, from the mount on.
    pub(crate) own: String,
    /// Its controllers, or `name=…`; empty for version 2.
    pub(crate) controllers: Vec<String>,
}

impl Hierarchy {
    /// Whether it is the one of version 2.
    pub(crate) fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }
}

/// The hierarchies that are mounted whole. One that a container sees a part of is left out: what
/// is above it cannot be reached from here.
pub(crate) fn hierarchies(mountinfo: &str, cgroup: &str) -> Vec<Hierarchy> {
    let mounts: Vec<Mount<'_>> = mountinfo.lines().filter_map(mount).collect();
    let groups = cgroup.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, own) = (fields.next()?, fields.next()?, fields.next()?);
        let list = controllers.split(',').filter(|name| !name.is_empty()).map(str::to_owned);
        Some((list.collect::<Vec<_>>(), own))
    });
    let found = groups.filter_map(|(controllers, own)| {
        let is_it = |mount: &&Mount<'_>| match mount.version {
            2 => controllers.is_empty(),
            _ => !controllers.is_empty() && controllers.iter().all(|c| mount.has(c)),
        };
        let mount = mounts.iter().find(is_it)?;
        let (mount, own) = (mount.point.to_owned(), own.to_owned());
        own.starts_with('/').then_some(Hierarchy { mount, own, controllers })
    });
    found.collect()
}

struct Mount<'a> {
    point: &'a str,
    version: u8,
    options: &'a str,
}

impl Mount<'_> {
    fn has(&self, controller: &str) -> bool {
        self.options.split(',').any(|option| option == controller)
    }
}

fn mount(line: &str) -> Option<Mount<'_>> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, point) = (place.next()?, place.next()?);
    let mut kind = kind.split(' ');
    let (kind, options) = (kind.next()?, kind.nth(1)?);
    let version = match kind {
        "cgroup2" => 2,
        "cgroup" => 1,
        _ => return None,
    };
    // A backslash begins an escaped character, which no cgroup mount has.
    (root == "/" && !point.contains('\\')).then_some(Mount { point, version, options })
}

/// Whether a group's name is one that glexec gives a payload's: `glexec.PID.BIRTH`, or `glexec.PID`
/// of a version before.
pub(crate) fn is_name_of_leaf(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("glexec.") else { return false };
    let mut numbers = rest.split('.');
    let is_number = |text: Option<&str>| {
        text.is_some_and(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()))
    };
    is_number(numbers.next())
        && numbers.next().is_none_or(|n| is_number(Some(n)))
        && numbers.next().is_none()
}

/// Whether the last processes of a version 2 group are gone, by its `cgroup.events`.
pub(crate) fn is_empty(events: &str) -> bool {
    events.lines().any(|line| line == "populated 0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "24 1 0:21 / /proc rw - proc proc rw\n\
        30 25 0:26 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
        31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        32 25 0:28 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,xattr,name=systemd\n\
        33 25 0:29 /part /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";

    #[test]
    fn each_hierarchy_is_found_at_its_mount() {
        let groups =
            "4:pids:/job\n3:cpuacct,cpu:/job/1\n2:name=systemd:/user.slice\n1:memory:/x\n0::/a:b\n";
        let found = hierarchies(MOUNTS, groups);
        let seen: Vec<_> =
            found.iter().map(|h| (h.mount.as_str(), h.own.as_str(), h.is_v2())).collect();
        let want = [
            ("/sys/fs/cgroup/cpu,cpuacct", "/job/1", false),
            ("/sys/fs/cgroup/systemd", "/user.slice", false),
            ("/sys/fs/cgroup/unified", "/a:b", true),
        ];
        assert_eq!(seen, want, "pids is mounted in part, memory not at all");
    }

    #[test]
    fn only_groups_that_glexec_named_are_leaves() {
        for name in ["glexec.1", "glexec.22.333"] {
            assert!(is_name_of_leaf(name), "{name}");
        }
        for name in
            ["glexec", "glexec.", "glexec.1.", "glexec.1.2.3", "glexec.x", "job", "glexec.1/.."]
        {
            assert!(!is_name_of_leaf(name), "{name}");
        }
    }

    #[test]
    fn text_that_is_none_is_no_hierarchy() {
        for bad in ["", "x", "1:2", "a b c - d", "0::relative"] {
            assert!(hierarchies(MOUNTS, bad).is_empty(), "{bad:?}");
            assert!(hierarchies(bad, "0::/").is_empty(), "{bad:?}");
        }
        assert!(is_empty("populated 0\nfrozen 0\n") && !is_empty("populated 1\n") && !is_empty(""));
    }
}
