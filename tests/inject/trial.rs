//! One run with one call tampered with, and every promise it may have broken.

use crate::scenario::{ADMIN, COPY, Deed, GRIDMAPDIR, HANDED, Scenario};
use harness::accounts::PILOT;
use harness::tamper::{Fault, Spot, Tampering};
use harness::{ACTOR, Look, Process, Ran, SAW, Site};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

const STATE: &str = "/var/lib/glexec";
const ENDS: &str = "/var/lib/site/ends";
const OVERLAP: &str = "/var/lib/site/overlap";
/// The most that a run may take.
const BOUND: Duration = Duration::from_secs(20);
/// How long after glexec's end something of a run may still be ending.
const SOON: Duration = Duration::from_secs(3);
/// The payload's own exit code.
const OWN: i32 = 7;

/// What must be the same in every run: real to file-system ids, groups, capabilities, signals,
/// umask, and what each descriptor is. The directory may also be `/`, the last that is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    uids: Vec<u32>,
    gids: Vec<u32>,
    groups: Vec<u32>,
    capabilities: Vec<u64>,
    signals: (u64, u64),
    umask: u32,
    directory: String,
    descriptors: BTreeMap<i32, String>,
}

impl Shape {
    fn of(look: &Look) -> Self {
        let kind = |to: &String| to.split(":[").next().unwrap_or_default().to_owned();
        Self {
            uids: look.uids.clone(),
            gids: look.gids.clone(),
            groups: look.groups.clone(),
            capabilities: look.capabilities.clone(),
            signals: (look.blocked, look.ignored),
            umask: look.umask,
            directory: look.directory.clone(),
            descriptors: look.descriptors.iter().map(|(n, to)| (*n, kind(to))).collect(),
        }
    }
}

/// What payload and epilogue are in a run that nobody tampers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    payload: Option<Shape>,
    epilogue: Option<Shape>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The run never came to the spot.
    NotReached,
    /// As if nothing had been.
    Unmoved,
    /// With an exit code of glexec's.
    Stopped,
    /// With a signal, or with what became of a payload that was killed.
    Killed,
}

/// What came of a trial.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) way: Way,
    /// Whether there was something that a sweep had to pay.
    pub(crate) owed: bool,
    /// The promises that were broken.
    pub(crate) wrong: Vec<String>,
    /// What a person looks at then.
    pub(crate) details: String,
    pub(crate) tampering: Tampering,
    pub(crate) planned: Planned,
}

/// A site in which one trial follows the other.
pub(crate) struct Lane<'s> {
    pub(crate) scenario: &'s Scenario,
    number: u32,
    site: Site,
}

impl<'s> Lane<'s> {
    pub(crate) fn new(scenario: &'s Scenario, number: u32) -> Self {
        Self { scenario, number, site: scenario.site(number) }
    }

    fn uid(&self) -> u32 {
        self.scenario.target(self.number)
    }

    /// What is in the state directory, but for locks and the quarantine.
    fn names(&self) -> Vec<String> {
        let list = std::fs::read_dir(self.site.path(STATE)).expect(STATE);
        let names = list.map(|e| e.expect(STATE).file_name().to_string_lossy().into_owned());
        names.filter(|name| name.contains("run.")).collect()
    }

    /// What is owed. What was never finished is no debt: nothing of it ran.
    fn entries(&self) -> Vec<String> {
        self.names().into_iter().filter(|name| !name.starts_with("new.")).collect()
    }

    fn reset(&self) {
        self.site.end_all();
        for path in [SAW, ENDS, OVERLAP] {
            let _ = std::fs::remove_file(self.site.path(path));
        }
        for name in self.names() {
            let _ = std::fs::remove_file(self.site.path(&format!("{STATE}/{name}")));
        }
        for lease in self.leases() {
            std::fs::remove_file(lease).expect("a lease");
        }
        for left in [".glexec.new", ".glexec.old"] {
            let _ = std::fs::remove_file(self.site.path(&format!("{GRIDMAPDIR}/{left}")));
        }
        let _ = self.site.shell(&format!("rm -f {COPY} {COPY}.*")).by("root").run();
        if self.scenario.hands_over {
            let _ = std::fs::remove_dir_all(self.site.path("/var/lib/site/scratch"));
            self.site.directory("/var/lib/site/scratch", (PILOT, PILOT), 0o755);
            self.site.directory(HANDED, (PILOT, PILOT), 0o700);
            self.site.directory(&format!("{HANDED}/sub"), (PILOT, PILOT), 0o700);
            for name in ["f", "sub/g"] {
                let path = format!("{HANDED}/{name}");
                self.site.file(&path, "of the caller\n", 0o600);
                self.site.own(&path, (PILOT, PILOT));
            }
        }
    }

