//! glexec-admin(8): its words, as clap has them.

use crate::roff::Roff;
use clap::{Arg, Command};

pub(crate) fn page(date: &str) -> String {
    let command = admin::command_line();
    let summary = "look after glexec on a node";
    let mut page = Roff::new(("glexec-admin", 8), date, summary);
    page.section("SYNOPSIS");
    page.call("glexec-admin", "COMMAND [OPTION...]");
    page.call("glexec-admin", "--help | --version");
    page.section("DESCRIPTION");
    page.paragraph("glexec-admin says whether glexec(1) works on this node and why not, whom it maps, what its runs owe, and has that paid. It is not setuid, and most of it is for root.");
    page.section("COMMANDS");
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        one(&mut page, "glexec-admin", sub);
    }
    page.section("SEE ALSO");
    page.paragraph("glexec(1), glexec.toml(5), glexec-epilogue(7). /usr/share/doc/glexec/sweep.md has what is owed and how it is paid.");
    page.end()
}

/// A command, and those below it.
fn one(page: &mut Roff, above: &str, command: &Command) {
    let name = format!("{above} {}", command.get_name());
    let arguments = || command.get_arguments().filter(|argument| !argument.is_hide_set());
    page.subsection(&name);
    let words: Vec<String> = arguments().map(usage).collect();
    page.call(&name, &words.join(" "));
    page.paragraph(&said(command.get_long_about().or(command.get_about())));
    for argument in arguments() {
        let term = format!("`{}`", written(argument).join(", "));
        page.entry(&term, &said(argument.get_long_help().or(argument.get_help())));
    }
    for below in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        one(page, &name, below);
    }
}

/// Every way to write an argument, each with the name of its value.
fn written(argument: &Arg) -> Vec<String> {
    let names: Vec<String> = argument
        .get_value_names()
        .map(|names| names.iter().map(ToString::to_string).collect())
        .unwrap_or_default();
    let takes = argument.get_action().takes_values();
    let value = if takes { names.join(" ") } else { String::new() };
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let ways: Vec<String> = short
        .into_iter()
        .chain(long)
        .map(|way| format!("{way} {value}").trim_end().to_owned())
        .collect();
    if ways.is_empty() { vec![value] } else { ways }
}

fn usage(argument: &Arg) -> String {
    let way = written(argument).pop().unwrap_or_default();
    if argument.is_required_set() { way } else { format!("[{way}]") }
}

fn said(help: Option<&clap::builder::StyledStr>) -> String {
    let text = help.map(ToString::to_string).unwrap_or_default().replace('\n', " ");
    if text.is_empty() || text.ends_with('.') { text } else { format!("{text}.") }
}
