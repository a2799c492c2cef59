//! TaskProlog: run as the submitter before each task.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(hooks_slurm::task_prolog())
}
