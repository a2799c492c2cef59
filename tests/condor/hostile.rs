//! What a job may try by its own words: its environment, its ad.

use crate::jobs::{all, done, job};
use crate::{HOOKED_PILOT, HOOKED_ROOT, PILOTS_CONFIG, with_hooks};
use harness::{Ad, Pool};

/// The hook before the job makes the wrapper its command.
fn rewriting() -> Pool {
    let config = PILOTS_CONFIG
        .replace("USER_JOB_WRAPPER", "# USER_JOB_WRAPPER")
        .replace("GLEXEC_HOOK_PREPARE_JOB_BEFORE", "# GLEXEC_HOOK_PREPARE_JOB_BEFORE")
        + "\nOTHER_HOOK_PREPARE_JOB = /bin/true\n";
    let pool = with_hooks(Pool::pilot(&config));
    let hooks = include_str!("../../conf/condor/glexec-condor.toml");
    let hooks = hooks.replace("rewrite = false", "rewrite = true");
    pool.file("/etc/glexec-condor.toml", &hooks, 0o644);
    pool
}

/// What the starter says of the sandbox counts, not what the job does: it is handed over.
#[test]
fn a_job_cannot_have_another_directory_handed_over() {
    let pool = HOOKED_PILOT.get();
    let lines = "arguments = \"-c 'echo $_CONDOR_SCRATCH_DIR; touch here; exit 7'\"";
    let text = job("payload1", lines).replace(
        "environment = \"",
        "environment = \"_CONDOR_SCRATCH_DIR=/home/pilot/condor _CONDOR_BIN=/home/pilot ",
    );
    let id = pool.submit("other", &text);
    let ad = done(&pool, id);
    assert_eq!(ad.number("ExitCode"), Some(7), "{ad:?}\n{}", pool.diagnosis());
    let said = pool.read(&format!("/home/other/out.{id}"));
    assert!(said.starts_with("/home/pilot/condor/execute/dir_"), "{said}");
    assert_eq!(ad.number("GlexecTargetRC"), Some(7), "{:?}", all(&ad));
    let owner = pool.shell("root", "stat -c %U /home/pilot/condor");
    assert_eq!(String::from_utf8_lossy(&owner.stdout), "pilot\n");
}

/// A pilot's starter runs the wrapper as the pilot and in the job's environment.
#[test]
fn a_jobs_environment_brings_no_code_of_its_own_to_the_pilot() {
    let pool = HOOKED_PILOT.get();
    let text = job("payload1", "arguments = \"-c 'exit 7'\"")
        .replace("environment = \"", "environment = \"LD_PRELOAD=./evil.so ");
    let id = pool.submit("pilot", &text);
    let ad = done(&pool, id);
    assert_eq!(ad.number("ExitCode"), Some(7), "{ad:?}\n{}", pool.diagnosis());
    // The loader of a program that is not static complains: the payload's own, and no other.
    let said = pool.read(&format!("/home/pilot/err.{id}"));
    assert_eq!(said.matches("evil.so").count(), 1, "{said}");
}

fn is_held(pool: &Pool, ad: &Ad, words: &str) {
    assert!(ad.is_held(), "{ad:?} {:?}\n{}", all(ad), pool.diagnosis());
    assert_eq!(ad.number("HoldReasonSubCode"), Some(201), "{ad:?}");
    assert!(ad.get("HoldReason").unwrap_or_default().contains(words), "{ad:?}");
}

