//! Of which job a run is: what its task says counts for nothing where Slurm and the kernel know better.

use harness::{Cluster, LIBEXEC, Shape};
use std::time::Duration;

/// An Epilog that waits for a run of these tests' waits for longer than any of them does.
const PATIENT: &str = "[epilog]\nwait = 250\ntime_limit = 250\n";

/// What an account of the cluster's logged of a job as its record.
fn collected(cluster: &Cluster, job: u32) -> Vec<String> {
    let begin = format!("job {job}: ");
    let all = cluster.site().log().into_iter();
    let own = all.filter(|line| line.contains("glexec-slurm-epilog") && line.contains("rc="));
    own.filter_map(|line| line.split_once(&begin).map(|(_, rest)| rest.to_owned())).collect()
}

/// How many runs live.
fn living(cluster: &Cluster) -> usize {
    cluster.root("glexec-admin ps --json").output().matches("\"live\"").count()
}

/// A job that waits for a word, and the word.
const WAITS: &str = "echo ready; while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 9";

fn lives(cluster: &Cluster, runs: usize) {
    cluster.wait_until("the runs live", Duration::from_secs(20), || living(cluster) == runs);
}

/// Started from a shell that was there before the job, and from within another job: neither is of it.
fn what_is_not_of_the_job_is_not_waited_for(proctrack: &'static str) {
    let cluster =
        Cluster::start(Shape { proctrack, hooks: PATIENT.to_owned(), ..Shape::default() });
    let task = format!("{LIBEXEC}/glexec-slurm-task");
    let forged = format!("SLURM_JOB_ID=1 {task} sleep 1000");
    // Before there is a job; and later, by a shell of before.
    let early = format!("setsid env {forged} >/dev/null 2>&1 </dev/null &");
    let late = format!(
        "setsid sh -c 'while [ ! -e /tmp/late ]; do sleep 0.05; done; {forged}; true' >/dev/null 2>&1 </dev/null &"
    );
    cluster.by("pilot", &early).exited(0);
    cluster.by("pilot", &late).exited(0);
    lives(&cluster, 1);
    let job = cluster.sbatch("", &format!("exec {task} sh -c '{WAITS}'"));
    assert_eq!(job, 1);
    cluster.says(job, "ready");
    let other = cluster.sbatch("", &forged);
    cluster.root("touch /tmp/late").exited(0);
    lives(&cluster, 4);
    cluster.root("touch /tmp/go").exited(0);
    assert_eq!(cluster.ended(job).exit_code(), "9:0", "{}", cluster.logs());
    // They live still, and the job is over, its CPUs free.
    assert_eq!((living(&cluster), cluster.job(other).state()), (3, "RUNNING"));
    assert_eq!(collected(&cluster, job).len(), 1);
    let told = cluster.site().log();
    let told = told.iter().filter(|line| line.contains("names this job and is not of it"));
    assert_eq!(told.count(), 3);
    cluster.root(&format!("scancel {other}")).exited(0);
    cluster.ended(other);
}

#[test]
fn what_is_not_of_the_job_is_not_waited_for_with_linuxproc() {
    what_is_not_of_the_job_is_not_waited_for("linuxproc");
}

#[test]
fn what_is_not_of_the_job_is_not_waited_for_with_pgid() {
    what_is_not_of_the_job_is_not_waited_for("pgid");
}

#[test]
fn what_is_not_of_the_job_is_not_waited_for_with_cgroup() {
    what_is_not_of_the_job_is_not_waited_for("cgroup");
}

/// A run that whoever started it has left, and that began during the job.
fn an_orphan(proctrack: &'static str, hooks: &str) -> (Cluster, u32) {
    let cluster = Cluster::start(Shape { proctrack, hooks: hooks.to_owned(), ..Shape::default() });
    let task = format!("{LIBEXEC}/glexec-slurm-task");
    let job = cluster.sbatch("", &format!("exec {task} sh -c '{WAITS}'"));
    cluster.says(job, "ready");
    let orphan = format!(
        "SLURM_JOB_ID={job} setsid /usr/sbin/glexec sleep 1000 >/dev/null 2>&1 </dev/null &"
    );
    cluster.by("pilot", &orphan).exited(0);
    lives(&cluster, 2);
    cluster.root("touch /tmp/go").exited(0);
    assert_eq!(cluster.ended(job).exit_code(), "9:0", "{}", cluster.logs());
    assert_eq!(living(&cluster), 1);
    (cluster, job)
}

#[test]
fn an_orphan_in_no_control_group_is_of_no_job_where_jobs_have_them() {
    let (cluster, _) = an_orphan("cgroup", PATIENT);
    let told = cluster.site().log();
    assert!(told.iter().any(|line| line.contains("names this job and is not of it")), "{told:?}");
}

