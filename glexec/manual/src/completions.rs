//! What shells complete the words of a command line with.

use crate::File;
use clap::{Arg, ArgAction, Command, ValueHint};
use clap_complete::Shell;
use std::path::PathBuf;

/// The completions of glexec and glexec-admin, each as `completions/SHELL/FILE`, by the names that
/// bash, zsh and fish look for.
#[must_use]
pub fn completions() -> Vec<File> {
    let shells = [Shell::Bash, Shell::Zsh, Shell::Fish];
    let of = |shell| [of_one(glexec(), shell), of_one(glexec_admin(), shell)];
    shells.into_iter().flat_map(of).collect()
}

fn of_one(mut command: Command, shell: Shell) -> File {
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, &name, &mut text);
    let file = match shell {
        Shell::Zsh => format!("_{name}"),
        Shell::Fish => format!("{name}.fish"),
        Shell::Bash | _ => name,
    };
    // clap_complete 4.6.11 writes a name with a dash in two ways into its script for bash, and then finds
    // no option of a command.
    let text = String::from_utf8_lossy(&text).replace("glexec__subcmd__admin", "glexec__admin");
    let path = PathBuf::from("completions").join(shell.to_string()).join(file);
    File { path, text }
}

/// glexec-admin's commands, but for what it calls itself by.
fn glexec_admin() -> Command {
    let all = admin::command_line();
    let shown = all.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned();
    Command::new("glexec-admin").version("").subcommands(shown)
}

/// glexec's options as clap has such, for the completions alone: glexec itself reads its own.
fn glexec() -> Command {
    let mut command = Command::new("glexec").disable_help_flag(true).disable_version_flag(true);
    for (ways, value, help) in contract::options() {
        let mut argument = Arg::new(ways).help(help);
        for way in ways.split(", ") {
            argument = match way.strip_prefix("--") {
                Some(long) => argument.long(long),
                None => argument.short(way.chars().nth(1)),
            };
        }
        command = command.arg(if value.is_empty() {
            argument.action(ArgAction::SetTrue)
        } else {
            argument.action(ArgAction::Set).value_hint(ValueHint::Other)
        });
    }
    let words = Arg::new("COMMAND").num_args(0..).trailing_var_arg(true);
    command.arg(words.value_hint(ValueHint::CommandWithArguments))
}
