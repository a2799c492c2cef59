//! glexec-slurm(7) and glexec-condor(7).

use crate::roff::{Roff, sentence};
use about::Program;

const SLURM: [&str; 2] = [
    "With these programs a task of Slurm's runs under another account by glexec(1): its exit code is the task's, the epilogue runs as root whatever ended the task, and a node is drained for the site's faults only. They are in /usr/libexec/glexec.",
    "As root, on each node and on the controller: `/usr/share/glexec-slurm/add-hooks` puts the hooks beside the site's own, the lines of /usr/share/glexec-slurm/glexec.toml.slurm go into the [glexec] table of /etc/glexec.toml, and `glexec-slurm-prolog --check` says what is wrong with the set-up.",
];

const CONDOR: [&str; 2] = [
    "With these programs a job of HTCondor's runs under another account by glexec(1): its exit code or signal is the job's, the epilogue runs as root whatever ended the job, and a job that may not run is held with a sentence. They are in /usr/libexec/glexec.",
    "The lines of /usr/share/glexec-condor/glexec.toml.condor go into the [glexec] table of /etc/glexec.toml, and the files `50-glexec.config` (root's daemons), `50-glexec-pilot.config` (a pilot's) and `60-glexec-access-point.config` (where the schedd is) of that directory into HTCondor's configuration.",
];

/// What belongs to one scheduler.
struct Scheduler {
    name: &'static str,
    summary: &'static str,
    description: &'static [&'static str],
    programs: &'static [Program],
    file: &'static str,
    sample: &'static str,
    guide: &'static str,
}

pub(crate) fn slurm(date: &str) -> String {
    let all = Scheduler {
        name: "glexec-slurm",
        summary: "run the tasks of Slurm under another account",
        description: &SLURM,
        programs: &hooks_slurm::about::PROGRAMS,
        file: "/etc/glexec-slurm.toml",
        sample: include_str!("../../../conf/slurm/glexec-slurm.toml"),
        guide: "/usr/share/doc/glexec-slurm/slurm.md",
    };
    page(date, &all)
}

pub(crate) fn condor(date: &str) -> String {
    let all = Scheduler {
        name: "glexec-condor",
        summary: "run the jobs of HTCondor under another account",
        description: &CONDOR,
        programs: &hooks_condor::about::PROGRAMS,
        file: "/etc/glexec-condor.toml",
        sample: include_str!("../../../conf/condor/glexec-condor.toml"),
        guide: "/usr/share/doc/glexec-condor/htcondor.md",
    };
    page(date, &all)
}

fn page(date: &str, all: &Scheduler) -> String {
    let mut page = Roff::new((all.name, 7), date, all.summary);
    page.section("DESCRIPTION");
    all.description.iter().for_each(|text| page.paragraph(text));
    page.section("PROGRAMS");
    for program in all.programs {
        page.subsection(program.name);
        page.call(program.name, program.words);
        page.paragraph(&sentence(program.summary));
        program.details.iter().for_each(|text| page.paragraph(text));
    }
    page.paragraph("Each answers `--help` and `--version`, where that is its only word.");
    page.section("CONFIGURATION");
    page.paragraph(&format!("`{}`, where it is there; with every key and its default:", all.file));
    page.verbatim(all.sample);
    page.section("SEE ALSO");
    page.paragraph(&format!("glexec(1), glexec.toml(5), glexec-epilogue(7). {}", all.guide));
    page.end()
}
