//! Where the sandbox is copied: the payload works in a directory of its own, nothing of the
//! sandbox changes its owner, and no copy stays.

use crate::jobs::{all, done, job};
use crate::kills::{LONG, OBEYED, begin, epilogues, way};
use crate::{PILOTS_CONFIG, ROOTS_CONFIG, sandbox, with_copies};
use harness::{LIBEXEC, Pool, SharedPool, accounts};

const SPOOL: &str = "/var/spool/glexec-condor";

static ROOT: SharedPool = SharedPool::new(|| with_copies(Pool::root(ROOTS_CONFIG)));
static PILOT: SharedPool = SharedPool::new(|| with_copies(Pool::pilot(PILOTS_CONFIG)));

/// What is in the directory of the copies, or in the sandboxes.
fn listed(pool: &Pool, find: &str) -> Vec<String> {
    let told = pool.shell("root", &format!("find {find} -printf '%U %y %P\\n'"));
    let mut all: Vec<_> =
        String::from_utf8_lossy(&told.stdout).lines().map(str::to_owned).collect();
    all.sort();
    all
}

fn no_copy_stays(pool: &Pool) {
    pool.wait_until(LONG, || {
        listed(pool, &format!("{SPOOL} -mindepth 1")).is_empty().then_some(())
    });
}

#[test]
fn the_payload_reads_its_input_and_its_output_comes_back_by_copies() {
    sandbox::transfers(&ROOT.get(), "/home/pilot");
    no_copy_stays(&ROOT.get());
}

#[test]
fn the_payload_reads_its_input_and_its_output_comes_back_by_copies_with_a_pilot() {
    sandbox::transfers(&PILOT.get(), "/home/pilot");
    no_copy_stays(&PILOT.get());
}

/// The payload's account has no part in the sandbox, and nobody else in the copy.
fn stays_apart(pool: &Pool, execute: &str) {
    let way = way(("payload3", "", false), ("", "", None));
    let id = begin(pool, &way, "");
    let uid = accounts::named(way.account).uid;
    let sandboxes = listed(pool, execute);
    assert!(sandboxes.iter().any(|line| line.contains(".job.ad")), "{sandboxes:?}");
    let theirs = |line: &String| line.starts_with(&format!("{uid} "));
    assert!(!sandboxes.iter().any(theirs), "{sandboxes:?}");
    let copies = pool.shell("root", &format!("stat -c '%u %a' {SPOOL}/*"));
    assert_eq!(String::from_utf8_lossy(&copies.stdout), format!("{uid} 700\n"));
    let _ = pool.shell("root", &format!("condor_rm {id}"));
    pool.wait_for(id, harness::Ad::is_removed, LONG);
    no_copy_stays(pool);
}

#[test]
fn the_sandbox_keeps_its_owner() {
    // Alone: whatever other jobs there are have copies, too.
    stays_apart(&with_copies(Pool::root(ROOTS_CONFIG)), "/var/lib/condor/execute");
}

#[test]
fn the_sandbox_keeps_its_owner_with_a_pilot() {
    stays_apart(&with_copies(Pool::pilot(PILOTS_CONFIG)), "/home/pilot/condor/execute");
}

/// What was there and is gone, changed or new in the copy is so in the sandbox.
fn comes_back_as_it_is(pool: &Pool) {
    let script = "set -e\nrm gone; echo more >>changed; mkfifo pipe; echo >$TMPDIR/t; rm t\nmkdir -p new/deep; echo x >new/deep/x\n\
        ln -s x new/deep/link; ln -s /etc/passwd away\nchmod 711 new/deep/x\npwd >where; exit 5\n";
    pool.file("/home/pilot/changes", &format!("#!/bin/sh\n{script}"), 0o755);
    // Its owner's, or the output could not take its place.
    let made = pool.shell("pilot", "echo 1 >gone; echo 1 >changed");
    assert!(made.status.success(), "{made:?}");
    let lines = "transfer_input_files = gone, changed\ntransfer_output_files = new, where, changed";
    let text = job("payload1", lines)
        .replace("executable = /bin/sh", "executable = changes")
        .replace("transfer_executable = False", "transfer_executable = True");
    let id = pool.submit("pilot", &text);
    let ad = done(pool, id);
    assert!(ad.is_completed(), "{ad:?}\n{}", pool.diagnosis());
    assert_eq!(ad.number("ExitCode"), Some(5), "{ad:?}\n{}", pool.diagnosis());
    assert_eq!(pool.read("/home/pilot/changed"), "1\nmore\n");
    assert_eq!(pool.read("/home/pilot/new/deep/link"), "x\n");
    let mode = pool.shell("root", "stat -c '%a %U' /home/pilot/new/deep/x");
    assert_eq!(String::from_utf8_lossy(&mode.stdout), "711 pilot\n");
    assert!(pool.read("/home/pilot/where").starts_with(&format!("{SPOOL}/sandbox-")));
    let said = pool.read(&format!("/home/pilot/err.{id}"));
    assert!(said.contains("out: 1 FIFOs") && said.contains("out: 1 links"), "{said}");
    no_copy_stays(pool);
}

