//! Sites to measure in, and ways to launch there.

use super::Tools;
use crate::caller::Line;
use crate::peers::{EMPTY, FEATURES};
use crate::rounds::Way;
use anyhow::Result;
use harness::{GLEXEC, Site};

/// The C program's comparison, as the table calls it.
pub(crate) const C_LINGER: &str = "C linger";
/// The same with an epilogue.
pub(crate) const C_EPILOGUE: &str = "C linger epilogue";
/// Where there is nothing that does the same.
pub(crate) const NOTHING: &str = "-";

/// A site with glexec, the C programs, an epilogue that does nothing, and these lines in `[glexec]`.
///
/// # Errors
/// Where this machine does not allow one.
pub(crate) fn site(tools: &Tools, settings: &str) -> Result<Site> {
    let site = Site::bare()?;
    site.install_built()?;
    tools.compiled.furnish(&site, "empty")?;
    site.settings(settings);
    Ok(site)
}

/// A line that has glexec run the empty payload.
pub(crate) fn glexec() -> Line {
    Line::of([GLEXEC, EMPTY].map(str::to_owned).to_vec())
}

/// A line that has the C program run it; `way` is the program's first word.
pub(crate) fn features(way: &str) -> Line {
    Line::of([FEATURES, way, EMPTY].map(str::to_owned).to_vec())
}

/// Pilot's way to run a line.
///
/// # Errors
/// Where no caller can be started.
pub(crate) fn way<'a>(site: &'a Site, name: &str, line: Line) -> Result<Way<'a>> {
    Way::new(name, site, "pilot", line)
}
