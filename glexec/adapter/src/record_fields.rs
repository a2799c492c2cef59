//! What a site may ask a record of a payload to say beside what every record says.

use contract::variables::{epilogue, of_epilogue};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use system::text::escaped;

/// The payload's words are its user's, who may choose as many as he likes, and an account may be in
/// many groups: a field takes so many bytes, as they are shown.
const LONGEST: usize = 1024;

/// A group of an epilogue's variables (docs/epilogue.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordField {
    /// The payload's words.
    Argv,
    /// The supplementary gids of the caller and of the target.
    Sgids,
    /// The session of the lingering glexec.
    Sid,
    /// The process groups of the lingering glexec and of the payload.
    Pgid,
}

/// More of a record, by the names of the epilogue's variables in small letters: `argv`,
/// `glexec_sgids`, `target_sgids`, `glexec_sid`, `glexec_pgid`, `target_pgid`.
pub type MoreOfARecord = BTreeMap<String, String>;

impl RecordField {
    /// What these fields are in an epilogue's environment, which `variable` looks up. Bytes that are
    /// not printable are escaped; words are in double quotes, separated by blanks. What is longer
    /// than 1024 bytes is cut, with `…` behind.
    pub fn of(fields: &[Self], variable: impl Fn(&str) -> Option<OsString>) -> MoreOfARecord {
        let value = |name: &str| variable(&of_epilogue(name));
        let text = |name: &str| {
            let value = value(name)?;
            let plain = value.as_bytes();
            let (text, rest) = plain.split_at_checked(LONGEST).unwrap_or((plain, b""));
            let end = if rest.is_empty() { "" } else { "…" };
            Some((name.to_ascii_lowercase(), escaped(text) + end))
        };
        let mut more = MoreOfARecord::new();
        for field in fields {
            match field {
                Self::Argv => drop(more.insert("argv".to_owned(), words(&value))),
                Self::Sgids => {
                    more.extend(
                        [epilogue::GLEXEC_SGIDS, epilogue::TARGET_SGIDS]
                            .map(text)
                            .into_iter()
                            .flatten(),
                    );
                }
                Self::Sid => more.extend(text(epilogue::GLEXEC_SID)),
                Self::Pgid => {
                    more.extend(
                        [epilogue::GLEXEC_PGID, epilogue::TARGET_PGID]
                            .map(text)
                            .into_iter()
                            .flatten(),
                    );
                }
            }
        }
        more
    }
}

fn words(value: &impl Fn(&str) -> Option<OsString>) -> String {
    let all = (0_usize..).map_while(|n| value(&format!("{}{n}", epilogue::ARGV)));
    let mut text = String::new();
    for word in all {
        let word = format!("\"{}\"", escaped(word.as_bytes()));
        if text.len() + word.len() >= LONGEST {
            return text + "…";
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text += &word;
    }
    text
}

/// For a line of a log or a comment: ` name=value` for each.
pub fn more_of_a_line(more: &MoreOfARecord) -> String {
    more.iter().map(|(name, value)| format!(" {name}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    fn environment(name: &str) -> Option<OsString> {
        let value: &[u8] = match name.strip_prefix("GLEXEC_EPILOG_")? {
            "ARGV0" => b"/bin/sh",
            "ARGV1" => b"a b\n\"\xff",
            "ARGV2" => b"",
            "GLEXEC_SGIDS" => b"1:2",
            "TARGET_SGIDS" => b"",
            "GLEXEC_SID" => b"7",
            "GLEXEC_PGID" => b"8",
            "TARGET_PGID" => b"9",
            _ => return None,
        };
        Some(OsString::from_vec(value.to_vec()))
    }

    #[test]
    fn a_record_has_what_is_asked_for_and_nothing_else() {
        use RecordField::{Argv, Pgid, Sgids, Sid};
        assert!(RecordField::of(&[], environment).is_empty());
        let line = more_of_a_line(&RecordField::of(&[Pgid, Sid, Sgids, Argv], environment));
        let argv = r#" argv="/bin/sh" "a b\n\"\xff" """#;
        let rest = " glexec_pgid=8 glexec_sgids=1:2 glexec_sid=7 target_pgid=9 target_sgids=";
        assert_eq!(line, format!("{argv}{rest}"));
        assert_eq!(RecordField::of(&[Sid], |_| None), MoreOfARecord::new());
    }

    #[test]
    fn what_is_long_is_cut() {
        let long = |name: &str| name.contains("ARGV").then(|| OsString::from("x".repeat(99)));
        let argv = &RecordField::of(&[RecordField::Argv], long)["argv"];
        assert!(argv.len() <= LONGEST + "…".len() && argv.ends_with("\"…"), "{argv}");
        let groups = |name: &str| name.contains("SGIDS").then(|| OsString::from("1:".repeat(9999)));
        let more = RecordField::of(&[RecordField::Sgids], groups);
        assert!(more["target_sgids"].len() == LONGEST + "…".len());
    }
}
