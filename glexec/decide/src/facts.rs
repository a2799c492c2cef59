//! What was observed, as plain data.

use super::entry::Person;
use nix::unistd::{Gid, Uid};
use std::ffi::OsString;
use std::path::PathBuf;

/// One line of the account database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Uid,
    /// Its primary gid.
    pub gid: Gid,
    /// Its home.
    pub home: OsString,
    /// Its shell.
    pub shell: OsString,
}

/// What the kernel says of who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelIds {
    /// Real uid.
    pub uid: Uid,
    /// Real gid.
    pub gid: Gid,
    /// The supplementary groups.
    pub groups: Vec<Gid>,
}

/// A group and its name, where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedGid {
    /// The group.
    pub gid: Gid,
    /// Its name.
    pub name: Option<String>,
}

/// Who runs glexec. Made in one place, from the kernel's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    uid: Uid,
    account: Option<Account>,
    group: NamedGid,
    groups: Vec<Gid>,
}

impl Caller {
    /// The caller the kernel named, with what the account database knows of these ids.
    pub fn from_kernel(ids: KernelIds, account: Option<Account>, group: Option<String>) -> Self {
        let group = NamedGid { gid: ids.gid, name: group };
        Self { uid: ids.uid, account, group, groups: ids.groups }
    }

    /// The account; `None` for a uid without one.
    pub const fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Real uid.
    pub const fn uid(&self) -> Uid {
        self.uid
    }

    /// Real gid.
    pub const fn gid(&self) -> Gid {
        self.group.gid
    }

    /// The account name; `None` for a uid without an account.
    pub fn name(&self) -> Option<&str> {
        self.account.as_ref().map(|account| account.name.as_str())
    }

    /// The account name, or the uid as a number where it has none.
    pub fn shown_name(&self) -> String {
        self.name().map_or_else(|| self.uid.to_string(), str::to_owned)
    }

    /// The primary group's name, or the gid as a number.
    pub fn shown_group(&self) -> String {
        let gid = self.group.gid;
        self.group.name.clone().unwrap_or_else(|| gid.to_string())
    }

    /// The supplementary groups.
    pub fn groups(&self) -> &[Gid] {
        &self.groups
    }

    /// What is remembered of the caller.
    pub fn person(&self) -> Person {
        let gids = std::iter::once(&self.group.gid).chain(&self.groups);
        let gids = gids.map(|gid| gid.as_raw()).collect();
        Person { name: self.shown_name(), uid: self.uid.as_raw(), gids }
    }
}

/// The caller's working directory as it was at the start.
pub type CallerDirectory = Option<PathBuf>;
