//! A pilot's start-up writes its own lines behind ours, a wrapper among them: no job of it may run as the
//! pilot.

use crate::jobs::{all, done, job};
use crate::{PILOTS_CONFIG, with_hooks};
use harness::{Ad, JobId, Pool};

const WRAPPER: &str = "/home/pilot/condor/condor_job_wrapper.sh";
const HOOKS: &str = include_str!("../../conf/condor/glexec-condor.toml");

/// What the start-up of glideinWMS leaves behind what it was given: what stands last counts.
const START_UP: &str = "
USER_JOB_WRAPPER = $(LOCAL_DIR)/condor_job_wrapper.sh
GLEXEC_JOB = True
GLEXEC = /usr/sbin/glexec
GLEXEC_USER_DIR = $(LOCAL_DIR)/glexec
GLEXEC_RETRIES = 3
GLIDEIN_Glexec_Use = \"REQUIRED\"
JOB_INHERITS_STARTER_ENVIRONMENT = True
USE_PROCESS_GROUPS = 0
START = True && (TARGET.JobUniverse =!= 7)
IS_GLIDEIN = True
";

/// Its wrapper: sets something for the job, and becomes what it was given.
const EXPORTS: &str = "#!/bin/sh\nexport GLEXEC_NOTE=from-the-wrapper\nexec \"$@\"\n";

/// A pool of a pilot's whose start-up has put this wrapper last, with this change of the hooks' file.
fn glidein(wrapper: &str, (from, to): (&str, &str)) -> Pool {
    let pool = with_hooks(Pool::pilot(&format!("{PILOTS_CONFIG}{START_UP}")));
    pool.file(WRAPPER, wrapper, 0o755);
    assert!(HOOKS.contains(from));
    pool.file("/etc/glexec-condor.toml", &HOOKS.replace(from, to), 0o644);
    pool
}

fn run(pool: &Pool, script: &str) -> (JobId, Ad) {
    let id = pool.submit("other", &job("payload1", &format!("arguments = \"-c '{script}'\"")));
    let ad = done(pool, id);
    (id, ad)
}

const WHO: &str = "id -un; echo $GLEXEC_NOTE; exit 7";

/// It ran once, as the target, with what the outer wrapper had set, and with its epilogue.
fn by_glexec(pool: &Pool, (id, ad): &(JobId, Ad)) {
    assert_eq!(ad.number("ExitCode"), Some(7), "{ad:?}\n{}", pool.diagnosis());
    assert_eq!(ad.number("GlexecTargetRC"), Some(7), "{:?}", all(ad));
    assert_eq!(ad.get("GlexecResult"), None, "{:?}", all(ad));
    let said = pool.read(&format!("/home/other/out.{id}"));
    assert!(said.starts_with("payload1\n"), "{said}");
    assert_eq!(pool.epilogues().len(), 1);
    let left = pool.shell("other", "ls -A | grep -c glexec");
    assert_eq!(String::from_utf8_lossy(&left.stdout), "0\n", "nothing of ours is output");
}

#[test]
fn with_a_wrapper_of_the_start_ups_a_job_is_held_and_never_the_pilots() {
    let script = "#!/bin/sh\nid -un >>/tmp/ran\nexec \"$@\"\n";
    let pool = glidein(script, ("rewrite = false", "rewrite = false"));
    let (_, ad) = run(&pool, WHO);
    assert!(ad.is_held(), "{ad:?}\n{}", pool.diagnosis());
    let told = (ad.number("HoldReasonCode"), ad.number("HoldReasonSubCode"));
    assert_eq!(told, (Some(19), Some(202)), "{ad:?}");
    let reason = ad.get("HoldReason").unwrap_or_default();
    for word in ["glexec on pool", WRAPPER, "rewrite = true"] {
        assert!(reason.contains(word), "{reason}");
    }
    assert_eq!(pool.read("/tmp/ran"), "", "nothing was run");
    // Where nothing is the wrapper the job would be the pilot's, too.
    pool.reconfigure(&format!("{PILOTS_CONFIG}USER_JOB_WRAPPER =\n"));
    let (_, ad) = run(&pool, WHO);
    let reason = ad.get("HoldReason").unwrap_or_default();
    assert!(ad.is_held() && reason.contains("USER_JOB_WRAPPER is not set"), "{ad:?}");
    // Who cannot be asked is not taken for ours.
    pool.reconfigure(PILOTS_CONFIG);
    let hooks = HOOKS.replace("#condor_config_val = \"/usr/bin/", "condor_config_val = \"/none/");
    pool.file("/etc/glexec-condor.toml", &hooks, 0o644);
    let (_, ad) = run(&pool, WHO);
    let reason = ad.get("HoldReason").unwrap_or_default();
    assert!(ad.is_held() && reason.contains("/none/condor_config_val"), "{ad:?}");
    pool.file("/etc/glexec-condor.toml", HOOKS, 0o644);
    by_glexec(&pool, &run(&pool, WHO));
}

