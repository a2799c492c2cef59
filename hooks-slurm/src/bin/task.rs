//! The task wrapper: `srun glexec-slurm-task COMMAND [ARG…]`, or `exec` it in a batch script.

fn main() {
    hooks_slurm::task(std::env::args_os().skip(1).collect())
}
