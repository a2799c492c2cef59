//! Control groups: a supervisor that outlives the scheduler's kill of the job's container, and a
//! leaf for the payload. Version 1, version 2, or both: whatever this machine has.

use contract::Record;
use harness::accounts::PILOT;
use harness::{EPILOGUE, Running, Site};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const MOUNTS: [&str; 4] =
    ["/sys/fs/cgroup/pids", "/sys/fs/cgroup/freezer", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// A job's container and a place beside it, in every hierarchy there is.
struct Groups {
    mounts: Vec<&'static str>,
    name: String,
}

impl Groups {
    fn new(most: &str) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let name = format!("e2e-{}-{number}", std::process::id());
        let mounts: Vec<_> = MOUNTS
            .into_iter()
            .filter(|mount| fs::metadata(format!("{mount}/cgroup.procs")).is_ok())
            .collect();
        assert!(!mounts.is_empty(), "this machine has no cgroup hierarchy that can be written to");
        let groups = Self { mounts, name };
        for mount in &groups.mounts {
            for group in ["", "/job", "/supervisor"] {
                fs::create_dir(format!("{mount}/{}{group}", groups.name)).unwrap();
            }
            let bound = format!("{mount}/{}/supervisor/pids.max", groups.name);
            if fs::metadata(&bound).is_ok() {
                fs::write(bound, most).unwrap();
            }
        }
        groups
    }

    fn file(&self, group: &str, file: &str) -> Vec<PathBuf> {
        let path = |mount: &&str| PathBuf::from(format!("{mount}/{}/{group}/{file}", self.name));
        self.mounts.iter().map(path).collect()
    }

    /// The pids in a group, of the first hierarchy.
    fn pids(&self, group: &str) -> Vec<i32> {
        let text = fs::read_to_string(&self.file(group, "cgroup.procs")[0]).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Runs glexec in the job's container, as `pilot`.
    fn start<'s>(&self, site: &'s Site, payload: &str) -> Running<'s> {
        let join: Vec<String> = self
            .file("job", "cgroup.procs")
            .iter()
            .map(|path| format!("echo $$ > {}", path.display()))
            .collect();
        let script = format!(
            "{}; exec setpriv --reuid 42001 --regid 42001 --clear-groups $GLEXEC --status-fd=9 sh -c '{payload}'",
            join.join("; ")
        );
        site.shell(&script).by("root").with_status().start()
    }

    /// As a scheduler ends a job: TERM to everybody in its container, and KILL a while later.
    fn end(&self) {
        let kill = |signal| {
            for pid in self.pids("job") {
                let _ = harness::raw::kill(pid, signal);
            }
        };
        kill(libc::SIGTERM);
        std::thread::sleep(Duration::from_millis(500));
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.pids("job").is_empty() && Instant::now() < deadline {
            kill(libc::SIGKILL);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for mount in &self.mounts {
            for group in ["/job", "/supervisor", ""] {
                let path = format!("{mount}/{}{group}", self.name);
                for _ in 0..100 {
                    if fs::remove_dir(&path).is_ok() {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }
}

const STUBBORN: &str = "trap \"\" TERM; echo up; sleep 20";

fn told(site: &Site) -> Vec<String> {
    let all = site.epilogues();
    assert_eq!(all.len(), 1, "one epilogue");
    ["RESULT", "TARGET_RC"]
        .iter()
        .map(|name| all[0].variable(&format!("GLEXEC_EPILOG_{name}")).unwrap_or("-").to_owned())
        .collect()
}

#[test]
fn with_a_group_of_its_own_glexec_outlives_the_kill_of_the_jobs_container() {
    let groups = Groups::new("100");
    let site = Site::with_epilogue(&format!("supervisor_cgroup = \"/{}/supervisor\"", groups.name));
    let running = groups.start(&site, STUBBORN);
    running.says("up");
    let (glexec, payload) = running.started();
    assert!(groups.pids("supervisor").contains(&glexec), "glexec has moved");
    assert!(groups.pids("job").contains(&payload), "the payload has not");
    groups.end();
    let ran = running.wait();
    ran.exited(137);
    assert_eq!(told(&site), ["killed", "137"], "glexec itself ran it");
    // Elsewhere this machine's own container may have it; there no group was made for it.
    let notice =
        ran.log.iter().find(|l| l.contains("stays in the job")).cloned().unwrap_or_default();
    let entered = groups.mounts.iter().all(|m| !notice.contains(&format!("{m}/{}", groups.name)));
    assert!(entered, "{notice}");
}

#[test]
fn without_it_glexec_dies_with_the_job_and_the_epilogue_is_owed_and_paid() {
    let groups = Groups::new("100");
    let site = Site::with_epilogue("");
    let running = groups.start(&site, STUBBORN);
    running.says("up");
    groups.end();
    assert_eq!(running.wait().signal, Some(libc::SIGKILL));
    assert!(site.epilogues().is_empty());
    site.program(["/usr/sbin/glexec-admin", "sweep"]).by("root").run().exited(0);
    assert_eq!(told(&site), ["lost", "137"]);
    assert_eq!(site.processes_of(42_002), []);
}

#[test]
fn a_tree_killed_by_parent_ids_owes_its_epilogue_too() {
    let site = Site::with_epilogue("");
    let running = site.glexec(["sh", "-c", "echo up; sleep 20"]).with_status().start();
    running.says("up");
    // As a scheduler without control groups: the process it started and all below it.
    let mut tree = vec![running.pid()];
    let mut at = 0;
    while let Some(pid) = tree.get(at).copied() {
        let children =
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        tree.extend(children.split_whitespace().map(|p| p.parse::<i32>().unwrap()));
        at += 1;
    }
    for pid in tree {
        let _ = harness::raw::kill(pid, libc::SIGKILL);
    }
    running.wait();
    site.program(["/usr/sbin/glexec-admin", "sweep"]).by("root").run().exited(0);
    assert_eq!(told(&site), ["lost", "137"]);
}

#[test]
fn a_group_that_bounds_nothing_or_is_not_there_is_not_entered_and_the_run_goes_on() {
    let groups = Groups::new("max");
    for (group, why) in [("supervisor", "pids.max"), ("nowhere", "does not exist")] {
        let site =
            Site::with_epilogue(&format!("supervisor_cgroup = \"/{}/{group}\"", groups.name));
        let running = groups.start(&site, "exit 42");
        let ran = running.wait();
        ran.exited(42);
        let notice = ran.log.iter().find(|l| l.contains("stays in the job"));
        let told = notice.is_some_and(|l| l.contains(why) || l.contains("No such file"));
        let bounded = groups.mounts.iter().any(|m| m.ends_with("pids") || *m == "/sys/fs/cgroup");
        assert!(told || !bounded, "{group}: {ran:#?}");
    }
}

#[test]
fn who_logs_while_it_is_root_is_root_still_when_the_line_is_gone() {
    let groups = Groups::new("max");
    let site = Site::with(&format!("supervisor_cgroup = \"/{}/nowhere\"", groups.name));
    let running = groups.start(&site, "echo up; exec sleep 300");
    running.says("up");
    let (glexec, payload) = running.started();
    // It owes nothing and is not immune: a notice was sent by a second raise within the first.
    let noticed = site.log().iter().any(|line| line.contains("stays in the job"));
    assert!(noticed, "{:#?}", site.log());
    assert_eq!(crate::bracket::status(glexec, "Uid"), "42001 0 0 0");
    // Without that right the payload would outlive its supervisor.
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    let deadline = Instant::now() + Duration::from_secs(30);
    while fs::metadata(format!("/proc/{payload}")).is_ok() {
        assert!(Instant::now() < deadline, "the payload lives");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a payload can have a leaf here, and where.
fn second_version() -> Option<&'static str> {
    ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .find(|mount| fs::metadata(format!("{mount}/cgroup.controllers")).is_ok())
}

#[test]
fn a_payload_has_a_leaf_of_its_own_which_is_gone_afterwards() {
    let mount = second_version().expect("this machine has no cgroup of version 2");
    let site = Site::with_epilogue("payload_cgroup = \"auto\"");
    let script = "grep ^0:: /proc/self/cgroup; setsid sleep 20 </dev/null >/dev/null 2>&1 & sleep 0.2; exit 5";
    let ran = site.glexec(["sh", "-c", script]).with_status().run();
    let shown = ran.exited(5).output();
    let Some(Record::Started { glexec_pid, .. }) = ran.records.first() else { panic!("{ran:#?}") };
    let name = shown.trim().rsplit('/').next().unwrap_or_default();
    // With glexec's birth, so that no other process has ever had the name.
    let birth = name.strip_prefix(&format!("glexec.{glexec_pid}."));
    assert!(birth.is_some_and(|birth| birth.parse::<u64>().is_ok()), "{shown}");
    assert!(fs::metadata(format!("{mount}/{name}")).is_err(), "it is removed");
    assert_eq!(site.processes_of(42_002), []);
    assert_eq!(site.epilogues().len(), 1);
}

#[test]
fn a_daemon_of_a_lost_run_is_found_by_its_leaf() {
    second_version().expect("this machine has no cgroup of version 2");
    let site = Site::with(&format!("epilogue = \"{EPILOGUE}\"\npayload_cgroup = \"auto\""));
    let script = "setsid sh -c \"setsid sleep 30\" </dev/null >/dev/null 2>&1 & sleep 0.2; echo up; sleep 20";
    let running = site.glexec(["sh", "-c", script]).with_status().start();
    running.says("up");
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    assert!(!site.processes_of(42_002).is_empty(), "the daemon is alive");
    site.program(["/usr/sbin/glexec-admin", "sweep"]).by("root").run().exited(0);
    assert_eq!(site.processes_of(42_002), []);
    assert_eq!(told(&site), ["lost", "137"]);
}

/// A group of version 2 that is `pilot`'s, as a scheduler or systemd (`Delegate=`) gives one away.
struct Delegated(PathBuf);

impl Delegated {
    fn new() -> Self {
        let mount = second_version().expect("this machine has no cgroup of version 2");
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let name = format!("e2e-delegated-{}-{number}", std::process::id());
        let group = PathBuf::from(mount).join(name);
        fs::create_dir(&group).unwrap();
        let own = |path: &std::path::Path| {
            std::os::unix::fs::chown(path, Some(PILOT), Some(PILOT)).unwrap();
        };
        own(&group);
        fs::read_dir(&group).unwrap().for_each(|file| own(&file.unwrap().path()));
        Self(group)
    }

    /// Runs glexec in it, as `pilot`, with a daemon that leaves the payload's group and session.
    fn start<'s>(&self, site: &'s Site) -> Running<'s> {
        let script = format!(
            "echo $$ >{}/cgroup.procs; exec setpriv --reuid {PILOT} --regid {PILOT} --clear-groups $GLEXEC sh -c '{}'",
            self.0.display(),
            "setsid setsid sh -c \"echo up; exec sleep 100 </dev/null >/dev/null 2>&1\" & sleep 100"
        );
        site.shell(&script).by("root").with_status().start()
    }

    /// The leaves in it.
    fn leaves(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for group in self.leaves().into_iter().chain([self.0.clone()]) {
            let _ = fs::write(group.join("cgroup.kill"), "1");
            let deadline = Instant::now() + Duration::from_secs(10);
            while fs::remove_dir(&group).is_err() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

#[test]
fn a_leaf_below_a_group_of_the_callers_is_roots_and_holds_the_payload() {
    let group = Delegated::new();
    let site = Site::with(&format!("epilogue = \"{EPILOGUE}\"\npayload_cgroup = \"auto\""));
    let running = group.start(&site);
    running.says("up");
    let leaves = group.leaves();
    assert_eq!(leaves.len(), 1, "{:#?}", site.log());
    let leaf = leaves[0].display();
    // Neither into it nor out of it by its own files, and not away while it is in use.
    for way in [
        format!("echo $$ >{leaf}/cgroup.procs"),
        format!("echo 1 >{leaf}/cgroup.kill"),
        format!("echo 1 >{leaf}/cgroup.freeze"),
        format!("mkdir {leaf}/below"),
        format!("rmdir {leaf}"),
    ] {
        let tried = site.shell(&format!("{{ {way}; }} 2>/dev/null")).run();
        assert_ne!(tried.code, Some(0), "{way}");
    }
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    assert!(!site.processes_of(42_002).is_empty(), "the daemon is alive");
    site.program(["/usr/sbin/glexec-admin", "sweep"]).by("root").run().exited(0);
    assert_eq!(site.processes_of(42_002), []);
    assert_eq!(group.leaves(), [] as [PathBuf; 0]);
    assert_eq!(told(&site), ["lost", "137"]);
}

#[test]
fn who_is_moved_out_of_a_leaf_by_its_groups_owner_is_ended_by_the_living_glexec() {
    let group = Delegated::new();
    let site = Site::with(&format!(
        "epilogue = \"{EPILOGUE}\"\npayload_cgroup = \"auto\"\nkill_grace = 1"
    ));
    let running = group.start(&site);
    running.says("up");
    let leaf = group.leaves().into_iter().next().expect("a leaf");
    let inside = fs::read_to_string(leaf.join("cgroup.procs")).unwrap();
    let to = group.0.join("cgroup.procs");
    for pid in inside.lines() {
        site.shell(&format!("echo {pid} >{}", to.display())).run().exited(0);
    }
    assert_eq!(fs::read_to_string(leaf.join("cgroup.procs")).unwrap(), "", "it is empty");
    running.signal_by("root", libc::SIGTERM).unwrap();
    running.wait().exited(143);
    assert_eq!(site.processes_of(42_002), []);
    assert_eq!(group.leaves(), [] as [PathBuf; 0]);
    assert_eq!(told(&site), ["killed", "143"]);
}
