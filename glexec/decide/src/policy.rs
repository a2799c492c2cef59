//! Who may call glexec, and whom each caller is mapped to.

use super::config::{Accounts, Config, Listed, Mapping, Means, RowCaller};
use super::credential::{Credential, Mapped};
use super::facts::Caller;
use super::refusal::Refusal;
use contract::{Reason, variables};
use nix::unistd::Gid;

/// What the mapping gave: names of accounts, not yet looked up, not yet admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Grant {
    /// This account.
    Account(Granted),
    /// One of these, whichever is free, for this run alone.
    Pool(Accounts),
    /// The account that this subject has in the pool of a gridmapdir, now or from now on.
    Leased {
        /// The pool.
        pool: String,
        /// Whose.
        subject: String,
    },
    /// Whomever LCMAPS maps the credential to.
    ByLcmaps,
}

/// An account that was granted by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Its name.
    pub account: String,
    /// The groups that it is to have.
    pub groups: TargetGroups,
}

/// The groups of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetGroups {
    /// Those of the account database.
    OfAccount,
    /// The account's primary one, and these by name.
    Named(Vec<String>),
    /// This primary one and these others, whatever the account database says.
    Ids(Gid, Vec<Gid>),
}

impl Granted {
    /// An account with its own groups.
    pub const fn of(account: String) -> Self {
        Self { account, groups: TargetGroups::OfAccount }
    }
}

/// Whether any rule asks which groups the caller is in, so that nobody looks them up for nothing.
pub fn asks_groups(config: &Config) -> bool {
    let rows = config.mapping.rows.iter().map(|row| &row.caller);
    let mut callers = rows.chain(config.mapping.pools.iter().map(|pool| &pool.caller));
    let by_group = |caller: &RowCaller| matches!(caller, RowCaller::Group(_));
    !config.group_white_list.is_empty() || callers.any(by_group)
}

/// White lists and the bans of callers by name: who is refused here has nothing read of its.
///
/// `groups` are the names of the caller's groups.
///
/// # Errors
/// [`Reason::NotListed`], [`Reason::Banned`].
pub fn admit(config: &Config, caller: &Caller, groups: &[String]) -> Result<(), Refusal> {
    let who = caller.shown_name();
    if !is_listed(config, caller, groups) {
        return Err(Refusal::refused(
            Reason::NotListed,
            format!("caller {who} is neither in user_white_list nor in group_white_list"),
        ));
    }
    if caller.name().is_some_and(|name| config.mapping.banned.iter().any(|b| b == name)) {
        return Err(Refusal::refused(Reason::Banned, format!("caller {who} is in mapping.banned")));
    }
    Ok(())
}

/// Whether the caller may present a credential without its private key.
pub fn may_omit_key(config: &Config, caller: &Caller) -> bool {
    let listed = &config.mapping.without_key;
    caller.name().is_some_and(|name| listed.iter().any(|entry| admits(entry, name)))
}

/// Whether a credential counts at all.
pub fn asks_credential(config: &Config) -> bool {
    const THEY: [Means; 3] = [Means::Gridmap, Means::Lcmaps, Means::Token];
    THEY.iter().any(|method| config.mapping.methods.contains(method))
}

