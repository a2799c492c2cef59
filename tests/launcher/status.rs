//! The status stream.

use contract::{Reason, Record};
use harness::Site;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

#[test]
fn the_records_of_a_run_come_in_order_and_once() {
    let site = Site::with_epilogue("");
    let running = site.glexec(["actor", "exit", "42"]).with_status().start();
    let pid = running.pid();
    let ran = running.wait();
    let [Record::Started { glexec_pid, payload_pid, target, .. }, rest @ ..] = &ran.records[..]
    else {
        panic!("{ran:#?}");
    };
    assert_eq!((*glexec_pid, target.as_str()), (pid, "payload1"));
    assert!(*payload_pid > 1 && payload_pid != glexec_pid);
    let words: Vec<&str> = rest
        .iter()
        .map(|record| match record {
            Record::Payload { .. } => "payload",
            Record::Stragglers { .. } => "stragglers",
            Record::Epilogue { .. } => "epilogue",
            Record::Finished { .. } => "finished",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(words, ["payload", "stragglers", "epilogue", "finished"], "{ran:#?}");
}

#[test]
fn what_the_payload_used_is_told() {
    let site = Site::new();
    let ran = site
        .glexec(["perl", "-e", "$x = 'x' x 60_000_000; $i++ while (times)[0] < 0.2"])
        .with_status()
        .run();
    let usage = ran.records.iter().find_map(|r| match r {
        Record::Payload { usage, .. } => Some(*usage),
        _ => None,
    });
    let usage = usage.unwrap_or_else(|| panic!("{ran:#?}"));
    assert!(usage.user_us >= 150_000 && usage.max_rss_kib > 50_000, "{usage:?}");
}

#[test]
fn a_refusal_is_told_with_its_reason_and_its_code() {
    let site = Site::new();
    let ran = site.glexec(["nonexistent"]).with_status().run();
    ran.stopped(Reason::CommandNotFound);
    let [Record::Refused { code: 201, reason, sentence }] = &ran.records[..] else {
        panic!("{ran:#?}")
    };
    assert_eq!(reason, "command-not-found");
    assert!(ran.error().contains(sentence.as_str()), "the same sentence as on stderr: {ran:#?}");
}

#[test]
fn the_payload_does_not_get_the_stream() {
    let site = Site::with_epilogue("");
    let ran = site.glexec(["actor", "look"]).with_status().with_control().run();
    assert_eq!(ran.look().descriptors.len(), 3, "{:?}", ran.look().descriptors);
    assert_eq!(site.epilogues().remove(0).descriptors.len(), 3);
}

#[test]
fn a_reader_that_sleeps_or_goes_away_harms_nothing() {
    let site = Site::with_epilogue("");
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(ours);
    let gone = site.glexec(["actor", "exit", "42"]).option("--status-fd=7").passing(7, theirs);
    gone.run().exited(42);

    let (read, write) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK).unwrap();
    let mut filler = File::from(write.try_clone().unwrap());
    while filler.write(&[b'x'; 4096]).is_ok() {}
    while filler.write(b"x").is_ok() {}
    let start = Instant::now();
    let full = site.glexec(["actor", "exit", "42"]).option("--status-fd=7").passing(7, write);
    full.run().exited(42);
    assert!(start.elapsed() < Duration::from_secs(3));
    drop(read);
    assert_eq!(site.epilogues().len(), 2);
}

#[test]
fn a_reader_that_goes_away_does_not_end_the_payload() {
    for site in [Site::new(), Site::with_epilogue("")] {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        drop(reader);
        let script = "sleep 0.3; exit 42";
        let call = site.glexec(["sh", "-c", script]).option("--status-fd=7").passing(7, writer);
        call.run().exited(42);
    }
}

#[test]
fn the_description_that_the_caller_shares_is_not_made_non_blocking() {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let site = Site::new();
    let (_read, write) = nix::unistd::pipe().unwrap();
    let call = site
        .glexec(["sleep", "0.2"])
        .option("--status-fd=7")
        .passing(7, write.try_clone().unwrap());
    let running = call.start();
    std::thread::sleep(Duration::from_millis(100));
    let flags = OFlag::from_bits_truncate(fcntl(&write, FcntlArg::F_GETFL).unwrap());
    assert!(!flags.contains(OFlag::O_NONBLOCK));
    running.wait().exited(0);
    let flags = OFlag::from_bits_truncate(fcntl(&write, FcntlArg::F_GETFL).unwrap());
    assert!(!flags.contains(OFlag::O_NONBLOCK));
}

#[test]
fn a_named_descriptor_must_be_an_open_pipe_or_socket_above_2_and_not_named_twice() {
    let site = Site::new();
    let file = || File::open("/etc/passwd").unwrap();
    let pipe = || nix::unistd::pipe().unwrap().1;
    let bad = |words: &[&str]| {
        let call = site.glexec(words).words(["true"]).passing(5, file()).passing(6, pipe());
        let ran = call.run();
        ran.exited(201).said_one_sentence();
    };
    for words in [
        &["--status-fd=0"][..],
        &["--status-fd=1"],
        &["--status-fd=2"],
        &["--status-fd=-1"],
        &["--status-fd=77"],
        &["--status-fd=5"],
        &["--status-fd=6", "--control-fd=6"],
        &["--control-fd=5"],
        &["--status-fd=99999999999"],
        &["--status-fd=six"],
        &["--status-fd="],
        &["--status-fd=6", "--status-fd=6"],
    ] {
        bad(words);
    }
    // One that goes in both directions, too.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let call = site.glexec(["--status-fd=7", "--control-fd=7", "true"]).passing(7, theirs);
    call.run().exited(201).said_one_sentence();
    drop(ours);
}

#[test]
fn descriptors_are_kept_for_the_payload_only_where_the_site_allows_it() {
    let pipe = || nix::unistd::pipe().unwrap();
    let site = Site::new();
    let (_r, w) = pipe();
    let call = site.glexec(["--keep-fd=7", "actor", "look"]).passing(7, w).with_status();
    call.run().stopped(Reason::NotAvailable);

    let site = Site::with("keep_descriptors = true");
    let (read, write) = pipe();
    let call = site.glexec(["--keep-fd=7", "sh", "-c", "echo through >&7"]).passing(7, write);
    call.run().exited(0);
    assert_eq!(std::io::read_to_string(File::from(read)).unwrap(), "through\n");

    // glexec itself lets go of it: the reader sees its end with the payload's.
    let (read, write) = pipe();
    let running = site
        .glexec(["--keep-fd=7", "sh", "-c", "exec 7>&-; exec sleep 2"])
        .passing(7, write)
        .with_status()
        .start();
    running.started();
    let start = Instant::now();
    assert_eq!(std::io::read_to_string(File::from(read)).unwrap(), "");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    running.wait().exited(0);
}
