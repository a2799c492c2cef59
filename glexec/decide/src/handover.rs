//! Handing a directory over: which of its entries change hands, which go to quarantine.

/// What an entry is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    Regular,
    /// A symbolic link.
    Link,
    /// FIFO, socket, device.
    Other,
}

/// An entry as its own descriptor shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What it is.
    pub kind: Kind,
    /// Who owns it.
    pub uid: u32,
    /// How many names it has.
    pub links: u32,
    /// Whether all of them are known to be in the directory.
    pub all_inside: bool,
    /// For a link: whether it leads out of the directory.
    pub leaves: bool,
    /// For a directory: whether root has taken it from its owner, and not given it on yet.
    pub frozen: bool,
    /// For a directory: whether another run has it in its hands, and so gives it to whom it likes.
    pub anothers: bool,
}

/// The mark of a directory that root has taken from its owner: the set-user-ID bit, which Linux
/// gives no meaning on a directory (inode(7)), and which nobody but root can put on one of root's.
pub const FROZEN: u32 = 0o4000;

/// Between whom a directory passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// uid of whose it is.
    pub caller: u32,
    /// uid of who has it for the run.
    pub target: u32,
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It changes owner.
    Pass,
    /// It stays as it is.
    Stay,
    /// It is taken out of the directory.
    Quarantine,
}

impl Seen {
    /// Whether nothing outside changes with it: a directory has a name for itself and one for each
    /// below it.
    const fn is_here_alone(&self) -> bool {
        matches!(self.kind, Kind::Directory) || self.links == 1 || self.all_inside
    }

    /// Whether this giver's entry changes hands only where all its names are in the directory.
    pub const fn asks_for_its_names(&self, giver: u32) -> bool {
        self.uid == giver && !self.is_here_alone()
    }

    /// On the way to the target: plain entries of the caller's, each with no name outside.
    pub const fn give(&self, pair: Pair) -> Disposition {
        let plain = !matches!(self.kind, Kind::Other);
        if plain && self.uid == pair.caller && self.is_here_alone() {
            Disposition::Pass
        } else {
            Disposition::Stay
        }
    }

    /// On the way back: plain entries of the target's, each with no name outside, and directories
    /// that an earlier attempt has left frozen. What would lead the caller, or whoever works for
    /// it, somewhere else or make it wait, is taken out; so is what others have put there, whom
    /// the target has let in, and a directory of theirs with all that is in it, or of a run of
    /// theirs.
    pub const fn back(&self, pair: Pair) -> Disposition {
        let harmless = match self.kind {
            Kind::Other => false,
            Kind::Link => !self.leaves,
            Kind::Directory => self.uid == pair.target,
            Kind::Regular => true,
        };
        if self.anothers {
            return Disposition::Quarantine;
        }
        if self.frozen {
            return Disposition::Pass;
        }
        if self.uid != pair.target {
            let stays = harmless || self.uid == pair.caller || self.uid == 0;
            return if stays { Disposition::Stay } else { Disposition::Quarantine };
        }
        if harmless && self.is_here_alone() { Disposition::Pass } else { Disposition::Quarantine }
    }
}

/// Whether a link's text may lead out of the directory it is `depth` levels below (0: in the
/// directory itself). `own` is the directory's own path: an absolute text may lead back into it.
/// `..` counts at the begin alone: after a name, which may be another link's, nobody knows where
/// it climbs to.
pub fn leaves(text: &[u8], depth: usize, own: &[u8]) -> bool {
    let (rest, depth) = match text.strip_prefix(b"/") {
        None => (text, depth),
        Some(_) => match text.strip_prefix(own).and_then(|rest| rest.strip_prefix(b"/")) {
            Some(rest) => (rest, 0),
            None => return true,
        },
    };
    let mut parts =
        rest.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).peekable();
    let mut climbs = 0;
    while parts.next_if(|part| *part == b"..").is_some() {
        climbs += 1;
    }
    climbs > depth || parts.any(|part| part == b"..")
}

/// What is to be done with an access control list on the way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acl {
    /// It grants nothing that the mode does not.
    Plain,
    /// This one takes its place: owner, group and others alone, which the mode tells as well, so
    /// that the kernel keeps none.
    Reduced(Vec<u8>),
    /// It cannot be read.
    Odd,
}

