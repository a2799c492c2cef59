//! Control groups: out of the job's container with the supervisor, and a leaf for the payload.
//! Nobody relies on either: where it cannot be had, one notice, and the run goes on.

use super::root::Root;
use decide::cgroups::{Hierarchy, hierarchies, is_empty, is_name_of_leaf};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, SFlag, mkdirat};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};
use nix::unistd::{Pid, UnlinkatFlags, unlinkat, write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};
use system::file_trust::Trust;
use system::process;
use system::secure_open::{self, Untrusted};

pub(super) use super::foreign::{Left, Mounts, leave_foreign};

/// A group of version 2 that holds one payload and what it leaves behind.
#[derive(Debug)]
pub struct Leaf {
    directory: OwnedFd,
    parent: OwnedFd,
    name: String,
    /// The whole path, for the entry.
    pub(super) path: String,
}

/// The hierarchies this process is in.
///
/// # Errors
/// Where /proc does not say; one clause.
fn own() -> Result<Vec<Hierarchy>, String> {
    let text = |path| process::read_text(path).map_err(|e| format!("{path}: {}", e.desc()));
    Ok(hierarchies(&text("/proc/self/mountinfo")?, &text("/proc/self/cgroup")?))
}

/// The hierarchy in which payloads have leaves.
fn second_version() -> Result<Hierarchy, String> {
    let found = own()?.into_iter().find(Hierarchy::is_v2);
    found.ok_or_else(|| "there is no cgroup of version 2 here".to_owned())
}

/// Moves this process into the site's group in every hierarchy in which it is in some job's.
/// Gives what did not work, a clause each.
pub(super) fn leave_the_job(root: &Root, group: &str) -> Vec<String> {
    let in_a_job = |h: &Hierarchy| h.own != "/" && h.own != group;
    let all = match own() {
        Ok(all) => all,
        Err(why) => return vec![why],
    };
    let tries = all.into_iter().filter(in_a_job).map(|hierarchy| {
        let path = format!("{}{group}", hierarchy.mount);
        join(root, &path).map_err(|why| format!("{path}: {why}"))
    });
    tries.filter_map(Result::err).collect()
}

/// Where a hierarchy bounds the number of processes, the group must have a bound: what is in it
/// is outside of the job's.
fn join(root: &Root, path: &str) -> Result<(), String> {
    let directory = open(root, path).map_err(Missing::clause)?;
    match read(&directory, "pids.max") {
        Ok(most) if most.trim().parse::<u64>().is_err() => {
            let why = "pids.max is not set; set it, for no job bounds what is in this group";
            return Err(why.to_owned());
        }
        // A hierarchy without the controller bounds nobody.
        Ok(_) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(format!("pids.max: {}", errno.desc())),
    }
    put(&directory, "cgroup.procs", "0").map_err(|e| e.desc().to_owned())
}

/// Why a group cannot be opened: it is not there, or something else (one clause).
enum Missing {
    Gone(String),
    Because(String),
}

impl Missing {
    fn clause(self) -> String {
        match self {
            Self::Gone(clause) | Self::Because(clause) => clause,
        }
    }
}

fn open(_root: &Root, path: &str) -> Result<OwnedFd, Missing> {
    let trust = Trust::default();
    let untrusted = |why: Untrusted| match why {
        Untrusted::Missing(clause) => Missing::Gone(clause),
        other @ (Untrusted::Exhausted(_) | Untrusted::Because(_) | Untrusted::Changeable(..)) => {
            Missing::Because(other.clause().to_owned())
        }
    };
    let (parent, name) = secure_open::open_parent(path, &trust).map_err(untrusted)?;
    let directory = open_in(&parent, name, path)?;
    secure_open::judge(&directory, path, SFlag::S_IFDIR, &trust).map_err(untrusted)?;
    Ok(directory)
}

fn open_in(parent: &OwnedFd, name: &str, path: &str) -> Result<OwnedFd, Missing> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty()).map_err(|errno| {
        if errno == Errno::ENOENT {
            Missing::Gone(format!("{path} does not exist"))
        } else {
            Missing::Because(format!("{path}: {}", errno.desc()))
        }
    })
}

/// Opens a group of version 2 that may be others' (a scheduler gives a task's to its user): by the
/// mount point, which is root's alone, then name by name. Groups have neither links nor renames:
/// who may write to one on the way can lead nobody elsewhere, nor remove one that is in use.
fn open_below(root: &Root, mount: &str, path: &str) -> Result<OwnedFd, Missing> {
    let below = path.strip_prefix(mount).filter(|below| !below.contains("/.."));
    let below = below.ok_or_else(|| Missing::Because(format!("{path} is not below {mount}")))?;
    let mut directory = open(root, mount)?;
    let kind = fstatfs(&directory).map_err(|e| Missing::Because(e.desc().to_owned()))?;
    if kind.filesystem_type() != CGROUP2_SUPER_MAGIC {
        return Err(Missing::Because(format!("{mount} is covered by another mount")));
    }
    for name in below.split('/').filter(|name| !name.is_empty()) {
        directory = open_in(&directory, name, path)?;
    }
    Ok(directory)
}

