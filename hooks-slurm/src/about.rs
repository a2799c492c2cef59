//! What each of the programs says of itself.

use about::Program;

/// The task wrapper.
pub const TASK: Program = Program {
    name: "glexec-slurm-task",
    words: "COMMAND [ARG...]",
    summary: "the task wrapper: runs a command by glexec and ends as it ended",
    details: &[
        "Run by the submitter: put it in front of a command in an srun line, or behind exec as the last line of a batch script. Signals are passed on, the task's environment and the descriptors that [task] keep_descriptors names reach the payload, and a payload that died of a signal makes the task die of it ([task] signal_exit).",
        "Exit code: the payload's; 201, 202 or 203 with a sentence on standard error where it was not run.",
    ],
};

/// The interpreter of batch scripts that conf/slurm/job_submit.lua names.
pub const SCRIPT: Program = Program {
    name: "glexec-slurm-script",
    words: "INTERPRETER SCRIPT [ARG...]",
    summary: "runs a batch script by glexec, with the script's own interpreter",
    details: &[
        "Called by the kernel, where the first line of a script names it: job_submit.lua has slurmctld put it there. The script reaches the target as a file without a name.",
        "Exit code: the script's, as with glexec-slurm-task.",
    ],
};

/// Prolog.
pub const PROLOG: Program = Program {
    name: "glexec-slurm-prolog",
    words: "[--check]",
    summary: "Slurm's Prolog: whether this node can run payloads",
    details: &[
        "Run by slurmd as root before a job's first step on a node, without words: it has glexec-admin check the node and rehearse a run of the job's user, and makes the job's directories. Exit code 1 for a fault of the site's, with which the node is drained; else 0.",
        "With --check, by hand, it looks at the whole set-up of Slurm and glexec instead: one line for each thing that is wrong, none where all is well. Exit code 1 where one of them is an ERROR.",
    ],
};

/// Epilog.
pub const EPILOG: Program = Program {
    name: "glexec-slurm-epilog",
    words: "",
    summary: "Slurm's Epilog: pays what a job's runs still owe",
    details: &[
        "Run by slurmd as root at a job's end on each of its nodes: it waits for living runs of the job, has owed epilogues run, logs and hands on the records of the payloads, and removes the job's directories.",
        "Exit code 1 for a fault of the site's, with which the node is drained; else 0.",
    ],
};

/// TaskProlog.
pub const TASK_PROLOG: Program = Program {
    name: "glexec-slurm-task-prolog",
    words: "",
    summary: "Slurm's TaskProlog: tells a task its variables",
    details: &[
        "Run by slurmstepd as the submitter before each task: it prints the variables of [task_prolog.export] and where the job's scratch directory is.",
        "Exit code 0; with [task_prolog] veto 201, 202 or 203 where glexec would refuse the user.",
    ],
};

/// TaskEpilog.
pub const TASK_EPILOG: Program = Program {
    name: "glexec-slurm-task-epilog",
    words: "",
    summary: "Slurm's TaskEpilog: says on the job's standard error how payloads ended",
    details: &[
        "Run by slurmstepd as the submitter after each task: it waits for wrappers whose shell is gone ([task_epilog] wait), and writes one line for each payload.",
    ],
};

/// The epilogue's record.
pub const RECORD: Program = Program {
    name: "glexec-slurm-record",
    words: "",
    summary: "an epilogue of glexec's: keeps what a payload did until its job's end",
    details: &[
        "Named as `epilogue` in /etc/glexec.toml, or called by the site's own epilogue with its GLEXEC_EPILOG_* variables. The record is for glexec-slurm-epilog.",
        "Exit code 1 where the record could not be kept, else 0.",
    ],
};

/// EpilogSlurmctld.
pub const EPILOG_CTLD: Program = Program {
    name: "glexec-slurm-epilog-ctld",
    words: "",
    summary: "Slurm's EpilogSlurmctld: writes the records of payloads into the accounting",
    details: &[
        "Run by slurmctld at a job's end, where the site's file has [accounting]: it takes what the nodes' epilogs left in `spool` and tells sacctmgr.",
        "Exit code 0: it never fails a job.",
    ],
};

/// Every program of this crate.
pub const PROGRAMS: [Program; 8] =
    [TASK, SCRIPT, PROLOG, EPILOG, TASK_PROLOG, TASK_EPILOG, RECORD, EPILOG_CTLD];

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
