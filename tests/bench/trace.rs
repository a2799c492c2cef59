//! How many system calls a launch is, as strace sees it.

use crate::peers::Peer;
use anyhow::{Result, ensure};
use harness::Site;

const OUTPUT: &str = "/tmp/trace";

/// All system calls from the first exec on, every process included.
///
/// # Errors
/// Where it fails under strace, or fewer programs were executed than this peer is there for: then
/// its times are not what the table says they are.
pub(crate) fn count(site: &Site, peer: &Peer, program: &str) -> Result<usize> {
    site.settings(peer.settings);
    let strace = which::which("strace")?.display().to_string();
    // strace is root, or the kernel would ignore the setuid bit.
    let mut words =
        [strace.as_str(), "-f", "-qq", "-o", OUTPUT, "-u", peer.by].map(str::to_owned).to_vec();
    words.extend(peer.line(&[program]));
    let ran = site.program(words).by("root").run();
    ensure!(ran.code == Some(0), "{} under strace: {ran:#?}", peer.name);
    let trace = site.read(OUTPUT);
    let lines =
        || trace.lines().filter_map(|line| line.split_once(' ')).map(|(_, call)| call.trim_start());
    let executed = |call: &&str| call.contains("exec") && call.ends_with(" = 0");
    let programs = lines()
        .filter(|call| call.starts_with("exec") || call.starts_with("<... exec"))
        .filter(executed);
    let programs = programs.count();
    ensure!(
        programs >= peer.programs,
        "{}: {programs} programs ran, not {}: {trace}",
        peer.name,
        peer.programs
    );
    // The rest are the second halves of calls, signals and exits.
    Ok(lines()
        .filter(|call| call.starts_with(|c: char| c.is_ascii_lowercase() || c == '_'))
        .count())
}
