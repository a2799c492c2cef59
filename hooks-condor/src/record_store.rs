//! Records of an epilogue that has not root's rights (glexec's `epilogue_user`): it cannot write into
//! the caller's sandbox. They are files of its account's, each named by whose sandbox it is, its
//! inode and its birth, so that no later sandbox of the same path takes it for its own. Hooks of the
//! job's user read them and cannot make them.

use crate::record::{LONGEST, Record};
use crate::settings::{FILE, Records};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{Uid, UnlinkatFlags, geteuid, unlinkat};
use std::fs::{File, symlink_metadata};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use system::kernel::status_of;

/// One caller's records.
const MOST: usize = 1024;
/// What no hook has read by then, none will.
const OLD: Duration = Duration::from_secs(7 * 24 * 3600);

/// The name of a sandbox's record.
fn name(sandbox: &Path, caller: Uid) -> Result<String, String> {
    let failed = |why: &str| format!("{}: {why}", sandbox.display());
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = open(sandbox, flags, Mode::empty()).map_err(|e| failed(e.desc()))?;
    let status = status_of(opened.as_fd(), true).map_err(|e| failed(e.desc()))?;
    if status.uid != caller.as_raw() {
        return Err(failed("is not the caller's"));
    }
    match status.born {
        (0, 0) => Err(failed("its file system knows no time of birth")),
        (seconds, rest) => Ok(format!("{caller}.{}.{seconds}.{rest:09}", status.inode)),
    }
}

fn directory(path: &Path, owner: u32) -> Result<OwnedFd, String> {
    let failed = |why: &str| format!("{}: {why} ({FILE}, records.directory)", path.display());
    let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = open(path, flags, Mode::empty()).map_err(|e| failed(e.desc()))?;
    let stat = fstat(&directory).map_err(|e| failed(e.desc()))?;
    if stat.st_uid != owner || stat.st_mode & 0o022 != 0 {
        return Err(failed("must be that of records.owner, and writable by nobody else"));
    }
    Ok(directory)
}

/// Keeps a record, as the account that the epilogue runs as.
///
/// # Errors
/// One sentence.
pub(crate) fn keep(
    record: &Record,
    sandbox: &Path,
    caller: Uid,
    records: &Records,
) -> Result<(), String> {
    let at = directory(&records.directory, geteuid().as_raw())?;
    let failed = |why: &str| format!("{}: {why}", records.directory.display());
    let name = name(sandbox, caller)?;
    let mine = tidied(&at, caller).map_err(|e| failed(e.desc()))?;
    if mine >= MOST {
        return Err(failed(&format!("there are {mine} records of uid {caller} already")));
    }
    let fresh = format!(".{}", std::process::id());
    let gone = |name: &str| unlinkat(&at, name, UnlinkatFlags::NoRemoveDir);
    let _ = gone(&fresh);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let file = openat(&at, fresh.as_str(), flags, Mode::from_bits_truncate(0o444));
    let mut file = File::from(file.map_err(|e| failed(e.desc()))?);
    let text = serde_json::to_string(record).map_err(|e| failed(&e.to_string()))?;
    let mode = Mode::from_bits_truncate(0o444);
    nix::sys::stat::fchmod(file.as_fd(), mode).map_err(|e| failed(e.desc()))?;
    let done = file.write_all(text.as_bytes()).map_err(|e| failed(&e.to_string())).and_then(|()| {
        renameat(&at, fresh.as_str(), &at, name.as_str()).map_err(|e| failed(e.desc()))
    });
    if done.is_err() {
        let _ = gone(&fresh);
    }
    done
}

/// Removes what is old; how many records of this caller are left.
fn tidied(at: &OwnedFd, caller: Uid) -> Result<usize, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let listed = openat(at, ".", flags, Mode::empty())?;
    let mine = format!("{caller}.");
    let mut count = 0;
    for name in adapter::tree::names(listed.as_fd())? {
        let file =
            match openat(at, name.as_c_str(), OFlag::O_PATH | OFlag::O_NOFOLLOW, Mode::empty()) {
                Ok(file) => file,
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(errno),
            };
        let age = SystemTime::now().duration_since(
            UNIX_EPOCH + Duration::from_secs(u64::try_from(fstat(&file)?.st_mtime).unwrap_or(0)),
        );
        if age.is_ok_and(|age| age > OLD) {
            let _ = unlinkat(at, name.as_c_str(), UnlinkatFlags::NoRemoveDir);
        } else if name.to_bytes().starts_with(mine.as_bytes()) {
            count += 1;
        }
    }
    Ok(count)
}

