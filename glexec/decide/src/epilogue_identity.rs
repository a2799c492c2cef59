//! As whom the epilogue runs.

use super::entry::Person;
use super::facts::Account;
use super::refusal::Refusal;
use contract::Reason;
use nix::unistd::{Gid, Uid};
use system::file_trust::Trust;

/// As whom the epilogue runs, and whom that makes trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpilogueIdentity {
    /// The account of `epilogue_user`, or root's.
    pub account: Account,
    /// `epilogue_group`, else gid 0 (wiki, "GLExec Epilogue Functionality").
    pub gid: Gid,
    /// Who, besides root, may change the epilogue.
    pub trust: Trust,
}

impl EpilogueIdentity {
    /// Root's own identity, for a site that configures no other. Who is in the group has still to
    /// be looked up.
    pub fn new(user: Option<Account>, group: Option<Gid>) -> Self {
        let trusted = user.as_ref().map(|a| a.uid).filter(|u| !u.is_root());
        let trust = Trust { user: trusted, group, members: Vec::new() };
        let root = || Account {
            name: "root".to_owned(),
            uid: Uid::from_raw(0),
            gid: Gid::from_raw(0),
            home: "/root".into(),
            shell: "/bin/sh".into(),
        };
        Self { account: user.unwrap_or_else(root), gid: group.unwrap_or(Gid::from_raw(0)), trust }
    }

    /// Whether the epilogue is trusted to this person.
    pub fn meets(&self, person: &Person) -> bool {
        self.trust.user.is_some_and(|uid| uid.as_raw() == person.uid)
            || self.trust.group.is_some_and(|gid| person.gids.contains(&gid.as_raw()))
    }

    /// Neither caller nor target may be the one the epilogue is trusted to.
    ///
    /// # Errors
    /// [`Reason::EpilogueIdentity`].
    pub fn keep_apart(&self, caller: &Person, target: &Person) -> Result<(), Refusal> {
        let who = if self.meets(caller) {
            format!("caller {}", caller.name)
        } else if self.meets(target) {
            format!("target {}", target.name)
        } else {
            return Ok(());
        };
        let detail = format!(
            "{who} is epilogue_user or in epilogue_group and could change the epilogue; give the epilogue an identity of its own"
        );
        Err(Refusal::configuration(Reason::EpilogueIdentity, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_could_change_the_epilogue_is_neither_caller_nor_target() {
        let account = |uid| Account {
            name: String::new(),
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(uid),
            home: "/".into(),
            shell: "/".into(),
        };
        let person = |uid, gids: &[u32]| Person { name: String::new(), uid, gids: gids.to_vec() };
        let by_user = EpilogueIdentity::new(Some(account(7)), None);
        let by_group = EpilogueIdentity::new(None, Some(Gid::from_raw(8)));
        let (other, user, member) = (person(1, &[1, 2]), person(7, &[1]), person(1, &[1, 8]));
        for (identity, one) in [(&by_user, &user), (&by_group, &member)] {
            assert!(identity.keep_apart(&other, &other).is_ok());
            assert!(identity.keep_apart(one, &other).is_err());
            assert!(identity.keep_apart(&other, one).is_err());
        }
        assert!(by_user.keep_apart(&member, &member).is_ok());
        assert!(by_group.keep_apart(&user, &user).is_ok());
    }
}
