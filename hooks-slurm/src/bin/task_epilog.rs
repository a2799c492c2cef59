//! TaskEpilog: run as the submitter after each task.

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(hooks_slurm::about::TASK_EPILOG) {
        return code;
    }
    std::process::ExitCode::from(hooks_slurm::task_epilog())
}
