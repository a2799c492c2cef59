//! The one reading of entries by the table of keys: types, ranges, words and defaults, what is not
//! there yet, and what has no effect. Nothing is ignored in silence.

use super::entries::{Bad, Entry, Parts, Table, Value};
use super::keys::{self, Key, Kind, Section, There, Unset};
use super::source_files::Texts;
use super::words::{self, one_line};
use super::{Syntax, from_original, from_toml};
use std::borrow::Cow;

/// What the files say, with the defaults filled in.
#[derive(Debug)]
pub(super) struct File<'a> {
    /// The texts that every place is in.
    pub(super) texts: &'a Texts<'a>,
    /// `[glexec]`.
    pub(super) glexec: Table<'a>,
    /// `[mapping]`.
    pub(super) mapping: Table<'a>,
    /// The lines of `[mapping]` in the original's syntax.
    pub(super) lines: Vec<Entry<'a>>,
    /// What the administrator should know.
    pub(super) notices: Vec<String>,
}

/// Reads all of it.
///
/// # Errors
/// The first thing that is wrong: with the syntax, or else with a key or a value.
pub(super) fn file<'a>(texts: &'a Texts<'a>) -> Result<File<'a>, Bad> {
    let (mut reading, Parts { root, lines, wrong, .. }) = begin(texts);
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    let mut root = reading.table(Section::File, root)?;
    let mut take = |key: &str| {
        let at = root.entries.iter().position(|entry| entry.key == key);
        let found = at.map(|at| root.entries.swap_remove(at).value);
        if let Some(Value::Table(table)) = found { table } else { Table::default() }
    };
    let (glexec, mapping) = (take("glexec"), take("mapping"));
    Ok(File { texts, glexec, mapping, lines, notices: reading.notices })
}

/// `[glexec]` of a configuration that cannot be used, without what is wrong in it; `None` where it is
/// not there.
pub(super) fn what_can_be_read<'a>(texts: &'a Texts<'a>) -> Option<Table<'a>> {
    let (mut reading, parts) = begin(texts);
    let glexec = parts.root.entries.into_iter().find(|entry| entry.key == "glexec")?;
    let Value::Table(glexec) = glexec.value else { return None };
    let entries = glexec.entries.into_iter();
    let good = entries.filter_map(|entry| reading.entry(Section::Glexec, entry).ok().flatten());
    let (mut known, good): (Vec<_>, Vec<_>) = good.unzip();
    let mut table = Table { entries: good, ..glexec };
    // The one key of the log whose words are not in the table of keys.
    if table.one("syslog_facility", words::facility).is_err() {
        table.entries.retain(|entry| entry.key != "syslog_facility");
        known.retain(|key: &&Key| key.name != "syslog_facility");
    }
    reading.defaults((Section::Glexec, &known), &mut table).ok()?;
    Some(table)
}

/// A file beside the first that was cut to nothing must not count as one that bans nobody.
const SAYS_NOTHING: &str = "the file has no key at all; write one, or remove the file";

fn says_nothing(table: &Table<'_>) -> bool {
    let is_empty = |entry: &Entry<'_>| entry.value.table().is_some_and(says_nothing);
    table.entries.iter().all(is_empty)
}

fn begin<'a>(texts: &'a Texts<'a>) -> (Reading<'a>, Parts<'a>) {
    let mut all = Parts::default();
    for text in &texts.0 {
        let parts = match text.file.syntax {
            Syntax::Toml => from_toml::read(text.text, text.begin),
            Syntax::Original => from_original::read(text.text),
        };
        all.lines.extend(parts.lines);
        all.notices.extend(parts.notices);
        let empty = text.begin > 0 && says_nothing(&parts.root);
        all.wrong = all
            .wrong
            .or(parts.wrong)
            .or(empty.then(|| Bad { at: text.begin, sentence: SAYS_NOTHING.to_owned() }));
        all.root.join(parts.root);
    }
    let notices = std::mem::take(&mut all.notices);
    (Reading { texts, notices }, all)
}

/// An entry, and what the table of keys says of its key.
type Known<'a> = (&'static Key, Entry<'a>);

/// A reading under way.
struct Reading<'a> {
    texts: &'a Texts<'a>,
    notices: Vec<String>,
}

