//! A directory of the caller's is the target's for the run and the caller's again afterwards; and
//! nothing else ever changes hands.

use contract::Reason;
use harness::accounts::{OTHER, PAYLOAD1, PILOT};
use harness::{Call, Ran, Site, raw};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::time::Duration;

const DIRECTORY: &str = "/var/lib/site/scratch/d";
const OTHER_DIRECTORY: &str = "/var/lib/site/scratch/e";
const STATE: &str = "/var/lib/glexec";

fn prepared(site: Site) -> Site {
    site.directory("/var/lib/site/scratch", (PILOT, PILOT), 0o755);
    site.directory(DIRECTORY, (PILOT, PILOT), 0o700);
    site.directory(&format!("{DIRECTORY}/sub"), (PILOT, PILOT), 0o700);
    for name in ["f", "sub/g"] {
        site.file(&format!("{DIRECTORY}/{name}"), "of the caller\n", 0o600);
        site.own(&format!("{DIRECTORY}/{name}"), (PILOT, PILOT));
    }
    site
}

fn site() -> Site {
    prepared(Site::with("hand_over = [\"D\", \"NOT_SET\"]"))
}

fn call<'s>(site: &'s Site, script: &str) -> Call<'s> {
    site.glexec(["sh", "-c", &format!("cd {DIRECTORY} && {{ {script}\n}}")]).env("D", DIRECTORY)
}

#[test]
fn who_has_a_directory_for_the_run_begins_there_or_not_at_all() {
    let site = Site::with("hand_over = [\"D\"]\nworking_directory = \"caller\"");
    let directory = "/home/pilot/execute/dir_1";
    for path in ["/home/pilot/execute", directory] {
        site.directory(path, (PILOT, PILOT), 0o700);
    }
    site.file(&format!("{directory}/tool"), "#!/bin/sh\npwd; echo x > made\n", 0o755);
    site.own(&format!("{directory}/tool"), (PILOT, PILOT));
    let call = |words: &[&str]| {
        let call = site.glexec(words.iter().copied()).within(directory);
        call.env("D", directory).with_status()
    };
    // One after the other is opened: whichever is closed is named.
    for closed in ["/home/pilot", "/home/pilot/execute"] {
        for words in [&["sh", "-c", "echo x > made"][..], &["./tool"], &["--check", "true"]] {
            let ran = call(words).run();
            ran.stopped(Reason::DirectoryClosed).exited(202);
            assert!(ran.error().contains(&format!("may not enter {closed} ")), "{ran:#?}");
        }
        let ran =
            call(&["true"]).env("D", &format!("{directory}//").replace("/dir", "//dir")).run();
        ran.stopped(Reason::DirectoryClosed);
        assert_eq!(owner(&site, directory), (PILOT, PILOT));
        assert_eq!(names(&site, "/home/payload1"), Vec::<String>::new());
        site.mode(closed, 0o711);
    }
    let ran = call(&["./tool"]).run();
    assert_eq!(ran.exited(0).output().trim(), directory);
    assert_eq!(owner(&site, &format!("{directory}/made")).0, PILOT);
    // Where nothing is handed over the payload begins at home, as ever.
    site.mode("/home/pilot", 0o700);
    let ran = site.glexec(["pwd"]).within(directory).run();
    assert_eq!(ran.exited(0).output().trim(), "/home/payload1");
}

/// The owner of a path, no link followed.
fn owner(site: &Site, inside: &str) -> (u32, u32) {
    let meta =
        std::fs::symlink_metadata(site.path(inside)).unwrap_or_else(|e| panic!("{inside}: {e}"));
    (meta.uid(), meta.gid())
}

fn owners_below(path: &Path) -> Vec<(String, u32)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        all.push((entry.file_name().into_string().unwrap(), meta.uid()));
        if meta.is_dir() {
            all.extend(owners_below(&entry.path()));
        }
    }
    all.sort_unstable();
    all
}

fn sweep(site: &Site) -> Ran {
    site.program(["/usr/sbin/glexec-admin"]).words(["sweep", "--now"]).by("root").run()
}

