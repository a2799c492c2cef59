//! Gives directories of the caller's to the target for a run, and back afterwards. What changes
//! hands is first looked at by a descriptor that was opened without following anything, and then
//! changed by the same descriptor.

use super::root::Root;
use super::state::{StateDir, whole};
use super::sys::{self, Status};
use crate::contract::Reason;
use crate::decide::config::StateRule;
use crate::decide::entry::{Bytes, Handed, Story};
use crate::decide::handover::{Fate, Kind, Pair, Seen, leaves};
use crate::decide::plan::{Linger, Plan};
use crate::decide::stop::Stop;
use crate::decide::witness::{Level, Witness};
use nix::dir::{Dir, OwningIter};
use nix::errno::Errno;
use nix::fcntl::{
    AT_FDCWD, AtFlags, FcntlArg, OFlag, OpenHow, ResolveFlag, fcntl, openat, openat2, readlinkat,
    renameat,
};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat};
use nix::sys::statfs::{FUSE_SUPER_MAGIC, fstatfs};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, unlinkat};
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::time::SystemTime;

/// What lies deeper is not handed over: each level holds two descriptors, and the threshold sees
/// to 1024.
const DEEPEST: usize = 256;
/// Where what must not go back is put, in the state directory.
const QUARANTINE: &str = "quarantine";

/// A directory that is the caller's.
#[derive(Debug)]
pub(super) struct HandOver {
    /// Opened by `O_PATH`.
    directory: OwnedFd,
    /// What is written down of it.
    handed: Handed,
}

/// The directories of a run while the target has them.
#[derive(Debug)]
pub(super) struct Hands {
    state: StateDir,
    parties: Parties,
    held: Vec<(HandOver, Hold)>,
}

/// The lock on a directory: one run at a time.
#[derive(Debug)]
struct Hold {
    _file: OwnedFd,
    name: String,
}

/// Major and minor number of a file system's device.
type Device = (u32, u32);

/// Between whom: uid and gid.
#[derive(Debug, Clone, Copy)]
struct Parties {
    caller: (u32, u32),
    target: (u32, u32),
}

/// What did not go back as it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Taken out.
    quarantined: u32,
    /// Still the target's.
    failed: u32,
}

fn refused(path: &[u8], what: &str) -> Stop {
    let path = crate::decide::text::escaped(path);
    Stop::new(Reason::HandOver, format!("{path} cannot be handed over: it {what}"))
        .hint("name a directory of yours on a local file system, by a path without links")
}

/// Opens the directories that the caller's variables name. Done with the caller's rights and
/// before anything is owed: a file system that hangs hangs the caller's own call.
///
/// # Errors
/// [`Reason::HandOver`].
pub(super) fn open(plan: &Plan, linger: &Linger) -> Result<Vec<HandOver>, Stop> {
    let caller = plan.caller.uid().as_raw();
    let mut opened: Vec<HandOver> = Vec::new();
    for path in &linger.hand_over {
        let refused = |what: &str| refused(path, what);
        let (directory, devices) =
            reach(path, None).map_err(|e| refused(&format!("cannot be opened ({})", e.desc())))?;
        let fuse = fstatfs(&directory).is_ok_and(|fs| fs.filesystem_type() == FUSE_SUPER_MAGIC);
        let status = sys::status_of(directory.as_fd(), true).map_err(|e| refused(e.desc()))?;
        if status.uid != caller {
            return Err(refused("is not yours"));
        }
        if fuse {
            return Err(refused("is on a file system that a user serves"));
        }
        let handed = Handed {
            path: Bytes(path.clone()),
            device: status.device,
            inode: status.inode,
            born: status.born,
            devices,
        };
        if opened.iter().all(|other| !other.handed.is_same(&handed)) {
            opened.push(HandOver { directory, handed });
        }
    }
    Ok(opened)
}

/// From the root directory down, each name on its own, and no link followed. Where the file
/// systems are told, none is asked for anything that is not one of them: a user may have put one
/// there that never answers. They go by their devices, for a scheduler's job may have had a mount
/// namespace of its own, in which every mount has another number.
fn reach(path: &[u8], told: Option<&[Device]>) -> Result<(OwnedFd, Vec<Device>), Errno> {
    let rest = path.strip_prefix(b"/").ok_or(Errno::EINVAL)?;
    let names = rest.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut devices = Vec::new();
    let mut at = openat(AT_FDCWD, "/", flags, Mode::empty())?;
    for name in names {
        if name == b".." || name == b"." {
            return Err(Errno::EINVAL);
        }
        at = openat(&at, OsStr::from_bytes(name), flags, Mode::empty())?;
        let device = sys::status_of(at.as_fd(), false)?.device;
        if told.is_some_and(|told| told.get(devices.len()) != Some(&device)) {
            return Err(Errno::EXDEV);
        }
        devices.push(device);
    }
    if devices.is_empty() { Err(Errno::EINVAL) } else { Ok((at, devices)) }
}

