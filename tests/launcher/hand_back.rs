//! On its way back a directory is root's: processes of the target's account that outlive the run
//! take nothing out of it that is the caller's already, and a kill at any step leaves what a sweep
//! finds.

use crate::debts::{LEAVES, entries, furnish, furnished, not_the_callers, sweep, tampered};
use harness::accounts::{BUSY, PAYLOAD1, PILOT};
use harness::{GLEXEC, Site, raw};
use std::os::unix::fs::MetadataExt as _;

const DIRECTORY: &str = "/var/lib/site/scratch/d";
const LATE: [&str; 4] = ["late1", "late2", "late3", "late4"];
const STOLEN: &str = "/var/lib/site/stolen";

/// A process of the target's account that takes out of the directory whatever the caller owns, and
/// gives names elsewhere: to `one` at once, to the `late` ones when another of them went back.
fn colluder(site: &Site) -> nix::unistd::Pid {
    let begin = site.path("/var/lib/site");
    // It never execs: it must have no descriptor by which a program is being written, nor one of
    // which another test awaits the end.
    let _no_writing = raw::FORKING.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    raw::fork(move || {
        (3..1024).for_each(raw::close);
        if std::env::set_current_dir(&begin).is_err()
            || raw::become_user(PAYLOAD1, PAYLOAD1, &[]).is_err()
        {
            return 1;
        }
        for round in 0_u64.. {
            let is_back = |name: &&str| {
                let seen = std::fs::symlink_metadata(format!("scratch/d/{name}"));
                seen.is_ok_and(|seen| seen.uid() == PILOT)
            };
            let begun = LATE.iter().any(is_back);
            for name in LATE.iter().chain(&["f", "one", "two", "sub/g", "sub/two", "new/er/y"]) {
                let (from, to) = (format!("scratch/d/{name}"), name.replace('/', "."));
                let Ok(seen) = std::fs::symlink_metadata(&from) else { continue };
                if seen.uid() == PILOT {
                    let _ = std::fs::rename(&from, format!("stolen/{to}"));
                } else if (round % 8 == 0 && *name == "one") || (begun && LATE.contains(name)) {
                    let _ = std::fs::hard_link(&from, format!("stolen/{to}.{round}"));
                }
            }
            let directory = std::fs::symlink_metadata("scratch/d/new/er");
            if directory.is_ok_and(|seen| seen.uid() == PILOT) {
                let _ = std::fs::rename("scratch/d/new/er", "stolen/er");
            }
        }
        0
    })
    .unwrap()
}

#[test]
fn who_shares_the_targets_account_takes_out_nothing_that_is_the_callers() {
    let site = furnished(Site::with("hand_over = [\"D\"]"));
    site.directory(STOLEN, (PAYLOAD1, PAYLOAD1), 0o755);
    let pid = colluder(&site);
    let script = "cd /var/lib/site/scratch/d && echo 1 > one && echo 2 > two && ln two sub/two && \
                  mkdir -p new/er && echo y > new/er/y && echo l | tee late1 late2 late3 late4 && chmod 755 . sub && \
                  until ls ../../stolen | grep -q one; do :; done";
    // Each change of an owner takes as long as the other needs to notice it.
    let how = "fchownat:delay_enter=40000";
    let (ran, _) = tampered(&site, how, "pilot", &[GLEXEC, "sh", "-c", script]);
    raw::kill(pid.as_raw(), libc::SIGKILL).unwrap();
    let _ = nix::sys::wait::waitpid(pid, None);
    let delayed = site.read("/tmp/trace").matches("(DELAYED)").count();
    assert!(delayed > 10, "{delayed} changes: {ran:#?}");
    ran.exited(0);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(site.path(STOLEN)).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        assert_eq!(meta.uid(), PAYLOAD1, "{:?}: {ran:#?}", entry.path());
        names.push(entry.file_name().into_string().unwrap());
    }
    for name in ["one.", "late"] {
        assert!(
            names.iter().any(|n| n.starts_with(name)),
            "{name} got a name: {names:?}, {ran:#?}"
        );
    }
    assert_eq!(not_the_callers(&site), [""; 0]);
    for name in ["two", "sub/two", "new/er/y", "sub/g"] {
        assert!(site.path(&format!("{DIRECTORY}/{name}")).exists(), "{name} went back");
    }
}

