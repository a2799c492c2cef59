//! The wrapper's end: runs as the job's user, beside the run that it holds.

use super::place::{self, VARIABLE};
use super::{LONGEST_LINE, READY, STARTERS, TAKEN, WAITING, names};
use crate::freight::{LeftOut, Rules, clear, open_directory, pack, remove, unpack};
use crate::settings::Settings;
use nix::fcntl::renameat;
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, mkdirat};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// Of these the target has no use either.
const NOT_SENT: [&str; 3] = ["_condor_stdout", "_condor_stderr", WAITING];

/// How a copying went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trip {
    /// There and back; what was left out.
    Back(LeftOut),
    /// The target never had it all, and has run nothing.
    NotThere(String),
    /// What the payload made is not here.
    NotBack(String),
}

/// A copying that goes on beside the run.
#[derive(Debug)]
pub(crate) struct Journey {
    line: UnixStream,
    theirs: UnixStream,
    thread: JoinHandle<Trip>,
    place: PathBuf,
}

impl Journey {
    /// Begins; every signal is blocked from here on.
    ///
    /// # Errors
    /// One sentence: there is no socket or no thread to be had.
    pub(crate) fn begin(settings: &Settings, scratch: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| format!("the sandbox cannot be copied: {error}");
        let (line, theirs) = UnixStream::pair().map_err(failed)?;
        // Signals are for the thread that holds the run.
        SigSet::all().thread_block().map_err(|errno| failed(errno.into()))?;
        let own = line.try_clone().map_err(failed)?;
        let path = scratch.to_owned();
        let thread =
            std::thread::Builder::new().spawn(move || travel(&own, &path)).map_err(failed)?;
        Ok(Self { line, theirs, thread, place: place::new_in(&settings.sandbox.directory) })
    }

    /// The descriptor that the target's end needs.
    pub(crate) fn kept(&self) -> RawFd {
        self.theirs.as_raw_fd()
    }

    /// What glexec is to run instead of the job's command, which follows.
    pub(crate) fn words(
        &self,
        program: &Path,
        scratch: &Path,
        command: Vec<OsString>,
    ) -> Vec<OsString> {
        let directory = std::env::current_dir().unwrap_or_default();
        let head = [
            program.as_os_str().to_owned(),
            self.kept().to_string().into(),
            scratch.as_os_str().to_owned(),
            self.place.as_os_str().to_owned(),
            directory.into_os_string(),
        ];
        head.into_iter().chain(command).collect()
    }

    /// What tells the epilogue where the copy is.
    pub(crate) fn variable(&self) -> (OsString, OsString) {
        (VARIABLE.into(), self.place.as_os_str().to_owned())
    }

    /// The run is over: what has not come by now does not come.
    pub(crate) fn end(self) -> Trip {
        let _ = self.line.shutdown(Shutdown::Both);
        drop(self.theirs);
        let panicked = |_| Trip::NotBack("the copying broke down".to_owned());
        self.thread.join().unwrap_or_else(panicked)
    }
}

fn travel(line: &UnixStream, scratch: &Path) -> Trip {
    let mut input = BufReader::new(line);
    let sent = send(line, scratch);
    if sent.is_err() {
        // The target waits for the rest.
        let _ = line.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let heard = input.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut answer);
    let mut left = match (sent, heard) {
        (Ok(left), _) if answer == READY => left,
        (Err(error), _) if !is_hung_up(&error) => {
            return Trip::NotThere(format!("the sandbox cannot be read: {error}"));
        }
        // Its reason comes before ours: that it hung up in the middle.
        _ if !answer.is_empty() => {
            return Trip::NotThere(String::from_utf8_lossy(&answer).trim_end().to_owned());
        }
        (Err(error), _) => return Trip::NotThere(format!("the sandbox was not copied: {error}")),
        (Ok(_), _) => return Trip::NotThere("the target did not take the sandbox".to_owned()),
    };
    match receive(&mut input, scratch) {
        Ok(more) => {
            let _ = (&mut &*line).write_all(TAKEN);
            left += more;
            Trip::Back(left)
        }
        Err(error) => {
            // The target would wait for ever for somebody to read on.
            let _ = line.shutdown(Shutdown::Both);
            Trip::NotBack(format!("the payload's files did not come back: {error}"))
        }
    }
}

