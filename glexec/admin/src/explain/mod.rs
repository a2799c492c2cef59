//! `glexec-admin explain`: what an exit code, a reason or an epilogue's result means, and what there
//! is to do.

mod endings;
mod entry;
mod of_callers;
mod of_sites;
mod page;
mod reasons;

use contract::{Fault, Reason};
use entry::Entry;
pub use page::reasons_page;
use std::io::Write as _;

/// Prints what is said of a word, or, without one, all there are; 0, or 1 where it is none.
pub(super) fn run(word: Option<&str>) -> u8 {
    let Some(word) = word else { return u8::from(!report::print(&list())) };
    match of(word) {
        Some(text) => u8::from(!report::print(&text)),
        None => {
            let sentence = "is no exit code, no reason and no result of an epilogue; glexec-admin explain lists them";
            let word = system::text::escaped(word.as_bytes());
            let _ = writeln!(std::io::stderr(), "glexec-admin: '{word}' {sentence}");
            1
        }
    }
}

/// What is to be done about a reason.
pub(super) fn mend(reason: Reason) -> Option<&'static str> {
    reasons::entry(reason).map(|entry| entry.mend)
}

fn of(word: &str) -> Option<String> {
    if let Some(reason) = Reason::ALL.iter().find(|reason| reason.word() == word) {
        return of_reason(*reason);
    }
    if let Some((name, entry)) = endings::RESULTS.iter().find(|(name, _)| *name == word) {
        return Some(shown(&format!("{name} (an epilogue's result)"), entry));
    }
    if let Some((name, entry)) = endings::OF_HOOKS.iter().find(|(name, _)| *name == word) {
        return Some(shown(&format!("{name} (a reason of HTCondor's hooks)"), entry));
    }
    let code = word.parse().ok()?;
    let text = shown(&format!("exit code {code}"), &endings::of_code(code)?);
    let reasons: Vec<&str> = of_code(code).map(Reason::word).collect();
    let reasons = if reasons.is_empty() {
        String::new()
    } else {
        line("reasons", &format!("{}; glexec-admin explain REASON", reasons.join(", ")))
    };
    Some(text + &reasons)
}

fn of_reason(reason: Reason) -> Option<String> {
    let (word, code) = (reason.word(), reason.fault().exit_code());
    let entry = reasons::entry(reason)?;
    let title = format!("{word} (exit code {code}: {})", whose(reason.fault()));
    Some(body(&title, entry) + &line("log", &line_of(reason, entry)))
}

const fn whose(fault: Fault) -> &'static str {
    match fault {
        Fault::Client => "the caller must change something",
        Fault::Internal => "the site must act",
        Fault::Denied => "refused",
    }
}

/// What stands in the log.
fn line_of(reason: Reason, entry: &Entry) -> String {
    let (word, code) = (reason.word(), reason.fault().exit_code());
    format!("glexec[4711]: {word}: caller pilot: {} exit_code={code}", entry.log)
}

fn of_code(code: u8) -> impl Iterator<Item = Reason> {
    Reason::ALL.iter().copied().filter(move |reason| reason.fault().exit_code() == code)
}

fn shown(title: &str, entry: &Entry) -> String {
    body(title, entry) + &line("log", entry.log)
}

fn body(title: &str, entry: &Entry) -> String {
    let Entry { means, look, mend, .. } = entry;
    format!("{title}\n") + &line("means", means) + &line("look at", look) + &line("mend", mend)
}

fn line(name: &str, text: &str) -> String {
    format!("  {name:<8} {text}\n")
}

/// Every word there is, with the begin of what it means.
fn list() -> String {
    let first =
        |text: &str| text.split_inclusive(['.', ';', ':']).next().unwrap_or(text).to_owned();
    let row = |word: &str, entry: &Entry| {
        let told = first(entry.means);
        format!("  {word:<24} {}\n", told.trim_end_matches(['.', ';', ':']))
    };
    let mut text = "Exit codes\n".to_owned();
    text.extend(endings::CODES.iter().map(|(name, _, entry)| row(name, entry)));
    for code in [contract::CALLER_MUST_ACT, contract::ADMIN_MUST_ACT, contract::REFUSED] {
        text += &format!("Reasons with {code}\n");
        let known =
            of_code(code).filter_map(|reason| Some((reason.word(), reasons::entry(reason)?)));
        text.extend(known.map(|(word, entry)| row(word, entry)));
    }
    text += "Reasons of HTCondor's hooks\n";
    text.extend(endings::OF_HOOKS.iter().map(|(name, entry)| row(name, entry)));
    text += "Results of an epilogue (epilogue= in the log)\n";
    text.extend(endings::RESULTS.iter().map(|(name, entry)| row(name, entry)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::EpilogueResult;

    fn is_whole(title: &str, text: &str) {
        for name in ["means", "look at", "mend", "log"] {
            let begin = format!("  {name:<8} ");
            let found = text.lines().find_map(|line| line.strip_prefix(&begin));
            assert!(found.is_some_and(|text| text.len() > 10), "{title}: no {name}: {text}");
        }
    }

    #[test]
    fn every_reason_has_an_entry_of_its_own_with_a_line_of_the_log() {
        let mut seen = std::collections::BTreeSet::new();
        for reason in Reason::ALL {
            let word = reason.word();
            let text = of(word).expect("an entry");
            is_whole(word, &text);
            assert!(text.contains(&format!("glexec[4711]: {word}: caller pilot: ")), "{text}");
            let Entry { means, mend, log, .. } = reasons::entry(*reason).expect(word);
            for part in [means, mend, log] {
                assert!(seen.insert(part), "{word} says what another says: {part}");
            }
        }
    }

    #[test]
    fn every_result_of_an_epilogue_and_every_exit_code_has_an_entry() {
        for result in [
            EpilogueResult::Ok,
            EpilogueResult::Exit(1),
            EpilogueResult::Signal(9),
            EpilogueResult::Timeout,
            EpilogueResult::NotStarted,
        ] {
            let text = of(result.word()).expect("an entry");
            is_whole(result.word(), &text);
            assert!(text.contains(&format!("epilogue={}", result.word())), "{text}");
        }
        for (name, _) in endings::OF_HOOKS {
            is_whole(name, &of(name).expect("an entry"));
        }
        for code in 0..=u8::MAX {
            let text = of(&code.to_string()).expect("an entry");
            is_whole(&code.to_string(), &text);
            let has_reasons = matches!(code, 201..=203);
            assert_eq!(text.contains("  reasons"), has_reasons, "{code}: {text}");
        }
        for word in ["256", "-1", "", "nonsense"] {
            assert_eq!(of(word), None, "{word}");
        }
    }

    #[test]
    fn the_list_has_every_word() {
        let list = list();
        let words: Vec<&str> = list
            .lines()
            .filter_map(|line| line.strip_prefix("  "))
            .filter_map(|line| line.split(' ').next())
            .collect();
        for word in Reason::ALL.iter().map(|reason| reason.word()).chain(["201", "204", "ok"]) {
            assert_eq!(words.iter().filter(|seen| **seen == word).count(), 1, "{word}: {list}");
        }
    }
}
