//! Every way in which Slurm ends a job, under every kind of process tracking: one epilogue runs to
//! its end with the right code, nothing of the target is left, and the node stays in.

use harness::{CHOICE, Cluster, LIBEXEC, Look, Shape, accounts};
use std::time::{Duration, Instant};

/// Says when a signal is sent before a job's time is up.
const VERBOSE: &str = "SlurmctldDebug=debug";

/// What a payload does.
const ENDS_AT_TERM: &str = "trap 'exit 55' TERM; echo ready; while :; do sleep 1000 & wait; done";
const IGNORES_TERM: &str = "trap '' TERM; echo ready; sleep 1000 & sleep 1000";
const JUST_DIES: &str = "echo ready; exec sleep 1000";

/// One job, what is done to it, and what must have come of it.
struct Case {
    name: &'static str,
    options: &'static str,
    /// The batch script; `TASK` is the wrapper.
    script: String,
    act: fn(&Cluster, u32),
    /// For each epilogue, in order of their codes: code and result, several where Slurm may do
    /// either.
    epilogues: Vec<Vec<(&'static str, &'static str)>>,
    /// The job's `ExitCode`; empty where it says nothing of the payload.
    exit_code: &'static str,
}

fn exec(payload: &str) -> String {
    format!("exec TASK sh -c \"{payload}\"")
}

fn scancel(cluster: &Cluster, job: u32) {
    cluster.root(&format!("scancel {job}")).exited(0);
}

fn nothing(_: &Cluster, _: u32) {}

fn once(all: &[(&'static str, &'static str)]) -> Vec<Vec<(&'static str, &'static str)>> {
    vec![all.to_vec()]
}

const LOST: (&str, &str) = ("137", "lost");
/// glexec sees the payload's end, or not, and ends the run, or not.
const KILLED_AT_ONCE: [(&str, &str); 4] =
    [LOST, ("137", "killed"), ("55", "lost"), ("55", "exited")];

fn by_scancel() -> Vec<Case> {
    let case = |name, script, epilogues, exit_code| Case {
        name,
        options: "",
        script,
        act: scancel,
        epilogues,
        exit_code,
    };
    vec![
        case("ends at TERM", exec(ENDS_AT_TERM), once(&[("55", "exited")]), "55:0"),
        case("dies of TERM", exec(JUST_DIES), once(&[("143", "killed")]), "0:15"),
        case("ignores TERM", exec(IGNORES_TERM), once(&[LOST, ("137", "killed")]), "0:9"),
        // The shell dies of TERM, and then everything is killed: glexec may be faster or not.
        case("no exec", format!("TASK sh -c \"{ENDS_AT_TERM}\"; true"), once(&KILLED_AT_ONCE), ""),
        case(
            "step, ends at TERM",
            format!("srun -n1 TASK sh -c \"{ENDS_AT_TERM}\""),
            once(&[("55", "exited")]),
            "",
        ),
        case(
            "step, ignores TERM",
            format!("srun -n1 TASK sh -c \"{IGNORES_TERM}\""),
            once(&[LOST, ("137", "killed")]),
            "",
        ),
    ]
}

fn by_other_means() -> Vec<Case> {
    vec![
        Case {
            name: "USR1 to the step",
            options: "",
            script: "srun -n1 TASK sh -c \"trap 'exit 56' USR1; echo ready; while :; do sleep 1000 & wait; done\""
                .to_owned(),
            act: |cluster, job| {
                cluster.root(&format!("scancel -s USR1 {job}")).exited(0);
            },
            epilogues: once(&[("56", "exited")]),
            exit_code: "56:0",
        },
        Case {
            name: "step killed",
            options: "",
            script: format!("srun -n1 TASK sh -c \"{ENDS_AT_TERM}\"; echo step=$?; exit 4"),
            act: |cluster, job| {
                cluster.root(&format!("scancel {job}.0")).exited(0);
            },
            // Under cgroup the step is killed at once.
            epilogues: once(&KILLED_AT_ONCE),
            exit_code: "4:0",
        },
        Case {
            name: "one of two fails",
            options: "-n2",
            script: "srun -n2 -K1 TASK sh -c 'if [ \\$SLURM_PROCID = 0 ]; then sleep 0.3; exit 3; fi; echo ready; sleep 1000'".replace("\\$", "$"),
            act: nothing,
            // The shell may see its sleep die first.
            epilogues: vec![vec![("143", "killed"), ("143", "exited"), LOST], vec![("3", "exited")]],
            exit_code: "",
        },
    ]
}

