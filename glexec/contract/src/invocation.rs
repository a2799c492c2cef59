//! glexec's command line, in one place: parsed here, and built here for those who call it.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;

/// What a command line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Run the command.
    #[default]
    Run,
    /// `--check`: everything up to the plan, and what would be logged and written down is tried;
    /// nothing is started.
    Rehearse,
    /// `--settle`: pay what is owed of the caller's own finished runs.
    Settle,
    /// `-h`.
    Help,
    /// `-v`.
    Version,
    /// `-V`: the built-in paths, for root.
    Paths,
}

/// The ids of the original's deprecated verify mode, `glexec UID GID COMMAND`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedIds {
    /// The uid the mapping must give.
    pub uid: u32,
    /// The gid the mapping must give.
    pub gid: u32,
}

/// One call of glexec. What this builds, this parses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Invocation {
    /// What is asked for.
    pub mode: Mode,
    /// Descriptor for the status stream, above 2.
    pub status_fd: Option<RawFd>,
    /// Descriptor that steers the run, above 2.
    pub control_fd: Option<RawFd>,
    /// Descriptors handed on to the payload, above 2.
    pub keep_fds: Vec<RawFd>,
    /// Ids to compare the mapping with.
    pub verify: Option<VerifiedIds>,
    /// COMMAND and its arguments, byte for byte; `KEY=VALUE` words for [`Mode::Settle`].
    pub words: Vec<OsString>,
}

/// Why a command line was not understood; one sentence, escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage(pub String);

/// One option: the way it is written, the name of its value, what the help says, and what it is.
type Described = (&'static str, &'static str, &'static str, Meaning);

/// What an option means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Mode(Mode),
    StatusFd,
    ControlFd,
    KeepFds,
}

/// Every option there is. Those with a second way have it before a comma.
const OPTIONS: [Described; 8] = [
    ("-h, --help", "", "Show this help", Meaning::Mode(Mode::Help)),
    ("-v, --version", "", "Show the version", Meaning::Mode(Mode::Version)),
    ("-V", "", "Show the built-in paths (root only)", Meaning::Mode(Mode::Paths)),
    ("--check", "", "Show what would happen, and do nothing", Meaning::Mode(Mode::Rehearse)),
    (
        "--settle",
        "",
        "Settle what is owed of your own finished runs whose job keys (KEY=VALUE...) match",
        Meaning::Mode(Mode::Settle),
    ),
    ("--status-fd", "N", "Write JSON status lines to the pipe or socket N", Meaning::StatusFd),
    (
        "--control-fd",
        "N",
        "Obey the lines TERM, KILL, STOP, CONT ... from the pipe or socket N",
        Meaning::ControlFd,
    ),
    (
        "--keep-fd",
        "N[,N...]",
        "Hand the descriptors N to the payload, where the site allows it",
        Meaning::KeepFds,
    ),
];

/// The help text.
#[must_use]
pub fn usage_text() -> String {
    let mut text = "Runs COMMAND under the identity the site maps you to.\n\n\
        Usage: glexec [OPTION...] [--] COMMAND [ARG...]\n\nOptions:\n"
        .to_owned();
    for (ways, value, help, _) in OPTIONS {
        let ways = format!("{ways} {value}");
        text += &format!("  {:<24} {help}\n", ways.trim_end());
    }
    text
}

/// Every option there is: the ways it is written, with a comma between them, the name of its value, and
/// what the help says. For documents.
#[cfg(feature = "read")]
pub fn options() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    OPTIONS.iter().map(|(ways, value, help, _)| (*ways, *value, *help))
}

/// What the word of an option means, by the way it is written.
fn option(way: &str) -> Option<Meaning> {
    let known = OPTIONS.iter().find(|(ways, ..)| ways.split(", ").any(|known| known == way));
    known.map(|(.., meaning)| *meaning)
}