impl HandOver {
    /// The directory of a lost run, where it is the one that was written down, and no other that
    /// has its name now. The devices of another boot say nothing.
    fn again(handed: &Handed, same_boot: bool) -> Option<Self> {
        let (directory, _) = reach(&handed.path.0, same_boot.then_some(&handed.devices)).ok()?;
        let status = sys::status_of(directory.as_fd(), false).ok()?;
        let now = (status.device, status.inode, status.born);
        let same = now == (handed.device, handed.inode, handed.born);
        same.then(|| Self { directory, handed: handed.clone() })
    }

    pub(super) fn number(&self) -> RawFd {
        self.directory.as_raw_fd()
    }

    fn owner(&self) -> Option<u32> {
        sys::status_of(self.directory.as_fd(), true).ok().map(|status| status.uid)
    }

    /// Gives it to the target: the directory first, so that the caller can change nothing of it
    /// any more, then what is in it; a directory always before what is in it. What could not be
    /// given is not looked into, so that all that is the target's is below what is the target's.
    fn forth(&self, root: &Root, parties: Parties) -> Result<(), Errno> {
        let (to, pair) = (parties.target, parties.pair());
        pass(root, &self.directory, to)?;
        let mut walk = Walk::new(self, Way::Forth);
        while let Some(step) = walk.next() {
            let Step::Entry(entry) = step else { continue };
            let passed =
                entry.seen.forth(pair) == Fate::Pass && pass(root, &entry.file, to).is_ok();
            if passed && entry.seen.kind == Kind::Directory {
                let _ = walk.enter(entry.file);
            }
        }
        Ok(())
    }

    /// Gives it back: what is in a directory before the directory, so that the caller reaches
    /// nothing that has not been looked at. Can be done again after an interruption.
    fn back(&self, root: &Root, parties: Parties, state: &StateDir) -> Counted {
        let (to, pair) = (parties.caller, parties.pair());
        let quarantine = quarantine(state);
        let mut counted = Counted::default();
        let mut walk = Walk::new(self, Way::Back);
        while let Some(step) = walk.next() {
            let entry = match step {
                Step::Left(directory) => {
                    counted.failed += u32::from(pass(root, &directory, to).is_err());
                    continue;
                }
                Step::Entry(entry) => entry,
            };
            let Entry { file, seen, name } = entry;
            let out = match seen.back(pair) {
                Fate::Stay => false,
                Fate::Pass if seen.kind == Kind::Directory => !walk.enter(file),
                Fate::Pass => {
                    counted.failed += u32::from(pass(root, &file, to).is_err());
                    false
                }
                Fate::Quarantine => true,
            };
            if out && walk.take_out((&name, seen.kind), quarantine.as_ref()) {
                counted.quarantined = counted.quarantined.saturating_add(1);
            } else if out {
                walk.seal(root, &name);
                counted.failed = counted.failed.saturating_add(1);
            }
        }
        counted.failed += u32::from(pass(root, &self.directory, to).is_err());
        counted
    }
}

/// Locks the directory; `None` where another run has it.
fn hold(handed: &Handed, state: &StateDir) -> Result<Option<Hold>, Stop> {
    let (major, minor) = handed.device;
    let name = format!("handed.{major}.{minor}.{}", handed.inode);
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    for _ in 0..8 {
        let file = openat(state.descriptor(), name.as_str(), flags, mode)
            .map_err(|e| state.unusable(&name, e))?;
        // This lock belongs to the open file: it goes along through a fork of glexec's own.
        if fcntl(&file, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK))).is_err() {
            break;
        }
        // Who had it before removes the name with the lock still held.
        if fstat(&file).is_ok_and(|stat| stat.st_nlink > 0) {
            return Ok(Some(Hold { _file: file, name }));
        }
    }
    Ok(None)
}

/// What a walk meets.
enum Step {
    Entry(Entry),
    /// A directory that was entered and has nothing more.
    Left(OwnedFd),
}

/// One entry, by its own descriptor.
struct Entry {
    file: OwnedFd,
    seen: Seen,
    name: CString,
}

/// A directory that is being gone through.
struct Floor {
    /// Opened by `O_PATH`; the top of a walk has none of its own.
    file: Option<OwnedFd>,
    listed: OwnedFd,
    names: OwningIter,
}

/// Where a walk hands things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Forth,
    Back,
}

