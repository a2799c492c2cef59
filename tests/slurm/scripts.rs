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

/// Another file, which slurmctld takes where it is younger, by whole seconds, than its last look.
fn change(cluster: &Cluster, lua: &str) {
    cluster.site().file("/etc/slurm/job_submit.lua", lua, 0o644);
    cluster.root("touch -d '+1 minute' /etc/slurm/job_submit.lua").exited(0);
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
    change(&cluster, &allowing);
    cluster.by("pilot", "srun -p glexec true").exited(0);
}

/// An account's jobs, by a file that a site had already.
#[test]
fn a_sites_own_file_calls_ours() {
    const OWN: &str = "local glexec = dofile(\"/etc/slurm/glexec_submit.lua\")
function slurm_job_submit(job_desc, part_list, submit_uid)
    job_desc.comment = \"the site's\"
    return glexec.through_glexec(job_desc, part_list)
end
function slurm_job_modify(job_desc, job_rec, part_list, modify_uid)
    return glexec.into_glexec(job_desc, job_rec, part_list)
end
";
    let cluster = cluster(LUA);
    let of_account = LUA.replace("account = {},", "account = { \"grid\" },");
    cluster.site().file("/etc/slurm/glexec_submit.lua", of_account, 0o644);
    change(&cluster, OWN);
    cluster.site().file("/home/pilot/input", "", 0o644);
    for (options, who) in [("-A grid", "payload1"), ("-A other", "pilot"), ("", "pilot")] {
        let id = submit(&cluster, options, "#!/bin/sh\nid -un\n", "").unwrap();
        let job = cluster.ended(id);
        assert_eq!((job.exit_code(), job.field("Comment")), ("0:0", "the"), "{}", cluster.logs());
        assert_eq!(cluster.printed(id).lines().next(), Some(who), "{options}");
    }
    let id = submit(&cluster, "--hold -A other", "#!/bin/sh\n", "").unwrap();
    cluster.by("pilot", &format!("scontrol update jobid={id} account=grid")).exited(1);
}
