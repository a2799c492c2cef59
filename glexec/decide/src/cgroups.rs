//! The text of /proc/self/cgroup and /proc/self/mountinfo: in which control groups this process
//! is, and where they are seen (cgroups(7), `proc_pid_mountinfo(5)`).

use system::text::escaped;

/// One hierarchy that this process is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: String,
    /// This process's group in it, from the mount on.
    pub own: String,
    /// Its controllers, or `name=…`; empty for version 2.
    pub controllers: Vec<String>,
}

impl Hierarchy {
    /// Whether it is the one of version 2.
    pub fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }
}

/// The hierarchies that are mounted whole. One that a container sees a part of is left out: what
/// is above it cannot be reached from here.
pub fn hierarchies(mountinfo: &str, cgroup: &str) -> Vec<Hierarchy> {
    let mounts: Vec<Mount<'_>> = mounts(mountinfo).filter(|mount| mount.root == "/").collect();
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

/// A process's group in one hierarchy, and where it is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Its controllers, or `name=…`; empty for version 2.
    controllers: String,
    /// From the root of the hierarchy, or of the cgroup namespace, on.
    pub own: String,
    /// Mount points that show it, and the names from there to it. None where nothing shows it.
    pub seen: Vec<(String, Vec<String>)>,
}

impl Membership {
    /// Whether somebody who may write to its group can freeze what is in it.
    pub fn freezes(&self) -> bool {
        self.controllers.is_empty() || self.controllers.split(',').any(|name| name == "freezer")
    }

    /// Whether it is the one of version 2.
    pub fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }

    /// For people.
    pub fn shown(&self) -> String {
        let which = if self.is_v2() { "version 2" } else { self.controllers.as_str() };
        format!("{} ({which})", escaped(self.own.as_bytes()))
    }
}

/// Every group that /proc/PID/cgroup tells of, seen through this process's mounts: those of a part
/// of a hierarchy, too.
///
/// # Errors
/// The line that is none.
pub fn memberships(mountinfo: &str, cgroup: &str) -> Result<Vec<Membership>, String> {
    let mounts: Vec<Mount<'_>> = mounts(mountinfo).collect();
    let member = |line: &str| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, own) = (fields.next()?, fields.next()?, fields.next()?);
        let shows = |mount: &&Mount<'_>| match mount.version {
            2 => controllers.is_empty(),
            _ => !controllers.is_empty() && controllers.split(',').all(|c| mount.has(c)),
        };
        let seen = mounts.iter().filter(shows).filter_map(|mount| {
            let below = names_below(mount.root, own)?;
            Some((mount.point.to_owned(), below))
        });
        let (controllers, seen) = (controllers.to_owned(), seen.collect());
        own.starts_with('/').then(|| Membership { controllers, own: own.to_owned(), seen })
    };
    cgroup.lines().map(|line| member(line).ok_or_else(|| line.to_owned())).collect()
}

/// The names that lead from a mount's root to a group; `None` where it is not below. A group
/// outside of the cgroup namespace begins with `/..`.
fn names_below(root: &str, own: &str) -> Option<Vec<String>> {
    let rest = own.strip_prefix(root.trim_end_matches('/'))?;
    let rest = if rest.is_empty() { "" } else { rest.strip_prefix('/')? };
    let names: Vec<String> =
        rest.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    names.iter().all(|name| name != ".." && name != ".").then_some(names)
}

/// Whether a group is frozen, by its `cgroup.events` (version 2); `None` where that does not say.
/// Before Linux 5.2 there is no such line, and no group of version 2 can be frozen.
pub fn is_frozen(events: &str) -> Option<bool> {
    let state = events.lines().find_map(|line| line.strip_prefix("frozen "));
    match state {
        Some("0") => Some(false),
        Some("1") => Some(true),
        Some(_) => None,
        None => events.lines().any(|line| line.starts_with("populated ")).then_some(false),
    }
}

/// The same by its `freezer.state` (version 1), in which FREEZING is on the way.
pub fn is_frozen_v1(state: &str) -> Option<bool> {
    match state.trim() {
        "THAWED" => Some(false),
        "FROZEN" | "FREEZING" => Some(true),
        _ => None,
    }
}

struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    version: u8,
    options: &'a str,
}

impl Mount<'_> {
    fn has(&self, controller: &str) -> bool {
        self.options.split(',').any(|option| option == controller)
    }
}

/// The mounts of hierarchies, or of parts of them. Of the many lines few are read.
fn mounts(mountinfo: &str) -> impl Iterator<Item = Mount<'_>> {
    let wanted = memchr::memmem::Finder::new(" - cgroup");
    let lines = mountinfo.lines();
    lines.filter(move |line| wanted.find(line.as_bytes()).is_some()).filter_map(mount)
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
    (!point.contains('\\')).then_some(Mount { root, point, version, options })
}

/// Whether a group's name is one that glexec gives a payload's: `glexec.PID.BIRTH`, or `glexec.PID`
/// of a version before.
pub fn is_name_of_leaf(name: &str) -> bool {
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
pub fn is_empty(events: &str) -> bool {
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
    fn a_group_is_seen_through_every_mount_that_it_is_below() {
        let mounts = format!(
            "{MOUNTS}34 25 0:26 /job /mnt rw - cgroup2 cgroup2 rw\n\
             35 25 0:26 /jo /wrong rw - cgroup2 cgroup2 rw\n"
        );
        let groups = "4:pids:/part/x\n3:cpuacct,cpu:/\n1:memory:/x\n0::/job/1\n";
        let all = memberships(&mounts, groups).unwrap();
        let seen = |n: usize| -> Vec<String> {
            let places = all.get(n).unwrap().seen.iter();
            places.map(|(point, below)| format!("{point}: {}", below.join(" "))).collect()
        };
        assert_eq!(seen(0), ["/sys/fs/cgroup/pids: x"]);
        assert_eq!(seen(1), ["/sys/fs/cgroup/cpu,cpuacct: "]);
        assert_eq!(seen(2), [""; 0], "not mounted");
        assert_eq!(seen(3), ["/sys/fs/cgroup/unified: job 1", "/mnt: 1"]);
        let freezes: Vec<bool> = all.iter().map(Membership::freezes).collect();
        assert_eq!(freezes, [false, false, false, true]);
        assert!(memberships(MOUNTS, "2:freezer,x:/a").unwrap().first().unwrap().freezes());
    }

    #[test]
    fn a_line_that_cannot_be_read_is_an_error_and_a_group_outside_is_not_seen() {
        for bad in ["x", "1:2", "0::relative", "0::/a\n\n"] {
            assert!(memberships(MOUNTS, bad).is_err(), "{bad:?}");
        }
        for outside in ["0::/../x", "0::/a/../b", "0::/.."] {
            let all = memberships(MOUNTS, outside).unwrap();
            assert!(all.iter().all(|m| m.seen.is_empty()), "{outside}");
        }
    }

    #[test]
    fn a_freezer_says_yes_or_no_or_it_says_nothing() {
        assert_eq!(is_frozen("populated 1\nfrozen 1\n"), Some(true));
        assert_eq!(is_frozen("populated 1\nfrozen 0\n"), Some(false));
        assert_eq!(is_frozen("populated 1\n"), Some(false), "Linux 4.18");
        assert_eq!((is_frozen(""), is_frozen("frozen x")), (None, None));
        let states = ["THAWED\n", "FREEZING\n", "FROZEN\n", ""].map(is_frozen_v1);
        assert_eq!(states, [Some(false), Some(true), Some(true), None]);
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
