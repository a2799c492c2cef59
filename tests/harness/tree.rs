//! The files that the first process of a namespace sees, written from outside.

use crate::raw;
use anyhow::{Context as _, Result};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// A root directory. A path inside is absolute, and no symbolic link in it is.
#[derive(Debug)]
pub(crate) struct Tree(PathBuf);

impl Tree {
    /// The root directory of this process.
    pub(crate) fn of(pid: i32) -> Self {
        Self(PathBuf::from(format!("/proc/{pid}/root")))
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        let mut path = self.0.clone().into_os_string();
        path.push(inside);
        path.into()
    }

    pub(crate) fn install(&self, from: &Path, to: &str, mode: u32) -> Result<()> {
        let to = self.path(to);
        let _no_fork = raw::FORKING.read().unwrap_or_else(PoisonError::into_inner);
        fs::copy(from, &to).with_context(|| format!("{} (run tests/build)", from.display()))?;
        chown(&to, Some(0), Some(0))?;
        fs::set_permissions(&to, Permissions::from_mode(mode))?;
        Ok(())
    }

    pub(crate) fn file(&self, inside: &str, text: impl AsRef<[u8]>, mode: u32) {
        let path = self.path(inside);
        let _no_fork = raw::FORKING.read().unwrap_or_else(PoisonError::into_inner);
        fs::write(&path, text).unwrap_or_else(|e| panic!("{inside}: {e}"));
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect(inside);
    }

    pub(crate) fn directory(&self, inside: &str, owner: (u32, u32), mode: u32) {
        fs::create_dir_all(self.path(inside)).unwrap_or_else(|e| panic!("{inside}: {e}"));
        self.own(inside, owner);
        self.mode(inside, mode);
    }

    pub(crate) fn link(&self, target: &str, inside: &str) {
        let path = self.path(inside);
        let _ = fs::remove_file(&path);
        symlink(target, &path).unwrap_or_else(|e| panic!("{inside}: {e}"));
    }

    pub(crate) fn own(&self, inside: &str, (uid, gid): (u32, u32)) {
        chown(self.path(inside), Some(uid), Some(gid)).unwrap_or_else(|e| panic!("{inside}: {e}"));
    }

    pub(crate) fn mode(&self, inside: &str, mode: u32) {
        let permissions = Permissions::from_mode(mode);
        fs::set_permissions(self.path(inside), permissions)
            .unwrap_or_else(|e| panic!("{inside}: {e}"));
    }

    pub(crate) fn read(&self, inside: &str) -> String {
        fs::read(self.path(inside))
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .unwrap_or_default()
    }
}
