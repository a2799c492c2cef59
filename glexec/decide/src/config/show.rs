//! Every key that works, with what is in force and where it is from, for who asks.

use super::entries::{Entry, Table, Value};
use super::keys::{self, Key, Section, There, Unset};
use super::reading::{self, File};
use super::words::{line_of, malformed, text};
use super::{Config, Malformed, Syntax};

/// One key with what is in force.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its name; in `[mapping]` with the names of the tables and the numbers of the rows that it
    /// stands in, as `mapping.static.0.caller`.
    pub key: String,
    /// Its value, as TOML writes it, or what its absence means.
    pub value: String,
    /// The line of the file, from 1; `None` for a default.
    pub line: Option<usize>,
    /// What it takes and what it is for.
    pub about: String,
}

/// What a configuration's text says, key by key in the order of docs/configuration.md. A key of a
/// row that is absent is left out.
///
/// # Errors
/// As [`Config::parse`].
pub fn shown(bytes: &[u8], syntax: Syntax) -> Result<Vec<Shown>, Malformed> {
    Config::parse(bytes, syntax)?;
    let text = text(bytes)?;
    let file = reading::file(text, syntax);
    let file = file.map_err(|bad| malformed(text, bad.at, &bad.sentence))?;
    let works = |key: &&Key| !matches!(key.there, There::Idle(_) | There::No(_));
    let mut all = Vec::new();
    for key in keys::of(Section::Glexec).filter(works) {
        all.push(one(&file, "", key, file.glexec.find(key.name)));
    }
    for line in &file.lines {
        let (key, value) = (format!("mapping.{}", line.key), literal(&line.value));
        let at = line.at.map(|at| line_of(text, at));
        all.push(Shown {
            key,
            value,
            line: at,
            about: "an account, several, or a pool".to_owned(),
        });
    }
    for key in keys::of(Section::Mapping).filter(works).filter(|_| file.lines.is_empty()) {
        if let keys::Kind::Rows(section) = key.kind {
            for (at, row) in file.mapping.rows(key.name).enumerate() {
                let within = format!("mapping.{}.{at}.", key.name);
                all.extend(there(&file, &within, section, Some(row)));
            }
        } else if let keys::Kind::Table(section) = key.kind {
            let table = file.mapping.find(key.name).filter(|entry| entry.at.is_some());
            let table = table.and_then(|entry| entry.value.table());
            all.extend(there(&file, &format!("mapping.{}.", key.name), section, table));
        } else {
            all.push(one(&file, "mapping.", key, file.mapping.find(key.name)));
        }
    }
    Ok(all)
}

/// The keys of a table that are there.
fn there<'f>(
    file: &'f File<'_>,
    within: &'f str,
    section: Section,
    table: Option<&'f Table<'_>>,
) -> impl Iterator<Item = Shown> {
    let keys = keys::of(section).filter_map(move |key| Some((key, table?.find(key.name)?)));
    keys.map(move |(key, entry)| one(file, within, key, Some(entry)))
}

fn one(file: &File<'_>, within: &str, key: &Key, entry: Option<&Entry<'_>>) -> Shown {
    let line = entry.and_then(|entry| entry.at).map(|at| line_of(file.text, at));
    let value = entry.map_or_else(|| key.default_text(), |entry| literal(&entry.value));
    let only =
        if let There::Partly(what) = key.there { format!("; {what}") } else { String::new() };
    let about = format!("{}; {}{only}", key.kind, key.help);
    Shown { key: format!("{within}{}", key.name), value, line, about }
}

impl Key {
    /// What an absent key is read as, or means.
    pub(super) fn default_text(&self) -> String {
        match self.unset {
            Unset::Means(words) => words.to_owned(),
            Unset::Is(word) => {
                reading::bare(self.kind, word, 0).map(|value| literal(&value)).unwrap_or_default()
            }
        }
    }
}

/// A value as TOML writes it.
fn literal(value: &Value<'_>) -> String {
    match value {
        Value::Bare(word) => format!("{word:?}"),
        Value::Word(word) => format!("{word:?}"),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|(_, item)| literal(item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(_) | Value::Other(_) => String::new(),
    }
}
