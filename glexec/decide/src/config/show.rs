//! Every key that works, with what is in force and where it is from, for who asks.

use super::entries::{Entry, Table, Value};
use super::keys::{self, Key, Section, There, Unset};
use super::reading::{self, File};
use super::source_files::Texts;
use super::{Config, Malformed, SourceFile, Syntax};

/// One key with what is in force.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its name; in `[mapping]` with the names of the tables and the numbers of the rows that it
    /// stands in, as `mapping.static.0.caller`.
    pub key: String,
    /// Its value, as TOML writes it, or what its absence means.
    pub value: String,
    /// Path and line, from 1, of each place that says so; none for a default.
    pub places: Vec<(String, usize)>,
    /// What it takes and what it is for.
    pub about: String,
}

impl SourceFile {
    /// A text that is no file's.
    pub fn nameless(bytes: &[u8], syntax: Syntax) -> Self {
        Self { path: String::new(), text: bytes.to_vec(), syntax }
    }
}

impl Config {
    /// Reads the text of a configuration that is one file.
    ///
    /// # Errors
    /// As [`Config::read`], without a path.
    pub fn parse(bytes: &[u8], syntax: Syntax) -> Result<Self, Malformed> {
        Self::read(&[SourceFile::nameless(bytes, syntax)])
    }
}

/// One key as documents tell of it, whatever a configuration says.
#[derive(Debug, PartialEq, Eq)]
pub struct Documented {
    /// The table it stands in, as TOML writes its header; empty outside of every table.
    pub table: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub takes: String,
    /// Its default, as TOML writes it, or what its absence means.
    pub default: String,
    /// What it is for.
    pub help: &'static str,
    /// What of it does not work, or has an effect only beside something else; `None` for nothing.
    pub limits: Option<String>,
}

/// Every key there is, in the order of docs/configuration.md.
pub fn documented() -> impl Iterator<Item = Documented> {
    keys::KEYS.iter().map(|key| Documented {
        table: key.section.header(),
        name: key.name,
        takes: key.kind.to_string(),
        default: key.default_text(),
        help: key.help,
        limits: key.there.limits(),
    })
}

impl Section {
    const fn header(self) -> &'static str {
        match self {
            Self::File => "",
            Self::Glexec => "[glexec]",
            Self::Mapping => "[mapping]",
            Self::Static => "[[mapping.static]]",
            Self::Pool => "[[mapping.pool]]",
            Self::Gridmap => "[mapping.gridmap]",
            Self::Lcmaps => "[mapping.lcmaps]",
            Self::Token => "[[mapping.token]]",
        }
    }
}

impl There {
    fn limits(self) -> Option<String> {
        Some(match self {
            Self::Yes => return None,
            Self::Partly(what) => format!("There is {what}."),
            Self::Beside(key, None) => format!("Without `{key}` it has no effect."),
            Self::Beside(key, Some(word)) => {
                format!("Without `{key} = \"{word}\"` it has no effect.")
            }
            Self::Only(word, sentence) => format!("Only `{word}` is accepted: {sentence}."),
            Self::Idle(why) => format!("It is accepted and has no effect: {why}."),
            Self::No(sentence) => format!("It is refused: {sentence}."),
        })
    }
}

/// What a configuration's text says, key by key in the order of docs/configuration.md. A key of a
/// row that is absent is left out.
///
/// # Errors
/// As [`Config::parse`].
pub fn shown(files: &[SourceFile]) -> Result<Vec<Shown>, Malformed> {
    Config::read(files)?;
    let texts = Texts::of(files)?;
    let file = reading::file(&texts).map_err(|bad| texts.malformed(&bad))?;
    let works = |key: &&Key| !matches!(key.there, There::Idle(_) | There::No(_));
    let mut all = Vec::new();
    for key in keys::of(Section::Glexec).filter(works) {
        all.push(one(&file, "", key, file.glexec.find(key.name)));
    }
    for line in &file.lines {
        let (key, value) = (format!("mapping.{}", line.key), literal(&line.value));
        let about = "an account, several, or a pool".to_owned();
        all.push(Shown { key, value, places: places(&texts, line), about });
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
    let places = entry.map(|entry| places(file.texts, entry)).unwrap_or_default();
    let value = entry.map_or_else(|| key.default_text(), |entry| literal(&entry.value));
    let only =
        if let There::Partly(what) = key.there { format!("; {what}") } else { String::new() };
    let add = format!("{}_add", key.name);
    let add = keys::added_to(key.section, &add).map(|_| format!("; `{add}` adds to it"));
    let about = format!("{}; {}{only}{}", key.kind, key.help, add.unwrap_or_default());
    Shown { key: format!("{within}{}", key.name), value, places, about }
}

/// Where a key's value stands: of a list, to which several files may add, where its items do.
fn places(texts: &Texts<'_>, entry: &Entry<'_>) -> Vec<(String, usize)> {
    let items: &[_] = if let Value::List(items) = &entry.value { items } else { &[] };
    // No item of a file's is at its very begin: there are those of a default.
    let items = items.iter().map(|(at, _)| *at).filter(|at| *at > 0);
    let mut all: Vec<(String, usize)> = Vec::new();
    for place in entry.at.into_iter().chain(items).map(|at| texts.place(at)) {
        if all.iter().all(|(path, _)| *path != place.0) {
            all.push(place);
        }
    }
    all
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
pub(super) fn literal(value: &Value<'_>) -> String {
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
