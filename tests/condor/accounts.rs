//! Accounts of a pool: one for each job at a time, and who finds none free comes again.

use crate::jobs::{all, done, job};
use crate::{PILOTS_CONFIG, ROOTS_CONFIG, with_hooks};
use harness::{Ad, CONFIG, JobId, Pool, accounts};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
const SANDBOX: &str = "GLEXEC_EPILOG_JOB__CONDOR_SCRATCH_DIR";

/// With so many accounts for all of pilot's runs, and what may pass is tried again soon.
fn with_accounts(pool: Pool, number: u32) -> Pool {
    let pool = with_hooks(pool);
    map_to(&pool, number);
    prepare(&pool, "retries = 2\nretry_delay = 1");
    pool
}

fn map_to(pool: &Pool, number: u32) {
    let config = pool.read(CONFIG);
    let settings = config.split("[mapping]").next().unwrap_or_default();
    let mapping = format!(
        "[mapping]\nmethods = [\"pool\"]\n[[mapping.pool]]\ncaller = \"pilot\"\n\
         accounts = \"work[001-{number:03}]\"\n"
    );
    pool.file(CONFIG, &format!("{settings}{mapping}"), 0o644);
}

fn prepare(pool: &Pool, lines: &str) {
    pool.file("/etc/glexec-condor.toml", &format!("[prepare]\n{lines}\n"), 0o644);
}

/// A job that asks for no account and runs this text of a shell's.
fn submit(pool: &Pool, script: &str) -> JobId {
    let lines = format!("arguments = \"-c '{script}'\"");
    let text = job("", &lines).replace("environment = \"GLEXEC_TARGET_USER=\"\n", "");
    pool.submit("pilot", &text)
}

/// Who runs this.
fn runners(pool: &Pool, name: &str) -> Vec<u32> {
    let uses = |n: &u32| pool.processes_of(accounts::WORK + n).iter().any(|p| p.name == name);
    (1..=4).filter(uses).collect()
}

/// Keeps an account in use until its file is there.
fn occupied(pool: &Pool) -> JobId {
    pool.shell("root", "rm -f /var/lib/site/free");
    let id = submit(pool, "until test -e /var/lib/site/free; do sleep 0.1; done; exit 4");
    pool.wait_until(LONG, || (!runners(pool, "sh").is_empty()).then_some(()));
    id
}

fn free(pool: &Pool) {
    pool.file("/var/lib/site/free", "", 0o644);
}

fn exited(pool: &Pool, id: JobId, code: i64) -> Ad {
    let ad = done(pool, id);
    assert!(ad.is_completed(), "{ad:?}\n{}", pool.diagnosis());
    assert_eq!(ad.number("ExitCode"), Some(code), "{ad:?}");
    ad
}

/// Two jobs wait for each other, each with files of its own.
fn two_at_once(pool: &Pool) {
    let script = "id -un > who; touch /var/lib/site/meet/$$; \
        until test $(ls /var/lib/site/meet | wc -l) = 2; do sleep 0.1; done; umask 077; id -un > own";
    pool.shell("root", "mkdir -m 1777 /var/lib/site/meet");
    let lines = format!(
        "arguments = \"-c '{script}'\"\ntransfer_output_files = who, own\n\
         transfer_output_remaps = \"who = who.$(Process); own = own.$(Process)\"\nqueue 2"
    );
    let text = job("", &lines).replace("environment = \"GLEXEC_TARGET_USER=\"\n", "");
    let first = pool.submit("pilot", &text);
    let mut names = Vec::new();
    for process in 0..2 {
        let ad = exited(pool, JobId { process, ..first }, 0);
        let name = pool.read(&format!("/home/pilot/who.{process}")).trim().to_owned();
        assert_eq!(pool.read(&format!("/home/pilot/own.{process}")).trim(), name);
        let told = (ad.get("GlexecTargetUser"), ad.get("GlexecEpilogue"));
        assert_eq!(told, (Some(name.as_str()), Some("ok")), "{:?}", all(&ad));
        names.push(name);
    }
    names.sort_unstable();
    assert_eq!(names, ["work001", "work002"]);
    let runs = pool.epilogues();
    let mut seen: Vec<&str> =
        runs.iter().filter_map(|run| run.variable("GLEXEC_EPILOG_TARGET_USER")).collect();
    seen.sort_unstable();
    assert_eq!(seen, names);
    for run in &runs {
        let sandbox = run.variable(SANDBOX).unwrap();
        pool.wait_until(LONG, || {
            let there = pool.shell("root", &format!("test -e {sandbox}"));
            (!there.status.success()).then_some(())
        });
    }
    let complaints = pool.log_text("StarterLog");
    assert!(!complaints.contains("giving up"), "{complaints}");
}

