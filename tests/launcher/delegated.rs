//! Control groups that somebody else than root may write to, and groups that are frozen: nobody
//! but root decides when root's epilogue runs, and what did not run is not paid.

use harness::accounts::PILOT;
use harness::{EPILOGUE, Running, Site, State, TOLD};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Version 2, and the freezer of version 1: what of these this machine has.
const MOUNTS: [&str; 3] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/freezer", "/sys/fs/cgroup"];

/// `outer` is root's; `outer/job` is delegated to the pilot, with `run` and `ice` in it; `outer/own`
/// is root's.
struct Groups {
    mounts: Vec<&'static str>,
    name: String,
}

impl Groups {
    fn new() -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let name = format!("e2e-ice-{}-{number}", std::process::id());
        let is_group = |mount: &&str| fs::metadata(format!("{mount}/cgroup.procs")).is_ok();
        let groups = Self { mounts: MOUNTS.into_iter().filter(is_group).collect(), name };
        assert!(!groups.mounts.is_empty(), "this machine has no control groups");
        for group in ["", "job", "job/run", "job/ice", "own"] {
            for path in groups.paths(group) {
                fs::create_dir(&path).unwrap();
            }
        }
        for path in ["job", "job/run", "job/ice"].into_iter().flat_map(|g| groups.paths(g)) {
            let own = |path: &Path| std::os::unix::fs::chown(path, Some(PILOT), Some(PILOT));
            own(&path).unwrap();
            fs::read_dir(&path).unwrap().for_each(|file| own(&file.unwrap().path()).unwrap());
        }
        groups
    }

    /// A group in every hierarchy.
    fn paths(&self, group: &str) -> Vec<PathBuf> {
        let path = |mount: &&str| PathBuf::from(format!("{mount}/{}", self.name)).join(group);
        self.mounts.iter().map(path).collect()
    }

    /// Lines of shell that move the shell into a group, in every hierarchy.
    fn join(&self, group: &str) -> String {
        let line = |path: PathBuf| format!("echo $$ >{}/cgroup.procs\n", path.display());
        self.paths(group).into_iter().map(line).collect()
    }

    /// Freezes a group, or thaws it, and waits until it is.
    fn freeze(&self, group: &str, frozen: bool) {
        for path in self.paths(group) {
            let (v2, v1) = (path.join("cgroup.freeze"), path.join("freezer.state"));
            let (state, word) = if v2.exists() {
                fs::write(&v2, if frozen { "1" } else { "0" }).unwrap();
                (path.join("cgroup.events"), if frozen { "frozen 1" } else { "frozen 0" })
            } else {
                let word = if frozen { "FROZEN" } else { "THAWED" };
                fs::write(&v1, word).unwrap();
                (v1, word)
            };
            wait_until(|| fs::read_to_string(&state).unwrap().contains(word), "it freezes");
        }
    }

    /// Whether a process is in a group, in every hierarchy.
    fn holds(&self, group: &str, pid: i32) -> bool {
        let pid = pid.to_string();
        self.paths(group).iter().all(|path| {
            let text = fs::read_to_string(path.join("cgroup.procs")).unwrap();
            text.lines().any(|line| line == pid)
        })
    }

    /// Runs glexec in a group, as `pilot`.
    fn start<'s>(&self, site: &'s Site, group: &str, payload: &str) -> Running<'s> {
        let script = format!(
            "{}exec setpriv --reuid {PILOT} --regid {PILOT} --clear-groups $GLEXEC --status-fd=9 sh -c '{payload}'",
            self.join(group)
        );
        let call = site.shell(&script).by("root").with_status();
        call.within_time(Duration::from_secs(20)).start()
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for group in ["own", "job/run", "job/ice", "job", ""] {
            for path in self.paths(group) {
                let thawed = [("cgroup.freeze", "0"), ("freezer.state", "THAWED")];
                for (file, word) in thawed.into_iter().filter(|(file, _)| path.join(file).exists())
                {
                    let _ = fs::write(path.join(file), word);
                }
                for _ in 0..200 {
                    let left = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
                    for pid in left.lines().filter_map(|line| line.parse().ok()) {
                        let _ = harness::raw::kill(pid, libc::SIGKILL);
                    }
                    if fs::remove_dir(&path).is_ok() {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }
}

/// A controller that is switched on for the groups below one, as long as this lives.
struct Switch(PathBuf, String);

impl Switch {
    fn on(group: &Path, controller: &str) -> Option<Self> {
        let file = group.join("cgroup.subtree_control");
        let was = fs::read_to_string(&file).unwrap();
        if was.split_whitespace().any(|name| name == controller) {
            return None;
        }
        fs::write(&file, format!("+{controller}")).unwrap();
        Some(Self(file, format!("-{controller}")))
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = fs::write(&self.0, &self.1);
    }
}

fn wait_until(is: impl Fn() -> bool, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !is() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Where the last epilogue that told its state was, a line for each hierarchy.
fn told_group(site: &Site) -> String {
    let text = site.read(TOLD);
    let state: State = serde_json::from_str(text.lines().last().expect("an epilogue")).unwrap();
    state["cgroup"].clone()
}

fn telling_site() -> Site {
    Site::with_epilogue_script("#!/usr/local/bin/actor state-into\n", "kill_grace = 1")
}

#[test]
fn who_owes_an_epilogue_leaves_a_delegated_group_and_cannot_be_frozen_there() {
    let (groups, site) = (Groups::new(), telling_site());
    let running = groups.start(&site, "job/run", "echo up; sleep 20");
    running.says("up");
    let (glexec, payload) = running.started();
    wait_until(|| groups.holds("", glexec), "glexec leaves");
    assert!(groups.holds("job/run", payload), "the payload stays where the scheduler counts it");
    // The pilot's whole right over its groups.
    for path in groups.paths("job/ice") {
        let steal = format!("echo {glexec} 2>/dev/null >{}/cgroup.procs", path.display());
        assert_ne!(site.shell(&steal).run().code, Some(0), "{steal}");
    }
    // glexec hears what is said to it all the same; the payload hears it once it is thawed.
    groups.freeze("job", true);
    running.signal_by("root", libc::SIGTERM).unwrap();
    groups.freeze("job", false);
    running.wait().exited(143);
    let group = told_group(&site);
    assert!(!group.contains("/job"), "{group}");
    assert!(group.contains(&format!(":/{}", groups.name)), "{group}");
}

#[test]
fn a_group_that_takes_no_processes_is_passed_by() {
    let (groups, site) = (Groups::new(), telling_site());
    let outer = groups.paths("").into_iter().find(|path| path.join("cgroup.type").exists());
    let outer = outer.expect("this machine has no cgroup of version 2");
    let above = outer.parent().unwrap();
    let known = fs::read_to_string(above.join("cgroup.controllers")).unwrap();
    let controller = known.split_whitespace().next().expect("version 2 has no controller here");
    let switches = [Switch::on(above, controller), Switch::on(&outer, controller)];
    let refused = site.shell(&format!("echo $$ >{}/cgroup.procs", outer.display())).by("root");
    assert_ne!(refused.run().code, Some(0), "the group does take processes");
    let ran = groups.start(&site, "job/run", "exit 0").wait();
    ran.exited(0);
    let group = told_group(&site);
    assert!(group.lines().any(|line| line == "0::/"), "the root takes everybody: {group}");
    // Below first.
    switches.into_iter().rev().for_each(drop);
}

#[test]
fn a_group_that_is_roots_alone_is_not_left() {
    let (groups, site) = (Groups::new(), telling_site());
    groups.start(&site, "own", "exit 0").wait().exited(0);
    let group = told_group(&site);
    let own = format!(":/{}/own", groups.name);
    assert_eq!(group.matches(&own).count(), groups.mounts.len(), "{group}");
}

#[test]
fn a_sweep_does_not_run_epilogues_in_a_delegated_group() {
    let (groups, site) = (Groups::new(), telling_site());
    let running = site.glexec(["sh", "-c", "echo up; sleep 20"]).start();
    running.says("up");
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    let sweep = format!("{}exec glexec-admin sweep", groups.join("job/run"));
    site.shell(&sweep).by("root").env("PATH", "/usr/sbin:/usr/bin:/bin").run().exited(0);
    let group = told_group(&site);
    assert!(!group.contains("/job"), "{group}");
}

/// An epilogue that goes into a group of root's, says so, and ends when `go` is there.
fn waiting_epilogue(groups: &Groups, lines: &str) -> Site {
    let script = format!(
        "#!/bin/sh\n{}trap \"exit 0\" TERM\ntouch /var/lib/site/up\nuntil [ -e /var/lib/site/go ]; do sleep 0.02; done\ntouch /var/lib/site/done\n",
        groups.join("own")
    );
    Site::with_epilogue_script(&script, lines)
}

fn is_there(site: &Site, name: &str) -> bool {
    site.path(&format!("/var/lib/site/{name}")).exists()
}

#[test]
fn an_epilogue_that_was_frozen_while_its_time_ran_out_is_owed_and_paid_later() {
    let groups = Groups::new();
    for mount in groups.mounts.clone() {
        let alone = Groups { mounts: vec![mount], name: groups.name.clone() };
        let site = waiting_epilogue(&alone, "epilogue_timeout = 1\nkill_grace = 1");
        let running = site.glexec(["true"]).with_status().start();
        wait_until(|| is_there(&site, "up"), "the epilogue runs");
        alone.freeze("own", true);
        let ran = running.wait();
        alone.freeze("own", false);
        std::mem::forget(alone);
        ran.exited(202);
        assert!(!is_there(&site, "done"), "{ran:#?}");
        assert!(ran.log.iter().any(|line| line.contains("frozen")), "{ran:#?}");
        let entries = fs::read_dir(site.path("/var/lib/glexec")).unwrap().count();
        assert_eq!(entries, 1, "it is still owed: {ran:#?}");
        site.file("/var/lib/site/go", "", 0o644);
        site.program(["/usr/sbin/glexec-admin", "sweep", "--now"]).by("root").run().exited(0);
        assert!(is_there(&site, "done"));
    }
}

#[test]
fn an_epilogue_that_runs_and_takes_too_long_is_timed_out_and_paid_all_the_same() {
    let site = Site::with_epilogue_script("#!/bin/sh\nsleep 20\n", "epilogue_timeout = 1");
    site.glexec(["true"]).run().exited(202);
    assert_eq!(fs::read_dir(site.path("/var/lib/glexec")).unwrap().count(), 0, "{:?}", site.log());
}

#[test]
fn time_that_glexec_was_stopped_is_not_its_epilogues() {
    let groups = Groups::new();
    let site = waiting_epilogue(&groups, "epilogue_timeout = 3");
    let running = groups.start(&site, "own", "exit 0");
    wait_until(|| is_there(&site, "up"), "the epilogue runs");
    // As a scheduler suspends a job: all of it, the epilogue and its supervisor.
    groups.freeze("own", true);
    // Longer than the epilogue may take: its time runs out meanwhile.
    std::thread::sleep(Duration::from_secs(6));
    groups.freeze("own", false);
    std::thread::sleep(Duration::from_millis(300));
    site.file("/var/lib/site/go", "", 0o644);
    let ran = running.wait();
    ran.exited(0);
    assert!(is_there(&site, "done"), "{ran:#?}");
}

#[test]
fn an_epilogue_whose_time_runs_out_before_it_is_executed_is_owed() {
    let site = Site::with(&format!("epilogue = \"{EPILOGUE}\"\nepilogue_timeout = 1"));
    site.install(Path::new("/usr/bin/true"), EPILOGUE, 0o755).unwrap();
    // A program, no script: glexec executes its descriptor, and nothing else by a descriptor.
    let strace = which::which("strace").expect("strace is missing: tests/run installs it");
    let slow = "inject=execveat:delay_enter=8000000";
    let words =
        ["-f", "-qq", "-o", "/dev/null", "-e", slow, "-u", "pilot", harness::GLEXEC, "true"];
    let ran = site.program([strace.to_str().unwrap()]).words(words).by("root").run();
    ran.exited(202);
    let log = ran.log.join("\n");
    assert!(log.contains("was not started") && log.contains("before it was executed"), "{log}");
    assert_eq!(fs::read_dir(site.path("/var/lib/glexec")).unwrap().count(), 1, "{log}");
    site.program(["/usr/sbin/glexec-admin", "sweep", "--now"]).by("root").run().exited(0);
    assert_eq!(fs::read_dir(site.path("/var/lib/glexec")).unwrap().count(), 0);
}
