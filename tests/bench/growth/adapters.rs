//! What the schedulers' front programs add to glexec itself. No scheduler is asked: what is
//! measured is the program between its start and its end.

use super::added::{self, Pair, Question};
use super::ground::{self, NOTHING};
use super::{Row, Tools};
use crate::caller::Line;
use crate::peers::{EMPTY, LINGER};
use anyhow::Result;
use harness::LIBEXEC;

const ROUNDS: u32 = 60;

/// Slurm's and HTCondor's.
pub(crate) fn measure(tools: &mut Tools) -> Result<Vec<Row>> {
    let site = ground::site(tools, LINGER)?;
    let mut rows = Vec::new();
    for program in ["glexec-slurm-task", "glexec-condor-wrapper"] {
        let line = Line::of(vec![format!("{LIBEXEC}/{program}"), EMPTY.to_owned()]);
        let pair = Pair {
            plain: ground::way(&site, "glexec", ground::glexec())?,
            grown: ground::way(&site, program, line)?,
        };
        let what = format!("{program} in front of glexec");
        let question = Question { what: &what, beside: NOTHING, rounds: ROUNDS };
        rows.push(added::measure(&question, pair, None, tools)?);
    }
    Ok(rows)
}
