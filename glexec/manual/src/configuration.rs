//! glexec.toml(5).

use crate::roff::{Roff, sentence};
use decide::config::documented;

const DESCRIPTION: [&str; 4] = [
    "/etc/glexec.toml says who may call glexec(1), as whom payloads run, and what comes after them. It is a file of TOML, root's, and neither the file nor a directory above it may be writable by others. An unknown key is an error. Where the file is absent, /etc/glexec.conf is read, in the syntax of gLExec 0.9. What is in force is shown by `glexec-admin show`, and `glexec-admin check` looks at the file and at the node.",
    "Without a white list nobody may call glexec, and without a mapping nobody is mapped: as installed, the file refuses everybody.",
    "Entries of a white list are names; `.pool` for accounts of that name with digits behind it; `prefix*` for the same; and `*` for everybody, with a warning each run. Either of the two lists admits.",
    "`preserve_env_variables` holds names, or prefixes that end in `_*`. What would have a program load or run something else (LD_*, BASH_ENV, PYTHON* and the like) is an error to ask for.",
];

const EXAMPLE: &str = "\
[glexec]
user_white_list = [\"pilot\"]
epilogue = \"/usr/libexec/site/glexec-epilogue\"
epilogue_environment = \"own\"

[mapping]
methods = [\"static\"]
[[mapping.static]]
caller = \"pilot\"
account = \"payload001\"
";

pub(crate) fn page(date: &str) -> String {
    let mut page = Roff::new(("glexec.toml", 5), date, "the configuration of glexec");
    page.section("SYNOPSIS");
    page.paragraph("`/etc/glexec.toml`");
    page.section("DESCRIPTION");
    DESCRIPTION.iter().for_each(|text| page.paragraph(text));
    page.section("KEYS");
    let mut table = "";
    for key in documented().filter(|key| !key.table.is_empty()) {
        if key.table != table {
            table = key.table;
            page.subsection(table);
        }
        page.entry(
            &format!("`{}` = {}", key.name, key.takes),
            &format!(
                "{} Default: {}. {}",
                sentence(key.help),
                key.default,
                key.limits.unwrap_or_default()
            ),
        );
    }
    page.section("EXAMPLE");
    page.verbatim(EXAMPLE);
    page.section("SEE ALSO");
    page.paragraph("glexec(1), glexec-epilogue(7), glexec-admin(8). /usr/share/doc/glexec/configuration.md has the errors of each key, /usr/share/doc/glexec/credentials.md the mapping by credential.");
    page.end()
}
