//! The small words of a configuration: what each may look like. The errors are the second half
//! of a sentence whose first half names the key.

use super::{Accounts, Kept, Listed, Malformed, RowCaller};
use crate::names;
use contract::variables::EPILOGUE_PREFIX;

/// Longest account, group or variable name, in bytes.
const NAME_MAX: usize = 256;
/// Longest path that the kernel takes, its NUL left out.
const PATH_MAX: usize = 4095;
/// Longest name in `job_variables`, in bytes.
const JOB_VARIABLE_MAX: usize = 64;

/// The facilities of syslog(3), each at its number; 12 to 15 are nobody's.
const FACILITIES: [&str; 24] = [
    "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV",
    "FTP", "-", "-", "-", "-", "LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4", "LOCAL5",
    "LOCAL6", "LOCAL7",
];

/// The bytes of a configuration file as text: UTF-8 without a mark at its begin and without
/// control characters but tab and the ends of lines.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let good = std::str::from_utf8(good).unwrap_or_default();
        malformed(good, good.len(), "a byte that is no UTF-8")
    })?;
    if text.starts_with('\u{feff}') {
        return Err(malformed(text, 0, "the file begins with a byte order mark; remove it"));
    }
    // Every control character but those above 0x7f is one byte, and those begin with 0xc2.
    if !bytes.iter().any(|b| (*b < b' ' && !matches!(b, b'\t' | b'\n' | b'\r')) || *b >= 0x7f) {
        return Ok(text);
    }
    let stray = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    match text.char_indices().find(|(_, c)| stray(*c)) {
        Some((at, c)) => {
            Err(malformed(text, at, &format!("the control character {:#04x}", u32::from(c))))
        }
        None => Ok(text),
    }
}

/// An error at a byte offset of the text.
pub(super) fn malformed(text: &str, offset: usize, sentence: &str) -> Malformed {
    let before = text.get(..offset).unwrap_or(text);
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let (line, sentence) = (line_of(text, offset), one_line(sentence));
    Malformed { path: String::new(), line, column, sentence }
}

/// The line, from 1, of a byte offset of the text.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    before.bytes().filter(|byte| *byte == b'\n').count() + 1
}

