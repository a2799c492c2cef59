//! TaskEpilog: run as the submitter after each task.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(hooks_slurm::task_epilog())
}
