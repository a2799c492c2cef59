//! Who an id or a name is: from the files, or from the helper where the site has more.

use crate::config_file::Etc;
use crate::nameservice;
use act::root::Privilege;
use act::{helper, program};
use contract::Reason;
use decide::config::{AccountSource, Accounts, EpilogueRule};
use decide::database::{self, Database, Question};
use decide::epilogue_identity::EpilogueIdentity;
use decide::facts::{Account, Caller, KernelIds};
use decide::policy::{Granted, TargetGroups};
use decide::refusal::Refusal;
use decide::target::Target;
use nix::unistd::{Gid, Uid};
use system::file_trust::Stranger;
use system::secure_open::Untrusted;

/// The helper that asks the C library.
const HELPER: &str = "glexec-accounts";

/// The account database as far as it is known.
#[derive(Debug)]
pub struct Lookups<'p> {
    database: Database,
    source: Source<'p>,
}

/// Where the rest of it is.
#[derive(Debug, Clone, Copy)]
enum Source<'p> {
    /// Nowhere: all was read.
    Files,
    /// With the helper, which is asked as it is needed.
    Helper(Option<&'p Privilege>),
}

/// The files that tell of accounts, read and not looked at yet: that needs no right of root's.
#[derive(Debug)]
pub struct AccountFiles {
    switch: Result<Vec<u8>, Refusal>,
    database: Result<Database, Refusal>,
}

impl AccountFiles {
    /// Reads them. What cannot be read is told where it is needed.
    pub fn read(etc: &Etc) -> Self {
        let database = || {
            let (passwd, groups) = (etc.accounts("/etc/passwd")?, etc.accounts("/etc/group")?);
            Ok(Database { passwd, groups })
        };
        Self { switch: nameservice::text(), database: database() }
    }
}

impl<'p> Lookups<'p> {
    /// By the files, or with the helper in reserve where nsswitch.conf(5) names more than files and
    /// systemd.
    ///
    /// # Errors
    /// [`Reason::Accounts`].
    pub fn new(
        privilege: Option<&'p Privilege>,
        files: AccountFiles,
        source: AccountSource,
    ) -> Result<Self, Refusal> {
        let asks_helper = match source {
            AccountSource::Files => false,
            AccountSource::Nss => true,
            AccountSource::Auto => database::needs_helper(&files.switch?),
        };
        Ok(match asks_helper {
            true => Self { database: Database::default(), source: Source::Helper(privilege) },
            false => Self { database: files.database?, source: Source::Files },
        })
    }

