//! An environment as one variable, in the format of gLExec's scripts of 2009: Base64 of what zlib makes
//! of the variables, each `NAME=VALUE` in Base64 of its own, with blanks between them.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// The variable that carries the others; glexec keeps it by the begin of its name.
pub(crate) const VARIABLE: &str = "GLEXEC_ENV";
/// These are the target's, not the caller's, on both sides; `_` is the shell's own.
const TARGETS: [&str; 5] = ["HOME", "LOGNAME", "USER", "X509_USER_PROXY", "_"];

/// zlib's own middle way.
const LEVEL: u8 = 6;
/// Longest string that the kernel takes in an environment, with its name and its NUL
/// (MAX_ARG_STRLEN of linux/binfmts.h).
const LONGEST: usize = 131_072;
/// More than an environment can hold, twice encoded: what unwraps to more was not wrapped from one.
const MOST: usize = 16 << 20;

/// Padding or none: both were written by re-implementations.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The names that are left out, each as a whole. (The original took each variable's name for a pattern,
/// so that `ME` was left out for `HOME`.)
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Excluded(Vec<Vec<u8>>);

impl Excluded {
    fn has(&self, name: &[u8]) -> bool {
        TARGETS.iter().any(|own| own.as_bytes() == name) || self.0.iter().any(|own| own == name)
    }
}

/// Reads `--exclude=A,B`, `--exclude A`, as often as they come, and `--`; gives the words after them.
pub(crate) fn read(words: Vec<OsString>) -> Result<(Excluded, Vec<OsString>), String> {
    const OPTION: &[u8] = b"--exclude";
    let mut excluded = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next_if(|word| word.as_bytes().starts_with(b"-")) {
        if word == "--" {
            break;
        }
        // The original also took one dash.
        let long = if word.as_bytes().starts_with(b"--") {
            word.as_bytes().to_vec()
        } else {
            [b"-", word.as_bytes()].concat()
        };
        let names = match long.strip_prefix(OPTION) {
            Some([]) => words.next().map(OsString::into_vec),
            Some([b'=', names @ ..]) => Some(names.to_vec()),
            Some(_) | None => return Err(format!("there is no option {word:?}; see --help")),
        };
        let names = names.ok_or_else(|| format!("{word:?} lacks its names; write {word:?}=A,B"))?;
        excluded.extend(names.split(|byte| *byte == b',').map(<[u8]>::to_vec));
    }
    Ok((Excluded(excluded), words.collect()))
}

/// The variables as one word, and the names of those that were left out. A variable that carries others
/// is none of them: it would grow with every glexec that is called within a glexec.
pub(crate) fn wrapped(
    variables: impl Iterator<Item = (OsString, OsString)>,
    excluded: &Excluded,
) -> Result<(String, Vec<OsString>), String> {
    let (mut list, mut skipped) = (String::new(), Vec::new());
    for (name, value) in variables {
        if name == VARIABLE || excluded.has(name.as_bytes()) {
            skipped.push(name);
            continue;
        }
        let pair = [name.as_bytes(), b"=", value.as_bytes()].concat();
        list += &BASE64.encode(pair);
        list.push(' ');
    }
    let text = BASE64.encode(compress_to_vec_zlib(list.as_bytes(), LEVEL));
    let length = VARIABLE.len() + "=".len() + text.len() + 1;
    if length > LONGEST {
        return Err(format!(
            "{VARIABLE} would have {length} bytes, and the kernel takes {LONGEST}; leave large variables \
             out by --exclude=NAME"
        ));
    }
    Ok((text, skipped))
}

/// The variables in such a word, but for those that are left out.
pub(crate) fn unwrapped(
    text: &[u8],
    excluded: &Excluded,
) -> Result<Vec<(OsString, OsString)>, String> {
    if text.is_empty() {
        return Err(format!("{VARIABLE} is not set: there is no environment to pass on"));
    }
    let wrong = |what: &str| format!("{VARIABLE} {what}; wrap the environment with glexec-wrapenv");
    let packed = decoded(text).ok_or_else(|| wrong("is not in Base64"))?;
    let list = decompress_to_vec_zlib_with_limit(&packed, MOST)
        .map_err(|_| wrong("does not hold what zlib has made, or is cut"))?;
    let mut variables = Vec::new();
    for item in list.split(|byte| *byte == b' ').filter(|item| !item.is_empty()) {
        let pair = decoded(item).ok_or_else(|| wrong("has a variable that is not in Base64"))?;
        let at = pair.iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
        let at = at.ok_or_else(|| wrong("has a variable without a name"))?;
        let (name, value) = pair.split_at(at);
        let value = value.get(1..).unwrap_or_default();
        if pair.contains(&0) {
            return Err(wrong("has a variable with a NUL in it"));
        }
        if name != VARIABLE.as_bytes() && !excluded.has(name) {
            variables.push((OsStr::from_bytes(name).into(), OsStr::from_bytes(value).into()));
        }
    }
    Ok(variables)
}

