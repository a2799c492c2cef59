//! Prolog: run by slurmd as root before a job's first step on a node.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(hooks_slurm::prolog())
}
