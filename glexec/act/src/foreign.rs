//! Out of control groups that are not root's alone: who may write to one can freeze what is in it,
//! move it, and kill it, root's processes like others (cgroups(7), delegation).

use super::root::Root;
use decide::cgroups::{Membership, is_frozen, is_frozen_v1, memberships};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, stat};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, fstatfs};
use nix::unistd::{Pid, write};
use std::os::fd::OwnedFd;
use system::file_trust::Trust;
use system::process;
use system::secure_open;
use system::text::escaped;

/// Who may write to one of these files can move or freeze what is in the group (cgroups(7)).
const FILES_V1: &[&str] = &["cgroup.procs", "tasks", "freezer.state"];
/// The same of version 2 (the kernel's admin-guide/cgroup-v2.rst).
const FILES_V2: &[&str] =
    &["cgroup.procs", "cgroup.threads", "cgroup.freeze", "cgroup.kill", "cgroup.type"];
/// Until a group is left its owner may move this process on; after that nobody may.
const ROUNDS: u32 = 4;

/// How [`leave_foreign`] ended.
#[derive(Debug)]
pub(super) enum Left {
    /// Every group is root's alone: what /proc/self/cgroup told then.
    Safe(Vec<u8>),
    /// What did not work, or cannot be told, a clause each: this process, and what it starts, can be
    /// frozen or killed by others.
    Exposed(Vec<String>),
}

/// Moves this process, in every hierarchy, out of groups that somebody else than root may write
/// to: into the nearest ancestor that is root's alone like everything above it, and that takes
/// processes (one of version 2 with controllers below it does not; the root takes everybody).
/// Nothing is looked at where it still is in the groups that were `safe`: nobody but root could
/// have moved it since, or given them away.
pub(super) fn leave_foreign(root: &Root, safe: Option<&[u8]>) -> Left {
    let mut failed = Vec::new();
    for _ in 0..ROUNDS {
        let own = match process::read_whole(OWN).map_err(|e| told(OWN, e)) {
            Ok(own) => own,
            Err(clause) => return Left::Exposed(vec![clause]),
        };
        if safe == Some(own.as_bytes()) {
            return Left::Safe(own.into_bytes());
        }
        let groups = match Mounts::now().and_then(|mounts| mounts.memberships(OWN, &own)) {
            Ok(groups) => groups,
            Err(clause) => return Left::Exposed(vec![clause]),
        };
        let first = in_first_namespace();
        let mut above = Above::default();
        let done: Vec<_> =
            groups.iter().map(|group| leave(root, group, first, &mut above)).collect();
        let moved = done.contains(&Ok(true));
        failed = done.into_iter().filter_map(Result::err).collect();
        if !moved {
            return if failed.is_empty() {
                Left::Safe(own.into_bytes())
            } else {
                Left::Exposed(failed)
            };
        }
    }
    failed.push("it is moved from one control group to another all the time".to_owned());
    Left::Exposed(failed)
}

const OWN: &str = "/proc/self/cgroup";

/// Leaves one hierarchy's group where it has to be left: whether it was.
fn leave(root: &Root, group: &Membership, first: bool, above: &mut Above) -> Result<bool, String> {
    if is_top(group, first) {
        return Ok(false);
    }
    if group.seen.is_empty() {
        // What nobody can freeze by it is of no concern where it is not even mounted.
        return match group.freezes() {
            true => Err(format!("{} cannot be seen from here", group.shown())),
            false => Ok(false),
        };
    }
    let mut why = String::new();
    for (point, below) in &group.seen {
        match Chain::walk(root, above, point, below) {
            Ok(chain) => return chain.leave(),
            Err(clause) => why = clause,
        }
    }
    Err(why)
}

/// Whether this process is in the first cgroup namespace, which shows hierarchies as they are.
fn in_first_namespace() -> bool {
    /// Its inode (linux/proc_ns.h, `PROC_CGROUP_INIT_INO`).
    const FIRST: u64 = 0xefff_fffb;
    stat("/proc/self/ns/cgroup").is_ok_and(|stat| stat.st_ino == FIRST)
}

/// Whether a group is the root of its hierarchy for certain, which nobody can freeze or limit, and
/// out of which nobody else than root can move root's processes.
fn is_top(group: &Membership, first: bool) -> bool {
    first && group.own == "/"
}

/// The directory that the last mount point was found in: most of them are beside one another.
#[derive(Debug, Default)]
struct Above(Option<(String, OwnedFd)>);

impl Above {
    /// Opens a mount point, by directories that are root's alone.
    fn open(&mut self, _root: &Root, point: &str) -> Result<OwnedFd, String> {
        let (parent, name) = point.rsplit_once('/').unwrap_or(("", point));
        if !matches!(&self.0, Some((known, _)) if known == parent) {
            let (opened, _) = secure_open::open_parent(point, &Trust::default())
                .map_err(|u| u.clause().to_owned())?;
            self.0 = Some((parent.to_owned(), opened));
        }
        let (_, opened) = self.0.as_ref().ok_or_else(|| told(point, Errno::ENOENT))?;
        open_directory(opened, name).map_err(|e| told(point, e))
    }
}

