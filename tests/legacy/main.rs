//! A starter of our own speaks with the programs of `GLEXEC_JOB` through the installed glexec.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod pool;
mod starter;

use harness::accounts::{PAYLOAD1, PILOT};
use harness::{GLEXEC, LIBEXEC, Site};
use starter::{
    EXECUTE, PILOTS, Run, SANDBOX, fill, job, look, moving, program, put, site_with, wait_for,
};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

fn prepared() -> Site {
    let site = site_with("");
    moving(&site, "setup").exited(0);
    site
}

#[test]
fn a_job_lives_its_whole_life_and_its_files_come_back_as_they_were() {
    let site = site_with("");
    for (name, mode) in [("with space", 0o600), ("-rf", 0o755), ("new\nline", 0o640), ("ä€", 0o600)]
    {
        put(&site, name, name, mode);
    }
    moving(&site, "setup").exited(0);
    assert_eq!(look(&site, SANDBOX), (PAYLOAD1, 0o755));
    assert_eq!(look(&site, &format!("{SANDBOX}/-rf")), (PAYLOAD1, 0o755));
    assert_eq!(look(&site, PILOTS), (PILOT, 0o755));
    let left: Vec<_> =
        fs::read_dir(site.path(PILOTS)).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["x509"]);

    let script = "cat > output; cp -p ./-rf program; mkdir -p 'd e/f'; echo x > 'd e/f/g'; \
                  ln -s 'd e/f/g' link; ln -s ../../input 'd e/f/up'; id -u; echo bad >&2";
    assert_eq!(job(&site, script).glexec.wait().code(), 0);
    assert_eq!(site.read(&format!("{SANDBOX}/_out")), format!("{PAYLOAD1}\n"));
    assert_eq!(site.read(&format!("{SANDBOX}/_err")), "bad\n");
    assert_eq!(look(&site, &format!("{SANDBOX}/_out")), (PAYLOAD1, 0o600));

    let new = "/home/pilot/new-proxy";
    site.file(new, "the new proxy\n", 0o600);
    site.own(new, (PILOT, PILOT));
    program(&site, "update_proxy", &[GLEXEC, new, "x509", SANDBOX]).run().exited(0);
    assert!(!site.path(new).exists());
    for (place, owner) in [(SANDBOX, PAYLOAD1), (PILOTS, PILOT)] {
        let copy = format!("{place}/x509");
        assert_eq!(
            (site.read(&copy).as_str(), look(&site, &copy)),
            ("the new proxy\n", (owner, 0o600))
        );
    }

    moving(&site, "cleanup").exited(0);
    assert!(!site.path(PILOTS).exists());
    assert_eq!(look(&site, SANDBOX), (PILOT, 0o755));
    let files = [
        ("x509", "the new proxy\n", 0o600),
        ("with space", "with space", 0o600),
        ("-rf", "-rf", 0o755),
        ("program", "-rf", 0o755),
        ("new\nline", "new\nline", 0o640),
        ("ä€", "ä€", 0o600),
        ("output", "six\n", 0o644),
        ("d e/f/g", "x\n", 0o644),
    ];
    for (name, text, mode) in files {
        let path = format!("{SANDBOX}/{name}");
        assert_eq!(
            (site.read(&path).as_str(), look(&site, &path)),
            (text, (PILOT, mode)),
            "{name}"
        );
    }
    for (link, text) in [("link", "x\n"), ("d e/f/up", "six\n")] {
        let path = site.path(&format!("{SANDBOX}/{link}"));
        assert!(path.is_symlink() && fs::read_to_string(path).unwrap() == text, "{link}");
    }
}

#[test]
fn a_job_ends_as_it_ended() {
    let site = prepared();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137)] {
        let ran = job(&site, script).glexec.wait();
        // As glexec says it: a signal may be its own end.
        assert_eq!(ran.code.or(ran.signal.map(|n| 128 + n)), Some(code), "{script}: {ran:?}");
    }
}

