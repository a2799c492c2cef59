//! JOB_EXIT: what a killed job still owes is settled.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(hooks_condor::exit())
}
