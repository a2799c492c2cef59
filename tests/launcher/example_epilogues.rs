//! The epilogues of conf/epilogue, as they stand there.

use harness::accounts::{OTHER, PAYLOAD1};
use harness::{LIBEXEC, Site};

const CLEAN: &str = include_str!("../../conf/epilogue/clean-leftovers");
const ACCOUNTING: &str = include_str!("../../conf/epilogue/accounting");
const RECORD_AND_OWN: &str = include_str!("../../conf/epilogue/record-and-own");
const OWN: &str = "epilogue_environment = \"own\"";

fn with(script: &str) -> Site {
    Site::with_epilogue_script(script, OWN)
}

#[test]
fn what_the_account_has_left_is_gone_and_nothing_else_is() {
    let site = with(CLEAN);
    for directory in ["/tmp", "/var/tmp", "/dev/shm"] {
        site.directory(directory, (0, 0), 0o1777);
        site.file(&format!("{directory}/others"), "stays", 0o644);
        site.own(&format!("{directory}/others"), (OTHER, OTHER));
    }
    let script = "for d in /tmp /var/tmp /dev/shm; do mkdir -p \"$d/a b/-rf\"; echo x > $d/-x; \
                  ln -s $d/others $d/link; ln -s / $d/root; done; exit 3";
    site.glexec(["sh", "-c", script]).run().exited(3);
    for directory in ["/tmp", "/var/tmp", "/dev/shm"] {
        assert_eq!(site.read(&format!("{directory}/others")), "stays");
        let of_account = |entry: &std::fs::DirEntry| {
            use std::os::unix::fs::MetadataExt as _;
            entry.metadata().unwrap().uid() == PAYLOAD1
        };
        let entries = std::fs::read_dir(site.path(directory)).unwrap().map(Result::unwrap);
        let left: Vec<_> = entries.filter(of_account).map(|entry| entry.file_name()).collect();
        assert!(left.is_empty(), "{directory}: {left:?}");
    }
}

#[test]
fn each_run_has_one_line_whatever_its_end_and_however_often_its_epilogue_runs() {
    let site = with(ACCOUNTING);
    let lines = || site.read("/var/log/glexec-accounting");
    site.glexec(["sh", "-c", "exit 3"]).run().exited(3);
    site.glexec(["sh", "-c", "kill -9 $$"]).run();
    let told = lines();
    let line = |n: usize| told.lines().nth(n).unwrap_or_default();
    assert!(line(0).contains(" target=payload1 result=exited rc=3 start=1"), "{told}");
    assert!(line(1).contains(" result=killed rc=137 "), "{told}");
    // As where it was interrupted behind its line, and runs again.
    let id = line(0).split(' ').next().unwrap_or_default().to_owned();
    assert!(id.len() > "run=".len(), "{told}");
    let repeated = format!("#!/bin/sh\nexport GLEXEC_EPILOG_RUN_ID={}\n", &id["run=".len()..]);
    site.epilogue(&ACCOUNTING.replacen("#!/bin/sh\n", &repeated, 1));
    let before = lines();
    site.glexec(["true"]).run().exited(0);
    assert_eq!(lines(), before, "the run has its line");
}

#[test]
fn every_program_of_the_sites_runs_though_one_fails_and_the_first_that_failed_decides() {
    let site = with(RECORD_AND_OWN);
    let own = "/usr/libexec/site/epilogue.d";
    site.directory(own, (0, 0), 0o755);
    site.file(
        &format!("{LIBEXEC}/glexec-slurm-record"),
        "#!/bin/sh\necho record >>/var/log/seen\n",
        0o755,
    );
    site.file(&format!("{LIBEXEC}/glexec-condor-record"), "#!/bin/sh\nexit 0\n", 0o755);
    site.file(&format!("{own}/10-first"), "#!/bin/sh\necho first >>/var/log/seen\n", 0o755);
    site.file(&format!("{own}/20-not"), "#!/bin/sh\necho not >>/var/log/seen\n", 0o644);
    site.glexec(["sh", "-c", "exit 3"]).run().exited(3);
    assert_eq!(site.read("/var/log/seen"), "record\nfirst\n");
    site.file(&format!("{own}/05-fails"), "#!/bin/sh\nexit 202\n", 0o755);
    let ran = site.glexec(["sh", "-c", "exit 3"]).run();
    ran.exited(202);
    assert_eq!(site.read("/var/log/seen"), "record\nfirst\nrecord\nfirst\n");
    let failed = |line: &String| line.contains("the epilogue failed: exit 1");
    assert!(site.log().iter().any(failed), "{:#?}", site.log());
}
