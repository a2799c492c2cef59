//! Whether glexec works for this pilot on this node: `glexec-condor-selftest [GLEXEC [DIRECTORY]]`.

fn main() -> std::process::ExitCode {
    if let Some(code) = about::answered!(hooks_condor::about::SELFTEST) {
        return code;
    }
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    hooks_condor::selftest(&words).into()
}