    /// The leases in the gridmapdir.
    fn leases(&self) -> Vec<std::path::PathBuf> {
        let list = std::fs::read_dir(self.site.path(GRIDMAPDIR)).into_iter().flatten();
        let paths = list.map(|entry| entry.expect(GRIDMAPDIR).path());
        paths.filter(|path| path.to_string_lossy().contains('%')).collect()
    }

    fn has_half_a_lease(&self) -> bool {
        let half = |name: &str| self.site.path(&format!("{GRIDMAPDIR}/{name}")).exists();
        half(".glexec.new") || half(".glexec.old")
    }

    /// A run whose glexec is killed while the payload runs.
    fn make_a_debt(&self) {
        let call = self.scenario.variables(self.site.glexec([ACTOR, "toil"]));
        let running = call.env("GLEXEC_STAY", "1").start();
        running.says("}\n");
        running.signal_by("root", libc::SIGKILL).expect("it runs");
        running.wait();
        assert_eq!(self.entries().len(), 1, "a debt");
        if !self.scenario.leaves {
            assert!(self.gone(|| self.site.processes_of(self.uid())).is_empty());
        }
    }

    /// Waits until these processes are gone; gives those that are not.
    fn gone<T>(&self, which: impl Fn() -> Vec<T>) -> Vec<T> {
        let until = Instant::now() + SOON;
        loop {
            let left = which();
            if left.is_empty() || Instant::now() > until {
                return left;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// One run, the sweep after it, and what was wrong with them.
    pub(crate) fn trial(&self, spot: Option<&Spot>) -> Verdict {
        self.reset();
        if self.scenario.deed != Deed::Run {
            self.make_a_debt();
        }
        let (who, words) = self.scenario.words();
        let mut call = self.site.tamper(spot, who, &words).within_time(BOUND);
        if self.scenario.deed == Deed::Run {
            call = self.scenario.variables(call);
        }
        let running = call.start();
        let mut judge = Judge::new(self, spot);
        if !running.ends_in_time() {
            let state = self.state();
            judge.wrong(format!("it hung: {state}"));
            self.site.end_all();
        }
        judge.take(&running.wait());
        judge.processes();
        judge.epilogues_so_far();
        judge.owed = !self.entries().is_empty();
        judge.code();
        if judge.owed || judge.not_given_back().is_some() {
            judge.sweep();
        }
        judge.in_the_end();
        judge.verdict()
    }

    /// Every process of the site, for a person.
    fn state(&self) -> String {
        let of = |pid: &i32| {
            let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
            let call = read("syscall").unwrap_or_default();
            let p = Process::of(*pid);
            p.map(|p| {
                let words = read("cmdline").unwrap_or_default().replace('\0', " ");
                format!("{} {} uids {:?} {} call {}", p.pid, p.state, p.uids, words, call.trim())
            })
        };
        self.site.processes().iter().filter_map(of).collect::<Vec<_>>().join("; ")
    }
}

struct Judge<'l> {
    lane: &'l Lane<'l>,
    spot: Option<&'l Spot>,
    wrong: Vec<String>,
    tampering: Tampering,
    ran: Option<Ran>,
    payload: Option<Look>,
    /// Epilogues that had come to their end before a sweep.
    ends: usize,
    owed: bool,
    swept: String,
}

impl<'l> Judge<'l> {
    fn new(lane: &'l Lane<'l>, spot: Option<&'l Spot>) -> Self {
        Self {
            lane,
            spot,
            wrong: Vec::new(),
            tampering: Tampering::default(),
            ran: None,
            payload: None,
            ends: 0,
            owed: false,
            swept: String::new(),
        }
    }

    fn wrong(&mut self, what: impl Into<String>) {
        self.wrong.push(what.into());
    }

    fn scenario(&self) -> &'l Scenario {
        self.lane.scenario
    }

    /// Whether the first process itself was killed, or died as the language's runtime has it:
    /// without memory, or in its start-up code. That is as good as a kill, and no better.
    fn may_die(&self) -> bool {
        self.spot.is_some_and(|spot| {
            spot.process == self.scenario().main()
                && (matches!(spot.fault, Fault::Kill | Fault::Crash) || is_of_the_runtime(spot))
        })
    }

    fn take(&mut self, ran: &Ran) {
        match self.lane.site.tampering() {
            Some(tampering) => self.tampering = tampering,
            None if self.wrong.is_empty() => self.wrong(format!("no report: {ran:?}")),
            None => {}
        }
        let (output, error) = (ran.output(), ran.error());
        if self.scenario().deed == Deed::Run {
            let lines: Vec<&str> = output.lines().collect();
            match lines[..] {
                [] => {}
                [line] => match serde_json::from_str(line) {
                    Ok(look) => self.payload = Some(look),
                    Err(_) => self.wrong(format!("on stdout: {line}")),
                },
                _ => self.wrong(format!("on stdout: {output}")),
            }
        }
        let spoken = error.lines().all(|line| line.starts_with("[gLExec]: "));
        let of_glexec = self.scenario().main() == "glexec";
        let runtime = self.spot.is_some_and(is_of_the_runtime);
        let panicked = error.contains("panicked");
        if !runtime && (panicked || (of_glexec && (!spoken || error.lines().count() > 2))) {
            self.wrong(format!("on stderr: {error}"));
        }
        self.ran = Some(ran.clone());
    }

    fn processes(&mut self) {
        let Scenario { leaves, pool, deed, .. } = *self.scenario();
        let unended = deed != Deed::Run || self.tampering.signal.is_some();
        // Daemons that a killed glexec leaves: in an account that was its own the sweep ends them, in
        // one that others may use, too, they live on.
        let daemons = leaves && unended;
        let target = self.lane.uid();
        let is_daemon = |pid: &i32| Process::of(*pid).is_none_or(|p| p.uids.contains(&target));
        let left = self.lane.gone(|| {
            let mut left = self.lane.site.processes();
            left.retain(|pid| !(daemons && is_daemon(pid)));
            left
        });
        if !left.is_empty() {
            let state = self.lane.state();
            self.wrong(format!("left behind: {state}"));
        }
        if !(daemons && pool) {
            self.lane.site.end_all();
        }
    }

    fn ends_now(&self) -> usize {
        self.lane.site.read(ENDS).lines().count()
    }

    fn epilogues_so_far(&mut self) {
        self.ends = self.ends_now();
    }

    fn struck_a_child(&self) -> bool {
        self.spot.is_some_and(|spot| spot.process != self.scenario().main())
    }

    fn code(&mut self) {
        let (code, signal) = (self.tampering.code, self.tampering.signal);
        let killed = self.spot.is_some_and(|spot| spot.fault == Fault::Kill);
        let dead = killed && self.struck_a_child() && self.payload.is_none();
        let fits = match (self.scenario().deed, code) {
            (_, None) => self.may_die() || signal.is_none(),
            (Deed::Run, Some(OWN)) => self.payload.is_some(),
            (Deed::Run, Some(126 | 127)) => self.payload.is_none(),
            (Deed::Run, Some(137)) => dead,
            // Without its messenger it takes its caller for gone, and asks the payload to end.
            (Deed::Run, Some(143)) => self.scenario().wires && self.struck_a_child(),
            (Deed::Run | Deed::Settle, Some(201..=203)) => true,
            (Deed::Sweep, Some(1..=3 | 127)) => true,
            (Deed::Sweep | Deed::Settle, Some(0)) => {
                if self.owed {
                    self.wrong("it says that nothing is owed, and something is");
                }
                true
            }
            _ => false,
        };
        if !fits {
            let seen = if self.payload.is_some() { "ran" } else { "did not run" };
            self.wrong(format!("exit {code:?}, signal {signal:?}, and the payload {seen}"));
        }
        let says_paid = matches!(
            (self.scenario().deed, code),
            (Deed::Run, Some(OWN)) | (Deed::Sweep | Deed::Settle, Some(0))
        );
        if says_paid && self.scenario().epilogue && self.ends == 0 {
            self.wrong(format!("exit {code:?}, and no epilogue has come to its end"));
        }
        let ran = self.payload.is_some() || self.scenario().deed != Deed::Run;
        if ran && self.scenario().epilogue && self.ends == 0 && !self.owed {
            self.wrong("the epilogue is lost: none ended, and nothing is owed");
        }
        if self.ends > 1 {
            self.wrong(format!("{} epilogues without a debt in between", self.ends));
        }
    }

    fn not_given_back(&self) -> Option<String> {
        if !self.scenario().hands_over {
            return None;
        }
        let mut odd = Vec::new();
        not_of(PILOT, &self.lane.site.path(HANDED), &mut odd);
        for name in ["f", "sub/g"] {
            if self.lane.site.read(&format!("{HANDED}/{name}")) != "of the caller\n" {
                odd.push(format!("{name} has changed"));
            }
        }
        (!odd.is_empty()).then(|| odd.join(", "))
    }

    fn sweep(&mut self) {
        if let (false, Some(what)) = (self.owed, self.not_given_back()) {
            self.wrong(format!("not given back, and nothing is owed: {what}"));
        }
        let sweep = self.lane.site.program([ADMIN, "sweep", "--now"]).by("root");
        let running = sweep.within_time(BOUND).start();
        if !running.ends_in_time() {
            let state = self.lane.state();
            self.wrong(format!("the sweep hung: {state}"));
            self.lane.site.end_all();
        }
        let ran = running.wait();
        self.swept = format!("{}{}", ran.output(), ran.error());
        let left = self.lane.entries();
        if ran.code != Some(0) || !left.is_empty() {
            let said = self.swept.clone();
            self.wrong(format!("a clean sweep does not pay: {:?} {said:?}, {left:?}", ran.code));
        }
    }

    fn in_the_end(&mut self) {
        let ran = self.payload.is_some() || self.owed;
        if ran && self.scenario().epilogue && self.ends_now() == 0 {
            self.wrong("no epilogue has come to its end, not by a sweep either");
        }
        if let Some(what) = self.not_given_back() {
            self.wrong(format!("not given back: {what}"));
        }
        if self.scenario().by_credential {
            self.next_has_its_account();
        }
        let leases = self.lane.leases();
        let names = |path: &std::path::PathBuf| path.metadata().expect("a lease").nlink();
        if leases.len() > 1 || leases.iter().any(|lease| names(lease) != 2) {
            self.wrong(format!("an account of two subjects, or of none: {leases:?}"));
        }
        let tmp = std::fs::read_dir(self.lane.site.path("/tmp")).expect("/tmp");
        let names = tmp.map(|entry| entry.expect("/tmp").path().to_string_lossy().into_owned());
        let left: Vec<String> = names.filter(|path| path.contains(COPY)).collect();
        if !left.is_empty() {
            self.wrong(format!("a proxy is left behind: {left:?}"));
        }
        let overlap = self.lane.site.read(OVERLAP);
        if !overlap.is_empty() {
            self.wrong(format!("two epilogues at a time: {overlap}"));
        }
        let left = self.lane.gone(|| self.lane.site.processes());
        if !left.is_empty() {
            let state = self.lane.state();
            self.wrong(format!("left behind in the end: {state}"));
        }
    }

    /// Whatever was interrupted while a lease was made: the subject's next run has one.
    fn next_has_its_account(&mut self) {
        if self.lane.leases().is_empty() && !self.lane.has_half_a_lease() {
            return;
        }
        let call = self.scenario().variables(self.lane.site.glexec([ACTOR, "exit", "7"]));
        let ran = call.within_time(BOUND).run();
        if ran.code != Some(OWN) || self.lane.has_half_a_lease() {
            self.wrong(format!("the next run of the subject: {ran:?}"));
        }
    }

    fn verdict(self) -> Verdict {
        let way = match (self.tampering.code, self.tampering.signal) {
            _ if self.spot.is_some() && self.tampering.struck.is_none() => Way::NotReached,
            (Some(0 | OWN), _) => Way::Unmoved,
            (Some(137 | 143), _) | (_, Some(_)) => Way::Killed,
            _ => Way::Stopped,
        };
        let looks = self.lane.site.epilogues();
        let mut shapes: Vec<Shape> = looks.iter().map(Shape::of).collect();
        shapes.dedup();
        let mut wrong = self.wrong;
        if shapes.len() > 1 {
            wrong.push(format!("epilogues that differ: {shapes:?}"));
        }
        let planned =
            Planned { payload: self.payload.as_ref().map(Shape::of), epilogue: shapes.pop() };
        let log = self.ran.iter().flat_map(|ran| ran.log.iter().rev().take(5).rev());
        let log: Vec<&str> = log.map(String::as_str).collect();
        let error = self.ran.as_ref().map(Ran::error).unwrap_or_default();
        let details = format!(
            "struck {}\n    code {:?} signal {:?}, ends {}, owed {}\n    stderr {error:?}\n    sweep {:?}\n    log {log:#?}",
            self.tampering.struck.as_deref().unwrap_or("nothing"),
            self.tampering.code,
            self.tampering.signal,
            self.ends,
            self.owed,
            self.swept,
        );
        Verdict { way, owed: self.owed, wrong, details, tampering: self.tampering, planned }
    }
}

/// Whether the language's runtime makes the call and ends the process where it fails.
fn is_of_the_runtime(spot: &Spot) -> bool {
    let memory = ["mmap", "brk", "mprotect", "mremap"];
    memory.contains(&spot.call.as_str()) || (spot.call == "poll" && spot.nth == 1)
}

/// What below a path belongs to somebody else.
fn not_of(uid: u32, path: &Path, odd: &mut Vec<String>) {
    let Ok(meta) = std::fs::symlink_metadata(path) else {
        odd.push(format!("{} cannot be seen", path.display()));
        return;
    };
    if meta.uid() != uid || meta.gid() != uid {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        odd.push(format!("{name} is {}:{}'s", meta.uid(), meta.gid()));
    }
    if meta.is_dir() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            not_of(uid, &entry.path(), odd);
        }
    }
}

