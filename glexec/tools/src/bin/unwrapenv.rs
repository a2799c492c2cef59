//! `glexec-unwrapenv`: a command with what was wrapped.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(tools::about::UNWRAP) {
        return code;
    }
    std::process::ExitCode::from(tools::unwrap(std::env::args_os().skip(1).collect()))
}
