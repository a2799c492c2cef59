//! Every way in which HTCondor ends a job: one epilogue each, nothing left, the sandbox given back.

use crate::jobs::{all, done, job};
use crate::{HOOKED_PILOT, HOOKED_ROOT};
use harness::{JobId, Look, Pool, accounts};
use std::time::{Duration, Instant};

pub(crate) const LONG: Duration = Duration::from_secs(90);
const SANDBOX: &str = "GLEXEC_EPILOG_JOB__CONDOR_SCRATCH_DIR";
const RESULT: &str = "GLEXEC_EPILOG_RESULT";
const ATTEMPT: &str = "GLEXEC_EPILOG_ATTEMPT";

/// A way to end a job of an account of its own, and what becomes known of it.
pub(crate) struct Way {
    pub(crate) account: &'static str,
    pub(crate) command: &'static str,
    stubborn: bool,
    pub(crate) rc: &'static str,
    result: &'static str,
    /// `GlexecEpilogue`.
    epilogue: Option<&'static str>,
}

pub(crate) const fn way(
    (account, command, stubborn): (&'static str, &'static str, bool),
    (rc, result, epilogue): (&'static str, &'static str, Option<&'static str>),
) -> Way {
    Way { account, command, stubborn, rc, result, epilogue }
}

/// The payload obeyed TERM, and the wrapper lived to tell all.
pub(crate) const OBEYED: (&str, &str, Option<&str>) = ("143", "killed", Some("ok"));
/// Root's starter has killed glexec along with its payload: the hook after the job has paid.
const LOST: (&str, &str, Option<&str>) = ("137", "lost", Some("settled"));

pub(crate) fn begin(pool: &Pool, way: &Way, lines: &str) -> JobId {
    let script = if way.stubborn { "trap : TERM; while :; do sleep 1; done" } else { "sleep 600" };
    begin_script(pool, way, (script, lines))
}

/// The same with a script that sleeps.
pub(crate) fn begin_script(pool: &Pool, way: &Way, (script, lines): (&str, &str)) -> JobId {
    let lines = format!("arguments = \"-c '{script}'\"\njob_max_vacate_time = 3\n{lines}");
    let id = pool.submit("pilot", &job(way.account, &lines));
    let uid = accounts::named(way.account).uid;
    pool.wait_until(LONG, || {
        pool.processes_of(uid).iter().any(|process| process.name == "sleep").then_some(())
    });
    id
}

pub(crate) fn epilogues(pool: &Pool, account: &str) -> Vec<Look> {
    let mut all = pool.epilogues();
    all.retain(|look| look.variable("GLEXEC_EPILOG_TARGET_USER") == Some(account));
    all
}

fn ends(pool: &Pool, ways: &[Way]) {
    let jobs: Vec<JobId> = ways.iter().map(|way| begin(pool, way, "request_seats = 1")).collect();
    for (way, job) in ways.iter().zip(&jobs) {
        let told = pool.shell("root", &format!("{} {job}", way.command));
        assert!(told.status.success(), "{told:?}");
    }
    for (way, job) in ways.iter().zip(&jobs) {
        ended(pool, way, *job);
        // A vacated job runs again.
        let _ = pool.shell("root", &format!("condor_rm {job}"));
    }
    for (way, job) in ways.iter().zip(&jobs) {
        pool.wait_for(*job, harness::Ad::is_removed, LONG);
        let uid = accounts::named(way.account).uid;
        pool.wait_until(LONG, || pool.processes_of(uid).is_empty().then_some(()));
        one_epilogue_for_each_sandbox(pool, way.account);
    }
    // Root's starter would remove a sandbox whoever has it: the epilogue knows who had it.
    let mut unreached = unreached(pool);
    let hard = ways.iter().filter(|way| way.is_hard_and_a_pilots());
    let looks: Vec<Look> = hard.flat_map(|way| epilogues(pool, way.account)).collect();
    unreached.retain(|line| !looks.iter().any(|look| is_of(line, look)));
    assert!(unreached.is_empty(), "{unreached:#?}");
    assert!(!pool.log_text("StarterLog").contains("giving up"), "{}", pool.log_text("StarterLog"));
    let seats = format!("arguments = \"-c 'exit 0'\"\nrequest_seats = {}", ways.len());
    let ad = done(pool, pool.submit("pilot", &job("payload1", &seats)));
    assert!(ad.is_completed(), "the slots are not free again: {ad:?}\n{}", pool.diagnosis());
}

impl Way {
    /// A pilot's starter that was told to be quick may be gone, with the sandbox, before the epilogue
    /// has ended: the log has the record then, and the ad has nothing.
    const fn is_hard_and_a_pilots(&self) -> bool {
        self.epilogue.is_none()
    }
}

/// Records that found no sandbox.
fn unreached(pool: &Pool) -> Vec<String> {
    let mut lines = pool.log();
    lines.retain(|line| line.contains("the job's ad will not have it"));
    lines
}

/// Whether a line speaks of the sandbox that an epilogue was told of.
fn is_of(line: &str, look: &Look) -> bool {
    // It may be gone as a whole, or in the middle of it.
    let names =
        |sandbox: &str| ["/", ":"].iter().any(|end| line.contains(&format!("{sandbox}{end}")));
    look.variable(SANDBOX).is_some_and(names)
}

/// What epilogue, log and ad have of a job's first run.
fn ended(pool: &Pool, way: &Way, job: JobId) {
    let what = format!("{} {job} {}", way.command, if way.stubborn { "stubborn" } else { "" });
    // What a kill interrupted is no run to its end, and can have looked around.
    let whole = |look: &Look| look.variable(RESULT) == Some("lost") || way.result != "lost";
    let first = pool.wait_until(LONG, || epilogues(pool, way.account).into_iter().find(whole));
    let rc = first.variable("GLEXEC_EPILOG_TARGET_RC").unwrap_or_default();
    // The starter kills one after the other. Where the wrapper is gone before the rest, glexec asks the
    // payload to end, and may have seen that before it is killed itself.
    let was_asked = way.result == "lost" && !way.stubborn && rc == "143";
    assert!(rc == way.rc || was_asked, "{what}: {rc}");
    assert_eq!(first.variable(RESULT), Some(way.result), "{what}");
    let attempt = first.variable(ATTEMPT).unwrap_or_default();
    let recorded = recorded(pool, &first);
    let begin = format!("{} rc={rc}", way.account);
    let end = format!(" {} attempt={attempt}", way.result);
    let last = recorded.last().is_some_and(|line| line.starts_with(&begin) && line.ends_with(&end));
    assert!(last && (recorded.len() == 1 || attempt != "1"), "{what}: {recorded:#?}");
    // A starter that gives its hook one second (from 25.4 on) is at times gone before the hook has told
    // it of a job that was killed hard.
    let told = |ad: &harness::Ad| ad.is("GlexecTargetRC", rc);
    let begin = Instant::now();
    while way.epilogue != Some("ok") && stays(pool) && !told(&pool.ad(job)) {
        if begin.elapsed() > Duration::from_secs(10) {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let begin = Instant::now();
    while way.is_hard_and_a_pilots() && !told(&pool.ad(job)) && begin.elapsed() < LONG {
        if unreached(pool).iter().any(|line| is_of(line, &first)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    // A job that was killed at once has them, too: the starter has its hook before its last update.
    // Each attribute is told by itself, and this one last.
    let whole = |ad: &harness::Ad| way.epilogue.is_none() || ad.get("GlexecEpilogue").is_some();
    let ad = pool.wait_for(job, |ad| ad.is("GlexecTargetRC", rc) && whole(ad), LONG);
    let told = (ad.get("GlexecTargetUser"), ad.get("GlexecEpilogue"));
    assert_eq!(told, (Some(way.account), way.epilogue), "{what}: {:?}", all(&ad));
    // Who was killed along with its payload need not have seen it die.
    if way.result == "killed" {
        let signal = way.rc.parse::<i64>().map(|rc| rc - 128).ok();
        assert_eq!(ad.number("GlexecTargetSignal"), signal, "{what}: {:?}", all(&ad));
    }
    if way.epilogue != Some("ok") {
        assert_eq!(ad.get("GlexecResult"), Some(way.result), "{what}: {:?}", all(&ad));
    }
}

/// Whether this HTCondor has the hook that ends after its starter.
fn stays(pool: &Pool) -> bool {
    pool.log_text("StarterLog").contains("glexec-condor-exit-stay) invoked")
}

/// What the log has of the run that this epilogue belongs to.
fn recorded(pool: &Pool, epilogue: &Look) -> Vec<String> {
    let sandbox = epilogue.variable(SANDBOX).unwrap_or_default();
    let log = pool.log().into_iter().filter(|line| line.contains("glexec-condor-record["));
    log.filter_map(|line| {
        // From EXECUTE on: HTCondor 25 has the sandbox one level deeper.
        let (name, rest) = line.split_once("]: ")?.1.split_once(": ")?;
        let ours = name.starts_with("dir_") && sandbox.ends_with(&format!("/{name}"));
        ours.then(|| rest.trim_end().to_owned())
    })
    .collect()
}

/// They had each sandbox once, and all sandboxes are gone. Where root's starter killed glexec in its
/// epilogue, there is a second attempt, and the first can have come as far as to look around.
fn one_epilogue_for_each_sandbox(pool: &Pool, account: &str) {
    let runs = epilogues(pool, account);
    let mut whole: Vec<&str> = Vec::new();
    for run in &runs {
        let later = runs.iter().any(|other| {
            other.variable(SANDBOX) == run.variable(SANDBOX)
                && other.variable(RESULT) == Some("lost")
                && other.variable(ATTEMPT) > run.variable(ATTEMPT)
        });
        whole.extend(run.variable(SANDBOX).filter(|_| !later));
    }
    for sandbox in &whole {
        pool.wait_until(LONG, || {
            let there = pool.shell("root", &format!("test -e {sandbox}"));
            (!there.status.success()).then_some(())
        });
    }
    let number = whole.len();
    whole.sort_unstable();
    whole.dedup();
    assert!(number > 0 && number == whole.len(), "{account}: one epilogue for each run: {runs:#?}");
}

#[test]
fn however_a_job_is_ended_it_has_one_epilogue_and_nothing_is_left() {
    let ways = [
        way(("payload2", "condor_rm", false), OBEYED),
        way(("payload3", "condor_hold", false), OBEYED),
        way(("payload4", "condor_vacate_job", false), OBEYED),
        way(("payload5", "condor_vacate_job -fast", false), LOST),
        way(("payload6", "condor_rm", true), LOST),
    ];
    ends(&HOOKED_ROOT.get(), &ways);
}

#[test]
fn however_a_job_is_ended_it_has_one_epilogue_and_nothing_is_left_with_a_pilot() {
    let ways = [
        way(("payload2", "condor_rm", false), OBEYED),
        way(("payload3", "condor_hold", false), OBEYED),
        way(("payload4", "condor_vacate_job", false), OBEYED),
        // The pilot's starter can kill the wrapper only: glexec sees its end, and does the rest.
        way(("payload5", "condor_vacate_job -fast", false), ("143", "killed", None)),
        way(("payload6", "condor_rm", true), ("137", "killed", None)),
    ];
    ends(&HOOKED_PILOT.get(), &ways);
}

/// Which of an account's processes stand still, one word for each: stopped by a signal, or frozen
/// with their cgroup, as root's starter does it that has no procd (from 24.8.1 on).
fn standing(pool: &Pool, uid: u32) -> Vec<bool> {
    let look = format!(
        "for p in /proc/[0-9]*; do [ \"$(stat -c %u $p)\" = {uid} ] || continue
            if grep -q '^State:.[TZX]' $p/status || grep -qx 'frozen 1' \
                \"/sys/fs/cgroup$(sed -n s/^0:://p $p/cgroup)/cgroup.events\"
            then echo stands; else [ ! -d $p ] || echo goes; fi
        done 2>/dev/null"
    );
    let told = pool.shell("root", &look);
    String::from_utf8_lossy(&told.stdout).lines().map(|word| word == "stands").collect()
}

/// A starter that uses a cgroup and finds no memory controller in it, as on hosts that have it in
/// the old hierarchy, sends no update, with or without hooks: the job stays suspended.
fn queue_hears(pool: &Pool) -> bool {
    let deaf = "! grep -qw memory /sys/fs/cgroup/cgroup.controllers &&
        grep -rqx 'frozen 1' /sys/fs/cgroup --include=cgroup.events";
    !pool.shell("root", deaf).status.success()
}

/// Suspends a job and lets it go on; its payload does the same.
fn is_suspended(pool: &Pool) {
    let way = way(("friend", "condor_rm", false), OBEYED);
    let id = begin(pool, &way, "");
    let uid = accounts::named(way.account).uid;
    let become_all = |stand: bool| {
        pool.wait_until(LONG, || {
            let all = standing(pool, uid);
            (!all.is_empty() && all.iter().all(|stands| *stands == stand)).then_some(())
        });
    };
    become_all(false);
    assert!(pool.shell("root", &format!("condor_suspend {id}")).status.success());
    become_all(true);
    if queue_hears(pool) {
        // It takes no condor_continue before it knows of the suspension.
        pool.wait_for(id, |ad| ad.number("JobStatus") == Some(7), LONG);
        assert!(pool.shell("root", &format!("condor_continue {id}")).status.success());
        become_all(false);
    }
    let _ = pool.shell("root", &format!("condor_rm {id}"));
    pool.wait_for(id, harness::Ad::is_removed, LONG);
    pool.wait_until(LONG, || pool.processes_of(uid).is_empty().then_some(()));
}

#[test]
fn a_payload_is_suspended_with_its_job() {
    is_suspended(&HOOKED_ROOT.get());
}

/// Without a cgroup every starter uses its procd.
#[test]
fn a_payload_is_suspended_with_its_job_where_there_is_no_cgroup() {
    let config = format!("{}BASE_CGROUP =\n", crate::ROOTS_CONFIG);
    is_suspended(&crate::with_hooks(Pool::root(&config)));
}

#[test]
fn a_payload_is_suspended_with_its_job_with_a_pilot() {
    is_suspended(&HOOKED_PILOT.get());
}

/// What the operator's view has of runs that live or owe something.
fn owed(pool: &Pool) -> String {
    let told = pool.shell("root", "glexec-admin ps --json");
    String::from_utf8_lossy(&told.stdout).trim().to_owned()
}

/// Ends a daemon of this account's under a running job, in a pool of its own: the run is over soon,
/// with one epilogue for each sandbox, and nothing is left of the payload.
fn outlives(pool: &Pool, user: &str, daemon: (&str, &str)) {
    let command = by_name(daemon);
    let way = way(("friend", "", false), OBEYED);
    let id = begin(pool, &way, "");
    let told = pool.shell(user, &command);
    assert!(told.status.success(), "{command}: {told:?}");
    let _ = pool.shell("root", &format!("timeout 20 condor_rm {id}"));
    let uid = accounts::named(way.account).uid;
    pool.wait_until(LONG, || pool.processes_of(uid).is_empty().then_some(()));
    if user == "root" && daemon.1 != "condor_master" {
        // glexec can be killed along with its payload, and there is nobody any more who would call
        // the hook after the job: what is owed then the timer's sweep pays.
        let swept = pool.shell("root", "glexec-admin sweep --now --wait 20");
        assert!(swept.status.success(), "{command}: {swept:?}");
    }
    pool.wait_until(LONG, || (owed(pool) == "[]").then_some(()));
    // And never a second time.
    let again = pool.shell("root", "glexec-admin sweep --now --wait 20");
    assert!(again.status.success(), "{command}: {again:?}");
    let runs = epilogues(pool, way.account);
    let codes: Vec<_> = runs.iter().map(|run| run.variable("GLEXEC_EPILOG_TARGET_RC")).collect();
    assert!(
        !runs.is_empty() && codes.iter().all(|rc| [Some("143"), Some("137")].contains(rc)),
        "{command}: {codes:?}"
    );
    assert!(runs.iter().all(|run| !recorded(pool, run).is_empty()), "{command}: {:#?}", pool.log());
    if daemon.1 == "condor_starter" {
        // Who would send the last update is gone: the log alone has it.
        assert_eq!(pool.ad(id).get("GlexecTargetRC"), None, "{command}");
    }
    if daemon.1 != "condor_master" {
        let lines = "arguments = \"-c 'exit 0'\"\nrequest_cpus = 32";
        let ad = done(pool, pool.submit("pilot", &job("payload1", lines)));
        assert!(ad.is_completed(), "the slot is not free again: {ad:?}\n{}", pool.diagnosis());
    }
    if (user, daemon.1) == ("pilot", "condor_starter") {
        // The startd wants to remove a dead starter's sandbox in the same moment, while it is still
        // the target's, and gives up. It is the pilot's soon: the next startd does remove it.
        pool.shell(user, &by_name(("KILL", "condor_startd")));
    }
    one_epilogue_for_each_sandbox(pool, way.account);
}

/// Signals and who gets them; SIGQUIT is the fast way to stop a pool.
const DAEMONS: [(&str, &str); 3] =
    [("KILL", "condor_starter"), ("KILL", "condor_startd"), ("QUIT", "condor_master")];

/// The master waits less before it starts a daemon again.
const BRISK: &str = "MASTER_BACKOFF_CONSTANT = 1\n";

#[test]
fn a_payload_does_not_outlive_the_daemons_of_its_job() {
    for daemon in DAEMONS {
        let config = format!("{}{BRISK}", crate::ROOTS_CONFIG);
        outlives(&crate::with_hooks(Pool::root(&config)), "root", daemon);
    }
}

#[test]
fn a_payload_does_not_outlive_the_daemons_of_its_job_with_a_pilot() {
    for daemon in DAEMONS {
        let config = format!("{}{BRISK}", crate::PILOTS_CONFIG);
        outlives(&crate::with_hooks(Pool::pilot(&config)), "pilot", daemon);
    }
}

/// The hook that stays, whichever HTCondor this is, and all daemons of the machine die under it: none
/// of them can end it.
fn hook_ends_with_its_starter(pool: &Pool) {
    let hooks = || {
        let ours = pool.processes_of(accounts::PILOT).into_iter();
        ours.filter(|process| process.name == "glexec-condor-e").count()
    };
    pool.submit("pilot", &job("friend", "arguments = \"-c 'exit 0'\""));
    pool.wait_until(LONG, || (hooks() > 0).then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(hooks(), 1, "it stays");
    // None sees the death of another.
    for signal in ["STOP", "KILL"] {
        let told = pool.shell("root", &by_name((signal, "condor_*")));
        assert!(told.status.success(), "{told:?}");
    }
    pool.wait_until(Duration::from_secs(10), || (hooks() == 0).then_some(()));
}

/// `conf/condor`, with the hook that stays, for as long as a test needs.
fn staying(config: &str) -> String {
    let lines = config.replace("condor-exit\n", "condor-exit-stay\n");
    lines.replace("JOB_EXIT_TIMEOUT = 1\n", "JOB_EXIT_TIMEOUT = 60\n").replace("= 30\n", "= 60\n")
}

#[test]
fn a_hook_that_stays_ends_with_its_starter() {
    hook_ends_with_its_starter(&crate::with_hooks(Pool::root(&staying(crate::ROOTS_CONFIG))));
}

#[test]
fn a_hook_that_stays_ends_with_its_starter_with_a_pilot() {
    hook_ends_with_its_starter(&crate::with_hooks(Pool::pilot(&staying(crate::PILOTS_CONFIG))));
}

/// The pool has no pkill, and processes of its own: nothing else goes by these names there.
fn by_name((signal, name): (&str, &str)) -> String {
    format!(
        "for p in /proc/[0-9]*; do
            case $(cat $p/comm 2>/dev/null) in {name}) kill -{signal} ${{p#/proc/}};; esac
        done; true"
    )
}

/// Writes down what the starter gives it, and is the hook after the job.
const HOOK: &str = "#!/bin/sh
tr '\\0' '\\n' </proc/self/environ >/tmp/hook.environment
ls -l /proc/$$/fd >/tmp/hook.descriptors
exec /usr/libexec/glexec/glexec-condor-exit
";

/// Session keys, sockets, and what the starter says to hooks alone.
const OF_HOOKS: [&str; 3] = ["CONDOR_PRIVATE_", "CONDOR_INHERIT", "_CONDOR_MAINJOB_"];

/// The names of an epilogue's variables, those left out that glexec makes for it.
fn names(look: &Look) -> Vec<&str> {
    let names =
        look.environment.iter().filter_map(|entry| entry.split_once('=')).map(|(name, _)| name);
    let mut names: Vec<&str> = names.filter(|name| !name.starts_with("GLEXEC_EPILOG_")).collect();
    // HTCondor numbers the processes in these.
    names.retain(|name| !name.starts_with("_CONDOR_ANCESTOR_"));
    names.sort_unstable();
    names
}

/// By `glexec --settle`, which the hook calls: in the place of glexec that was killed.
#[test]
fn an_epilogue_that_runs_later_has_nothing_of_the_hooks() {
    let hook = "/usr/libexec/glexec/glexec-condor-exit";
    let config = crate::ROOTS_CONFIG.replace(&format!("{hook}-stay"), hook);
    let config = config.replace(hook, "/usr/libexec/site/exit");
    // Where the hook writes it is seen from outside.
    let pool = crate::with_hooks(Pool::root(&format!("{config}MOUNT_UNDER_SCRATCH =\n")));
    pool.file("/usr/libexec/site/exit", HOOK, 0o755);
    let [(at_once, _), (later, [given, had])] =
        [("condor_vacate_job", "killed"), ("condor_vacate_job -fast", "lost")].map(
            |(command, result)| {
                let way = way(("friend", command, false), OBEYED);
                let id = begin(&pool, &way, "");
                let before = pool.epilogues().len();
                let _ = pool.shell("root", &format!("{command} {id}"));
                let ours = |look: &Look| look.variable(RESULT) == Some(result);
                let look =
                    pool.wait_until(LONG, || pool.epilogues().into_iter().skip(before).find(ours));
                let given =
                    ["/tmp/hook.environment", "/tmp/hook.descriptors"].map(|path| pool.read(path));
                let _ = pool.shell("root", &format!("condor_rm {id}"));
                pool.wait_for(id, harness::Ad::is_removed, LONG);
                (look, given)
            },
        );
    for word in OF_HOOKS {
        assert!(given.lines().any(|line| line.starts_with(word)), "{word}: {given}");
        assert!(!later.environment.iter().any(|entry| entry.starts_with(word)), "{later:#?}");
    }
    assert_eq!(names(&later), names(&at_once));
    let open: Vec<(i32, &str)> =
        later.descriptors.iter().map(|(n, to)| (*n, to.as_str())).collect();
    assert_eq!(open, [(0, "/dev/null"), (1, "/dev/null"), (2, "/dev/null")]);
    assert!(had.contains("socket:"), "{had}");
}

/// The payload has the sandbox while it runs, and knows the name.
#[test]
fn what_a_payload_puts_in_the_records_place_costs_no_record() {
    let pool = crate::with_hooks(Pool::root(crate::ROOTS_CONFIG));
    for (account, put) in [
        ("payload2", "mkdir -p .glexec.record/x"),
        ("payload3", "mkfifo .glexec.record"),
        ("payload4", "ln -s /etc/passwd .glexec.record"),
    ] {
        let way = way((account, "condor_vacate_job -fast", false), LOST);
        let id = begin_script(&pool, &way, (&format!("{put}; sleep 600"), ""));
        let told = pool.shell("root", &format!("{} {id}", way.command));
        assert!(told.status.success(), "{told:?}");
        ended(&pool, &way, id);
        let unreached = |line: &String| line.contains("the job's ad will not have it");
        assert!(!pool.log().iter().any(unreached), "{put}: {:#?}", pool.log());
        let _ = pool.shell("root", &format!("condor_rm {id}"));
    }
}

/// It cannot write into a sandbox, and its records are in a place of its own.
#[test]
fn the_record_of_an_epilogue_that_is_not_roots_reaches_the_ad() {
    let keeper = accounts::KEEPER;
    let pool = crate::with_hooks(Pool::root(crate::ROOTS_CONFIG));
    let lines = pool.read("/etc/glexec.toml");
    let of_keeper = "epilogue_environment = \"own\"\nepilogue_user = \"keeper\"";
    let lines = lines.replace("epilogue_environment = \"own\"", of_keeper);
    assert!(lines.contains("keeper"), "{lines}");
    pool.file("/etc/glexec.toml", &lines, 0o644);
    pool.file(harness::EPILOGUE, include_str!("../../conf/condor/epilogue"), 0o755);
    let hooks = pool.read("/etc/glexec-condor.toml");
    let own =
        hooks.replace("#owner", "owner").replace("fields = []", "fields = [\"argv\", \"pgid\"]");
    assert_ne!(own, hooks);
    pool.file("/etc/glexec-condor.toml", &own, 0o644);
    pool.directory("/var/lib/glexec-condor", (keeper, keeper), 0o711);
    let way = way(("payload2", "condor_vacate_job -fast", false), LOST);
    let id = begin(&pool, &way, "");
    let told = pool.shell("root", &format!("{} {id}", way.command));
    assert!(told.status.success(), "{told:?}");
    let ad = pool.wait_for(id, |ad| ad.is("GlexecEpilogue", "settled"), LONG);
    let told = (ad.get("GlexecTargetUser"), ad.get("GlexecResult"), ad.get("GlexecTargetRC"));
    assert_eq!(told, (Some("payload2"), Some("lost"), Some(way.rc)), "{:?}", all(&ad));
    let line = "payload2 rc=137 lost attempt=1 argv=";
    let log = pool.log();
    assert!(
        log.iter().any(|told| told.contains(line) && told.contains(" target_pgid=")),
        "{log:#?}"
    );
    let _ = pool.shell("root", &format!("condor_rm {id}"));
}
