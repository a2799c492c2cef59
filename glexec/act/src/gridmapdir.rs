//! Leases in a gridmapdir, which LCMAPS may use at the same time: link(2) makes one, and how many
//! names the account then has tells whether it was made alone.

mod taking;

use super::root::Root;
use contract::Reason;
use decide::gridmapdir::{Choice, Entry, choose, is_anothers, is_half_made};
use decide::refusal::Refusal;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags, fstat, fstatat, utimensat};
use nix::sys::time::TimeSpec;
use std::os::fd::OwnedFd;
use system::file_trust::Trust;
use system::secure_open::{self, Opened};
use taking::Taken;

/// For listing it.
const LISTED: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// An open gridmapdir.
#[derive(Debug)]
pub struct Gridmapdir {
    directory: OwnedFd,
    path: String,
}

/// Which account is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'w> {
    /// Whose.
    pub subject: &'w str,
    /// The name of the subject's lease.
    pub lease: &'w str,
    /// The pool.
    pub pool: &'w str,
    /// Whether a lease may be made, and is used; a rehearsal only looks.
    pub take: bool,
}

impl Gridmapdir {
    /// Opens the directory: root's, as every directory above it, and nobody else's to change.
    ///
    /// # Errors
    /// [`Reason::Mapping`].
    pub fn open(_root: &Root, path: &str) -> Result<Self, Refusal> {
        let trust = Trust::default();
        let unusable = |why: &str| Refusal::mapping(format!("gridmapdir: {why}"));
        let (parent, name) =
            secure_open::open_parent(path, &trust).map_err(|e| unusable(e.clause()))?;
        let directory = openat(&parent, name, LISTED, Mode::empty());
        let directory = directory.map_err(|e| unusable(&format!("{path}: {}", e.desc())))?;
        secure_open::judge(&directory, path, SFlag::S_IFDIR, &trust)
            .map_err(|e| unusable(e.clause()))?;
        Ok(Self::of(directory, path))
    }

    /// The one that is open already.
    pub fn of(directory: OwnedFd, path: &str) -> Self {
        Self { directory, path: path.to_owned() }
    }

    /// The account of the pool that the subject of this lease has, or is given now. One that does
    /// not exist is given to nobody. Root's `rights` are taken for each look and each attempt.
    ///
    /// # Errors
    /// [`Reason::NoFreeAccount`]; [`Reason::NoMapping`] where the subject has an account of another
    /// pool; [`Reason::Mapping`] where the directory cannot be used.
    pub fn account(
        &self,
        rights: &dyn Fn() -> Result<Root, Refusal>,
        wanted: &Wanted<'_>,
        exists: &mut dyn FnMut(&str) -> Result<bool, Refusal>,
    ) -> Result<String, Refusal> {
        /// Looks at the directory while others are at work in it.
        const LOOKS: u32 = 100;
        /// Looks that find none free: who else is at work may have linked the last one for a moment.
        const LOOKS_IN_VAIN: u32 = 3;
        let mut in_vain = 0;
        let mut seen = self.broken(wanted.lease, "is being changed without end");
        for _ in 0..LOOKS {
            let entries = self.entries(&rights()?)?;
            let (free, stale) = match choose(&entries, wanted.lease, wanted.pool) {
                Choice::Held(account) => {
                    let written = self.written(&rights()?, &account.name)?;
                    if is_anothers(&written, wanted.lease, wanted.subject) {
                        return Err(self.shared(wanted, &account.name));
                    }
                    if wanted.take {
                        self.touch(&rights()?, wanted.lease);
                        // LCMAPS would not obey a lease with one link too many.
                        if entries.iter().any(is_half_made) {
                            self.tidy(&rights()?)?;
                        }
                    }
                    return Ok(account.name.clone());
                }
                Choice::Elsewhere(account) => return Err(self.elsewhere(wanted, &account.name)),
                Choice::Unusable(why) => return Err(self.broken(wanted.lease, why)),
                Choice::Contended => {
                    let why = "has more than two links; remove the lease that is not the account's";
                    seen = self.broken(wanted.lease, why);
                    continue;
                }
                Choice::Free(free, stale) => (free, stale),
            };
            seen = none_free(wanted.pool);
            in_vain += 1;
            for account in free {
                if !exists(&account.name)? {
                    continue;
                }
                in_vain = 0;
                if !wanted.take {
                    return Ok(account.name.clone());
                }
                match self.take(&rights()?, wanted, account, stale)? {
                    Taken::Yes => return Ok(account.name.clone()),
                    Taken::Lost => {}
                    Taken::Again => break,
                }
            }
            if in_vain == LOOKS_IN_VAIN {
                break;
            }
        }
        Err(seen)
    }