fn by_accident() -> Vec<Case> {
    vec![
        Case {
            name: "slurmd restarted",
            options: "",
            script: exec("echo ready; while [ ! -e /tmp/restarted ]; do sleep 0.05; done; exit 17"),
            act: |cluster, _| {
                let node = cluster.node(0);
                cluster.root(&format!("kill $(cat /run/slurmd.{node}.pid); while [ -e /run/slurmd.{node}.pid ]; do sleep 0.02; done")).exited(0);
                cluster.start_slurmd(0);
                cluster.root("touch /tmp/restarted").exited(0);
            },
            epilogues: once(&[("17", "exited")]),
            exit_code: "17:0",
        },
        Case {
            name: "glexec killed",
            options: "",
            script: exec(JUST_DIES),
            act: |cluster, job| cluster.kill_glexec(job),
            epilogues: once(&[LOST]),
            exit_code: "0:9",
        },
        Case {
            name: "requeued",
            options: "--requeue",
            script: exec("echo ready; [ -z \\\"\\$SLURM_RESTART_COUNT\\\" ] || exit 5; sleep 1000"),
            act: |cluster, job| {
                cluster.root(&format!("scontrol requeue {job}")).exited(0);
            },
            epilogues: vec![vec![("143", "killed"), LOST], vec![("5", "exited")]],
            exit_code: "5:0",
        },
        Case {
            name: "USR1 before the end of its time",
            options: "-t 1 --signal=B:USR1@59",
            script: exec("trap 'exit 57' USR1; echo ready; while :; do sleep 1000 & wait; done"),
            act: nothing,
            epilogues: once(&[("57", "exited")]),
            exit_code: "57:0",
        },
    ]
}

fn told(look: &Look, name: &str) -> String {
    let begin = format!("GLEXEC_EPILOG_{name}=");
    let found = look.environment.iter().find_map(|entry| entry.strip_prefix(&begin));
    found.unwrap_or_default().to_owned()
}

/// What the first epilogue of each run was told, and what a later one was told otherwise. Where
/// glexec is killed before it has written down that the epilogue ended, the epilogue runs again,
/// and knows it (docs/sweep.md).
fn once_a_run(looks: &[Look]) -> Vec<(String, String)> {
    let run = |look: &Look| (told(look, "TARGET_PID"), told(look, "START_TIME"));
    let mut runs: Vec<&Look> = Vec::new();
    let mut told_otherwise = Vec::new();
    let mut sorted: Vec<&Look> = looks.iter().collect();
    sorted.sort_by_key(|look| told(look, "ATTEMPT"));
    for look in sorted {
        let Some(first) = runs.iter().find(|first| run(first) == run(look)) else {
            runs.push(look);
            continue;
        };
        let again = told(first, "ATTEMPT") < told(look, "ATTEMPT");
        let same = told(first, "TARGET_RC") == told(look, "TARGET_RC");
        if !(again && same && told(look, "RESULT") == "lost") {
            told_otherwise.push(look);
        }
    }
    let all = runs.into_iter().chain(told_otherwise);
    all.map(|look| (told(look, "TARGET_RC"), told(look, "RESULT"))).collect()
}