/// How often glexec has said no for this reason.
fn refusals(pool: &Pool, reason: &str) -> usize {
    let word = format!("]: {reason}: ");
    pool.log().iter().filter(|line| line.contains(&word)).count()
}

fn held(pool: &Pool, id: JobId, words: &[&str]) {
    let ad = done(pool, id);
    let told = (ad.number("HoldReasonCode"), ad.number("HoldReasonSubCode"));
    assert_eq!((ad.is_held(), told), (true, (Some(19), Some(202))), "{ad:?}");
    let reason = ad.get("HoldReason").unwrap_or_default();
    assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
    assert_eq!(ad.number("NumJobStarts").unwrap_or(0), 0, "{ad:?}");
}

/// The only account is in use: by whom asks for too short a time, for long enough, and again and
/// again.
fn waits_for_an_account(pool: &Pool) {
    const NONE: &str = "no-free-account";
    prepare(pool, "retries = 2\nretry_delay = 1");
    let occupant = occupied(pool);
    let (words, before) = (["glexec on pool", "all 1 accounts you could be mapped to", NONE], 0);
    held(pool, submit(pool, "exit 0"), &words);
    assert_eq!(refusals(pool, NONE), before + 3, "{:#?}", pool.log());

    // More than what follows takes on any machine.
    prepare(pool, "retries = 3000\nretry_delay = 1\ntime_limit = 3000");
    let patient = submit(pool, "exit 5");
    pool.wait_until(LONG, || (refusals(pool, NONE) > before + 3).then_some(()));

    prepare(pool, "retries = 0\nhold_on_initial_failure = false");
    let idle = submit(pool, "exit 6");
    let ad = pool.wait_for(idle, |ad| ad.number("NumShadowStarts") > Some(1), LONG);
    assert!(!ad.is_held() && ad.number("NumJobStarts").unwrap_or(0) == 0, "{ad:?}");

    free(pool);
    exited(pool, occupant, 4);
    let ad = exited(pool, patient, 5);
    let starts = ["NumShadowStarts", "NumJobStarts", "NumHolds"].map(|name| ad.number(name));
    assert_eq!(starts[..2], [Some(1), Some(1)], "{ad:?}");
    assert_eq!(starts[2].unwrap_or(0), 0, "{ad:?}");
    let ad = exited(pool, idle, 6);
    assert_eq!((ad.number("NumJobStarts"), ad.number("NumHolds").unwrap_or(0)), (Some(1), 0));
}

/// Over its bound of runs a caller is told so before the job runs.
fn has_too_many_runs(pool: &Pool) {
    let good = pool.read(CONFIG);
    prepare(pool, "retries = 1\nretry_delay = 1");
    let occupant = occupied(pool);
    pool.file(CONFIG, &good.replace("[glexec]\n", "[glexec]\nmax_runs_per_caller = 1\n"), 0o644);
    held(pool, submit(pool, "exit 0"), &["glexec on pool", "too-many-runs"]);
    pool.file(CONFIG, &good, 0o644);
    free(pool);
    exited(pool, occupant, 4);
}

/// The account is gone between rehearsal and run, as between two jobs that begin together. There
/// is no rehearsal here, so that it always is.
fn comes_again(pool: &Pool, config: &str) {
    let hook = "/usr/libexec/glexec/glexec-condor-prepare";
    let one = config.replace(&format!("{hook}-transfer"), hook);
    pool.reconfigure(&one.replace(hook, "/bin/true"));
    let occupant = occupied(pool);
    let id = submit(pool, "exit 7");
    let ad = pool.wait_for(id, |ad| ad.number("NumJobStarts") > Some(2) || ad.is_held(), LONG);
    assert!(!ad.is_held(), "{ad:?} {:?}", all(&ad));
    free(pool);
    exited(pool, occupant, 4);
    let ad = exited(pool, id, 7);
    assert_eq!(ad.number("NumHolds").unwrap_or(0), 0, "{ad:?}");
}

fn passing(pool: &Pool, config: &str) {
    two_at_once(pool);
    has_too_many_runs(pool);
    map_to(pool, 1);
    waits_for_an_account(pool);
    comes_again(pool, config);
}

#[test]
fn jobs_at_once_have_accounts_of_their_own_and_who_finds_none_waits() {
    passing(&with_accounts(Pool::root(ROOTS_CONFIG), 2), ROOTS_CONFIG);
}

#[test]
fn jobs_at_once_have_accounts_of_their_own_and_who_finds_none_waits_with_a_pilot() {
    passing(&with_accounts(Pool::pilot(PILOTS_CONFIG), 2), PILOTS_CONFIG);
}
