//! Grid-mapfiles and ban files, in the grammar of LCMAPS (docs/credentials.md): a name, in quotes
//! or up to the next blank, and behind it what it is mapped to. Names are compared as they stand
//! there: a backslash keeps the next byte from ending the name, and both stay in it.

use crate::wildcard;
use memchr::{memchr, memchr2, memchr3};

/// A line whose wildcards have no answer.
const UNCOMPARED: &str = "has a name that cannot be compared";

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'f> {
    /// The name, its quotes left out.
    pub name: &'f [u8],
    /// Whether it stood in quotes.
    pub quoted: bool,
    /// What stands behind it, the comment left out.
    pub rest: &'f [u8],
}

/// A line that is no comment: its number, from 1, and what it says or why it cannot be understood.
pub type Line<'f> = (usize, Result<Entry<'f>, &'static str>);

/// What a grid-mapfile says of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapped {
    /// These accounts, of which the first is meant unless another is asked for.
    Accounts(Vec<String>),
    /// An account of this pool.
    Pool(String),
}

/// A file that cannot be used at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The line, from 1.
    pub line: usize,
    /// One clause to follow the line.
    pub why: &'static str,
}

/// The lines that say something.
pub fn lines(file: &[u8]) -> impl Iterator<Item = Line<'_>> {
    split(file).enumerate().filter_map(|(at, line)| {
        let line = line.get(blanks(line, b" \t")..)?;
        let says = !matches!(line.first(), None | Some(b'#'));
        says.then(|| (at + 1, entry(line)))
    })
}

/// The pieces between the ends of lines.
fn split(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(file);
    std::iter::from_fn(move || {
        let file = rest?;
        let (line, after) = match memchr(b'\n', file) {
            Some(end) => (file.get(..end)?, file.get(end + 1..)),
            None => (file, None),
        };
        rest = after;
        Some(line)
    })
}

/// How many bytes at the begin are of these.
fn blanks(line: &[u8], of: &[u8]) -> usize {
    line.iter().take_while(|byte| of.contains(byte)).count()
}

fn entry(line: &[u8]) -> Result<Entry<'_>, &'static str> {
    const CUT: &str = "ends in a backslash";
    let quoted = line.first() == Some(&b'"');
    let body = line.get(usize::from(quoted)..).unwrap_or_default();
    let length = match quoted {
        true => end(body, |piece| memchr2(b'"', b'\\', piece)),
        false => end(body, |piece| memchr3(b' ', b'\t', b'\\', piece)),
    };
    let length = length.ok_or(CUT)?;
    if quoted && length == body.len() {
        return Err("has a quote that is not closed");
    }
    let (name, rest) = body.split_at(length);
    let rest = rest.get(usize::from(quoted)..).unwrap_or_default();
    let rest = rest.get(blanks(rest, b" \t,")..).unwrap_or_default();
    let length = end(rest, |piece| memchr2(b'#', b'\\', piece)).ok_or(CUT)?;
    Ok(Entry { name, quoted, rest: rest.get(..length).unwrap_or_default() })
}

/// Where the first byte stands that ends a piece and has no backslash before it, or the piece's
/// length; `None` where it ends in a backslash. `next` finds the next such byte, or backslash.
fn end(piece: &[u8], next: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = next(piece.get(at..)?) {
        at += found;
        if piece.get(at) != Some(&b'\\') {
            return Some(at);
        }
        at += 2;
        if at > piece.len() {
            return None;
        }
    }
    Some(piece.len())
}

impl Entry<'_> {
    /// What the name is mapped to, item by item; a backslash in one is dropped and keeps the next
    /// byte.
    #[must_use]
    pub fn items(&self) -> Vec<Vec<u8>> {
        let mut items = vec![Vec::new()];
        let mut bytes = self.rest.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b' ' | b'\t' | b',' => items.push(Vec::new()),
                byte => {
                    let kept = if *byte == b'\\' { bytes.next() } else { Some(byte) };
                    if let Some(item) = items.last_mut() {
                        item.extend(kept);
                    }
                }
            }
        }
        items.retain(|item| !item.is_empty());
        items
    }
}

