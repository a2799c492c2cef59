//! Pool accounts: one for each lingering run, until its epilogue has ended.

use contract::{Reason, Record};
use harness::accounts::WORK;
use harness::{EPILOGUE, Running, Site};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// A site that maps `pilot` to a pool of so many accounts, with the machine for itself: whether
/// an account is free, the processes of the whole machine tell.
fn pool(size: u32, lines: &str) -> Site {
    let site = Site::alone("");
    site.config(&format!(
        "[glexec]\nuser_white_list = [\"pilot\"]\nkill_grace = 1\n{lines}\n[mapping]\nmethods = [\"pool\"]\n\
         [[mapping.pool]]\ncaller = \"pilot\"\naccounts = \"work[001-{size:03}]\"\n"
    ));
    site
}

fn target(running: &Running<'_>) -> String {
    match running.record(|r| matches!(r, Record::Started { .. })) {
        Record::Started { target, .. } => target,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_run_has_an_account_of_its_own_and_the_65th_is_refused_until_one_ends() {
    let site = pool(64, "");
    let mut runs: Vec<_> = (0..64)
        .map(|_| site.glexec(["sh", "-c", "sleep 20 & wait"]).with_status().with_control().start())
        .collect();
    let targets: HashSet<String> = runs.iter().map(target).collect();
    assert_eq!(targets.len(), 64, "no account is used twice");
    // From outside: each uid of the pool runs one payload's processes, and no more.
    for n in 1..=64 {
        let processes = site.processes_of(WORK + n);
        assert!((1..=3).contains(&processes.len()), "work{n:03}: {processes:?}");
    }
    site.glexec(["true"]).with_status().run().stopped(Reason::NoFreeAccount);
    site.glexec(["--check", "true"]).run().stopped(Reason::NoFreeAccount);
    let one = runs.remove(17);
    let freed = target(&one);
    one.order("KILL");
    one.wait().exited(137);
    let run = site.glexec(["id", "-un"]).run();
    assert_eq!(run.exited(0).output().trim(), freed);
    for run in runs {
        run.order("KILL");
        run.wait().exited(137);
    }
    assert!((1..=64).all(|n| site.processes_of(WORK + n).is_empty()));
}

#[test]
fn no_payload_begins_in_the_home_that_it_shares_with_the_next_one() {
    let begins = |rule: &str, from: &str| {
        let site = pool(1, &format!("working_directory = \"{rule}\""));
        site.directory("/nonexistent", (0, 0), 0o755);
        site.directory("/nonexistent/home", (WORK + 1, WORK + 1), 0o700);
        site.glexec(["pwd", "-P"]).within(from).run().exited(0).output()
    };
    assert_eq!(begins("caller", "/tmp"), "/tmp\n");
    assert_eq!(begins("caller", "/home/pilot"), "/\n");
    assert_eq!(begins("home", "/tmp"), "/nonexistent/home\n");
}

#[test]
fn the_account_that_was_unused_longest_is_next() {
    let site = pool(3, "");
    let next = || site.glexec(["id", "-un"]).run().exited(0).output().trim().to_owned();
    let six: Vec<String> = (0..6)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(15));
            next()
        })
        .collect();
    assert_eq!(six[..3].iter().collect::<HashSet<_>>().len(), 3, "{six:?}");
    assert_eq!(six[..3], six[3..], "{six:?}");
}

#[test]
fn nothing_of_the_account_is_left_whatever_tree_it_has_left() {
    let site = pool(1, &format!("epilogue = \"{EPILOGUE}\""));
    site.epilogue("#!/usr/local/bin/actor count-into\n");
    // Not a descendant of glexec's: started by root beside it, as cron or at would.
    let beside = site.program(["/bin/sleep", "20"]).by_ids(WORK + 1, WORK + 1, &[]);
    let call = site.glexec(["sh", "-c", "sleep 0.5; exit 5"]).with_status().start();
    call.started();
    let beside = beside.start();
    let ran = call.wait();
    ran.exited(5);
    assert_eq!(beside.wait().signal, Some(libc::SIGKILL));
    let found = ran.records.iter().any(|r| matches!(r, Record::Stragglers { found: 1, ended: 1 }));
    assert!(found, "{ran:#?}");
    assert_eq!(site.read("/var/lib/site/count"), "[]\n");
    // And an account with a process of its own is not free.
    let stranger = site.program(["/bin/sleep", "20"]).by_ids(WORK + 1, WORK + 1, &[]).start();
    std::thread::sleep(Duration::from_millis(100));
    site.glexec(["true"]).with_status().run().stopped(Reason::NoFreeAccount);
    drop(stranger);
}