#[test]
fn an_orphan_that_may_be_of_the_job_is_waited_for_as_long_as_the_site_says() {
    let (cluster, job) = an_orphan("linuxproc", "[epilog]\nwait = 3\n");
    let told = cluster.site().log();
    let line = format!("job {job}: not waited for any longer, with [epilog] wait = 3");
    assert!(told.iter().any(|told| told.contains(&line)), "{told:?}");
}

#[test]
fn a_run_of_the_job_that_does_not_say_so_is_waited_for() {
    let cluster = Cluster::start(Shape {
        proctrack: "cgroup",
        kill_wait: 1,
        hooks: "[task_epilog]\nwait = 0\n".to_owned(),
        ..Shape::default()
    });
    cluster.site().epilogue(
        "#!/bin/sh
touch /tmp/begun
while ! [ -e /tmp/end ]; do sleep 0.05; done
echo over >>/var/lib/site/own\n",
    );
    let task = format!("env -u SLURM_JOB_ID {LIBEXEC}/glexec-slurm-task");
    // The shell dies of TERM, and glexec, which is in the job's group, outlives it.
    let job = cluster.sbatch("", &format!("{task} sh -c 'echo ready; exec sleep 1000'; true"));
    cluster.says(job, "ready");
    cluster.root(&format!("scancel {job}")).exited(0);
    let begun = || cluster.site().path("/tmp/begun").exists();
    cluster.wait_until("the epilogue runs", Duration::from_secs(20), begun);
    cluster.root("(sleep 4; touch /tmp/end) >/dev/null 2>&1 </dev/null &").exited(0);
    cluster.ended(job);
    let over = cluster.site().read("/var/lib/site/own");
    assert_eq!((over.as_str(), living(&cluster)), ("over\n", 0), "{}", cluster.logs());
}

#[test]
fn what_another_sweep_pays_of_the_job_is_waited_for() {
    let cluster = Cluster::start(Shape::default());
    cluster.site().epilogue(
        "#!/bin/sh
touch /tmp/begun
while ! [ -e /tmp/end ]; do sleep 0.05; done
exec /usr/libexec/glexec/glexec-slurm-record\n",
    );
    let task = format!("{LIBEXEC}/glexec-slurm-task");
    let job = cluster.sbatch("", &format!("{task} sh -c 'echo ready; sleep 1000'; {WAITS}"));
    cluster.says(job, "ready");
    // The wrapper, which would settle, and glexec are gone, and the timer's sweep is at the debt.
    let ours = |name: &'static str| {
        let all = cluster.site().processes().into_iter().filter_map(harness::Process::of);
        all.filter(move |process| process.name == name).map(|process| format!(" {}", process.pid))
    };
    let both: String = ours("glexec-slurm-ta").chain(ours("glexec")).collect();
    // What glexec had started for a moment may have ended by itself.
    cluster.root(&format!("kill -9{both}"));
    cluster.root("setsid glexec-admin sweep --now >/dev/null 2>&1 </dev/null &").exited(0);
    let begun = || cluster.site().path("/tmp/begun").exists();
    cluster.wait_until("the epilogue runs", Duration::from_secs(20), begun);
    // Longer than a sweep waits for another one by itself.
    cluster.root("(sleep 5; touch /tmp/end) >/dev/null 2>&1 </dev/null & touch /tmp/go").exited(0);
    cluster.ended(job);
    let own = collected(&cluster, job);
    assert!(own.len() == 1 && own[0].ends_with(" lost"), "{own:?}\n{}", cluster.logs());
}

#[test]
fn the_record_of_a_run_is_kept_for_the_job_that_it_was_in() {
    let cluster = Cluster::start(Shape::default());
    let task = format!("{LIBEXEC}/glexec-slurm-task");
    // A shell of before the job, and another job: neither run is the first one's.
    let before = format!(
        "setsid sh -c 'while [ ! -e /tmp/late ]; do sleep 0.05; done; SLURM_JOB_ID=1 {task} sh -c \"exit 66\"; touch /tmp/outside' >/dev/null 2>&1 </dev/null &"
    );
    cluster.by("pilot", &before).exited(0);
    let job = cluster.sbatch("", &format!("exec {task} sh -c '{WAITS}'"));
    assert_eq!(job, 1);
    cluster.says(job, "ready");
    cluster.root("touch /tmp/late").exited(0);
    let other = cluster.sbatch("", &format!("SLURM_JOB_ID=1 exec {task} sh -c 'exit 77'"));
    assert_eq!(cluster.ended(other).exit_code(), "77:0");
    cluster.wait_until("the run outside is over", Duration::from_secs(20), || {
        cluster.site().path("/tmp/outside").exists()
    });
    cluster.root("touch /tmp/go").exited(0);
    assert_eq!(cluster.ended(job).exit_code(), "9:0");
    let (own, others) = (collected(&cluster, job), collected(&cluster, other));
    assert!(own.len() == 1 && own[0].ends_with("rc=9"), "{own:?}");
    assert!(others.len() == 1 && others[0].ends_with("rc=77"), "{others:?}");
    let told = cluster.site().log();
    assert!(told.iter().any(|line| line.contains("is not of it, nor kept for it")), "{told:?}");
}