/// Every case at a time, each with a target of its own.
fn all_cases(proctrack: &'static str) {
    let cluster = Cluster::start(Shape {
        proctrack,
        mapping: CHOICE,
        slurm: VERBOSE.to_owned(),
        ..Shape::default()
    });
    let cases: Vec<Case> =
        [by_scancel(), by_other_means(), by_accident()].into_iter().flatten().collect();
    let mut jobs = Vec::new();
    for (n, case) in cases.iter().enumerate() {
        let script = case.script.replace("TASK", &format!("{LIBEXEC}/glexec-slurm-task"));
        let script = format!("export GLEXEC_TARGET_USER=work{:03}\n{script}", n + 1);
        jobs.push(cluster.sbatch(case.options, &script));
    }
    for (case, job) in cases.iter().zip(&jobs) {
        cluster.says(*job, "ready");
        (case.act)(&cluster, *job);
    }
    let over: Vec<_> = jobs.iter().map(|job| cluster.ended(*job)).collect();
    // A slurmd that was restarted under a job may run its Epilog after the controller has closed it.
    cluster.wait_until("all is settled", Duration::from_secs(20), || {
        cluster.root("glexec-admin ps --json").output().trim() == "[]"
    });
    let mut wrong = Vec::new();
    for (n, (case, job)) in cases.iter().zip(&jobs).enumerate() {
        let uid = accounts::WORK + u32::try_from(n).unwrap() + 1;
        let looks = cluster.epilogues_of(*job);
        assert!(looks.iter().all(|look| told(look, "TARGET_UID") == uid.to_string()));
        let mut seen = once_a_run(&looks);
        seen.sort();
        let fits = seen.len() == case.epilogues.len()
            && seen
                .iter()
                .zip(&case.epilogues)
                .all(|((rc, result), may)| may.contains(&(rc.as_str(), result.as_str())));
        let left = cluster.site().processes_of(uid);
        let code = over[n].exit_code();
        if !fits || !left.is_empty() || !(case.exit_code.is_empty() || code == case.exit_code) {
            let (name, state) = (case.name, over[n].state());
            let printed = cluster.printed(*job);
            wrong.push(format!(
                "{name} (job {job}): {seen:?} left {left:?} {state} {code}\n{printed}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{proctrack}:\n{}\n{}", wrong.join("\n"), cluster.logs());
    clean(&cluster);
}

/// Nothing is owed, kept or left, and the node is in.
fn clean(cluster: &Cluster) {
    cluster.wait_until("the node is idle", Duration::from_secs(20), || {
        cluster.node_state(0).0 == "IDLE"
    });
    assert_eq!(cluster.root("glexec-admin ps --json").output().trim(), "[]");
    assert_eq!(
        cluster.root("ls /run/glexec-slurm /var/lib/glexec-slurm").output().matches("\n").count(),
        3
    );
    // slurmstepd removes them, and the Epilog those in which a glexec outlived it.
    let begin = Instant::now();
    while !cluster.job_cgroups().is_empty() {
        let groups = cluster.job_cgroups();
        let within = cluster.root("for j in /sys/fs/cgroup/freezer/slurm_*/uid_*/job_*; do for p in $(find $j -name cgroup.procs); do echo $p: $(cat $p); done; done; ps -ef");
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "{groups:?} stay\n{}\n{}",
            within.output(),
            cluster.logs()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The batch script is a shell with the wrapper as its one command: Slurm sends TERM to the shell only.
fn a_bare_wrapper(task_epilog: bool) -> (Cluster, u32) {
    let slurm = if task_epilog { "" } else { "TaskEpilog=/bin/true\n" };
    let cluster = Cluster::start(Shape {
        proctrack: "cgroup",
        kill_wait: 20,
        slurm: slurm.to_owned(),
        ..Shape::default()
    });
    // It takes its time: who is killed at once does not come to its end.
    let payload = ENDS_AT_TERM.replace("exit", "sleep 0.5; exit");
    let script = format!("{LIBEXEC}/glexec-slurm-task sh -c \"{payload}\"");
    let job = cluster.sbatch("", &script);
    cluster.says(job, "ready");
    scancel(&cluster, job);
    cluster.ended(job);
    (cluster, job)
}

#[test]
fn a_bare_wrappers_payload_has_term_and_its_time_where_there_is_a_task_epilog() {
    let (cluster, job) = a_bare_wrapper(true);
    let looks = cluster.epilogues_of(job);
    assert_eq!(once_a_run(&looks), [("55".to_owned(), "exited".to_owned())]);
    let printed = cluster.printed(job);
    assert!(!printed.contains("without TERM"), "{printed}");
    assert!(printed.contains("glexec: payload of payload1: exit code 55"), "{printed}");
    clean(&cluster);
}

#[test]
fn who_would_be_killed_without_term_is_told() {
    let (cluster, job) = a_bare_wrapper(false);
    let printed = cluster.printed(job);
    assert!(printed.contains("kills this run without TERM; put exec or srun"), "{printed}");
    // Nobody is who does as it says, or whom TERM reaches.
    let task = format!("{LIBEXEC}/glexec-slurm-task true");
    for script in [format!("exec {task}"), format!("srun -n1 {task}")] {
        let job = cluster.sbatch("", &script);
        assert_eq!(cluster.ended(job).exit_code(), "0:0");
        assert_eq!(cluster.printed(job), "");
    }
}

#[test]
fn with_linuxproc() {
    all_cases("linuxproc");
}

#[test]
fn with_pgid() {
    all_cases("pgid");
}

#[test]
fn with_cgroup() {
    all_cases("cgroup");
}
