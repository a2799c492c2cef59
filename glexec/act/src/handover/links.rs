//! Files with several names: how many of them are in the directory that changes hands.

use super::HandOver;
use crate::tree::{Entry, Identity, Step, Walk, Way};
use decide::handover::{Kind, Pair, Seen};
use std::collections::BTreeMap;

/// Beyond so many such files the rest is taken for files with a name outside.
const MOST: usize = 1 << 20;

/// The names of one directory, counted when the first file asks for them: most have none that does.
#[derive(Debug)]
pub(super) struct Links<'h> {
    over: &'h HandOver,
    pair: Pair,
    giver: u32,
    counted: Option<BTreeMap<Identity, u32>>,
}

impl<'h> Links<'h> {
    pub(super) const fn new(over: &'h HandOver, pair: Pair, way: Way) -> Self {
        let giver = match way {
            Way::Forth => pair.caller,
            Way::Back => pair.target,
        };
        Self { over, pair, giver, counted: None }
    }

    /// The entry, with whether all its names are in the directory where that matters.
    pub(super) fn judged(&mut self, entry: Entry) -> Entry {
        if !entry.seen.asks_for_its_names(self.giver) {
            return entry;
        }
        let (over, pair, giver) = (self.over, self.pair, self.giver);
        let counted = self.counted.get_or_insert_with(|| count(over, pair, giver));
        let all_inside = counted.get(&entry.identity) == Some(&entry.seen.links);
        Entry { seen: Seen { all_inside, ..entry.seen }, ..entry }
    }
}

/// Looks and changes nothing. What cannot be looked at counts for nothing: who has a name there is
/// taken for one with a name outside.
fn count(over: &HandOver, pair: Pair, giver: u32) -> BTreeMap<Identity, u32> {
    let mut names = BTreeMap::new();
    let Ok(mut walk) = Walk::new(&over.directory, &over.handed.path.0, Way::Forth) else {
        return names;
    };
    while let Some(step) = walk.next() {
        let Step::Entry(Entry { file, seen, name, identity }) = step else { continue };
        // Some of them have changed hands already.
        if seen.kind == Kind::Directory && [pair.caller, pair.target].contains(&seen.uid) {
            let _ = walk.enter(file, name);
        } else if seen.asks_for_its_names(giver)
            && (names.len() < MOST || names.contains_key(&identity))
        {
            let count: &mut u32 = names.entry(identity).or_default();
            *count = count.saturating_add(1);
        }
    }
    names
}