/// The record of this sandbox; `None` where there is none that can be believed.
///
/// # Errors
/// One sentence where the site's place of records is not as it should be.
pub(crate) fn read(sandbox: &Path, records: &Records) -> Result<Option<Record>, String> {
    let Some(owner) = &records.owner else { return Ok(None) };
    let owner = FILE.epilogue_user("records.owner", owner)?;
    let at = directory(&records.directory, owner)?;
    let caller = symlink_metadata(sandbox).map_err(|e| format!("{}: {e}", sandbox.display()))?;
    let name = name(sandbox, Uid::from_raw(caller.uid()))?;
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let failed = |why: &str| format!("{}/{name}: {why}", records.directory.display());
    let file = match openat(&at, name.as_str(), flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(failed(errno.desc())),
    };
    if !is_whole(&fstat(&file).map_err(|e| failed(e.desc()))?, owner) {
        return Err(failed("is no record of records.owner's"));
    }
    let mut text = String::new();
    File::from(file).take(LONGEST).read_to_string(&mut text).map_err(|e| failed(&e.to_string()))?;
    serde_json::from_str(&text).map(Some).map_err(|e| failed(&e.to_string()))
}

fn is_whole(stat: &FileStat, owner: u32) -> bool {
    let regular = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
    regular && stat.st_uid == owner && stat.st_nlink == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(rc: u8) -> Record {
        Record {
            target: "pool001".to_owned(),
            rc,
            signal: None,
            result: "exited".to_owned(),
            attempt: 1,
            more: adapter::MoreOfARecord::new(),
        }
    }

    fn records(directory: &Path) -> Records {
        let own = nix::unistd::User::from_uid(geteuid()).unwrap().unwrap().name;
        Records { directory: directory.to_owned(), owner: Some(own), fields: Vec::new() }
    }

    #[test]
    fn a_record_is_found_by_its_sandbox_and_by_no_later_one_of_the_same_path() {
        let place = tempfile::tempdir().unwrap();
        let records = records(place.path());
        let above = tempfile::tempdir().unwrap();
        let sandbox = above.path().join("dir_1");
        std::fs::create_dir(&sandbox).unwrap();
        let caller = geteuid();
        assert_eq!(read(&sandbox, &records).unwrap(), None);
        keep(&record(3), &sandbox, caller, &records).unwrap();
        keep(&record(4), &sandbox, caller, &records).unwrap();
        assert_eq!(read(&sandbox, &records).unwrap(), Some(record(4)));
        std::fs::rename(&sandbox, above.path().join("dir_2")).unwrap();
        std::fs::create_dir(&sandbox).unwrap();
        assert_eq!(read(&sandbox, &records).unwrap(), None);
        assert_eq!(read(&sandbox, &Records { owner: None, ..records }).unwrap(), None);
    }

    #[test]
    fn what_others_may_have_put_there_is_no_record() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let records = records(place.path());
        let sandbox = tempfile::tempdir().unwrap();
        keep(&record(3), sandbox.path(), geteuid(), &records).unwrap();
        let file = place.path().join(name(sandbox.path(), geteuid()).unwrap());
        std::fs::hard_link(&file, place.path().join("other")).unwrap();
        assert!(read(sandbox.path(), &records).unwrap_err().contains("no record of"));
        std::fs::remove_file(place.path().join("other")).unwrap();
        assert!(read(sandbox.path(), &records).unwrap().is_some());
        std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o777)).unwrap();
        assert!(read(sandbox.path(), &records).unwrap_err().contains("writable by nobody else"));
        let stranger = Records { owner: Some("no such account".to_owned()), ..records };
        assert!(read(sandbox.path(), &stranger).unwrap_err().contains("epilogue_user"));
    }
}