impl<'a> Reading<'a> {
    /// A table by its section's keys, with their defaults.
    fn table(&mut self, section: Section, raw: Table<'a>) -> Result<Table<'a>, Bad> {
        let room = raw.entries.len() + keys::of(section).count();
        let mut table = Table { at: raw.at, entries: Vec::with_capacity(room) };
        let mut known: Vec<&'static Key> = Vec::with_capacity(raw.entries.len());
        let mut added = Vec::new();
        for entry in raw.entries {
            if let Some(key) = keys::added_to(section, &entry.key) {
                let at = entry.at.unwrap_or(entry.key_at);
                added.push((key, at, self.value(key, entry.value, at)?));
            } else if let Some((key, entry)) = self.entry(section, entry)? {
                if let Some(first) = table.find(key.name) {
                    let (path, line) = self.texts.place(first.key_at);
                    let why = format!("stands in {path}:{line} already; keep one of them");
                    let sentence = format!("`{}` {why}", key.name);
                    return Err(Bad { at: entry.key_at, sentence });
                }
                known.push(key);
                table.entries.push(entry);
            }
        }
        for (key, entry) in known.iter().zip(&table.entries) {
            self.effect(key, entry, &table)?;
        }
        self.defaults((section, &known), &mut table)?;
        added.into_iter().for_each(|(key, at, more)| table.add(key.name, at, more));
        Ok(table)
    }

    /// An entry as its key wants it; `None` for one that is ignored.
    fn entry(&mut self, section: Section, entry: Entry<'a>) -> Result<Option<Known<'a>>, Bad> {
        let Some(key) = keys::find(section, &entry.key) else {
            let (name, meant) = (&entry.key, keys::meant(section, &entry.key));
            if !self.texts.is_original(entry.key_at) {
                let sentence = format!("unknown key `{name}`{meant}");
                return Err(Bad { at: entry.key_at, sentence });
            }
            let (_, line) = self.texts.place(entry.key_at);
            let notice = format!("line {line}: the key `{name}` is not known and ignored{meant}");
            self.notices.push(one_line(&notice));
            return Ok(None);
        };
        let value = self.value(key, entry.value, entry.at.unwrap_or(0))?;
        Ok(Some((key, Entry { value, ..entry })))
    }

    /// A value as its key wants it.
    fn value(&mut self, key: &Key, value: Value<'a>, at: usize) -> Result<Value<'a>, Bad> {
        let bad = |at: usize, why: String| Bad { at, sentence: format!("`{}`: {why}", key.name) };
        let value = if let Value::Bare(word) = value {
            bare(key.kind, word, at).map_err(|why| bad(at, why))?
        } else {
            value
        };
        match (key.kind, value) {
            (Kind::Number(least, most, _), Value::Number(number)) => {
                let nearest = number.clamp(least, most);
                if nearest != number {
                    let why = format!("{number} is not in {}", key.kind);
                    // As the original did.
                    if !(self.texts.is_original(at) && key.name == "log_level") {
                        return Err(bad(at, why));
                    }
                    self.notices.push(format!("`{}`: {why}; {nearest} is used", key.name));
                }
                Ok(Value::Number(nearest))
            }
            (Kind::Table(section), Value::Table(table)) => {
                self.table(section, table).map(Value::Table)
            }
            (Kind::Rows(section), Value::List(items)) => {
                let rows = items.into_iter().map(|(at, item)| {
                    let Value::Table(row) = item else {
                        return Err(bad(at, of_another_type(Kind::Table(section), &item)));
                    };
                    Ok((at, Value::Table(self.table(section, row)?)))
                });
                rows.collect::<Result<_, _>>().map(Value::List)
            }
            (kind, value) => match kind.refuses(&value) {
                Some((within, why)) => Err(bad(within.unwrap_or(at), why)),
                None => Ok(value),
            },
        }
    }

    /// What is to be said of a key that does not work, or not beside what else stands there.
    fn effect(&mut self, key: &Key, entry: &Entry<'a>, table: &Table<'a>) -> Result<(), Bad> {
        let why = match key.there {
            There::Yes | There::Partly(_) => return Ok(()),
            There::Only(only, _) if bare(key.kind, only, 0).as_ref() == Ok(&entry.value) => {
                return Ok(());
            }
            There::Only(_, why) | There::No(why) => return Err(table.bad(key.name, why)),
            There::Idle(why) => why.to_owned(),
            There::Beside(other, None) if table.find(other).is_none() => {
                format!("there is no `{other}`")
            }
            There::Beside(other, Some(word)) if table.word(other) != Some(word) => {
                format!("`{other}` is not \"{word}\"")
            }
            There::Beside(..) => return Ok(()),
        };
        self.notices.push(format!("`{}` has no effect: {why}", key.name));
        Ok(())
    }

    /// Fills in what is not among the keys that are there.
    fn defaults(
        &mut self,
        (section, there): (Section, &[&'static Key]),
        table: &mut Table<'a>,
    ) -> Result<(), Bad> {
        let absent = |key: &&Key| !there.iter().any(|there| there.name == key.name);
        for key in keys::of(section).filter(absent) {
            if let Some(value) = key.default() {
                // A test has every default read as a value that a file has.
                let value = if let Value::Bare(word) = value {
                    bare(key.kind, word, 0).map_err(|why| table.bad(key.name, why))?
                } else {
                    self.value(key, value, 0)?
                };
                let key = Cow::Borrowed(key.name);
                table.entries.push(Entry { key, key_at: 0, value, at: None });
            }
        }
        Ok(())
    }
}

impl Key {
    /// What an absent key is read as.
    pub(super) fn default(&self) -> Option<Value<'static>> {
        match (self.unset, self.kind) {
            (Unset::Is(word), _) => Some(Value::Bare(word)),
            (Unset::Means(_), Kind::Table(_)) => Some(Value::Table(Table::default())),
            (Unset::Means(_), _) => None,
        }
    }
}

impl Kind {
    /// The sentence of a word that is none of those that a key takes.
    pub(super) fn unknown(self, word: &str) -> String {
        format!("unknown word `{word}`, expected {self}")
    }

    /// Why a value is refused, and where within it.
    fn refuses(self, value: &Value<'_>) -> Option<(Option<usize>, String)> {
        match (self, value) {
            (Self::Any, _)
            | (Self::Flag, Value::Flag(_))
            | (Self::Text | Self::Series, Value::Word(_)) => None,
            (Self::OneOf(words), Value::Word(word)) => {
                (!words.contains(&word.as_ref())).then(|| (None, self.unknown(word)))
            }
            (Self::List | Self::ListOf(_) | Self::Series, Value::List(items)) => {
                let each =
                    if let Self::ListOf(words) = self { Self::OneOf(words) } else { Self::Text };
                items
                    .iter()
                    .find_map(|(at, item)| each.refuses(item).map(|(_, why)| (Some(*at), why)))
            }
            (kind, value) => Some((None, of_another_type(kind, value))),
        }
    }
}

fn of_another_type(kind: Kind, value: &Value<'_>) -> String {
    let found = match value {
        Value::Bare(word) => format!("`{word}`"),
        Value::Word(word) => format!("string {word:?}"),
        Value::Number(number) => format!("integer `{number}`"),
        Value::Flag(flag) => format!("boolean `{flag}`"),
        Value::List(_) => "list".to_owned(),
        Value::Table(_) => "table".to_owned(),
        Value::Other(name) => (*name).to_owned(),
    };
    format!("invalid type: {found}, expected {kind}")
}

/// A word of the original's file as its key wants it: words in any case, lists with commas.
pub(super) fn bare(kind: Kind, word: &str, at: usize) -> Result<Value<'_>, String> {
    const YES: [&str; 5] = ["true", "yes", "y", "t", "1"];
    const NO: [&str; 5] = ["false", "no", "n", "f", "0"];
    let is_of = |words: [&str; 5]| words.iter().any(|known| known.eq_ignore_ascii_case(word));
    Ok(match kind {
        Kind::Flag if is_of(YES) => Value::Flag(true),
        Kind::Flag if is_of(NO) => Value::Flag(false),
        Kind::Flag => return Err(format!("`{word}` is neither yes nor no")),
        Kind::Number(..) => {
            Value::Number(word.parse().map_err(|_| format!("`{word}` is no number"))?)
        }
        Kind::OneOf(words) => {
            // As the table of keys spells it, where it is one of them.
            let known = words.iter().find(|known| known.eq_ignore_ascii_case(word));
            let small = || Cow::Owned(word.to_ascii_lowercase());
            Value::Word(known.map_or_else(small, |known| Cow::Borrowed(*known)))
        }
        Kind::List | Kind::ListOf(_) | Kind::Rows(_) => {
            let words = word.split(',').map(str::trim).filter(|word| !word.is_empty());
            Value::List(words.map(|word| (at, Value::Word(Cow::Borrowed(word)))).collect())
        }
        Kind::Text | Kind::Series | Kind::Any | Kind::Table(_) => Value::Word(Cow::Borrowed(word)),
    })
}