#[test]
fn what_the_payload_made_comes_back_as_it_is() {
    comes_back_as_it_is(&ROOT.get());
}

#[test]
fn what_the_payload_made_comes_back_as_it_is_with_a_pilot() {
    comes_back_as_it_is(&PILOT.get());
}

fn ends_without_a_trace(pool: &Pool) {
    let ways = [
        way(("payload2", "condor_rm", false), OBEYED),
        way(("payload4", "condor_vacate_job -fast", false), ("", "", None)),
        way(("payload5", "condor_rm", true), ("137", "", None)),
    ];
    for way in ways {
        let id = begin(pool, &way, "");
        let told = pool.shell("root", &format!("{} {id}", way.command));
        assert!(told.status.success(), "{told:?}");
        let first = pool.wait_until(LONG, || epilogues(pool, way.account).into_iter().next());
        let rc = first.variable("GLEXEC_EPILOG_TARGET_RC");
        assert!(way.rc.is_empty() || rc == Some(way.rc), "{} {rc:?}", way.command);
        let _ = pool.shell("root", &format!("condor_rm {id}"));
        pool.wait_for(id, harness::Ad::is_removed, LONG);
    }
    no_copy_stays(pool);
}

#[test]
fn no_copy_stays_of_a_job_that_is_ended() {
    ends_without_a_trace(&with_copies(Pool::root(ROOTS_CONFIG)));
}

#[test]
fn no_copy_stays_of_a_job_that_is_ended_with_a_pilot() {
    ends_without_a_trace(&with_copies(Pool::pilot(PILOTS_CONFIG)));
}

#[test]
fn signals_and_what_cannot_be_run_are_told_as_they_are() {
    let pool = ROOT.get();
    let id = pool.submit("pilot", &job("payload1", "arguments = \"-c 'kill -11 $$'\""));
    let ad = done(&pool, id);
    assert_eq!(ad.number("ExitSignal"), Some(11), "{ad:?}");
    assert_eq!(ad.number("GlexecTargetSignal"), Some(11), "{:?}", all(&ad));
    let id = pool.submit("pilot", &job("payload1", "").replace("/bin/sh", "/etc/passwd"));
    assert_eq!(done(&pool, id).number("ExitCode"), Some(126));
}

/// Output that has no room where the sandboxes are.
fn does_not_come_back(pool: &Pool) {
    const EXECUTE: &str = "/var/lib/condor/execute";
    let script = format!(
        "mount -t tmpfs -o size=3m none {EXECUTE} && chown condor:condor {EXECUTE} && chmod 755 {EXECUTE}"
    );
    let told = pool.shell("root", &script);
    assert!(told.status.success(), "{told:?}");
    let lines = "arguments = \"-c 'head -c 4000000 /dev/zero >made; exit 7'\"";
    let ad = done(pool, pool.submit("pilot", &job("payload1", lines)));
    assert!(ad.is_held(), "{ad:?} {:?}", all(&ad));
    assert_eq!(ad.number("GlexecTargetRC"), Some(7), "{:?}", all(&ad));
    let reason = ad.get("HoldReason").unwrap_or_default();
    assert!(reason.contains("did not come back") && reason.contains("No space left"), "{reason}");
    no_copy_stays(pool);
}

/// Input that has no room where the copies are: the job has not run, and says so.
#[test]
fn a_copy_that_cannot_be_made_or_brought_back_holds_the_job() {
    let pool = with_copies(Pool::root(ROOTS_CONFIG));
    let told = pool.shell("root", &format!("mount -t tmpfs -o size=64k,mode=1777 none {SPOOL}"));
    assert!(told.status.success(), "{told:?}");
    pool.file("/home/pilot/big", &"x".repeat(1 << 20), 0o644);
    let lines = "transfer_input_files = big\narguments = \"-c 'exit 0'\"";
    let ad = done(&pool, pool.submit("pilot", &job("payload1", lines)));
    assert!(ad.is_held(), "{ad:?} {:?}", all(&ad));
    assert_eq!(ad.get("GlexecRefused"), Some("sandbox"), "{:?}", all(&ad));
    let reason = ad.get("HoldReason").unwrap_or_default();
    assert!(reason.contains("No space left"), "{reason}");
    no_copy_stays(&pool);
    let told = pool.shell("root", &format!("umount {SPOOL}"));
    assert!(told.status.success(), "{told:?}");
    does_not_come_back(&pool);
    let told = pool.shell("root", &format!("rmdir {SPOOL}"));
    assert!(told.status.success(), "{told:?}");
    let ad = done(&pool, pool.submit("pilot", &job("payload1", lines)));
    let reason = ad.get("HoldReason").unwrap_or_default();
    assert!(
        reason.contains("install -d -o root -g root -m 1777 /var/spool/glexec-condor"),
        "{reason}"
    );
}

