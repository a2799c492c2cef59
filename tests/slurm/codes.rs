//! What the payload did, beside what Slurm's own records say of it.

use harness::{Cluster, LIBEXEC, Shape};
use std::collections::BTreeMap;
use std::time::Duration;

const HOOKS: &str = "[accounting]
spool = \"/var/spool/glexec-slurm\"
derived_exit_code = true
comment = \"admincomment\"
";

/// With slurmdbd and a MariaDB behind it.
fn with_accounting(proctrack: &'static str) -> Cluster {
    Cluster::start(Shape {
        proctrack,
        accounting: true,
        hooks: HOOKS.to_owned(),
        ..Shape::default()
    })
}

/// What `scontrol show job`, jobcomp and sacct say of each job: the exit code in each. Jobs of
/// srun go by their names, elements of the array by `b` and their number.
fn all_records(cluster: &Cluster) -> BTreeMap<String, [String; 3]> {
    let field = |line: &str, name: &str| {
        let begin = format!("{name}=");
        let found = line.split_whitespace().find_map(|word| word.strip_prefix(&begin));
        found.unwrap_or_default().to_owned()
    };
    let mut names = BTreeMap::new();
    let mut all: BTreeMap<String, [String; 3]> = BTreeMap::new();
    let shown = cluster.root("scontrol -o show job").output();
    for line in shown.lines() {
        let element = field(line, "ArrayTaskId");
        let name = if element.is_empty() { field(line, "JobName") } else { format!("b{element}") };
        names.insert(field(line, "JobId"), name.clone());
        all.entry(name).or_default()[0] = field(line, "ExitCode");
    }
    let mut tell = |id: &str, at: usize, code: &str| {
        if let Some(told) = names.get(id).and_then(|name| all.get_mut(name)) {
            code.clone_into(&mut told[at]);
        }
    };
    for line in cluster.site().read("/var/log/slurm/jobcomp").lines() {
        tell(&field(line, "JobId"), 1, &field(line, "ExitCode"));
    }
    let accounted = cluster.root("sacct -a -X -n -P -o jobidraw,exitcode").output();
    for (id, code) in accounted.lines().filter_map(|line| line.split_once('|')) {
        tell(id, 2, code);
    }
    all
}

/// sacct of Slurm up to 25.05 takes 128 from what is above it.
fn by_sacct(code: u8) -> [String; 2] {
    [
        format!("{code}:0"),
        if code < 128 { format!("{code}:0") } else { format!("{}:0", code - 128) },
    ]
}

#[test]
fn codes_0_to_255_and_signals_reach_every_record_of_slurms() {
    every_code("linuxproc");
}

#[test]
fn codes_0_to_255_and_signals_reach_every_record_of_slurms_with_pgid() {
    every_code("pgid");
}

#[test]
fn codes_0_to_255_and_signals_reach_every_record_of_slurms_with_cgroup() {
    every_code("cgroup");
}