/// Goes through a directory and those below it that are entered, without recursion.
struct Walk<'h> {
    over: &'h HandOver,
    way: Way,
    levels: Vec<Floor>,
}

impl<'h> Walk<'h> {
    fn new(over: &'h HandOver, way: Way) -> Self {
        let level =
            list(&over.directory, way).map(|(listed, names)| Floor { file: None, listed, names });
        Self { over, way, levels: level.into_iter().collect() }
    }

    fn next(&mut self) -> Option<Step> {
        loop {
            let depth = self.levels.len().checked_sub(1)?;
            let level = self.levels.last_mut()?;
            let Some(Ok(next)) = level.names.next() else {
                match self.levels.pop().and_then(|level| level.file) {
                    Some(file) => return Some(Step::Left(file)),
                    None => continue,
                }
            };
            let name = next.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let path = &self.over.handed.path.0;
            if let Some((file, seen)) = look(&level.listed, name, (depth, path)) {
                return Some(Step::Entry(Entry { file, seen, name: name.to_owned() }));
            }
        }
    }

    /// Goes through this directory next; false where it is too deep or cannot be listed.
    fn enter(&mut self, file: OwnedFd) -> bool {
        let deeper = (self.levels.len() < DEEPEST).then(|| list(&file, self.way)).flatten();
        let Some((listed, names)) = deeper else { return false };
        self.levels.push(Floor { file: Some(file), listed, names });
        true
    }

    /// Takes an entry of the current directory out: into the quarantine where that is on the same
    /// file system. Elsewhere what holds nothing is removed. False where it stays.
    fn take_out(&self, (name, kind): (&CString, Kind), quarantine: Option<&OwnedFd>) -> bool {
        let Some(Floor { listed, .. }) = self.levels.last() else { return false };
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let to = format!("{:x}.{}", since.map_or(0, |d| d.as_nanos()), nix::unistd::getpid());
        let moved = quarantine.is_some_and(|quarantine| {
            renameat(listed, name.as_c_str(), quarantine, to.as_str()).is_ok()
        });
        moved
            || matches!(kind, Kind::Other | Kind::Link)
                && unlinkat(listed, name.as_c_str(), UnlinkatFlags::NoRemoveDir).is_ok()
    }

    /// A directory that could not be taken out is nobody's way: nothing in it has been looked at.
    fn seal(&self, root: &Root, name: &CStr) {
        let Some(Floor { listed, .. }) = self.levels.last() else { return };
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_XDEV);
        if let Ok(directory) = openat2(listed, name, how) {
            let _ = pass(root, &directory, (0, 0));
            let _ = fchmod(&directory, Mode::S_IRWXU);
        }
    }
}

/// On the way back only its owner may write in it from here on: whom the target has let in could
/// put something into it that has not been looked at, while the caller works with it.
fn list(directory: &OwnedFd, way: Way) -> Option<(OwnedFd, OwningIter)> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let listed = openat(directory, ".", flags, Mode::empty()).ok()?;
    let mode = Mode::from_bits_truncate(fstat(&listed).ok()?.st_mode);
    let of_others = Mode::S_IWGRP | Mode::S_IWOTH;
    if way == Way::Back && mode.intersects(of_others) {
        fchmod(&listed, mode - of_others).ok()?;
    }
    let again = openat(directory, ".", flags, Mode::empty()).ok()?;
    Some((listed, Dir::from_fd(again).ok()?.into_iter()))
}

/// Looks at one entry. What is mounted there is nobody's entry and is not asked anything.
fn look(directory: &OwnedFd, name: &CStr, (depth, own): (usize, &[u8])) -> Option<(OwnedFd, Seen)> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV);
    let file = openat2(directory, name, how).ok()?;
    let status = sys::status_of(file.as_fd(), true).ok()?;
    let kind = kind_of(&status);
    let leaves = kind == Kind::Link
        && readlinkat(&file, c"").map_or(true, |text| leaves(text.as_bytes(), depth, own));
    Some((file, Seen { kind, uid: status.uid, links: status.links, leaves }))
}

fn kind_of(status: &Status) -> Kind {
    let kind = SFlag::from_bits_truncate(status.mode & SFlag::S_IFMT.bits());
    if kind == SFlag::S_IFDIR {
        Kind::Directory
    } else if kind == SFlag::S_IFREG {
        Kind::Regular
    } else if kind == SFlag::S_IFLNK {
        Kind::Link
    } else {
        Kind::Other
    }
}

/// Changes the owner of what a descriptor stands for; the setuid bit and capabilities of a file
/// are taken away by the kernel in the same step (chown(2)).
fn pass(_root: &Root, file: &OwnedFd, (uid, gid): (u32, u32)) -> Result<(), Errno> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    fchownat(file, c"", uid, gid, AtFlags::AT_EMPTY_PATH)
}

