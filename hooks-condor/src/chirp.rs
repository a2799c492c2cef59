//! `condor_chirp`: attributes for the job's ad, and what the payload needs for its own calls.

use crate::dialect::{Ad, Attribute, KEY};
use crate::settings::{Settings, seconds};
use crate::starter::{LONGEST_AD, complain, condor_program, scratch};
use crate::verdict::{self, Way};
use adapter::BoundedCommand;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::env::var_os;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// Names the file by which `condor_chirp` finds the starter.
pub(crate) const VARIABLE: &str = "_CONDOR_CHIRP_CONFIG";
/// It has one line.
const LONGEST: u64 = 64 << 10;

/// The way to the job's ad.
#[derive(Debug, Default)]
pub(crate) struct Chirp {
    /// What the ad had before.
    before: Ad,
    /// A copy of the file that nobody else has.
    own: Option<File>,
}

impl Chirp {
    /// Reads what the starter has put into the sandbox: while it runs the payload may do what it
    /// likes with it.
    pub(crate) fn before_a_run() -> Self {
        Self { before: job_ad(), own: own_copy() }
    }

    /// The job's ad, as it was then.
    pub(crate) const fn ad(&self) -> &Ad {
        &self.before
    }

    /// With the files as they are, for a job that had this ad.
    pub(crate) fn after_a_run(before: Ad) -> Self {
        Self { before, own: None }
    }

    /// Attributes into the job's ad; the job does not depend on it.
    pub(crate) fn tell(&self, settings: &Settings, mut attributes: Vec<Attribute>) {
        let rule = &settings.attributes;
        if !attributes.is_empty() {
            // Before what it is said of, and behind what is taken back: the rules of the access point
            // take no attribute for this run's that is another's.
            attributes.splice(0..0, verdict::run_of(&self.before));
        }
        let attributes = verdict::anew(attributes, &self.before, &rule.prefix);
        let named = settings.programs.condor_chirp.as_deref();
        let Some(program) = condor_program(named, "condor_chirp").filter(|_| rule.send) else {
            return;
        };
        let limit = seconds(rule.time_limit);
        let environment = self.environment();
        let mut ways = verdict::ways(rule.by, &self.before);
        for Attribute { name, value } in attributes {
            let name = format!("{}{name}", rule.prefix);
            let told = |way: &Way| {
                let tool = BoundedCommand {
                    program: &program,
                    words: vec![way.word().into(), name.clone().into(), value.clone().into()],
                    environment: environment.clone(),
                    ids: None,
                    limit,
                    end_it: true,
                };
                tool.run().is_ok_and(|answer| answer.code == Some(0))
            };
            // What has not worked once is not tried for the next one: who never answers holds the job up
            // once, and who is slow loses none.
            let failed = ways.iter().position(told).unwrap_or(ways.len());
            let last = ways.last().copied();
            ways = ways.split_off(failed);
            if ways.is_empty() {
                let need = last.map(Way::need).unwrap_or_default();
                complain(&format!("the job's ad has no {name}: {need}"));
                return;
            }
        }
    }

    fn environment(&self) -> Vec<(OsString, OsString)> {
        let names = [KEY, VARIABLE, "_CHIRP_DELAYED_UPDATE_PREFIX"];
        let found = |name: &str| var_os(name).map(|value| (OsString::from(name), value));
        let mut all: Vec<_> = names.into_iter().filter_map(found).collect();
        all.extend(self.own.as_ref().map(|file| {
            let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
            (VARIABLE.into(), path.into())
        }));
        all
    }
}

/// The job's ad as the starter has left it in the sandbox.
fn job_ad() -> Ad {
    let file = var_os("_CONDOR_JOB_AD").and_then(|path| File::open(path).ok());
    let mut text = String::new();
    let read = file.map(|file| file.take(LONGEST_AD).read_to_string(&mut text));
    if matches!(read, Some(Ok(_))) { Ad::parse(&text) } else { Ad::default() }
}

fn own_copy() -> Option<File> {
    let mut text = Vec::new();
    let file = File::open(var_os(VARIABLE)?).ok()?;
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    let mut own = File::from(memfd_create("chirp", MFdFlags::MFD_CLOEXEC).ok()?);
    own.write_all(&text).ok()?;
    Some(own)
}

/// condor_chirp's file, and where the payload can read it. HTCondor 25 has it beside the sandbox, in
/// a directory that is not handed over; where it is in the sandbox nothing has to be done.
fn files() -> Option<[PathBuf; 2]> {
    let scratch = scratch()?;
    let file = PathBuf::from(var_os(VARIABLE)?);
    // Where the starter names none the variable is the job's word, and may name any file of the
    // pilot's.
    let is_starters =
        scratch.parent().map(|up| up.join("user/.chirp.config")) == Some(file.clone());
    is_starters.then(|| [file, scratch.join(".chirp.config")])
}

/// The job does not depend on it.
pub(crate) fn lend() -> Option<PathBuf> {
    let [file, copy] = files()?;
    let text = fs::read(file).ok()?;
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy);
    new.and_then(|mut new| new.write_all(&text)).ok()?;
    Some(copy)
}

/// It is no output of the job's.
pub(crate) fn take_back() {
    if let Some([_, copy]) = files() {
        let _ = fs::remove_file(copy);
    }
}
