//! EpilogSlurmctld: run by slurmctld at a job's end.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(hooks_slurm::epilog_ctld())
}
