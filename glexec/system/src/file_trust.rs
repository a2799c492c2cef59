//! Whether a file, or a directory on the way to it, can be changed by somebody who must not.

use nix::unistd::{Gid, Uid};

/// Who, besides root, may change a file and its path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    /// One account more.
    pub user: Option<Uid>,
    /// One group more.
    pub group: Option<Gid>,
    /// Accounts that are in `group`, by its list or as their primary group.
    pub members: Vec<Uid>,
}

impl Trust {
    /// Whether this account may own, or write by an ACL.
    fn allows(&self, uid: Uid) -> bool {
        uid.is_root() || self.user == Some(uid) || self.members.contains(&uid)
    }
}

/// Who can change a file and must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// This account.
    User(Uid),
    /// Everybody in this group.
    Group(Gid),
    /// Everybody, or it cannot be told who.
    Anybody,
}

/// Why a file is not trusted: because of whom, and one clause to follow the file's name.
pub type Distrust = (Stranger, String);

/// What fstat(2) and, where the group may write, fgetxattr(2) say of one path component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Who owns it.
    pub uid: Uid,
    /// Its group.
    pub gid: Gid,
    /// Permission bits, type bits cut off.
    pub mode: u32,
    /// The value of `system.posix_acl_access`, where there is one.
    pub acl: Option<Vec<u8>>,
}

const GROUP_WRITE: u32 = 0o020;
const OTHER_WRITE: u32 = 0o002;

impl Component {
    /// Whether an ACL can matter: its mask shows as the group bits, so without group write no
    /// entry of it grants any (acl(5)).
    pub const fn needs_acl(mode: u32) -> bool {
        mode & GROUP_WRITE != 0
    }

    /// Who can change this and must not; `Ok` where nobody can. A sticky bit excuses nothing.
    ///
    /// # Errors
    /// [`Distrust`].
    pub fn judge(&self, trust: &Trust) -> Result<(), Distrust> {
        if !trust.allows(self.uid) {
            let clause = format!("is owned by uid {}, not by root", self.uid);
            return Err((Stranger::User(self.uid), clause));
        }
        if self.mode & OTHER_WRITE != 0 {
            let clause = format!("is writable by everybody (mode {:04o})", self.mode);
            return Err((Stranger::Anybody, clause));
        }
        if self.mode & GROUP_WRITE == 0 {
            return Ok(());
        }
        match &self.acl {
            None if Some(self.gid) == trust.group => Ok(()),
            None => {
                let clause = format!("is writable by group {} (mode {:04o})", self.gid, self.mode);
                Err((Stranger::Group(self.gid), clause))
            }
            Some(acl) => judge_acl(acl, self.gid, trust),
        }
    }
}

/// The kernel's form of an ACL: a version, then entries of tag, permissions, id
/// (linux/posix_acl_xattr.h).
fn judge_acl(acl: &[u8], owning_group: Gid, trust: &Trust) -> Result<(), Distrust> {
    const USER: u16 = 0x02;
    const GROUP_OBJ: u16 = 0x04;
    const GROUP: u16 = 0x08;
    const WRITE: u16 = 2;
    let unreadable = || (Stranger::Anybody, "has an ACL that cannot be read".to_owned());
    let (version, entries) = acl.split_at_checked(4).ok_or_else(unreadable)?;
    if version != 2u32.to_le_bytes() || entries.len() % 8 != 0 {
        return Err(unreadable());
    }
    for entry in entries.chunks_exact(8) {
        let [t0, t1, p0, p1, i0, i1, i2, i3] = entry else { continue };
        let (tag, permissions) = (u16::from_le_bytes([*t0, *t1]), u16::from_le_bytes([*p0, *p1]));
        let id = u32::from_le_bytes([*i0, *i1, *i2, *i3]);
        if permissions & WRITE == 0 {
            continue;
        }
        let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
        let stranger = match tag {
            USER if !trust.allows(user) => Stranger::User(user),
            GROUP if trust.group != Some(group) => Stranger::Group(group),
            GROUP_OBJ if trust.group != Some(owning_group) => Stranger::Group(owning_group),
            _ => continue,
        };
        let who = match stranger {
            Stranger::User(uid) => format!("uid {uid}"),
            Stranger::Group(gid) => format!("gid {gid}"),
            Stranger::Anybody => "everybody".to_owned(),
        };
        return Err((stranger, format!("is writable by {who} through its ACL")));
    }
    Ok(())
}

