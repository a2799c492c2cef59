//! Between an immune glexec and the descriptors its caller named stands a process with the caller's
//! rights and no others; and what a caller may name at all.

use crate::bracket::{all_four, status};
use harness::accounts::{GRID, PILOT};
use harness::{Process, Site, raw};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

/// What each descriptor of a process is.
pub(crate) fn descriptors(pid: i32) -> BTreeMap<i32, String> {
    let list = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let all = list.filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, std::fs::read_link(entry.path()).ok()?.display().to_string()))
    });
    all.collect()
}

/// The processes that glexec has beside the payload.
pub(crate) fn helpers(site: &Site, glexec: i32) -> Vec<Process> {
    let all = site.processes().into_iter().filter_map(Process::of);
    all.filter(|process| process.parent == glexec && process.name == "glexec").collect()
}

#[test]
fn the_descriptor_proxy_has_the_callers_ids_and_its_four_descriptors_and_nothing_else() {
    let site = Site::with_epilogue("");
    let mut call = site.glexec(["sleep", "300"]).within("/home/pilot").with_status().with_control();
    for number in 10..20 {
        call = call.passing(number, File::open("/etc/passwd").unwrap());
    }
    let running = call.inheritable_capabilities().start();
    let (glexec, _) = running.started();
    let helpers = helpers(&site, glexec);
    assert_eq!(helpers.len(), 1, "{helpers:?}");
    let pid = helpers[0].pid;
    assert_eq!(status(pid, "Uid"), all_four(PILOT), "no saved uid 0");
    assert_eq!(status(pid, "Gid"), all_four(PILOT));
    assert_eq!(status(pid, "Groups"), GRID.to_string());
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(pid, set), "0".repeat(16), "{set}");
    }
    let open: Vec<String> = descriptors(pid).into_values().collect();
    assert_eq!(open[..3], ["/dev/null"; 3], "{open:?}");
    let pipes = open[3..].iter().filter(|what| what.starts_with("pipe:[")).count();
    assert_eq!((pipes, open.len()), (4, 7), "two of the caller's, two of glexec's: {open:?}");
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    assert_eq!(cwd.display().to_string(), "/");
    // Nobody may look into it; and it is the caller's to end.
    assert_eq!(std::fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid(), 0);
    raw::kill_as((PILOT, PILOT), pid, libc::SIGKILL).unwrap();
    // Its end is the end of the caller's orders, which is told as the caller's own.
    running.wait().exited(143);
    assert_eq!(site.epilogues().len(), 1);
}

#[test]
fn a_pipe_is_used_in_the_direction_that_its_caller_has_and_no_other() {
    let site = Site::with_epilogue("");
    let (read, write) = nix::unistd::pipe().unwrap();
    for (option, file) in [("--status-fd=7", &read), ("--control-fd=7", &write)] {
        let call = site.glexec(["true"]).option(option).passing(7, file.try_clone().unwrap());
        call.run().exited(201).said_one_sentence();
    }
    assert!(site.epilogues().is_empty());
}

#[test]
fn a_fifo_that_its_caller_may_not_open_is_not_opened_as_root() {
    let site = Site::with_epilogue("");
    site.program(["/usr/bin/mkfifo", "-m", "600", "/var/lib/site/fifo"]).by("root").run().exited(0);
    let path = site.path("/var/lib/site/fifo");
    let both = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let call = |who: &str| {
        let copy: OwnedFd = both.try_clone().unwrap().into();
        site.glexec(["actor", "exit", "7"]).by(who).option("--status-fd=7").passing(7, copy).run()
    };
    call("pilot").exited(201).said_one_sentence();
    assert!(site.epilogues().is_empty());
    call("root").exited(7);
}

#[test]
fn a_status_pipe_that_is_full_holds_up_no_run() {
    for lines in ["", "epilogue = \"/usr/libexec/site/epilogue\""] {
        let site = Site::with(lines);
        let (_read, write) = nix::unistd::pipe().unwrap();
        fcntl(&write, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        for size in [4096, 1] {
            while nix::unistd::write(&write, &vec![b'x'; size]).is_ok() {}
        }
        fcntl(&write, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        let start = Instant::now();
        let call = site.glexec(["actor", "exit", "42"]).option("--status-fd=7").passing(7, write);
        call.within_time(Duration::from_secs(10)).run().exited(42);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}