impl Verdict {
    /// Whatever payload or epilogue saw that is not as it is without tampering.
    pub(crate) fn compare(&mut self, planned: &Planned) {
        let pairs = [
            ("payload", &self.planned.payload, &planned.payload),
            ("epilogue", &self.planned.epilogue, &planned.epilogue),
        ];
        for (who, seen, want) in pairs {
            let mut seen = seen.clone();
            if let (Some(seen), Some(want)) = (&mut seen, want) {
                if seen.directory == "/" {
                    seen.directory.clone_from(&want.directory);
                }
            }
            if seen.is_some() && seen != *want {
                self.wrong.push(format!("the {who} is {seen:?}, planned {want:?}"));
            }
        }
    }

    /// A run that was not tampered with: everything happened, as the target and as root.
    pub(crate) fn is_clean(&self, lane: &Lane<'_>) -> Result<(), String> {
        let scenario = lane.scenario;
        let want = if scenario.deed == Deed::Run { OWN } else { 0 };
        let uid = lane.uid();
        let payload = self.planned.payload.as_ref();
        let of_the_target = payload.is_none_or(|p| p.uids == [uid; 4] && p.gids == [uid; 4]);
        let seen = payload.is_some() == (scenario.deed == Deed::Run);
        let ended = self.planned.epilogue.is_some() == scenario.epilogue;
        let fits = self.tampering.code == Some(want) && of_the_target && seen && ended;
        if fits && self.wrong.is_empty() && !self.owed {
            return Ok(());
        }
        Err(format!("{:?} {:?}\n    {}", self.wrong, self.planned, self.details))
    }
}
