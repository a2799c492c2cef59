//! JOB_EXIT of HTCondor from 25.4 on: what a killed job still owes is settled, and the starter is
//! outlived.

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(hooks_condor::about::EXIT_STAY) {
        return code;
    }
    std::process::ExitCode::from(hooks_condor::exit_stay())
}
