//! What a submitter can write into a job's environment, and what comes of it: nothing.

use harness::{Cluster, LIBEXEC, Shape, accounts};
use std::time::Duration;

/// The facts' list: what is the submitter's in a task, and looks like Slurm's or glexec's.
const LIES: &str = "export SLURM_UID=0 SLURM_JOB_UID=0 SLURM_JOB_USER=root SLURM_STEP_ID=77 SLURM_STEPID=77 \
SLURM_JOB_EXIT_CODE=0 SLURM_JOB_EXIT_CODE2=0:0 SLURM_SCRIPT_CONTEXT=epilog_slurmd \
GLEXEC_EPILOG_TARGET_RC=0 GLEXEC_EPILOG_GLEXEC_UID=0 GLEXEC_EPILOG_JOB_SLURM_JOB_ID=1 GLEXEC_EPILOG_RESULT=exited \
PATH=/home/pilot/bin:/usr/bin:/bin LD_PRELOAD=/home/pilot/evil.so LD_LIBRARY_PATH=/home/pilot BASH_ENV=/home/pilot/evil \
PYTHONPATH=/home/pilot SLURM_CONF=/home/pilot/slurm.conf GLEXEC_CONF=/home/pilot/glexec.conf PMI_FD=0 SLURM_PROCID=../../x";

const EVIL: &str = "#!/bin/sh\ntouch /tmp/evil\nexit 0\n";

fn told(cluster: &Cluster, job: u32, name: &str) -> Vec<String> {
    let begin = format!("GLEXEC_EPILOG_{name}=");
    let looks = cluster.epilogues_of(job).into_iter();
    looks
        .flat_map(|look| look.environment)
        .filter_map(|entry| entry.strip_prefix(&begin).map(str::to_owned))
        .collect()
}

fn collected(cluster: &Cluster, job: u32) -> Vec<String> {
    let begin = format!("job {job}: ");
    let lines =
        cluster.site().log().into_iter().filter(|line| line.contains("glexec-slurm-epilog"));
    lines
        .filter_map(|line| line.split_once(&begin).map(|(_, rest)| rest.to_owned()))
        .filter(|rest| rest.contains("rc="))
        .collect()
}

#[test]
fn a_tasks_lies_change_neither_identity_nor_record_nor_epilogue() {
    let cluster = Cluster::start(Shape::default());
    let site = cluster.site();
    site.directory("/home/pilot/bin", (accounts::PILOT, accounts::PILOT), 0o755);
    for name in ["glexec", "glexec-admin", "scontrol", "sh", "rm", "true", "sacctmgr"] {
        site.file(&format!("/home/pilot/bin/{name}"), EVIL, 0o755);
    }
    site.file("/home/pilot/evil", "touch /tmp/evil\n", 0o755);
    let script = format!("{LIES}\nexec {LIBEXEC}/glexec-slurm-task /bin/sh -c 'id -u; exit 9'");
    let job = cluster.sbatch("", &script);
    assert_eq!(
        cluster.ended(job).exit_code(),
        "9:0",
        "{}\n{}",
        cluster.printed(job),
        cluster.logs()
    );
    assert!(
        cluster.printed(job).contains(&accounts::PAYLOAD1.to_string()),
        "{}",
        cluster.printed(job)
    );
    assert_eq!(told(&cluster, job, "TARGET_RC"), ["9"]);
    assert_eq!(told(&cluster, job, "GLEXEC_UID"), [accounts::PILOT.to_string()]);
    assert_eq!(told(&cluster, job, "RESULT"), ["exited"]);
    assert_eq!(collected(&cluster, job).len(), 1);
    assert!(!site.path("/tmp/evil").exists());
}

#[test]
fn a_job_number_that_is_somebody_elses_gives_nothing() {
    // Both may call glexec; `other` claims to run in a job of `pilot`'s.
    let mapping = "[mapping]\n[[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload1\"\n[[mapping.static]]\ncaller = \"other\"\naccount = \"payload2\"\n";
    let glexec = "group_white_list = [\"other\"]".to_owned();
    let cluster = Cluster::start(Shape { mapping, glexec, ..Shape::default() });
    let task = format!("{LIBEXEC}/glexec-slurm-task");
    let job = cluster.sbatch(
        "",
        &format!(
            "echo ready; while [ ! -e /tmp/go ]; do sleep 0.05; done; exec {task} sh -c 'exit 9'"
        ),
    );
    cluster.says(job, "ready");
    let lie = format!("SLURM_JOB_ID={job}");
    // A record for a job that is not his, and a run that would hold its epilog up.
    let forged = cluster.by("other", &format!("{lie} {task} sh -c 'exit 66'"));
    assert_eq!(forged.code(), 66, "{}", forged.error());
    cluster.by(
        "other",
        &format!("{lie} setsid {task} sleep 30 >/dev/null 2>&1 </dev/null & sleep 0.3"),
    );
    cluster.root("touch /tmp/go").exited(0);
    let begin = std::time::Instant::now();
    assert_eq!(cluster.ended(job).exit_code(), "9:0");
    assert!(begin.elapsed().as_secs() < 10, "the epilog waited for a stranger's run");
    let lines = collected(&cluster, job);
    assert!(lines.len() == 1 && lines[0].contains("rc=9"), "{lines:?}");
}

