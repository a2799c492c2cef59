//! What glexec runs as the target where the job's sandbox is copied.

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(hooks_condor::about::COPY) {
        return code;
    }
    hooks_condor::copy(&std::env::args_os().skip(1).collect::<Vec<_>>())
}
