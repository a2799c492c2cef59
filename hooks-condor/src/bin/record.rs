//! The epilogue of glexec, or called by it: keeps what the payload did.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(hooks_condor::record())
}