    /// Where the answers come from, for the log.
    pub const fn source(&self) -> &'static str {
        match self.source {
            Source::Files => "/etc/passwd and /etc/group",
            Source::Helper(_) => HELPER,
        }
    }

    fn ask(&mut self, questions: &[Question]) -> Result<(), Refusal> {
        let Source::Helper(privilege) = self.source else { return Ok(()) };
        if questions.is_empty() {
            return Ok(());
        }
        let words: Vec<String> = questions.iter().map(Question::word).collect();
        let call = helper::Call {
            program: HELPER,
            words: &words,
            files: &[],
            input: helper::Input::Nothing,
            environment: &[],
            rights: helper::Rights::Callers,
            unusable: |detail| unreadable(&detail),
        };
        let answer = helper::ask(privilege, &call)?;
        self.database.add(&answer).map_err(|why| unreadable(&format!("{HELPER}: {why}")))
    }

    /// The caller, and the names of its groups where a rule asks for them.
    ///
    /// # Errors
    /// [`Reason::Accounts`].
    pub fn caller(
        &mut self,
        ids: KernelIds,
        with_groups: bool,
    ) -> Result<(Caller, Vec<String>), Refusal> {
        let gids: Vec<Gid> = if with_groups { ids.groups.clone() } else { Vec::new() };
        let mut questions = vec![Question::Uid(ids.uid), Question::Gid(ids.gid)];
        questions.extend(gids.iter().copied().map(Question::Gid));
        self.ask(&questions)?;
        let Database { passwd, groups } = &self.database;
        let account = database::account_by_uid(passwd, ids.uid);
        let group = database::group_by_gid(groups, ids.gid);
        let others = gids.iter().filter_map(|gid| database::group_by_gid(groups, *gid));
        let names = group.iter().filter(|_| with_groups).cloned().chain(others).collect();
        Ok((Caller::from_kernel(ids, account, group), names))
    }

    /// The account that was granted, admitted.
    ///
    /// # Errors
    /// [`Reason::TargetUnknown`], [`Reason::TargetNotAdmitted`], [`Reason::Accounts`]; a
    /// configuration fault where the row names a group that does not exist.
    pub fn target(&mut self, grant: &Granted, min_uid: u32) -> Result<Target, Refusal> {
        let name = &grant.account;
        let mut questions = vec![Question::User(name.clone())];
        match &grant.groups {
            TargetGroups::Named(groups) => {
                questions.extend(groups.iter().cloned().map(Question::Group));
            }
            TargetGroups::OfAccount => questions.push(Question::GroupsOf(name.clone())),
            TargetGroups::Ids(..) => {}
        }
        self.ask(&questions)?;
        let mut account = self.account(name).ok_or_else(|| {
            let sentence = format!("the mapped account '{name}' does not exist here");
            Refusal::new(Reason::TargetUnknown, sentence)
                .hint("the site has to create it, or to map you to another")
        })?;
        let groups = match &grant.groups {
            TargetGroups::Named(names) => {
                names.iter().map(|name| self.group(name, "groups")).collect::<Result<_, _>>()?
            }
            TargetGroups::OfAccount => self.groups_of(&account)?,
            TargetGroups::Ids(gid, others) => {
                account.gid = *gid;
                others.clone()
            }
        };
        let group = match database::group_by_gid(&self.database.groups, account.gid) {
            Some(group) => Some(group),
            None => {
                self.ask(&[Question::Gid(account.gid)])?;
                database::group_by_gid(&self.database.groups, account.gid)
            }
        };
        Target::admit(account, group, groups, min_uid)
    }

    /// The name of the account of this uid.
    ///
    /// # Errors
    /// [`Reason::TargetUnknown`], [`Reason::Accounts`].
    pub fn name_of(&mut self, uid: Uid) -> Result<String, Refusal> {
        self.ask(&[Question::Uid(uid)])?;
        let account = database::account_by_uid(&self.database.passwd, uid);
        account.map(|account| account.name).ok_or_else(|| {
            let sentence = format!("you are mapped to uid {uid}, which no account here has");
            Refusal::new(Reason::TargetUnknown, sentence)
                .hint("the site has to create it, or to map you to another")
        })
    }

    /// The uid of each of these accounts; `None` for one that does not exist.
    ///
    /// # Errors
    /// [`Reason::Accounts`].
    pub fn uids(&mut self, accounts: &Accounts) -> Result<Vec<Option<Uid>>, Refusal> {
        if self.asks_helper() {
            self.ask(&accounts.names().map(Question::User).collect::<Vec<_>>())?;
        }
        Ok(database::uids_of_pool(&self.database.passwd, accounts))
    }

    /// Those of these names that no account has.
    ///
    /// # Errors
    /// [`Reason::Accounts`].
    pub fn missing<'n>(&mut self, names: &'n [String]) -> Result<Vec<&'n str>, Refusal> {
        if self.asks_helper() {
            self.ask(&names.iter().cloned().map(Question::User).collect::<Vec<_>>())?;
        }
        let names = names.iter().map(String::as_str);
        Ok(names.filter(|name| self.account(name).is_none()).collect())
    }

    /// Whether there is more than the files, so that the helper is asked.
    pub const fn asks_helper(&self) -> bool {
        matches!(self.source, Source::Helper(_))
    }

    /// An account as it would call, with the names of its groups; `None` where there is none.
    ///
    /// # Errors
    /// [`Reason::Accounts`].
    pub fn as_caller(&mut self, name: &str) -> Result<Option<(Caller, Vec<String>)>, Refusal> {
        self.ask(&[Question::User(name.to_owned())])?;
        let Some(account) = self.account(name) else { return Ok(None) };
        self.ask(&[Question::GroupsOf(name.to_owned())])?;
        let groups = self.groups_of(&account)?;
        self.caller(KernelIds { uid: account.uid, gid: account.gid, groups }, true).map(Some)
    }

    /// The names of a group's members; `None` where there is no such group.
    ///
    /// # Errors
    /// [`Reason::Accounts`].
    pub fn members(&mut self, group: &str) -> Result<Option<Vec<String>>, Refusal> {
        self.ask(&[Question::Group(group.to_owned()), Question::MembersOf(group.to_owned())])?;
        let Database { passwd, groups } = &self.database;
        let Some(gid) = database::group_by_name(groups, group) else { return Ok(None) };
        let members = database::members_of(passwd, groups, gid).into_iter();
        let names = members.filter_map(|uid| database::account_by_uid(passwd, uid));
        Ok(Some(names.map(|account| account.name).collect()))
    }

    /// The supplementary groups of an account: those that list it, without its own.
    fn groups_of(&self, account: &Account) -> Result<Vec<Gid>, Refusal> {
        let all = database::groups_of(&self.database.groups, &account.name, account.gid);
        let all = all.ok_or_else(|| {
            unreadable(&format!("account {} is in more groups than a process may be", account.name))
        })?;
        Ok(all.into_iter().filter(|gid| *gid != account.gid).collect())
    }

    /// As whom the epilogue runs, and who may change it. Root's `rights` are taken for opening it,
    /// and given back before anything is looked up.
    ///
    /// # Errors
    /// A configuration fault where `epilogue_user` or `epilogue_group` does not exist;
    /// [`Reason::Accounts`] where it cannot be told who is in the group.
    pub fn epilogue<R>(
        &mut self,
        rights: impl Fn() -> Result<R, Refusal>,
        rule: &EpilogueRule,
    ) -> Result<EpilogueIdentity, Refusal> {
        let user = rule.user.iter().cloned().map(Question::User);
        let members = rule.group.iter().cloned().map(Question::MembersOf);
        self.ask(&user.chain(members).collect::<Vec<_>>())?;
        let user = rule.user.as_ref().map(|name| {
            self.account(name).ok_or_else(|| {
                let what = "does not exist; create the account or remove the key";
                let detail = format!("epilogue_user '{name}' {what}");
                Refusal::configuration(Reason::EpilogueIdentity, detail)
            })
        });
        let group = rule.group.as_ref().map(|name| self.group(name, "epilogue_group"));
        let mut identity = EpilogueIdentity::new(user.transpose()?, group.transpose()?);
        let Some(group) = identity.trust.group else { return Ok(identity) };
        let Database { passwd, groups } = &self.database;
        identity.trust.members = database::members_of(passwd, groups, group);
        // No name service lists who has the group as primary: those who own something are asked
        // for one by one. Each is asked for once, because then it is trusted or the search ends.
        loop {
            let opened = rights().map(|_root| program::open(&rule.path, &identity.trust))?;
            match opened {
                Err(Untrusted::Changeable(Stranger::User(uid), _))
                    if self.is_in_group(uid, group)? =>
                {
                    identity.trust.members.push(uid);
                }
                Ok(_) | Err(_) => return Ok(identity),
            }
        }
    }

    /// Whether the account of this uid is in the group.
    fn is_in_group(&mut self, uid: Uid, group: Gid) -> Result<bool, Refusal> {
        self.ask(&[Question::Uid(uid)])?;
        let Some(account) = database::account_by_uid(&self.database.passwd, uid) else {
            return Ok(false);
        };
        self.ask(&[Question::GroupsOf(account.name.clone())])?;
        Ok(account.gid == group || self.groups_of(&account)?.contains(&group))
    }

    /// An account that has been asked for.
    pub fn account(&self, name: &str) -> Option<Account> {
        database::account_by_name(&self.database.passwd, name)
    }

    fn group(&self, name: &str, key: &str) -> Result<Gid, Refusal> {
        database::group_by_name(&self.database.groups, name).ok_or_else(|| {
            let detail = format!("`{key}` names group '{name}', which does not exist");
            Refusal::configuration(Reason::ConfigMalformed, detail)
        })
    }
}

fn unreadable(detail: &str) -> Refusal {
    Refusal::new(Reason::Accounts, "the account database cannot be read; see the log")
        .detail(detail)
}
