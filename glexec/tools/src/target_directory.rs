//! A directory of the target's, made by glexec in one of the caller's:
//! `BASE/gltmp.RANDOM/sticky/payload.RANDOM`. The first is passable and nothing else while the second is
//! open for whoever would make something there, which is as long as glexec makes the third.

use crate::{about, complain};
use nix::unistd::Uid;
use std::collections::hash_map::RandomState;
use std::env::{temp_dir, var_os};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, Permissions};
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the directories are called.
const OUTER: &str = "gltmp.";
const STICKY: &str = "sticky";
const TARGETS: &str = "payload.";
/// Modes: while only the caller has it, while the target must pass, while the target makes its own.
const PRIVATE: u32 = 0o700;
const PASSABLE: u32 = 0o711;
const OPEN: u32 = 0o1777;
/// Mode bits that let everybody pass through a directory.
const PASS: u32 = 0o111;
/// glexec's own codes, which pilots know.
const GLEXECS: std::ops::RangeInclusive<i32> = 201..=204;

/// What a call asks for.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Help,
    Make { base: Option<PathBuf>, targets: u32, parents: u32 },
    Remove { directory: PathBuf, force: bool },
}

/// Why it was not done, and what to end with.
#[derive(Debug)]
struct Failure {
    code: u8,
    sentence: String,
}

impl From<String> for Failure {
    fn from(sentence: String) -> Self {
        Self { code: 1, sentence }
    }
}

/// `mkgltempdir`, from its words to its exit code.
pub fn mkgltempdir(words: Vec<OsString>) -> u8 {
    let done = read(words).map_err(Failure::from).and_then(|request| match request {
        Request::Help => print(about::MKGLTEMPDIR.help().as_bytes()),
        Request::Make { base, targets, parents } => {
            let path = make(&base.unwrap_or_else(temp_dir), targets, parents)?;
            print(&[path.as_os_str().as_bytes(), b"\n"].concat())
        }
        Request::Remove { directory, force } => remove(&directory, force),
    });
    match done {
        Ok(()) => 0,
        Err(Failure { code, sentence }) => {
            complain(about::MKGLTEMPDIR.name, &sentence);
            code
        }
    }
}

fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout();
    let written = out.write_all(text).and_then(|()| out.flush());
    written.map_err(|error| format!("standard output takes nothing: {error}").into())
}

/// Options and the directory, in any order, as the original took them.
fn read(words: Vec<OsString>) -> Result<Request, String> {
    let (mut targets, mut parents) = (0o700, 0o755);
    let (mut removal, mut force) = (false, false);
    let mut directory = None;
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("-h") => return Ok(Request::Help),
            Some("-r") => removal = true,
            Some("-f") => force = true,
            Some(option) if option.starts_with("-t") || option.starts_with("-m") => {
                let (option, attached) = option.split_at(2);
                let value = match attached {
                    "" => words.next().unwrap_or_default(),
                    attached => attached.into(),
                };
                *(if option == "-t" { &mut targets } else { &mut parents }) = mode(option, &value)?;
            }
            Some(option) if option.len() > 1 && option.starts_with('-') => {
                return Err(format!("there is no option {option:?}; see -h"));
            }
            _ if directory.is_none() => directory = Some(PathBuf::from(word)),
            _ => return Err(format!("{word:?} is one directory too many; see -h")),
        }
    }
    match (removal, directory) {
        (true, Some(directory)) => Ok(Request::Remove { directory, force }),
        (true, None) => Err("-r lacks the directory that is to be removed".to_owned()),
        (false, _) if force => Err("-f without -r has no meaning; see -h".to_owned()),
        (false, base) => Ok(Request::Make { base, targets, parents }),
    }
}

fn mode(option: &str, value: &OsStr) -> Result<u32, String> {
    let digits = value.to_str().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let mode = digits.and_then(|text| u32::from_str_radix(text, 8).ok());
    mode.filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| format!("{option} takes a mode such as 0755, not {value:?}"))
}