#[test]
fn a_lost_run_keeps_its_account_until_its_epilogue_has_run() {
    let site = pool(1, &format!("epilogue = \"{EPILOGUE}\""));
    // Leaves group, session and tree: only the uid tells.
    let script =
        "setsid sh -c 'setsid sleep 30' </dev/null >/dev/null 2>&1 & sleep 0.2; echo up; sleep 20";
    let running = site.glexec(["sh", "-c", script]).with_status().start();
    running.says("up");
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    std::thread::sleep(Duration::from_millis(50));
    site.glexec(["true"]).with_status().run().stopped(Reason::NoFreeAccount);
    let ran = site.program(["/usr/sbin/glexec-admin", "sweep"]).by("root").run();
    ran.exited(0);
    assert_eq!(site.processes_of(WORK + 1), [], "{ran:#?}");
    assert_eq!(site.epilogues().len(), 1);
    site.glexec(["true"]).run().exited(0);
}

#[test]
fn without_an_epilogue_the_account_itself_is_owed() {
    let site = pool(1, "");
    let running = site.glexec(["sleep", "20"]).with_status().start();
    running.started();
    assert_eq!(running.signal_by("pilot", libc::SIGKILL), Err(nix::errno::Errno::EPERM), "immune");
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    let until = Instant::now() + Duration::from_secs(30);
    while !site.processes_of(WORK + 1).is_empty() {
        assert!(Instant::now() < until, "the payload dies with its glexec");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Nothing of it lives: the entry alone says that it is not free.
    site.glexec(["true"]).with_status().run().stopped(Reason::NoFreeAccount);
    site.glexec(["--check", "true"]).run().stopped(Reason::NoFreeAccount);
    site.program(["/usr/sbin/glexec-admin", "sweep"]).by("root").run().exited(0);
    site.glexec(["true"]).run().exited(0);
    assert!(site.epilogues().is_empty());
}

#[test]
fn an_account_whose_entry_was_set_aside_is_given_out_again_by_a_person_alone() {
    let site = pool(1, &format!("epilogue = \"{EPILOGUE}\""));
    let running = site.glexec(["sleep", "300"]).with_status().start();
    running.started();
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    let with_an_epilogue = site.read(harness::CONFIG);
    site.config(&with_an_epilogue.replace("epilogue =", "#epilogue ="));
    let sweep = || site.program(["/usr/sbin/glexec-admin", "sweep", "--now"]).by("root").run();
    sweep().exited(1);
    site.config(&with_an_epilogue);
    let state = site.path("/var/lib/glexec");
    let aside = || {
        let all = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
        let mut named = all.filter(|path| path.to_str().unwrap().contains("/aside.run."));
        named.next().expect("an entry that was set aside")
    };
    for _ in 0..2 {
        site.glexec(["true"]).with_status().run().stopped(Reason::NoFreeAccount);
        site.glexec(["--check", "true"]).run().stopped(Reason::NoFreeAccount);
        sweep().exited(1);
        assert!(aside().exists() && site.epilogues().is_empty());
    }
    std::fs::remove_file(aside()).unwrap();
    site.glexec(["true"]).run().exited(0);
    assert_eq!(site.epilogues().len(), 1);
}

#[test]
fn an_account_of_which_a_process_lives_is_not_free() {
    let site = pool(1, "");
    let account = (WORK + 1).to_string();
    let words = ["/usr/bin/setpriv", "--reuid", &account, "--regid", &account, "--clear-groups"];
    let call = site.program(words).words(["sh", "-c", "echo up; exec sleep 300"]).by("root");
    let stranger = call.start();
    stranger.says("up");
    site.glexec(["true"]).with_status().run().stopped(Reason::NoFreeAccount);
    site.glexec(["--check", "true"]).run().stopped(Reason::NoFreeAccount);
    harness::raw::kill(stranger.pid(), libc::SIGKILL).unwrap();
    stranger.wait();
    site.glexec(["--check", "true"]).run().exited(0);
    site.glexec(["true"]).run().exited(0);
}

#[test]
fn a_run_with_an_account_of_its_own_counts_once() {
    let site = pool(3, "max_runs_per_caller = 2");
    let start = || {
        let running = site.glexec(["sleep", "300"]).with_status().with_control().start();
        running.started();
        running
    };
    let runs = [start(), start()];
    site.glexec(["true"]).with_status().run().stopped(Reason::TooManyRuns);
    for run in runs {
        run.order("KILL");
        run.wait().exited(137);
    }
}

#[test]
fn a_burst_of_runs_never_shares_an_account() {
    let site = pool(8, &format!("epilogue = \"{EPILOGUE}\""));
    site.epilogue("#!/bin/sh\necho end $GLEXEC_EPILOG_TARGET_USER >> /var/lib/site/order\n");
    site.directory("/var/lib/site", (0, 0), 0o1777);
    site.file("/var/lib/site/order", "", 0o666);
    let payload = "echo begin $(id -un) >> /var/lib/site/order; sleep 0.02";
    let (start, done) = (Instant::now(), std::sync::atomic::AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let mut own = 0;
                while own < 10 {
                    assert!(start.elapsed() < Duration::from_secs(120), "{own} runs of 10");
                    let ran = site.glexec(["sh", "-c", payload]).with_status().run();
                    if ran.code() == 0 {
                        own += 1;
                    } else {
                        // All are in use, and nothing else is wrong.
                        ran.stopped(Reason::NoFreeAccount);
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
                done.fetch_add(own, std::sync::atomic::Ordering::SeqCst);
            });
        }
    });
    let done = done.into_inner();
    assert_eq!(done, 120, "{:?}", start.elapsed());
    let mut busy = HashSet::new();
    let order = site.read("/var/lib/site/order");
    assert_eq!(order.lines().count(), 240);
    for line in order.lines() {
        let (word, who) = line.split_once(' ').unwrap();
        let fresh = if word == "begin" { busy.insert(who.to_owned()) } else { busy.remove(who) };
        assert!(fresh, "{who} was used twice at a time");
    }
    assert!(busy.is_empty(), "{busy:?}");
}

