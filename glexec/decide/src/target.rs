//! Who may be a target at all.

use super::entry::Person;
use super::facts::Account;
use super::refusal::Refusal;
use contract::Reason;
use nix::unistd::{Gid, Uid};
use std::ffi::OsStr;

/// The account a payload runs as. Made only by [`Target::admit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    account: Account,
    group_name: Option<String>,
    groups: Vec<Gid>,
}

impl Target {
    /// Admits an account of the database: never uid 0 or gid 0, never a "no change" id, never
    /// below `min_uid`, no group 0.
    ///
    /// # Errors
    /// [`Reason::TargetNotAdmitted`], with what was wrong for the log.
    pub fn admit(
        account: Account,
        group_name: Option<String>,
        groups: Vec<Gid>,
        min_uid: u32,
    ) -> Result<Self, Refusal> {
        let refuse = |what: String| {
            let name = &account.name;
            let sentence = format!("the mapped account '{name}' is not admitted as a target");
            Refusal::new(Reason::TargetNotAdmitted, sentence)
                .detail(format!("account {name}: {what}"))
        };
        let (uid, gid) = (account.uid.as_raw(), account.gid.as_raw());
        if uid == 0 || uid == u32::MAX {
            return Err(refuse(format!("uid {uid} is never a target")));
        }
        if uid < min_uid {
            return Err(refuse(format!("uid {uid} is below min_target_uid {min_uid}")));
        }
        if gid == 0 || gid == u32::MAX {
            return Err(refuse(format!("primary gid {gid} is never a target's")));
        }
        if let Some(bad) = groups.iter().find(|g| matches!(g.as_raw(), 0 | u32::MAX)) {
            return Err(refuse(format!("it is in group {bad}; take it out of that group")));
        }
        Ok(Self { account, group_name, groups })
    }

    /// Its uid.
    pub const fn uid(&self) -> Uid {
        self.account.uid
    }

    /// Its primary gid.
    pub const fn gid(&self) -> Gid {
        self.account.gid
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.account.name
    }

    /// The primary group's name, or the gid as a number.
    pub fn shown_group(&self) -> String {
        let gid = self.account.gid;
        self.group_name.clone().unwrap_or_else(|| gid.to_string())
    }

    /// The supplementary groups.
    pub fn groups(&self) -> &[Gid] {
        &self.groups
    }

    /// Its home.
    pub fn home(&self) -> &OsStr {
        &self.account.home
    }

    /// The account, for the variables that name it.
    pub const fn account(&self) -> &Account {
        &self.account
    }

    /// What is remembered of it.
    pub fn person(&self) -> Person {
        let gids = std::iter::once(&self.account.gid).chain(&self.groups);
        let gids = gids.map(|gid| gid.as_raw()).collect();
        Person { name: self.account.name.clone(), uid: self.account.uid.as_raw(), gids }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn account(uid: u32, gid: u32) -> Account {
        Account {
            name: "pool001".to_owned(),
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid),
            home: "/home/pool001".into(),
            shell: "/bin/sh".into(),
        }
    }

    fn admitted(uid: u32, gid: u32, groups: &[u32], min: u32) -> bool {
        let groups = groups.iter().copied().map(Gid::from_raw).collect();
        Target::admit(account(uid, gid), None, groups, min).is_ok()
    }

    #[test]
    fn root_and_the_no_change_ids_are_never_targets() {
        assert!(admitted(1000, 1000, &[5], 100));
        assert!(admitted(4_000_000_000, 4_000_000_000, &[], 100));
        assert!(admitted(100, 100, &[], 100), "the least that may be");
        for (uid, gid, groups) in [
            (0, 100, &[][..]),
            (u32::MAX, 100, &[]),
            (99, 100, &[]),
            (1000, 0, &[]),
            (1000, u32::MAX, &[]),
            (1000, 100, &[5, 0]),
            (1000, 100, &[u32::MAX]),
        ] {
            assert!(!admitted(uid, gid, groups, 100), "{uid} {gid} {groups:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_admitted_has_no_id_of_root(uid: u32, gid: u32, groups: Vec<u32>, min in 1..1000u32) {
            if admitted(uid, gid, &groups, min) {
                prop_assert!(uid >= min && uid != u32::MAX && gid != 0 && gid != u32::MAX);
                prop_assert!(groups.iter().all(|g| *g != 0 && *g != u32::MAX));
            }
        }
    }
}