/// Makes it and gives its path. What it could not finish it takes away again.
fn make(base: &Path, targets: u32, parents: u32) -> Result<PathBuf, Failure> {
    let base = fs::canonicalize(base).map_err(|error| format!("{base:?}: {error}"))?;
    let outer = base.join(format!("{OUTER}{:016x}", random()));
    let sticky = outer.join(STICKY);
    let built = [&outer, &sticky].into_iter().try_for_each(|directory| {
        DirBuilder::new().mode(PRIVATE).create(directory).map_err(|error| {
            format!("{directory:?} cannot be made: {error}; name a directory that is yours")
        })
    });
    let path = sticky.join(format!("{TARGETS}{:016x}", random()));
    let made = built.map_err(Failure::from).and_then(|()| {
        pass(&base);
        change(&sticky, OPEN)?;
        change(&outer, PASSABLE)?;
        let own = [OsString::from("-m"), format!("{targets:o}").into(), "--".into()];
        by_glexec("/bin/mkdir", own.into_iter().chain([path.clone().into_os_string()]))?;
        change(&sticky, parents)?;
        change(&outer, parents)?;
        looked_at(&sticky, &path).map_err(Failure::from)
    });
    match made {
        Ok(()) => Ok(path),
        Err(failure) => {
            let _ = fs::set_permissions(&outer, Permissions::from_mode(PRIVATE));
            let left = remove_all(&path, &sticky, &outer, true);
            let left = left.err().map(|sentence| format!("; {sentence}")).unwrap_or_default();
            Err(Failure { sentence: failure.sentence + &left, ..failure })
        }
    }
}

/// As the target could not have made it in a directory in which its name was taken: it is the target's.
/// And it is alone, for what somebody else put beside it the caller might take for its own.
fn looked_at(sticky: &Path, path: &Path) -> Result<(), String> {
    let about = fs::symlink_metadata(path).map_err(|error| format!("{path:?}: {error}"))?;
    if !about.is_dir() || about.uid() == Uid::current().as_raw() {
        return Err(format!(
            "{path:?} is no directory of another account; glexec has not switched"
        ));
    }
    let entries = fs::read_dir(sticky).map_err(|error| format!("{sticky:?}: {error}"))?;
    for entry in entries {
        let entry = entry.map_err(|error| format!("{sticky:?}: {error}"))?.path();
        if entry != path {
            return Err(format!("somebody else has put {entry:?} there; try again"));
        }
    }
    Ok(())
}

/// Removes it, and what [`make`] made above it.
fn remove(directory: &Path, force: bool) -> Result<(), Failure> {
    let (sticky, outer) = ours(directory)?;
    if force {
        let words = ["-mindepth", "1", "-delete"].map(OsString::from);
        by_glexec("/usr/bin/find", [directory.into()].into_iter().chain(words))?;
        return remove_all(directory, sticky, outer, true).map_err(Failure::from);
    }
    let removed = remove_all(directory, sticky, outer, false);
    removed.map_err(|sentence| format!("{sentence}; -f removes what is in it, too").into())
}

/// The two directories above it, which must be this program's and the caller's.
fn ours(directory: &Path) -> Result<(&Path, &Path), String> {
    let no = || {
        format!("{directory:?} was not made by mkgltempdir, for this account; remove it otherwise")
    };
    let begins = |path: &Path, with: &str| {
        path.file_name().is_some_and(|name| name.as_bytes().starts_with(with.as_bytes()))
    };
    let sticky = directory.parent().ok_or_else(no)?;
    let outer = sticky.parent().ok_or_else(no)?;
    let is_named = begins(directory, TARGETS)
        && sticky.file_name() == Some(OsStr::new(STICKY))
        && begins(outer, OUTER);
    let is_own = |path: &Path| {
        let about = fs::symlink_metadata(path);
        about.is_ok_and(|about| about.is_dir() && about.uid() == Uid::current().as_raw())
    };
    if directory.is_absolute() && is_named && is_own(outer) && is_own(sticky) {
        Ok((sticky, outer))
    } else {
        Err(no())
    }
}

/// The target's directory, which must be empty, and the two above it, the first of them with what is in
/// it where `force` says so. What is not there is not missed.
fn remove_all(path: &Path, sticky: &Path, outer: &Path, force: bool) -> Result<(), String> {
    let gone = |path: &Path, done: io::Result<()>| match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("{path:?} stays: {error}"))
        }
        Ok(()) | Err(_) => Ok(()),
    };
    gone(path, fs::remove_dir(path))?;
    gone(sticky, if force { fs::remove_dir_all(sticky) } else { fs::remove_dir(sticky) })?;
    gone(outer, fs::remove_dir(outer))
}