const ACCOUNTED: &str = "[scratch]
base = \"/var/lib/scratch\"
[accounting]
spool = \"/var/spool/glexec-slurm\"
derived_exit_code = true
comment = \"admincomment\"
";

#[test]
fn every_component_of_a_heterogeneous_job_has_its_own() {
    for proctrack in ["linuxproc", "cgroup"] {
        let cluster = Cluster::start(Shape {
            proctrack,
            nodes: 2,
            apart: true,
            accounting: true,
            hooks: ACCOUNTED.to_owned(),
            ..Shape::default()
        });
        let step = |n: usize, code: u32| {
            let node = cluster.node(n);
            format!(
                "-w {node} -n1 {LIBEXEC}/glexec-slurm-task sh -c 'echo {n} $TMPDIR; touch $TMPDIR/x && exit {code}'"
            )
        };
        let ran = cluster.by("pilot", &format!("srun {} : {}", step(0, 5), step(1, 6)));
        for (n, job) in [(0, 1), (1, 2)] {
            let own = format!("{n} /var/lib/scratch/{job}.");
            assert!(ran.output().contains(&own), "{proctrack}: {} {}", ran.output(), ran.error());
            let line = format!("glexec: payload of payload1: exit code {}", 5 + n);
            assert!(ran.error().contains(&line), "{proctrack}: {}", ran.error());
        }
        let told = |job: u32| {
            let ask = format!("sacct -X -n -P -j {job} -o jobidraw,derivedexitcode,admincomment");
            cluster.root(&ask).output()
        };
        for (job, code) in [(1, 5), (2, 6)] {
            let line = format!("{job}|{code}:0|glexec: 0.{} payload1 rc={code};", job - 1);
            let what = format!("{proctrack}: {line}");
            cluster.wait_until(&what, Duration::from_secs(40), || told(job).contains(&line));
        }
        let left = cluster.root("cd /var/of && find . -type f ! -name .lock");
        assert_eq!(left.output(), "", "{proctrack}");
    }
}

#[test]
fn a_components_epilog_waits_for_its_own_run_and_for_no_other_components() {
    // On one machine, with one state directory.
    let cluster = Cluster::start(Shape {
        nodes: 2,
        kill_wait: 1,
        proctrack: "cgroup",
        hooks: PATIENT.to_owned(),
        ..Shape::default()
    });
    cluster.site().epilogue(
        "#!/bin/sh
echo begin $GLEXEC_EPILOG_JOB_SLURM_PROCID >>/var/lib/site/times
while ! [ -e /tmp/end$GLEXEC_EPILOG_JOB_SLURM_PROCID ]; do sleep 0.05; done
exec /usr/libexec/glexec/glexec-slurm-record\n",
    );
    let (a, b) = (cluster.node(0), cluster.node(1));
    // The shell dies of TERM, and its glexec lives: nobody but the Epilog waits for that one.
    let task = format!("{LIBEXEC}/glexec-slurm-task sh -c \"echo ready; exec sleep 1000\"; true");
    let script = format!("srun --het-group=0,1 sh -c '{task}'; true");
    let job = cluster.sbatch(&format!("-n1 -w {a} : -n1 -w {b}"), &script);
    cluster.wait_until("both run", Duration::from_secs(20), || {
        cluster.printed(job).matches("ready").count() == 2
    });
    cluster.root(&format!("scancel {job}")).exited(0);
    cluster.wait_until("both epilogues run", Duration::from_secs(20), || {
        cluster.site().read("/var/lib/site/times").lines().count() == 2
    });
    let on = |n: usize| cluster.root(&format!("squeue -h -w {} -o %A", cluster.node(n))).output();
    // The first component's run ends: its job is over, and the second one's is not.
    cluster.root("touch /tmp/end0").exited(0);
    cluster.wait_until("the first one is over", Duration::from_secs(30), || on(0).is_empty());
    let second = (job + 1).to_string();
    assert_eq!((on(1).trim(), living(&cluster)), (second.as_str(), 1), "{}", cluster.logs());
    cluster.root("touch /tmp/end1").exited(0);
    cluster.wait_until("the second one is over", Duration::from_secs(30), || on(1).is_empty());
    let both = [job, job + 1].map(|job| collected(&cluster, job).len());
    assert_eq!(both, [1, 1], "{:?}", cluster.site().log());
}
