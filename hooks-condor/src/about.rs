//! What each of the programs says of itself.

use about::Program;

/// The programs of HTCondor 7.1.3 to 8.8.
pub const CONDOR_GLEXEC: Program = Program {
    name: "condor_glexec",
    words: "setup|run|job_wrapper|kill|cleanup|update_proxy WORD...",
    summary: "the six programs by which HTCondor 7.1.3 to 8.8 runs jobs with GLEXEC_JOB",
    details: &[
        "Called by the starter and the procd, as the pilot, by links of the names condor_glexec_setup, condor_glexec_run, condor_glexec_job_wrapper, condor_glexec_kill, condor_glexec_cleanup and condor_glexec_update_proxy in HTCondor's LIBEXEC directory.",
    ],
};

/// The self-test.
pub const SELFTEST: Program = Program {
    name: "glexec-condor-selftest",
    words: "[GLEXEC [DIRECTORY]]",
    summary: "whether glexec works for this pilot on this node",
    details: &[
        "Run by a pilot before it offers a slot: it runs a shell with an inline command, and a script that it puts into DIRECTORY, by GLEXEC. Without words these are /tmp and /usr/sbin/glexec.",
        "Exit code 0 where both ran under another account, else 1 with a line that says what to do.",
    ],
};

/// The job wrapper.
pub const WRAPPER: Program = Program {
    name: "glexec-condor-wrapper",
    words: "COMMAND [ARG...]",
    summary: "HTCondor's USER_JOB_WRAPPER: runs a job by glexec and ends as it ended",
    details: &[
        "Run by the starter as the user that it chose. Signals are passed on, the job's own environment reaches the payload where /etc/glexec.toml says so, and a payload that died of a signal makes the job die of it ([wrapper] signal_exit).",
        "Exit code: the payload's; 201, 202 or 203 with a sentence on standard error where it was not run, and in _CONDOR_WRAPPER_ERROR_FILE where the starter names one.",
    ],
};

/// The target's half of copying.
pub const COPY: Program = Program {
    name: "glexec-condor-copy",
    words: "WORD...",
    summary: "the target's half of copying a job's sandbox",
    details: &[
        "Run by glexec as the target, with the words that glexec-condor-wrapper gives it, where [sandbox] way is \"copy\".",
    ],
};

/// PREPARE_JOB.
pub const PREPARE: Program = Program {
    name: "glexec-condor-prepare",
    words: "",
    summary: "HTCondor's PREPARE_JOB: whether glexec would run the job",
    details: &[
        "Run by the starter as the job's user, with the job's ad on standard input: it rehearses the run and looks whether the job will go through glexec's wrapper, or makes it ([prepare] rewrite). Standard output holds the attributes that the starter reads.",
        "Exit code 0 where the job may run; else 201, 202 or 203, and the job is held, or goes back to the queue, with a sentence.",
    ],
};

/// PREPARE_JOB_BEFORE_TRANSFER.
pub const PREPARE_TRANSFER: Program = Program {
    name: "glexec-condor-prepare-transfer",
    words: "",
    summary: "HTCondor's PREPARE_JOB_BEFORE_TRANSFER: whether glexec would run the job",
    details: &[
        "As glexec-condor-prepare, before a transfer plug-in of the job's fetches anything; it rewrites nothing.",
    ],
};

/// JOB_EXIT.
pub const EXIT: Program = Program {
    name: "glexec-condor-exit",
    words: "[REASON]",
    summary: "HTCondor's JOB_EXIT: settles what a killed job owes",
    details: &[
        "Run by the starter as the job's user, with the job's ad on standard input: it waits for runs that still live ([exit] wait), has owed epilogues run, and sends the attributes of a job whose wrapper was killed.",
        "Exit code 0: it never fails a job.",
    ],
};

/// JOB_EXIT from 25.4 on.
pub const EXIT_STAY: Program = Program {
    name: "glexec-condor-exit-stay",
    words: "[REASON]",
    summary: "HTCondor's JOB_EXIT from 25.4 on: settles what a killed job owes, and outlives the starter",
    details: &["As glexec-condor-exit; the starter of these versions leaves when this hook ends."],
};

/// The epilogue's record.
pub const RECORD: Program = Program {
    name: "glexec-condor-record",
    words: "",
    summary: "an epilogue of glexec's: keeps what a payload did for JOB_EXIT",
    details: &[
        "Named as `epilogue` in /etc/glexec.toml, or called by the site's own epilogue with its GLEXEC_EPILOG_* variables: a line in the log, and a record in the job's sandbox.",
        "Exit code 1 where these variables are not there, else 0.",
    ],
};

/// Every program of this crate.
pub const PROGRAMS: [Program; 9] =
    [CONDOR_GLEXEC, SELFTEST, WRAPPER, COPY, PREPARE, PREPARE_TRANSFER, EXIT, EXIT_STAY, RECORD];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_that_is_built_is_described() {
        let manifest = include_str!("../Cargo.toml");
        let built = manifest.split("[[bin]]\nname = \"").skip(1);
        let built: Vec<&str> = built.filter_map(|part| part.split('"').next()).collect();
        assert_eq!(built, PROGRAMS.map(|program| program.name));
    }
}