/// Lets the target pass through the caller's own directories, upwards as far as they are the caller's.
/// What is root's was closed by somebody who had his reasons.
fn pass(base: &Path) {
    if Uid::current().is_root() {
        return;
    }
    for directory in base.ancestors() {
        let Ok(about) = fs::metadata(directory) else { return };
        let mode = about.permissions().mode();
        if about.uid() != Uid::current().as_raw() {
            return;
        }
        if mode & PASS != PASS && change(directory, (mode | PASS) & 0o7777).is_err() {
            return;
        }
    }
}

fn change(directory: &Path, mode: u32) -> Result<(), String> {
    let changed = fs::set_permissions(directory, Permissions::from_mode(mode));
    changed.map_err(|error| format!("{directory:?} cannot get the mode {mode:o}: {error}"))
}

/// Has glexec run a program as the target.
fn by_glexec(program: &str, words: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    let glexec = glexec();
    let ended = Command::new(&glexec)
        .arg(program)
        .args(words)
        // No copy of a proxy for this.
        .env("GLEXEC_TARGET_PROXY", "/dev/null")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("{glexec:?} cannot be started: {error}; is glexec installed?"))?;
    if ended.success() {
        return Ok(());
    }
    let code = ended.code().filter(|code| GLEXECS.contains(code));
    let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Err(Failure { code, sentence: format!("{program} by glexec: {ended}") })
}

/// Where pilots look for glexec.
fn glexec() -> PathBuf {
    let set = |name: &str| var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let below = |name: &str| set(name).map(|location| location.join("sbin/glexec"));
    set("OSG_GLEXEC_LOCATION")
        .or_else(|| below("GLEXEC_LOCATION"))
        .or_else(|| below("GLITE_LOCATION"))
        .unwrap_or_else(|| PathBuf::from("/usr/sbin/glexec"))
}

/// From the kernel's random numbers, by way of what seeds a hash.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Result<Request, String> {
        read(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn options_stand_where_they_like() {
        let make = |base: Option<&str>, targets, parents| Request::Make {
            base: base.map(PathBuf::from),
            targets,
            parents,
        };
        assert_eq!(asked(&[]).unwrap(), make(None, 0o700, 0o755));
        assert_eq!(asked(&["-t", "777", "/work"]).unwrap(), make(Some("/work"), 0o777, 0o755));
        assert_eq!(asked(&["/work", "-m0711"]).unwrap(), make(Some("/work"), 0o700, 0o711));
        let gone = |force| Request::Remove { directory: "/work/x".into(), force };
        assert_eq!(asked(&["-r", "/work/x", "-f"]).unwrap(), gone(true));
        assert_eq!(asked(&["-r", "/work/x"]).unwrap(), gone(false));
        assert_eq!(asked(&["-r", "-h"]).unwrap(), Request::Help);
        for wrong in [
            &["-t", "8"][..],
            &["-t"],
            &["-m", "10000"],
            &["-t", "+7"],
            &["-x"],
            &["-r"],
            &["-f"],
            &["a", "b"],
        ] {
            assert!(asked(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn nothing_is_removed_that_was_not_made_here() {
        let top = tempfile::tempdir().unwrap();
        let outer = top.path().join("gltmp.1");
        let path = outer.join("sticky/payload.1");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("file"), "").unwrap();
        assert!(ours(&path).is_ok());
        for wrong in [
            "payload.1",
            "sticky",
            "sticky/other",
            "sticky/../sticky/payload.1/..",
            "other/payload.1",
        ] {
            assert!(ours(&outer.join(wrong)).is_err(), "{wrong}");
        }
        assert!(ours(Path::new("gltmp.1/sticky/payload.1")).is_err());
        std::os::unix::fs::symlink(&outer, top.path().join("gltmp.2")).unwrap();
        assert!(ours(&top.path().join("gltmp.2/sticky/payload.1")).is_err());
        assert!(remove(&path, false).is_err() && path.join("file").exists());
        fs::remove_file(path.join("file")).unwrap();
        assert!(remove(&path, false).is_ok() && !outer.exists());
    }
}
