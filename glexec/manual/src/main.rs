//! `glexec-manual DIRECTORY DATE`: writes the man pages, the completions and docs/reasons.md into the
//! directory, with the date, as YYYY-MM-DD, in the heads of the pages.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let written = match words.as_slice() {
        [directory, date] => write(Path::new(directory), &date.to_string_lossy()),
        _ => Err("usage: glexec-manual DIRECTORY DATE".to_owned()),
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            let _ = writeln!(std::io::stderr(), "glexec-manual: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &Path, date: &str) -> Result<(), String> {
    let files = manual::pages(date).into_iter().chain(manual::completions());
    for file in files.chain([manual::document()]) {
        let path = directory.join(&file.path);
        let cannot = |error| format!("{} cannot be written: {error}", path.display());
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).map_err(cannot)?;
        }
        fs::write(&path, file.text).map_err(cannot)?;
    }
    Ok(())
}
