//! Epilog: run by slurmd as root at a job's end on each of its nodes.

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(hooks_slurm::about::EPILOG) {
        return code;
    }
    std::process::ExitCode::from(hooks_slurm::epilog())
}
