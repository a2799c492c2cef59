//! Map files of `HTCondor` (`CERTIFICATE_MAPFILE`), the lines of the method `SCITOKENS`: whom issuer and
//! subject of a token are mapped to. In the grammar that HTCondor-CE sets
//! (`CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS`, since 10.0.3): method, principal and account, with blanks
//! between them, and the principal a regular expression where it stands between slashes.

use crate::map_file::{Unusable, account};
use regex::bytes::{Captures, Regex, RegexBuilder};

/// The method whose lines count.
const METHOD: &[u8] = b"SCITOKENS";
/// The most that a compiled expression may take, in bytes.
const MOST: usize = 1 << 20;
/// What asks a plug-in of `HTCondor`'s for the account.
const PLUG_IN: &[u8] = b"PLUGIN:";

/// A line that counts.
#[derive(Debug)]
pub(crate) struct Entry {
    principal: Principal,
    /// The account, in which `\1` stands for what a group of the expression has found.
    account: Vec<u8>,
}

#[derive(Debug)]
enum Principal {
    Is(Vec<u8>),
    Matches(Regex),
}

/// A field of a line.
struct Field {
    text: Vec<u8>,
    /// Where it stood between slashes: the letters behind it.
    flags: Option<Vec<u8>>,
}

/// The account of the first line that stands for this principal, and the line's number, from 1.
///
/// # Errors
/// [`Unusable`] where that line names no account, or a line above it cannot be understood: it may
/// have been meant to be the first.
pub fn look_up(file: &[u8], principal: &str) -> Result<Option<(usize, String)>, Unusable> {
    for (line, entry) in entries(file) {
        let found = entry.and_then(|entry| entry.account_of(principal.as_bytes()));
        match found {
            Ok(None) => {}
            Ok(Some(account)) => return Ok(Some((line, account))),
            Err(why) => return Err(Unusable { line, why }),
        }
    }
    Ok(None)
}

/// The lines that count, each with its number, or why it cannot be understood.
pub(crate) fn entries(
    file: &[u8],
) -> impl Iterator<Item = (usize, Result<Entry, &'static str>)> + '_ {
    let lines = file.split(|byte| *byte == b'\n').enumerate();
    lines.filter_map(|(at, line)| Some((at + 1, entry(line).transpose()?)))
}

/// What a line says; `None` for one of another method, or of none.
fn entry(line: &[u8]) -> Result<Option<Entry>, &'static str> {
    let (method, rest) = plain(line);
    if method == b"@include" {
        return Err("includes another file, which is not obeyed here; write its lines here");
    }
    if !method.eq_ignore_ascii_case(METHOD) {
        return Ok(None);
    }
    if line.contains(&0) {
        return Err("has a NUL in it");
    }
    let (principal, rest) = field(rest)?;
    let (account, _) = plain(rest);
    if principal.text.is_empty() || account.is_empty() {
        return Err("has no account behind issuer and subject");
    }
    let principal = match principal.flags {
        None => Principal::Is(principal.text),
        Some(flags) => Principal::Matches(expression(&principal.text, &flags)?),
    };
    Ok(Some(Entry { principal, account: account.to_vec() }))
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

fn without_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| is_blank(**byte)).count();
    text.get(blanks..).unwrap_or_default()
}

/// A field that ends at the next blank, and what is behind it.
fn plain(text: &[u8]) -> (&[u8], &[u8]) {
    let text = without_blanks(text);
    let end = text.iter().position(|byte| is_blank(*byte)).unwrap_or(text.len());
    text.split_at(end)
}

/// A field that may stand in quotes or between slashes, and what is behind it.
fn field(text: &[u8]) -> Result<(Field, &[u8]), &'static str> {
    let text = without_blanks(text);
    let Some(mark @ (b'"' | b'/')) = text.first().copied() else {
        let (field, rest) = plain(text);
        return Ok((Field { text: field.to_vec(), flags: None }, rest));
    };
    let (mut found, mut at) = (Vec::new(), 1);
    loop {
        match (text.get(at).copied(), text.get(at + 1).copied()) {
            (None, _) => return Err("has a quote or a slash that is not closed"),
            (Some(byte), _) if byte == mark => break,
            (Some(b'\\'), Some(next)) => {
                if next != mark && next != b'\\' {
                    found.push(b'\\');
                }
                found.push(next);
                at += 2;
            }
            (Some(byte), _) => {
                found.push(byte);
                at += 1;
            }
        }
    }
    let rest = text.get(at + 1..).unwrap_or_default();
    let end = rest.iter().position(|byte| is_blank(*byte)).unwrap_or(rest.len());
    let (flags, rest) = rest.split_at(end);
    if mark == b'"' && !flags.is_empty() {
        return Err("has no blank behind a quote");
    }
    Ok((Field { text: found, flags: (mark == b'/').then(|| flags.to_vec()) }, rest))
}