impl Invocation {
    /// An invocation that runs `words`.
    pub fn run<W: Into<OsString>>(words: impl IntoIterator<Item = W>) -> Self {
        Self { words: words.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Reads the words after the program's name.
    ///
    /// # Errors
    /// [`Usage`] where an option is unknown, doubled, lacks its value or contradicts another.
    pub fn parse(words: Vec<OsString>) -> Result<Self, Usage> {
        // No option, no parser: what a scheduler calls thousands of times an hour.
        if words.first().is_some_and(|w| !w.as_bytes().starts_with(b"-")) {
            return Ok(Self::default().with_words(words));
        }
        let mut invocation = Self::default();
        let mut modes = Vec::new();
        let mut words = words.into_iter().peekable();
        let mut literal = false;
        // A dash alone is a word like others.
        while let Some(word) = words.next_if(|w| w.as_bytes().starts_with(b"-") && w != "-") {
            if word == "--" {
                literal = true;
                break;
            }
            let text = word.to_string_lossy();
            let (way, value) = match text.split_once('=') {
                Some((way, value)) if way.starts_with("--") => (way, Some(value.to_owned())),
                Some(_) | None => (&*text, None),
            };
            let meaning = option(way).ok_or_else(|| Usage(unknown(&text)))?;
            match (meaning, value) {
                (Meaning::Mode(mode), None) => modes.push(mode),
                (Meaning::Mode(_), Some(_)) => return Err(Usage(format!("{way} takes no value"))),
                (other, value) => {
                    let next = || words.next().map(|word| word.to_string_lossy().into_owned());
                    let value = value.or_else(next);
                    invocation.take_descriptors(other, way, value.as_deref())?;
                }
            }
        }
        invocation.mode = mode(&modes)?;
        let words = words.collect();
        Ok(if literal { Self { words, ..invocation } } else { invocation.with_words(words) })
    }

    /// Takes an option's descriptors in.
    fn take_descriptors(
        &mut self,
        meaning: Meaning,
        way: &str,
        value: Option<&str>,
    ) -> Result<(), Usage> {
        let value = value.ok_or_else(|| Usage(format!("{way} lacks its number")))?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse::<RawFd>().ok()).flatten().ok_or_else(|| {
                Usage(format!("{way} is given as a descriptor's number, not '{}'", shown(text)))
            })
        };
        let one = match meaning {
            Meaning::StatusFd => &mut self.status_fd,
            Meaning::ControlFd => &mut self.control_fd,
            Meaning::KeepFds | Meaning::Mode(_) => {
                for text in value.split(',') {
                    self.keep_fds.push(number(text)?);
                }
                return Ok(());
            }
        };
        match one.replace(number(value)?) {
            None => Ok(()),
            Some(_) => Err(Usage(format!("{way} is given twice"))),
        }
    }

    /// The words to call glexec with, program name excluded. Parsing them gives this back.
    #[must_use]
    pub fn build(&self) -> Vec<OsString> {
        let mut out: Vec<OsString> = Vec::new();
        match self.mode {
            Mode::Run => {}
            Mode::Rehearse => out.push("--check".into()),
            Mode::Settle => out.push("--settle".into()),
            Mode::Help => out.push("--help".into()),
            Mode::Version => out.push("--version".into()),
            Mode::Paths => out.push("-V".into()),
        }
        let mut numbered = |name: &str, fd: RawFd| out.push(format!("{name}={fd}").into());
        self.status_fd.iter().for_each(|fd| numbered("--status-fd", *fd));
        self.control_fd.iter().for_each(|fd| numbered("--control-fd", *fd));
        self.keep_fds.iter().for_each(|fd| numbered("--keep-fd", *fd));
        match self.verify {
            Some(ids) => out.extend([ids.uid.to_string().into(), ids.gid.to_string().into()]),
            None => out.push("--".into()),
        }
        out.extend(self.words.iter().cloned());
        out
    }

    /// The original's `UID GID COMMAND`, where the words have that shape.
    fn with_words(mut self, mut words: Vec<OsString>) -> Self {
        let ids = match words.as_slice() {
            [uid, gid, _, ..] if self.mode != Mode::Settle => decimal(uid).zip(decimal(gid)),
            _ => None,
        };
        if let Some((uid, gid)) = ids {
            self.verify = Some(VerifiedIds { uid, gid });
            words.drain(..2);
        }
        self.words = words;
        self
    }
}

/// What is asked for. Who asks for help gets help, whatever else is said.
fn mode(asked: &[Mode]) -> Result<Mode, Usage> {
    match asked {
        [] => Ok(Mode::default()),
        _ if asked.contains(&Mode::Help) => Ok(Mode::Help),
        [mode] => Ok(*mode),
        [..] => {
            Err(Usage("-v, -V, --check and --settle cannot be combined, or doubled".to_owned()))
        }
    }
}

/// A plain decimal id: digits only, no sign, no leading zero, not the "no change" value.
fn decimal(word: &OsStr) -> Option<u32> {
    let text = word.to_str()?;
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    (plain && !text.is_empty()).then(|| text.parse().ok()).flatten().filter(|id| *id != u32::MAX)
}

fn unknown(option: &str) -> String {
    format!(
        "there is no option '{}'; a command that begins with a dash stands behind --",
        shown(option)
    )
}

