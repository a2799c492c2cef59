//! glexec(1).

use crate::roff::Roff;
use contract::variables;
use contract::{
    ADMIN_MUST_ACT, CALLER_MUST_ACT, COLLISION, FOUND_NOT_EXECUTABLE, NOT_FOUND, REFUSED, Reason,
};

const DESCRIPTION: [&str; 3] = [
    "glexec runs COMMAND under the account that the site's configuration maps the caller to. By default it stays as the parent of the command (the payload), ends what the payload leaves behind, runs the site's epilogue as root, and returns the payload's exit code. It is setuid root.",
    "Options stand before COMMAND; every word after it is the payload's. Without a slash COMMAND is looked up in the site's `path`, never in the caller's PATH. The payload has nothing of the caller's environment but the variables whose names begin with GLEXEC_, those that the site's `preserve_env_variables` lists, and with `job_environment` those of its job; HOME, USER, LOGNAME, SHELL and PATH are the target's.",
    "The old form `glexec UID GID COMMAND [ARG...]` runs COMMAND where the caller is mapped to these ids, and else ends with 203.",
];

pub(crate) fn page(date: &str) -> String {
    let mut page = Roff::new(("glexec", 1), date, "run a command under another account");
    page.section("SYNOPSIS");
    page.call("glexec", "[OPTION...] [--] COMMAND [ARG...]");
    page.call("glexec", "--settle KEY=VALUE...");
    page.section("DESCRIPTION");
    DESCRIPTION.iter().for_each(|text| page.paragraph(text));
    page.section("OPTIONS");
    for (ways, value, help) in contract::options() {
        let term = format!("`{}`", format!("{ways} {value}").trim_end());
        page.entry(&term, &format!("{help}."));
    }
    exit_status(&mut page);
    reasons(&mut page);
    page.section("ENVIRONMENT");
    page.paragraph("Of the caller's variables glexec itself reads these:");
    for (name, says) in variables::ALL {
        page.entry(&format!("`{name}`"), says);
    }
    page.paragraph(
        "Variables whose names begin with GLEXEC_EPILOG_ are glexec's own: glexec-epilogue(7).",
    );
    files(&mut page);
    page.section("SEE ALSO");
    page.paragraph("glexec.toml(5), glexec-epilogue(7), glexec-slurm(7), glexec-condor(7), glexec-admin(8). /usr/share/doc/glexec/streams.md has the status stream and the control descriptor.");
    page.end()
}

fn exit_status(page: &mut Roff) {
    page.section("EXIT STATUS");
    let rows = [
        ("the payload's own".to_owned(), "The payload exited, and not with 201 to 204."),
        ("128+n".to_owned(), "The payload died of signal n."),
        (FOUND_NOT_EXECUTABLE.to_string(), "The command could not be executed at the last moment."),
        (NOT_FOUND.to_string(), "The command was gone at the last moment."),
        (
            CALLER_MUST_ACT.to_string(),
            "Nothing was run, and the caller must change something: its credential, the command line, a limit or setting of its process, the command.",
        ),
        (
            ADMIN_MUST_ACT.to_string(),
            "The site must act: installation, configuration, log, epilogue. Where the payload has run, its epilogue has failed.",
        ),
        (
            REFUSED.to_string(),
            "Refused: the caller is on no white list, is banned, or is mapped to no account that may be a target.",
        ),
        (COLLISION.to_string(), "The payload, or the epilogue, itself exited with 201 to 204."),
    ];
    for (code, meaning) in rows {
        page.entry(&format!("`{code}`"), meaning);
    }
    page.paragraph("Where nothing was started one line on standard error says why; the log has more. With `linger = false` the payload's status reaches the caller as it is.");
}

fn reasons(page: &mut Roff) {
    page.section("REASONS");
    page.paragraph("The words that stand in the log and in the status stream where nothing was started, each with glexec's exit code. They are stable.");
    for reason in Reason::ALL {
        let term = format!("`{}` ({})", reason.word(), reason.fault().exit_code());
        page.entry(&term, reason.meaning());
    }
}

fn files(page: &mut Roff) {
    page.section("FILES");
    let files = [
        (
            "/etc/glexec.toml",
            "The configuration: glexec.toml(5). It is read as root, and refused where others than root could change it.",
        ),
        ("/etc/glexec.conf", "The configuration of gLExec 0.9, where /etc/glexec.toml is absent."),
        (
            "/usr/libexec/glexec",
            "The programs that glexec starts where it needs them: glexec-accounts, glexec-credential, glexec-settle.",
        ),
        ("/var/lib/glexec", "What lingering runs owe, one file for each of them."),
    ];
    for (path, what) in files {
        page.entry(&format!("`{path}`"), what);
    }
}