fn every_code(proctrack: &'static str) {
    // SIGKILL and what ends a process by default; no stop signal.
    const SIGNALS: [u8; 12] = [1, 2, 3, 4, 6, 8, 9, 10, 11, 13, 14, 15];
    let cluster = with_accounting(proctrack);
    let task = format!("{LIBEXEC}/glexec-slurm-task");
    let batch = format!(
        "n=$SLURM_ARRAY_TASK_ID; [ $n -lt 1000 ] || exec {task} sh -c \"kill -$((n-1000)) \\$\\$\"; exec {task} sh -c \"exit $n\""
    );
    let by_signal = SIGNALS.map(|n| (1000 + u32::from(n)).to_string()).join(",");
    let steps = cluster.by(
        "pilot",
        &format!(
            "seq 0 255 | xargs -P 6 -I{{}} sh -c 'srun -Q -J s{{}} -n1 {task} sh -c \"exit {{}}\" 2>/dev/null; echo {{}} $?'; \
             for n in {}; do srun -Q -J s$((n+1000)) -n1 {task} sh -c \"kill -$n \\$\\$\" 2>/dev/null; echo $((1000+n)) $?; done",
            SIGNALS.map(|n| n.to_string()).join(" ")
        ),
    );
    let returned: BTreeMap<u32, u32> = steps
        .output()
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(n, code)| (n.parse().unwrap(), code.parse().unwrap()))
        .collect();
    cluster.sbatch(&format!("--array=0-255,{by_signal}"), &batch);
    cluster.wait_until("every job is over", Duration::from_secs(90), || {
        cluster.root("squeue -h").output().is_empty()
    });
    let mut wrong = Vec::new();
    let known = || all_records(&cluster);
    cluster.wait_until("sacct knows all", Duration::from_secs(30), || {
        known().values().filter(|told| !told[2].is_empty()).count() >= 536
    });
    let records = known();
    let mut check = |name: String, shown: String, sacct: &[String], srun: Option<u32>| {
        let told = records.get(&name).cloned().unwrap_or_default();
        let good = told[0] == shown && told[1] == shown && sacct.contains(&told[2]);
        let n = name[1..].parse::<u32>().unwrap();
        if !good || (srun.is_some() && returned.get(&n) != srun.as_ref()) {
            wrong.push(format!(
                "{name}: {told:?} srun {:?}; wanted {shown}, {sacct:?}",
                returned.get(&n)
            ));
        }
    };
    for code in 0..=255u8 {
        check(format!("b{code}"), format!("{code}:0"), &by_sacct(code), None);
        // 253 is what srun takes for the OOM killer's work, and returns 1 for (SIG_OOM in its source).
        let returned = if code == 253 { 1 } else { code.into() };
        check(format!("s{code}"), format!("{code}:0"), &by_sacct(code), Some(returned));
    }
    for n in SIGNALS {
        let (name, shown) = (1000 + u32::from(n), format!("0:{n}"));
        // slurmdbd takes a raw status of 1 for a code that Slurm itself made up.
        let accounted = [shown.clone(), if n == 1 { "1:0".to_owned() } else { shown.clone() }];
        check(format!("b{name}"), shown.clone(), &accounted, None);
        check(format!("s{name}"), shown, &accounted, Some(128 + u32::from(n)));
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), cluster.logs());
    assert_eq!(cluster.node_state(0).0, "IDLE");
}

#[test]
fn target_rc_is_written_into_the_accounting() {
    let cluster = with_accounting("linuxproc");
    let task = format!("{LIBEXEC}/glexec-slurm-task");
    // The script hides what its payloads did; their epilogues do not.
    let hidden = cluster
        .sbatch("", &format!("srun -n1 {task} sh -c 'exit 3'; {task} sh -c 'exit 42'; exit 0"));
    let job = cluster.ended(hidden);
    assert_eq!(job.exit_code(), "0:0");
    let told = || {
        cluster
            .root(&format!("sacct -X -n -P -j {hidden} -o derivedexitcode,admincomment"))
            .output()
    };
    cluster
        .wait_until("the accounting is told", Duration::from_secs(30), || told().contains("rc=42"));
    let told = told();
    assert!(told.starts_with("42:0|glexec: 0.0 payload1 rc=3; -.0 payload1 rc=42;"), "{told}");
}

#[test]
fn every_element_of_an_array_has_its_derived_code_whatever_its_script_returns() {
    let cluster = with_accounting("linuxproc");
    let task = format!("{LIBEXEC}/glexec-slurm-task");
    let script = format!("{task} sh -c \"exit $((40+SLURM_ARRAY_TASK_ID))\"; exit 0");
    let array = cluster.sbatch("--array=1-3", &script);
    let told = || {
        let ask = "sacct -X -n -P -o jobid,exitcode,derivedexitcode,admincomment";
        cluster.root(&format!("{ask} -j {array}")).output()
    };
    for n in 1..=3 {
        let code = 40 + n;
        let line = format!("{array}_{n}|0:0|{code}:0|glexec: -.0 payload1 rc={code};");
        cluster.wait_until(&line, Duration::from_secs(60), || told().contains(&line));
    }
}

