//! What was asked for on the command line.

use anyhow::{Context as _, Result, bail, ensure};
use std::path::PathBuf;

const KNOWN: &str = "known are launch, growth, --rounds N, --launches N, --seed N, --json FILE, \
                     --svg FILE, --without PEER (by the first word of its name)";

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Request {
    /// Whether the peers are to be measured.
    pub(crate) launch: bool,
    /// Whether what grows is to be measured.
    pub(crate) growth: bool,
    pub(crate) rounds: u32,
    pub(crate) launches: u32,
    /// The same seed gives the same order of turns.
    pub(crate) seed: u64,
    pub(crate) json: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) without: Vec<String>,
}

impl Request {
    /// Reads the command line.
    pub(crate) fn read() -> Result<Self> {
        let seed = harness::raw::now_ns() ^ u64::from(std::process::id());
        let (mut launch, mut growth) = (false, false);
        let mut request = Self {
            launch: true,
            growth: true,
            rounds: 300,
            launches: 3,
            seed: seed & 0xffff_ffff,
            json: None,
            svg: None,
            without: Vec::new(),
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "launch" => launch = true,
                "growth" => growth = true,
                _ => {
                    let value = words.next().with_context(|| format!("{word}: {KNOWN}"))?;
                    request.take(&word, value)?;
                }
            }
        }
        if launch || growth {
            (request.launch, request.growth) = (launch, growth);
        }
        let sensible = 1..=1_000;
        ensure!(sensible.contains(&request.rounds), "--rounds: 1 to 1000");
        ensure!(sensible.contains(&request.launches), "--launches: 1 to 1000");
        ensure!(
            !request.growth || !request.leaves_out("glexec"),
            "--without glexec goes with `launch` only: what grows is glexec"
        );
        ensure!(
            request.svg.is_none() || request.launch,
            "--svg draws the peers, and `growth` alone measures none"
        );
        Ok(request)
    }

    fn take(&mut self, word: &str, value: String) -> Result<()> {
        match word {
            "--rounds" => self.rounds = value.parse().context("--rounds")?,
            "--launches" => self.launches = value.parse().context("--launches")?,
            "--seed" => self.seed = value.parse().context("--seed")?,
            "--json" => self.json = Some(value.into()),
            "--svg" => self.svg = Some(value.into()),
            "--without" => self.without.push(value),
            _ => bail!("{word}: {KNOWN}"),
        }
        Ok(())
    }

    /// Whether the peer of this name is not wanted.
    pub(crate) fn leaves_out(&self, name: &str) -> bool {
        self.without.iter().any(|word| name.split(' ').next() == Some(word.as_str()))
    }
}
