//! An account of a pool, beside a static one, as there are more processes on the host.

use super::ground::{self};
use super::{Beside, Row, Tools};
use crate::peers::AND_EPILOGUE;
use crate::rounds::{Figures, take_turns};
use crate::statistics::{Interval, ratio};
use anyhow::{Context as _, Result, ensure};
use harness::{Site, accounts, raw};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pause};

const ROUNDS: u32 = 40;
const LAUNCHES: u32 = 3;
/// How many processes there are on a large node.
const MANY: usize = 1_500;

/// Processes that do nothing, as long as this is held.
struct Idle(Vec<Pid>);

impl Idle {
    fn start(count: usize) -> Result<Self> {
        let mut idle = Self(Vec::new());
        for _ in 0..count {
            idle.0.push(raw::fork(|| {
                // Where the bench is killed they go, too.
                let _ = raw::control(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64);
                loop {
                    pause();
                }
            })?);
        }
        Ok(idle)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        for pid in &self.0 {
            let _ = waitpid(*pid, None);
        }
    }
}

fn on_the_host() -> Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        count += usize::from(name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()));
    }
    Ok(count)
}

/// As many as there are, and 1,500.
pub(crate) fn measure(tools: &mut Tools) -> Result<Vec<Row>> {
    let fixed = ground::site(tools, AND_EPILOGUE)?;
    let pool = ground::site(tools, "")?;
    pool.config(&format!(
        "[glexec]\nuser_white_list = [\"pilot\"]\nkill_grace = 1\n{AND_EPILOGUE}\n[mapping]\n\
         methods = [\"pool\"]\n[[mapping.pool]]\ncaller = \"pilot\"\naccounts = \"work[001-064]\"\n"
    ));
    let ran = pool.glexec(["/usr/bin/id", "-u"]).run();
    let uid: u32 = ran.output().trim().parse().with_context(|| format!("{ran:?}"))?;
    let work = accounts::WORK + 1..=accounts::WORK + 64;
    ensure!(work.contains(&uid), "the payload is {uid}, not of the pool");
    let few = row(&fixed, &pool, tools)?;
    let here = on_the_host()?;
    ensure!(here < MANY, "there are {here} processes on this host already");
    let idle = Idle::start(MANY - here)?;
    let many = row(&fixed, &pool, tools)?;
    drop(idle);
    Ok(vec![few, many])
}

fn row(fixed: &Site, pool: &Site, tools: &mut Tools) -> Result<Row> {
    let what = format!("pool and epilogue, {} processes on the host", on_the_host()?);
    let mut ways = [
        ground::way(pool, "pool", ground::glexec())?,
        ground::way(fixed, "static", ground::glexec())?,
    ];
    take_turns(&mut ways, ROUNDS, LAUNCHES, tools.dice)?;
    for way in &ways {
        way.all_went_well().with_context(|| what.clone())?;
    }
    let [pool, fixed] = ways.map(|way| way.figures);
    let beside = |of: fn(&Figures) -> &Vec<f64>| Beside {
        ours: Interval::of(of(&pool).clone()),
        base: Interval::of(of(&fixed).clone()),
        ratio: ratio(of(&pool), of(&fixed)),
    };
    let (figure, cpu) = (beside(|figures| &figures.wall), beside(|figures| &figures.cpu));
    Ok(Row { what, beside: "static and epilogue", unit: "us", figure, cpu })
}
