//! What the caller reads.

use std::io::Write as _;

/// One line on stderr. Nobody reading is no fault.
pub(super) fn complain(line: &str) {
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Text on stdout; false where it did not get there.
pub fn print(text: &str) -> bool {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// `-v`.
pub fn version() -> String {
    let build = option_env!("GLEXEC_BUILD").unwrap_or("built by hand");
    format!("glexec {} ({build})\n", env!("CARGO_PKG_VERSION"))
}

/// `-V`, in the original's form.
pub fn paths(names: &[(&str, &str)]) -> String {
    names.iter().map(|(name, path)| format!("{name}=\"{path}\"\n")).collect()
}