/// Whom a caller that was admitted is mapped to. `wanted` is `GLEXEC_TARGET_USER`.
///
/// # Errors
/// [`Reason::Banned`] where the credential's subject is, [`Reason::NoMapping`],
/// [`Reason::Credential`] where only a credential could have given a mapping and there is none.
pub fn map(
    config: &Config,
    caller: &Caller,
    groups: &[String],
    wanted: Option<&str>,
    credential: Option<&Credential>,
) -> Result<Grant, Refusal> {
    let mapping = &config.mapping;
    if let Some(Credential { subject, .. }) =
        credential.filter(|c| mapping.banned.contains(&c.subject))
    {
        return Err(Refusal::refused(Reason::Banned, format!("{subject} is in mapping.banned")));
    }
    let is_for = |row: &RowCaller| row_is_for(row, caller, groups);
    for method in &mapping.methods {
        let given = credential.and_then(|credential| by_credential(*method, credential, wanted));
        if let Some(given) = given {
            return given;
        }
        let row = mapping.rows.iter().find(|row| is_for(&row.caller));
        let pool = mapping.pools.iter().find(|pool| is_for(&pool.caller));
        let (row, pool) = match (method, row, pool) {
            (Means::Static, row, _) => (row, None),
            (Means::Pool, _, pool) => (None, pool),
            // Of the lines of one list the first counts, whichever it is.
            (Means::Lines, Some(row), Some(pool)) if pool.at < row.at => (None, Some(pool)),
            (Means::Lines, row, pool) => (row, pool),
            (Means::Gridmap | Means::Lcmaps | Means::Token, ..) => (None, None),
        };
        if let Some(row) = row {
            let groups = match &row.groups {
                Some(names) => TargetGroups::Named(names.clone()),
                None => TargetGroups::OfAccount,
            };
            let granted = |account| Grant::Account(Granted { account, groups });
            return pick(&row.accounts, wanted).map(granted);
        }
        if let Some(pool) = pool {
            return Ok(Grant::Pool(pool.accounts.clone()));
        }
    }
    Err(unmapped(config, &caller.shown_name(), credential))
}

/// What a method that maps by credential makes of this one; `None` where the next is asked.
fn by_credential(
    method: Means,
    credential: &Credential,
    wanted: Option<&str>,
) -> Option<Result<Grant, Refusal>> {
    match (method, credential.by_token, &credential.mapped) {
        // It does not say why it refuses: that may be a ban, and so it ends the search.
        (Means::Lcmaps, false, _) => Some(Ok(Grant::ByLcmaps)),
        (Means::Gridmap, false, Mapped::Accounts(accounts))
        | (Means::Token, true, Mapped::Accounts(accounts)) => {
            Some(pick(accounts, wanted).map(Granted::of).map(Grant::Account))
        }
        (Means::Gridmap, false, Mapped::Pool(pool)) => {
            let (pool, subject) = (pool.clone(), credential.subject.clone());
            Some(Ok(Grant::Leased { pool, subject }))
        }
        _ => None,
    }
}

fn unmapped(config: &Config, who: &str, credential: Option<&Credential>) -> Refusal {
    let rows = format!("nothing in [mapping] names caller {who} or a group of it");
    let Mapping { gridmap, token, .. } = &config.mapping;
    let by_token = credential.map_or(gridmap.is_none() && token.is_some(), |c| c.by_token);
    let file = match by_token {
        true => token.as_ref().map(|rule| &rule.mapfile),
        false => gridmap.as_ref().map(|rule| &rule.grid_mapfile),
    };
    match (credential, file) {
        (Some(Credential { subject, .. }), Some(file)) => {
            let what = format!("no mapping for the subject of your credential, {subject}");
            Refusal::new(Reason::NoMapping, what)
                .detail(format!("no line of {file} maps {subject}; {rows}"))
                .hint("ask the site to map it")
        }
        (None, _) if asks_credential(config) => {
            let name = if by_token { variables::CLIENT_TOKEN } else { variables::CLIENT_CERT };
            let what = format!("there is no credential to be mapped by: {name} is not set");
            Refusal::new(Reason::Credential, what).detail(rows).hint("set it to the path of one")
        }
        (Some(_) | None, _) => Refusal::new(Reason::NoMapping, format!("no mapping for '{who}'"))
            .detail(rows)
            .hint("ask the site to map this account"),
    }
}

/// [`admit`] and [`map`] without a credential.
///
/// # Errors
/// As both.
pub fn judge(
    config: &Config,
    caller: &Caller,
    groups: &[String],
    wanted: Option<&str>,
) -> Result<Grant, Refusal> {
    admit(config, caller, groups)?;
    map(config, caller, groups, wanted, None)
}