/// The groups from a mount point down to this process's own, as far as they are root's alone.
struct Chain {
    safe: Vec<(String, OwnedFd)>,
    /// Why the next one is not.
    foreign: Option<String>,
}

impl Chain {
    fn walk(root: &Root, above: &mut Above, point: &str, below: &[String]) -> Result<Self, String> {
        let mut directory = above.open(root, point)?;
        let kind = fstatfs(&directory).map_err(|e| told(point, e))?.filesystem_type();
        if kind != CGROUP_SUPER_MAGIC && kind != CGROUP2_SUPER_MAGIC {
            return Err(format!("{} is covered by another mount", escaped(point.as_bytes())));
        }
        let files = if kind == CGROUP_SUPER_MAGIC { FILES_V1 } else { FILES_V2 };
        let mut chain = Self { safe: Vec::new(), foreign: None };
        let mut path = point.to_owned();
        let mut names = below.iter();
        loop {
            if let Err(why) = judge(&directory, &path, files) {
                chain.foreign = Some(why);
                return Ok(chain);
            }
            let Some(name) = names.next() else { break };
            let next = format!("{path}/{name}");
            let inner = open_directory(&directory, name).map_err(|e| told(&next, e))?;
            chain.safe.push((std::mem::replace(&mut path, next), directory));
            directory = inner;
        }
        chain.safe.push((path, directory));
        Ok(chain)
    }

    fn leave(self) -> Result<bool, String> {
        let Some(foreign) = self.foreign else { return Ok(false) };
        let mut why = String::new();
        for (path, directory) in self.safe.iter().rev() {
            match enter(directory) {
                Ok(()) => return Ok(true),
                Err(errno) => why = format!("; {}", told(&format!("{path}/cgroup.procs"), errno)),
            }
        }
        Err(format!("{foreign}{why}"))
    }
}

/// Whether a group is root's alone.
fn judge(directory: &OwnedFd, path: &str, files: &[&str]) -> Result<(), String> {
    let path = escaped(path.as_bytes());
    secure_open::judge(directory, &path, SFlag::S_IFDIR, &Trust::default())
        .map_err(|untrusted| untrusted.clause().to_owned())?;
    for name in files {
        // The kernel or the root may have no such file.
        secure_open::judge_in(directory, name, &format!("{path}/{name}"), SFlag::S_IFREG)
            .map_err(|untrusted| untrusted.clause().to_owned())?;
    }
    Ok(())
}

fn enter(directory: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let file = openat(directory, "cgroup.procs", flags, Mode::empty())?;
    write(&file, b"0").map(drop)
}

fn open_directory(above: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(above, name, flags, Mode::empty())
}

fn told(path: &str, errno: Errno) -> String {
    format!("{}: {}", escaped(path.as_bytes()), errno.desc())
}

/// This process's mounts, read once: what is mounted does not change under a running epilogue, and
/// the list may be long.
#[derive(Debug)]
pub(super) struct Mounts(String);

impl Mounts {
    /// As they are now.
    ///
    /// # Errors
    /// One clause.
    pub(super) fn now() -> Result<Self, String> {
        read("/proc/self/mountinfo").map(Self)
    }

    fn groups_of(&self, process: Pid) -> Result<Vec<Membership>, String> {
        let path = format!("/proc/{process}/cgroup");
        self.memberships(&path, &read(&path)?)
    }

    /// What the text of this file of /proc tells.
    fn memberships(&self, path: &str, text: &str) -> Result<Vec<Membership>, String> {
        memberships(&self.0, text)
            .map_err(|line| format!("{path} has a line that cannot be read: {line:?}"))
    }

    /// Whether a child of ours, not reaped, is frozen now, in whichever hierarchy.
    ///
    /// # Errors
    /// One clause where that cannot be told.
    pub(super) fn shows_frozen(&self, root: &Root, child: Pid) -> Result<bool, String> {
        let groups = self.groups_of(child)?;
        for group in groups.iter().filter(|group| group.freezes()) {
            if frozen(root, group)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn frozen(_root: &Root, group: &Membership) -> Result<bool, String> {
    if is_top(group, in_first_namespace()) {
        return Ok(false);
    }
    let mut why = format!("{} cannot be seen from here", group.shown());
    for (point, below) in &group.seen {
        let (name, says): (_, fn(&str) -> Option<bool>) = if group.is_v2() {
            ("cgroup.events", is_frozen)
        } else {
            ("freezer.state", is_frozen_v1)
        };
        let path = [point.as_str(), &below.join("/"), name].join("/");
        match process::read_text(&path).map(|text| says(&text)) {
            Ok(Some(frozen)) => return Ok(frozen),
            Ok(None) => {
                why = format!("{} does not say whether it is frozen", escaped(path.as_bytes()));
            }
            // The root of a hierarchy has no such file, and any other group has.
            Err(Errno::ENOENT)
                if below.is_empty() && is_there(&format!("{point}/cgroup.procs")) =>
            {
                return Ok(false);
            }
            Err(errno) => why = told(&path, errno),
        }
    }
    Err(why)
}

fn is_there(path: &str) -> bool {
    stat(path).is_ok()
}

fn read(path: &str) -> Result<String, String> {
    process::read_text(path).map_err(|errno| told(path, errno))
}
