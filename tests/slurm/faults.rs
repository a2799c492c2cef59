//! Whose fault it is: a site's drains the node, and says what is wrong; a user's never does.

use harness::{CONFIG, Cluster, EPILOGUE, LIBEXEC, POOL, Shape};
use std::time::Duration;

fn task(payload: &str) -> String {
    format!("exec {LIBEXEC}/glexec-slurm-task sh -c \"{payload}\"")
}

fn drained(cluster: &Cluster) -> String {
    // Not before the job's Epilog is over: it looks, too.
    cluster.wait_until("the node is drained", Duration::from_secs(20), || {
        cluster.node_state(0).0 == "IDLE+DRAIN"
    });
    cluster.node_state(0).1
}

fn resume(cluster: &Cluster) {
    cluster.root(&format!("scontrol update nodename={} state=resume", cluster.node(0))).exited(0);
}

#[test]
fn a_broken_configuration_drains_the_node_by_name_before_a_job_runs() {
    let cluster = Cluster::start(Shape::default());
    cluster.configure("lingr = true");
    let id = cluster.sbatch("", &task("echo ran; exit 5"));
    let reason = drained(&cluster);
    assert!(reason.contains("glexec: /etc/glexec.toml:") && reason.contains("lingr"), "{reason}");
    // Nothing of it ran; it waits for a node that can.
    assert!(!cluster.printed(id).contains("ran"), "{}", cluster.printed(id));
    cluster.configure("");
    resume(&cluster);
    assert_eq!(cluster.ended(id).exit_code(), "5:0", "{}", cluster.logs());
}

#[test]
fn an_epilogue_that_somebody_could_change_drains_the_node_by_name() {
    let cluster = Cluster::start(Shape::default());
    cluster.site().mode(EPILOGUE, 0o777);
    let id = cluster.sbatch("", &task("exit 5"));
    let reason = drained(&cluster);
    assert!(reason.contains(EPILOGUE), "{reason}");
    cluster.site().mode(EPILOGUE, 0o755);
    resume(&cluster);
    assert_eq!(cluster.ended(id).exit_code(), "5:0");
}

#[test]
fn an_epilogue_replaced_under_a_running_job_drains_the_node_and_is_owed() {
    let cluster = Cluster::start(Shape::default());
    let id = cluster
        .sbatch("", &task("echo ready; while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 5"));
    cluster.says(id, "ready");
    cluster.site().mode(EPILOGUE, 0o777);
    cluster.root("touch /tmp/go").exited(0);
    // The site wants to know: epilogue_failure = "fail".
    assert_eq!(cluster.ended(id).exit_code(), "202:0");
    assert!(
        cluster.printed(id).contains("the payload's own exit code was 5"),
        "{}",
        cluster.printed(id)
    );
    let reason = drained(&cluster);
    assert!(reason.contains(EPILOGUE), "{reason}");
    assert_eq!(cluster.epilogues_of(id).len(), 0);
    cluster.site().mode(EPILOGUE, 0o755);
    cluster.root("glexec-admin sweep --now").exited(0);
    let paid = cluster.epilogues_of(id);
    assert!(paid[0].environment.contains(&"GLEXEC_EPILOG_TARGET_RC=5".to_owned()), "{paid:?}");
}

#[test]
fn a_node_that_could_neither_log_nor_write_down_a_run_is_drained_before_a_job_is_lost() {
    let cluster = Cluster::start(Shape::default());
    let to_file = "log_destination = \"file\"\nlog_file = \"/var/log/glexec/log\"";
    let full = |directory: &str| {
        format!(
            "mount -t tmpfs -o size=8k,mode=0700 tmpfs {directory} && ! head -c 65536 /dev/zero 2>/dev/null > {directory}/log && chmod 600 {directory}/log"
        )
    };
    for (lines, breaks, mends, part) in [
        (
            to_file,
            "rmdir /var/log/glexec".to_owned(),
            "mkdir -m 700 /var/log/glexec",
            "/var/log/glexec does not exist",
        ),
        (
            to_file,
            full("/var/log/glexec"),
            "umount /var/log/glexec",
            "/var/log/glexec/log takes no line",
        ),
        ("", full("/var/lib/glexec"), "umount /var/lib/glexec", "make room there"),
    ] {
        cluster.configure(lines);
        cluster.root(&breaks).exited(0);
        let id = cluster.sbatch("", &task("echo ran; exit 5"));
        let reason = drained(&cluster);
        assert!(reason.contains(part), "{part}: {reason}");
        assert!(!cluster.printed(id).contains("ran"), "{}", cluster.printed(id));
        cluster.root(mends).exited(0);
        resume(&cluster);
        assert_eq!(cluster.ended(id).exit_code(), "5:0", "{}", cluster.logs());
    }
}

