//! Lines of the original's configuration: `[section]`, `key = value`, `#` comments.

use super::Malformed;
use super::words::one_line;

/// What a file says, section by section.
#[derive(Debug, Default)]
pub(super) struct Sections<'de> {
    /// `[glexec]`: every key once.
    pub(super) glexec: Vec<Pair<'de>>,
    /// `[mapping]`: line by line.
    pub(super) mapping: Vec<Pair<'de>>,
}

/// One `key = value`.
#[derive(Debug)]
pub(super) struct Pair<'de> {
    /// In small letters, but for names of accounts.
    pub(super) key: String,
    pub(super) value: &'de str,
    pub(super) line: usize,
    pub(super) column: usize,
}

/// What one line says.
enum Statement<'a> {
    Nothing,
    Section(&'a str),
    Pair { key: &'a str, rest: &'a str },
}

/// The pairs of the sections there are. Of a key of `[glexec]` that stands there twice the last one
/// counts, as in the original.
pub(super) fn read<'a>(
    text: &'a str,
    notices: &mut Vec<String>,
) -> Result<Sections<'a>, Malformed> {
    let Sections { glexec: mut pairs, mut mapping } = Sections::default();
    let mut section = None;
    let mut notice =
        |line: usize, what: String| notices.push(one_line(&format!("line {line}: {what}")));
    for (line, raw) in (1..).zip(text.lines()) {
        let column = |rest: &str| raw.chars().count().saturating_sub(rest.chars().count()) + 1;
        let wrong = |(rest, why): Wrong<'_>| Malformed {
            line,
            column: column(rest),
            sentence: why.to_owned(),
        };
        match statement(raw).map_err(wrong)? {
            Statement::Nothing => {}
            Statement::Section(name) => {
                let name = name.to_ascii_lowercase();
                if !matches!(name.as_str(), "glexec" | "mapping") {
                    notice(line, format!("the section [{name}] is ignored"));
                }
                section = Some(name);
            }
            Statement::Pair { key, rest } => {
                let (name, key) = (key, key.to_ascii_lowercase());
                let value = value(rest).map_err(wrong)?;
                if section.as_deref() == Some("mapping") {
                    let (key, column) = (name.to_owned(), column(rest));
                    mapping.push(Pair { key, value, line, column });
                } else if section.as_deref() == Some("glexec") {
                    if pairs.iter().any(|pair| pair.key == key) {
                        notice(line, format!("`{key}` stands there twice; this one counts"));
                        pairs.retain(|pair| pair.key != key);
                    }
                    pairs.push(Pair { key, value, line, column: column(rest) });
                } else if section.is_none() {
                    notice(line, format!("`{key}` stands before every section and is ignored"));
                }
            }
        }
    }
    Ok(Sections { glexec: pairs, mapping })
}

/// The rest of the line where it goes wrong, and why.
type Wrong<'a> = (&'a str, &'static str);

fn statement(raw: &str) -> Result<Statement<'_>, Wrong<'_>> {
    let line = raw.trim_start();
    if line.is_empty() || line.starts_with(['#', ';']) {
        return Ok(Statement::Nothing);
    }
    if let Some(rest) = line.strip_prefix('[') {
        let name = uncommented(rest).strip_suffix(']');
        let name = name.ok_or((line, "a section that does not end in `]`"))?;
        return Ok(Statement::Section(name.trim()));
    }
    let (key, rest) = line
        .split_once('=')
        .ok_or((line, "neither `key = value` nor a [section] nor a # comment"))?;
    let key = key.trim_end();
    if key.is_empty() || key.contains(|c: char| c.is_whitespace() || "#;[]\"'".contains(c)) {
        return Err((line, "what stands before `=` is no key"));
    }
    Ok(Statement::Pair { key, rest: rest.trim_start() })
}

/// A value without its quotes and without the comment after it. The original cut at every `#`
/// and `;`: where that would change a word, nobody should have to guess.
fn value(rest: &str) -> Result<&str, Wrong<'_>> {
    for quote in ['"', '\''] {
        let Some(quoted) = rest.strip_prefix(quote) else {
            continue;
        };
        let (inside, after) =
            quoted.split_once(quote).ok_or((rest, "a quote that is not closed"))?;
        if !uncommented(after).is_empty() {
            return Err((
                after,
                "something after the closing quote; quote the whole value or nothing",
            ));
        }
        return Ok(inside.trim());
    }
    let value = uncommented(rest);
    if value.contains(['#', ';', '"', '\'']) {
        return Err((
            rest,
            "`#`, `;` or a quote within a word; put a blank before a comment, or quote the whole value",
        ));
    }
    if value.ends_with('\\') {
        return Err((rest, "a value ends with its line; write it on one line"));
    }
    Ok(value)
}

/// What stands before a comment; a comment begins the text or follows a blank.
fn uncommented(text: &str) -> &str {
    let mut after_blank = true;
    for (at, c) in text.char_indices() {
        if after_blank && matches!(c, '#' | ';') {
            return text.get(..at).unwrap_or(text).trim_end();
        }
        after_blank = c.is_whitespace();
    }
    text.trim_end()
}
