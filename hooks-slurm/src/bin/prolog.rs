//! Prolog: run by slurmd as root before a job's first step on a node. With `--check` it looks at the
//! site's set-up instead.

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(hooks_slurm::about::PROLOG) {
        return code;
    }
    let mut words = std::env::args_os().skip(1);
    let code = if words.next().is_some_and(|word| word == "--check") {
        hooks_slurm::check_site()
    } else {
        hooks_slurm::prolog()
    };
    std::process::ExitCode::from(code)
}
