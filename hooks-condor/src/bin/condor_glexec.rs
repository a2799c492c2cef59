//! What is called `condor_glexec_setup`, `_run`, `_job_wrapper`, `_kill`, `_cleanup` and
//! `_update_proxy`: links to this one program.

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(hooks_condor::about::CONDOR_GLEXEC) {
        return code;
    }
    let words: Vec<_> = std::env::args_os().collect();
    hooks_condor::condor_glexec(&words).into()
}
