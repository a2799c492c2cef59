//! bench: what a launch costs. Runs glexec, a C program with the same duties, sudo and nothing at
//! all turn and turn about, and prints a table for each payload.
//!
//! The machine may be slow and busy: what holds are the ratios, each taken within one round.

mod caller;
mod peers;
mod statistics;
mod table;
mod trace;

use anyhow::{Context as _, Result, bail, ensure};
use caller::Caller;
use harness::Site;
use peers::Peer;
use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;

/// The payloads, and what the tables call them.
const PAYLOADS: [(&str, &str); 2] =
    [(peers::EMPTY, "an empty static program"), ("/bin/true", "/bin/true")];

/// What was asked for.
#[derive(Debug)]
struct Request {
    rounds: u32,
    launches: u32,
    without: Vec<String>,
}

/// What came of one peer with one payload.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) peer: &'a Peer,
    /// Microseconds, round by round.
    pub(crate) rounds: Vec<Vec<f64>>,
    /// The codes other than 0.
    pub(crate) failures: Vec<u64>,
    pub(crate) calls: Option<usize>,
}

fn main() -> ExitCode {
    match bench() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(stderr(), "bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether no launch failed.
fn bench() -> Result<bool> {
    let request = Request::read()?;
    let peers = Peer::chosen(&request.without);
    let site = Site::bare()?;
    peers::install(&site, &peers)?;
    peers.iter().try_for_each(|peer| peer.prove(&site))?;
    write!(stdout(), "{}", request.heading(&peers))?;
    let mut good = true;
    for (program, title) in PAYLOADS {
        let rows = measure(&site, &peers, program, &request)?;
        table::write(&mut stdout(), title, &rows)?;
        for row in rows.iter().filter(|row| !row.failures.is_empty()) {
            writeln!(stdout(), "FAILED: {}: exit codes {:?}", row.peer.name, row.failures)?;
            good = false;
        }
    }
    Ok(good)
}

/// Rounds in which everybody has a turn, each time somebody else the first.
fn measure<'a>(
    site: &Site,
    peers: &'a [Peer],
    program: &str,
    request: &Request,
) -> Result<Vec<Row<'a>>> {
    let row = |peer| Row { peer, rounds: Vec::new(), failures: Vec::new(), calls: None };
    let mut rows: Vec<Row> = peers.iter().map(row).collect();
    if which::which("strace").is_ok() {
        for row in &mut rows {
            row.calls = Some(trace::count(site, row.peer, program)?);
        }
    }
    let lines: Vec<_> = peers.iter().map(|peer| peer.line(&[program])).collect();
    let mut caller = Caller::start(site, &lines)?;
    let mut settings = "";
    for round in 0..usize::try_from(request.rounds)? {
        for turn in 0..rows.len() {
            let at = (round + turn) % peers.len();
            let Some(row) = rows.get_mut(at) else { continue };
            if settings != row.peer.settings {
                settings = row.peer.settings;
                site.settings(settings);
            }
            let launches = caller.launch(at, request.launches).context(row.peer.name)?;
            row.failures
                .extend(launches.iter().map(|launch| launch.code).filter(|code| *code != 0));
            row.rounds
                .push(launches.iter().map(|launch| launch.nanoseconds as f64 / 1000.0).collect());
        }
    }
    Ok(rows)
}

impl Request {
    fn read() -> Result<Self> {
        let mut request = Self { rounds: 60, launches: 5, without: Vec::new() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let known = "known are --rounds N, --launches N, --without glexec|sudo";
            let value = words.next().with_context(|| format!("{word}: {known}"))?;
            match word.as_str() {
                "--rounds" => request.rounds = value.parse().context(word)?,
                "--launches" => request.launches = value.parse().context(word)?,
                "--without" => request.without.push(value),
                _ => bail!("{word}: {known}"),
            }
        }
        let sensible = 1..=1_000;
        ensure!(sensible.contains(&request.rounds), "--rounds: 1 to 1000");
        ensure!(sensible.contains(&request.launches), "--launches: 1 to 1000");
        for word in &request.without {
            ensure!(["glexec", "sudo"].contains(&word.as_str()), "--without: glexec or sudo");
        }
        Ok(request)
    }

    /// Where and how, and what is not there.
    fn heading(&self, peers: &[Peer]) -> String {
        let one_line =
            |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let processor = one_line("/proc/cpuinfo");
        let processor = processor.lines().find_map(|line| line.strip_prefix("model name\t: "));
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let mut text = format!(
            "{} rounds of {} launches each; {} x {}, Linux {}\n",
            self.rounds,
            self.launches,
            cores,
            processor.unwrap_or("unknown processor"),
            one_line("/proc/sys/kernel/osrelease")
        );
        let measured = |name: &str| peers.iter().any(|peer| peer.name == name);
        let flavour = std::env::var("GLEXEC_DIST").map(|dist| one_line(&format!("{dist}/flavour")));
        text += &match (measured("glexec"), flavour) {
            (true, Ok(flavour)) => format!("glexec: {flavour}\n"),
            (true, Err(_)) => {
                "glexec: the tests' build (GLEXEC_DIST is not set), slower\n".to_owned()
            }
            (false, _) => "glexec: left out\n".to_owned(),
        };
        if !measured("sudo") {
            text += "sudo: left out, or not installed\n";
        }
        if which::which("strace").is_err() {
            text += "strace is not installed: system calls are not counted\n";
        }
        text + "x C: paired median ratio [p10..p90] to the C program with the same duties; sudo to C linger\n"
    }
}
