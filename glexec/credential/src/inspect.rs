//! What an administrator should know of the files that map by credential: `glexec-admin check`.

use crate::authorities::Finding;
use crate::map_file::{Entry, MapFileKind, lines};
use crate::question::Question;
use crate::site_file::MapFile;
use crate::{token, token_map};
use std::collections::{BTreeMap, BTreeSet};
use system::text::one_line;

/// So many findings of one file are told.
const MOST: usize = 20;

/// Findings as lines `error=` and `warning=`, one `seen=` for each file, and `account=` and `pool=`
/// for what the grid-mapfile maps to.
pub(crate) fn inspect(question: &Question) -> String {
    if !question.issuers.is_empty() {
        return of_tokens(question);
    }
    let mut text = String::new();
    for (file, kind) in [(&question.map, MapFileKind::Map), (&question.ban, MapFileKind::Ban)] {
        if let Some(file) = file {
            text += &of_map(file, kind);
        }
    }
    if question.authorities.is_some() {
        let findings = question.authorities().map(|authorities| authorities.inspect());
        text += &told(findings.unwrap_or_default());
    }
    text
}

fn told(findings: Vec<Finding>) -> String {
    let more = findings.len().saturating_sub(MOST);
    let (seen, bad): (Vec<_>, Vec<_>) = findings.into_iter().partition(|(name, _)| *name == "seen");
    let shown = seen.into_iter().chain(bad.into_iter().take(MOST));
    let mut text: String =
        shown.map(|(name, sentence)| format!("{name}={}\n", one_line(&sentence))).collect();
    if more > 0 {
        text += &format!("warning=and {more} more\n");
    }
    text
}

fn of_map(file: &MapFile, kind: MapFileKind) -> String {
    let text = match file.read() {
        Ok(text) => text,
        Err(refused) => return told(vec![("error", refused.detail)]),
    };
    let mut findings = Vec::new();
    let mut count = 0;
    let (mut accounts, mut pools) = (BTreeSet::new(), BTreeSet::new());
    let mut leased: BTreeMap<Vec<u8>, (usize, Vec<u8>)> = BTreeMap::new();
    let path = &file.path;
    if text.contains(&0) {
        findings.push((
            "error",
            format!("{path} has a NUL in it, and every run ends with 202; write it anew as text"),
        ));
    }
    for (number, line) in lines(&text) {
        let entry = match line {
            Ok(entry) => entry,
            Err(why) => {
                findings.push(kind.broken(&format!("{path}:{number}: the line {why}")));
                continue;
            }
        };
        count += 1;
        findings
            .extend(doubts(&entry, kind).map(|why| ("warning", format!("{path}:{number}: {why}"))));
        if kind == MapFileKind::Map {
            for item in entry.items() {
                let text = String::from_utf8_lossy(&item).into_owned();
                match text.strip_prefix('.') {
                    Some(pool) => pools.insert(pool.to_owned()),
                    None => accounts.insert(text),
                };
            }
        }
        let has_pool = || entry.items().iter().any(|item| item.starts_with(b"."));
        if kind == MapFileKind::Map && has_pool() {
            let key = entry.name.to_ascii_lowercase();
            let other = leased.insert(key, (number, entry.name.to_vec()));
            if let Some((first, _)) = other.filter(|(_, name)| name != entry.name) {
                let why = "its name differs from that of line";
                findings.push(("warning", format!("{path}:{number}: {why} {first} in the case of letters only, and both would share a lease")));
            }
        }
    }
    findings.push(("seen", format!("{path}: {count} lines")));
    let names = |key: &str, names: &BTreeSet<String>| -> String {
        names.iter().map(|name| format!("{key}={}\n", one_line(name))).collect()
    };
    told(findings) + &names("account", &accounts) + &names("pool", &pools)
}

/// The keys of every issuer, and whom tokens are mapped to.
fn of_tokens(question: &Question) -> String {
    let mut findings = Vec::new();
    for (at, issuer) in question.issuers.iter().enumerate() {
        let name = &issuer.name;
        if question.issuers.iter().take(at).any(|other| other.name == *name) {
            findings.push(("error", token::twice(name)));
        }
        if !name.starts_with("https://") {
            findings.push(("warning", format!("the issuer {name} does not begin with https://")));
        }
        let Some(file) = &issuer.keys else { continue };
        let path = &file.path;
        let looked = file.read().map(|text| token::inspect(&text));
        findings.push(match looked {
            Ok(Ok(count)) => ("seen", format!("{path}: {count} keys")),
            Ok(Err(why)) => ("error", format!("{path} {why}")),
            Err(refused) => ("error", refused.detail),
        });
    }
    let (mut count, mut accounts) = (0, BTreeSet::new());
    if let Some(file) = &question.map {
        let path = &file.path;
        let text = file.read().unwrap_or_else(|refused| {
            findings.push(("error", refused.detail));
            Vec::new()
        });
        for (number, entry) in token_map::entries(&text) {
            count += 1;
            let said = entry.and_then(|entry| {
                let doubt = entry.doubt().map(|why| ("warning", format!("{path}:{number}: {why}")));
                findings.extend(doubt);
                entry.fixed_account().transpose()
            });
            match said {
                Ok(account) => accounts.extend(account),
                Err(why) => {
                    let what = "a run that comes to it ends with 202";
                    findings.push(("error", format!("{path}:{number}: the line {why}; {what}")));
                }
            }
        }
        findings.push(("seen", format!("{path}: {count} lines")));
    }
    let account = |name: &String| format!("account={}\n", one_line(name));
    told(findings) + &accounts.iter().map(account).collect::<String>()
}

/// What a line says that its writer may not have meant.
fn doubts(entry: &Entry<'_>, kind: MapFileKind) -> impl Iterator<Item = &'static str> {
    let two_words =
        entry.rest.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).count() > 1;
    let cut = !entry.quoted
        && match kind {
            MapFileKind::Map => two_words && !entry.rest.contains(&b','),
            MapFileKind::Ban => !entry.rest.is_empty(),
        };
    let has_return = entry.rest.contains(&b'\r') || entry.name.contains(&b'\r');
    let bracket = entry.name.contains(&b'[');
    let nothing = kind == MapFileKind::Map && entry.items().is_empty();
    let strange = !entry.name.starts_with(b"/") && entry.name != b"*";
    [
        cut.then_some("the name ends at its first blank; write it in quotes"),
        has_return.then_some("a carriage return is part of the line; write lines as Unix does"),
        bracket.then_some("a bracket begins a set of letters, and does not stand for itself"),
        nothing.then_some("there is no account behind the name"),
        strange.then_some("the name does not begin with `/`, as every subject does"),
    ]
    .into_iter()
    .flatten()
}
