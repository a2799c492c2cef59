//! `mkgltempdir`: a directory of the target's.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(tools::about::MKGLTEMPDIR) {
        return code;
    }
    std::process::ExitCode::from(tools::mkgltempdir(std::env::args_os().skip(1).collect()))
}
