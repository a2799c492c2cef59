//! USER_JOB_WRAPPER: `glexec-condor-wrapper COMMAND [ARG…]`, as the user that the starter chose.

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(hooks_condor::about::WRAPPER) {
        return code;
    }
    hooks_condor::wrapper(std::env::args_os().skip(1).collect())
}
