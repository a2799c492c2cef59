//! Epilog: run by slurmd as root at a job's end on each of its nodes.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(hooks_slurm::epilog())
}
