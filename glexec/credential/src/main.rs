//! `glexec-credential QUESTION…`: verifies the certificate chain or token on standard input, looks its
//! subject up in the site's files, and answers in lines `key=value` (`credential::answer`).
//!
//! Exit code 0 with an answer, a refusal included; 2 where the words are no question, 1 where the
//! answer cannot be given. Runs with nothing of root's; glexec judges the answer again.
#![forbid(unsafe_code)]

use credential::{Question, answer};
use std::io::Write as _;
use std::process::ExitCode;

/// What it says of itself.
const ABOUT: about::Program = about::Program {
    name: "glexec-credential",
    words: "QUESTION...",
    summary: "verifies a certificate chain or a token and looks its subject up in the site's files",
    details: &[
        "Called by glexec, with nothing of root's, where a caller names a credential and the site maps by it. Chain or token is on standard input, the answer is lines key=value.",
        "Exit code 0 with an answer, a refusal included; 2 where the words are no question, 1 where the answer cannot be given.",
    ],
};

fn main() -> ExitCode {
    if let Some(code) = about::answered!(ABOUT) {
        return code;
    }
    let words: Option<Vec<String>> =
        std::env::args_os().skip(1).map(|word| word.into_string().ok()).collect();
    let Some(question) = words.and_then(|words| Question::of(words.into_iter())) else {
        return ExitCode::from(2);
    };
    let written = std::io::stdout().write_all(&answer(&question));
    ExitCode::from(u8::from(written.is_err()))
}