fn quarantine(state: &StateDir) -> Option<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let _ = mkdirat(state.descriptor(), QUARANTINE, Mode::S_IRWXU);
    openat(state.descriptor(), QUARANTINE, flags, Mode::empty()).ok()
}

impl Parties {
    const fn pair(&self) -> Pair {
        Pair { caller: self.caller.0, target: self.target.0 }
    }
}

impl Counted {
    fn and(self, other: Self) -> Self {
        Self {
            quarantined: self.quarantined.saturating_add(other.quarantined),
            failed: self.failed.saturating_add(other.failed),
        }
    }

    /// Says in the log what did not go back.
    fn tell(self, witness: &dyn Witness) {
        let Self { quarantined, failed } = self;
        if quarantined + failed > 0 {
            let text = format!(
                "handed back all but {} entries: {quarantined} to the quarantine of the state directory or removed, {failed} left as the target's",
                quarantined.saturating_add(failed)
            );
            witness.log(Level::Warning, &text);
        }
    }
}

impl Hands {
    /// Locks the directories for this run; nothing changes hands yet. `None` where there are
    /// none.
    ///
    /// # Errors
    /// [`Reason::HandOver`] where another run has one; [`Reason::State`].
    pub(super) fn hold(
        root: &Root,
        (plan, rule): (&Plan, Option<&StateRule>),
        opened: Vec<HandOver>,
    ) -> Result<Option<Self>, Stop> {
        let (Some(rule), false) = (rule, opened.is_empty()) else { return Ok(None) };
        let ids = |uid: Uid, gid: Gid| (uid.as_raw(), gid.as_raw());
        let parties = Parties {
            caller: ids(plan.caller.uid(), plan.caller.gid()),
            target: ids(plan.target.uid(), plan.target.gid()),
        };
        let state = StateDir::open(root, rule)?;
        let mut hands = Self { state, parties, held: Vec::new() };
        for over in opened {
            let hold = hold(&over.handed, &hands.state);
            let busy = || refused(&over.handed.path.0, "is in the hands of another run");
            // Another run may have taken it, and died, since it was opened.
            let still = over.owner() == Some(parties.caller.0);
            match hold.and_then(|hold| hold.filter(|_| still).ok_or_else(busy)) {
                Ok(hold) => hands.held.push((over, hold)),
                Err(stop) => {
                    hands.release();
                    return Err(stop);
                }
            }
        }
        Ok(Some(hands))
    }

    /// What is to be written down before anything changes hands.
    pub(super) fn handed(&self) -> Vec<Handed> {
        self.held.iter().map(|(over, _)| over.handed.clone()).collect()
    }

    /// Gives everything to the target.
    ///
    /// # Errors
    /// [`Reason::HandOver`] where a directory itself cannot be given.
    pub(super) fn forth(&self, root: &Root) -> Result<(), Stop> {
        for (over, _) in &self.held {
            over.forth(root, self.parties).map_err(|e| {
                refused(&over.handed.path.0, &format!("cannot change hands ({})", e.desc()))
            })?;
        }
        Ok(())
    }

    /// Gives everything back and lets it go.
    pub(super) fn back(self, root: &Root, witness: &dyn Witness) {
        let all = self.held.iter().map(|(over, _)| over.back(root, self.parties, &self.state));
        all.fold(Counted::default(), Counted::and).tell(witness);
        self.release();
    }

    /// Lets the directories go as they are: each name goes while its lock is still held.
    pub(super) fn release(self) {
        for (_, Hold { name, .. }) in &self.held {
            let _ = unlinkat(self.state.descriptor(), name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// Gives back what a lost run had. What another run has by now was given back before.
pub(super) fn give_back(
    root: &Root,
    (state, story, same_boot): (&StateDir, &Story, bool),
    witness: &dyn Witness,
) {
    let ids = |person: &crate::decide::entry::Person| {
        (person.uid, person.gids.first().copied().unwrap_or(person.uid))
    };
    let entry = &story.entry;
    let parties = Parties { caller: ids(&entry.caller), target: ids(&entry.target) };
    let mut all = Counted::default();
    for handed in &entry.handed {
        let Ok(Some(hold)) = hold(handed, state) else { continue };
        let over = HandOver::again(handed, same_boot);
        if let Some(over) = over.filter(|over| over.owner() == Some(parties.target.0)) {
            all = all.and(over.back(root, parties, state));
        }
        let _ = unlinkat(state.descriptor(), hold.name.as_str(), UnlinkatFlags::NoRemoveDir);
    }
    all.tell(witness);
}
