//! bench-condor: what wrapper and hooks add to a job of HTCondor's: the same jobs one after another
//! in pools of one processor, with and without them.

#![allow(clippy::expect_used)]

use harness::{Ad, JobId, Pool};
use std::io::{Write as _, stdout};
use std::time::{Duration, Instant};

const JOBS: u32 = 8;
const ONE: &str = "NUM_CPUS = 1\n";
const HOOKS: &str = include_str!("../../conf/condor/50-glexec.config");
const PILOTS_HOOKS: &str = include_str!("../../conf/condor/50-glexec-pilot.config");
const GLEXEC: &str = include_str!("../../conf/condor/glexec.toml.condor");

/// Seconds for all jobs, run as `target` where there are hooks.
fn measured(pool: &Pool, target: Option<&str>) -> f64 {
    let text = format!(
        "executable = /bin/true\ntransfer_executable = False\nshould_transfer_files = YES\n\
         when_to_transfer_output = ON_EXIT\noutput = o.$(Process)\nerror = e.$(Process)\n\
         request_cpus = 1\nrequest_memory = 16\nrequest_disk = 1024\nqueue {JOBS}"
    );
    let begin = Instant::now();
    let first = pool.submit("pilot", &text);
    for process in 0..JOBS {
        let ad =
            pool.wait_for(JobId { process, ..first }, Ad::is_completed, Duration::from_secs(120));
        assert_eq!(ad.number("ExitCode"), Some(0), "{ad:?}");
        assert_eq!(ad.get("GlexecTargetUser"), target, "{ad:?}");
    }
    begin.elapsed().as_secs_f64()
}

fn main() {
    let mut out = stdout();
    for (name, plain, hooked) in [
        ("root's daemons", Pool::root as fn(&str) -> Pool, HOOKS),
        ("a pilot's", Pool::pilot, PILOTS_HOOKS),
    ] {
        let (bare, ours) = (plain(ONE), plain(&format!("{ONE}{hooked}")));
        ours.install_glexec(GLEXEC);
        let pilot = harness::accounts::PILOT;
        ours.directory("/home/pilot", (pilot, pilot), 0o711);
        // Turn and turn about, the first turn for warmth.
        let mut turns: Vec<(f64, f64)> =
            (0..3).map(|_| (measured(&bare, None), measured(&ours, Some("payload1")))).collect();
        turns.remove(0);
        let per_job =
            |all: Vec<f64>| all.iter().sum::<f64>() / (all.len() as f64) / f64::from(JOBS);
        let without = per_job(turns.iter().map(|turn| turn.0).collect());
        let with = per_job(turns.iter().map(|turn| turn.1).collect());
        writeln!(
            out,
            "{name}: {without:.3} s a job without hooks, {with:.3} s with them, {:+.3} s (x{:.2})",
            with - without,
            with / without
        )
        .expect("stdout");
    }
}