#[test]
fn a_kill_at_any_step_of_a_hand_back_leaves_what_a_sweep_gives_back() {
    let site = furnished(Site::with("hand_over = [\"D\"]"));
    let mut killed = 0;
    for call in ["fchownat", "fchmod", "openat2", "rename,renameat,renameat2"] {
        for when in 1..200 {
            furnish(&site);
            let how = format!("{call}:signal=KILL:when={when}");
            let words = [GLEXEC, "sh", "-c", LEAVES];
            let (ran, came) = tampered(&site, &how, "pilot", &words);
            if ran.signal != Some(libc::SIGKILL) {
                assert!(!came);
                break;
            }
            killed += 1;
            let swept = sweep(&site);
            let left = not_the_callers(&site);
            assert!(left.is_empty(), "{how}: {left:#?}, {swept:#?}, {ran:#?}");
            assert_eq!((swept.code, entries(&site).len()), (Some(0), 0), "{how}: {swept:#?}");
        }
    }
    assert!(killed > 40, "{killed}");
}

/// The target owns the directory during the run, and so may give it another name wherever what is
/// above lets it: in a sticky directory such as /tmp, and everywhere in another one that it has.
#[test]
fn a_directory_that_the_payload_moves_away_does_not_become_the_callers_there() {
    const OPEN: &str = "/var/lib/site/open";
    let site = furnished(Site::with("hand_over = [\"D\", \"E\"]"));
    site.directory(OPEN, (0, 0), 0o1777);
    let (alone, inner) = (format!("{OPEN}/d"), format!("{DIRECTORY}/sub"));
    let stands_there = format!("mkdir {alone}");
    for (d, e, then) in [
        (alone.as_str(), "", "true"),
        (&alone, "", stands_there.as_str()),
        // Whichever of two nested ones is named first.
        (&inner, DIRECTORY, "true"),
        (DIRECTORY, &inner, "true"),
    ] {
        for path in [&alone, &format!("{OPEN}/away")] {
            let _ = std::fs::remove_dir_all(site.path(path));
        }
        furnish(&site);
        // To the inner the target must be able to come.
        site.mode(DIRECTORY, 0o711);
        site.directory(&alone, (PILOT, PILOT), 0o700);
        let from = if e.is_empty() { d } else { &inner };
        let script = format!("echo x > {from}/x && mv {from} {OPEN}/away && {then}");
        let ran = site.glexec(["sh", "-c", &script]).env("D", d).env("E", e).run();
        ran.exited(0);
        for name in ["away", "away/x"] {
            let seen = std::fs::symlink_metadata(site.path(&format!("{OPEN}/{name}"))).unwrap();
            assert_eq!(seen.uid(), PAYLOAD1, "{name} by {script}: {ran:#?}");
        }
        let told =
            site.log().iter().any(|line| line.contains(&format!("{from} is not handed back")));
        assert!(told, "{script}: {:#?}", site.log());
        if !e.is_empty() {
            assert_eq!(not_the_callers(&site), [""; 0], "{script}");
        }
        assert_eq!(entries(&site), [""; 0], "{script}");
    }
}

