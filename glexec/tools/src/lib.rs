//! The tools that pilots call beside gLExec 0.9, by its names and options: `glexec_wrapenv.pl` and
//! `glexec_unwrapenv.pl` carry an environment through glexec in one variable, `mkgltempdir` makes a
//! directory of the target's. Nothing of it is setuid: they run as the pilot, or as the target.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "nothing here is ever more than its caller")]

pub mod about;
mod environment;
mod target_directory;

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

pub use target_directory::mkgltempdir;

/// What the original's tools end with where they cannot do their work.
const FAILED: u8 = 255;
/// As a shell says that a command could not be executed, and that it is not there.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

fn complain(program: &str, text: &str) {
    let _ = writeln!(std::io::stderr(), "{program}: {text}");
}

/// `glexec-wrapenv [--exclude=NAME,...]`: this process's environment as one word on standard output.
/// Gives the exit code.
pub fn wrap(words: Vec<OsString>) -> u8 {
    const NAME: &str = about::WRAP.name;
    let wrapped = environment::read(words).and_then(|(excluded, rest)| match rest.first() {
        Some(word) => Err(format!("{word:?} is no option, and no command is taken here")),
        None => environment::wrapped(std::env::vars_os(), &excluded),
    });
    match wrapped {
        Ok((text, skipped)) => {
            let mut err = std::io::stderr();
            for name in skipped {
                let _ = err.write_all(&[b"Skipping ", name.as_bytes(), b"\n"].concat());
            }
            let mut out = std::io::stdout();
            let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            if written.is_ok() { 0 } else { FAILED }
        }
        Err(sentence) => {
            complain(NAME, &sentence);
            FAILED
        }
    }
}

/// `glexec-unwrapenv [--exclude=NAME,...] [--] COMMAND [ARG...]`: becomes the command, with what is
/// wrapped beside the variables that are there. Gives the exit code where it cannot.
pub fn unwrap(words: Vec<OsString>) -> u8 {
    const NAME: &str = about::UNWRAP.name;
    let unwrapped = environment::read(words).and_then(|(excluded, command)| {
        let text = std::env::var_os(environment::VARIABLE).unwrap_or_default();
        Ok((environment::unwrapped(text.as_bytes(), &excluded)?, command))
    });
    let (variables, command) = match unwrapped {
        Ok(unwrapped) => unwrapped,
        Err(sentence) => {
            complain(NAME, &sentence);
            return FAILED;
        }
    };
    let Some((program, arguments)) = command.split_first() else {
        complain(NAME, "there is no command; it stands behind the options");
        return FAILED;
    };
    let error = Command::new(program).args(arguments).envs(variables).exec();
    complain(NAME, &format!("{program:?} cannot be executed: {error}"));
    if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
}
