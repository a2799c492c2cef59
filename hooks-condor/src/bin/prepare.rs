//! PREPARE_JOB: whether glexec would run the job.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(hooks_condor::prepare())
}