#[test]
fn a_payload_with_a_copy_writes_into_its_ad() {
    sandbox::chirps(&ROOT.get(), "/home/pilot");
    sandbox::chirps(&PILOT.get(), "/home/pilot");
}

/// What a module cache of Go's, nix or dune leaves, and a file that is much longer than the disk.
fn comes_back_closed(pool: &Pool) {
    let script = "set -e\nmkdir -p cache/deep; echo x >cache/deep/inner; truncate -s 3G sparse\n\
        echo y >beside; chmod -R a-w cache; chmod 500 .; exit 0\n";
    pool.file("/home/pilot/closes", &format!("#!/bin/sh\n{script}"), 0o755);
    // HTCondor itself has trouble with such a directory: it sends the file in it.
    let text = job("payload1", "transfer_output_files = cache/deep/inner, beside")
        .replace("executable = /bin/sh", "executable = closes")
        .replace("transfer_executable = False", "transfer_executable = True");
    let ad = done(pool, pool.submit("pilot", &text));
    assert!(ad.is_completed(), "{ad:?}\n{}", pool.diagnosis());
    let told = (ad.number("ExitCode"), ad.number("GlexecTargetRC"), ad.get("GlexecSandbox"));
    assert_eq!(told, (Some(0), Some(0), None), "{ad:?} {:?}", all(&ad));
    assert_eq!(
        ["inner", "beside"].map(|name| pool.read(&format!("/home/pilot/{name}"))),
        ["x\n", "y\n"]
    );
    no_copy_stays(pool);
}

#[test]
fn directories_that_may_not_be_written_and_sparse_files_come_back() {
    comes_back_closed(&ROOT.get());
}

#[test]
fn directories_that_may_not_be_written_and_sparse_files_come_back_with_a_pilot() {
    comes_back_closed(&PILOT.get());
}

/// With the socket in its hands it could write a sandbox of its own to the wrapper.
#[test]
fn a_payload_takes_nothing_out_of_the_program_that_copies() {
    let pool = PILOT.get();
    let script = "#!/usr/bin/perl\n\
        my $parent = getppid; my $pidfd = syscall(434, $parent, 0); my $taken = 0;\n\
        for my $fd (0 .. 63) { $taken++ if syscall(438, $pidfd, $fd, 0) >= 0 }\n\
        my $memory = open(my $m, '+<', \"/proc/$parent/mem\") ? 1 : 0;\n\
        my $traced = syscall(101, 16, $parent, 0, 0) >= 0 ? 1 : 0;\n\
        print 'asked: ', $pidfd >= 0 ? 1 : 0, \" taken: $taken $memory $traced\\n\"; exit 3;\n";
    pool.file("/home/pilot/takes", script, 0o755);
    let text = job("payload1", "")
        .replace("executable = /bin/sh", "executable = takes")
        .replace("transfer_executable = False", "transfer_executable = True");
    let id = pool.submit("pilot", &text);
    let ad = done(&pool, id);
    let said = pool.read(&format!("/home/pilot/out.{id}"));
    assert_eq!(said, "asked: 1 taken: 0 0 0\n", "{ad:?}\n{}", pool.diagnosis());
    assert_eq!(ad.number("ExitCode"), Some(3), "{ad:?}");
}

