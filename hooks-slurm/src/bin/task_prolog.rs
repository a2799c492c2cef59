//! TaskProlog: run as the submitter before each task.

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(hooks_slurm::about::TASK_PROLOG) {
        return code;
    }
    std::process::ExitCode::from(hooks_slurm::task_prolog())
}
