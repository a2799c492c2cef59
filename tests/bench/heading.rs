//! What a reader must know before the tables: where and how, what is not there, and what the
//! columns mean.

use crate::peers::Peer;
use crate::request::Request;
use std::path::Path;
use std::process::Command;

const COLUMNS: &str = "\
x C: beside the C program with the same duties (tests/bench/features.c), paired within a round: the
median and the interval that it is in with 95 %. Wall time and CPU (user and system, of every process
of a launch) in microseconds; on a busy machine CPU says more. Page faults: those that read nothing
from a disk. User instructions and system calls are counted in a launch of their own; the payload's
and the epilogue's instructions do not count.
";

/// Line by line.
pub(crate) fn text(request: &Request, peers: &[Peer], missing: &[&str]) -> String {
    let mut text = machine() + &format!("seed {}", request.seed);
    if request.launch {
        let (rounds, launches) = (request.rounds, request.launches);
        text += &format!("; peers: {rounds} rounds in random order, {launches} launches each");
    }
    text += &format!("\n{}\n{}\n", measured_glexec(peers), control_groups());
    for name in missing {
        text += &format!("{name}: not installed here, left out\n");
    }
    if which::which("strace").is_err() {
        text += "strace is not installed: system calls are not counted\n";
    }
    if !cfg!(target_arch = "x86_64") {
        text += "user instructions are counted on x86_64 only\n";
    }
    text + COLUMNS
}

fn one_line(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).map_or_else(|e| e.to_string(), |text| text.trim().to_owned())
}

fn machine() -> String {
    let processor = one_line("/proc/cpuinfo");
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name\t: "));
    format!(
        "{} x {}, Linux {}, load {}\n",
        std::thread::available_parallelism().map_or(0, usize::from),
        processor.unwrap_or("unknown processor"),
        one_line("/proc/sys/kernel/osrelease"),
        one_line("/proc/loadavg"),
    )
}

/// A run that owes something looks at the groups of its caller, one by one.
fn control_groups() -> String {
    let text = one_line("/proc/self/cgroup");
    let groups = text.lines().filter(|line| !line.ends_with(":/"));
    match groups.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "callers are in no control group".to_owned(),
        some => format!("callers are in {some}: a run with an epilogue looks at each"),
    }
}

/// Which build it is, as it says itself.
fn measured_glexec(peers: &[Peer]) -> String {
    if !peers.iter().any(|peer| peer.name == "glexec") {
        return "glexec: left out".to_owned();
    }
    let Some(built) = std::env::var_os("GLEXEC_DIST") else {
        return "glexec: the tests' build (GLEXEC_DIST is not set), slower".to_owned();
    };
    let said = Command::new(Path::new(&built).join("glexec")).arg("--version").output();
    said.map_or_else(
        |error| format!("glexec: its version is not known: {error}"),
        |said| String::from_utf8_lossy(&said.stdout).trim().to_owned(),
    )
}
