//! The interpreter of batch scripts that conf/slurm/job_submit.lua has run by glexec.

fn main() {
    hooks_slurm::script(std::env::args_os().skip(1).collect())
}