/// An expression as PCRE has it, but for what needs more than linear time.
fn expression(text: &[u8], flags: &[u8]) -> Result<Regex, &'static str> {
    if !flags.iter().all(|flag| b"iU".contains(flag)) {
        return Err("has letters behind its expression that are neither `i` nor `U`");
    }
    let text = std::str::from_utf8(text).map_err(|_| "has an expression that is no UTF-8")?;
    let built = RegexBuilder::new(text)
        .unicode(false)
        .case_insensitive(flags.contains(&b'i'))
        .swap_greed(flags.contains(&b'U'))
        .size_limit(MOST)
        .build();
    built.map_err(|_| "has an expression that cannot be used: it is none, or looks around or back, or is too large")
}

impl Entry {
    /// The account, where the line stands for this principal.
    fn account_of(&self, principal: &[u8]) -> Result<Option<String>, &'static str> {
        let named = match &self.principal {
            Principal::Is(name) if name == principal => self.account.clone(),
            Principal::Is(_) => return Ok(None),
            Principal::Matches(expression) => match expression.captures(principal) {
                Some(groups) => substituted(&self.account, &groups),
                None => return Ok(None),
            },
        };
        if named.starts_with(PLUG_IN) {
            return Err("asks a plug-in of HTCondor's, which is not asked here");
        }
        // `HTCondor` has a domain behind the account.
        let name = named.split(|byte| *byte == b'@').next().unwrap_or_default();
        account(name).map(Some)
    }

    /// The account, where it is the same for everybody the line stands for.
    pub(crate) fn fixed_account(&self) -> Option<Result<String, &'static str>> {
        let is_fixed = matches!(self.principal, Principal::Is(_)) || !self.account.contains(&b'\\');
        let name = self.account.split(|byte| *byte == b'@').next().unwrap_or_default();
        (is_fixed && !self.account.starts_with(PLUG_IN)).then(|| account(name))
    }

    /// What of the line its writer may not have meant.
    pub(crate) fn doubt(&self) -> Option<&'static str> {
        if self.account.starts_with(PLUG_IN) {
            return Some("it asks a plug-in of HTCondor's: a run that comes to it ends with 202");
        }
        let Principal::Matches(expression) = &self.principal else { return None };
        let text = expression.as_str();
        let is_bound = text.starts_with('^') && text.ends_with('$') && !has_alternatives(text);
        (!is_bound).then_some("its expression is not bound by `^` and `$`, and stands for every issuer and subject that it is a part of")
    }
}