#[test]
fn the_hooks_own_file_is_named_too() {
    let cluster = Cluster::start(Shape::default());
    cluster.site().file("/etc/glexec-slurm.toml", "[prolog]\ntime_limti = 3\n", 0o644);
    cluster.sbatch("", &task("exit 5"));
    let reason = drained(&cluster);
    assert!(reason.contains("/etc/glexec-slurm.toml:2"), "{reason}");
}

#[test]
fn what_a_user_does_wrong_never_drains_a_node() {
    let cluster = Cluster::start(Shape::default());
    let wrapper = format!("{LIBEXEC}/glexec-slurm-task");
    // Not a command, not executable, no words, a code of glexec's own, no such target.
    for (script, code) in [
        (format!("exec {wrapper} /no/such/command"), "201:0"),
        (format!("exec {wrapper} /etc/passwd"), "201:0"),
        (format!("exec {wrapper}"), "201:0"),
        (format!("exec {wrapper} sh -c 'exit 202'"), "202:0"),
        (format!("GLEXEC_TARGET_USER=root exec {wrapper} id"), "203:0"),
        (format!("GLEXEC_CLIENT_CERT=/nonexistent exec {wrapper} sh -c 'exit 3'"), ""),
    ] {
        let id = cluster.sbatch("", &script);
        let job = cluster.ended(id);
        assert!(
            code.is_empty() || job.exit_code() == code,
            "{script}: {}\n{}",
            job.exit_code(),
            cluster.printed(id)
        );
    }
    assert_eq!(cluster.node_state(0).0, "IDLE", "{}", cluster.logs());
}

#[test]
fn who_may_not_map_is_told_by_the_task_prolog_and_runs_nothing() {
    let free = Cluster::start(Shape::default());
    free.by("other", "srun -n1 true").exited(0);
    drop(free);
    let hooks = "[task_prolog]\nveto = true\n".to_owned();
    let cluster = Cluster::start(Shape { hooks, ..Shape::default() });
    let ran = cluster.by("other", "srun -n1 touch /tmp/ran");
    assert_eq!(ran.code(), 203, "{} {}", ran.output(), ran.error());
    assert!(ran.output().contains("[glexec-slurm]: refused (203 not-listed)"), "{}", ran.output());
    assert!(!cluster.site().path("/tmp/ran").exists());
    assert!(!cluster.node_state(0).0.contains("DRAIN"));
}

#[test]
fn a_pool_that_is_used_up_is_no_fault_of_the_nodes() {
    let mapping = "[mapping]\nmethods = [\"pool\"]\n[[mapping.pool]]\ncaller = \"pilot\"\naccounts = [\"work001\"]\n";
    let cluster = Cluster::start(Shape { mapping, ..Shape::default() });
    let first =
        cluster.sbatch("", &task("echo ready; while [ ! -e /tmp/go ]; do sleep 0.05; done"));
    cluster.says(first, "ready");
    let second = cluster.sbatch("", &task("exit 5"));
    assert_eq!(cluster.ended(second).exit_code(), "202:0");
    assert!(!cluster.node_state(0).0.contains("DRAIN"));
    cluster.root("touch /tmp/go").exited(0);
    assert_eq!(cluster.ended(first).exit_code(), "0:0");
    assert!(cluster.site().read(CONFIG).contains("work001") && POOL.contains("work["));
}