#[test]
fn a_job_gets_its_environment_and_its_broken_pipes() {
    let site = prepared();
    let long = "long ".repeat(25_000);
    let mut run =
        Run::start(&site, &["input", "_out", "_err", "/bin/sh", "-c", "echo \"$L\" | wc -c"]);
    assert_eq!(run.talk(&format!("L='{long}'")), "");
    run.glexec.wait().exited(0);
    assert_eq!(site.read(&format!("{SANDBOX}/_out")).trim(), (long.len() + 1).to_string());
    let script = "echo \"$A|$B|$C|$HOME|$PATH\"; grep SigIgn /proc/self/status";
    let mut run = Run::start(&site, &["/dev/null", "_out", "_err", "/bin/sh", "-c", script]);
    assert_eq!(run.talk("A=1 'B=it''s two' C='a\"b'' ' HOME=/tmp"), "");
    run.glexec.wait().exited(0);
    let out = site.read(&format!("{SANDBOX}/_out"));
    let lines: Vec<&str> = out.lines().collect();
    // Condor's values win; what it does not name is glexec's.
    assert_eq!(lines[0], "1|it's two|a\"b' |/tmp|/usr/local/bin:/usr/bin:/bin");
    assert_eq!(lines[1].split_whitespace().last(), Some("0000000000000000"));
}

#[test]
fn streams_come_over_the_socket_or_by_name() {
    let site = prepared();
    let mut run =
        Run::start(&site, &["-", "-", "_err", "/bin/sh", "-c", "cat; ls /proc/self/fd >&2"]);
    assert!(run.hello());
    run.environment("");
    let (read, write) = nix::unistd::pipe().unwrap();
    let mut input = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut input, b"by descriptor").unwrap();
    std::io::Seek::rewind(&mut input).unwrap();
    run.pass(&input.into());
    run.pass(&write);
    drop(write);
    run.change();
    assert_eq!(run.answer(), "");
    let mut text = String::new();
    fs::File::from(read).read_to_string(&mut text).unwrap();
    assert_eq!(text, "by descriptor");
    run.glexec.wait().exited(0);
    // 3 is the list itself.
    assert_eq!(site.read(&format!("{SANDBOX}/_err")), "0\n1\n2\n3\n");
}

#[test]
fn the_procd_can_signal_a_job_as_its_user() {
    let site = prepared();
    let run = job(
        &site,
        "trap 'echo gone > ended; exit 7' TERM; echo $$ > pid; while :; do sleep 0.1; done",
    );
    let pid = wait_for(&site, &format!("{SANDBOX}/pid"));
    let proxy = format!("{PILOTS}/x509");
    let kill = |pid: &str, signal: &str| {
        program(&site, "kill", &[GLEXEC, &proxy, pid, signal, "2", "0"])
            .closing(&[0, 1, 2])
            .run()
            .code()
    };
    assert_eq!(kill(&pid, "0"), 0);
    assert_eq!(kill(&pid, "15"), 0);
    run.glexec.wait().exited(7);
    assert_eq!(site.read(&format!("{SANDBOX}/ended")), "gone\n");
    assert_eq!(kill(&pid, "15"), 2, "it is gone");
    for refused in ["-1", "0", "1", "x"] {
        assert_eq!(kill(refused, "9"), 1, "{refused}");
    }
    assert_eq!(kill(&std::process::id().to_string(), "15"), 2, "root's");
}

#[test]
fn a_refusal_is_tried_again_as_often_as_may_be_and_no_more() {
    let site = site_with("user_white_list = [\"other\"]");
    let before = site.log().len();
    let ran = moving(&site, "setup");
    ran.exited(3);
    let refused = ran.error().lines().filter(|line| line.contains("203")).count();
    assert_eq!(refused, 3, "{ran:?}");
    let logged = ran.log.iter().skip(before).filter(|l| l.contains("not-listed")).count();
    assert_eq!(logged, 3, "{ran:?}");
    assert_eq!(look(&site, &format!("{SANDBOX}/input")), (PILOT, 0o600), "as it was");
    assert!(!site.path(PILOTS).exists());
    let mut run = Run::start(&site, &["-", "-", "-", "/bin/true"]);
    assert!(!run.hello(), "end-of-file instead of hello");
    let ran = run.glexec.wait();
    assert!(ran.exited(203).error().contains("[gLExec]"), "{ran:?}");
}

#[test]
fn what_fails_for_good_is_not_tried_again() {
    let site = site_with("");
    site.directory(SANDBOX, (PILOT, PILOT), 0o755);
    site.directory(PILOTS, (PAYLOAD1, PAYLOAD1), 0o755);
    moving(&site, "setup").exited(2);
    assert_eq!(look(&site, SANDBOX), (PILOT, 0o755), "it was in the way");
    program(&site, "setup", &[GLEXEC, "x509", SANDBOX]).run().exited(1);
    program(&site, "cleanup", &["/nowhere", "x509", SANDBOX, "2", "0"]).run().exited(1);
}

