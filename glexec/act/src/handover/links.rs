//! Files with several names: how many of them are in the directory that changes hands.

use super::{HandOver, Parties};
use crate::root::Root;
use crate::tree::{Entry, FileId, Step, Walk, Way};
use decide::handover::{Disposition, Kind, Seen};
use nix::errno::Errno;
use std::collections::BTreeMap;

/// Beyond so many such files the rest is taken for files with a name outside.
const MOST: usize = 1 << 20;

/// The names of one directory, counted when the first file asks for them: most have none that does.
#[derive(Debug)]
pub(super) struct Links<'h> {
    root: &'h Root,
    over: &'h HandOver,
    parties: Parties,
    way: Way,
    counted: Option<BTreeMap<FileId, u32>>,
}

impl<'h> Links<'h> {
    pub(super) const fn new(
        root: &'h Root,
        over: &'h HandOver,
        parties: Parties,
        way: Way,
    ) -> Self {
        Self { root, over, parties, way, counted: None }
    }

    const fn giver(&self) -> u32 {
        match self.way {
            Way::Back => self.parties.target.uid,
            Way::Forth | Way::Look => self.parties.caller.uid,
        }
    }

    /// The entry, with whether all its names are in the directory where that matters.
    pub(super) fn judged(&mut self, entry: Entry) -> Entry {
        if !entry.seen.asks_for_its_names(self.giver()) {
            return entry;
        }
        let counted = self.counted.take().unwrap_or_else(|| self.count());
        let all_inside = counted.get(&entry.id) == Some(&entry.seen.links);
        self.counted = Some(counted);
        Entry { seen: Seen { all_inside, ..entry.seen }, ..entry }
    }

    /// Counts names. On the way back every directory is frozen before those in it are counted: a
    /// process of the target's could take a name out after it was counted. On the way there the
    /// caller could, to no gain: it may run what it likes as the target. What cannot be looked at
    /// counts for nothing: who has a name there is taken for one with a name outside.
    fn count(&self) -> BTreeMap<FileId, u32> {
        let mut names = BTreeMap::new();
        let (directory, path) = (&self.over.directory, &self.over.handed.path.0);
        let way = if self.way == Way::Back { Way::Back } else { Way::Look };
        let Ok(mut walk) = Walk::new(self.root, directory, path, way) else { return names };
        while let Some(step) = walk.next() {
            let Step::Entry(entry) = step else { continue };
            if entry.seen.kind == Kind::Directory {
                let _ = self.enter(&mut walk, entry);
            } else if entry.seen.asks_for_its_names(self.giver())
                && (names.len() < MOST || names.contains_key(&entry.id))
            {
                let count: &mut u32 = names.entry(entry.id).or_default();
                *count = count.saturating_add(1);
            }
        }
        names
    }

    /// Enters a directory that changes hands, or has changed hands already.
    fn enter(&self, walk: &mut Walk<'_>, entry: Entry) -> Result<bool, Errno> {
        let Entry { file, seen, name, .. } = entry;
        let pair = self.parties.pair();
        if self.way == Way::Back && seen.back(pair) == Disposition::Pass {
            walk.enter(&file, name, Way::Back)
        } else if seen.frozen || [pair.caller, pair.target].contains(&seen.uid) {
            walk.enter(&file, name, Way::Look)
        } else {
            Ok(false)
        }
    }
}
