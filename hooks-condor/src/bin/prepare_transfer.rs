//! PREPARE_JOB_BEFORE_TRANSFER: whether glexec would run the job.

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(hooks_condor::about::PREPARE_TRANSFER) {
        return code;
    }
    std::process::ExitCode::from(hooks_condor::prepare_transfer())
}
