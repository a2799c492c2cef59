//! `glexec-wrapenv`: the environment as one word.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(tools::about::WRAP) {
        return code;
    }
    std::process::ExitCode::from(tools::wrap(std::env::args_os().skip(1).collect()))
}