/// Takes out of an access control list (the value of `system.posix_acl_access`, acl(5)) whom the
/// target has named; what its mask has held back from the group stays held back.
pub fn reduced(acl: &[u8]) -> Acl {
    const VERSION: [u8; 4] = [2, 0, 0, 0];
    const OWNER: u16 = 0x01;
    const GROUP: u16 = 0x04;
    const MASK: u16 = 0x10;
    const OTHERS: u16 = 0x20;
    let Some(entries) = acl.strip_prefix(&VERSION).filter(|rest| rest.len() % 8 == 0) else {
        return Acl::Odd;
    };
    // Tag and permissions, two bytes each, then the id of whom it names: little-endian.
    let fields = |entry: &[u8]| {
        let [a, b, c, d] = entry.first_chunk::<4>().copied().unwrap_or_default();
        (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
    };
    let entries: Vec<(u16, u16)> = entries.chunks_exact(8).map(fields).collect();
    let of = |tag| entries.iter().find(|(t, _)| *t == tag).map(|(_, permissions)| *permissions);
    let (Some(owner), Some(group), Some(others)) = (of(OWNER), of(GROUP), of(OTHERS)) else {
        return Acl::Odd;
    };
    if entries.len() == 3 {
        return Acl::Plain;
    }
    let mut plain = VERSION.to_vec();
    for (tag, permissions) in
        [(OWNER, owner), (GROUP, group & of(MASK).unwrap_or(0)), (OTHERS, others)]
    {
        plain.extend(tag.to_le_bytes());
        plain.extend(permissions.to_le_bytes());
        plain.extend([0xff; 4]);
    }
    Acl::Reduced(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: Pair = Pair { caller: 1, target: 2 };

    fn seen(kind: Kind, uid: u32, links: u32) -> Seen {
        let (all_inside, leaves, frozen, anothers) = (false, false, false, false);
        Seen { kind, uid, links, all_inside, leaves, frozen, anothers }
    }

    #[test]
    fn only_plain_entries_of_the_giver_with_one_name_change_hands() {
        use Disposition::{Pass, Quarantine, Stay};
        use Kind::{Directory, Link, Other, Regular};
        for (kind, uid, links, forth, back) in [
            (Regular, 1, 1, Pass, Stay),
            (Regular, 1, 2, Stay, Stay),
            (Regular, 2, 1, Stay, Pass),
            (Regular, 2, 2, Stay, Quarantine),
            (Regular, 0, 1, Stay, Stay),
            (Regular, 3, 1, Stay, Stay),
            (Directory, 1, 5, Pass, Stay),
            (Directory, 2, 5, Stay, Pass),
            (Link, 1, 1, Pass, Stay),
            (Link, 2, 1, Stay, Pass),
            (Link, 2, 2, Stay, Quarantine),
            (Directory, 0, 5, Stay, Stay),
            (Directory, 3, 5, Stay, Quarantine),
            (Link, 3, 1, Stay, Stay),
            (Other, 1, 1, Stay, Stay),
            (Other, 3, 1, Stay, Quarantine),
            (Other, 2, 1, Stay, Quarantine),
        ] {
            let entry = seen(kind, uid, links);
            assert_eq!((entry.give(PAIR), entry.back(PAIR)), (forth, back), "{entry:?}");
        }
        for (kind, back) in [(Regular, Pass), (Link, Pass), (Other, Quarantine)] {
            let entry = seen(kind, 2, 2);
            assert!(entry.asks_for_its_names(2) && !entry.asks_for_its_names(1));
            assert!(!seen(kind, 2, 1).asks_for_its_names(2));
            assert_eq!(Seen { all_inside: true, ..entry }.back(PAIR), back, "{kind:?}");
            let forth = if kind == Other { Stay } else { Pass };
            assert_eq!(Seen { all_inside: true, uid: 1, ..entry }.give(PAIR), forth, "{kind:?}");
        }
        let frozen = Seen { frozen: true, ..seen(Directory, 0, 5) };
        assert_eq!((frozen.give(PAIR), frozen.back(PAIR)), (Stay, Pass));
        assert_eq!(Seen { anothers: true, ..frozen }.back(PAIR), Quarantine);
        for (uid, fate) in [(2, Quarantine), (3, Quarantine), (1, Stay), (0, Stay)] {
            let out = Seen { leaves: true, ..seen(Link, uid, 1) };
            assert_eq!(out.back(PAIR), fate, "{uid}");
        }
    }

    #[test]
    fn a_link_leaves_where_it_climbs_above_the_directory() {
        for (text, depth, out) in [
            ("a", 0, false),
            ("../a", 0, true),
            ("../a", 1, false),
            ("a/../../b", 0, true),
            ("a/../b", 0, true),
            ("c/d/link/../..", 0, true),
            ("./a/./b//c/", 0, false),
            ("../../a", 2, false),
            ("./../..", 2, false),
            ("../../..", 2, true),
            ("/etc/passwd", 0, true),
            ("/work/d/x", 3, false),
            ("/work/d/../x", 0, true),
            ("/work/dx", 0, true),
            ("/work/d", 0, true),
            ("", 0, false),
        ] {
            assert_eq!(leaves(text.as_bytes(), depth, b"/work/d"), out, "{text} at {depth}");
        }
    }

    fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut acl = vec![2, 0, 0, 0];
        for (tag, permissions, id) in entries {
            acl.extend(tag.to_le_bytes());
            acl.extend(permissions.to_le_bytes());
            acl.extend(id.to_le_bytes());
        }
        acl
    }

    #[test]
    fn a_list_loses_whom_it_names_and_grants_the_group_no_more_than_before() {
        const NOBODY: u32 = u32::MAX;
        let plain = |group| acl(&[(1, 6, NOBODY), (4, group, NOBODY), (0x20, 4, NOBODY)]);
        assert_eq!(reduced(&plain(5)), Acl::Plain);
        let named = |mask| {
            let entries = [(1, 6), (2, 7), (4, 5), (8, 7), (0x10, mask), (0x20, 4)];
            let id = |tag| if tag == 2 || tag == 8 { 1001 } else { NOBODY };
            acl(&entries.map(|(tag, permissions)| (tag, permissions, id(tag))))
        };
        assert_eq!(reduced(&named(7)), Acl::Reduced(plain(5)));
        assert_eq!(reduced(&named(4)), Acl::Reduced(plain(4)));
        assert_eq!(reduced(&named(0)), Acl::Reduced(plain(0)));
        for odd in [&b""[..], b"\x01\0\0\0", b"\x02\0\0\0", &named(7)[..20], &named(7)[..11]] {
            assert_eq!(reduced(odd), Acl::Odd, "{odd:?}");
        }
    }
}
