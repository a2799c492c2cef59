//! What is owed is never lost by an error: not by a full disk, and not by what one caller writes
//! down.

use glexec::contract::Reason;

use harness::{EPILOGUE, Limit, Ran, Site};
use nix::sys::resource::Resource;
use std::time::{Duration, Instant};

const STATE: &str = "/var/lib/glexec";

fn entries(site: &Site) -> Vec<String> {
    let list = std::fs::read_dir(site.path(STATE)).unwrap();
    let names = list.map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("run.")).collect()
}

fn sweep(site: &Site) -> Ran {
    site.program(["/usr/sbin/glexec-admin"]).words(["sweep", "--now"]).by("root").run()
}

fn size_of(site: &Site, name: &str) -> u64 {
    std::fs::metadata(site.path(&format!("{STATE}/{name}"))).unwrap().len()
}

/// Waits for something that is bound to come.
fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The caller chooses the length of its entry, so it chooses where the disk is full: here in the
/// middle of the line that says how its payload has ended.
#[test]
fn a_phase_that_only_fits_in_half_is_taken_back_and_the_epilogue_is_still_paid() {
    const PAGE: u64 = 4096;
    let script = format!(
        "#!/bin/sh\nrm -f {STATE}/filler\n\
         [ -e /var/lib/site/second ] || kill -9 $$\necho paid >> /var/lib/site/paid\n"
    );
    let site = Site::with_epilogue_script(&script, "");
    let mount = format!("mount -t tmpfs -o size=64k,mode=0700 tmpfs {STATE}");
    site.shell(&mount).by("root").run().exited(0);
    let flag = site.path("/var/lib/site/flag");
    let begin = |pad: usize| {
        let wait = "while [ ! -e /var/lib/site/flag ]; do sleep 0.02; done; exit 5";
        let call = site.glexec(["sh", "-c", wait]).env("GLEXEC_PAD", &"y".repeat(pad));
        let running = call.with_status().start();
        running.started();
        let name = entries(&site).remove(0);
        (running, name)
    };
    let (running, name) = begin(1);
    let small = size_of(&site, &name);
    std::fs::remove_file(site.path(&format!("{STATE}/{name}"))).unwrap();
    std::fs::write(&flag, "").unwrap();
    running.wait();
    std::fs::remove_file(&flag).unwrap();
    let (running, name) = begin(usize::try_from(2 * PAGE - 50 - small).unwrap() + 1);
    let before = size_of(&site, &name);
    assert!((2 * PAGE - 60..2 * PAGE - 40).contains(&before), "{small} {before}");
    let fill = format!("head -c 65536 /dev/zero > {STATE}/filler");
    site.shell(&fill).by("root").run();
    std::fs::write(&flag, "").unwrap();
    running.wait().exited(202);
    let text = site.read(&format!("{STATE}/{name}"));
    assert!(text.ends_with('\n'), "{text:?}");
    for line in text.lines() {
        let read = serde_json::from_str::<serde_json::Value>(line);
        assert!(read.is_ok(), "{line:?} is torn");
    }
    site.file("/var/lib/site/second", "", 0o644);
    sweep(&site).exited(0);
    assert_eq!((entries(&site).len(), site.read("/var/lib/site/paid").as_str()), (0, "paid\n"));
}

#[test]
fn what_a_glexec_left_half_written_takes_no_later_line_with_it() {
    let site = Site::with_epilogue("");
    let running = site.glexec(["sleep", "30"]).with_status().start();
    running.started();
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    let name = entries(&site).remove(0);
    let path = site.path(&format!("{STATE}/{name}"));
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("{\"phase\":\"done\",\"result\":\"o");
    std::fs::write(&path, text).unwrap();
    // Not trusted, so that the attempt is written down behind the torn line.
    site.mode(EPILOGUE, 0o777);
    sweep(&site).exited(1);
    let text = site.read(&format!("{STATE}/{name}"));
    let whole = text.lines().any(|line| {
        serde_json::from_str::<serde_json::Value>(line).is_ok_and(|v| v["phase"] == "failed")
    });
    assert!(whole, "{text}");
    site.mode(EPILOGUE, 0o755);
    sweep(&site).exited(0);
    assert_eq!(site.epilogues().len(), 1);
    assert_eq!(site.epilogues()[0].variable("GLEXEC_EPILOG_ATTEMPT"), Some("2"));
}

#[test]
fn what_a_run_writes_down_is_bounded_by_what_its_caller_wrote() {
    let site = Site::with_epilogue("");
    let large = |count: usize| {
        let mut call =
            site.glexec(["sleep", "30"]).limited(Limit::Soft(Resource::RLIMIT_STACK, 64 << 20));
        for n in 0..count {
            call = call.env(&format!("GLEXEC_{n}"), &"\u{1}".repeat(120_000));
        }
        call.with_status()
    };
    let running = large(12).start();
    running.started();
    let (name, wrote) = (entries(&site).remove(0), 12 * 120_000);
    let size = size_of(&site, &name);
    assert!((wrote..2 * wrote + 20_000).contains(&size), "{size}");
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    sweep(&site).exited(0);
    let told = site.epilogues().remove(0);
    assert_eq!(told.variable("GLEXEC_11").map(str::len), Some(120_000), "and reads back as it was");
    // Without an epilogue it is only the entry that bounds it.
    site.settings("hand_over = [\"D\"]");
    site.directory("/var/lib/site/d", (harness::accounts::PILOT, harness::accounts::PILOT), 0o700);
    large(20).env("D", "/var/lib/site/d").run().stopped(Reason::ArgumentsTooLong);
    assert_eq!(entries(&site), [""; 0]);
}

#[test]
fn a_caller_fills_the_state_directory_with_no_more_than_its_share() {
    let site = Site::with_epilogue("");
    let name = format!("{STATE}/run.42001.1.1.1");
    site.file(&name, "", 0o600);
    std::fs::OpenOptions::new()
        .write(true)
        .open(site.path(&name))
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let call = |size: usize| site.glexec(["true"]).env("GLEXEC_X", &"x".repeat(size));
    call(100_000).with_status().run().stopped(Reason::TooManyRuns);
    call(100_000).by("busy").run().exited(0);
    call(1000).run().exited(0);
}
