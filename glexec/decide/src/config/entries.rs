//! What both syntaxes give: keys with their values, and the place of each in the text.

use std::borrow::Cow;

/// What stands behind a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Of the original's file, and in the table of keys: what it is, the key's type says.
    Bare(&'a str),
    /// Text in quotes.
    Word(Cow<'a, str>),
    /// A whole number of 64 bits.
    Number(i64),
    /// True or false.
    Flag(bool),
    /// Values, each with its byte offset in the text.
    List(Vec<(usize, Self)>),
    /// Keys of a table.
    Table(Table<'a>),
    /// What no key of ours takes; its name.
    Other(&'static str),
}

/// One `key = value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// The key, as the table of keys spells it where it is known.
    pub(super) key: Cow<'a, str>,
    /// Where the key stands: a byte offset in the text, of which line and column follow.
    pub(super) key_at: usize,
    /// The value.
    pub(super) value: Value<'a>,
    /// Where the value stands; `None` for a default, which stands nowhere.
    pub(super) at: Option<usize>,
}

/// The keys of one table, in the order of the file. With the defaults filled in it answers what a
/// key says; a key that is absent and has no default is `None`, false, or empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Table<'a> {
    /// Where it begins.
    pub(super) at: usize,
    /// Each key once.
    pub(super) entries: Vec<Entry<'a>>,
}

/// What a syntax gives: a file as far as it can be understood.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    /// The tables, `glexec` and the others.
    pub(super) root: Table<'a>,
    /// The lines of `[mapping]` in the original's syntax.
    pub(super) lines: Vec<Entry<'a>>,
    /// What is ignored.
    pub(super) notices: Vec<String>,
    /// The first thing that cannot be understood.
    pub(super) wrong: Option<Bad>,
}

/// A value that cannot be used.
#[derive(Debug)]
pub(super) struct Bad {
    /// Its byte offset in the text.
    pub(super) at: usize,
    /// What is wrong.
    pub(super) sentence: String,
}

/// The reading of a word; the error is the second half of a sentence whose first half names the key.
type Parse<T> = fn(&str) -> Result<T, String>;

impl<'a> Value<'a> {
    /// The text, where it is one.
    pub(super) fn word(&self) -> Option<&str> {
        if let Self::Word(word) = self { Some(word) } else { None }
    }

    /// The table, where it is one.
    pub(super) fn table(&self) -> Option<&Table<'a>> {
        if let Self::Table(table) = self { Some(table) } else { None }
    }
}

impl<'a> Table<'a> {
    /// The entry of this key.
    pub(super) fn find(&self, key: &str) -> Option<&Entry<'a>> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn value(&self, key: &str) -> Option<&Value<'a>> {
        self.find(key).map(|entry| &entry.value)
    }

    /// Whether the key is there and true.
    pub(super) fn flag(&self, key: &str) -> bool {
        self.value(key) == Some(&Value::Flag(true))
    }

    /// A number; the table of keys has seen to its range.
    pub(super) fn number<N: TryFrom<i64>>(&self, key: &str) -> Result<Option<N>, Bad> {
        let Some(Value::Number(number)) = self.value(key) else { return Ok(None) };
        let number = N::try_from(*number);
        number.map(Some).map_err(|_| self.bad(key, "the number is out of range"))
    }

    /// The same for a key with a default.
    pub(super) fn must_number<N: TryFrom<i64>>(&self, key: &str) -> Result<N, Bad> {
        self.number(key)?.ok_or_else(|| self.missing(key))
    }

    /// A text.
    pub(super) fn word(&self, key: &str) -> Option<&str> {
        self.value(key).and_then(Value::word)
    }

    /// What stands in a list.
    pub(super) fn items(&self, key: &str) -> &[(usize, Value<'a>)] {
        if let Some(Value::List(items)) = self.value(key) { items } else { &[] }
    }

    /// The rows of a list of tables, in the order of the file.
    pub(super) fn rows(&self, key: &str) -> impl Iterator<Item = &Table<'a>> {
        self.items(key).iter().filter_map(|(_, value)| value.table())
    }

    /// A text as `parse` reads it.
    pub(super) fn one<T>(&self, key: &str, parse: Parse<T>) -> Result<Option<T>, Bad> {
        self.word(key).map(|word| parse(word).map_err(|why| self.bad(key, why))).transpose()
    }

    /// The same for a key with a default.
    pub(super) fn must<T>(&self, key: &str, parse: Parse<T>) -> Result<T, Bad> {
        self.one(key, parse)?.ok_or_else(|| self.missing(key))
    }

    /// The texts of a list; an error stands where the text does.
    pub(super) fn each<T>(&self, key: &str, parse: Parse<T>) -> Result<Vec<T>, Bad> {
        let words = self.items(key).iter().filter_map(|(at, value)| Some((*at, value.word()?)));
        let parsed =
            words.map(|(at, word)| parse(word).map_err(|why| Bad { at, ..self.bad(key, why) }));
        parsed.collect()
    }

    /// Takes in what another file says: of a table or rows that both have one is made, and what else
    /// both have stands there twice.
    pub(super) fn join(&mut self, more: Self) {
        for entry in more.entries {
            let here = self.entries.iter_mut().find(|here| here.key == entry.key);
            match (here.map(|here| &mut here.value), entry.value) {
                (Some(Value::Table(here)), Value::Table(more)) => here.join(more),
                (Some(Value::List(here)), Value::List(more)) if are_rows(here, &more) => {
                    here.extend(more);
                }
                (_, value) => self.entries.push(Entry { value, ..entry }),
            }
        }
    }

    /// Adds to a list; a default counts from then on as said where the first is added.
    pub(super) fn add(&mut self, key: &str, place: usize, more: Value<'a>) {
        let entry = self.entries.iter_mut().find(|entry| entry.key == key);
        if let (Some(Entry { value: Value::List(items), at, .. }), Value::List(more)) =
            (entry, more)
        {
            at.get_or_insert(place);
            items.extend(more);
        }
    }

    fn missing(&self, key: &str) -> Bad {
        self.bad(key, "it is missing")
    }

    /// What is wrong with the value of a key; with the table, where the key is absent.
    pub(super) fn bad(&self, key: &str, why: impl AsRef<str>) -> Bad {
        let at = self.find(key).and_then(|entry| entry.at).unwrap_or(self.at);
        Bad { at, sentence: format!("`{key}`: {}", why.as_ref()) }
    }
}

/// Whether both lists begin with a table: the rows of a kind.
fn are_rows(some: &[(usize, Value<'_>)], more: &[(usize, Value<'_>)]) -> bool {
    let begins = |items: &[(usize, Value<'_>)]| {
        items.first().is_some_and(|(_, item)| item.table().is_some())
    };
    begins(some) && begins(more)
}