fn is_hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn send(line: &UnixStream, scratch: &Path) -> io::Result<LeftOut> {
    let mut out = BufWriter::new(line);
    let left = pack(open_directory(scratch)?.as_fd(), &mut out, &names(&NOT_SENT))?;
    out.flush()?;
    Ok(left)
}

/// All of it, or the sandbox stays as it is.
fn receive(input: &mut impl io::Read, scratch: &Path) -> io::Result<LeftOut> {
    let sandbox = open_directory(scratch)?;
    let waiting = scratch.join(WAITING);
    if fs::symlink_metadata(&waiting).is_ok() {
        remove(&waiting)?;
    }
    mkdirat(&sandbox, WAITING, Mode::S_IRWXU)?;
    let received = open_directory(&waiting).and_then(|directory| {
        let rules = Rules { skip: &names(&STARTERS), inside: Some(scratch) };
        unpack(directory.as_fd(), input, rules)
    });
    if received.is_err() {
        let _ = remove(&waiting);
    }
    let left = received?;
    let mut kept = not_ours(scratch)?;
    kept.extend(STARTERS.map(OsString::from));
    kept.extend(proxy(scratch));
    let kept: Vec<&OsStr> = kept.iter().map(OsString::as_os_str).collect();
    clear(sandbox.as_fd(), &kept)?;
    for entry in fs::read_dir(&waiting)? {
        let name = entry?.file_name();
        if !kept.contains(&name.as_os_str()) {
            renameat(open_directory(&waiting)?, name.as_os_str(), &sandbox, name.as_os_str())?;
        }
    }
    remove(&waiting)?;
    Ok(left)
}

/// The starter may have renewed it since.
fn proxy(scratch: &Path) -> Option<OsString> {
    let proxy = PathBuf::from(std::env::var_os("X509_USER_PROXY")?);
    (proxy.parent() == Some(scratch)).then(|| proxy.file_name().map(OsStr::to_owned))?
}

/// What others have put into the sandbox stays as it is.
fn not_ours(scratch: &Path) -> io::Result<Vec<OsString>> {
    let own = nix::unistd::geteuid().as_raw();
    let mut all = Vec::new();
    for entry in fs::read_dir(scratch)? {
        let entry = entry?;
        if entry.metadata()?.uid() != own {
            all.push(entry.file_name());
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    fn stream(directory: &Path) -> Vec<u8> {
        let mut bytes = Vec::new();
        pack(open_directory(directory).unwrap().as_fd(), &mut bytes, &[]).unwrap();
        bytes
    }

    fn listed(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().flatten();
        let mut all: Vec<_> = names.map(|entry| entry.file_name().into_string().unwrap()).collect();
        all.sort();
        all
    }

    #[test]
    fn what_comes_back_takes_the_place_of_what_was_there() {
        let (sandbox, made) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        fs::create_dir(sandbox.path().join("old")).unwrap();
        for (name, text) in
            [("input", "1"), ("old/x", "1"), ("_condor_stdout", "said"), (".job.ad", "1")]
        {
            fs::write(sandbox.path().join(name), text).unwrap();
        }
        for (name, text) in
            [("input", "2"), ("out", "2"), ("_condor_stdout", "forged"), (".job.ad", "2")]
        {
            fs::write(made.path().join(name), text).unwrap();
        }
        symlink("/etc", made.path().join("away")).unwrap();
        symlink("input", made.path().join("link")).unwrap();
        let left = receive(&mut stream(made.path()).as_slice(), sandbox.path()).unwrap();
        assert_eq!(left.links, 1);
        assert_eq!(listed(sandbox.path()), [".job.ad", "_condor_stdout", "input", "link", "out"]);
        let text = |name: &str| fs::read_to_string(sandbox.path().join(name)).unwrap();
        assert_eq!([text("input"), text("_condor_stdout"), text(".job.ad")], ["2", "said", "1"]);
    }

    #[test]
    fn what_comes_back_in_part_changes_nothing() {
        let (sandbox, made) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        fs::write(sandbox.path().join("input"), "1").unwrap();
        fs::create_dir(sandbox.path().join(WAITING)).unwrap();
        fs::write(made.path().join("input"), "2").unwrap();
        let mut bytes = stream(made.path());
        bytes.pop();
        assert!(receive(&mut bytes.as_slice(), sandbox.path()).is_err());
        assert_eq!(listed(sandbox.path()), ["input"]);
        assert_eq!(fs::read_to_string(sandbox.path().join("input")).unwrap(), "1");
    }
}