#[test]
fn why_a_job_did_not_start_is_told_over_the_socket() {
    let site = prepared();
    let failing = |words: &[&str]| {
        let mut run = Run::start(&site, words);
        let text = run.talk("A=1");
        run.glexec.wait().exited(1);
        text
    };
    assert!(
        failing(&["input", "o", "e", "/no/such"])
            .contains("/no/such cannot be executed: No such file")
    );
    assert!(failing(&["input", "o", "e", "true"]).contains("No such file"), "PATH was searched");
    assert!(failing(&["missing", "o", "e", "/bin/true"]).starts_with("missing cannot be opened"));
    assert!(failing(&["input", "/root/o", "e", "/bin/true"]).contains("Permission denied"));
    assert!(!failing(&["input", "o", "e", &"x".repeat(2000)]).is_empty());
    put(&site, "junk", "junk", 0o755);
    site.own(&format!("{SANDBOX}/junk"), (PAYLOAD1, PAYLOAD1));
    assert!(
        failing(&["input", "o", "e", "./junk"]).contains("Exec format error"),
        "no shell tries it"
    );
    site.file("/usr/local/bin/closed", "", 0o700);
    for wrapper in ["/no/wrapper", "/usr/local/bin/closed", "true"] {
        let mut run = Run::with_wrapper(&site, wrapper, &["-", "-", "-", "/bin/true"]);
        assert!(!run.hello());
        let ran = run.glexec.wait();
        assert!(ran.exited(1).error().contains(wrapper), "{ran:?}");
    }
}

#[test]
fn garbage_in_place_of_an_environment_is_refused() {
    let site = prepared();
    for length in [-1, 0, i32::MIN, i32::MAX, (16 << 20) + 1] {
        let mut run = Run::start(&site, &["input", "o", "e", "/bin/true"]);
        assert!(run.hello());
        run.length(length);
        assert!(run.answer().contains(&length.to_string()));
        run.glexec.wait().exited(1);
    }
    for text in ["A", "A='x", "=x"] {
        let mut run = Run::start(&site, &["input", "o", "e", "/bin/true"]);
        // Where the starter listens.
        assert!(run.talk(text).contains("environment"), "{text}");
        run.glexec.wait().exited(1);
    }
    let mut run = Run::start(&site, &["input", "o", "e", "/bin/true"]);
    assert!(run.hello());
    run.environment("A=1");
    // A byte, and no descriptor with it.
    run.length(0);
    assert!(run.answer().contains("no descriptor"));
    run.glexec.wait().exited(1);
}

#[test]
fn a_hostile_sandbox_comes_back_without_what_leads_out_of_it() {
    let site = prepared();
    site.directory("/home/pilot/precious", (PILOT, PILOT), 0o700);
    site.file("/home/pilot/precious/secret", "secret", 0o600);
    site.own("/home/pilot/precious/secret", (PILOT, PILOT));
    let script = "mkfifo fifo; ln -s /home/pilot/precious/secret stolen; ln -s ../../../../etc up; \
                  ln -s /home/pilot/precious d; mkdir a; ln -s .. a/b; ln -s a/b/../.. twice; \
                  ln input hard; rm -f x509; ln -s /home/pilot/precious/secret x509; \
                  mkdir open; chmod 777 open; \
                  mkdir closed; echo 1 > closed/f; chmod 0 closed/f closed; echo kept > kept; \
                  chmod 4755 kept; ln -s /var/lib/condor/execute/dir_4711/kept full";
    job(&site, script).glexec.wait().exited(0);
    let ran = moving(&site, "cleanup");
    ran.exited(0);
    assert!(ran.error().contains("1 FIFOs") && ran.error().contains("4 links"), "{ran:?}");
    for gone in ["fifo", "stolen", "up", "d", "twice"] {
        let path = site.path(&format!("{SANDBOX}/{gone}"));
        assert!(fs::symlink_metadata(path).is_err(), "{gone}");
    }
    assert_eq!(site.read(&format!("{SANDBOX}/x509")), "the proxy\n");
    assert_eq!(site.read(&format!("{SANDBOX}/hard")), "six\n");
    assert_eq!(look(&site, &format!("{SANDBOX}/kept")), (PILOT, 0o755));
    assert_eq!(look(&site, &format!("{SANDBOX}/closed")), (PILOT, 0));
    assert_eq!(
        look(&site, &format!("{SANDBOX}/open")),
        (PILOT, 0o755),
        "a link could be put there"
    );
    let links = ["a/b", "full"].map(|l| site.path(&format!("{SANDBOX}/{l}")).is_symlink());
    assert_eq!(links, [true, true]);
    assert_eq!(site.read("/home/pilot/precious/secret"), "secret");
    assert_eq!(fs::read_dir(site.path("/home/pilot/precious")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(site.path(EXECUTE)).unwrap().count(), 1);
}

/// A glexec that a payload has taken over answers with a stream of its own.
#[test]
fn a_forged_answer_writes_nothing_outside_and_is_no_success() {
    let site = prepared();
    let entry = |kind: &str, name: &str| {
        format!("{kind}\\000\\{:03o}{name}\\000\\000\\001\\244{}", name.len(), "\\000".repeat(16))
    };
    let body = "d\\000\\000\\000\\003bade";
    let file = |name: &str| entry("F", name) + body;
    let link = |name: &str, to: &str| entry("L", name) + &format!("\\000\\{:03o}{to}", to.len());
    let forged = [
        file("../escaped") + "E",
        file("/var/lib/condor/execute/escaped") + "E",
        "U".to_owned() + &file("escaped") + "E",
        link("a", EXECUTE) + &entry("D", "a") + &file("escaped"),
        entry("D", "..") + &file("escaped") + "UE",
    ];
    let path = "a name is a path";
    let why = [path, path, "it leaves the sandbox", "failed to fill whole buffer", path];
    for (stream, why) in forged.into_iter().zip(why) {
        let fake = format!("#!/bin/sh\nprintf 'sandbox2{stream}'\nexec cat > /dev/null\n");
        site.file("/usr/local/bin/forged", fake, 0o755);
        let ran =
            program(&site, "cleanup", &["/usr/local/bin/forged", "x509", SANDBOX, "0", "0"]).run();
        assert!(ran.exited(1).error().contains(why), "{stream}: {ran:?}");
        let mut names: Vec<_> =
            fs::read_dir(site.path(EXECUTE)).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["dir_4711", "dir_4711.condor"], "{stream}");
    }
    moving(&site, "cleanup").exited(0);
    assert_eq!(site.read(&format!("{SANDBOX}/input")), "six\n", "and nothing was lost");
}

