//! The man pages and the completions, out of the tables that the programs themselves go by: a key, an
//! option, a reason or a variable that is new there is new here.
#![forbid(unsafe_code)]

mod admin_page;
mod completions;
mod configuration;
mod epilogue;
mod launcher;
mod roff;
mod schedulers;
mod tools;

pub use completions::completions;
pub use roff::shown;

use ::tools::about::{MKGLTEMPDIR, UNWRAP, WRAP};
use std::path::PathBuf;

/// A file that is to be written.
#[derive(Debug)]
pub struct File {
    /// Where, below the directory that is asked for.
    pub path: PathBuf,
    /// What.
    pub text: String,
}

/// docs/reasons.md, as `reasons.md`.
#[must_use]
pub fn document() -> File {
    File { path: PathBuf::from("reasons.md"), text: admin::reasons_page() }
}

/// Every man page, each as `man/NAME.SECTION`. `date`, as YYYY-MM-DD, stands in their heads.
#[must_use]
pub fn pages(date: &str) -> Vec<File> {
    let page = |name: &str, text| File { path: PathBuf::from("man").join(name), text };
    vec![
        page("glexec.1", launcher::page(date)),
        page("glexec.toml.5", configuration::page(date)),
        page("glexec-wrapenv.1", tools::page(&WRAP, 1, date)),
        page("glexec-unwrapenv.1", tools::page(&UNWRAP, 1, date)),
        page("mkgltempdir.8", tools::page(&MKGLTEMPDIR, 8, date)),
        page("glexec-epilogue.7", epilogue::page(date)),
        page("glexec-slurm.7", schedulers::slurm(date)),
        page("glexec-condor.7", schedulers::condor(date)),
        page("glexec-admin.8", admin_page::page(date)),
    ]
}