#[test]
fn a_job_that_cannot_be_rewritten_is_not_run_without_glexec() {
    let pool = rewriting();
    // A byte of no UTF-8, elsewhere and among the arguments.
    for (lines, held) in [
        ("+Odd = \"@@\"\narguments = \"-c 'id -un'\"", false),
        ("arguments = \"-c 'id -un' @@\"", true),
    ] {
        let text = format!("{}queue\n", job("payload1", lines));
        let script = format!(
            "cat > odd <<'END'\n{text}END\nsed -i \"s/@@/$(printf '\\377')/\" odd\ncondor_submit -terse odd"
        );
        let told = pool.shell("other", &script);
        let ids = String::from_utf8_lossy(&told.stdout).into_owned();
        let id = ids.split_whitespace().next().unwrap().parse().unwrap();
        let ad = done(&pool, id);
        if held {
            is_held(&pool, &ad, "no plain UTF-8");
        } else {
            assert_eq!(pool.read(&format!("/home/other/out.{id}")), "payload1\n", "{ad:?}");
        }
    }
    // Hooks of its own choice.
    let text = job("payload1", "+HookKeyword = \"OTHER\"\narguments = \"-c 'id -un'\"");
    let id = pool.submit("other", &text);
    let ad = done(&pool, id);
    assert_eq!(pool.read(&format!("/home/other/out.{id}")), "payload1\n", "{ad:?}");
    let long = format!("arguments = \"-c 'id -un' {}\"", "x".repeat(12_000));
    for (lines, words) in [(long.as_str(), "too long"), ("+Cmd = \"nowhere/x\"", "is not there")] {
        let id = pool.submit("other", &job("payload1", lines));
        is_held(&pool, &done(&pool, id), words);
    }
}

#[test]
fn the_arguments_of_a_rewritten_job_arrive() {
    let pool = rewriting();
    let lines = "arguments = \"a\\b 'c\\\\d' e\"\"f 'it''s' '' x\\\"";
    let id = pool.submit("other", &job("payload1", lines).replace("/bin/sh", "/bin/echo"));
    assert_eq!(done(&pool, id).number("ExitCode"), Some(0), "{}", pool.diagnosis());
    assert_eq!(pool.read(&format!("/home/other/out.{id}")), "a\\b c\\\\d e\"f it's  x\\\n");
}

/// What the starter does as its own user, beside the wrapper: for a pilot's, whatever the pilot may.
#[test]
fn a_job_gets_nothing_from_its_starter_beside_its_run() {
    let pool = HOOKED_PILOT.get();
    pool.file("/home/pilot/secret", "the pilot's secret\n", 0o600);
    pool.shell("root", "chown pilot:pilot /home/pilot/secret");
    let seen = "/tmp/beside-ran";
    pool.file("/home/other/beside", &format!("#!/bin/sh\nid -un > {seen}\n"), 0o755);
    let manifest = "arguments = \"-c 'exit 7'\"\nmanifest = true\nmanifest_dir = ";
    let evil = pool.submit("other", &job("payload1", &format!("{manifest}../../../evil")));
    let good = pool.submit("other", &job("payload1", &format!("{manifest}good")));
    assert_eq!(done(&pool, good).number("ExitCode"), Some(7));
    for lines in [
        "transfer_input_files = beside\n+PreCmd = \"beside\"",
        "transfer_input_files = beside\n+PostCmd = \"beside\"",
        "transfer_plugins = xyz=beside\ntransfer_input_files = xyz://a/b",
        "transfer_input_files = beside\ntool_daemon_cmd = beside",
        "+StarterUserLog = \"/home/pilot/new\"",
        "+InteractiveJob = true",
        "transfer_output_files = /home/pilot/secret",
        "transfer_output_files = ../../../secret",
        "transfer_input_files = file:///home/pilot/secret",
        "should_transfer_files = NO\ninput = /home/pilot/secret\nrequirements = true",
    ] {
        let mut text = job("payload1", &format!("arguments = \"-c cat\"\n{lines}"));
        if lines.contains("NO") {
            text = text
                .replace("should_transfer_files = YES\nwhen_to_transfer_output = ON_EXIT\n", "");
        }
        let id = pool.submit("other", &text);
        is_held(&pool, &done(&pool, id), "glexec cannot run the job");
        assert_eq!(pool.read(seen), "", "{lines}");
        assert_eq!(pool.read("/home/other/secret"), "", "{lines}");
    }
    // What the hook could not prevent is not matched.
    assert!(pool.ad(evil).number("NumJobStarts").unwrap_or(0) == 0, "{:?}", pool.ad(evil));
    let told = pool.shell("root", "ls -d /home/pilot/evil /home/pilot/new");
    assert_eq!(String::from_utf8_lossy(&told.stdout), "");
    pool.shell("root", &format!("condor_rm {evil}"));
    let pool = HOOKED_ROOT.get();
    let lines = "transfer_output_files = /etc/hosts\narguments = \"-c 'exit 7'\"";
    let ad = done(&pool, pool.submit("pilot", &job("payload1", lines)));
    assert_eq!(ad.number("ExitCode"), Some(7), "an owner's own: {ad:?}");
    let shell = pool.submit("pilot", &job("payload1", "+InteractiveJob = true"));
    is_held(&pool, &done(&pool, shell), "an interactive job is a shell of condor_ssh_to_job's");
}

