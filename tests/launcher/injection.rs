//! System calls that fail, or that lie: the payload runs as the target to the last id, or not
//! at all. tests/inject does this to every call; these are the ones that make an identity.

use contract::Record;
use harness::accounts::{EXTRA_GROUPS, PAYLOAD1, PILOT};
use harness::tamper::{Fault, Spot, Tampering};
use harness::{GLEXEC, Look, Ran, Site};
use nix::errno::Errno;
use std::collections::HashMap;
use std::time::{Duration, Instant};

const IDENTITY: [&str; 3] = ["setgroups", "setresgid", "setresuid"];
const LIES: [Fault; 3] = [Fault::Fails(Errno::EAGAIN), Fault::Fails(Errno::EPERM), Fault::Gives(0)];

/// Runs a command of `pilot`'s with one call of one process tampered with.
fn tampered(site: &Site, spot: Option<&Spot>, words: &[&str]) -> (Ran, Tampering) {
    let ran = site.tamper(spot, "pilot", &[&[GLEXEC], words].concat()).run();
    let told = site.tampering().unwrap_or_else(|| panic!("{spot:?}: {ran:#?}"));
    (ran, told)
}

fn look(ran: &Ran) -> Option<Look> {
    (!ran.stdout.is_empty()).then(|| ran.look())
}

fn is_the_target(look: &Look) -> bool {
    let groups: Vec<u32> = look.groups.iter().copied().filter(|g| *g != PAYLOAD1).collect();
    look.uids == [PAYLOAD1; 4]
        && look.gids == [PAYLOAD1; 4]
        && groups == EXTRA_GROUPS
        && look.capabilities[..3] == [0; 3]
}

/// Every call that makes an identity, in every process, as a run makes them that nobody tampers
/// with.
fn identity_calls(told: &Tampering) -> Vec<(String, String, usize)> {
    let mut all = Vec::new();
    for (process, calls) in &told.calls {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for call in calls.iter().filter(|call| IDENTITY.contains(&call.as_str())) {
            let nth = counts.entry(call).and_modify(|n| *n += 1).or_insert(1);
            all.push((process.clone(), call.clone(), *nth));
        }
    }
    all
}

fn calls_of(all: &[(String, String, usize)], process: &str) -> Vec<String> {
    let of = all.iter().filter(|(name, ..)| name == process);
    of.map(|(_, call, nth)| format!("{call}:{nth}")).collect()
}

#[test]
fn an_identity_call_that_fails_or_lies_never_gives_a_payload_another_identity() {
    let site = Site::with("linger = false");
    let (ran, told) = tampered(&site, None, &["actor", "look"]);
    assert!(is_the_target(&ran.exited(0).look()), "without tampering it runs");
    let all = identity_calls(&told);
    let mut stopped = 0;
    for (process, call, nth) in &all {
        for fault in LIES {
            let spot = Spot { process: process.clone(), call: call.clone(), nth: *nth, fault };
            let (ran, told) = tampered(&site, Some(&spot), &["actor", "look"]);
            assert!(told.struck.is_some(), "{spot}");
            match look(&ran) {
                Some(look) => assert!(is_the_target(&look), "{spot}: {look:#?}"),
                None => {
                    assert!((201..=203).contains(&ran.code()), "{spot}: {ran:#?}");
                    stopped += 1;
                }
            }
        }
    }
    // Lowering itself, and every raise and drop. A call by which the proof tries to be somebody else
    // is to fail anyway.
    assert!(all.len() >= 9 && stopped >= all.len(), "{stopped} of {all:?}");
}

#[test]
fn a_lingering_run_is_as_careful_in_each_of_its_processes() {
    let site = Site::with_epilogue("");
    let (ran, told) = tampered(&site, None, &["actor", "look"]);
    assert!(is_the_target(&ran.exited(0).look()), "without tampering it runs");
    assert_eq!(site.epilogues().len(), 1);
    let all = identity_calls(&told);
    // Payload and epilogue each take groups, gid and uid, and then try to be root again.
    for child in ["glexec.1", "glexec.2"] {
        let calls = calls_of(&all, child);
        for first in ["setgroups:1", "setresgid:1", "setresuid:1"] {
            assert!(calls.iter().any(|call| call == first), "{first} in {child}: {calls:?}");
        }
    }
    let (mut stopped, mut refused) = (0, HashMap::new());
    for (process, call, nth) in &all {
        for fault in LIES {
            let spot = Spot { process: process.clone(), call: call.clone(), nth: *nth, fault };
            let (ran, told) = tampered(&site, Some(&spot), &["actor", "look"]);
            assert!(told.struck.is_some(), "{spot}");
            match look(&ran) {
                Some(look) => assert!(is_the_target(&look), "{spot}: {look:#?}"),
                None => {
                    assert!((201..=203).contains(&ran.code()), "{spot}: {ran:#?}");
                    stopped += 1;
                }
            }
            *refused.entry(process.clone()).or_insert(0) += usize::from(ran.code() == 202);
        }
    }
    assert!(stopped >= 9 && refused["glexec.1"] >= 9, "{stopped} stopped, {refused:?}");
    let saw = site.epilogues();
    assert!(saw.len() > 9, "{} epilogues", saw.len());
    // Whatever was tampered with: an epilogue that ran, ran as root with no groups.
    for saw in saw {
        assert_eq!((saw.uids, saw.gids, saw.groups), (vec![0; 4], vec![0; 4], vec![]));
    }
}

