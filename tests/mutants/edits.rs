//! The list of edits, and how they get into a source text: each as a choice on its number.
//!
//! ```text
//! 101 bracket glexec/src/act/root.rs
//!   what a Root that is dropped lowers nothing
//!   test bracket:: unit
//!   - if let Some(caller) = self.back { «set_effective(caller);»
//!   +
//! ```
//! `-` is a piece of the file's text that is there exactly once, in one line or more; blanks and
//! line ends are alike. What stands between « and » is changed, or all of it where there are no
//! such marks, and becomes `+`; `$` in that stands for what was there. `stay` instead of nothing
//! says why nobody can notice: such an edit is tried like others and does not count.

use anyhow::{Context as _, Result, bail, ensure};
use std::ops::Range;

/// One change of one place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edit {
    pub(crate) number: u32,
    pub(crate) area: String,
    pub(crate) file: String,
    /// What it takes away.
    pub(crate) what: String,
    /// Which tests should notice it: `unit`, or a filter, with its suite where that is not the
    /// launcher's: `legacy:kill`.
    pub(crate) tests: Vec<String>,
    /// Why it is not counted.
    pub(crate) stays: Option<String>,
    text: String,
    changed: String,
}

/// Reads the list.
pub(crate) fn read(list: &str) -> Result<Vec<Edit>> {
    let mut all: Vec<Edit> = Vec::new();
    for (at, line) in list.lines().enumerate() {
        let at = at + 1;
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if !line.starts_with(' ') {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [number, area, file] = words[..] else { bail!("line {at}: NUMBER AREA FILE") };
            let number = number.parse().with_context(|| format!("line {at}: {number}"))?;
            ensure!((1..=9999).contains(&number), "line {at}: {number} is not 1 to 9999");
            ensure!(all.iter().all(|e| e.number != number), "line {at}: {number} is there twice");
            let (area, file) = (area.to_owned(), file.to_owned());
            all.push(Edit { number, area, file, ..Edit::default() });
            continue;
        }
        let edit = all.last_mut().with_context(|| format!("line {at}: whose is this?"))?;
        let (key, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        match key {
            "what" => rest.clone_into(&mut edit.what),
            "test" => edit.tests.extend(rest.split_whitespace().map(str::to_owned)),
            "stay" => edit.stays = Some(rest.to_owned()),
            "-" => edit.text += &format!("{rest}\n"),
            "+" => edit.changed += &format!("{rest}\n"),
            _ => bail!("line {at}: {key} is none of what, test, stay, - and +"),
        }
    }
    for edit in &all {
        let whole = !edit.what.is_empty() && !edit.text.is_empty() && !edit.tests.is_empty();
        ensure!(whole, "edit {} lacks what, test or its text", edit.number);
    }
    Ok(all)
}

/// The text of a file with all of these edits in it as choices.
pub(crate) fn apply(source: &str, edits: &[&Edit]) -> Result<String> {
    let mut found = Vec::new();
    for edit in edits {
        let span = edit.find(source).with_context(|| {
            format!("edit {} ({}) does not fit {}", edit.number, edit.what, edit.file)
        })?;
        found.push((span, *edit));
    }
    // The outer before what is in it.
    found.sort_by_key(|(span, edit)| (span.start, usize::MAX - span.end, edit.number));
    // Which edit is active is known when the program runs.
    let mut source = source.to_owned();
    for (span, _) in &found {
        let function = source[..span.start].rfind("fn ").map(|at| at.saturating_sub(CONST.len()));
        if let Some(at) = function.filter(|at| source[*at..].starts_with(CONST)) {
            source.replace_range(at..at + CONST.len(), &" ".repeat(CONST.len()));
        }
    }
    render(&source, 0..source.len(), &found)
}

/// What stands before a function that may be called when a program is built.
const CONST: &str = "const ";

fn render(source: &str, whole: Range<usize>, found: &[(Range<usize>, &Edit)]) -> Result<String> {
    let (mut out, mut at, mut left) = (String::new(), whole.start, found);
    while let [(span, edit), rest @ ..] = left {
        let inner = rest.iter().take_while(|(other, _)| other.start < span.end).count();
        let (inside, after) = rest.split_at(inner);
        if let Some((_, other)) = inside.iter().find(|(other, _)| other.end > span.end) {
            bail!("edits {} and {} overlap", edit.number, other.number);
        }
        out += &source[at..span.start];
        let original = render(source, span.clone(), inside)?;
        out += &edit.choice(&original);
        (at, left) = (span.end, after);
    }
    out += &source[at..whole.end];
    Ok(out)
}

impl Edit {
    /// Both as a choice. What ends with a semicolon or a brace is a statement.
    fn choice(&self, original: &str) -> String {
        let Self { number, changed, .. } = self;
        let changed = changed.trim_end().replace('$', original);
        let choice = format!("if ::mutant::on({number}) {{ {changed} }} else {{ {original} }}");
        let is_statement = original.trim_end().ends_with([';', '}']);
        if is_statement { choice } else { format!("({choice})") }
    }

    /// Where the text to be changed is.
    fn find(&self, source: &str) -> Result<Range<usize>> {
        let text = self.text.trim();
        let (before, marked, after) = match text.split_once('«') {
            Some((before, rest)) => {
                let (marked, after) = rest.split_once('»').context("« without »")?;
                (before, marked, after)
            }
            None => ("", text, ""),
        };
        let mut found = Vec::new();
        for (start, _) in source.char_indices() {
            let one = matched(source, start, before.trim_start())
                .and_then(|begin| matched(source, begin, marked).map(|end| (begin, end)))
                .and_then(|(begin, end)| matched(source, end, after).map(|_| begin..end));
            found.extend(one);
        }
        match found.as_slice() {
            [one] => Ok(one.clone()),
            [] => bail!("its text is not there: {text}"),
            more => bail!("its text is there {} times: {text}", more.len()),
        }
    }
}

/// Where a pattern that begins here ends; blanks stand for blanks and line ends, at least one.
fn matched(source: &str, start: usize, pattern: &str) -> Option<usize> {
    let mut at = start;
    let mut wanted = pattern.chars().peekable();
    while let Some(character) = wanted.next() {
        let rest = source.get(at..)?;
        if character.is_whitespace() {
            while wanted.next_if(|next| next.is_whitespace()).is_some() {}
            let blanks = rest.len() - rest.trim_start().len();
            if blanks == 0 {
                return None;
            }
            at += blanks;
        } else if rest.starts_with(character) {
            at += character.len_utf8();
        } else {
            return None;
        }
    }
    Some(at)
}