/// What a killed run has left, of an account that stops whatever it may stop.
#[test]
fn a_copy_is_removed_whatever_its_account_does() {
    let pool = ROOT.get();
    let script = format!(
        "d={SPOOL}/sandbox-0123456789abcdef\nmkdir $d $d/closed || exit 90\n\
         perl -e 'for (1 .. 20000) {{ open F, \">\", \"$ARGV[0]/$_\" or die }}' $d || exit 91\n\
         touch $d/closed/x; ln -s /etc $d/link; chown -hR payload6:payload6 $d; chmod 555 $d/closed $d\n\
         setpriv --reuid=payload6 --regid=payload6 --clear-groups perl -e '$| = 1; for (;;) {{ \
             for (glob \"/proc/[0-9]*\") {{ m((\\d+)) and $1 != $$ and kill \"STOP\", $1 }} print \"go\\n\" }}' >/tmp/stopper &\n\
         while ! [ -s /tmp/stopper ]; do sleep 0.01; done\n\
         id=$(id -u payload6); export GLEXEC_EPILOG_TARGET_USER=payload6 GLEXEC_EPILOG_TARGET_RC=0\n\
         export GLEXEC_EPILOG_TARGET_UID=$id GLEXEC_EPILOG_TARGET_GID=$id\n\
         GLEXEC_EPILOG_JOB_GLEXEC_CONDOR_COPY=$d {LIBEXEC}/glexec-condor-record\n\
         kill -KILL $!; ls -d $d; ls -d /etc/passwd"
    );
    let told = pool.shell("root", &script);
    let log = pool.log();
    let stays: Vec<_> = log.iter().filter(|line| line.contains("0123456789abcdef stays")).collect();
    assert_eq!(String::from_utf8_lossy(&told.stdout), "/etc/passwd\n", "{told:?} {stays:?}");
}

/// There was too much in it for the time of one epilogue; or the machine went down.
#[test]
fn a_copy_of_a_run_long_dead_is_removed_with_the_next_and_a_living_one_is_not() {
    let pool = with_copies(Pool::root(ROOTS_CONFIG));
    let id = begin(&pool, &way(("payload6", "", false), ("", "", None)), "");
    let living = listed(&pool, &format!("{SPOOL} -maxdepth 1 -name 'sandbox-*'"));
    assert_eq!(living.len(), 1, "{living:?}");
    let script = format!(
        "cd {SPOOL}; touch -d '1 hour ago' *; for n in 1 2; do d=sandbox-000000000000000$n
             mkdir -p $d/closed/x; chmod 0 $d/closed; touch -d '1 hour ago' $d; done
         chown -R payload6:payload6 sandbox-0000000000000001
         id=$(id -u payload6); export GLEXEC_EPILOG_TARGET_USER=payload6 GLEXEC_EPILOG_TARGET_RC=0
         export GLEXEC_EPILOG_TARGET_UID=$id GLEXEC_EPILOG_TARGET_GID=$id
         GLEXEC_EPILOG_JOB_GLEXEC_CONDOR_COPY={SPOOL}/sandbox-0123456789abcdef {LIBEXEC}/glexec-condor-record
         rm -r sandbox-0000000000000002"
    );
    let told = pool.shell("root", &script);
    // Root's own is none of that account's: it was there to be removed by hand.
    assert!(told.status.success(), "{told:?}");
    let left = listed(&pool, &format!("{SPOOL} -maxdepth 1 -name 'sandbox-*'"));
    assert_eq!(left, living, "{:#?}", pool.log());
    let _ = pool.shell("root", &format!("condor_rm {id}"));
    pool.wait_for(id, harness::Ad::is_removed, LONG);
    no_copy_stays(&pool);
}

/// A job on a shared file system begins where it was submitted, or not at all: its account's home is
/// the next job's, too.
#[test]
fn a_job_whose_directory_is_closed_to_its_account_is_refused() {
    let pool = ROOT.get();
    let begun = |directory: &str| {
        let text = job("payload1", "arguments = \"-c 'pwd; echo x > made; exit 7'\"")
            .replace("should_transfer_files = YES\n", "should_transfer_files = NO\n")
            .replace("when_to_transfer_output = ON_EXIT\n", "")
            + &format!("initialdir = {directory}\n");
        done(&pool, pool.submit("pilot", &text))
    };
    pool.directory("/srv/closed", (accounts::PILOT, accounts::PILOT), 0o700);
    let ad = begun("/srv/closed");
    assert!(ad.is_held(), "{ad:?}\n{}", pool.diagnosis());
    let reason = ad.get("HoldReason").unwrap_or_default();
    assert!(reason.contains("begin in /srv/closed, closed to its account"), "{reason}");
    assert_eq!(ad.number("HoldReasonSubCode"), Some(202), "{ad:?}");
    let listed = pool.shell("root", "ls /home/payload1/made");
    assert!(!listed.status.success(), "it ran in the account's home");
    pool.directory("/srv/closed", (accounts::PILOT, accounts::PILOT), 0o777);
    let ad = begun("/srv/closed");
    assert_eq!(ad.number("ExitCode"), Some(7), "{ad:?}\n{}", pool.diagnosis());
    no_copy_stays(&pool);
}