/// One line of bounded length, whatever was quoted in it: these sentences go to a log. What is too
/// long loses its middle, because the reason stands at the end.
pub(super) fn one_line(sentence: &str) -> String {
    const HALF: usize = 200;
    let mut line = String::new();
    let length = sentence.chars().count();
    for (at, c) in sentence.chars().enumerate() {
        if at >= HALF && at + HALF < length {
            if at == HALF {
                line.push('…');
            }
        } else if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// The known word that is most like this one, where one is that was mistyped: every third letter
/// may be wrong.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    /// No key is longer by far; what is, is no slip of the keyboard.
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let best = known.iter().copied().min_by_key(|candidate| changes(word, candidate))?;
    (changes(word, best) * 3 <= best.len()).then_some(best)
}

/// How many letters must be changed, added or left out to make one word of the other (Levenshtein's
/// distance, by one row of its table).
fn changes(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.chars().enumerate() {
        let (mut before, mut left) = (0, 0);
        let same = std::iter::once(None).chain(to.iter().map(|other| Some(*other == letter)));
        for (cell, same) in row.iter_mut().zip(same) {
            let above = *cell;
            left = match same {
                None => at + 1,
                Some(same) => (before + usize::from(!same)).min(above + 1).min(left + 1),
            };
            before = above;
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// An account or group name as it may stand in passwd(5), group(5) and a path.
pub(crate) fn name(word: &str) -> Result<String, String> {
    let why = if word.is_empty() {
        "it is empty"
    } else if word.len() > NAME_MAX {
        "it is longer than 256 bytes"
    } else if word.starts_with('-') {
        "it begins with `-`"
    } else if word.starts_with('@') {
        "`@group` stands for callers only"
    } else if word.bytes().any(|byte| b":/*,".contains(&byte)) {
        "it holds `:`, `/`, `*` or `,`"
    } else if !word.bytes().all(|byte| byte.is_ascii_graphic())
        && word.chars().any(|c| c.is_control() || c.is_whitespace())
    {
        "it holds a blank or a control character"
    } else {
        return Ok(word.to_owned());
    };
    Err(format!("`{word}` is no name of an account or group: {why}"))
}

/// An entry of a white list.
pub(super) fn listed(word: &str) -> Result<Listed, String> {
    if word == "*" {
        return Ok(Listed::Everybody);
    }
    match (word.strip_prefix('.'), word.strip_suffix('*')) {
        (Some(prefix), _) | (None, Some(prefix)) => name(prefix).map(Listed::Pool),
        (None, None) => name(word).map(Listed::Name),
    }
}

/// `account` or `@group`.
pub(super) fn row_caller(word: &str) -> Result<RowCaller, String> {
    match word.strip_prefix('@') {
        Some(group) => name(group).map(RowCaller::Group),
        None => name(word).map(RowCaller::User),
    }
}

/// An issuer, an audience or a scope of tokens. A comma stands between an issuer and a subject.
pub(super) fn of_token(word: &str) -> Result<String, String> {
    let good = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    if good { Ok(word.to_owned()) } else { Err(format!("`{word}` is no word without a comma")) }
}

/// A caller's name, or a subject: of a certificate, which begins with `/`, or of a token, with its
/// issuer and a comma before it.
pub(super) fn banned(word: &str) -> Result<String, String> {
    if (word.starts_with('/') || word.contains(',')) && !word.chars().any(char::is_control) {
        return Ok(word.to_owned());
    }
    name(word)
}

/// An entry of `preserve_env_variables`.
pub(super) fn kept(word: &str) -> Result<Kept, String> {
    let stem = word.strip_suffix('*').unwrap_or(word);
    if stem.is_empty()
        || stem.len() > NAME_MAX
        || !stem.bytes().all(|byte| byte.is_ascii_graphic())
        || stem.contains(['=', '*'])
    {
        return Err(format!("`{word}` is no name of a variable"));
    }
    if stem.len() == word.len() {
        return if names::never_kept(stem.as_bytes()) || stem.starts_with(EPILOGUE_PREFIX) {
            Err(format!(
                "`{word}` is never kept, because programs take code from it or glexec itself sets it"
            ))
        } else {
            Ok(Kept::Name(stem.to_owned()))
        };
    }
    if !stem.ends_with('_') {
        return Err(format!("`{word}`: a prefix ends in `_` before its star"));
    }
    if names::may_cover_never_kept(stem.as_bytes()) {
        return Err(format!(
            "`{word}` covers names that are never kept; name the variables one by one"
        ));
    }
    Ok(Kept::Prefix(stem.to_owned()))
}

/// An entry of `job_variables`: it becomes part of a name and of a state entry.
pub(super) fn job_variable(word: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let begins_well = word.bytes().next().is_some_and(|byte| plain(byte) && !byte.is_ascii_digit());
    if begins_well && word.len() <= JOB_VARIABLE_MAX && word.bytes().all(plain) {
        return Ok(word.to_owned());
    }
    Err(format!("`{word}` is not made of at most 64 letters, digits and `_`, the first no digit"))
}

/// A syslog facility by its name, with or without `LOG_`.
pub(super) fn facility(word: &str) -> Result<u8, String> {
    let upper = word.to_ascii_uppercase();
    let bare = upper.strip_prefix("LOG_").unwrap_or(&upper);
    let number = FACILITIES.iter().position(|name| *name == bare && bare != "-");
    number
        .and_then(|number| u8::try_from(number).ok())
        .ok_or_else(|| format!("`{word}` is no syslog facility; LOG_DAEMON and LOG_LOCAL0 are"))
}

/// A path that says itself where it leads: the trust of its directories is checked name by name.
pub(super) fn canonical(word: &str) -> Result<String, String> {
    let why = match word.strip_prefix('/') {
        None => "it is not absolute",
        Some("") => "it is the root directory",
        Some(_) if word.len() > PATH_MAX => "it is longer than 4095 bytes",
        Some(_) if word.chars().any(char::is_control) => "it holds a control character",
        Some(parts) if parts.split('/').any(str::is_empty) => "it holds `//` or ends in `/`",
        Some(parts) if parts.split('/').any(|part| part == "." || part == "..") => {
            "it holds `.` or `..`"
        }
        Some(_) => return Ok(word.to_owned()),
    };
    Err(format!("`{word}` is no canonical path: {why}"))
}

/// A PATH: an empty or relative directory in it would be looked up where the payload stands.
pub(super) fn search_path(word: &str) -> Result<String, String> {
    if word.split(':').all(|part| part.starts_with('/')) && !word.chars().any(char::is_control) {
        return Ok(word.to_owned());
    }
    Err(format!("`{word}` is no list of absolute directories with `:` between them"))
}

/// A numbered series of accounts: `pool[001-064]`, or a single name.
pub(super) fn series(word: &str) -> Result<Accounts, String> {
    const MOST: usize = 10_000;
    let Some((prefix, rest)) = word.split_once('[') else {
        return name(word).map(|name| Accounts::Listed(vec![name]));
    };
    let wrong = || format!("`{word}` is no series of accounts; \"pool[001-064]\" is");
    let (range, suffix) = rest.split_once(']').ok_or_else(wrong)?;
    let (first, last) = range.split_once('-').ok_or_else(wrong)?;
    let width = first.len();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if width == 0 || width > 9 || width != last.len() || !digits(first) || !digits(last) {
        return Err(wrong());
    }
    let number = |text: &str| text.parse::<usize>().map_err(|_| wrong());
    let (first, last) = (number(first)?, number(last)?);
    if first > last || last - first >= MOST {
        return Err(wrong());
    }
    let (prefix, suffix) = (prefix.to_owned(), suffix.to_owned());
    let accounts = Accounts::Series { prefix, suffix, width, first, last };
    // One is as good a name as another.
    name(&accounts.name(0).unwrap_or_default()).map(|_| accounts)
}

#[cfg(test)]
mod tests {
    use super::{changes, nearest};

    #[test]
    fn a_slip_of_the_keyboard_is_found_and_another_word_is_not() {
        for (from, to, count) in [
            ("kitten", "sitting", 3),
            ("", "abc", 3),
            ("abc", "", 3),
            ("a", "a", 0),
            ("ab", "ba", 2),
        ] {
            assert_eq!(changes(from, to), count, "{from} {to}");
        }
        let known = ["linger", "epilogue", "epilogue_user", "kill_grace"];
        for (word, meant) in [
            ("lingr", Some("linger")),
            ("epilouge", Some("epilogue")),
            ("kill-grace", Some("kill_grace")),
            ("epilogue_usr", Some("epilogue_user")),
            ("umask", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &known), meant, "{word}");
        }
        assert_eq!(nearest(&"epilogue".repeat(100), &known), None);
    }
}
