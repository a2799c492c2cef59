//! The same for a document: docs/reasons.md.

use super::{Entry, endings, of_code, reasons};
use contract::{Fault, Reason};

const HEAD: &str = "# Reasons

Where glexec starts nothing it says why with one word. The word stands in brackets in the line on the caller's stderr, at the begin of the line in the log, and as `reason` in the status stream ([callers.md](callers.md)). The words are stable: scripts may match on them.

This page is the table that `glexec-admin explain WORD` shows. `glexec-manual` writes it, and a test holds the two together.
";

/// docs/reasons.md: every reason, those of hooks too, and every result of an epilogue, with cause and mend.
#[must_use]
pub fn reasons_page() -> String {
    let mut page = HEAD.to_owned();
    for fault in [Fault::Client, Fault::Internal, Fault::Denied] {
        let code = fault.exit_code();
        page += &format!("\n- {code}, {}: ", super::whose(fault));
        let words: Vec<String> = of_code(code).map(|reason| linked(reason.word())).collect();
        page += &words.join(", ");
    }
    page += "\n";
    for fault in [Fault::Client, Fault::Internal, Fault::Denied] {
        let code = fault.exit_code();
        page += &format!("\n## {code}: {}\n", super::whose(fault));
        let known = of_code(code).filter_map(|reason| Some((reason, reasons::entry(reason)?)));
        page.extend(known.map(|(reason, entry)| of_reason(reason, entry)));
    }
    page += "\n## Reasons of HTCondor's hooks\n\nThey stand in the job's HoldReason, and in its attribute `GlexecRefused`.\n";
    page.extend(endings::OF_HOOKS.iter().map(|(name, entry)| part(name, entry, entry.log)));
    page += "\n## Results of an epilogue\n\nThey stand behind `epilogue=` in the log, and in the status stream.\n";
    page.extend(endings::RESULTS.iter().map(|(name, entry)| part(name, entry, entry.log)));
    page
}

fn linked(word: &str) -> String {
    format!("[{word}](#{word})")
}

fn of_reason(reason: Reason, entry: &Entry) -> String {
    part(reason.word(), entry, &super::line_of(reason, entry))
}

fn part(title: &str, Entry { means, look, mend, .. }: &Entry, log: &str) -> String {
    format!(
        "\n### {title}\n\n{means}\n\n- Look at: {look}\n- Mend: {mend}\n- In the log: ``{log}``\n"
    )
}
