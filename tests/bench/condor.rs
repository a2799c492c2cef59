//! bench-condor: what wrapper and hooks add to a job of HTCondor's: the same jobs one after another
//! in pools of one processor, with and without them.

#![allow(clippy::expect_used)]

use harness::{Ad, JobId, Pool};
use std::io::{Write as _, stdout};
use std::time::{Duration, Instant};

const JOBS: u32 = 8;
const TURNS: u32 = 3;
const ONE: &str = "NUM_CPUS = 1\n";
const HOOKS: &str = include_str!("../../conf/condor/50-glexec.config");
const PILOTS_HOOKS: &str = include_str!("../../conf/condor/50-glexec-pilot.config");
const GLEXEC: &str = include_str!("../../conf/condor/glexec.toml.condor");

const GLEXEC_COPY: &str = include_str!("../../conf/condor/glexec.toml.condor-copy");

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

/// A pool of this kind with glexec, and the sandbox handed over or copied.
fn hooked(plain: fn(&str) -> Pool, hooks: &str, copy: bool) -> Pool {
    let pool = plain(&format!("{ONE}{hooks}"));
    pool.install_glexec(if copy { GLEXEC_COPY } else { GLEXEC });
    let pilot = harness::accounts::PILOT;
    pool.directory("/home/pilot", (pilot, pilot), 0o711);
    if copy {
        pool.file("/etc/glexec-condor.toml", "[sandbox]\nway = \"copy\"\n", 0o644);
        pool.directory("/var/spool/glexec-condor", (0, 0), 0o1777);
    }
    pool
}

fn main() {
    let mut out = stdout();
    for (name, plain, hooks) in [
        ("root's daemons", Pool::root as fn(&str) -> Pool, HOOKS),
        ("a pilot's", Pool::pilot, PILOTS_HOOKS),
    ] {
        let pools = [
            ("without hooks", plain(ONE), None),
            ("with them, the sandbox handed over", hooked(plain, hooks, false), Some("payload1")),
            ("with them, the sandbox copied", hooked(plain, hooks, true), Some("payload1")),
        ];
        // Turn and turn about, the first turn for warmth.
        let mut sums = [0.0; 3];
        for turn in 0..=TURNS {
            for (sum, (_, pool, target)) in sums.iter_mut().zip(&pools) {
                let seconds = measured(pool, *target);
                *sum += if turn == 0 { 0.0 } else { seconds };
            }
        }
        let per_job = sums.map(|sum| sum / f64::from(TURNS * JOBS));
        for ((what, ..), seconds) in pools.iter().zip(per_job) {
            let (more, ratio) = (seconds - per_job[0], seconds / per_job[0]);
            writeln!(out, "{name}, {what}: {seconds:.3} s a job, {more:+.3} s (x{ratio:.2})")
                .expect("stdout");
        }
    }
}