#[test]
fn with_rewriting_a_job_goes_by_glexec_whatever_the_start_up_says() {
    let pool = glidein(EXPORTS, ("rewrite = false", "rewrite = true"));
    let ran = run(&pool, WHO);
    by_glexec(&pool, &ran);
    let said = pool.read(&format!("/home/other/out.{}", ran.0));
    assert_eq!(said, "payload1\nfrom-the-wrapper\n");
    // Both: the wrapper is the job's command, and the starter's.
    pool.reconfigure(PILOTS_CONFIG);
    let (id, ad) = run(&pool, WHO);
    assert_eq!(ad.number("GlexecTargetRC"), Some(7), "{ad:?}\n{}", pool.diagnosis());
    assert_eq!(pool.read(&format!("/home/other/out.{id}")), "payload1\n\n");
    assert_eq!(pool.epilogues().len(), 2);
}

#[test]
fn a_rewritten_job_runs_the_command_that_was_sent_and_no_other_of_that_name() {
    let pool = glidein(EXPORTS, ("rewrite = false", "rewrite = true"));
    // Only its owner can read it where it was submitted: what runs is what was sent.
    pool.file("/home/other/script", "#!/bin/sh\nid -un; echo $1; exit 7\n", 0o700);
    let own = pool.shell("root", "chown other /home/other/script; chmod 700 /home/other");
    assert!(own.status.success());
    let text = job("payload1", "arguments = sent")
        .replace("executable = /bin/sh", "executable = script")
        .replace("transfer_executable = False", "transfer_executable = True");
    let id = pool.submit("other", &text);
    let ad = done(&pool, id);
    assert_eq!(ad.number("ExitCode"), Some(7), "{ad:?}\n{}", pool.diagnosis());
    assert_eq!(pool.read(&format!("/home/other/out.{id}")), "payload1\nsent\n");
}

#[test]
fn a_wrapper_of_the_sites_around_ours_is_one_that_the_site_names() {
    let script = EXPORTS.replace("exec ", "exec /usr/libexec/glexec/glexec-condor-wrapper ");
    let named = format!("outer_wrappers = [\"{WRAPPER}\"]");
    let pool = glidein(&script, ("#outer_wrappers = [\"/usr/libexec/site/job-wrapper\"]", &named));
    let ran = run(&pool, WHO);
    by_glexec(&pool, &ran);
    let said = pool.read(&format!("/home/other/out.{}", ran.0));
    assert_eq!(said, "payload1\nfrom-the-wrapper\n");
}

#[test]
fn a_job_that_has_run_without_glexec_all_the_same_is_told_of() {
    // It says that it runs ours, and does not.
    let named = format!("outer_wrappers = [\"{WRAPPER}\"]");
    let pool = glidein(EXPORTS, ("#outer_wrappers = [\"/usr/libexec/site/job-wrapper\"]", &named));
    let (_, ad) = run(&pool, "exit 7");
    assert_eq!(ad.number("ExitCode"), Some(7), "{ad:?}\n{}", pool.diagnosis());
    assert_eq!(ad.get("GlexecResult"), Some("not-by-glexec"), "{:?}", all(&ad));
    let told = |line: &String| line.contains("has run without glexec");
    assert!(pool.log().iter().any(told), "{:?}", pool.log());
    // A refused one has not run at all.
    let quiet = pool.log().iter().filter(|line| told(line)).count();
    let text = job("payload1", "arguments = \"-c 'exit 7'\"\n+PreCmd = \"x\"");
    let id = pool.submit("other", &text);
    assert!(done(&pool, id).is_held());
    assert_eq!(pool.log().iter().filter(|line| told(line)).count(), quiet);
}

/// What the old set-up of glideinWMS called, word for word but for its fixed text: a shell with an inline
/// command and a script in the glidein's directory, closed and open.
#[test]
fn the_self_tests_of_a_start_up_work_where_its_directory_is_open() {
    let pool = glidein(EXPORTS, ("rewrite = false", "rewrite = true"));
    let glexec = |directory: &str, words: &str| {
        let script = format!(
            "cd {directory} && printf '#!/bin/sh\\nid -un\\n' >t.sh && chmod a+x t.sh && \
             GLEXEC_TARGET_USER=payload1 /usr/sbin/glexec {words}"
        );
        let told = pool.shell("pilot", &script);
        (told.status.code(), String::from_utf8_lossy(&told.stdout).into_owned())
    };
    let shell = "\"$(readlink -f /bin/sh)\" -c 'id -un && echo Hello'";
    let ours = (harness::accounts::PILOT, harness::accounts::PILOT);
    for (mode, script_runs) in [(0o700, false), (0o711, true)] {
        pool.directory("/home/pilot/work", ours, mode);
        let ran = glexec("/home/pilot/work", shell);
        assert_eq!(ran, (Some(0), "payload1\nHello\n".to_owned()), "{mode:o}");
        let ran = glexec("/home/pilot/work", "/home/pilot/work/t.sh");
        assert_eq!(ran.0, Some(if script_runs { 0 } else { 201 }), "{mode:o}: {ran:?}");
    }
    let selftest = "CONDOR_CONFIG=/home/pilot/condor/condor_config \
                    /usr/libexec/glexec/glexec-condor-selftest /usr/sbin/glexec /home/pilot/work";
    let told = pool.shell("pilot", selftest);
    let said = String::from_utf8_lossy(&told.stdout);
    assert!(
        told.status.success() && said.contains("note: GLEXEC_JOB = True has no effect"),
        "{said}"
    );
}
