//! The task wrapper: `srun glexec-slurm-task COMMAND [ARG…]`, or `exec` it in a batch script.

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(hooks_slurm::about::TASK) {
        return code;
    }
    hooks_slurm::task(std::env::args_os().skip(1).collect())
}
