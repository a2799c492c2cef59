//! `glexec-admin check` of names: those that do not exist, and those that are there in vain.

pub(super) mod sentences;

use super::findings::Findings;
use decide::config::Config;
use decide::refusal::Refusal;
use observe::accounts::Lookups;
use sentences::Known;
use std::collections::BTreeSet;
use std::io::Read as _;

/// Looks every caller and every group up that the configuration names, and says what is in vain.
pub(super) fn check(config: &Config, lookups: &mut Lookups<'_>, findings: &mut Findings) {
    match known(config, lookups) {
        Ok(known) => {
            sentences::advice(config, &known).iter().for_each(|told| findings.warn(told));
        }
        Err(stop) => findings.stop(&stop),
    }
    if let Some(told) = sub_uids(config, lookups) {
        findings.warn(&told);
    }
}

fn known(config: &Config, lookups: &mut Lookups<'_>) -> Result<Known, Refusal> {
    let mut known = Known::default();
    for (_, name) in sentences::callers(config) {
        if !known.accounts.contains_key(name) {
            known.accounts.insert(name.to_owned(), lookups.as_caller(name)?);
        }
    }
    for (_, name) in sentences::groups(config) {
        if !known.groups.contains_key(name) {
            known.groups.insert(name.to_owned(), lookups.members(name)?);
        }
    }
    Ok(known)
}

/// What runs under a pool account's sub-uids is of another uid, and is not ended with its run.
fn sub_uids(config: &Config, lookups: &mut Lookups<'_>) -> Option<String> {
    const FILE: &str = "/etc/subuid";
    const MOST: u64 = 16 << 20;
    if config.mapping.pools.is_empty() {
        return None;
    }
    let mut text = Vec::new();
    let file = std::fs::OpenOptions::new().read(true).open(FILE).ok()?;
    file.take(MOST).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let pools = config.mapping.pools.iter();
    // subuid(5): a name or a uid.
    let mut accounts = BTreeSet::new();
    for pool in pools {
        let known = pool.accounts.names().zip(lookups.uids(&pool.accounts).ok()?);
        accounts.extend(known.filter_map(|(n, uid)| Some([n, uid?.to_string()])).flatten());
    }
    let owners = text.lines().filter_map(|line| line.split(':').next());
    let given: Vec<&str> = owners.filter(|owner| accounts.contains(*owner)).collect();
    let first = given.first()?;
    let count = given.len();
    Some(format!(
        "{FILE} gives sub-uids to {count} pool accounts ({first}, ...): what runs under them is not ended with the run; take those lines out"
    ))
}
