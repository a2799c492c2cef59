//! Bytes that somebody else wrote, made fit for a line that we write.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// A log line is cut here, with its full length told.
pub const LONGEST_LINE: usize = 8 * 1024;

/// Escapes everything that could end, hide or forge a line: control bytes, `"`, `\`, and
/// whatever is not UTF-8. Printable text stays as it is.
pub fn escaped(bytes: &[u8]) -> String {
    // Most of what is told is this.
    if let Ok(text) = std::str::from_utf8(bytes) {
        let stays = |byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        if text.bytes().all(stays) {
            return text.to_owned();
        }
    }
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                '\n' => out.push_str("\\n"),
                c if is_plain(c) => out.push(c),
                c => {
                    let mut buffer = [0; 4];
                    push_hex(&mut out, c.encode_utf8(&mut buffer).as_bytes());
                }
            }
        }
        push_hex(&mut out, chunk.invalid());
    }
    out
}

/// The last guard before a line goes out: whatever was put together, it stays one line.
pub fn one_line(text: &str) -> String {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || text.chars().all(is_plain) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let mut buffer = [0; 4];
        match c {
            c if is_plain(c) => out.push(c),
            c => push_hex(&mut out, c.encode_utf8(&mut buffer).as_bytes()),
        }
    }
    out
}

/// C0, DEL, C1, and the characters that break a line, reorder it, or are not to be seen in it are not
/// plain: the Unicode Character Database's line and paragraph separators and format characters
/// (general categories Zl, Zp, Cf), and what shows as nothing although it counts as a letter.
fn is_plain(c: char) -> bool {
    const HIDDEN: [RangeInclusive<char>; 23] = [
        '\u{ad}'..='\u{ad}',
        '\u{34f}'..='\u{34f}',
        '\u{600}'..='\u{605}',
        '\u{61c}'..='\u{61c}',
        '\u{6dd}'..='\u{6dd}',
        '\u{70f}'..='\u{70f}',
        '\u{890}'..='\u{891}',
        '\u{8e2}'..='\u{8e2}',
        '\u{115f}'..='\u{1160}',
        '\u{180b}'..='\u{180f}',
        '\u{200b}'..='\u{200f}',
        '\u{2028}'..='\u{202e}',
        '\u{2060}'..='\u{206f}',
        '\u{3164}'..='\u{3164}',
        '\u{fe00}'..='\u{fe0f}',
        '\u{feff}'..='\u{feff}',
        '\u{ffa0}'..='\u{ffa0}',
        '\u{fff0}'..='\u{fffb}',
        '\u{110bd}'..='\u{110cd}',
        '\u{13430}'..='\u{13455}',
        '\u{1bca0}'..='\u{1bca3}',
        '\u{1d173}'..='\u{1d17a}',
        '\u{e0000}'..='\u{e0fff}',
    ];
    !c.is_control() && !HIDDEN.iter().any(|range| range.contains(&c))
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(out, "\\x{byte:02x}");
    }
}

/// Cuts a line that is too long, and says how long it was.
pub fn cut(mut line: String, longest: usize) -> String {
    if line.len() <= longest {
        return line;
    }
    let full = line.len();
    let mark = format!("... ({full} bytes)");
    let mut end = longest.saturating_sub(mark.len());
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line + &mark
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_that_forges_a_line_gets_through() {
        assert_eq!(escaped(b"0\nforged: ok \x1b[31m"), "0\\nforged: ok \\x1b[31m");
        assert_eq!(escaped(b"a\"b\\c"), "a\\\"b\\\\c");
        assert_eq!(escaped(b"\xff\xc3\xa9"), "\\xff\u{e9}");
        assert_eq!(escaped("\u{202e}".as_bytes()), "\\xe2\\x80\\xae");
        for hidden in ['\u{61c}', '\u{200b}', '\u{2060}', '\u{3164}', '\u{e0001}', '\u{e0041}'] {
            let shown = escaped(hidden.to_string().as_bytes());
            assert!(shown.starts_with("\\x"), "{hidden:?}: {shown}");
        }
        let plain = "Universit\u{e9} \u{2713} \u{4e2d}\u{6587} \u{1f680}";
        assert_eq!(escaped(plain.as_bytes()), plain);
    }

    proptest! {
        #[test]
        fn whatever_goes_out_is_one_line(text: String) {
            prop_assert!(one_line(&text).chars().all(|c| !c.is_control()));
            let plain = escaped(text.as_bytes());
            prop_assert_eq!(one_line(&plain), plain);
        }

        #[test]
        fn an_escaped_text_is_one_line_of_printable_characters(bytes: Vec<u8>) {
            prop_assert!(!escaped(&bytes).contains(char::is_control));
        }

        #[test]
        fn a_cut_line_is_short_enough(line in ".{0,300}", longest in 40..200usize) {
            prop_assert!(cut(line, longest).len() <= longest);
        }
    }
}