/// That a pool is a list of names and nothing more.
pub fn no_account_exists(accounts: &Accounts) -> Refusal {
    let first = accounts.name(0).unwrap_or_default();
    let count = accounts.count();
    let sentence = "none of the accounts you could be mapped to exists here";
    Refusal::new(Reason::TargetUnknown, sentence)
        .detail(format!(
            "none of the {count} accounts of the pool ({first}, ...) exists; create them, or correct `accounts` in [mapping]"
        ))
        .hint("the site has to create them")
}

/// The one of a caller's accounts that it wants, else the first.
///
/// # Errors
/// [`Reason::NoMapping`] where it wants none of them.
pub fn pick(accounts: &[String], wanted: Option<&str>) -> Result<String, Refusal> {
    let account = match wanted {
        Some(wanted) => accounts.iter().find(|a| *a == wanted),
        None => accounts.first(),
    };
    account.cloned().ok_or_else(|| {
        let sentence = "GLEXEC_TARGET_USER names an account that you are not mapped to";
        Refusal::new(Reason::NoMapping, sentence).hint("unset it, or name one of your accounts")
    })
}

fn is_listed(config: &Config, caller: &Caller, groups: &[String]) -> bool {
    let users = &config.user_white_list;
    let by_name = caller.name().is_some_and(|name| users.iter().any(|entry| admits(entry, name)));
    let anybody = [users, &config.group_white_list].into_iter().flatten();
    by_name
        || anybody.into_iter().any(|entry| *entry == Listed::Everybody)
        || config.group_white_list.iter().any(|entry| groups.iter().any(|g| admits(entry, g)))
}

/// Whether everybody is admitted, which a site should be told of each run.
pub fn admits_everybody(config: &Config) -> bool {
    let lists = [&config.user_white_list, &config.group_white_list];
    lists.into_iter().flatten().any(|entry| *entry == Listed::Everybody)
}

/// Whether attributes that nobody has verified may map, which a site should be told of each run.
pub fn believes_attributes(config: &Config) -> bool {
    config.mapping.lcmaps.as_ref().is_some_and(|rule| !rule.verifies_attributes)
}

fn admits(entry: &Listed, name: &str) -> bool {
    match entry {
        Listed::Everybody => true,
        Listed::Name(listed) => listed == name,
        Listed::Pool(prefix) => name
            .strip_prefix(prefix.as_str())
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())),
    }
}

