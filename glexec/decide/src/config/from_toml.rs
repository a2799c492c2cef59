//! `/etc/glexec.toml` as entries. What TOML itself forbids its parser refuses: a key that stands
//! there twice, a table that is opened again, and more than 80 levels, so that nothing here goes
//! deeper either.

use super::entries::{Bad, Entry, Parts, Table, Value};
use super::words::line_of;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, Error};

/// The whole file, whose text begins at the place `begin`; the parser goes on behind what it does
/// not understand.
pub(super) fn read(text: &str, begin: usize) -> Parts<'_> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let wrong = errors.first().map(|error| not_understood(text, error));
    let wrong = wrong.map(|wrong| Bad { at: wrong.at + begin, ..wrong });
    Parts { root: table(begin, begin, document.into_inner()), wrong, ..Parts::default() }
}

fn table(begin: usize, at: usize, keys: DeTable<'_>) -> Table<'_> {
    let mut entries: Vec<_> = keys.into_iter().map(|(k, v)| entry(begin, k, v)).collect();
    entries.sort_by_key(|entry| entry.key_at);
    Table { at, entries }
}

fn entry<'a>(begin: usize, key: Spanned<DeString<'a>>, found: Spanned<DeValue<'a>>) -> Entry<'a> {
    let (key_at, (at, value)) = (begin + key.span().start, value(begin, found));
    Entry { key: key.into_inner(), key_at, value, at: Some(at) }
}

fn value(begin: usize, found: Spanned<DeValue<'_>>) -> (usize, Value<'_>) {
    let at = begin + found.span().start;
    let value = match found.into_inner() {
        DeValue::String(word) => Value::Word(word),
        DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
            .map_or(Value::Other("integer of more than 64 bits"), Value::Number),
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Array(items) => {
            Value::List(items.into_iter().map(|item| value(begin, item)).collect())
        }
        DeValue::Table(keys) => Value::Table(table(begin, at, keys)),
        DeValue::Float(_) => Value::Other("floating point number"),
        DeValue::Datetime(_) => Value::Other("date"),
    };
    (at, value)
}

/// The parser's sentence. Of a key that stands there twice it names neither the key nor the place
/// where it stands first.
fn not_understood(text: &str, error: &Error) -> Bad {
    let span = error.span().unwrap_or_default();
    let at = span.start;
    if error.message() != "duplicate key" {
        return Bad { at, sentence: format!("not TOML: {}", error.message()) };
    }
    let begin = text.get(..at).and_then(|before| before.rfind('\n')).unwrap_or(0);
    let (before, _) = DeTable::parse_recoverable(text.get(..begin).unwrap_or_default());
    let key = text.get(span).unwrap_or_default().trim_matches(['"', '\'']);
    let sentence = match last_of(&table(0, 0, before.into_inner()), key) {
        Some(first) => format!(
            "`{key}` stands in line {} already, and again in line {}; keep one of them",
            line_of(text, first),
            line_of(text, at)
        ),
        None => format!("`{key}` stands there twice; keep one of them"),
    };
    Bad { at, sentence }
}

/// Where a key of this name stands last, in whatever table.
fn last_of(table: &Table<'_>, key: &str) -> Option<usize> {
    let places = table.entries.iter().flat_map(|entry| {
        let here = (entry.key == key).then_some(entry.key_at);
        let inside = entry.value.table().and_then(|table| last_of(table, key));
        [here, inside, table.rows(&entry.key).filter_map(|row| last_of(row, key)).max()]
    });
    places.flatten().max()
}