#[test]
fn an_epilogue_that_takes_long_is_waited_for_by_the_epilog() {
    // glexec outlives the step: KillWait takes wrapper and payload, and not the epilogue's end.
    let cluster = Cluster::start(Shape { kill_wait: 1, ..Shape::default() });
    cluster.site().epilogue("#!/bin/sh\necho begin >>/var/lib/site/times\nsleep 4\n/usr/libexec/glexec/glexec-slurm-record\necho end >>/var/lib/site/times\nexec /usr/local/bin/actor look-into\n");
    let id = cluster
        .sbatch("", &task("trap 'exit 55' TERM; echo ready; while :; do sleep 1 & wait; done"));
    cluster.says(id, "ready");
    cluster.root(&format!("scancel {id}")).exited(0);
    cluster.ended(id);
    let looks = cluster.epilogues_of(id);
    assert_eq!(looks.len(), 1, "{}", cluster.logs());
    assert!(looks[0].environment.contains(&"GLEXEC_EPILOG_TARGET_RC=55".to_owned()));
    assert!(cluster.site().read("/var/lib/site/times").ends_with("end\n"));
    assert_eq!(cluster.root("glexec-admin ps --json").output().trim(), "[]");
}

#[test]
fn a_glexec_that_outlives_slurmstepd_leaves_no_control_group_behind() {
    let cluster = Cluster::start(Shape { proctrack: "cgroup", kill_wait: 1, ..Shape::default() });
    cluster.site().epilogue("#!/bin/sh\nsleep 3\nexec /usr/local/bin/actor look-into\n");
    // slurmstepd waits for the shell, which dies of TERM, and not for its glexec.
    let script = format!("{LIBEXEC}/glexec-slurm-task sh -c 'echo ready; exec sleep 1000'; true");
    let id = cluster.sbatch("", &script);
    cluster.says(id, "ready");
    // The step's group is the user's: who may freeze it is not to have an epilogue in it.
    let groups = cluster.root("cat /proc/$(pgrep -o -x glexec)/cgroup").output();
    let group = groups.lines().find(|line| line.contains(":freezer:")).unwrap_or_default();
    assert!(group.ends_with(&format!("/job_{id}")), "{groups}");
    cluster.root(&format!("scancel {id}")).exited(0);
    cluster.ended(id);
    assert_eq!(cluster.epilogues_of(id).len(), 1, "{}", cluster.logs());
    assert_eq!(cluster.job_cgroups(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_user_who_kills_what_runs_as_him_drains_no_node() {
    // By himself: the storm would reach the same account's processes of tests beside it.
    let cluster = Cluster::alone(Shape::default());
    let storm = "perl -e '$SIG{TERM}=\"IGNORE\"; print \"ready\\n\"; $|=1; $t=time; while(time-$t<6){kill 9,grep{$_!=$$ && -O \"/proc/$_\" && open(F,\"/proc/$_/comm\") && <F> =~ /glexec/} map{m{(\\d+)}} glob \"/proc/[0-9]*\"}'";
    let first = cluster.sbatch("", storm);
    std::thread::sleep(Duration::from_millis(500));
    for _ in 0..5 {
        cluster.by("pilot", "srun -n1 true");
    }
    cluster.ended(first);
    assert!(!cluster.node_state(0).0.contains("DRAIN"), "{:?}", cluster.node_state(0));
}

#[test]
fn a_user_cannot_use_the_attempts_at_his_epilogue_up() {
    let cluster = Cluster::start(Shape::default());
    cluster.site().epilogue("#!/bin/sh\necho begin $GLEXEC_EPILOG_ATTEMPT >>/var/lib/site/times\nsleep 1\n/usr/libexec/glexec/glexec-slurm-record\necho end >>/var/lib/site/times\n");
    let script = format!(
        "srun --overlap -n1 {LIBEXEC}/glexec-slurm-task sh -c 'echo ready; sleep 100' & sleep 1; scancel -s KILL $SLURM_JOB_ID.0; wait; \
         for i in 1 2 3 4 5 6 7; do srun --overlap -n1 /usr/sbin/glexec --settle SLURM_JOB_ID=$SLURM_JOB_ID & sleep 0.4; scancel -s KILL $SLURM_JOB_ID.$i; wait; done"
    );
    let id = cluster.sbatch("", &script);
    cluster.ended(id);
    cluster.wait_until("it is paid", Duration::from_secs(30), || {
        cluster.root("glexec-admin ps --json").output().trim() == "[]"
    });
    let times = cluster.site().read("/var/lib/site/times");
    // What settles is out of the job's session: ending the step that asked for it spoils nothing.
    assert!(times.ends_with("end\n") && times.matches("begin").count() >= 1, "{times}");
    assert!(!cluster.node_state(0).0.contains("DRAIN"), "{:?}", cluster.node_state(0));
}
