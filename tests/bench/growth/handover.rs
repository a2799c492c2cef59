//! A directory that changes hands twice, beside two chown -hR.

use super::added::{self, Pair, Question};
use super::ground;
use super::{Row, Tools};
use crate::caller::Line;
use crate::peers::LINGER;
use crate::rounds::Way;
use anyhow::{Context as _, Result};
use harness::{Site, accounts};
use std::os::unix::fs::chown;

const ROUNDS: u32 = 8;
const FILES: u32 = 10_000;
/// Files of one directory; the others are in further ones.
const OF_A_DIRECTORY: u32 = 100;

/// A directory of pilot's with so many files in directories.
fn fill(site: &Site, path: &str, files: u32) -> Result<()> {
    let pilot = (accounts::PILOT, accounts::PILOT);
    site.directory(path, pilot, 0o755);
    for n in 0..files {
        let directory = format!("{path}/d{}", n / OF_A_DIRECTORY);
        if n % OF_A_DIRECTORY == 0 {
            site.directory(&directory, pilot, 0o755);
        }
        let file = site.path(&format!("{directory}/f{n}"));
        std::fs::write(&file, "x").with_context(|| file.display().to_string())?;
        chown(&file, Some(pilot.0), Some(pilot.1))?;
    }
    Ok(())
}

/// Added by 10,000 files to a directory without any.
pub(crate) fn measure(tools: &mut Tools) -> Result<Vec<Row>> {
    let site = ground::site(tools, &format!("{LINGER}\nhand_over = [\"SCRATCH\"]"))?;
    for (path, files) in [("none", 0), ("ours", FILES), ("theirs", FILES)] {
        fill(&site, &format!("/tmp/{path}"), files)?;
    }
    let glexec = |directory: &str| {
        let line =
            Line { variables: vec![format!("SCRATCH=/tmp/{directory}")], ..ground::glexec() };
        ground::way(&site, directory, line)
    };
    let chown = |directory: &str| {
        let text = format!(
            "chown -hR payload1:payload1 /tmp/{directory} && chown -hR pilot:pilot /tmp/{directory}"
        );
        let words = ["/bin/sh", "-c", text.as_str()].map(str::to_owned).to_vec();
        Way::new(directory, &site, "root", Line::of(words))
    };
    let ours = Pair { plain: glexec("none")?, grown: glexec("ours")? };
    let base = Pair { plain: chown("none")?, grown: chown("theirs")? };
    let what = "hand_over of 10,000 files on a tmpfs, there and back";
    let question = Question { what, beside: "two chown -hR", rounds: ROUNDS };
    Ok(vec![added::measure(&question, ours, Some(base), tools)?])
}