/// Base64 with whatever blanks and ends of lines are in it.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let bare: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    BASE64.decode(bare).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    /// Made by perl 5.36 with Compress::Zlib and MIME::Base64, in the format of `glexec_wrapenv.pl`, of
    /// A=1, ME=two words, SER=, LINES=one\ntwo, BYTES=\xff\xfe=x.
    const OF_PERL: &str = "eJwLDDGoUAgJDbVM8Ugp8wTi5NygKoVQg7DggEBbW4UQ1xz/oDBfyyQj0xznvCDjpHKgYGBOTihIUF/fxDLVESgAAPW0FNI=";

    fn pairs(of: &[(&str, &[u8])]) -> Vec<(OsString, OsString)> {
        of.iter().map(|(name, value)| ((*name).into(), OsStr::from_bytes(value).into())).collect()
    }

    fn without(names: &[&str]) -> Excluded {
        Excluded(names.iter().map(|name| name.as_bytes().to_vec()).collect())
    }

    #[test]
    fn what_perl_wrapped_is_read() {
        let all: [(&str, &[u8]); 5] = [
            ("A", b"1"),
            ("ME", b"two words"),
            ("SER", b""),
            ("LINES", b"one\ntwo"),
            ("BYTES", b"\xff\xfe=x"),
        ];
        assert_eq!(unwrapped(OF_PERL.as_bytes(), &without(&[])).unwrap(), pairs(&all));
        // In lines, as encode_base64 and Python's encodestring write it.
        let lines: Vec<&[u8]> = OF_PERL.as_bytes().chunks(76).collect();
        let lines = [lines.join(&b"\n"[..]), b"\n".to_vec()].concat();
        assert_eq!(
            unwrapped(&lines, &without(&["A", "LINES"])).unwrap(),
            pairs(&[all[1], all[2], all[4]])
        );
    }

    /// What coreutils and gzip make of a word: zlib's stream is gzip's, but for its first two bytes and
    /// its last.
    fn decoded_by_others(text: &str) -> Vec<String> {
        let script = "printf '\\037\\213\\010\\0\\0\\0\\0\\0\\0\\003'; base64 -d | tail -c +3";
        let script = format!(
            "{{ {script}; }} | gzip -dc 2>/dev/null | tr ' ' '\\n' |
            while read -r one; do printf '%s' \"$one\" | base64 -d; echo; done"
        );
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let told = child.wait_with_output().unwrap();
        String::from_utf8(told.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_wrapped_others_can_read() {
        let variables = pairs(&[("PATH", b"/bin"), ("HOME", b"/h"), ("X", b"a = b"), ("_", b"y")]);
        let (text, skipped) = wrapped(variables.into_iter(), &without(&[])).unwrap();
        assert_eq!(decoded_by_others(&text), ["PATH=/bin", "X=a = b"]);
        assert_eq!(skipped, ["HOME", "_"]);
    }

    #[test]
    fn a_name_is_left_out_as_a_whole_and_not_as_a_pattern() {
        let all = pairs(&[("ME", b"1"), ("SER", b"2"), (".*", b"3"), ("ACC", b"4"), ("AC", b"5")]);
        let (text, skipped) = wrapped(all.clone().into_iter(), &without(&["ACC"])).unwrap();
        assert_eq!(skipped, ["ACC"]);
        let names = |got: Vec<(OsString, OsString)>| -> Vec<OsString> {
            got.into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(
            names(unwrapped(text.as_bytes(), &without(&[])).unwrap()),
            ["ME", "SER", ".*", "AC"]
        );
        assert_eq!(
            names(unwrapped(text.as_bytes(), &without(&["AC"])).unwrap()),
            ["ME", "SER", ".*"]
        );
    }

    #[test]
    fn options_end_where_the_command_begins() {
        let words = |words: &[&str]| read(words.iter().map(OsString::from).collect());
        let (excluded, rest) = words(&[
            "--exclude=A,B",
            "--exclude",
            "C",
            "-exclude=D",
            "/bin/ls",
            "--exclude=E",
            "-l",
        ])
        .unwrap();
        assert_eq!(excluded, without(&["A", "B", "C", "D"]));
        assert_eq!(rest, ["/bin/ls", "--exclude=E", "-l"]);
        assert_eq!(words(&["--", "--exclude=A"]).unwrap().1, ["--exclude=A"]);
        assert!(words(&["--exclud=A"]).is_err() && words(&["--exclude"]).is_err());
        assert!(words(&["--excluded=A"]).is_err());
    }

    #[test]
    fn what_is_no_environment_is_refused_with_a_sentence() {
        let (text, _) = wrapped(pairs(&[("A", b"1")]).into_iter(), &without(&[])).unwrap();
        let of = |list: &[u8]| BASE64.encode(compress_to_vec_zlib(list, LEVEL));
        let noise: Vec<u8> =
            (0..200_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let large: Vec<u8> = noise.iter().map(|byte| byte % 250 + 1).collect();
        assert!(wrapped(pairs(&[("A", &large)]).into_iter(), &without(&[])).is_err());
        for wrong in [
            String::new(),
            "%".to_owned(),
            "AAAA".to_owned(),
            text.get(..text.len() - 8).unwrap().to_owned(),
            of(b"%%"),
            of(BASE64.encode("no name").as_bytes()),
            of(BASE64.encode("=x").as_bytes()),
            of(BASE64.encode("A=\0").as_bytes()),
            of(&vec![b' '; MOST + 1]),
        ] {
            assert!(unwrapped(wrong.as_bytes(), &without(&[])).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_wrapped_is_unwrapped(
            all in prop::collection::btree_map("[A-Z][A-Z0-9]{0,6}", prop::collection::vec(1..=255u8, 0..40), 0..9)
        ) {
            let all: Vec<_> =
                all.into_iter().map(|(name, value)| (name.into(), OsString::from_vec(value))).collect();
            let kept: Vec<_> =
                all.iter().filter(|(name, _)| !TARGETS.iter().any(|own| name == *own)).cloned().collect();
            let (text, _) = wrapped(all.into_iter(), &without(&[])).unwrap();
            prop_assert_eq!(unwrapped(text.as_bytes(), &without(&[])).unwrap(), kept);
        }
    }
}
