//! EpilogSlurmctld: run by slurmctld at a job's end.

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(hooks_slurm::about::EPILOG_CTLD) {
        return code;
    }
    std::process::ExitCode::from(hooks_slurm::epilog_ctld())
}
