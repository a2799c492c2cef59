//! Every key there is, as it stands in a file, and the reading of `/etc/glexec.toml`.
//!
//! Both syntaxes fill these structs, so there is one list of keys; `convert` makes a [`Config`]
//! of them. A key that is absent is `None`; the defaults are in `convert`.

use super::words::{malformed, nearest, one_line, text};
use super::{
    AccountSource, Config, EpilogueEnvironment, EpilogueFailure, EpilogueOutput, LogDestination,
    Malformed, Stragglers, Terminal, WorkingDirectory, convert,
};
use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::marker::PhantomData;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A key that is known and not there yet, or has no effect: only its presence counts.
pub(super) type Presence = Option<IgnoredAny>;

/// `/etc/glexec.toml`; of the original's file the first table, and the lines of the second.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawFile {
    pub(super) glexec: Table<RawGlexec>,
    pub(super) mapping: Table<RawMapping>,
}

/// `[glexec]`: first the original's keys, then ours (DESIGN section 5).
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawGlexec {
    pub(super) linger: Option<bool>,
    pub(super) user_white_list: Vec<String>,
    pub(super) group_white_list: Vec<String>,
    pub(super) preserve_env_variables: Vec<String>,
    pub(super) user_identity_switch_by: Option<SwitchBy>,
    pub(super) epilogue: Option<String>,
    pub(super) epilogue_user: Option<String>,
    pub(super) epilogue_group: Option<String>,
    /// Seconds, 1 to 7 days.
    pub(super) epilogue_timeout: Option<i64>,
    pub(super) create_target_proxy: Option<bool>,
    pub(super) omission_private_key_white_list: Vec<String>,
    pub(super) lock_mechanism: Option<Lock>,
    pub(super) input_lock_mechanism: Option<Lock>,
    pub(super) target_lock_mechanism: Option<Lock>,
    pub(super) log_destination: Option<LogDestination>,
    pub(super) log_file: Option<String>,
    /// 0 to 5.
    pub(super) log_level: Option<i64>,
    pub(super) syslog_facility: Option<String>,
    pub(super) silent_logging: bool,
    pub(super) lcmaps_db_file: Presence,
    pub(super) lcmaps_log_file: Presence,
    pub(super) lcmaps_debug_level: Presence,
    pub(super) lcmaps_log_level: Presence,
    pub(super) lcmaps_get_account_policy: Presence,
    pub(super) lcmaps_verify_account_policy: Presence,
    pub(super) lcmaps_voms_verification: Presence,
    pub(super) use_lcas: bool,
    pub(super) lcas_db_file: Presence,
    pub(super) lcas_log_file: Presence,
    pub(super) lcas_debug_level: Presence,
    pub(super) lcas_log_level: Presence,

    pub(super) path: Option<String>,
    pub(super) working_directory: Option<WorkingDirectory>,
    /// 1 to 4294967294.
    pub(super) min_target_uid: Option<i64>,
    pub(super) stragglers: Option<Stragglers>,
    /// Seconds, 0 to 7 days.
    pub(super) kill_grace: Option<i64>,
    /// Seconds, 1 to 7 days.
    pub(super) term_grace: Option<i64>,
    pub(super) terminal: Option<Terminal>,
    /// 1 to 1000000.
    pub(super) max_runs_per_caller: Option<i64>,
    pub(super) log_only: bool,
    pub(super) keep_descriptors: bool,
    pub(super) suspend_with_caller: bool,
    pub(super) state_sync: bool,
    pub(super) account_source: Option<AccountSource>,
    pub(super) payload_cgroup: Option<PayloadCgroup>,
    pub(super) epilogue_environment: Option<EpilogueEnvironment>,
    pub(super) epilogue_failure: Option<EpilogueFailure>,
    pub(super) epilogue_output: Option<EpilogueOutput>,
    pub(super) state_dir: Option<String>,
    pub(super) supervisor_cgroup: Option<String>,
    /// At most 32 names.
    pub(super) job_variables: Vec<String>,
    pub(super) hand_over: Vec<String>,
}

/// `[mapping]` (DESIGN section 6).
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawMapping {
    pub(super) methods: Option<Vec<Method>>,
    pub(super) banned: Vec<String>,
    #[serde(rename = "static")]
    pub(super) rows: Vec<Table<RawRow>>,
    #[serde(rename = "pool")]
    pub(super) pools: Vec<Table<RawPool>>,
    pub(super) gridmap: Presence,
    pub(super) lcmaps: Presence,
    pub(super) token: Presence,
    /// Of the original's syntax; then all the others are empty.
    #[serde(skip)]
    pub(super) lines: Vec<RawLine>,
}

/// One line of `[mapping]` in the original's syntax.
#[derive(Debug)]
pub(super) struct RawLine {
    pub(super) caller: String,
    /// One account, several with commas, or a series.
    pub(super) accounts: String,
    /// 1-based, in the file.
    pub(super) line: usize,
}

/// `[[mapping.static]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRow {
    pub(super) caller: Option<String>,
    pub(super) account: Option<String>,
    pub(super) accounts: Option<Vec<String>>,
    pub(super) groups: Option<Vec<String>>,
}