#[test]
fn the_note_of_an_outcome_is_roots_and_is_shown_to_its_own_job() {
    let cluster = Cluster::start(Shape::default());
    let task = format!("{LIBEXEC}/glexec-slurm-task");
    let script = format!(
        "d=/run/glexec-slurm/$(id -u).$SLURM_JOB_ID; mkfifo $d/note.-.0; touch $d/x; ls $d; \
         mkdir /run/glexec-slurm/x; exec {task} sh -c 'exit 9'"
    );
    let job = cluster.sbatch("", &script);
    assert_eq!(cluster.ended(job).exit_code(), "9:0");
    let printed = cluster.printed(job);
    assert_eq!(printed.matches("Permission denied").count(), 4, "{printed}");
    assert!(printed.contains("glexec: payload of payload1: exit code 9\n"), "{printed}");
    cluster.wait_until("its directory is gone", Duration::from_secs(10), || {
        cluster.root("ls -A /run/glexec-slurm").output().is_empty()
    });
}

#[test]
fn what_a_target_leaves_in_its_directory_leads_no_hook_astray() {
    let hooks = "[scratch]\nbase = \"/var/lib/scratch\"\n".to_owned();
    let cluster = Cluster::start(Shape { hooks, ..Shape::default() });
    let task = format!("{LIBEXEC}/glexec-slurm-task");
    let payload = "cd $TMPDIR && ls -A && mkdir closed && ln -s /etc closed/etc && ln -s /etc/shadow s && mkfifo f && chmod 0 closed; exit 9";
    let job = cluster.sbatch("", &format!("exec {task} sh -c '{payload}'"));
    assert_eq!((job, cluster.ended(job).exit_code()), (1, "9:0"), "{}", cluster.printed(job));
    cluster.wait_until("its directory is gone", Duration::from_secs(10), || {
        cluster.root("ls -A /var/lib/scratch").output().is_empty()
    });
    // One that its owner cannot empty: it stays, and no job and no node has to suffer for it.
    let payload =
        "mkdir $TMPDIR/kept; echo ready; while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 9";
    let job = cluster.sbatch("--requeue", &format!("exec {task} sh -c '{payload}'"));
    cluster.says(job, "ready");
    cluster.root("cd /var/lib/scratch/*; touch kept/x; chown root kept; touch /tmp/go").exited(0);
    assert_eq!(cluster.ended(job).exit_code(), "9:0");
    let again = cluster.sbatch("", &format!("exec {task} sh -c 'touch $TMPDIR/y && exit 4'"));
    assert_eq!(cluster.ended(again).exit_code(), "4:0");
    assert!(
        cluster.site().path("/etc/shadow").exists() && cluster.site().path("/etc/passwd").exists()
    );
    assert!(!cluster.node_state(0).0.contains("DRAIN"));
}

#[test]
fn the_task_prolog_says_only_what_the_site_configured() {
    let hooks =
        "[task_prolog]\nveto = true\n[task_prolog.export]\nSITE_WORD = \"one two\"\n".to_owned();
    let cluster = Cluster::start(Shape { hooks, ..Shape::default() });
    let lies = "GLEXEC_ID=\"$(printf 'x\\nexport EVIL=1')\" GLEXEC_TARGET_USER=\"$(printf 'x\\nexport EVIL=2')\"";
    let ran = cluster.by("pilot", &format!("{lies} srun -n1 sh -c 'echo [$SITE_WORD] [$EVIL]'"));
    // That target is none of his: vetoed, with one escaped line.
    assert_eq!(ran.code(), 203, "{} {}", ran.output(), ran.error());
    let ran = cluster.by(
        "pilot",
        "GLEXEC_ID=\"$(printf 'x\\nexport EVIL=1')\" srun -n1 sh -c 'echo [$SITE_WORD] [$EVIL]'",
    );
    assert_eq!(ran.output().trim(), "[one two] []");
}

#[test]
fn made_up_jobs_do_not_push_out_the_record_of_a_real_one() {
    let cluster = Cluster::start(Shape::default());
    let uid = accounts::PILOT;
    let script = format!(
        "export GLEXEC_EPILOG_GLEXEC_UID={uid} GLEXEC_EPILOG_TARGET_USER=payload1 GLEXEC_EPILOG_TARGET_RC=0
         for GLEXEC_EPILOG_JOB_SLURM_JOB_ID in $(seq 100001 101024); do
             export GLEXEC_EPILOG_JOB_SLURM_JOB_ID; {LIBEXEC}/glexec-slurm-record || exit; done"
    );
    cluster.root(&script).exited(0);
    let job = cluster.sbatch("", &format!("exec {LIBEXEC}/glexec-slurm-task sh -c 'exit 9'"));
    assert_eq!(cluster.ended(job).exit_code(), "9:0", "{}", cluster.logs());
    cluster.wait_until("its record is collected", Duration::from_secs(10), || {
        collected(&cluster, job).iter().any(|line| line.contains("rc=9"))
    });
    // There are no more made-up ones than there may be.
    let one = script.replace("seq 100001 101024", "seq 200000 200000");
    cluster.root(&one).exited(0);
    assert!(cluster.site().log().iter().any(|line| line.contains("job 200000: not kept")));
}