#[test]
fn what_the_target_did_counts_though_an_epilogue_failed() {
    let site = Site::with_epilogue_script("#!/bin/sh\nexit 1\n", "");
    fill(&site);
    moving(&site, "setup").exited(0);
    moving(&site, "cleanup").exited(0);
    assert_eq!(site.read(&format!("{SANDBOX}/input")), "six\n");
    let ends = site.log().iter().filter(|line| line.contains("exit_code=202")).count();
    assert_eq!(ends, 2, "{:?}", site.log());
}

/// Every call of glexec ends with 202 here, and nothing is done twice.
#[test]
fn what_was_done_once_is_not_done_again_for_an_epilogue() {
    let site = Site::with_epilogue_script("#!/bin/sh\nexit 1\n", "");
    fill(&site);
    moving(&site, "setup").exited(0);
    let new = format!("{EXECUTE}/new");
    site.file(&new, "renewed\n", 0o600);
    site.own(&new, (PILOT, PILOT));
    program(&site, "update_proxy", &[GLEXEC, &new, "x509", SANDBOX]).run().exited(0);
    assert_eq!(site.read(&format!("{PILOTS}/x509")), "renewed\n");
    let count = "n=0; trap 'n=$((n+1)); echo $n > count' USR1; echo $$ > pid; \
                 while [ ! -e end ]; do sleep 0.1; done";
    let run = job(&site, count);
    let pid = wait_for(&site, &format!("{SANDBOX}/pid"));
    program(&site, "kill", &[GLEXEC, &format!("{PILOTS}/x509"), &pid, "10", "2", "0"])
        .run()
        .exited(0);
    put(&site, "end", "", 0o644);
    run.glexec.wait();
    assert_eq!(site.read(&format!("{SANDBOX}/count")), "1\n");
}

/// What the starter knows as the job is glexec, where it lingers.
#[test]
fn the_starter_ends_a_job_by_the_process_that_it_has_started() {
    let site = prepared();
    let run = job(&site, "trap 'exit 7' TERM; echo $$ > pid; while :; do sleep 0.1; done");
    wait_for(&site, &format!("{SANDBOX}/pid"));
    let own = run.glexec.pid().to_string();
    program(&site, "kill", &[GLEXEC, &format!("{PILOTS}/x509"), &own, "15", "0", "0"])
        .run()
        .exited(0);
    run.glexec.wait().exited(7);
}