    fn elsewhere(&self, wanted: &Wanted<'_>, account: &str) -> Refusal {
        let why = format!(
            "{}/{} is a lease of {account}, which is not of the pool {}; remove it where the subject is to move",
            self.path, wanted.lease, wanted.pool
        );
        Refusal::new(Reason::NoMapping, "your credential has an account of another pool")
            .detail(why)
            .hint("ask the site to remove the old lease")
    }

    /// Everything in it.
    ///
    /// # Errors
    /// [`Reason::Mapping`].
    pub fn entries(&self, _root: &Root) -> Result<Vec<Entry>, Refusal> {
        let list = nix::dir::Dir::openat(&self.directory, ".", LISTED, Mode::empty());
        let mut list = list.map_err(|e| self.unusable("", e))?;
        let mut entries = Vec::new();
        for entry in list.iter() {
            let entry = entry.map_err(|e| self.unusable("", e))?;
            let name = entry.file_name();
            match self.stat(name) {
                // It went between the listing and the look.
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(self.unusable(&name.to_string_lossy(), errno)),
                Ok(stat) => entries.push(Entry {
                    name: name.to_string_lossy().into_owned(),
                    inode: stat.st_ino,
                    links: stat.st_nlink,
                    regular: is_regular(&stat),
                    used: stat.st_mtime,
                }),
            }
        }
        Ok(entries)
    }

    /// Remembers that a lease was used: sites remove those that have not been for long.
    fn touch(&self, _root: &Root, lease: &str) {
        let now = TimeSpec::UTIME_NOW;
        let follow = UtimensatFlags::NoFollowSymlink;
        // Only the time hangs on it.
        let _ = utimensat(&self.directory, lease, &now, &now, follow);
    }

    /// The subject that an account's file names, or whatever stands in it.
    ///
    /// # Errors
    /// [`Reason::Mapping`].
    pub fn written(&self, _root: &Root, account: &str) -> Result<Vec<u8>, Refusal> {
        const MOST: u64 = 1 << 14;
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(&self.directory, account, flags, Mode::empty());
        let file = file.map_err(|errno| self.unusable(account, errno))?;
        let stat = fstat(&file).map_err(|errno| self.unusable(account, errno))?;
        let opened = Opened { file, stat };
        secure_open::read(opened, account, MOST).map_err(|e| self.broken(account, e.clause()))
    }

    fn shared(&self, wanted: &Wanted<'_>, account: &str) -> Refusal {
        let sentence = "the account of your credential is another subject's, which differs from yours in the case of letters only";
        let (path, lease) = (&self.path, wanted.lease);
        let why = format!(
            "{path}/{lease}, the lease of {account}, is another's than {}'s: {path}/{account} says whose",
            wanted.subject
        );
        Refusal::new(Reason::NoMapping, sentence)
            .detail(why)
            .hint("ask the site for an account by name")
    }

    fn stat<P: ?Sized + nix::NixPath>(&self, name: &P) -> Result<FileStat, Errno> {
        fstatat(&self.directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    fn unusable(&self, name: &str, errno: Errno) -> Refusal {
        self.broken(name, errno.desc())
    }

    /// A name of the directory that cannot be used.
    fn broken(&self, name: &str, why: &str) -> Refusal {
        Refusal::mapping(format!("{}/{name}: {why}", self.path))
    }
}

fn none_free(pool: &str) -> Refusal {
    Refusal::new(Reason::NoFreeAccount, "no account of the pool you are mapped to is free")
        .detail(format!("no account of the pool {pool} in gridmapdir is free and exists"))
        .hint("the site has to add some, or to remove leases that are not used any more")
}

fn is_regular(stat: &FileStat) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits()
}
