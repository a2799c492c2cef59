//! glexec-epilogue(7).

use crate::roff::Roff;
use contract::variables::epilogue::{ALL, ARGV, JOB};
use contract::variables::of_epilogue;

const DESCRIPTION: [&str; 4] = [
    "The epilogue is a program of the site, named by `epilogue` in glexec.toml(5). A lingering glexec(1) runs it after the payload and after what the payload left behind, as root unless `epilogue_user` says otherwise, whatever the payload did. A run that is refused has none.",
    "It runs only where nobody can change it but root (and `epilogue_user` and the members of `epilogue_group`): the file, its interpreter, and every directory above them. This is looked at before the payload starts, and again before the epilogue does.",
    "It has a session of its own, the directory /, the umask 022, standard input, output and error on /dev/null (`epilogue_output` may send them to the log), and none of the caller's limits. At `epilogue_timeout` it gets TERM, and `kill_grace` later KILL. Write `epilogue_environment = \"own\"`: then it has HOME, USER, LOGNAME and SHELL of its own identity, a PATH of its own, and the variables below, and nothing else.",
    "It runs at least once to its end and never two at a time for one run. Where glexec itself was killed it is owed and `glexec-admin sweep` runs it, with `GLEXEC_EPILOG_RESULT=lost`; so it must be idempotent. In a directory that the target can write it must work as the target (setpriv(1)).",
];

const EXAMPLE: &str = "\
#!/bin/sh
set -eu
uid=$GLEXEC_EPILOG_TARGET_UID gid=$GLEXEC_EPILOG_TARGET_GID
setpriv --reuid=\"$uid\" --regid=\"$gid\" --clear-groups --no-new-privs \\
    find /tmp -mindepth 1 -maxdepth 1 -user \"$uid\" -exec rm -rf -- {} +
logger -t glexec-epilogue -- \"target=$GLEXEC_EPILOG_TARGET_USER\" \\
    \"rc=$GLEXEC_EPILOG_TARGET_RC attempt=$GLEXEC_EPILOG_ATTEMPT\"
";

pub(crate) fn page(date: &str) -> String {
    let summary = "the program that glexec runs after the payload";
    let mut page = Roff::new(("glexec-epilogue", 7), date, summary);
    page.section("DESCRIPTION");
    DESCRIPTION.iter().for_each(|text| page.paragraph(text));
    page.section("ENVIRONMENT");
    for (name, says) in ALL {
        let follows = match *name {
            ARGV => "N",
            JOB => "NAME",
            _ => "",
        };
        page.entry(&format!("`{}{follows}`", of_epilogue(name)), says);
    }
    page.section("EXIT STATUS");
    page.entry("`0`", "glexec returns the payload's code.");
    page.entry("`201` to `204`", "glexec returns 204.");
    page.entry("anything else, a signal, the timeout", "glexec returns 202.");
    page.paragraph("With `epilogue_failure = \"report\"` glexec returns the payload's code always, and the failure is logged.");
    page.section("EXAMPLE");
    page.paragraph("For accounts that one run at a time uses:");
    page.verbatim(EXAMPLE);
    page.section("SEE ALSO");
    page.paragraph("glexec(1), glexec.toml(5), glexec-admin(8). /usr/share/doc/glexec/epilogue.md has the rules for writing one, /usr/share/doc/glexec/sweep.md what is owed and how it is paid.");
    page.end()
}
