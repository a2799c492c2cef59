//! The wrapper's end: runs as the job's user, beside the run that it holds.

use super::place::{self, VARIABLE};
use super::{LONGEST_LINE, READY, STARTERS, TAKEN, WAITING, names};
use crate::archive::{LeftOut, Rules, pack, unpack};
use crate::settings::Settings;
use crate::starter::complain;
use adapter::tree::{self, about, open_directory, os, remove_entry, shift};
use nix::errno::Errno;
use nix::sys::signal::SigSet;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// Of these the target has no use either.
const NOT_SENT: [&str; 3] = ["_condor_stdout", "_condor_stderr", WAITING];

/// In [`WAITING`]: what has come back, and what was there before.
const NEW: &str = "new";
const OLD: &str = "old";

/// How a copying went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CopyOutcome {
    /// There and back; what was left out.
    Back(LeftOut),
    /// The target never had it all, and has run nothing.
    NotThere(String),
    /// What the payload made is not here.
    NotBack(String),
}

/// A copying that goes on beside the run.
#[derive(Debug)]
pub(crate) struct SandboxCopy {
    line: UnixStream,
    theirs: UnixStream,
    thread: JoinHandle<CopyOutcome>,
    place: PathBuf,
}

impl SandboxCopy {
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
    pub(crate) fn end(self) -> CopyOutcome {
        let _ = self.line.shutdown(Shutdown::Both);
        drop(self.theirs);
        let panicked = |_| CopyOutcome::NotBack("the copying broke down".to_owned());
        self.thread.join().unwrap_or_else(panicked)
    }
}

fn travel(line: &UnixStream, scratch: &Path) -> CopyOutcome {
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
            return CopyOutcome::NotThere(format!("the sandbox cannot be read: {error}"));
        }
        // Its reason comes before ours: that it hung up in the middle.
        _ if !answer.is_empty() => {
            return CopyOutcome::NotThere(String::from_utf8_lossy(&answer).trim_end().to_owned());
        }
        (Err(error), _) => {
            return CopyOutcome::NotThere(format!("the sandbox was not copied: {error}"));
        }
        (Ok(_), _) => {
            return CopyOutcome::NotThere("the target did not take the sandbox".to_owned());
        }
    };
    match receive(&mut input, scratch) {
        Ok(more) => {
            let _ = (&mut &*line).write_all(TAKEN);
            left += more;
            CopyOutcome::Back(left)
        }
        Err(error) => {
            // The target would wait for ever for somebody to read on.
            let _ = line.shutdown(Shutdown::Both);
            CopyOutcome::NotBack(format!("the payload's files did not come back: {error}"))
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
    let (waiting, name) = (scratch.join(WAITING), CString::new(WAITING)?);
    let forget = || remove_entry(sandbox.as_fd(), &name);
    forget()?;
    let received = unpack_beside(input, scratch, &waiting)
        .map_err(Failed::Undone)
        .and_then(|left| take_its_place(scratch, &waiting).map(|()| left));
    match received {
        Ok(left) => {
            // All of it is back: what was there before is no more than in the way.
            if let Err(error) = forget() {
                complain(&format!("{} is left behind: {error}", waiting.display()));
            }
            Ok(left)
        }
        Err(Failed::Undone(error)) => {
            if let Err(more) = forget() {
                complain(&format!("{} is left behind: {more}", waiting.display()));
            }
            Err(error)
        }
        Err(Failed::HalfWay(error)) => {
            let old = waiting.join(OLD);
            let text = format!("{error}; what was there before is in {}", old.display());
            Err(io::Error::new(error.kind(), text))
        }
    }
}

fn unpack_beside(input: &mut impl io::Read, scratch: &Path, waiting: &Path) -> io::Result<LeftOut> {
    for path in [waiting, &waiting.join(OLD), &waiting.join(NEW)] {
        DirBuilder::new().mode(0o700).create(path)?;
    }
    let rules = Rules { skip: &names(&STARTERS), inside: Some(scratch) };
    unpack(open_directory(&waiting.join(NEW))?.as_fd(), input, rules)
}

/// Why what came back is not where it belongs.
#[derive(Debug)]
enum Failed {
    /// The sandbox is as it was.
    Undone(io::Error),
    /// It could not be made so again.
    HalfWay(io::Error),
}

/// The old files go out of the way and the new ones in, one move after the other: where one cannot
/// be made, those before it are taken back.
fn take_its_place(scratch: &Path, waiting: &Path) -> Result<(), Failed> {
    let prepare = || {
        let mut kept = not_ours(scratch)?;
        kept.extend(STARTERS.map(OsString::from));
        kept.extend(proxy(scratch));
        let open = [scratch, &waiting.join(OLD), &waiting.join(NEW)].map(open_directory);
        let [sandbox, old, new] = open;
        Ok((kept, sandbox?, old?, new?))
    };
    let (kept, sandbox, old, new) = prepare().map_err(Failed::Undone)?;
    let mut moves = Moves { kept, done: Vec::new() };
    let moved = moves.all(&sandbox, &old).and_then(|()| moves.all(&new, &sandbox));
    moved.map_err(|error| match moves.take_back() {
        Ok(()) => Failed::Undone(error),
        Err(_) => Failed::HalfWay(error),
    })
}

/// Entries on their way from one directory to another.
struct Moves<'a> {
    /// Names that stay where they are.
    kept: Vec<OsString>,
    done: Vec<(BorrowedFd<'a>, CString, BorrowedFd<'a>)>,
}

