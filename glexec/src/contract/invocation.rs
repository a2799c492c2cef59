//! glexec's command line, in one place: parsed here, and built here for those who call it.

use clap::Parser;
use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;

/// What a command line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Run the command.
    #[default]
    Run,
    /// `--check`: everything up to the plan, nothing done.
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

#[derive(Parser)]
#[command(
    name = "glexec",
    no_binary_name = true,
    disable_help_flag = true,
    disable_version_flag = true,
    override_usage = "glexec [OPTION...] [--] COMMAND [ARG...]",
    about = "Runs COMMAND under the identity the site maps you to."
)]
struct CommandLine {
    /// Show this help
    #[arg(short = 'h', long = "help")]
    help: bool,
    /// Show the version
    #[arg(short = 'v', long = "version")]
    version: bool,
    /// Show the built-in paths (root only)
    #[arg(short = 'V')]
    paths: bool,
    /// Show what would happen, and do nothing
    #[arg(long = "check")]
    check: bool,
    /// Settle what is owed of your own finished runs whose job keys match
    #[arg(long = "settle")]
    settle: bool,
    /// Write JSON status lines to the pipe or socket N
    #[arg(long = "status-fd", value_name = "N")]
    status_fd: Option<RawFd>,
    /// Obey the lines TERM, KILL, STOP, CONT ... from the pipe or socket N
    #[arg(long = "control-fd", value_name = "N")]
    control_fd: Option<RawFd>,
    /// Hand the descriptors N to the payload, where the site allows it
    #[arg(long = "keep-fd", value_name = "N", value_delimiter = ',')]
    keep_fd: Vec<RawFd>,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    words: Vec<OsString>,
}

/// The help text.
#[must_use]
pub fn usage_text() -> String {
    use clap::CommandFactory as _;
    CommandLine::command().render_help().to_string()
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
        let separated = words.iter().position(|w| w == "--");
        let line = CommandLine::try_parse_from(&words).map_err(|e| Usage(one_line(&e)))?;
        let payload_is_literal =
            separated.is_some_and(|at| words.len() - at - 1 == line.words.len());
        let invocation = Self {
            mode: line.mode()?,
            status_fd: line.status_fd,
            control_fd: line.control_fd,
            keep_fds: line.keep_fd,
            ..Self::default()
        };
        Ok(if payload_is_literal {
            Self { words: line.words, ..invocation }
        } else {
            invocation.with_words(line.words)
        })
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

impl CommandLine {
    fn mode(&self) -> Result<Mode, Usage> {
        let asked = [
            (self.help, Mode::Help),
            (self.version, Mode::Version),
            (self.paths, Mode::Paths),
            (self.check, Mode::Rehearse),
            (self.settle, Mode::Settle),
        ];
        let mut modes = asked.into_iter().filter_map(|(on, mode)| on.then_some(mode));
        let mode = modes.next().unwrap_or_default();
        match modes.next() {
            Some(_) if mode != Mode::Help => {
                Err(Usage("-v, -V, --check and --settle cannot be combined".to_owned()))
            }
            _ => Ok(mode),
        }
    }
}

/// A plain decimal id: digits only, no sign, no leading zero, not the "no change" value.
fn decimal(word: &OsStr) -> Option<u32> {
    let text = word.to_str()?;
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    (plain && !text.is_empty()).then(|| text.parse().ok()).flatten().filter(|id| *id != u32::MAX)
}

/// clap echoes what it was given, ESC and newline included: the first line of it, escaped.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or("not understood");
    let first = first.strip_prefix("error: ").unwrap_or(first);
    first.escape_debug().to_string().replace("\\'", "'")
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
        for option in ["--check", "--settle", "--status-fd", "--control-fd", "--keep-fd"] {
            assert!(text.contains(option), "{option} is missing in {text}");
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
