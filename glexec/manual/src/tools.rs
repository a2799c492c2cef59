//! A page for each tool that pilots call.

use crate::roff::Roff;
use about::Program;

pub(crate) fn page(program: &Program, section: u8, date: &str) -> String {
    let mut page = Roff::new((program.name, section), date, program.summary);
    page.section("SYNOPSIS");
    for words in program.words.split(" | ") {
        page.call(program.name, words);
    }
    page.call(program.name, "--help | --version");
    page.section("DESCRIPTION");
    program.details.iter().for_each(|text| page.paragraph(text));
    page.section("SEE ALSO");
    page.paragraph("glexec(1), glexec-wrapenv(1), glexec-unwrapenv(1), mkgltempdir(8)");
    page.end()
}
