//! What of a configuration can never work, or does not do what its writer thinks: sentences for the
//! administrator, from the configuration and the accounts there are.

use contract::Reason;
use decide::config::{Config, Listed, RowCaller};
use decide::facts::Caller;
use decide::policy::{asks_credential, judge};
use std::collections::BTreeMap;

/// The accounts and groups that a configuration names, each as it is here, or `None` where there is
/// no such.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// As a caller, with the names of its groups.
    pub(super) accounts: BTreeMap<String, Option<(Caller, Vec<String>)>>,
    /// The names of its members, as far as they can be told.
    pub(super) groups: BTreeMap<String, Option<Vec<String>>>,
}

/// Below this no run leaves a line.
const AUDIT_LEVEL: u8 = 3;

/// The names of callers that a configuration has, and where.
pub(crate) fn callers(config: &Config) -> Vec<(&'static str, &str)> {
    let listed = named(&config.user_white_list).map(|name| ("`user_white_list`", name));
    let mapped = row_callers(config).filter_map(|caller| match caller {
        RowCaller::User(name) => Some(("[mapping]", name.as_str())),
        RowCaller::Group(_) => None,
    });
    let banned =
        config.mapping.banned.iter().filter(|name| !name.starts_with('/') && !name.contains(','));
    listed.chain(mapped).chain(banned.map(|name| ("`banned`", name.as_str()))).collect()
}

/// The same for groups of callers.
pub(super) fn groups(config: &Config) -> Vec<(&'static str, &str)> {
    let listed = named(&config.group_white_list).map(|name| ("`group_white_list`", name));
    let mapped = row_callers(config).filter_map(|caller| match caller {
        RowCaller::Group(name) => Some(("[mapping]", name.as_str())),
        RowCaller::User(_) => None,
    });
    listed.chain(mapped).collect()
}

fn named(list: &[Listed]) -> impl Iterator<Item = &str> {
    list.iter().filter_map(|entry| match entry {
        Listed::Name(name) => Some(name.as_str()),
        Listed::Everybody | Listed::Pool(_) => None,
    })
}

fn row_callers(config: &Config) -> impl Iterator<Item = &RowCaller> {
    let rows = config.mapping.rows.iter().map(|row| &row.caller);
    rows.chain(config.mapping.pools.iter().map(|pool| &pool.caller))
}

/// One sentence each.
pub(super) fn advice(config: &Config, known: &Known) -> Vec<String> {
    let mut told = Vec::new();
    if config.log.level < AUDIT_LEVEL {
        told.push(format!(
            "`log_level` = {}: neither begin nor end of a run is logged; write {AUDIT_LEVEL} or more",
            config.log.level
        ));
    }
    told.extend(missing(&callers(config), &known.accounts, "account"));
    told.extend(missing(&groups(config), &known.groups, "group"));
    // Where nobody is listed or mapped at all, that is said for all of them.
    let listed = !config.user_white_list.is_empty() || !config.group_white_list.is_empty();
    let mapped = row_callers(config).next().is_some();
    if listed && mapped {
        told.extend(accounts_in_vain(config, known));
        told.extend(groups_in_vain(config, known));
    }
    let mut seen = std::collections::BTreeSet::new();
    told.retain(|sentence| seen.insert(sentence.clone()));
    told
}

fn missing<T>(
    places: &[(&str, &str)],
    known: &BTreeMap<String, Option<T>>,
    what: &str,
) -> Vec<String> {
    let gone = places.iter().filter(|(_, name)| matches!(known.get(*name), Some(None)));
    let say = |(place, name): &(&str, &str)| {
        format!(
            "{place} names {what} '{name}', which does not exist; create it, or correct the name"
        )
    };
    gone.map(say).collect()
}

/// Who is listed and not mapped, or mapped and not listed.
fn accounts_in_vain(config: &Config, known: &Known) -> Vec<String> {
    let say = |(place, name): (&str, &str)| {
        let (caller, groups) = known.accounts.get(name)?.as_ref()?;
        let reason = judge(config, caller, groups, None).err()?.reason;
        if reason == Reason::NoMapping {
            Some(format!(
                "'{name}' is listed and nothing in [mapping] names it or a group of it: its runs end with 203; map it, or take it out of the list"
            ))
        } else if reason == Reason::NotListed && place == "[mapping]" {
            Some(format!(
                "'{name}' is mapped and on no white list: its runs end with 203; list it, or remove its row"
            ))
        } else {
            None
        }
    };
    callers(config).into_iter().filter_map(say).collect()
}