/// The name of an account as it may stand in passwd(5), and in a sentence.
pub(crate) fn account(item: &[u8]) -> Result<String, &'static str> {
    const NONE: &str = "names no account: a name has no `:`, `/`, `*`, blank or control character";
    let text = std::str::from_utf8(item).map_err(|_| "names an account that is no UTF-8")?;
    let bad = |c: char| ":/*@".contains(c) || c.is_control() || c.is_whitespace();
    let good =
        !text.is_empty() && text.len() <= 256 && !text.starts_with('-') && !text.contains(bad);
    if good { Ok(text.to_owned()) } else { Err(NONE) }
}

/// A look-up's answer, and the lines that were passed over because they cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// What the file says of the subject, and in which line; `None` where it says nothing.
    pub mapped: Option<(usize, Mapped)>,
    /// Line and clause.
    pub broken: Vec<(usize, &'static str)>,
}

/// Looks a subject up as LCMAPS does with `localaccount` before `poolaccount`: the first line that
/// has its name, byte for byte, and an account; or else the first line whose name, wildcards
/// included, stands for it, and that has a pool.
///
/// Otherwise than LCMAPS, a line that cannot be understood admits nobody and refuses nobody.
///
/// # Errors
/// [`Unusable`] where there is a NUL in the file: LCMAPS does not read what follows.
pub fn look_up(file: &[u8], subject: &[u8]) -> Result<Found, Unusable> {
    no_nul(file)?;
    let mut found = Found::default();
    let mut pool = None;
    for (number, line) in lines(file) {
        let entry = match line {
            Ok(entry) => entry,
            Err(why) => {
                found.broken.push((number, why));
                continue;
            }
        };
        let is_name = entry.name == subject;
        let Ok(as_pattern) = wildcard::matches(entry.name, subject) else {
            found.broken.push((number, UNCOMPARED));
            continue;
        };
        if !is_name && (!as_pattern || pool.is_some()) {
            continue;
        }
        let (pools, plain): (Vec<_>, Vec<_>) =
            entry.items().into_iter().partition(|item| item.starts_with(b"."));
        if is_name && !plain.is_empty() {
            // The first is the answer; what cannot be one of the others is not to be picked.
            match plain.first().map_or(Ok(String::new()), |item| account(item)) {
                Ok(first) => {
                    let others = plain.iter().skip(1).filter_map(|item| account(item).ok());
                    let accounts = std::iter::once(first).chain(others).collect();
                    found.mapped = Some((number, Mapped::Accounts(accounts)));
                    return Ok(found);
                }
                Err(why) => found.broken.push((number, why)),
            }
        }
        // The plug-in for pools has wildcards in every name, so a name with a bracket may not stand
        // for itself.
        if let (None, Some(item), true) = (&pool, pools.first(), as_pattern) {
            match account(item.get(1..).unwrap_or_default()) {
                Ok(prefix) => pool = Some((number, Mapped::Pool(prefix))),
                Err(why) => found.broken.push((number, why)),
            }
        }
    }
    found.mapped = pool;
    Ok(found)
}

/// The line of a ban file that bans this subject, wildcards included.
///
/// # Errors
/// [`Unusable`] where no line bans it and one cannot be understood, or there is a NUL: what it was
/// meant to say may be this.
pub fn banned(file: &[u8], subject: &[u8]) -> Result<Option<usize>, Unusable> {
    no_nul(file)?;
    let mut unusable = None;
    for (number, line) in lines(file) {
        let bans = line.and_then(|entry| {
            // A name with a bracket in it matches itself, whatever it is as a pattern.
            let is_name = entry.name == subject;
            Ok(is_name || wildcard::matches(entry.name, subject).map_err(|_| UNCOMPARED)?)
        });
        match bans {
            Ok(true) => return Ok(Some(number)),
            Ok(false) => {}
            Err(why) if unusable.is_none() => {
                unusable = Some(Unusable { line: number, why });
            }
            Err(_) => {}
        }
    }
    unusable.map_or(Ok(None), Err)
}

fn no_nul(file: &[u8]) -> Result<(), Unusable> {
    let Some(at) = memchr(0, file) else { return Ok(()) };
    let before = file.get(..at).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    Err(Unusable { line, why: "has a NUL in it" })
}

/// Which of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MapFileKind {
    Map,
    Ban,
}

impl MapFileKind {
    /// What comes of a line that cannot be understood.
    pub(crate) fn broken(self, sentence: &str) -> (&'static str, String) {
        match self {
            Self::Map => ("warning", format!("{sentence} and is passed over")),
            Self::Ban => {
                ("error", format!("{sentence}, and every run ends with 202; correct that line"))
            }
        }
    }
}
