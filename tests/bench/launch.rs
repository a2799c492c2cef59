//! The first part: what a launch costs, beside its peers.

use crate::caller::Line;
use crate::install::{self, Compiled};
use crate::peers::{EMPTY, OURS, Peer};
use crate::request::Request;
use crate::rounds::{Figures, Way, take_turns};
use crate::statistics::{Dice, Interval, Spread, ratio};
use crate::trace;
use anyhow::{Context as _, Result};
use harness::{EPILOGUE, Site, instructions};
use serde::Serialize;

/// The payloads, and what the tables call them.
const PAYLOADS: [(&str, &str); 2] =
    [(EMPTY, "an empty static program"), ("/bin/true", "/bin/true")];

/// What came of one peer with one payload.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) peer: &'static str,
    pub(crate) base: Option<&'static str>,
    /// Microseconds of the clock, and of the processors.
    pub(crate) wall: Spread,
    pub(crate) cpu: Spread,
    /// How many times its base's, round by round.
    pub(crate) wall_ratio: Option<Interval>,
    pub(crate) cpu_ratio: Option<Interval>,
    /// What part of this one's time a lingering glexec takes.
    pub(crate) ours_of_its_wall: Option<Interval>,
    pub(crate) ours_of_its_cpu: Option<Interval>,
    pub(crate) faults: f64,
    /// The payload's and the epilogue's left out; `None` where they cannot be counted here.
    pub(crate) instructions: Option<u64>,
    pub(crate) calls: Option<usize>,
    /// The exit codes other than 0.
    pub(crate) failures: Vec<u64>,
}

/// What came of one payload.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) payload: &'static str,
    pub(crate) rows: Vec<Row>,
}

/// Measures the peers with each payload.
///
/// # Errors
/// What is missing, a peer that does not do what it should, a launch that hangs.
pub(crate) fn measure(
    request: &Request,
    peers: &[Peer],
    compiled: &Compiled,
    dice: &mut Dice,
) -> Result<Vec<Table>> {
    let site = Site::bare()?;
    install::for_peers(&site, compiled, peers)?;
    let counted: Vec<Option<u64>> =
        peers.iter().map(|peer| instructions_of(&site, peer)).collect::<Result<_>>()?;
    let mut tables = Vec::new();
    for (program, payload) in PAYLOADS {
        let mut calls = Vec::new();
        for peer in peers {
            let known = which::which("strace").is_ok();
            calls.push(known.then(|| trace::count(&site, peer, program)).transpose()?);
        }
        let figures = figures(&site, peers, program, request, dice)?;
        let mut rows = Vec::new();
        for (at, peer) in peers.iter().enumerate() {
            let mut row = row(peer, peers, &figures).with_context(|| peer.name)?;
            row.instructions = counted.get(at).copied().flatten();
            row.calls = calls.get(at).copied().flatten();
            rows.push(row);
        }
        tables.push(Table { payload, rows });
    }
    Ok(tables)
}

fn figures(
    site: &Site,
    peers: &[Peer],
    program: &str,
    request: &Request,
    dice: &mut Dice,
) -> Result<Vec<Figures>> {
    let way = |peer: &Peer| {
        let way = Way::new(peer.name, site, peer.by, Line::of(peer.line(&[program])));
        way.map(|way| way.with_settings(peer.settings))
    };
    let mut ways: Vec<Way> = peers.iter().map(way).collect::<Result<_>>()?;
    take_turns(&mut ways, request.rounds, request.launches, dice)?;
    Ok(ways.into_iter().map(|way| way.figures).collect())
}

/// One peer's row, without what is counted apart; `figures` are in the order of the peers.
fn row(peer: &Peer, peers: &[Peer], figures: &[Figures]) -> Result<Row> {
    let of = |name: &str| {
        let at = peers.iter().position(|peer| peer.name == name);
        at.and_then(|at| figures.get(at))
    };
    let own = of(peer.name).context("it was not measured")?;
    let (base, ours) = (peer.base.and_then(of), of(OURS));
    let spread = |values: &[f64]| Spread::of(values.to_vec()).context("no round was measured");
    Ok(Row {
        peer: peer.name,
        base: peer.base,
        wall: spread(&own.wall)?,
        cpu: spread(&own.cpu)?,
        wall_ratio: base.and_then(|base| ratio(&own.wall, &base.wall)),
        cpu_ratio: base.and_then(|base| ratio(&own.cpu, &base.cpu)),
        ours_of_its_wall: ours.and_then(|ours| ratio(&ours.wall, &own.wall)),
        ours_of_its_cpu: ours.and_then(|ours| ratio(&ours.cpu, &own.cpu)),
        faults: spread(&own.faults)?.middle,
        instructions: None,
        calls: None,
        failures: own.failures.clone(),
    })
}

/// Of a launch of the empty program, which is not counted, nor is the epilogue.
fn instructions_of(site: &Site, peer: &Peer) -> Result<Option<u64>> {
    site.settings(peer.settings);
    let counted = instructions::count(site, peer.by, &peer.line(&[EMPTY]), &[EMPTY, EPILOGUE])?;
    Ok(counted.map(|counted| counted.instructions))
}