/// Two that are nested go back as one, where nothing was moved.
#[test]
fn a_directory_in_another_one_goes_back_with_it() {
    let site = furnished(Site::with("hand_over = [\"E\", \"D\"]"));
    let inner = format!("{DIRECTORY}/sub");
    for (d, e) in [(DIRECTORY, inner.as_str()), (&inner, DIRECTORY)] {
        site.mode(DIRECTORY, 0o711);
        let script = format!("echo x > {inner}/x && mv {inner} {DIRECTORY}/renamed");
        site.glexec(["sh", "-c", &script]).env("D", d).env("E", e).run().exited(0);
        assert_eq!(not_the_callers(&site), [""; 0]);
        assert!(site.path(&format!("{DIRECTORY}/renamed/x")).exists());
        std::fs::remove_dir_all(site.path(&format!("{DIRECTORY}/renamed"))).unwrap();
        furnish(&site);
    }
}

/// A change of owner copies a directory of an overlay's lower layer, and gives it another birth.
#[test]
fn a_directory_of_an_overlays_lower_layer_is_known_again_by_a_sweep() {
    const OVERLAY: &str = "/var/lib/site/overlay";
    let site = Site::with("hand_over = [\"D\"]");
    site.directory(OVERLAY, (0, 0), 0o755);
    let mounts = format!(
        "mount -t tmpfs -o mode=0755 tmpfs {OVERLAY} && cd {OVERLAY} && mkdir upper work merged && \
         mkdir -p lower/above/d/sub && echo x > lower/above/d/f && chown -R pilot:pilot lower/above && \
         mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged"
    );
    site.shell(&mounts).by("root").run().exited(0);
    let directory = format!("{OVERLAY}/merged/above/d");
    let running = site.glexec(["sh", "-c", "echo up; exec sleep 300"]);
    let running = running.env("D", &directory).with_status().start();
    running.says("up");
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    let owners = |site: &Site| {
        let stat = format!("cd {directory} && stat -c %U . sub f");
        site.shell(&stat).by("root").run().output()
    };
    assert_eq!(owners(&site), "payload1\n".repeat(3));
    let swept = sweep(&site);
    assert_eq!(owners(&site), "pilot\n".repeat(3), "{swept:#?} {:#?}", site.log());
    assert_eq!(entries(&site), [""; 0]);
}

/// Whom the payload lets in may have a directory of his own there, and have glexec hand it over.
#[test]
fn a_directory_that_another_caller_has_handed_over_in_there_is_not_left_to_either() {
    let site = furnished(Site::with("hand_over = [\"D\"]"));
    let inner = handed_over_by_another(&site);
    assert!(!site.path(&inner).exists(), "{:#?}", site.log());
    assert_eq!(not_the_callers(&site), [""; 0]);
    assert_eq!(entries(&site), [""; 0]);
}

/// Where the quarantine is on another file system the directory stays, root's and closed; and the run
/// that had it does not give it to its own caller.
#[test]
fn such_a_directory_stays_closed_where_it_cannot_be_taken_out() {
    let site = furnished(Site::with("hand_over = [\"D\"]"));
    site.shell("mount -t tmpfs -o mode=700 none /var/lib/glexec").by("root").run().exited(0);
    let inner = handed_over_by_another(&site);
    let meta = std::fs::symlink_metadata(site.path(&inner)).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (0, 0o700), "{:#?}", site.log());
}

/// `busy` has a directory of its own in pilot's, and both have handed theirs over; pilot's run ends
/// first. Gives the inner one.
fn handed_over_by_another(site: &Site) -> String {
    let held = |who: &str, directory: &str, script: &str| {
        let call = site.glexec(["sh", "-c", script]).by(who).env("D", directory);
        let running = call.with_status().with_control().start();
        running.says("up");
        running
    };
    let wait = "echo up; trap 'exit 0' TERM; while :; do sleep 0.1; done";
    let outer = held("pilot", DIRECTORY, &format!("chmod 777 {DIRECTORY} && {wait}"));
    let inner = format!("{DIRECTORY}/inner");
    site.directory(&inner, (BUSY, BUSY), 0o755);
    let other = held("busy", &inner, &format!("echo x > {inner}/x; {wait}"));
    for running in [outer, other] {
        running.order("TERM");
        running.wait().exited(0);
    }
    inner
}