#[test]
fn a_payload_never_begins_in_a_directory_that_the_target_cannot_enter() {
    let own = "/home/pilot/own";
    for lines in ["", "linger = false"] {
        let site = Site::with(&format!("working_directory = \"caller\"\n{lines}"));
        site.directory("/home/pilot", (PILOT, PILOT), 0o755);
        site.directory(own, (PILOT, PILOT), 0o700);
        let run = |spot: Option<&Spot>| {
            let words = [GLEXEC, "actor", "look"];
            let ran = site.tamper(spot, "pilot", &words).within(own).run();
            (look(&ran), ran, site.tampering().unwrap())
        };
        let (clean, ran, told) = run(None);
        let clean = clean.unwrap_or_else(|| panic!("{ran:#?}")).directory;
        assert_ne!(clean, own, "the target cannot enter it");
        let process = if lines.is_empty() { "glexec.1" } else { "glexec" };
        let calls = &told.calls[process];
        // From the place among groups and sessions to exec: everything that may go wrong there.
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let (mut tried, mut began) = (0, 0);
        for call in calls {
            let nth = counts.entry(call).and_modify(|n| *n += 1).or_insert(1);
            let near = IDENTITY.contains(&call.as_str())
                || ["chdir", "fchdir", "umask", "prctl", "getresuid", "getresgid", "getgroups"]
                    .contains(&call.as_str())
                || ["capget", "getppid", "keyctl", "setpgid"].contains(&call.as_str());
            for fault in [
                Fault::Fails(Errno::EAGAIN),
                Fault::Fails(Errno::ENOMEM),
                Fault::Fails(Errno::EACCES),
                Fault::Gives(0),
            ] {
                if !near || (call == "umask" && fault != Fault::Gives(0)) {
                    continue;
                }
                let spot =
                    Spot { process: process.to_owned(), call: call.clone(), nth: *nth, fault };
                let (seen, ran, told) = run(Some(&spot));
                assert!(told.struck.is_some(), "{spot}");
                tried += 1;
                let Some(seen) = seen else {
                    assert!((201..=203).contains(&ran.code()), "{spot}: {ran:#?}");
                    continue;
                };
                began += 1;
                assert!(is_the_target(&seen), "{spot}: {seen:#?}");
                assert!(
                    [clean.as_str(), "/"].contains(&seen.directory.as_str()),
                    "{spot}: {seen:#?}"
                );
            }
        }
        assert!(tried >= 40 && began > 0, "{tried} tried, {began} began");
    }
}

#[test]
fn killed_by_its_caller_at_any_system_call_a_run_that_owes_nothing_leaves_no_payload() {
    let site = Site::new();
    let run = |spot: Option<&Spot>, payload: &[&str]| {
        let words = [&[GLEXEC, "--status-fd=9", "--control-fd=8"], payload].concat();
        let running = site.tamper(spot, "pilot", &words).with_status().with_control().start();
        running.wait()
    };
    run(None, &["sleep", "0.5"]).exited(0);
    let calls = site.tampering().unwrap().calls.remove("glexec").unwrap();
    let is = |call: &str, of: &[&str]| of.contains(&call);
    let forks = calls.iter().position(|call| is(call, &["fork", "clone", "vfork"])).unwrap();
    let waits = calls.iter().rposition(|call| is(call, &["poll", "ppoll"])).unwrap();
    let mut survived = Vec::new();
    // From the fork until it waits for the payload, which lives on.
    for at in forks..=waits {
        let call = calls[at].clone();
        let nth = calls[..=at].iter().filter(|before| **before == call).count();
        let spot = Spot { process: "glexec".to_owned(), call, nth, fault: Fault::Kill };
        run(Some(&spot), &["sleep", "20"]);
        let told = site.tampering().unwrap();
        assert!(told.struck.is_some() && told.signal == Some(libc::SIGKILL), "{spot}: {told:?}");
        let until = Instant::now() + Duration::from_secs(2);
        while !site.processes_of(PAYLOAD1).is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        if !site.processes_of(PAYLOAD1).is_empty() {
            survived.push(told.struck.unwrap());
        }
        site.end_all();
    }
    let tried = waits + 1 - forks;
    assert!(tried >= 10, "{calls:?}");
    assert!(survived.is_empty(), "{} of {}: {survived:#?}", survived.len(), tried);
}

