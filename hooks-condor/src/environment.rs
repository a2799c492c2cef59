//! The environment of a job as it comes over the wrapper's socket: HTCondor's "V2 raw" text,
//! `NAME=VALUE` separated by white space, which single quotes protect; `''` within quotes is one
//! quote. Pure. (Facts 1.3, steps 3 and 6.)

use std::collections::BTreeMap;

/// Names and values, each name once.
pub(crate) type Environment = BTreeMap<Vec<u8>, Vec<u8>>;

/// What isspace(3) says in the C locale.
const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// The words of a V2-raw text.
fn words(text: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut all = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quoted = false;
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'\'' {
            let word = word.get_or_insert_with(Vec::new);
            if quoted && bytes.next_if_eq(&b'\'').is_some() {
                word.push(byte);
            } else {
                quoted = !quoted;
            }
        } else if is_white(byte) && !quoted {
            all.extend(word.take());
        } else {
            word.get_or_insert_with(Vec::new).push(byte);
        }
    }
    if quoted {
        return Err("the environment has a quote without its other one".to_owned());
    }
    all.extend(word);
    Ok(all)
}

/// Reads a V2-raw text; of a name given twice the last value counts.
///
/// # Errors
/// A word without `=` or without a name, a NUL, a quote that is never closed.
pub(crate) fn parse(text: &[u8]) -> Result<Environment, String> {
    let mut environment = Environment::new();
    for word in words(text)? {
        let at = word.iter().position(|byte| *byte == b'=');
        let Some(at) = at.filter(|at| *at > 0) else {
            let shown: String = String::from_utf8_lossy(&word).chars().take(60).collect();
            return Err(format!("the environment has no NAME=VALUE but {shown:?}"));
        };
        if word.contains(&0) {
            return Err("the environment has a NUL in it".to_owned());
        }
        environment.insert(word[..at].to_vec(), word[at + 1..].to_vec());
    }
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let text_of = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        parse(text.as_bytes()).unwrap().into_iter().map(|(k, v)| (text_of(k), text_of(v))).collect()
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn the_manuals_forms_are_read() {
        assert_eq!(read(""), []);
        assert_eq!(read("  \n"), []);
        assert_eq!(read("A=1 B=2"), pairs(&[("A", "1"), ("B", "2")]));
        assert_eq!(read("A='with spaces'\tB="), pairs(&[("A", "with spaces"), ("B", "")]));
        assert_eq!(read("'A=it''s'"), pairs(&[("A", "it's")]));
        assert_eq!(read("A=x'y z'w"), pairs(&[("A", "xy zw")]));
        assert_eq!(read("A=''''"), pairs(&[("A", "'")]));
        assert_eq!(read("A=''"), pairs(&[("A", "")]));
        assert_eq!(read("A=b=c"), pairs(&[("A", "b=c")]));
        assert_eq!(read("A=\"\\ B=$HOME"), pairs(&[("A", "\"\\"), ("B", "$HOME")]));
        assert_eq!(read("A=1 A=2"), pairs(&[("A", "2")]));
    }

    #[test]
    fn what_is_no_environment_is_refused() {
        for bad in ["A", "=x", "''", "A='x", "A=1 'B", "A=x\0y"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    fn quoted(bytes: &[u8]) -> Vec<u8> {
        let doubled =
            bytes.iter().flat_map(|b| std::iter::repeat_n(*b, 1 + usize::from(*b == b'\'')));
        std::iter::once(b'\'').chain(doubled).chain([b'\'']).collect()
    }

    proptest! {
        #[test]
        fn whatever_is_quoted_arrives(
            all in proptest::collection::btree_map(
                proptest::collection::vec(1u8..=255, 1..9), proptest::collection::vec(1u8..=255, 0..20), 0..6)
        ) {
            let all: Environment = all.into_iter().filter(|(name, _)| !name.contains(&b'=')).collect();
            let entry = |(name, value): (&Vec<u8>, &Vec<u8>)| {
                quoted(&[name.as_slice(), b"=", value.as_slice()].concat())
            };
            let text = all.iter().map(entry).collect::<Vec<_>>().join(&b'\n');
            prop_assert_eq!(parse(&text).unwrap(), all);
        }

        #[test]
        fn no_bytes_make_it_fail_but_by_saying_so(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(all) = parse(&text) {
                prop_assert!(all.keys().all(|name| !name.is_empty() && !name.contains(&b'=')));
                prop_assert!(all.iter().all(|(k, v)| !k.contains(&0) && !v.contains(&0)));
            }
        }
    }
}
