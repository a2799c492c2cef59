//! `glexec-admin show`: what the configuration in force says, key by key, and where it is from.

use decide::config::{Shown, shown};
use decide::refusal::Refusal;
use observe::config_file::{Etc, Source, malformed};
use std::io::Write as _;

/// Prints one `key = value` a line, each with its origin; 0 where the configuration is usable, else
/// 1. `explain` puts what a key takes and what it is for on a line before it.
pub(super) fn run(explain: bool) -> u8 {
    match Source::open(&Etc::open()).and_then(|source| in_force(&source)) {
        Ok((keys, file)) => {
            let lines = keys.iter().map(|key| line(key, file, explain));
            u8::from(!report::print(&lines.collect::<String>()))
        }
        Err(stop) => {
            let detail = stop.detail.as_deref().unwrap_or(&stop.sentence);
            let _ = writeln!(std::io::stderr(), "glexec-admin: {detail} ({})", stop.reason.word());
            1
        }
    }
}

fn in_force(source: &Source) -> Result<(Vec<Shown>, &'static str), Refusal> {
    let (text, syntax, file) = source.parts();
    shown(text, syntax).map(|keys| (keys, file)).map_err(|bad| malformed(file, &bad))
}

fn line(shown: &Shown, file: &str, explain: bool) -> String {
    let Shown { key, value, line, about } = shown;
    let about = if explain { format!("# {about}\n") } else { String::new() };
    let origin = line.map_or_else(|| "default".to_owned(), |line| format!("{file}:{line}"));
    format!("{about}{key} = {value}  # {origin}\n")
}