#[test]
fn a_removal_that_fails_loses_nothing() {
    let site = prepared();
    let kept = format!("{SANDBOX}/kept");
    site.directory(&kept, (0, 0), 0o755);
    site.file(&format!("{kept}/file"), "root's\n", 0o644);
    moving(&site, "cleanup").exited(0);
    assert_eq!(site.read(&format!("{SANDBOX}/input")), "six\n");
    assert_eq!(site.read(&format!("{kept}/file")), "root's\n");
}

/// A payload can make more of its files than the disk holds: a hole, a hundred names of one file.
#[test]
fn a_cleanup_that_fails_leaves_no_half_of_the_files() {
    let site = prepared();
    let fake = "#!/bin/sh\nprintf 'sandbox2F\\000\\001a\\000\\000\\001\\244'\nhead -c 4096 /dev/zero\nexec cat > /dev/null\n";
    site.file("/usr/local/bin/cut", fake, 0o755);
    program(&site, "cleanup", &["/usr/local/bin/cut", "x509", SANDBOX, "0", "0"]).run().exited(1);
    let names = fs::read_dir(site.path(PILOTS)).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["x509"]);
}

#[test]
fn a_link_in_the_sandboxes_place_is_not_followed() {
    let site = site_with("");
    fs::rename(site.path(SANDBOX), site.path(&format!("{EXECUTE}/kept"))).unwrap();
    symlink("kept", site.path(SANDBOX)).unwrap();
    moving(&site, "setup").exited(2);
    assert_eq!(site.read(&format!("{EXECUTE}/kept/input")), "six\n");
}

#[test]
fn a_job_without_a_proxy_is_a_job() {
    let site = site_with("");
    fs::remove_file(site.path(&format!("{SANDBOX}/x509"))).unwrap();
    program(&site, "setup", &[GLEXEC, "", SANDBOX, "0", "0"])
        .env("GLEXEC_CLIENT_CERT", "/p")
        .run()
        .exited(0);
    assert_eq!(fs::read_dir(site.path(PILOTS)).unwrap().count(), 0);
    let kill =
        program(&site, "kill", &[GLEXEC, &format!("{PILOTS}/"), "999999999", "15", "0", "0"]).run();
    kill.exited(2);
    program(&site, "cleanup", &[GLEXEC, "", SANDBOX, "0", "0"]).run().exited(0);
    assert_eq!(site.read(&format!("{SANDBOX}/input")), "six\n");
}

#[test]
fn a_proxy_is_renewed_before_setup_too_and_a_failure_leaves_no_new_one() {
    let site = site_with("");
    let new = format!("{EXECUTE}/new");
    let offer = |text: &str| {
        site.file(&new, text, 0o600);
        site.own(&new, (PILOT, PILOT));
    };
    offer("renewed\n");
    program(&site, "update_proxy", &["-", &new, "x509", SANDBOX]).run().exited(0);
    assert_eq!(site.read(&format!("{SANDBOX}/x509")), "renewed\n");
    moving(&site, "setup").exited(0);
    offer("");
    program(&site, "update_proxy", &[GLEXEC, &new, "x509", SANDBOX]).run().exited(1);
    assert!(!Path::new(&site.path(&new)).exists());
    assert_eq!(site.read(&format!("{SANDBOX}/x509")), "renewed\n");
    assert_eq!(site.read(&format!("{PILOTS}/x509")), "renewed\n");
}

#[test]
fn the_selftest_says_whether_a_pilot_can_offer_a_slot_and_what_to_do() {
    let selftest = |site: &Site, words: &[&str]| {
        let call = site.program([format!("{LIBEXEC}/glexec-condor-selftest")]);
        call.words(words.iter().copied()).within_time(Duration::from_secs(60)).run()
    };
    let site = Site::new();
    let ran = selftest(&site, &[]);
    assert_eq!(
        ran.exited(0).output().lines().filter(|l| l.starts_with("ok: ")).count(),
        2,
        "{ran:?}"
    );
    assert!(ran.output().contains(&PAYLOAD1.to_string()));
    let ran = selftest(&site, &[GLEXEC, "/home/pilot"]);
    assert!(ran.exited(1).output().contains("chmod a+x"), "{ran:?}");
    assert!(selftest(&site, &["/nowhere"]).exited(1).output().contains("install glexec"));
    let ran = selftest(&site, &["/usr/bin/env"]);
    assert!(ran.exited(1).output().contains("map the pilot to another account"), "{ran:?}");
    site.settings("user_white_list = [\"other\"]");
    assert!(selftest(&site, &[]).exited(1).output().contains("user_white_list"));
}
