//! What each program says of itself, for `--help`, `--version` and the man pages. The setuid program
//! has its own help (`contract::usage_text`).
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

/// A program and its own description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// The name that it is installed by.
    pub name: &'static str,
    /// What stands behind its name on a command line; empty for a hook that is called without words.
    pub words: &'static str,
    /// What it is: one clause, without a full stop.
    pub summary: &'static str,
    /// Who runs it, what its words mean and how it ends: paragraphs of one line each.
    pub details: &'static [&'static str],
}

impl Program {
    /// What it answers to `--help`.
    #[must_use]
    pub fn help(&self) -> String {
        let usage = format!("{} {}", self.name, self.words);
        let mut text = format!("{}\n\nUsage: {}\n", sentence(self.summary), usage.trim_end());
        for paragraph in self.details {
            text += &format!("\n{}\n", folded(paragraph));
        }
        text + "\nCalled with one word alone:\n  --help       Show this help\n  --version    Show the version\n"
    }

    /// What it answers to `--version`. `build` is the commit and the C library.
    #[must_use]
    pub fn version(&self, build: Option<&str>) -> String {
        version(self.name, build)
    }

    /// The answer to a call that has one word and asks for help or version; `None` for any other.
    pub fn answer(
        &self,
        mut words: impl Iterator<Item = OsString>,
        build: Option<&str>,
    ) -> Option<String> {
        let word = words.next()?;
        match word.to_str() {
            _ if words.next().is_some() => None,
            Some("--help") => Some(self.help()),
            Some("--version") => Some(self.version(build)),
            Some(_) | None => None,
        }
    }
}

/// `NAME VERSION (BUILD)` and an end of line, as `glexec --version` has it.
#[must_use]
pub fn version(name: &str, build: Option<&str>) -> String {
    let build = build.unwrap_or("built by hand");
    format!("{name} {} ({build})\n", env!("CARGO_PKG_VERSION"))
}

/// Answers this process's call where it has one word and asks for help or version: the exit code then,
/// 0, or 1 where standard output took nothing.
#[must_use]
pub fn answered(program: &Program, build: Option<&str>) -> Option<ExitCode> {
    let text = program.answer(std::env::args_os().skip(1), build)?;
    let mut out = std::io::stdout();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Some(ExitCode::from(u8::from(written.is_err())))
}

/// [`fn@answered`] with the build that the program was made in: cargo makes anew what names the build,
/// so it is named where a program begins and nowhere below.
#[macro_export]
macro_rules! answered {
    ($program:expr) => {
        $crate::answered(&$program, option_env!("GLEXEC_BUILD"))
    };
}

/// A clause as a sentence.
fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

/// Text in lines that a terminal shows whole.
fn folded(text: &str) -> String {
    const WIDTH: usize = 78;
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOOK: Program = Program {
        name: "glexec-hook",
        words: "",
        summary: "a hook for the tests",
        details: &[
            "It is called by nobody, and a paragraph of it is as long as it takes to be folded into two lines at least.",
        ],
    };

    fn answer(words: &[&str]) -> Option<String> {
        HOOK.answer(words.iter().map(OsString::from), Some("abc, musl"))
    }

    #[test]
    fn a_hook_that_is_called_as_ever_answers_nothing() {
        for words in [&[][..], &["-h"], &["help"], &["--help", "x"], &["x", "--help"], &["--helpx"]]
        {
            assert_eq!(answer(words), None, "{words:?}");
        }
    }

    #[test]
    fn one_word_is_answered() {
        assert_eq!(answer(&["--version"]).unwrap(), "glexec-hook 0.1.0 (abc, musl)\n");
        let help = answer(&["--help"]).unwrap();
        assert!(
            help.starts_with("A hook for the tests.\n\nUsage: glexec-hook\n\nIt is "),
            "{help}"
        );
        assert!(help.lines().all(|line| line.len() <= 78), "{help}");
        assert_eq!(HOOK.version(None), "glexec-hook 0.1.0 (built by hand)\n");
    }
}