/// Opens the leaf itself, which is root's alone: nobody else moves a process into it, or kills by it.
fn open_leaf(_root: &Root, parent: &OwnedFd, name: &str, path: &str) -> Result<OwnedFd, Missing> {
    let directory = open_in(parent, name, path)?;
    secure_open::judge(&directory, path, SFlag::S_IFDIR, &Trust::default())
        .map_err(|untrusted| Missing::Because(untrusted.clause().to_owned()))?;
    Ok(directory)
}

fn there(opened: Result<OwnedFd, Missing>) -> Result<Option<OwnedFd>, String> {
    match opened {
        Ok(directory) => Ok(Some(directory)),
        Err(Missing::Gone(_)) => Ok(None),
        Err(Missing::Because(clause)) => Err(clause),
    }
}

fn put(directory: &OwnedFd, file: &str, text: &str) -> Result<(), Errno> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let file = openat(directory, file, flags, Mode::empty())?;
    write(&file, text.as_bytes()).map(drop)
}

fn read(directory: &OwnedFd, file: &str) -> Result<String, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let file = openat(directory, file, flags, Mode::empty())?;
    let mut text = [0u8; 4096];
    let length = nix::unistd::read(&file, &mut text)?;
    Ok(String::from_utf8_lossy(text.get(..length).unwrap_or_default()).into_owned())
}

impl Leaf {
    /// Makes a leaf below this process's own group of version 2, whosever that is: the limits of the
    /// job hold in it, too.
    ///
    /// # Errors
    /// Why there is none; one clause.
    pub(super) fn new(root: &Root) -> Result<Self, String> {
        let hierarchy = second_version()?;
        let below = if hierarchy.own == "/" { "" } else { hierarchy.own.as_str() };
        let above = format!("{}{below}", hierarchy.mount);
        // With the birth no other process has had the name, and who finds it taken does not use it.
        let birth = process::own_birth(Pid::this()).map_err(|e| e.desc().to_owned())?;
        let name = format!("glexec.{}.{}", birth.pid, birth.start);
        let path = format!("{above}/{name}");
        let parent = open_below(root, &hierarchy.mount, &above).map_err(Missing::clause)?;
        mkdirat(&parent, name.as_str(), Mode::from_bits_truncate(0o755))
            .map_err(|errno| format!("{path}: {}", errno.desc()))?;
        let directory = open_leaf(root, &parent, &name, &path).map_err(Missing::clause)?;
        Ok(Self { directory, parent, name, path })
    }

    /// A leaf that a lost run left behind; `None` where it is gone.
    ///
    /// # Errors
    /// Why it cannot be told what is in it; one clause.
    pub fn of(root: &Root, path: &str) -> Result<Option<Self>, String> {
        let split = path.rsplit_once('/').filter(|(_, name)| is_name_of_leaf(name));
        let (above, name) = split.ok_or_else(|| format!("{path} is no leaf of glexec's"))?;
        let opened = open_below(root, &second_version()?.mount, above);
        let Some(parent) = there(opened)? else { return Ok(None) };
        let opened = open_leaf(root, &parent, name, path);
        let Some(directory) = there(opened)? else { return Ok(None) };
        Ok(Some(Self { directory, parent, name: name.to_owned(), path: path.to_owned() }))
    }

    /// Moves a child of this process in.
    ///
    /// # Errors
    /// write(2)'s.
    pub(super) fn admit(&self, _root: &Root, child: Pid) -> Result<(), Errno> {
        put(&self.directory, "cgroup.procs", &child.to_string())
    }

    /// Kills all that is in it, in one go (Linux 5.14), and waits for its emptiness, which is an
    /// event. Whether it is empty.
    pub fn kill(&self, root: &Root, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        self.kill_now(root);
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let Ok(events) = openat(&self.directory, "cgroup.events", flags, Mode::empty()) else {
            return false;
        };
        loop {
            let mut text = [0u8; 256];
            let length = nix::sys::uio::pread(&events, &mut text, 0).unwrap_or(0);
            let text = String::from_utf8_lossy(text.get(..length).unwrap_or_default());
            let left = until.saturating_duration_since(Instant::now());
            if is_empty(&text) || left.is_zero() {
                return is_empty(&text);
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let _ = poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], timeout);
        }
    }

    /// KILL to all that is in it, and to what is being forked there (Linux 5.14). Whether it worked
    /// shows by who is left.
    pub(super) fn kill_now(&self, _root: &Root) {
        let _ = put(&self.directory, "cgroup.kill", "1");
    }

    /// How many processes are in it.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn count(&self) -> Result<usize, Errno> {
        read(&self.directory, "cgroup.procs").map(|text| text.lines().count())
    }

    /// Removes the leaf, which must be empty.
    pub fn remove(self) {
        let _ = unlinkat(&self.parent, self.name.as_str(), UnlinkatFlags::RemoveDir);
    }
}