impl<'a> Moves<'a> {
    fn all(&mut self, from: &'a OwnedFd, to: &'a OwnedFd) -> io::Result<()> {
        let (from, to) = (from.as_fd(), to.as_fd());
        for name in tree::names(from).map_err(about("a directory"))? {
            if self.kept.iter().any(|kept| kept == os(&name)) {
                continue;
            }
            shift(from, &name, to, &name).map_err(about(os(&name)))?;
            self.done.push((from, name, to));
        }
        Ok(())
    }

    /// The last first.
    fn take_back(self) -> Result<(), Errno> {
        self.done.iter().rev().try_for_each(|(from, name, to)| shift(*to, name, *from, name))
    }
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

    /// Runs one of the tests below as nobody: root may write where its permissions keep it out.
    fn as_nobody(test: &str) {
        use std::os::unix::process::CommandExt as _;
        let mut command = std::process::Command::new("/proc/self/exe");
        command.args(["--exact", "--ignored", "--nocapture"]);
        command.arg(format!("copy::outside::tests::{test}")).env("TMPDIR", "/tmp");
        if nix::unistd::geteuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
        let told = command.output().unwrap();
        let said = String::from_utf8_lossy(&told.stdout);
        assert!(told.status.success() && said.contains("1 passed"), "{told:?}");
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn directories_that_may_not_be_written_take_each_others_place() {
        as_nobody("closed_directories");
    }

    #[test]
    #[ignore = "run as nobody by the one above"]
    fn closed_directories() {
        let (sandbox, made) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        for (base, text) in [(sandbox.path(), "1"), (made.path(), "2")] {
            for (name, closed) in [("module", 0o555), ("store", 0o500), ("odd", 0o000)] {
                fs::create_dir_all(base.join(name).join("deep")).unwrap();
                fs::write(base.join(name).join("deep/file"), text).unwrap();
                set_mode(&base.join(name).join("deep/file"), 0o444);
                set_mode(&base.join(name).join("deep"), 0o555);
                set_mode(&base.join(name), closed);
            }
        }
        fs::create_dir(sandbox.path().join("gone")).unwrap();
        set_mode(&sandbox.path().join("gone"), 0o111);
        receive(&mut stream(made.path()).as_slice(), sandbox.path()).unwrap();
        assert_eq!(listed(sandbox.path()), ["module", "odd", "store"]);
        let at = |name: &str| sandbox.path().join(name);
        assert_eq!(mode(&at("module")), 0o555);
        assert_eq!(fs::read_to_string(at("module/deep/file")).unwrap(), "2");
        assert_eq!(mode(&at("store")), 0o500);
        for base in [sandbox.path(), made.path()] {
            tree::clear(open_directory(base).unwrap().as_fd(), &[]).unwrap();
        }
    }

    #[test]
    fn what_cannot_take_its_place_leaves_the_sandbox_as_it_was() {
        as_nobody("a_move_that_fails");
    }

    #[test]
    #[ignore = "run as nobody by the one above"]
    fn a_move_that_fails() {
        let (sandbox, made) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        for (base, text) in [(sandbox.path(), "1"), (made.path(), "2")] {
            fs::create_dir(base.join("closed")).unwrap();
            fs::write(base.join("closed/file"), text).unwrap();
            set_mode(&base.join("closed"), 0o555);
            fs::write(base.join("file"), text).unwrap();
        }
        let waiting = sandbox.path().join(WAITING);
        let bytes = stream(made.path());
        unpack_beside(&mut bytes.as_slice(), sandbox.path(), &waiting).unwrap();
        // The old files have been moved by then.
        set_mode(&waiting.join("new"), 0o555);
        let failed = take_its_place(sandbox.path(), &waiting).unwrap_err();
        assert!(matches!(&failed, Failed::Undone(error) if error.to_string().contains("denied")));
        assert_eq!(listed(sandbox.path()), [WAITING, "closed", "file"]);
        for name in ["file", "closed/file"] {
            assert_eq!(fs::read_to_string(sandbox.path().join(name)).unwrap(), "1");
        }
        assert_eq!(mode(&sandbox.path().join("closed")), 0o555);
        for base in [sandbox.path(), made.path()] {
            tree::clear(open_directory(base).unwrap().as_fd(), &[]).unwrap();
        }
    }
}
