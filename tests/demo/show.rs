//! How the trial is told: plain text that fits a terminal.

use anyhow::Result;
use std::io::{Write as _, stdout};

const WIDTH: usize = 96;

/// A heading with its number.
pub(crate) fn step(number: u8, title: &str) -> Result<()> {
    line(&format!("\n{number}. {title}"))
}

/// A line as it is.
pub(crate) fn line(text: &str) -> Result<()> {
    Ok(writeln!(stdout(), "{text}")?)
}

/// What somebody else wrote: indented, escaped, folded.
pub(crate) fn quote(text: &str) -> Result<()> {
    text.lines()
        .flat_map(|text| fold(&plain(text)))
        .try_for_each(|part| line(&format!("   {part}")))
}

/// A table of two columns.
pub(crate) fn table(rows: &[(String, String)]) -> Result<()> {
    let width = rows.iter().map(|(left, _)| left.chars().count()).max().unwrap_or(0);
    for (left, right) in rows {
        line(&format!("   {left:width$}  {}", plain(right)))?;
    }
    Ok(())
}

fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

/// Breaks after blanks and commas where it can; what follows the first line is indented.
fn fold(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_inclusive([' ', ',']) {
        let current = lines.last_mut().map_or("", |last| last.as_str());
        if !current.trim().is_empty()
            && current.chars().count() + word.trim_end().chars().count() > WIDTH
        {
            lines.push("    ".to_owned());
        }
        if let Some(last) = lines.last_mut() {
            last.push_str(word);
        }
    }
    lines.iter().map(|l| l.trim_end().to_owned()).collect()
}
