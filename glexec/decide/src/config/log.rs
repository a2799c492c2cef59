//! What a file that cannot be used says of the log: where to tell what is wrong with it.

use super::source_files::Texts;
use super::{LogRule, SourceFile, convert, reading};

impl LogRule {
    /// The rule of a configuration's text, each key that cannot be read left at its default; `None`
    /// where nothing of `[glexec]` can be read, or the rule names a file that cannot be meant.
    pub fn of_what_can_be_read(files: &[SourceFile]) -> Option<Self> {
        let texts = Texts::of(files).ok()?;
        let glexec = reading::what_can_be_read(&texts)?;
        convert::log(&glexec).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LogDestination, Syntax};
    use super::*;

    fn rule(text: &str, syntax: Syntax) -> Option<LogRule> {
        LogRule::of_what_can_be_read(&[SourceFile::nameless(text.as_bytes(), syntax)])
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
    fn what_is_wrong_with_the_log_itself_is_left_at_its_default() {
        let lines = "silent_logging = true\nsyslog_facility = \"LOCAL1\"\nlog_level = 2\n";
        let good = LogRule { silent: true, facility: 17, level: 2, ..LogRule::default() };
        for (from, to, expected) in [
            ("LOCAL1", "LOCAL1", good.clone()),
            ("LOCAL1", "NONE", LogRule { facility: 3, ..good.clone() }),
            ("\"LOCAL1\"", "7", LogRule { facility: 3, ..good.clone() }),
            ("= 2", "= 6", LogRule { level: 3, ..good.clone() }),
            ("= true", "= 1", LogRule { silent: false, ..good.clone() }),
        ] {
            let text = format!("[glexec]\n{}lingr = true\n", lines.replace(from, to));
            assert_eq!(rule(&text, Syntax::Toml), Some(expected), "{text}");
        }
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