/// Fit for one line, whatever it holds, ESC and newline included.
fn shown(text: &str) -> String {
    const LONGEST: usize = 64;
    let short: String = text.chars().take(LONGEST).collect();
    short.escape_debug().to_string().replace("\\'", "'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStringExt;

    fn parse(words: &[&str]) -> Result<Invocation, Usage> {
        Invocation::parse(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn options_stand_before_the_command_and_nothing_after_it_is_ours() {
        let got = parse(&["--check", "ls", "-l", "--check", "--", "-x"]).unwrap();
        assert_eq!(got.mode, Mode::Rehearse);
        assert_eq!(got.words, ["ls", "-l", "--check", "--", "-x"]);
        let got = parse(&["glexec_unwrapenv.pl", "--", "cmd"]).unwrap();
        assert_eq!(got.words, ["glexec_unwrapenv.pl", "--", "cmd"]);
    }

    #[test]
    fn an_unknown_option_is_no_command() {
        assert!(parse(&["--lingr", "/bin/ls"]).is_err());
        assert!(parse(&["-x"]).is_err());
        assert!(parse(&["--config=/tmp/x", "/bin/ls"]).is_err());
        assert!(parse(&["--status-fd", "x", "ls"]).is_err());
        assert!(parse(&["--check", "--settle", "ls"]).is_err());
        assert!(parse(&["--check", "--check", "ls"]).is_err());
        assert!(parse(&["--check=yes", "ls"]).is_err());
        assert!(parse(&["--status-fd", "3", "--status-fd=4", "ls"]).is_err());
        for number in ["", "-1", "+3", "0x3", "3,4", "2147483648", " 3", "3 "] {
            assert!(parse(&["--status-fd", number, "ls"]).is_err(), "{number:?}");
            assert!(parse(&[&format!("--control-fd={number}"), "ls"]).is_err(), "{number:?}");
        }
        assert!(parse(&["--status-fd"]).is_err() && parse(&["--keep-fd=3,,4", "ls"]).is_err());
        assert_eq!(parse(&["--keep-fd=3,4", "--keep-fd", "5", "ls"]).unwrap().keep_fds, [3, 4, 5]);
        assert_eq!(parse(&["-", "x"]).unwrap().words, ["-", "x"]);
        assert_eq!(parse(&["--check", "--version", "-h"]).unwrap().mode, Mode::Help);
    }

    #[test]
    fn two_ids_before_a_command_are_the_verify_mode() {
        let got = parse(&["1000", "100", "id"]).unwrap();
        assert_eq!(got.verify, Some(VerifiedIds { uid: 1000, gid: 100 }));
        assert_eq!(got.words, ["id"]);
        for words in [
            &["1000", "100"][..],
            &["0012", "1", "id"],
            &["+5", "1", "id"],
            &["4294967295", "1", "id"],
            &["4294967296", "1", "id"],
            &["12abc", "1", "id"],
        ] {
            assert_eq!(parse(words).unwrap().verify, None, "{words:?}");
        }
        assert_eq!(parse(&["--", "1000", "100", "id"]).unwrap().verify, None);
    }

    #[test]
    fn an_error_is_one_escaped_line() {
        let Usage(text) = parse(&["--\u{1b}]0;x\nforged"]).unwrap_err();
        assert!(!text.contains('\n') && !text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn the_help_names_every_option() {
        let text = usage_text();
        for option in ["-h", "--help", "-v", "--version", "-V", "--check", "--settle"] {
            assert!(text.contains(option), "{option} is missing in {text}");
            assert!(parse(&[option, "x"]).is_ok(), "{option}");
        }
        for option in ["--status-fd", "--control-fd", "--keep-fd"] {
            assert!(text.contains(&format!("{option} N")), "{option} is missing in {text}");
            assert!(parse(&[option, "3", "x"]).is_ok(), "{option}");
        }
    }

    fn invocations() -> impl Strategy<Value = Invocation> {
        let mode = prop_oneof![
            Just(Mode::Run),
            Just(Mode::Rehearse),
            Just(Mode::Settle),
            Just(Mode::Help),
            Just(Mode::Version),
            Just(Mode::Paths)
        ];
        let fd = || prop::option::of(3..1000i32);
        let words = prop::collection::vec(prop::collection::vec(1..=255u8, 0..12), 0..5)
            .prop_map(|words| words.into_iter().map(OsString::from_vec).collect());
        (mode, fd(), fd(), prop::collection::vec(3..1000i32, 0..3), words).prop_map(
            |(mode, status_fd, control_fd, keep_fds, words)| Invocation {
                mode,
                status_fd,
                control_fd,
                keep_fds,
                verify: None,
                words,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_built_is_parsed_back(invocation in invocations()) {
            prop_assert_eq!(Invocation::parse(invocation.build()).unwrap(), invocation);
        }

        #[test]
        fn what_is_built_for_the_verify_mode_is_parsed_back(uid in 0..u32::MAX, gid in 0..u32::MAX) {
            let mut invocation = Invocation::run(["/bin/true"]);
            invocation.verify = Some(VerifiedIds { uid, gid });
            prop_assert_eq!(Invocation::parse(invocation.build()).unwrap(), invocation);
        }
    }
}