/// Whether an expression has a `|` outside of its groups.
fn has_alternatives(expression: &str) -> bool {
    let (mut depth, mut bytes) = (0_usize, expression.bytes());
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'|' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

/// The account with what the groups have found.
fn substituted(account: &[u8], groups: &Captures<'_>) -> Vec<u8> {
    let (mut text, mut bytes) = (Vec::new(), account.iter().copied().peekable());
    while let Some(byte) = bytes.next() {
        let number = bytes.peek().filter(|next| byte == b'\\' && next.is_ascii_digit());
        let group = number.map(|digit| usize::from(digit - b'0'));
        match group.filter(|group| *group < groups.len()) {
            Some(group) => {
                bytes.next();
                text.extend(groups.get(group).map(|found| found.as_bytes()).unwrap_or_default());
            }
            None => text.push(byte),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: [&str; 12] = [
        r"",
        r"# HTCondor's own",
        r"SSL /.*/ ssl",
        r#"GSI "/DC=org/CN=x" gsi"#,
        r"SCITOKENS https://i.example,bob@x bob",
        r#"SCITOKENS "https://i.example,with blank \"q\"" blank"#,
        r"scitokens /^https:\/\/cms\.example\/,(pilot|prod)$/ cms\1@users.example",
        r"SCITOKENS /^https:\/\/i\.example,ADMIN$/i admin trailing words",
        r"SCITOKENS /^https:\/\/f\.example,/U loose",
        r"SCITOKENS /^https:\/\/p\.example,.*$/ PLUGIN:*",
        r"SCITOKENS /^https:\/\/any\.example,(.*)$/ \1",
        r"SCITOKENS /^https:\/\/after\.example,.*$/ after",
    ];

    fn found(principal: &str) -> Result<Option<(usize, String)>, usize> {
        look_up(FILE.join("\n").as_bytes(), principal).map_err(|unusable| unusable.line)
    }

    #[test]
    fn the_first_line_that_stands_for_issuer_and_subject_counts() {
        for (principal, expected) in [
            ("https://i.example,bob@x", Ok(Some((5, "bob")))),
            ("https://i.example,with blank \"q\"", Ok(Some((6, "blank")))),
            ("https://cms.example/,pilot", Ok(Some((7, "cmspilot")))),
            ("https://cms.example/,prod", Ok(Some((7, "cmsprod")))),
            ("https://cmsXexample/,prod", Ok(None)),
            ("https://cms.example/,prod2", Ok(None)),
            ("https://i.example,admin", Ok(Some((8, "admin")))),
            ("https://i.example,admins", Ok(None)),
            ("https://f.example,anybody", Ok(Some((9, "loose")))),
            ("https://p.example,x", Err(10)),
            ("https://any.example,alice", Ok(Some((11, "alice")))),
            ("https://any.example,a/b", Err(11)),
            ("https://any.example,", Err(11)),
            ("https://after.example,x", Ok(Some((12, "after")))),
            ("https://i.example,bob", Ok(None)),
            ("ssl", Ok(None)),
        ] {
            let expected =
                expected.map(|e: Option<(usize, &str)>| e.map(|(n, a)| (n, a.to_owned())));
            assert_eq!(found(principal), expected, "{principal}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_understood_ends_the_search() {
        for bad in [
            "SCITOKENS /^https:(/ a",
            "SCITOKENS /(?=x)/ a",
            "SCITOKENS /(a)\\1/ a",
            "SCITOKENS /x a",
            "SCITOKENS \"x a",
            "SCITOKENS \"x\"y a",
            "SCITOKENS /x/x a",
            "SCITOKENS x",
            "SCITOKENS",
            "SCITOKENS \"\" a",
            "SCITOKENS x\0 a",
            "SCITOKENS /(a{1000}){1000}/ a",
            "@include /etc/x",
        ] {
            let file = format!("SCITOKENS first a\n{bad}\nSCITOKENS p b\n");
            let found = |principal| look_up(file.as_bytes(), principal);
            assert_eq!(found("first"), Ok(Some((1, "a".to_owned()))), "{bad}");
            assert_eq!(found("p").map_err(|unusable| unusable.line), Err(2), "{bad}");
        }
        assert_eq!(look_up(b"", "p"), Ok(None));
        assert_eq!(look_up(b"SCITOKENS p a:b", "p").map_err(|bad| bad.line), Err(1));
    }

    #[test]
    fn what_a_writer_may_not_have_meant_is_told() {
        let doubt = |line: &str| entry(line.as_bytes()).unwrap().unwrap().doubt().is_some();
        for line in ["x a", "/^x$/ a", "/^(x|y)\\|$/ a"] {
            assert!(!doubt(&format!("SCITOKENS {line}")), "{line}");
        }
        for line in ["/x$/ a", "/^x/ a", "/^x$|y$/ a", "x PLUGIN:*"] {
            assert!(doubt(&format!("SCITOKENS {line}")), "{line}");
        }
        let fixed = |line: &str| entry(line.as_bytes()).unwrap().unwrap().fixed_account();
        assert_eq!(fixed("SCITOKENS /^x$/ a@b"), Some(Ok("a".to_owned())));
        assert_eq!(fixed("SCITOKENS /^(x)$/ \\1"), None);
        assert!(fixed("SCITOKENS x a:b").unwrap().is_err());
    }

    proptest! {
        #[test]
        fn no_file_makes_an_account_that_is_none(file in "(SCITOKENS [ -~]{0,12}\n?){0,4}", principal in "[ -~]{0,8}") {
            if let Ok(Some((_, name))) = look_up(file.as_bytes(), &principal) {
                prop_assert!(account(name.as_bytes()).is_ok());
            }
        }

        #[test]
        fn a_literal_stands_for_itself_alone(name in "[a-z,:.*]{1,8}", other in "[a-z,:.*]{1,8}") {
            let file = format!("SCITOKENS \"{name}\" a\n");
            let found = look_up(file.as_bytes(), &other).unwrap();
            prop_assert_eq!(found.is_some(), name == other);
        }
    }
}