/// Without a wrapper of the pool's the starter names no file for its failures; the job may.
#[test]
fn a_file_that_a_job_names_is_not_overwritten_by_the_pilot() {
    let pool = rewriting();
    let precious = "/home/pilot/precious";
    pool.file(precious, "precious\n", 0o600);
    pool.shell("root", &format!("chown pilot:pilot {precious}"));
    let text = job("payload1", "").replace("/bin/sh", "/etc/passwd").replace(
        "environment = \"",
        &format!("environment = \"_CONDOR_WRAPPER_ERROR_FILE={precious} "),
    );
    let id = pool.submit("other", &text);
    let ad = done(&pool, id);
    assert_eq!(ad.number("ExitCode"), Some(201), "{ad:?}\n{}", pool.diagnosis());
    assert_eq!(pool.read(precious), "precious\n");
}

/// The payload has the file by which the starter is found, and may do what it likes with it.
#[test]
fn what_a_payload_did_is_in_the_ad_whatever_it_does_to_the_sandbox() {
    for pool in [HOOKED_ROOT.get(), HOOKED_PILOT.get()] {
        let script =
            "arguments = \"-c 'rm -f .chirp.config .job.ad; echo x >.chirp.config; exit 7'\"";
        let ad = done(&pool, pool.submit("pilot", &job("payload1", script)));
        let told = (ad.number("ExitCode"), ad.number("GlexecTargetRC"), ad.get("GlexecEpilogue"));
        assert_eq!(told, (Some(7), Some(7), Some("ok")), "{ad:?} {:?}", all(&ad));
    }
}

/// It is the wrapper's, and would send the job back to the queue for ever.
#[test]
fn a_payload_that_writes_the_starters_file_for_failures_is_done_all_the_same() {
    let pool = HOOKED_PILOT.get();
    for lie in ["echo lie >", "mkfifo", "mkdir -p $_CONDOR_WRAPPER_ERROR_FILE/x; true"] {
        let script = format!("arguments = \"-c '{lie} $_CONDOR_WRAPPER_ERROR_FILE; exit 7'\"");
        let id = pool.submit("pilot", &job("payload1", &script));
        let ad = done(&pool, id);
        let told = (ad.number("ExitCode"), ad.number("NumJobStarts"));
        assert_eq!(told, (Some(7), Some(1)), "{lie}: {ad:?}");
    }
}

/// condor_ssh_to_job would be a shell of the starter's user, for the hook before a job does not make
/// the wrapper its command.
#[test]
fn nobody_gets_a_shell_beside_a_job() {
    let pool = rewriting();
    let keys = "#!/bin/sh\nwhile [ $# -gt 0 ]; do\n\
                case $1 in -f) echo key > $2; echo key > $2.pub;; esac\nshift\ndone\n";
    let seen = "/tmp/sshd-ran";
    pool.file("/usr/bin/ssh-keygen", keys, 0o755);
    pool.file("/usr/bin/ssh", "#!/bin/sh\nexec sleep 2\n", 0o755);
    pool.file("/usr/sbin/sshd", &format!("#!/bin/sh\nid -un > {seen}\n"), 0o755);
    let script = "arguments = \"-c 'chmod 777 .; echo ready; sleep 600'\"";
    let id = pool.submit("other", &job("payload1", script));
    let told = pool.wait_until(std::time::Duration::from_secs(60), || {
        let told = pool.shell("other", &format!("condor_tail {id}"));
        String::from_utf8_lossy(&told.stdout)
            .contains("ready")
            .then(|| pool.shell("other", &format!("timeout 20 condor_ssh_to_job {id} true")))
    });
    assert_eq!(pool.read(seen), "", "{told:?}");
    let why = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(why.contains("ENABLE_SSH_TO_JOB"), "{why}");
}
