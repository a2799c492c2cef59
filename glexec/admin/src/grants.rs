//! Who is mapped to whom, and whether that would be admitted.

use super::findings::Findings;
use decide::config::{Config, Means, PoolRow, RowCaller};
use decide::policy::{self, Granted, TargetGroups, no_account_exists};
use decide::target::Target;
use observe::accounts::Lookups;

/// Rows of every method that is asked; each account looked up as a run would. Gives the targets.
pub(super) fn mapping(
    config: &Config,
    lookups: &mut Lookups<'_>,
    findings: &mut Findings,
) -> Vec<Target> {
    let mut targets = Vec::new();
    let mapping = &config.mapping;
    let by_credential = policy::asks_credential(config);
    if mapping.rows.is_empty() && mapping.pools.is_empty() && !by_credential {
        findings.warn("nobody is mapped: [mapping] names no caller");
    }
    for name in &mapping.banned {
        findings.line("banned", name);
    }
    let asked = |means: Means| mapping.methods.iter().any(|m| *m == means || *m == Means::Lines);
    let unasked = |means: Means, count: usize| count > 0 && !asked(means);
    if unasked(Means::Static, mapping.rows.len()) {
        findings.warn("[[mapping.static]] is never asked: `methods` leaves \"static\" out");
    }
    if unasked(Means::Pool, mapping.pools.len()) {
        findings.warn("[[mapping.pool]] is never asked: `methods` leaves \"pool\" out");
    }
    for row in &mapping.rows {
        let caller = shown(&row.caller);
        for account in &row.accounts {
            let groups = match &row.groups {
                Some(names) => TargetGroups::Named(names.clone()),
                None => TargetGroups::OfAccount,
            };
            let granted = Granted { account: account.clone(), groups };
            targets.extend(account_line(config, lookups, &caller, &granted, findings));
        }
    }
    for pool in &mapping.pools {
        let caller = format!("{} (one of {})", shown(&pool.caller), pool.accounts.count());
        for account in &existing(pool, lookups, findings) {
            let granted = Granted::of(account.clone());
            targets.extend(account_line(config, lookups, &caller, &granted, findings));
            ways_out(account, findings);
        }
    }
    if !mapping.pools.is_empty() {
        timers_of_users(findings);
    }
    targets
}

/// The accounts of a pool that exist. Of the others, however many they are, there is one line: runs
/// go on with those that are left.
fn existing(pool: &PoolRow, lookups: &mut Lookups<'_>, findings: &mut Findings) -> Vec<String> {
    const SHOWN: usize = 5;
    let uids = match lookups.uids(&pool.accounts) {
        Ok(uids) => uids,
        Err(stop) => {
            findings.stop(&stop);
            return Vec::new();
        }
    };
    let all = || pool.accounts.names().zip(&uids);
    let known: Vec<String> = all().filter(|(_, uid)| uid.is_some()).map(|(name, _)| name).collect();
    if known.is_empty() {
        findings.stop(&no_account_exists(&pool.accounts));
        return Vec::new();
    }
    let missing: Vec<String> =
        all().filter(|(_, uid)| uid.is_none()).map(|(name, _)| name).collect();
    if !missing.is_empty() {
        let (count, all) = (missing.len(), uids.len());
        let more = if count > SHOWN { ", ..." } else { "" };
        let first = missing.get(..SHOWN.min(count)).unwrap_or_default().join(", ");
        findings.warn(&format!(
            "{count} of the {all} pool accounts of {} do not exist ({first}{more}); create them, or take them out of `accounts`",
            shown(&pool.caller)
        ));
    }
    known
}

fn shown(caller: &RowCaller) -> String {
    match caller {
        RowCaller::User(name) => name.clone(),
        RowCaller::Group(name) => format!("@{name}"),
    }
}

fn account_line(
    config: &Config,
    lookups: &mut Lookups<'_>,
    caller: &str,
    granted: &Granted,
    findings: &mut Findings,
) -> Option<Target> {
    let account = &granted.account;
    match lookups.target(granted, config.min_target_uid) {
        Ok(target) => {
            let groups: Vec<String> = target.groups().iter().map(ToString::to_string).collect();
            let (uid, gid, groups) = (target.uid(), target.gid(), groups.join(" "));
            let line = format!("{caller} -> {account} (uid {uid}, gid {gid}, groups {groups})");
            findings.line("mapping", &line);
            Some(target)
        }
        Err(stop) => {
            findings.line("mapping", &format!("{caller} -> {account}: refused"));
            findings.stop(&stop);
            None
        }
    }
}

/// A user manager that outlives the run brings processes of the account back.
fn ways_out(account: &str, findings: &mut Findings) {
    let linger = format!("/var/lib/systemd/linger/{account}");
    if std::fs::symlink_metadata(&linger).is_ok() {
        findings.warn(&format!("{linger}: services of {account} run on when nobody uses it; loginctl disable-linger {account}"));
    }
}

/// What a payload leaves with cron or at runs after its account has been given to another.
fn timers_of_users(findings: &mut Findings) {
    for (program, list) in
        [("/usr/bin/crontab", "/etc/cron.allow"), ("/usr/bin/at", "/etc/at.allow")]
    {
        let (there, closed) = (std::fs::metadata(program).is_ok(), std::fs::metadata(list).is_ok());
        if there && !closed {
            findings.warn(&format!("{program} is open to pool accounts: what it runs escapes the run; write {list} without them"));
        }
    }
}