#[test]
fn a_signal_is_an_exit_code_where_the_site_says_so() {
    let hooks = "[task]\nsignal_exit = \"128\"\n".to_owned();
    let cluster = Cluster::start(Shape { hooks, ..Shape::default() });
    let id = cluster.sbatch("", &format!("exec {LIBEXEC}/glexec-slurm-task sh -c 'kill -11 $$'"));
    assert_eq!(cluster.ended(id).exit_code(), "139:0");
}

#[test]
fn every_element_of_an_array_and_every_node_has_its_own() {
    let cluster = Cluster::start(Shape { nodes: 2, ..Shape::default() });
    let task = format!("{LIBEXEC}/glexec-slurm-task");
    let array =
        cluster.sbatch("--array=1-3", &format!("exec {task} sh -c 'exit $SLURM_ARRAY_TASK_ID'"));
    cluster.wait_until("the array is over", Duration::from_secs(30), || {
        cluster.root("squeue -h").output().is_empty()
    });
    let shown = cluster.root(&format!("scontrol -o show job {array}")).output();
    for n in 1..=3 {
        let line = shown.lines().find(|line| line.contains(&format!("ArrayTaskId={n} "))).unwrap();
        assert!(line.contains(&format!(" ExitCode={n}:0 ")), "{line}");
    }
    let ran = cluster.by("pilot", &format!("srun -N2 -n2 {task} sh -c 'exit $((5+SLURM_PROCID))'"));
    assert_eq!(ran.code(), 6, "{}", ran.error());
    let codes: Vec<String> = cluster
        .site()
        .epilogues()
        .iter()
        .rev()
        .take(2)
        .flat_map(|look| {
            look.environment
                .iter()
                .filter_map(|e| e.strip_prefix("GLEXEC_EPILOG_TARGET_RC="))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(codes.contains(&"5".to_owned()) && codes.contains(&"6".to_owned()), "{codes:?}");
    for n in 0..2 {
        cluster.wait_until("both nodes are idle", Duration::from_secs(10), || {
            cluster.node_state(n).0 == "IDLE"
        });
    }
}

/// Where the site's epilogue is an account's of its own, so are the records, and no job's user's.
#[test]
fn records_of_an_epilogue_that_is_not_roots_reach_the_jobs_end() {
    let keeper = harness::accounts::KEEPER;
    let hooks =
        "[records]\nowner = \"keeper\"\nfields = [\"argv\", \"sgids\", \"sid\", \"pgid\"]\n";
    let glexec = "epilogue_user = \"keeper\"".to_owned();
    let cluster = Cluster::start(Shape { glexec, hooks: hooks.to_owned(), ..Shape::default() });
    let epilogue = format!("#!/bin/sh\nexec {LIBEXEC}/glexec-slurm-record\n");
    cluster.site().file(harness::EPILOGUE, epilogue, 0o755);
    let id = cluster.sbatch("", &format!("exec {LIBEXEC}/glexec-slurm-task sh -c 'exit 7'"));
    assert_eq!(cluster.ended(id).exit_code(), "7:0", "{}", cluster.logs());
    let line =
        format!("job {id}: -.0 payload1 rc=7 argv=\"/usr/bin/sh\" \"-c\" \"exit 7\" glexec_pgid=");
    let told = || cluster.site().log().into_iter().find(|told| told.contains(&line));
    cluster.wait_until("the epilog has it", Duration::from_secs(30), || told().is_some());
    let told = told().unwrap_or_default();
    assert!(told.contains(" glexec_sgids=") && told.contains(" target_pgid="), "{told}");
    let note = "glexec: payload of payload1: exit code 7";
    assert!(cluster.printed(id).contains(note), "TaskEpilog has it: {}", cluster.printed(id));
    let of = cluster.root("stat -c '%u %a' /var/lib/glexec-slurm").output();
    assert_eq!(of.trim(), format!("{keeper} 700"));
}
