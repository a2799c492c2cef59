//! The text of a certificate's name, as `X509_NAME_oneline()` of OpenSSL 3 writes it: what stands in
//! grid-mapfiles, and in what LCMAPS logs.

use crate::der::{NotDer, OBJECT, Reader, SEQUENCE, SET, dotted};
use openssl::asn1::Asn1Object;
use openssl::nid::Nid;

/// Longer names are nobody's.
const LONGEST: usize = 8192;

/// Why a name has no text that could stand in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoText {
    /// It is not DER.
    Malformed,
    /// It has no part.
    Empty,
    /// Its text would be longer than 8192 bytes.
    TooLong,
    /// A backslash in it stands where the text of another name would have one.
    Ambiguous,
}

/// The text of a name, given as the content of its SEQUENCE.
///
/// # Errors
/// [`NoText`].
pub fn text(name: &[u8]) -> Result<String, NoText> {
    let text = parts(name).map_err(|NotDer| NoText::Malformed)?;
    let text = text.ok_or(NoText::Ambiguous)?;
    match text.len() {
        0 => Err(NoText::Empty),
        length if length > LONGEST => Err(NoText::TooLong),
        _ => Ok(text),
    }
}

/// `None` where the text could be that of another name.
fn parts(name: &[u8]) -> Result<Option<String>, NotDer> {
    let (mut text, mut row, mut clear) = (String::new(), Reader(name), true);
    while !row.is_at_end() {
        let mut set = Reader(row.tagged(SET)?);
        let mut before = '/';
        while !set.is_at_end() {
            let mut pair = Reader(set.tagged(SEQUENCE)?);
            let kind = kind(pair.tagged(OBJECT)?)?;
            let value = pair.any()?.content;
            text += &format!("{before}{kind}=");
            clear &= !is_ambiguous(value);
            push(&mut text, value);
            before = '+';
        }
    }
    Ok(clear.then_some(text))
}

/// OpenSSL's short name of a type, or its number where it has none.
fn kind(object: &[u8]) -> Result<String, NotDer> {
    let number = dotted(object)?;
    let nid = Asn1Object::from_str(&number).map(|object| object.nid());
    let name = nid.ok().filter(|nid| *nid != Nid::UNDEF).and_then(|nid| nid.short_name().ok());
    Ok(name.map_or(number, str::to_owned))
}

/// Bytes as they are, whatever kind of string they are of; `/` and `+` with a backslash before
/// them, and what is not printable ASCII in hexadecimal. A backslash stays as it is.
fn push(text: &mut String, value: &[u8]) {
    for byte in value {
        match byte {
            b'/' | b'+' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            byte => *text += &format!("\\x{byte:02X}"),
        }
    }
}

/// Whether a backslash in a value looks like one that was written before another byte.
fn is_ambiguous(value: &[u8]) -> bool {
    value.ends_with(b"\\") || value.windows(2).any(|two| matches!(two, b"\\x" | b"\\/" | b"\\+"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_another_name_would_be_written_like_has_no_text() {
        let name = |value: &[u8]| {
            let length = |more| u8::try_from(value.len() + more).unwrap();
            let common_name =
                [&[SEQUENCE, length(7), OBJECT, 3, 0x55, 4, 3, 12, length(0)], value].concat();
            text(&[&[SET, length(9)][..], &common_name].concat())
        };
        assert_eq!(name(b"a\\b").unwrap(), "/CN=a\\b");
        assert_eq!(name(b"a/b").unwrap(), "/CN=a\\/b");
        assert_eq!(name(b"\xc3\n").unwrap(), "/CN=\\xC3\\x0A");
        for value in [&b"a\\"[..], b"a\\x0A", b"a\\/CN=b", b"a\\+"] {
            assert_eq!(name(value), Err(NoText::Ambiguous), "{value:?}");
        }
        assert_eq!(text(&[]), Err(NoText::Empty));
        assert_eq!(text(&[SET, 9]), Err(NoText::Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_stop_the_reading(bytes: Vec<u8>) {
            let _ = text(&bytes);
        }
    }
}
