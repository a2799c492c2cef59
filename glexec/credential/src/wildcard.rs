//! Wildcards of map files as LCMAPS has them: fnmatch(3) with `FNM_NOESCAPE` in the C locale. `*`
//! matches `/`, too, a leading dot is like any other byte, and a backslash stands for itself.

/// Whether a name with wildcards stands for this text.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut in_text) = (0, 0);
    // Where the last star stands, and how much of the text it has taken. Only the last one ever has
    // to take more, so the time is bounded by the product of both lengths.
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = text.get(in_text) {
        match one(pattern.get(at..).unwrap_or_default(), byte) {
            Step::Star => {
                star = Some((at, in_text));
                at += 1;
            }
            Step::Matches(length) => {
                at += length;
                in_text += 1;
            }
            Step::Differs => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                in_text = taken + 1;
            }
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

enum Step {
    Star,
    /// By so many bytes of the pattern.
    Matches(usize),
    Differs,
}

fn one(pattern: &[u8], byte: u8) -> Step {
    match pattern.first() {
        None => Step::Differs,
        Some(b'*') => Step::Star,
        Some(b'?') => Step::Matches(1),
        Some(b'[') => match set(pattern, byte) {
            Set::Holds(length) => Step::Matches(length),
            Set::Lacks => Step::Differs,
            // Without its end a bracket is a byte like others.
            Set::NoEnd if byte == b'[' => Step::Matches(1),
            Set::NoEnd => Step::Differs,
        },
        Some(own) if *own == byte => Step::Matches(1),
        Some(_) => Step::Differs,
    }
}

enum Set {
    /// The set is so long, its brackets included, and the byte is in it.
    Holds(usize),
    Lacks,
    NoEnd,
}

/// A set in brackets, which `pattern` begins with.
fn set(pattern: &[u8], byte: u8) -> Set {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if negated { 2 } else { 1 };
    let (mut at, mut found) = (first, false);
    loop {
        let Some((&low, rest)) = pattern.get(at..).and_then(<[u8]>::split_first) else {
            return Set::NoEnd;
        };
        if low == b']' && at > first {
            break;
        }
        if low == b'[' && rest.first() == Some(&b':') {
            if let Some((holds, length)) = class(pattern.get(at..).unwrap_or_default(), byte) {
                found |= holds;
                at += length;
                continue;
            }
        }
        match (rest.first(), rest.get(1)) {
            (Some(b'-'), Some(&high)) if high != b']' => {
                found |= (low..=high).contains(&byte);
                at += 3;
            }
            _ => {
                found |= low == byte;
                at += 1;
            }
        }
    }
    if found == negated { Set::Lacks } else { Set::Holds(at + 1) }
}

/// A class such as `[:alpha:]`, which `pattern` begins with: whether the byte is in it, and its
/// length.
fn class(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    let name = pattern.get(2..)?;
    let end = name.windows(2).position(|two| two == b":]")?;
    let holds = match name.get(..end)? {
        b"alpha" => byte.is_ascii_alphabetic(),
        b"digit" => byte.is_ascii_digit(),
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"upper" => byte.is_ascii_uppercase(),
        b"lower" => byte.is_ascii_lowercase(),
        b"space" => byte.is_ascii_whitespace() || byte == 0x0b,
        b"blank" => matches!(byte, b' ' | b'\t'),
        b"punct" => byte.is_ascii_punctuation(),
        b"print" => byte.is_ascii_graphic() || byte == b' ',
        b"graph" => byte.is_ascii_graphic(),
        b"cntrl" => byte.is_ascii_control(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => return None,
    };
    Some((holds, end + 4))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn names_with_wildcards_stand_for_what_fnmatch_says() {
        for (pattern, text, stands) in [
            ("/O=x/*", "/O=x/CN=a/b", true),
            ("*", ".x", true),
            ("*", "", true),
            ("?", "", false),
            ("a\\*", "a\\b", true),
            ("CN=[A-C]*", "CN=Bob", true),
            ("CN=[!B]*", "CN=Bob", false),
            ("CN=[^B]*", "CN=Alice", true),
            ("Br [ab] L", "Br [ab] L", false),
            ("[]a]", "]", true),
            ("[a", "[a", true),
            ("[[:digit:]x]", "7", true),
            ("[[:digit:]x]", "y", false),
            ("a*b*c", "a.b.b.c", true),
            ("a*b*c", "a.b.b.d", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), stands, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_time_without_end() {
        let (pattern, text) = ("*a".repeat(2000), "a".repeat(1999));
        assert!(!matches(pattern.as_bytes(), text.as_bytes()));
    }
}
