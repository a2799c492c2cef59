//! `glexec-admin show`: what the configuration in force says, key by key, and where it is from.

use decide::config::{Shown, shown};
use observe::config_file::{Etc, Source, malformed};
use serde::Serialize;
use std::io::Write as _;

/// A key as JSON.
#[derive(Serialize)]
struct Told<'s> {
    key: &'s str,
    value: &'s str,
    /// Where that is said; empty for a default.
    places: Vec<Place<'s>>,
    about: &'s str,
}

#[derive(Serialize)]
struct Place<'s> {
    file: &'s str,
    line: usize,
}

/// Prints one `key = value` a line, each with its origin, or all as one JSON array; 0 where the
/// configuration is usable, else 1. `explain` puts what a key takes and what it is for on a line
/// before it.
pub(super) fn run(explain: bool, json: bool) -> u8 {
    let source = Source::open(&Etc::open());
    let keys = source.and_then(|source| shown(source.files()).map_err(|bad| malformed(&bad)));
    match keys {
        Ok(keys) => {
            let text = if json {
                let told: Vec<Told<'_>> = keys.iter().map(told).collect();
                serde_json::to_string(&told).unwrap_or_default() + "\n"
            } else {
                keys.iter().map(|key| line(key, explain)).collect()
            };
            u8::from(!report::print(&text))
        }
        Err(stop) => {
            let detail = stop.detail.as_deref().unwrap_or(&stop.sentence);
            let _ = writeln!(std::io::stderr(), "glexec-admin: {detail} ({})", stop.reason.word());
            1
        }
    }
}

fn told(Shown { key, value, places, about }: &Shown) -> Told<'_> {
    let places = places.iter().map(|(file, line)| Place { file, line: *line });
    Told { key, value, places: places.collect(), about }
}

fn line(shown: &Shown, explain: bool) -> String {
    let Shown { key, value, places, about } = shown;
    let about = if explain { format!("# {about}\n") } else { String::new() };
    let places: Vec<String> = places.iter().map(|(file, line)| format!("{file}:{line}")).collect();
    let origin = if places.is_empty() { "default".to_owned() } else { places.join(", ") };
    format!("{about}{key} = {value}  # {origin}\n")
}
