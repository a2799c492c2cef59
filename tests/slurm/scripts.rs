//! Batch scripts that slurmctld has run through glexec: conf/slurm/job_submit.lua.

use harness::{Cluster, Shape};

const LUA: &str = include_str!("../../conf/slurm/job_submit.lua");

fn cluster(lua: &str) -> Cluster {
    let shape = Shape {
        slurm: "PartitionName=glexec Nodes=ALL OverSubscribe=FORCE:8".to_owned(),
        submit: Some(lua.to_owned()),
        ..Shape::default()
    };
    Cluster::start(shape)
}

/// Submits these bytes as a script; what sbatch says where it fails.
fn submit(cluster: &Cluster, options: &str, script: &str, words: &str) -> Result<u32, String> {
    cluster.site().file("/home/pilot/script", script, 0o755);
    let command = format!("sbatch --parsable -o out.%j -i input {options} script {words}");
    let ran = cluster.by("pilot", &command);
    if ran.code() != 0 {
        return Err(ran.error());
    }
    Ok(ran.output().trim().parse().unwrap())
}

const BASH: &str = "#!/bin/bash -e
#SBATCH --partition=glexec
id -un
read -r line
echo \"$line, $# words, $2, $-\"
[ \"${BASH_SOURCE[0]}\" = \"$0\" ] && head -c 14 \"$0\"
cat
false
echo not-here
";

const PERL: &str = "#!/usr/bin/env perl
print scalar(getpwuid($>)), ' ', scalar(<STDIN>), \"@ARGV line \", __LINE__, \"\\n\";
exit 9;
";

#[test]
fn a_script_of_a_partition_runs_through_glexec_as_it_would_without() {
    let cluster = cluster(LUA);
    cluster.site().file("/home/pilot/input", "one\ntwo\n", 0o644);
    let words = "a 'b c' \"\"";
    let id = submit(&cluster, "", BASH, words).unwrap();
    assert_eq!(cluster.ended(id).exit_code(), "1:0", "{}\n{}", cluster.printed(id), cluster.logs());
    let printed = cluster.printed(id);
    assert!(
        printed.starts_with("payload1\none, 3 words, b c, ehB\n#!/bin/bash -etwo\n"),
        "{printed}"
    );
    assert!(!printed.contains("not-here"), "{printed}");
    let id = submit(&cluster, "-p glexec", PERL, words).unwrap();
    assert_eq!(cluster.ended(id).exit_code(), "9:0", "{}", cluster.printed(id));
    let printed = cluster.printed(id);
    assert!(printed.starts_with("payload1 one\na b c  line 2\n"), "{printed}");
    // More than a pipe holds.
    let long = format!("#!/bin/sh\n{}exit 5\n", "# a line\n".repeat(200_000));
    let id = submit(&cluster, "-p glexec", &long, "").unwrap();
    assert_eq!(cluster.ended(id).exit_code(), "5:0", "{}", cluster.printed(id));
    let wrapped = "sbatch --parsable -p glexec -o out.%j --wrap 'id -un; kill -9 $$'";
    let id = cluster.by("pilot", wrapped).output().trim().parse().unwrap();
    assert_eq!(cluster.ended(id).exit_code(), "0:9", "{}", cluster.printed(id));
    assert!(cluster.printed(id).starts_with("payload1\n"));
    // One that cannot be interpreted says so.
    let id = submit(&cluster, "-p glexec", "#!/usr/bin/no-such\n", "").unwrap();
    assert_eq!(cluster.ended(id).exit_code(), "127:0");
    assert!(cluster.printed(id).contains("see its first line"), "{}", cluster.printed(id));
}

#[test]
fn other_scripts_are_left_alone_and_jobs_without_one_are_refused() {
    let cluster = cluster(LUA);
    cluster.site().file("/home/pilot/input", "", 0o644);
    let plain = "#!/bin/sh\nid -un\nhead -1 \"$0\"\nexit 3\n";
    let id = submit(&cluster, "", plain, "").unwrap();
    assert_eq!(cluster.ended(id).exit_code(), "3:0");
    assert!(cluster.printed(id).starts_with("pilot\n#!/bin/sh\n"), "{}", cluster.printed(id));
    for command in ["srun -p glexec true", "salloc -p main,glexec true"] {
        let ran = cluster.by("pilot", command);
        assert!(ran.code() != 0 && ran.error().contains("batch scripts only"), "{}", ran.error());
    }
    // Nor is a job moved there whose script is not run through glexec.
    let id = submit(&cluster, "--hold", plain, "").unwrap();
    let ran = cluster.by("pilot", &format!("scontrol update jobid={id} partition=glexec"));
    assert_ne!(ran.code(), 0);
    assert_eq!(cluster.job(id).field("Partition"), "main");
    cluster.by("pilot", &format!("scontrol update jobid={id} name=x")).exited(0);
    let allowing = LUA.replace("without_script = \"refuse\"", "without_script = \"allow\"");
    cluster.site().file("/etc/slurm/job_submit.lua", &allowing, 0o644);
    cluster.by("pilot", "srun -p glexec true").exited(0);
}
