//! The log file and its rotated ones, each read on from where it was read to.

use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, OwnedFd};
use system::file_trust::Trust;
use system::kernel;
use system::secure_open::{self, Opened};

/// No line of glexec's is longer: 8 KiB, and what stands before it.
const LONGEST: u64 = 16 << 10;
/// By so much of its first line, which has pid, time and run in it, a file is known again.
const FIRST: usize = 512;
/// So often a rotation that is under way is waited out by looking again.
const LOOKS: u32 = 20;

/// A file that was read before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    /// The begin of its first line. Not its inode: the next file gets that of one that is gone.
    first_line: String,
    /// So many bytes are counted.
    read: u64,
    /// Whether it was `log_file` then, not a rotated one.
    current: bool,
}

/// Tells every line that was not told before, of the log file and of those that it was renamed to:
/// a lingering run writes its end into the file that it began in. Gives what is known now, and how
/// often lines may have been missed.
///
/// # Errors
/// One sentence: a file that others than root may change, that cannot be read, or that is renamed
/// over and over.
pub(super) fn follow(
    path: &str,
    known: &[Known],
    tell: &mut dyn FnMut(&[u8]),
) -> Result<(Vec<Known>, u64), String> {
    let (mut now, mut gaps) = (Vec::<Known>::new(), 0);
    for (is_current, shown, file) in open_all(path)? {
        let failed = |e: std::io::Error| format!("{shown} cannot be read: {e}");
        let mut file = BufReader::new(file);
        let Some(first_line) = first_line(&mut file).map_err(failed)? else { continue };
        if now.iter().any(|other| other.first_line == first_line) {
            continue;
        }
        let before = known.iter().find(|known| known.first_line == first_line);
        let from = before.map_or(0, |before| before.read);
        let read = if file.get_ref().metadata().map_err(failed)?.len() < from {
            // Somebody has cut it: which of its lines are new cannot be told.
            gaps += 1;
            file.get_ref().metadata().map_err(failed)?.len()
        } else {
            file.seek(SeekFrom::Start(from)).map_err(failed)?;
            from + lines(&mut file, tell).map_err(failed)?
        };
        now.push(Known { first_line, read, current: is_current });
    }
    let is_gone = |known: &&Known| !now.iter().any(|now| now.first_line == known.first_line);
    // Compressed or removed with what it got since it was read last, if anything.
    gaps += known.iter().filter(|known| known.current).filter(is_gone).map(|_| 1).sum::<u64>();
    Ok((now, gaps))
}

/// Tells whole lines, and gives their length. A last one without its end is still being written, or
/// is taken back.
fn lines(file: &mut BufReader<File>, tell: &mut dyn FnMut(&[u8])) -> std::io::Result<u64> {
    let (mut all, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let length = file.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        if !line.ends_with(b"\n") && length < LONGEST {
            return Ok(all);
        }
        tell(&line);
        all += length;
    }
}

/// The begin of the first line; `None` where there is no whole one.
fn first_line(file: &mut BufReader<File>) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    file.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
    let is_whole = line.ends_with(b"\n");
    line.truncate(FIRST);
    Ok(is_whole.then(|| String::from_utf8_lossy(&line).into_owned()))
}

/// Whether it is the log file itself, its path, and the file.
type Open = (bool, String, File);

/// Opens all of them, as they are at one moment: a rotation that renames one meanwhile would have
/// it opened twice, or not at all.
fn open_all(path: &str) -> Result<Vec<Open>, String> {
    let trust = Trust::default();
    let unusable = |why: &str| format!("{why}; it must be root's, as glexec itself demands");
    let (directory, name) =
        secure_open::open_parent(path, &trust).map_err(|untrusted| unusable(untrusted.clause()))?;
    for _ in 0..LOOKS {
        let before = listed(&directory, (path, name))?;
        let mut opened = Vec::new();
        for file in before.keys() {
            let shown = format!("{}{file}", path.strip_suffix(name).unwrap_or_default());
            match secure_open::open_in(&directory, file, &shown, &trust) {
                Ok(Opened { file: one, .. }) => opened.push((file == name, shown, File::from(one))),
                Err(secure_open::Untrusted::Missing(_)) => break,
                Err(untrusted) => return Err(unusable(untrusted.clause())),
            }
        }
        if listed(&directory, (path, name))? == before && opened.len() == before.len() {
            return Ok(opened);
        }
    }
    Err(format!("{path} is being rotated; call this again"))
}

/// The names that the log file has and had, each with device and inode.
fn listed(
    directory: &OwnedFd,
    (path, name): (&str, &str),
) -> Result<BTreeMap<String, (u64, u64)>, String> {
    let failed = |e: nix::errno::Errno| format!("the directory of {path} cannot be read: {e}");
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let list = openat(directory, ".", flags, Mode::empty()).map_err(failed)?;
    let mut names = Vec::new();
    kernel::for_each_name(list.as_fd(), |found| {
        let found = std::str::from_utf8(found).ok().filter(|found| is_of(name, found));
        names.extend(found.map(str::to_owned));
    })
    .map_err(failed)?;
    let mut all = BTreeMap::new();
    for found in names {
        match fstatat(directory, found.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => all.insert(found, (stat.st_dev, stat.st_ino)),
            Err(nix::errno::Errno::ENOENT) => None,
            Err(errno) => return Err(failed(errno)),
        };
    }
    Ok(all)
}

/// `NAME`, and as logrotate(8) calls old ones: `NAME.1`, `NAME-20261129`. What it has compressed
/// nobody writes into any more.
fn is_of(name: &str, found: &str) -> bool {
    let Some(rest) = found.strip_prefix(name) else { return false };
    let number = rest.strip_prefix(['.', '-']).unwrap_or_default();
    rest.is_empty() || (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_file_and_its_rotated_ones_are_known_by_their_names() {
        for (found, expected) in [
            ("log", true),
            ("log.1", true),
            ("log-20261129", true),
            ("log.2.gz", false),
            ("log.bak", false),
            ("log.", false),
            ("log1", false),
            ("other", false),
        ] {
            assert_eq!(is_of("log", found), expected, "{found}");
        }
    }
}