fn row_is_for(row: &RowCaller, caller: &Caller, groups: &[String]) -> bool {
    match row {
        RowCaller::User(name) => caller.name() == Some(name),
        RowCaller::Group(group) => groups.contains(group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Syntax;
    use crate::facts::{Account, KernelIds};
    use nix::unistd::{Gid, Uid};

    fn config(text: &str) -> Config {
        Config::parse(text.as_bytes(), Syntax::Toml).unwrap()
    }

    fn caller(name: Option<&str>) -> Caller {
        let ids = KernelIds { uid: Uid::from_raw(1000), gid: Gid::from_raw(100), groups: vec![] };
        let account = name.map(|name| Account {
            name: name.to_owned(),
            uid: ids.uid,
            gid: ids.gid,
            home: "/".into(),
            shell: "/bin/sh".into(),
        });
        Caller::from_kernel(ids, account, None)
    }

    fn word(config: &Config, name: Option<&str>, groups: &[&str], wanted: Option<&str>) -> String {
        let groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        match judge(config, &caller(name), &groups, wanted) {
            Ok(Grant::Account(granted)) => granted.account,
            Ok(Grant::Pool(accounts)) => accounts.names().collect::<Vec<_>>().join("+"),
            Ok(Grant::Leased { pool, subject }) => format!(".{pool} for {subject}"),
            Ok(Grant::ByLcmaps) => "by LCMAPS".to_owned(),
            Err(stop) => stop.reason.word().to_owned(),
        }
    }

    const ROWS: &str = r#"
        [mapping]
        banned = ["mallory"]
        [[mapping.static]]
        caller = "pilot"
        accounts = ["a", "b"]
        [[mapping.static]]
        caller = "@atlas"
        account = "c"
        [[mapping.static]]
        caller = "mallory"
        account = "d"
    "#;

    #[test]
    fn either_list_admits_and_nothing_admits_by_default() {
        let open = config(&format!(
            "[glexec]\nuser_white_list=[\"pilot\",\"mallory\",\".pool\"]\ngroup_white_list=[\"atlas\"]\n{ROWS}"
        ));
        assert_eq!(word(&open, Some("pilot"), &[], None), "a");
        assert_eq!(word(&open, Some("pilot1"), &[], None), "not-listed");
        assert_eq!(word(&open, Some("pilo"), &[], None), "not-listed");
        assert_eq!(word(&open, Some("x"), &["atlas"], None), "c");
        assert_eq!(word(&open, Some("mallory"), &["atlas"], None), "banned");
        assert_eq!(word(&open, Some("pool07"), &[], None), "no-mapping");
        assert_eq!(word(&open, Some("pool"), &[], None), "not-listed");
        assert_eq!(word(&open, Some("pool7x"), &[], None), "not-listed");
        assert_eq!(word(&open, None, &[], None), "not-listed");
        let closed = config(&format!("[glexec]\n{ROWS}"));
        assert_eq!(word(&closed, Some("pilot"), &["atlas"], None), "not-listed");
        assert_eq!(word(&closed, Some("root"), &[], None), "not-listed");
    }

    #[test]
    fn methods_are_asked_in_order_and_the_first_that_knows_the_caller_gives() {
        let pool = "[[mapping.pool]]\ncaller = \"pilot\"\naccounts = \"w[08-10]\"\n";
        let row = "[[mapping.static]]\ncaller = \"pilot\"\naccount = \"a\"\n[[mapping.static]]\ncaller = \"x\"\naccount = \"b\"\n";
        let word = |methods: &str, who: &str| {
            let text = format!(
                "[glexec]\nuser_white_list=[\"*\"]\n[mapping]\nmethods = [{methods}]\n{pool}{row}"
            );
            word(&config(&text), Some(who), &[], None)
        };
        assert_eq!(word("\"pool\", \"static\"", "pilot"), "w08+w09+w10");
        assert_eq!(word("\"static\", \"pool\"", "pilot"), "a");
        assert_eq!(word("\"pool\", \"static\"", "x"), "b");
        assert_eq!(word("\"pool\"", "x"), "no-mapping");
    }

    #[test]
    fn of_the_lines_of_the_originals_syntax_the_first_that_names_the_caller_counts() {
        let text = "[glexec]\nuser_white_list = *\n[mapping]\nalice = p[1-2]\n@grid = a, b\nbob = p[3-4]\n@pilots = p[5-6]\n@more = c\n";
        let config = Config::parse(text.as_bytes(), Syntax::Original).unwrap();
        let word = |who: &str, groups: &[&str], wanted| word(&config, Some(who), groups, wanted);
        assert_eq!(word("alice", &["grid"], None), "p1+p2");
        assert_eq!(word("bob", &["grid"], None), "a");
        assert_eq!(word("bob", &["grid"], Some("b")), "b");
        assert_eq!(word("bob", &[], None), "p3+p4");
        assert_eq!(word("eve", &["more", "pilots"], None), "p5+p6");
        assert_eq!(word("eve", &["more"], None), "c");
        assert_eq!(word("eve", &[], None), "no-mapping");
    }

    const BY_CREDENTIAL: &str = r#"
        [glexec]
        user_white_list = ["pilot"]
        [mapping]
        methods = ["gridmap", "static"]
        banned = ["/CN=Mallory"]
        [[mapping.static]]
        caller = "pilot"
        account = "fallback"
        [mapping.gridmap]
        grid_mapfile = "/g"
        ca_dir = "/c"
    "#;

    #[test]
    fn a_credential_maps_where_the_methods_have_it() {
        let word = |text: &str, subject: Option<&str>, mapped: Mapped, wanted| {
            let config = config(text);
            let credential = subject.map(|subject| Credential {
                subject: subject.to_owned(),
                by_token: subject.starts_with("https"),
                until: 0,
                mapped,
                notes: vec![],
                pem: vec![],
            });
            match map(&config, &caller(Some("pilot")), &[], wanted, credential.as_ref()) {
                Ok(Grant::Account(granted)) => granted.account,
                Ok(grant) => format!("{grant:?}"),
                Err(stop) => stop.reason.word().to_owned(),
            }
        };
        let accounts = || Mapped::Accounts(vec!["a".to_owned(), "b".to_owned()]);
        let alone = BY_CREDENTIAL.replace(", \"static\"", "");
        let last = BY_CREDENTIAL.replace("\"gridmap\", \"static\"", "\"static\", \"gridmap\"");
        for (text, subject, mapped, wanted, expected) in [
            (BY_CREDENTIAL, Some("/CN=A"), accounts(), None, "a"),
            (BY_CREDENTIAL, Some("/CN=A"), accounts(), Some("b"), "b"),
            (BY_CREDENTIAL, Some("/CN=A"), accounts(), Some("c"), "no-mapping"),
            (BY_CREDENTIAL, Some("/CN=A"), Mapped::Nobody, None, "fallback"),
            (BY_CREDENTIAL, None, Mapped::Nobody, None, "fallback"),
            (BY_CREDENTIAL, Some("/CN=Mallory"), accounts(), None, "banned"),
            (&last, Some("/CN=A"), accounts(), None, "fallback"),
            (&last, Some("/CN=Mallory"), accounts(), None, "banned"),
            (&alone, Some("/CN=A"), Mapped::Nobody, None, "no-mapping"),
            (&alone, None, Mapped::Nobody, None, "credential"),
        ] {
            assert_eq!(word(text, subject, mapped, wanted), expected, "{text} {subject:?}");
        }
        let text = "[glexec]\nuser_white_list = [\"pilot\"]\n[mapping]\nmethods = [\"lcmaps\", \"static\"]\nbanned = [\"/CN=Mallory\"]\n[[mapping.static]]\ncaller = \"pilot\"\naccount = \"fallback\"\n";
        for (subject, expected) in
            [(Some("/CN=A"), "ByLcmaps"), (None, "fallback"), (Some("/CN=Mallory"), "banned")]
        {
            assert_eq!(word(text, subject, Mapped::Nobody, None), expected);
        }
        let by_token = "[glexec]\nuser_white_list = [\"pilot\"]\n[mapping]\nmethods = [\"gridmap\", \"token\"]\nbanned = [\"https://i,mallory\"]\ntoken_mapfile = \"/m\"\n[[mapping.token]]\nissuer = \"https://i\"\nkeys = \"/k\"\naudience = [\"a\"]\n[mapping.gridmap]\ngrid_mapfile = \"/g\"\nca_dir = \"/c\"\n";
        for (subject, mapped, wanted, expected) in [
            ("https://i,alice", accounts(), None, "a"),
            ("https://i,alice", accounts(), Some("c"), "no-mapping"),
            ("https://i,alice", Mapped::Nobody, None, "no-mapping"),
            ("https://i,alice", Mapped::Pool("p".to_owned()), None, "no-mapping"),
            ("https://i,mallory", accounts(), None, "banned"),
        ] {
            assert_eq!(word(by_token, Some(subject), mapped, wanted), expected, "{subject}");
        }
        let only = by_token.replace("\"gridmap\", ", "");
        assert_eq!(word(&only, Some("/CN=A"), accounts(), None), "no-mapping");
        let only = by_token.replace(", \"token\"", "");
        assert_eq!(word(&only, Some("https://i,alice"), accounts(), None), "no-mapping");
        let leased = word(&alone, Some("/CN=A"), Mapped::Pool("p".to_owned()), None);
        assert!(leased.starts_with("Leased"), "{leased}");
    }

    #[test]
    fn a_caller_picks_among_its_own_accounts_only() {
        let config = config(&format!("[glexec]\nuser_white_list=[\"*\"]\n{ROWS}"));
        assert_eq!(word(&config, Some("pilot"), &[], Some("b")), "b");
        assert_eq!(word(&config, Some("pilot"), &[], Some("c")), "no-mapping");
        assert_eq!(word(&config, None, &[], None), "no-mapping");
    }
}