/// The same for groups, as far as that can be told of all their members.
fn groups_in_vain(config: &Config, known: &Known) -> Vec<String> {
    let is_row = |wanted: &str, of_group: bool| {
        row_callers(config).any(|caller| match caller {
            RowCaller::User(name) => !of_group && name == wanted,
            RowCaller::Group(name) => of_group && name == wanted,
        })
    };
    let rows_of_groups = row_callers(config).any(|caller| matches!(caller, RowCaller::Group(_)));
    let open = [&config.user_white_list, &config.group_white_list];
    let open = open.into_iter().flatten().any(|entry| !matches!(entry, Listed::Name(_)));
    let is_listed = |list: &[Listed], wanted: &str| named(list).any(|name| name == wanted);
    let say = |(place, name): (&str, &str)| {
        let members = known.groups.get(name)?.as_ref()?;
        if place == "[mapping]" {
            let in_vain = !open
                && !is_listed(&config.group_white_list, name)
                && config.group_white_list.is_empty()
                && !members.iter().any(|member| is_listed(&config.user_white_list, member));
            return in_vain.then(|| format!(
                "group '{name}' is mapped, and neither it nor a member of it is on a white list: their runs end with 203; list it, or remove its row"
            ));
        }
        let in_vain = !asks_credential(config)
            && !rows_of_groups
            && !members.iter().any(|member| is_row(member, false));
        in_vain.then(|| format!(
            "group '{name}' is listed, and nothing in [mapping] names it or a member of it: their runs end with 203; map it, or take it out of the list"
        ))
    };
    groups(config).into_iter().filter_map(say).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use decide::config::Syntax;
    use decide::facts::{Account, KernelIds};
    use nix::unistd::{Gid, Uid};

    fn known() -> Known {
        let somebody = |name: &str, groups: &[&str]| {
            let ids = KernelIds { uid: Uid::from_raw(7), gid: Gid::from_raw(7), groups: vec![] };
            let account = Account {
                name: name.to_owned(),
                uid: ids.uid,
                gid: ids.gid,
                home: "/".into(),
                shell: "/bin/sh".into(),
            };
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            let caller = Caller::from_kernel(ids, Some(account), None);
            (name.to_owned(), Some((caller, groups)))
        };
        let members = |group: &str, members: &[&str]| {
            (group.to_owned(), Some(members.iter().map(|name| (*name).to_owned()).collect()))
        };
        let nobody = [("ghost".to_owned(), None)];
        let no_group = [("ghosts".to_owned(), None)];
        Known {
            accounts: [somebody("pilot", &["grid"]), somebody("other", &[])]
                .into_iter()
                .chain(nobody)
                .collect(),
            groups: [members("grid", &["pilot"]), members("empty", &[])]
                .into_iter()
                .chain(no_group)
                .collect(),
        }
    }

    /// What is said of these lists, these lines of `[glexec]` and these callers of rows.
    fn said(lists: (&str, &str), more: &str, callers: &[&str]) -> Vec<String> {
        let rows = callers.iter().map(|caller| {
            format!("[[mapping.static]]\ncaller = \"{caller}\"\naccount = \"payload1\"\n")
        });
        let text = format!(
            "[glexec]\nuser_white_list = [{}]\ngroup_white_list = [{}]\n{more}\n[mapping]\n{}",
            lists.0,
            lists.1,
            rows.collect::<String>()
        );
        advice(&Config::parse(text.as_bytes(), Syntax::Toml).unwrap(), &known())
    }

    #[test]
    fn a_configuration_in_which_everything_fits_is_not_talked_about() {
        let none = Vec::<String>::new();
        assert_eq!(said(("\"pilot\"", ""), "", &["pilot"]), none);
        assert_eq!(said(("\"pilot\"", ""), "", &["@grid"]), none);
        assert_eq!(said(("", "\"grid\""), "", &["pilot"]), none);
        assert_eq!(said(("", "\"grid\""), "", &["@grid"]), none);
        assert_eq!(said(("\"*\"", ""), "", &["@empty"]), none);
    }

    #[test]
    fn what_can_never_work_is_one_sentence_each() {
        for (lists, more, callers, part) in [
            (
                ("\"pilot\", \"ghost\"", ""),
                "",
                &["pilot"][..],
                "`user_white_list` names account 'ghost'",
            ),
            (
                ("\"pilot\"", "\"ghosts\""),
                "",
                &["pilot"],
                "`group_white_list` names group 'ghosts'",
            ),
            (("\"pilot\"", ""), "", &["pilot", "ghost"], "[mapping] names account 'ghost'"),
            (("\"pilot\"", ""), "", &["pilot", "@ghosts"], "[mapping] names group 'ghosts'"),
            (("\"pilot\", \"other\"", ""), "", &["pilot"], "'other' is listed and nothing"),
            (("\"pilot\"", ""), "", &["pilot", "other"], "'other' is mapped and on no white list"),
            (("\"pilot\"", "\"empty\""), "", &["pilot"], "group 'empty' is listed, and nothing"),
            (("\"pilot\"", ""), "", &["pilot", "@empty"], "group 'empty' is mapped, and neither"),
            (("\"pilot\"", ""), "log_level = 2", &["pilot"], "`log_level` = 2"),
        ] {
            let told = said(lists, more, callers);
            assert!(told.len() == 1 && told[0].contains(part), "{part}: {told:?}");
        }
    }

    #[test]
    fn who_may_have_a_credential_is_not_listed_in_vain() {
        let text = |methods: &str| {
            format!(
                "[glexec]\nuser_white_list = [\"other\"]\ngroup_white_list = [\"empty\"]\n[mapping]\nmethods = [{methods}]\n[mapping.gridmap]\ngrid_mapfile = \"/g\"\nca_dir = \"/c\"\n"
            )
        };
        let told = |methods: &str| {
            let config = Config::parse(text(methods).as_bytes(), Syntax::Toml).unwrap();
            [accounts_in_vain(&config, &known()), groups_in_vain(&config, &known())].concat()
        };
        assert_eq!(told("\"gridmap\""), Vec::<String>::new());
        assert_eq!(told("\"static\"").len(), 2);
    }

    #[test]
    fn a_name_that_was_not_asked_for_is_not_missing() {
        assert_eq!(said(("\"pilot\", \"unasked\"", ""), "", &["pilot"]), Vec::<String>::new());
    }
}
