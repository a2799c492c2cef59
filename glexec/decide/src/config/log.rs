//! What a file that cannot be used says of the log: where to tell what is wrong with it.

use super::words::{self, text};
use super::{LogDestination, LogRule, Syntax, ini};
use toml::de::{DeTable, DeValue};

impl LogRule {
    /// The rule of a configuration's text, each key that cannot be read left at its default; `None`
    /// where nothing of `[glexec]` can be read, or the rule names a file that cannot be meant.
    pub fn of_what_can_be_read(bytes: &[u8], syntax: Syntax) -> Option<Self> {
        let text = text(bytes).ok()?;
        let pairs = match syntax {
            Syntax::Toml => of_toml(text)?,
            Syntax::Original => of_original(text),
        };
        let said = |key: &str| {
            let pair = pairs.iter().rev().find(|(name, _)| name == key);
            pair.map(|(_, value)| value.as_str())
        };
        let usual = Self::default();
        let word = said("log_destination").unwrap_or_default().to_ascii_lowercase();
        let (destination, file) = match word.as_str() {
            "file" => (LogDestination::File, Some(words::canonical(said("log_file")?).ok()?)),
            "journal" => (LogDestination::Journal, None),
            _ => (LogDestination::Syslog, None),
        };
        let level = said("log_level").and_then(|level| level.parse::<u8>().ok());
        let facility = said("syslog_facility").and_then(|word| words::facility(word).ok());
        let silent = said("silent_logging").map(str::to_ascii_lowercase);
        Some(Self {
            destination,
            file,
            level: level.unwrap_or(usual.level),
            facility: facility.unwrap_or(usual.facility),
            silent: silent.is_some_and(|word| words::YES.contains(&word.as_str())),
        })
    }
}

/// Keys and values of `[glexec]`, as far as they are plain words.
type Pairs = Vec<(String, String)>;

/// The parser goes on behind what it does not understand.
fn of_toml(text: &str) -> Option<Pairs> {
    let (document, _) = DeTable::parse_recoverable(text);
    let table = document.get_ref().get("glexec")?.get_ref().as_table()?;
    let pairs = table.iter().filter_map(|(key, value)| {
        let word = match value.get_ref() {
            DeValue::String(word) => word.to_string(),
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                return None;
            }
        };
        Some((key.get_ref().to_string(), word))
    });
    Some(pairs.collect())
}

/// The lines before the first that makes no sense.
fn of_original(text: &str) -> Pairs {
    let sections = ini::read(text, &mut Vec::new()).or_else(|wrong| {
        let lines = text.split_inclusive('\n').take(wrong.line.saturating_sub(1));
        let length = lines.map(str::len).sum();
        ini::read(text.get(..length).unwrap_or_default(), &mut Vec::new())
    });
    let pairs = sections.map(|sections| sections.glexec).unwrap_or_default();
    pairs.into_iter().map(|pair| (pair.key, pair.value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str, syntax: Syntax) -> Option<LogRule> {
        LogRule::of_what_can_be_read(text.as_bytes(), syntax)
    }

    #[test]
    fn the_log_of_a_file_that_is_wrong_elsewhere_is_known() {
        let file = |level| LogRule {
            destination: LogDestination::File,
            file: Some("/var/log/g".to_owned()),
            level,
            ..LogRule::default()
        };
        let lines = "log_destination = \"file\"\nlog_file = \"/var/log/g\"\n";
        for wrong in ["lingr = true\n", "linger = 7\n", "linger = true\nlinger = false\n", "x =\n"]
        {
            for text in
                [format!("[glexec]\n{wrong}{lines}"), format!("[glexec]\n{lines}{wrong}[mapping\n")]
            {
                assert_eq!(rule(&text, Syntax::Toml), Some(file(3)), "{text}");
            }
        }
        let old =
            "[glexec]\nlog_destination = FILE\nlog_file = /var/log/g\nlog_level = 5\nrubbish\n";
        assert_eq!(rule(old, Syntax::Original), Some(file(5)));
        let journal = "[glexec]\nlog_destination = \"journal\"\nsilent_logging = true\nlog_level = \"x\"\nsyslog_facility = \"LOCAL1\"\n";
        let journal = rule(journal, Syntax::Toml).unwrap();
        assert_eq!(
            (journal.destination, journal.silent, journal.level, journal.facility),
            (LogDestination::Journal, true, 3, 17)
        );
    }

    #[test]
    fn where_nothing_can_be_known_there_is_no_rule() {
        for text in ["", "\u{feff}[glexec]\n", "[glexec]\nlog_destination = \"file\"\n"] {
            assert_eq!(rule(text, Syntax::Toml), None, "{text:?}");
        }
        let relative = "[glexec]\nlog_destination = file\nlog_file = log\n";
        assert_eq!(rule(relative, Syntax::Original), None);
    }
}