fn names(site: &Site, directory: &str) -> Vec<String> {
    let list = std::fs::read_dir(site.path(directory)).unwrap();
    list.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_directory_is_the_targets_for_the_run_and_the_callers_afterwards() {
    let script =
        format!("#!/bin/sh\nstat -c %u:%g {DIRECTORY} {DIRECTORY}/out > /var/lib/site/seen\n");
    let site = prepared(Site::with_epilogue_script(&script, "hand_over = [\"D\"]"));
    let ran = call(
        &site,
        "set -e; test -O . && test -O sub/g; cat f; echo x > out; mkdir -p new/er; echo y > new/er/y
         ln -s new/er into; chmod u+s out; stat -c %u:%g . f sub sub/g; exit 7",
    )
    .run();
    ran.exited(7);
    let own = format!("{PAYLOAD1}:{PAYLOAD1}\n");
    assert_eq!(ran.output(), format!("of the caller\n{}", own.repeat(4)));
    for (name, uid) in owners_below(&site.path(DIRECTORY)) {
        assert_eq!(uid, PILOT, "{name}");
    }
    assert_eq!(owner(&site, DIRECTORY), (PILOT, PILOT));
    assert_eq!(owner(&site, &format!("{DIRECTORY}/out")), (PILOT, PILOT));
    let mode = std::fs::metadata(site.path(&format!("{DIRECTORY}/out"))).unwrap().mode();
    assert_eq!(mode & 0o6000, 0, "no program of the target's becomes one of the caller's");
    assert_eq!(site.read("/var/lib/site/seen"), format!("{PILOT}:{PILOT}\n").repeat(2));
    assert!(names(&site, STATE).iter().all(|name| name == "quarantine"));
}

#[test]
fn what_would_lead_the_caller_astray_is_taken_out_and_counted() {
    let site = site();
    let ran = call(
        &site,
        "mkfifo fifo sub/fifo; ln -s /etc/passwd out; ln -s ../../x sub/out; ln -s sub/../../x odd
         echo h > h; ln h h2; ln -s sub in; ln -s ../f sub/in; echo kept > kept",
    )
    .run();
    ran.exited(0);
    let left: Vec<String> = owners_below(&site.path(DIRECTORY)).into_iter().map(|e| e.0).collect();
    assert_eq!(left, ["f", "g", "h", "h2", "in", "in", "kept", "sub"]);
    assert!(owners_below(&site.path(DIRECTORY)).iter().all(|(_, uid)| *uid == PILOT));
    assert_eq!(names(&site, &format!("{STATE}/quarantine")).len(), 5);
    let told =
        site.log().iter().any(|line| line.contains("all but 5 entries: 5 to the quarantine"));
    assert!(told, "{:#?}", site.log());
}

/// Who is not the caller, and works for the target: it could lead the caller's daemons to a file of
/// the caller's, then or later.
#[test]
fn whom_the_target_lets_in_has_nothing_there_afterwards_and_is_let_in_no_more() {
    let site = site();
    site.directory(&format!("{DIRECTORY}/theirs"), (OTHER, OTHER), 0o755);
    for (name, text) in [("theirs/out", "/etc/passwd"), ("out", "/etc/passwd"), ("in", "f")] {
        let path = site.path(&format!("{DIRECTORY}/{name}"));
        symlink(text, &path).unwrap();
        std::os::unix::fs::lchown(path, Some(OTHER), Some(OTHER)).unwrap();
    }
    call(&site, "mkdir -p a/b; chmod 777 . a; chmod 2775 a/b; chmod 666 f").run().exited(0);
    let left: Vec<String> = owners_below(&site.path(DIRECTORY)).into_iter().map(|e| e.0).collect();
    assert_eq!(left, ["a", "b", "f", "g", "in", "sub"]);
    for name in ["", "a", "a/b"] {
        let mode = std::fs::metadata(site.path(&format!("{DIRECTORY}/{name}"))).unwrap().mode();
        assert_eq!(mode & 0o777, 0o755, "{name}");
    }
}

/// Nothing in it has been looked at.
#[test]
fn what_can_be_neither_walked_nor_taken_out_is_closed() {
    let site = site();
    site.shell("mount -t tmpfs -o mode=700 none /var/lib/glexec").by("root").run().exited(0);
    let deep = "i=0; while [ $i -lt 300 ]; do mkdir d && cd d && i=$((i+1)); done; \
                ln -s /etc/passwd out";
    call(&site, deep).run().exited(0);
    let mut path = site.path(DIRECTORY);
    let closed = (0..300).find_map(|_| {
        path.push("d");
        let meta = std::fs::symlink_metadata(&path).unwrap();
        (meta.uid() != PILOT).then_some((meta.uid(), meta.mode() & 0o777))
    });
    assert_eq!(closed, Some((0, 0o700)));
}

#[test]
fn a_tree_too_deep_to_be_walked_is_taken_out_where_it_becomes_so() {
    let site = site();
    let ran =
        call(&site, "i=0; while [ $i -lt 400 ]; do mkdir d && cd d && i=$((i+1)); done").run();
    ran.exited(0);
    let mut path = site.path(DIRECTORY);
    let mut depth = 0;
    loop {
        assert_eq!(std::fs::metadata(&path).unwrap().uid(), PILOT, "{depth}");
        path.push("d");
        if !path.exists() {
            break;
        }
        depth += 1;
    }
    assert!((200..400).contains(&depth), "{depth}");
    assert_eq!(names(&site, &format!("{STATE}/quarantine")).len(), 1);
}

#[test]
fn only_a_directory_of_the_callers_own_is_handed_over_and_to_one_run() {
    let site = site();
    site.directory("/var/lib/site/scratch/others", (OTHER, OTHER), 0o777);
    site.file("/var/lib/site/scratch/file", "", 0o644);
    site.own("/var/lib/site/scratch/file", (PILOT, PILOT));
    symlink("d", site.path("/var/lib/site/scratch/link")).unwrap();
    for path in [
        "/var/lib/site/scratch/others",
        "/var/lib/site/scratch/file",
        "/var/lib/site/scratch/link",
        "/var/lib/site/scratch/link/sub",
        "/var/lib/site/scratch/none",
        "/var/lib/site/scratch/./d",
        "/var/lib/site/scratch/d/../d",
        "scratch/d",
        "/",
        "/etc",
    ] {
        let ran = site.glexec(["touch", "/tmp/ran"]).env("D", path).with_status().run();
        ran.exited(201).stopped(Reason::HandOver).said_one_sentence();
    }
    let running = call(&site, "sleep 3").with_status().start();
    running.started();
    call(&site, "true").with_status().run().exited(201).stopped(Reason::HandOver);
    running.wait().exited(0);
    call(&site, "true").run().exited(0);
    let locks = names(&site, STATE).into_iter().filter(|name| name.starts_with("handed."));
    assert_eq!(locks.count(), 0, "none stays locked");
    assert_eq!(owner(&site, DIRECTORY), (PILOT, PILOT));
    assert_eq!(owner(&site, "/var/lib/site/scratch/others"), (OTHER, OTHER));
}

#[test]
fn entries_of_others_and_files_with_more_names_keep_their_owner() {
    let site = site();
    for (name, uid) in [("roots", 0), ("others", OTHER)] {
        site.file(&format!("{DIRECTORY}/{name}"), "x", 0o644);
        site.own(&format!("{DIRECTORY}/{name}"), (uid, uid));
    }
    std::fs::hard_link(
        site.path(&format!("{DIRECTORY}/f")),
        site.path("/var/lib/site/scratch/second"),
    )
    .unwrap();
    let ran = call(&site, "stat -c %u roots others f").run();
    ran.exited(0);
    assert_eq!(ran.output(), format!("0\n{OTHER}\n{PILOT}\n"));
    assert_eq!(owner(&site, &format!("{DIRECTORY}/roots")), (0, 0));
}

#[test]
fn files_with_more_names_go_back_where_all_of_them_are_in_the_directory() {
    let site = site();
    // As git, conda and ccache make them: in directories beside and below each other, links, too.
    let script = "mkdir -p a/b c; echo 1 > a/one; ln a/one c/two; ln a/one a/b/three; \
                  ln -s one a/link; ln a/link c/link; \
                  echo 2 > out; ln out /var/lib/site/scratch/open/outside; ln out a/inside";
    site.directory("/var/lib/site/scratch/open", (PAYLOAD1, PAYLOAD1), 0o755);
    let ran = call(&site, script).run();
    ran.exited(0);
    for name in ["a/one", "c/two", "a/b/three", "a/link", "c/link", "a", "c", "a/b"] {
        assert_eq!(owner(&site, &format!("{DIRECTORY}/{name}")), (PILOT, PILOT), "{name}");
    }
    // In the same directory the next run finds them as its own.
    call(&site, "echo more >> c/two; rm a/b/three").run().exited(0);
    assert_eq!(site.read(&format!("{DIRECTORY}/a/one")), "1\nmore\n");
    assert_eq!(owner(&site, &format!("{DIRECTORY}/a/one")), (PILOT, PILOT));
    // A file that can be reached from outside stays who made it, and is not in the directory.
    assert_eq!(owner(&site, "/var/lib/site/scratch/open/outside").0, PAYLOAD1);
    for name in ["out", "a/inside"] {
        assert!(!site.path(&format!("{DIRECTORY}/{name}")).exists(), "{name}");
    }
    let told = |line: &String| line.contains("handed back all but 2 entries");
    assert!(ran.log.iter().any(told), "{ran:#?}");
}

#[test]
fn what_a_killed_glexec_had_is_given_back_by_a_sweep_and_nothing_in_its_place() {
    let script = format!("#!/bin/sh\nstat -c %u {DIRECTORY}/out > /var/lib/site/seen\n");
    for replaced in [false, true] {
        let site = prepared(Site::with_epilogue_script(&script, "hand_over = [\"D\"]"));
        let running = call(&site, "mkfifo p; echo x > out; sleep 30").with_status().start();
        running.started();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while site.read(&format!("{DIRECTORY}/out")).is_empty() {
            assert!(std::time::Instant::now() < deadline, "the payload does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        running.signal_by("root", libc::SIGKILL).unwrap();
        running.wait();
        assert_eq!(owner(&site, DIRECTORY), (PAYLOAD1, PAYLOAD1));
        if replaced {
            std::fs::rename(site.path(DIRECTORY), site.path("/var/lib/site/scratch/away")).unwrap();
            site.directory(DIRECTORY, (PAYLOAD1, PAYLOAD1), 0o755);
            site.file(&format!("{DIRECTORY}/out"), "x", 0o644);
            site.own(&format!("{DIRECTORY}/out"), (PAYLOAD1, PAYLOAD1));
        }
        sweep(&site).exited(0);
        let whose = if replaced { PAYLOAD1 } else { PILOT };
        assert_eq!(owner(&site, DIRECTORY).0, whose);
        assert_eq!(owner(&site, &format!("{DIRECTORY}/out")).0, whose);
        assert_eq!(site.read("/var/lib/site/seen"), format!("{whose}\n"), "before the epilogue");
        assert!(names(&site, STATE).iter().all(|name| name == "quarantine"));
        if !replaced {
            assert!(!site.path(&format!("{DIRECTORY}/p")).exists());
            call(&site, "true").run().exited(0);
        }
    }
}

#[test]
fn a_directory_that_is_somebody_elses_by_now_is_not_given_back() {
    let site = prepared(Site::with_epilogue("hand_over = [\"D\"]"));
    let running = call(&site, "echo up; exec sleep 300").with_status().start();
    running.says("up");
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    site.own(DIRECTORY, (OTHER, OTHER));
    sweep(&site).exited(0);
    assert_eq!(owner(&site, DIRECTORY), (OTHER, OTHER));
    assert_eq!(owner(&site, &format!("{DIRECTORY}/f")), (PAYLOAD1, PAYLOAD1));
    assert_eq!(site.epilogues().len(), 1);
}

#[test]
fn what_is_mounted_below_a_directory_keeps_its_owner() {
    let site = site();
    let (below, file) = (format!("{DIRECTORY}/mounted"), format!("{DIRECTORY}/mounted/f"));
    site.directory(&below, (PILOT, PILOT), 0o755);
    let mount = format!(
        "mount -t tmpfs -o mode=755,uid={PILOT},gid={PILOT} tmpfs {below} && \
         echo x > {file} && chown {PILOT}:{PILOT} {file}"
    );
    site.shell(&mount).by("root").run().exited(0);
    let ran = call(&site, "stat -c %u mounted mounted/f f").run();
    assert_eq!(ran.exited(0).output(), format!("{PILOT}\n{PILOT}\n{PAYLOAD1}\n"));
    assert_eq!(owner(&site, &file), (PILOT, PILOT));
}

#[test]
fn two_variables_may_name_one_directory() {
    let site = prepared(Site::with("hand_over = [\"D\", \"E\"]"));
    let ran = call(&site, "stat -c %u f").env("E", &format!("{DIRECTORY}/")).run();
    assert_eq!(ran.exited(0).output(), format!("{PAYLOAD1}\n"));
    assert_eq!(owner(&site, DIRECTORY), (PILOT, PILOT));
}

#[test]
fn a_directory_that_a_user_serves_is_not_handed_over_and_is_asked_nothing() {
    let site = Site::with_epilogue("hand_over = [\"D\"]");
    let scratch = "/var/lib/site/scratch";
    let served = harness::Sleepy::of(&site, &format!("{scratch}/served"), PILOT);
    let ran = site.glexec(["true"]).env("D", &format!("{scratch}/served")).with_status().run();
    ran.stopped(Reason::HandOver).exited(201);
    assert!(ran.error().contains("a file system that a user serves"), "{ran:#?}");
    drop(served);
    // Nor does a sweep ask one that is there by now.
    let site = prepared(Site::with_epilogue("hand_over = [\"D\"]"));
    let running = call(&site, "echo up; exec sleep 300").with_status().start();
    running.says("up");
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    let served = harness::Sleepy::of(&site, scratch, PILOT);
    let ran = sweep(&site);
    let text = ran.exited(1).output();
    assert!(text.contains("a file system that a user serves is mounted on the way"), "{text}");
    drop(served);
    site.shell(&format!("umount {scratch}")).by("root").run().exited(0);
    sweep(&site).exited(0);
    assert_eq!(owner(&site, DIRECTORY), (PILOT, PILOT));
}

/// Changes the tree under glexec's hands for as long as it lives.
fn attacker(site: &Site, (uid, gid): (u32, u32)) -> nix::unistd::Pid {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    // What leads to a site is root's alone, so the paths begin here.
    let begin = site.path("/var/lib/site");
    let [sub, link, file, file_link, inner, fifo, inner_fifo] =
        ["sub", "trap", "f", "trap2", "sub/inner", "fifo", "sub/fifo"]
            .map(|name| format!("scratch/d/{name}"));
    // Relative, so that whoever follows them stays on the mount.
    let (victim, victim_file) = ("../../victim", "victim/secret");
    // It never execs: it must have no descriptor by which a program is being written, nor one of
    // which another test awaits the end.
    let _no_writing = raw::FORKING.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    raw::fork(move || {
        (3..1024).for_each(raw::close);
        if std::env::set_current_dir(&begin).is_err() || raw::become_user(uid, gid, &[]).is_err() {
            return 1;
        }
        loop {
            // What glexec takes out comes again.
            let _ = std::fs::remove_file(&sub);
            let _ = std::fs::rename(&link, &sub);
            let _ = symlink(victim, &link);
            let _ = std::fs::create_dir(&sub);
            let _ = symlink("../../victim/secret", &file_link);
            let _ = symlink("../../../victim", &inner);
            for (a, b) in [(&sub, &link), (&file, &file_link), (&sub, &link), (&file, &file_link)] {
                let (a, b) = (a.as_str(), b.as_str());
                let _ = renameat2(AT_FDCWD, a, AT_FDCWD, b, RenameFlags::RENAME_EXCHANGE);
                let _ = std::fs::hard_link(victim_file, a);
            }
            // Only the caller can: another directory under the same name.
            let (a, b) = ("scratch/d", "scratch/e");
            let _ = renameat2(AT_FDCWD, a, AT_FDCWD, b, RenameFlags::RENAME_EXCHANGE);
            for fifo in [&fifo, &inner_fifo] {
                let _ = nix::unistd::mkfifo(fifo.as_str(), nix::sys::stat::Mode::S_IRWXU);
            }
            let _ = std::fs::remove_file(&inner);
            let _ = std::fs::remove_file(&file);
            let _ = std::fs::hard_link(victim_file, &file);
            let _ = std::fs::write(&file, "x");
        }
    })
    .unwrap()
}

/// 1,000 rounds under processes that exchange names all the time.
fn attacked(by: &[u32]) {
    let site = site();
    for directory in [DIRECTORY, OTHER_DIRECTORY] {
        site.directory(directory, (PILOT, PILOT), 0o777);
        site.directory(&format!("{directory}/sub"), (PILOT, PILOT), 0o777);
        for n in 0..100 {
            site.file(&format!("{directory}/sub/{n}"), "x", 0o644);
            site.own(&format!("{directory}/sub/{n}"), (PILOT, PILOT));
        }
    }
    // The sticky bit: names are the attackers' to make, not to take.
    site.directory("/var/lib/site/victim", (0, 0), 0o1777);
    let victims = [
        ("secret", 0, 0o666),
        ("of-other", OTHER, 0o666),
        ("of-pilot", PILOT, 0o600),
        ("of-payload", PAYLOAD1, 0o600),
    ];
    for (name, uid, mode) in victims {
        let path = format!("/var/lib/site/victim/{name}");
        site.file(&path, "s", mode);
        site.own(&path, (uid, uid));
    }
    let attackers: Vec<_> = by.iter().map(|uid| attacker(&site, (*uid, *uid))).collect();
    let (mut linked, mut exchanged, mut before) = (0, 0, 0);
    for round in 0..1000 {
        // The last run has closed it.
        for directory in [DIRECTORY, OTHER_DIRECTORY] {
            site.mode(directory, 0o777);
        }
        site.glexec(["true"]).env("D", DIRECTORY).with_status().run().exited(0);
        let secret = std::fs::metadata(site.path("/var/lib/site/victim/secret")).unwrap();
        linked += u32::from(secret.nlink() > 1);
        let sub = std::fs::symlink_metadata(site.path(&format!("{DIRECTORY}/sub")));
        let sub = sub.map_or(0, |meta| meta.ino());
        exchanged += u32::from(sub != before);
        before = sub;
        for directory in [DIRECTORY, OTHER_DIRECTORY] {
            assert_eq!(owner(&site, directory), (PILOT, PILOT), "{round}");
        }
        assert_eq!(owner(&site, "/var/lib/site/victim"), (0, 0), "{round}");
        for (name, uid, mode) in victims {
            let path = site.path(&format!("/var/lib/site/victim/{name}"));
            let meta = std::fs::symlink_metadata(path).unwrap();
            assert_eq!((meta.uid(), meta.mode() & 0o7777), (uid, mode), "{round} {name}");
        }
    }
    for pid in attackers {
        raw::kill(pid.as_raw(), libc::SIGKILL).unwrap();
        let _ = nix::sys::wait::waitpid(pid, None);
    }
    assert!(linked > 100 && exchanged > 100, "attacked in earnest: {linked} {exchanged}");
}

#[test]
fn in_1000_rounds_of_attacks_by_the_caller_nothing_outside_changes_hands() {
    attacked(&[PILOT]);
}

#[test]
fn in_1000_rounds_of_attacks_by_the_target_nothing_outside_changes_hands() {
    attacked(&[PAYLOAD1]);
}

#[test]
fn in_1000_rounds_of_attacks_by_both_nothing_outside_changes_hands() {
    attacked(&[PILOT, PAYLOAD1]);
}

#[test]
fn in_1000_calls_two_runs_never_have_one_directory_at_a_time() {
    let site = site();
    // Who finds the mark of another run in the directory has it at the same time.
    let script = "test -O . && mkdir mine && test -O f && rmdir mine";
    let ran: Vec<_> = std::thread::scope(|scope| {
        let lanes = [(); 2].map(|()| {
            scope.spawn(|| {
                let one = |_| call(&site, script).with_status().run();
                (0..500).map(one).collect::<Vec<_>>()
            })
        });
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    });
    let refused: Vec<_> = ran.iter().filter(|ran| ran.code == Some(201)).collect();
    for ran in &refused {
        ran.stopped(Reason::HandOver);
    }
    let refused = refused.len();
    let given = ran.iter().filter(|ran| ran.code == Some(0)).count();
    assert_eq!(
        given + refused,
        1000,
        "{:#?}",
        ran.iter().find(|r| !matches!(r.code, Some(0 | 201)))
    );
    assert!(given > 100 && refused > 10, "{given} {refused}");
    assert!(owners_below(&site.path(DIRECTORY)).iter().all(|(_, uid)| *uid == PILOT));
    assert_eq!(owner(&site, DIRECTORY), (PILOT, PILOT));
}

#[test]
fn check_demands_the_kernels_rule_for_hard_links() {
    let site = site();
    let check = site.program(["/usr/sbin/glexec-admin"]).words(["check"]).by("root").run();
    let output = check.output();
    assert!(output.contains("D, NOT_SET"), "{check:#?}");
    let protected = std::fs::read_to_string("/proc/sys/fs/protected_hardlinks").unwrap();
    assert_eq!(output.contains("protected_hardlinks = 1"), protected.trim() != "1", "{check:#?}");
}