/// The components of an absolute canonical path, or why it is not one.
///
/// # Errors
/// One clause, to follow the path.
pub fn components(path: &str) -> Result<Vec<&str>, &'static str> {
    let rest = path.strip_prefix('/').ok_or("is not absolute")?;
    let parts: Vec<&str> = rest.split('/').collect();
    if parts.iter().any(|p| p.is_empty() || *p == "." || *p == "..") {
        return Err("is not canonical: it has '.', '..', or a doubled or trailing '/'");
    }
    if path.contains('\0') {
        return Err("has a NUL in it");
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(uid: u32, gid: u32, mode: u32, acl: Option<Vec<u8>>) -> Component {
        Component { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid), mode, acl }
    }

    fn acl(entries: &[(u16, u16, u32)]) -> Option<Vec<u8>> {
        let mut out = 2u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            out.extend(tag.to_le_bytes());
            out.extend(permissions.to_le_bytes());
            out.extend(id.to_le_bytes());
        }
        Some(out)
    }

    #[test]
    fn only_root_and_who_is_trusted_may_write() {
        let nobody = Trust::default();
        let group = Trust {
            user: Some(Uid::from_raw(7)),
            group: Some(Gid::from_raw(8)),
            members: vec![Uid::from_raw(6)],
        };
        for (uid, gid, mode, plain, trusted) in [
            (0, 0, 0o755, true, true),
            (0, 5, 0o600, true, true),
            (7, 0, 0o755, false, true),
            (6, 0, 0o755, false, true),
            (6, 6, 0o775, false, false),
            (9, 0, 0o500, false, false),
            (0, 0, 0o775, false, false),
            (0, 8, 0o775, false, true),
            (0, 9, 0o775, false, false),
            (0, 0, 0o777, false, false),
            (0, 0, 0o1777, false, false),
            (0, 0, 0o1757, false, false),
            (0, 8, 0o1757, false, false),
            (0, 8, 0o777, false, false),
        ] {
            let component = component(uid, gid, mode, None);
            assert_eq!(component.judge(&nobody).is_ok(), plain, "{component:?}");
            assert_eq!(component.judge(&group).is_ok(), trusted, "{component:?}");
        }
    }

    #[test]
    fn an_acl_grants_no_more_than_the_bits_may() {
        let trust = Trust {
            user: Some(Uid::from_raw(7)),
            group: Some(Gid::from_raw(8)),
            members: vec![Uid::from_raw(10)],
        };
        let judge = |entries: &[(u16, u16, u32)]| {
            component(0, 5, 0o770, acl(entries)).judge(&trust).is_ok()
        };
        assert!(judge(&[
            (1, 7, u32::MAX),
            (2, 7, 7),
            (2, 7, 10),
            (2, 7, 0),
            (4, 5, u32::MAX),
            (8, 6, 8),
            (16, 7, u32::MAX)
        ]));
        assert!(!judge(&[(1, 7, u32::MAX), (2, 6, 9)]), "another user");
        assert!(!judge(&[(8, 2, 9)]), "another group");
        assert!(!judge(&[(4, 2, u32::MAX)]), "the owning group, which is not trusted");
        assert!(component(0, 5, 0o770, Some(vec![1, 2, 3])).judge(&trust).is_err());
        let mut of_another_version = acl(&[(1, 7, u32::MAX)]).unwrap();
        of_another_version[0] = 3;
        assert!(component(0, 5, 0o770, Some(of_another_version)).judge(&trust).is_err());
        let mut cut = acl(&[(1, 7, u32::MAX)]).unwrap();
        cut.pop();
        assert!(component(0, 5, 0o770, Some(cut)).judge(&trust).is_err());
    }

    #[test]
    fn a_path_is_absolute_and_canonical_or_it_is_none() {
        assert_eq!(components("/usr/sbin/x"), Ok(vec!["usr", "sbin", "x"]));
        for bad in ["bin/x", "../x", "/a/../b", "/a/", "//a", "/a//b", "/", "/a/./b", "", "/a\0b"] {
            assert!(components(bad).is_err(), "{bad:?}");
        }
    }
}
