//! What `--check` shows: the plan, in the caller's words, without paths or values of the site's.

use decide::plan::{Launch, Plan};
use nix::unistd::Gid;
use std::ffi::CString;
use std::fmt::Write as _;
use system::text::escaped;

/// The plan as lines of text.
pub fn rehearsal(plan: &Plan) -> String {
    let target = &plan.target;
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name:<12} {value}");
    };
    line(
        "target",
        format!(
            "{} (uid {}, gid {} {})",
            escaped(target.name().as_bytes()),
            target.uid(),
            target.gid(),
            escaped(target.shown_group().as_bytes()),
        ),
    );
    line("groups", joined(target.groups().iter().map(Gid::to_string)));
    let shown = |word: Option<&CString>| word.map(|w| escaped(w.as_bytes())).unwrap_or_default();
    line(
        "directory",
        format!(
            "{} (where the target may not enter: the next of {})",
            shown(plan.directories.first()),
            joined(plan.directories.iter().skip(1).map(|d| escaped(d.as_bytes())))
        ),
    );
    line("command", format!("{} (={})", shown(plan.argv.first()), escaped(&plan.command.resolved)));
    let names =
        plan.environment.iter().filter_map(|entry| entry.as_bytes().split(|b| *b == b'=').next());
    line("environment", joined(names.map(escaped)));
    let launch = match &plan.launch {
        Launch::Replace => "glexec becomes the payload".to_owned(),
        Launch::LogOnly => "log only: nothing is switched".to_owned(),
        Launch::Linger(_) => "glexec lingers".to_owned(),
    };
    line("launch", launch);
    if let Launch::Linger(linger) = &plan.launch {
        line("epilogue", if linger.epilogue.is_some() { "trusted" } else { "none" }.to_owned());
    }
    out
}

fn joined(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(" ")
}
