//! JOB_EXIT: what a killed job still owes is settled.

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(hooks_condor::about::EXIT) {
        return code;
    }
    std::process::ExitCode::from(hooks_condor::exit())
}
