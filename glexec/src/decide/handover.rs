//! Handing a directory over: which of its entries change hands, which go to quarantine.

/// What an entry is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    Regular,
    Link,
    /// FIFO, socket, device.
    Other,
}

/// An entry as its own descriptor shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: Kind,
    pub(crate) uid: u32,
    pub(crate) links: u32,
    /// For a link: whether it leads out of the directory.
    pub(crate) leaves: bool,
}

/// Between whom a directory passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) caller: u32,
    pub(crate) target: u32,
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It changes owner.
    Pass,
    /// It stays as it is.
    Stay,
    /// It is taken out of the directory.
    Quarantine,
}

impl Seen {
    /// Whether nothing else can be reached by it: a directory has a name for itself and one for
    /// each below it.
    const fn is_single(&self) -> bool {
        matches!(self.kind, Kind::Directory) || self.links == 1
    }

    /// On the way to the target: plain entries of the caller's, each with one name.
    pub(crate) const fn forth(&self, pair: Pair) -> Fate {
        let plain = !matches!(self.kind, Kind::Other);
        if plain && self.uid == pair.caller && self.is_single() { Fate::Pass } else { Fate::Stay }
    }

    /// On the way back: plain entries of the target's. What would lead the caller, or whoever
    /// works for it, somewhere else or make it wait, is taken out; so is what others have put
    /// there, whom the target has let in, and a directory of theirs with all that is in it.
    pub(crate) const fn back(&self, pair: Pair) -> Fate {
        let harmless = match self.kind {
            Kind::Other => false,
            Kind::Link => !self.leaves,
            Kind::Directory => self.uid == pair.target,
            Kind::Regular => true,
        };
        if self.uid != pair.target {
            let stays = harmless || self.uid == pair.caller || self.uid == 0;
            return if stays { Fate::Stay } else { Fate::Quarantine };
        }
        if harmless && self.is_single() { Fate::Pass } else { Fate::Quarantine }
    }
}

/// Whether a link's text may lead out of the directory it is `depth` levels below (0: in the
/// directory itself). `own` is the directory's own path: an absolute text may lead back into it.
/// `..` counts at the begin alone: after a name, which may be another link's, nobody knows where
/// it climbs to.
pub(crate) fn leaves(text: &[u8], depth: usize, own: &[u8]) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: Pair = Pair { caller: 1, target: 2 };

    fn seen(kind: Kind, uid: u32, links: u32) -> Seen {
        Seen { kind, uid, links, leaves: false }
    }

    #[test]
    fn only_plain_entries_of_the_giver_with_one_name_change_hands() {
        use Fate::{Pass, Quarantine, Stay};
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
            assert_eq!((entry.forth(PAIR), entry.back(PAIR)), (forth, back), "{entry:?}");
        }
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
}
