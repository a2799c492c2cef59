//! The interpreter of batch scripts that conf/slurm/job_submit.lua has run by glexec.

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(hooks_slurm::about::SCRIPT) {
        return code;
    }
    hooks_slurm::script(std::env::args_os().skip(1).collect())
}