/// `[[mapping.pool]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPool {
    pub(super) caller: Option<String>,
    pub(super) accounts: Option<Series>,
}

/// Names, one by one or as a numbered series.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a list of names, or a series such as \"pool[001-064]\"")]
pub(super) enum Series {
    Names(Vec<String>),
    Numbered(String),
}

/// `user_identity_switch_by`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SwitchBy {
    Glexec,
    Lcmaps,
}

/// The three `*lock_mechanism` keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Lock {
    Flock,
    Fcntl,
    Disabled,
}

/// `payload_cgroup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PayloadCgroup {
    Never,
    Auto,
}

/// One of `methods`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Method {
    Static,
    Gridmap,
    Pool,
    Lcmaps,
    Token,
}

/// A struct that is written as a table: serde would also fill it from an array, by position.
#[derive(Debug, Default)]
pub(super) struct Table<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Keys<T> {
            type Value = T;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a table")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(Keys(PhantomData)).map(Self)
    }
}

/// Reads `/etc/glexec.toml`.
pub(super) fn from_toml(bytes: &[u8]) -> Result<Config, Malformed> {
    let text = text(bytes)?;
    let raw: RawFile = toml::from_str(text).map_err(|error| not_understood(text, &error))?;
    convert::config(&raw, Vec::new()).map_err(|bad| {
        let offset = offset_of(text, bad.row, bad.key);
        malformed(text, offset, one_line(&bad.sentence))
    })
}

/// What the parser or serde says, with the key that it leaves out.
fn not_understood(text: &str, error: &toml::de::Error) -> Malformed {
    let offset = error.span().map_or(0, |span| span.start);
    let message = error.message();
    let sentence = match (unknown_key(message), DeTable::parse(text)) {
        (Some(sentence), _) => sentence,
        (None, Ok(document)) => match key_at(document.get_ref(), offset) {
            Some(key) => format!("`{key}`: {message}"),
            None => message.to_owned(),
        },
        (None, Err(_)) if message == "duplicate key" => twice(text, error.span()),
        (None, Err(_)) => format!("not TOML: {message}"),
    };
    malformed(text, offset, one_line(&sentence))
}

/// serde's words for an unknown key carry the list of the known ones.
fn unknown_key(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field `")?;
    let (unknown, expected) = rest.rsplit_once("`, expected ")?;
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    Some(match nearest(unknown, &known) {
        Some(key) => format!("unknown key `{unknown}`; did you mean `{key}`?"),
        None if known.len() < 10 => {
            format!("unknown key `{unknown}`; here are known `{}`", known.join("`, `"))
        }
        None => format!("unknown key `{unknown}`; the known ones are in docs/configuration.md"),
    })
}

/// A key that stands there twice; the parser names neither it nor the first place.
fn twice(text: &str, again: Option<std::ops::Range<usize>>) -> String {
    let again = again.unwrap_or_default();
    let key = text.get(again.clone()).unwrap_or_default().trim_matches(['"', '\'']);
    let begin = text.get(..again.start).and_then(|before| before.rfind('\n')).unwrap_or(0);
    let (before, _) = DeTable::parse_recoverable(text.get(..begin).unwrap_or_default());
    let line = |offset: usize| malformed(text, offset, String::new()).line;
    match last_of(before.get_ref(), key) {
        Some(first) => format!(
            "`{key}` stands in line {} already, and again in line {}; keep one of them",
            line(first),
            line(again.start)
        ),
        None => format!("`{key}` stands there twice; keep one of them"),
    }
}

/// Where a key of this name stands last, in whatever table.
fn last_of(table: &DeTable<'_>, name: &str) -> Option<usize> {
    let places = table.iter().flat_map(|(key, value)| {
        let here = (key.get_ref().as_ref() == name).then(|| key.span().start);
        let below = match value.get_ref() {
            DeValue::Table(table) => last_of(table, name),
            DeValue::Array(items) => {
                let tables = items.iter().filter_map(|item| item.get_ref().as_table());
                tables.filter_map(|table| last_of(table, name)).max()
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => None,
        };
        [here, below]
    });
    places.flatten().max()
}

/// The innermost key whose value stands at this offset.
fn key_at<'a>(table: &'a DeTable<'_>, offset: usize) -> Option<&'a str> {
    table.iter().find_map(|(key, value)| {
        let inner = match value.get_ref() {
            DeValue::Table(table) => key_at(table, offset),
            DeValue::Array(items) => {
                items.iter().find_map(|item| key_at(item.get_ref().as_table()?, offset))
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => None,
        };
        let here = value.span().contains(&offset).then(|| key.get_ref().as_ref());
        inner.or(here)
    })
}

/// Where the value of a key stands, or else the row that lacks it.
fn offset_of(text: &str, row: Option<usize>, key: &str) -> usize {
    let document = DeTable::parse(text).ok();
    let found = document.as_ref().and_then(|document| {
        let document = document.get_ref();
        let Some(row) = row else {
            return document.values().find_map(|table| table.get_ref().get(key));
        };
        let rows = document.get("mapping")?.get_ref().get("static")?;
        let row = rows.get_ref().get(row)?;
        row.get_ref().get(key).or(Some(row))
    });
    found.map_or(0, |value: &Spanned<DeValue<'_>>| value.span().start)
}
