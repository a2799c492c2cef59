//! A state directory in which another caller has many entries.

use super::added::{self, Pair, Question};
use super::ground::{self, NOTHING};
use super::{Row, Tools};
use crate::peers::AND_EPILOGUE;
use anyhow::{Context as _, Result};
use harness::Site;

const ROUNDS: u32 = 60;
const ENTRIES: u32 = 5_000;
const STATE: &str = "/var/lib/glexec";

/// 5,000 entries of somebody else's.
pub(crate) fn measure(tools: &mut Tools) -> Result<Vec<Row>> {
    let (plain, grown) = (ground::site(tools, AND_EPILOGUE)?, ground::site(tools, AND_EPILOGUE)?);
    fill(&grown)?;
    let what = "5,000 state entries of another caller's, with epilogue (the C program has none)";
    let question = Question { what, beside: NOTHING, rounds: ROUNDS };
    let pair = Pair {
        plain: ground::way(&plain, "plain", ground::glexec())?,
        grown: ground::way(&grown, "grown", ground::glexec())?,
    };
    Ok(vec![added::measure(&question, pair, None, tools)?])
}

/// A run of busy's writes an entry; the others are its copies, of other processes by their names.
fn fill(site: &Site) -> Result<()> {
    let run = site.glexec(["/bin/sleep", "60"]).by("busy").with_status().start();
    run.started();
    let mut entry = None;
    for file in std::fs::read_dir(site.path(STATE))? {
        let name = file?.file_name().to_string_lossy().into_owned();
        if name.starts_with("run.") {
            entry = Some(name);
        }
    }
    let entry = entry.context("a run with an epilogue has no entry in the state directory")?;
    let (begin, _) = entry.rsplit_once('.').context("an entry's name has no dot")?;
    let text = site.read(&format!("{STATE}/{entry}"));
    for n in 0..ENTRIES {
        site.file(&format!("{STATE}/{begin}.{n}"), &text, 0o600);
    }
    Ok(())
}
