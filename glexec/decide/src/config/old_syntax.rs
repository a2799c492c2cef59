//! The reading of the original's `/etc/glexec.conf`: keys and words in any case, yes and no,
//! lists with commas, and, of ours, who becomes whom in lines of `[mapping]`. It fills the same structs as the TOML does, by a serde deserializer, so
//! that every key is known to both.

use super::convert::{self, MOST_LOG_LEVEL};
use super::ini::{Pair, Sections, read};
use super::keys::{RawFile, RawGlexec, RawLine, RawMapping, Table};
use super::words::{YES, one_line, text};
use super::{Config, Malformed};
use serde::de::value::{Error, SeqDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

/// Reads `/etc/glexec.conf`.
pub(super) fn from_original(bytes: &[u8]) -> Result<Config, Malformed> {
    let mut notices = Vec::new();
    let Sections { glexec: pairs, mapping } = read(text(bytes)?, &mut notices)?;
    let mut rest = Rest { left: pairs.iter(), current: None, known: &[], notices: &mut notices };
    let glexec = RawGlexec::deserialize(&mut rest);
    let place = rest.current;
    let mut glexec = glexec.map_err(|error| match place {
        Some(pair) => malformed(pair, &format!("`{}`: {error}", pair.key)),
        None => Malformed { line: 0, column: 0, sentence: one_line(&error.to_string()) },
    })?;
    if let Some(level) = glexec.log_level.as_mut() {
        let given = *level;
        *level = given.clamp(0, MOST_LOG_LEVEL);
        if *level != given {
            notices.push(format!("`log_level`: {given} is not in 0 to 5; {level} is used"));
        }
    }
    let lines = mapping.iter().map(|pair| RawLine {
        caller: pair.key.clone(),
        accounts: pair.value.to_owned(),
        line: pair.line,
    });
    let mapping_lines = RawMapping { lines: lines.collect(), ..RawMapping::default() };
    let file = RawFile { glexec: Table(glexec), mapping: Table(mapping_lines) };
    convert::config(&file, notices).map_err(|bad| {
        let line = bad.row.and_then(|at| mapping.get(at));
        match line.or_else(|| pairs.iter().find(|pair| pair.key == bad.key)) {
            Some(pair) => malformed(pair, &bad.sentence),
            None => Malformed { line: 0, column: 0, sentence: one_line(&bad.sentence) },
        }
    })
}

fn malformed(pair: &Pair<'_>, sentence: &str) -> Malformed {
    Malformed { line: pair.line, column: pair.column, sentence: one_line(sentence) }
}

/// The pairs as serde takes them: the struct says which keys it knows, the others are left out.
struct Rest<'a, 'de> {
    left: std::slice::Iter<'de, Pair<'de>>,
    /// What was taken last: where an error is.
    current: Option<&'de Pair<'de>>,
    known: &'static [&'static str],
    notices: &'a mut Vec<String>,
}

impl<'de> Deserializer<'de> for &mut Rest<'_, 'de> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.known = known;
        visitor.visit_map(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("a section has keys"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Rest<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        for pair in self.left.by_ref() {
            if self.known.contains(&pair.key.as_str()) {
                self.current = Some(pair);
                return seed.deserialize(pair.key.as_str().into_deserializer()).map(Some);
            }
            let notice =
                format!("line {}: the key `{}` is not known and ignored", pair.line, pair.key);
            self.notices.push(one_line(&notice));
        }
        self.current = None;
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(Word(self.current.map_or("", |pair| pair.value)))
    }
}

/// One value, read as what its key wants.
#[derive(Debug, Clone, Copy)]
struct Word<'de>(&'de str);

impl<'de> IntoDeserializer<'de, Error> for Word<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Word<'de> {
    type Error = Error;

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.to_ascii_lowercase().as_str() {
            word if YES.contains(&word) => visitor.visit_bool(true),
            "no" | "n" | "false" | "f" | "0" => visitor.visit_bool(false),
            _ => Err(Error::custom(format!("`{}` is neither yes nor no", self.0))),
        }
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let number = self.0.parse();
        visitor.visit_i64(number.map_err(|_| Error::custom(format!("`{}` is no number", self.0)))?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let words = self.0.split(',').map(str::trim).filter(|word| !word.is_empty());
        visitor.visit_seq(SeqDeserializer::new(words.map(Word)))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.0.to_ascii_lowercase().into_deserializer())
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.0)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct tuple tuple_struct map struct identifier ignored_any
    }
}