/// A site whose epilogue sees once, and the processes of its run that become payload and epilogue.
fn payload_and_epilogue(site: &Site) -> [String; 2] {
    let (ran, told) = tampered(site, None, &["true"]);
    assert_eq!((ran.code(), site.epilogues().len()), (0, 1), "{ran:#?}");
    let executes = |calls: &Vec<String>| calls.iter().any(|call| call.starts_with("execve"));
    let children = told.calls.iter().filter(|(name, calls)| name.contains('.') && executes(calls));
    let names: Vec<String> = children.map(|(name, _)| name.clone()).collect();
    names.try_into().unwrap_or_else(|names| panic!("payload and epilogue, not {names:?}"))
}

fn says(ran: &Ran, text: &str) -> bool {
    ran.log.iter().any(|line| line.contains(text))
}

/// What ends a process in front of its exec by no signal of anybody's, and how that is told.
const ENDS: [(Fault, &str); 2] =
    [(Fault::Crash, "signal 11"), (Fault::Exit, "(127), without memory perhaps")];

fn ends(process: &str, fault: Fault) -> Spot {
    // The parent's death signal is asked for by both just before their exec.
    Spot { process: process.to_owned(), call: "prctl".to_owned(), nth: 1, fault }
}

#[test]
fn a_payload_that_ends_by_itself_before_its_exec_was_not_started() {
    for (fault, told) in ENDS {
        let site = Site::with_epilogue("");
        let [payload, _] = payload_and_epilogue(&site);
        let spot = ends(&payload, fault);
        let words = [GLEXEC, "--status-fd=9", "true"];
        let ran = site.tamper(Some(&spot), "pilot", &words).with_status().run();
        assert_eq!(ran.code(), 202, "{ran:#?}");
        let words = ran.records.iter().filter_map(|record| match record {
            Record::Started { .. } => Some("started"),
            Record::Payload { result, .. } => Some(result.as_str()),
            _ => None,
        });
        assert_eq!(words.collect::<Vec<_>>(), ["not-started"], "{ran:#?}");
        assert!(says(&ran, "the payload was not started: ") && says(&ran, told), "{ran:#?}");
        assert_eq!(site.epilogues().len(), 2, "it was under way, so its epilogue runs");
    }
}

#[test]
fn an_epilogue_that_ends_by_itself_before_its_exec_is_owed() {
    for (fault, told) in ENDS {
        let site = Site::with_epilogue("");
        let [_, epilogue] = payload_and_epilogue(&site);
        let (ran, struck) = tampered(&site, Some(&ends(&epilogue, fault)), &["true"]);
        assert!(struck.struck.is_some() && ran.code() == 202, "{ran:#?}");
        assert!(says(&ran, "the epilogue was not started: ") && says(&ran, told), "{ran:#?}");
        assert_eq!(site.epilogues().len(), 1, "it has not run");
        let swept = site.program(["/usr/sbin/glexec-admin", "sweep", "--now"]).by("root").run();
        assert_eq!(swept.code, Some(0), "{swept:#?}");
        let attempt = |saw: &Look| saw.variable("GLEXEC_EPILOG_ATTEMPT").map(str::to_owned);
        let attempts: Vec<_> = site.epilogues().iter().map(attempt).collect();
        assert_eq!(attempts, [Some("1".to_owned()), Some("2".to_owned())]);
    }
}

#[test]
fn a_signal_that_somebody_sends_before_the_exec_is_the_payloads_end() {
    let site = Site::new();
    for _ in 0..20 {
        // The order is there before the payload is.
        let line = "printf 'USR1\\n' | $GLEXEC --control-fd=8 sleep 30 8<&0 0</dev/null";
        site.shell(line).run().exited(128 + libc::SIGUSR1);
    }
}
