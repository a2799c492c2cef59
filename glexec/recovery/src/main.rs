//! The door of glexec-settle.

/// What it says of itself.
const ABOUT: about::Program = about::Program {
    name: "glexec-settle",
    words: "WORD...",
    summary: "pays what a glexec owes that is gone: ends its payload, hands directories back, runs the epilogue",
    details: &[
        "Started by glexec-admin sweep and glexec --settle in a process that is root's alone, and by nobody else.",
    ],
};

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(ABOUT) {
        return code;
    }
    recovery::run()
}
