//! The epilogue of glexec, or called by it: keeps what the payload did.

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(hooks_condor::about::RECORD) {
        return code;
    }
    std::process::ExitCode::from(hooks_condor::record())
}
