//! The administrator's door.

fn main() -> std::process::ExitCode {
    admin::admin(option_env!("GLEXEC_BUILD"))
}