#[test]
fn a_rehearsal_takes_no_account() {
    let site = pool(1, "");
    for _ in 0..3 {
        let ran = site.glexec(["--check", "true"]).run();
        assert!(ran.exited(0).output().contains("work001"), "{ran:#?}");
    }
    let names = std::fs::read_dir(site.path("/var/lib/glexec")).unwrap().count();
    assert_eq!(names, 0, "no lock is left, for none was taken");
}

#[test]
fn a_pool_without_lingering_is_no_configuration() {
    let site = pool(2, "linger = false");
    site.glexec(["true"]).with_status().run().stopped(Reason::ConfigMalformed);
}

#[test]
fn check_shows_the_pool_and_warns_of_ways_out_of_it() {
    let site = pool(3, "");
    site.directory("/var/lib/systemd/linger", (0, 0), 0o755);
    site.file("/var/lib/systemd/linger/work002", "", 0o644);
    site.file("/usr/bin/crontab", "", 0o755);
    let _ = std::fs::remove_file(site.path("/etc/cron.allow"));
    let check = || site.program(["/usr/sbin/glexec-admin", "check"]).by("root").run();
    let shown = check().exited(0).output();
    for part in [
        "pilot (one of 3) -> work003",
        "linger/work002",
        "/usr/bin/crontab is open",
        "/var/lib/glexec: 0 entries",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    site.file("/etc/cron.allow", "root\n", 0o644);
    assert!(!check().exited(0).output().contains("crontab"));
    // One line for all that are missing; an error only where none is left.
    let text = site.read(harness::CONFIG);
    site.config(&text.replace("work[001-003]", "work[063-090]"));
    let shown = check().exited(0).output();
    let missing: Vec<&str> = shown.lines().filter(|line| line.contains("work065")).collect();
    assert!(missing.len() == 1 && missing[0].contains("26 of the 28 pool accounts"), "{shown}");
    site.config(&text.replace("work[001-003]", "work[065-090]"));
    let shown = check().exited(1).output();
    assert!(shown.contains("none of the 26 accounts of the pool"), "{shown}");
}

#[test]
fn where_nobody_has_the_account_no_process_is_looked_at() {
    let site = pool(4, "epilogue = \"/usr/libexec/site/epilogue\"");
    // Of an earlier run of the tests, or on its way out.
    let begin = Instant::now();
    while (1..=4).any(|n| !site.processes_of(WORK + n).is_empty()) {
        assert!(begin.elapsed() < Duration::from_secs(30), "the accounts are never free");
        std::thread::sleep(Duration::from_millis(10));
    }
    let strace = ["/usr/bin/strace", "-f", "-qq", "-o", "/tmp/trace", "-u", "pilot"];
    let words = strace.iter().copied().chain(["/usr/sbin/glexec", "/bin/true"]);
    site.program(words).by("root").run().exited(0);
    let trace = site.read("/tmp/trace");
    assert!(trace.contains("getpriority(PRIO_USER, 4300"), "the kernel was asked: {trace}");
    let listings: Vec<&str> = trace.lines().filter(|line| line.contains("\"/proc\", O_")).collect();
    assert!(listings.is_empty(), "{listings:#?}");
    assert_eq!(site.epilogues().len(), 1);
}
