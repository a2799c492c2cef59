//! Ways by which a site could have Slurm put the wrapper in front of every task's command, and what
//! keeps each from being used: docs/slurm.md, "Why users put the wrapper into the srun line themselves".
//! Where one of these fails with a newer Slurm, that way is open.

use harness::{Cluster, LIBEXEC, Shape};
use std::process::Command;

/// Two tasks by a file of commands.
const COMMANDS: &str = "0 /usr/bin/id -un\n1 /usr/bin/id -un\n";

#[test]
fn a_spank_plug_in_changes_a_tasks_command_but_for_those_of_a_file() {
    let cluster = Cluster::start(Shape::default());
    let site = cluster.site();
    let version = cluster.root("sinfo --version").output();
    let numbers = version.split_whitespace().last().unwrap().split('.');
    let release = numbers.fold(0, |all, n| all * 256 + n.parse::<u32>().unwrap());
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/slurm/spank.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", &format!("-DRELEASE={release}"), source, "-o"])
        .arg(site.path("/usr/local/lib/wrapped.so"))
        .status();
    assert!(built.unwrap().success());
    site.file("/etc/slurm/plugstack.conf", "required /usr/local/lib/wrapped.so\n", 0o644);
    let front = format!(
        "#!/bin/sh\ncommand=$WRAPPED; unset WRAPPED\nexec {LIBEXEC}/glexec-slurm-task \"$command\" \"$@\"\n"
    );
    site.file("/usr/local/bin/front", front, 0o755);
    site.file("/home/pilot/commands", COMMANDS, 0o644);
    let step = |options: &str| cluster.by("pilot", &format!("srun -Q -n2 {options}"));
    assert_eq!(step("--wrapped id -un").exited(0).output(), "payload1\npayload1\n");
    step("--wrapped sh -c 'exit 7'").exited(7);
    let unnoticed = step("--wrapped --multi-prog /home/pilot/commands");
    assert_eq!(unnoticed.exited(0).output(), "pilot\npilot\n", "{}", cluster.logs());
}

#[test]
fn a_filter_of_options_sees_a_steps_words_and_cannot_change_them() {
    let slurm = "CliFilterPlugins=lua\n".to_owned();
    let cluster = Cluster::start(Shape { slurm, ..Shape::default() });
    let filter = format!(
        "function slurm_cli_setup_defaults(options, early) return slurm.SUCCESS end
         function slurm_cli_post_submit(offset, job, step) return slurm.SUCCESS end
         function slurm_cli_pre_submit(options, offset)
           local words = options[\"argv\"]
           slurm.log_info(\"words: %s\", table.concat(words, \" \"))
           words[1], words[2], words[3] = \"{LIBEXEC}/glexec-slurm-task\", \"id\", \"-un\"
           local done, why = pcall(function() options[\"argv\"] = words end)
           slurm.log_info(\"assigned: %s\", tostring(done))
           return slurm.SUCCESS
         end"
    );
    cluster.site().file("/etc/slurm/cli_filter.lua", filter, 0o644);
    let ran = cluster.by("pilot", "srun id -un");
    assert_eq!(ran.exited(0).output(), "pilot\n");
    let told = ran.error();
    assert!(told.contains("words: id -un") && told.contains("assigned: false"), "{told}");
}

#[test]
fn a_container_runtime_is_not_told_of_the_task_and_there_is_one_task_at_most() {
    let cluster = Cluster::start(Shape::default());
    let site = cluster.site();
    let runtime = "RunTimeQuery=\"echo {}\"\nRunTimeKill=\"true\"\nRunTimeDelete=\"true\"\n\
                   RunTimeRun=\"echo HOME $HOME, PROCID $SLURM_PROCID, directory $PWD\"\n";
    site.file("/etc/slurm/oci.conf", format!("CreateEnvFile=true\n{runtime}"), 0o644);
    site.directory("/home/pilot/bundle", (0, 0), 0o755);
    let bundle =
        "{\"ociVersion\":\"1.0.2\",\"process\":{\"args\":[\"x\"]},\"root\":{\"path\":\"/\"}}";
    site.file("/home/pilot/bundle/config.json", bundle, 0o644);
    let step = |options: &str| {
        cluster.by("pilot", &format!("srun -Q --container=/home/pilot/bundle {options} id -un"))
    };
    let told = step("-n1").exited(0).output();
    let spool = "HOME /root, PROCID , directory /var/spool/slurmd.";
    assert!(told.starts_with(spool), "{told}");
    let two = step("-n2");
    assert!(two.error().contains("Task launch"), "{two:?}");
    let last = cluster.ended(2);
    assert_eq!((last.state(), last.exit_code()), ("COMPLETED", "0:0"), "{last:?}");
}
