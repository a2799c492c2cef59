//! The original's `/etc/glexec.conf` as entries: `[section]`, `key = value`, `#` comments, and, of
//! ours, lines of who becomes whom in `[mapping]`.

use super::entries::{Bad, Entry, Parts, Value};
use super::words::{line_of, one_line};
use std::borrow::Cow;

/// What one line says.
enum Statement<'a> {
    Nothing,
    Section(&'a str),
    Pair { key: &'a str, rest: &'a str, value: &'a str },
}

/// The rest of a text from where it goes wrong, and why.
type Wrong<'a> = (&'a str, &'static str);

/// Reads the lines up to the first that makes no sense. Keys of `[glexec]` are in small letters;
/// of one that stands there twice the last one counts, as in the original.
pub(super) fn read(text: &str) -> Parts<'_> {
    let mut read = Parts::default();
    let (mut section, mut begin) = (None, 0);
    for raw in text.split_inclusive('\n') {
        let line = raw.trim_end();
        // What is told of is always the rest of a line.
        let offset = |rest: &str| begin + line.len().saturating_sub(rest.len());
        match statement(line) {
            Ok(Statement::Nothing) => {}
            Ok(Statement::Section(name)) => {
                let name = name.to_ascii_lowercase();
                if !matches!(name.as_str(), "glexec" | "mapping") {
                    read.notice(text, begin, &format!("the section [{name}] is ignored"));
                }
                section = Some(name);
            }
            Ok(Statement::Pair { key, rest, value }) => {
                let (key_at, at) = (offset(line.trim_start()), Some(offset(rest)));
                let (key, value) = (Cow::Borrowed(key), Value::Bare(value));
                read.pair(text, section.as_deref(), Entry { key, key_at, value, at });
            }
            Err((rest, why)) => {
                read.wrong = Some(Bad { at: offset(rest), sentence: why.to_owned() });
                break;
            }
        }
        begin += raw.len();
    }
    let (key, value) = (Cow::Borrowed("glexec"), Value::Table(std::mem::take(&mut read.root)));
    read.root.entries.push(Entry { key, key_at: 0, value, at: Some(0) });
    read
}

/// While the lines are read the root is `[glexec]`.
impl<'a> Parts<'a> {
    fn notice(&mut self, text: &str, at: usize, what: &str) {
        self.notices.push(one_line(&format!("line {}: {what}", line_of(text, at))));
    }

    fn pair(&mut self, text: &str, section: Option<&str>, entry: Entry<'a>) {
        let key = entry.key.to_ascii_lowercase();
        match section {
            Some("mapping") => self.lines.push(entry),
            Some("glexec") => {
                if self.root.find(&key).is_some() {
                    let what = format!("`{key}` stands there twice; this one counts");
                    self.notice(text, entry.key_at, &what);
                    self.root.entries.retain(|entry| entry.key != key);
                }
                self.root.entries.push(Entry { key: Cow::Owned(key), ..entry });
            }
            Some(_) => {}
            None => {
                let what = format!("`{key}` stands before every section and is ignored");
                self.notice(text, entry.key_at, &what);
            }
        }
    }
}

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
    let rest = rest.trim_start();
    Ok(Statement::Pair { key, rest, value: value(rest)? })
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
            let why = "something after the closing quote; quote the whole value or nothing";
            return Err((after, why));
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
