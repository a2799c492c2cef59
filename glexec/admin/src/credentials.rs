//! `glexec-admin check` of what maps by credential: the files, the accounts and pools they name, and
//! the directory of leases.

use super::findings::Findings;
use act::gridmapdir::Gridmapdir;
use act::root::Root;
use decide::config::{Config, GridmapRule, Means};
use decide::gridmapdir::{Entry, is_of_pool, links};
use decide::policy::believes_attributes;
use observe::accounts::Lookups;
use observe::credential::{Rules, SiteFiles};
use observe::lcmaps;

/// Looks at everything that maps by credential.
pub(super) fn check(config: &Config, lookups: &mut Lookups<'_>, findings: &mut Findings) {
    let mapping = &config.mapping;
    if mapping.gridmap.is_some() && !mapping.methods.contains(&Means::Gridmap) {
        findings.warn("[mapping.gridmap] is never asked: `methods` leaves \"gridmap\" out");
    }
    if let Some(rule) = &mapping.token {
        tokens(Rules::Tokens(rule), &rule.mapfile, lookups, findings);
    }
    let Some(rules) = Rules::of(mapping, false) else { return };
    let Some(root) = Root::of_this_process() else {
        return findings.warn("not root: what maps by credential was not looked at");
    };
    if let Some(asked) = mapping.lcmaps.as_ref().zip(mapping.credential.as_ref()) {
        match lcmaps::try_it(None, asked) {
            Ok(()) => findings.line("lcmaps", &format!("{}: usable", asked.0.database)),
            Err(stop) => findings.stop(&stop),
        }
        if believes_attributes(config) {
            findings.warn("`lcmaps_voms_verification` is false: attributes that nobody has verified may map; remove the key, unless a plug-in verifies them");
        }
    }
    let Some((accounts, pools)) = files((&root, rules), "gridmap", findings) else { return };
    let Some(rule) = rules.gridmap() else { return };
    existing(&rule.grid_mapfile, &accounts, lookups, findings);
    leases(&root, rule, &pools, findings);
}

/// The keys of issuers and the map file of tokens.
fn tokens(rules: Rules<'_>, mapfile: &str, lookups: &mut Lookups<'_>, findings: &mut Findings) {
    let Some(root) = Root::of_this_process() else {
        return findings.warn("not root: what maps by token was not looked at");
    };
    if let Some((accounts, _)) = files((&root, rules), "token", findings) {
        existing(mapfile, &accounts, lookups, findings);
    }
}

/// What the helper says of the site's files; gives the accounts and pools that they map to.
fn files(
    (root, rules): (&Root, Rules<'_>),
    label: &str,
    findings: &mut Findings,
) -> Option<(Vec<String>, Vec<String>)> {
    let told = SiteFiles::open(root, rules).and_then(|files| files.told_of(None, "about=files"));
    let told = match told {
        Ok(told) => String::from_utf8_lossy(&told).into_owned(),
        Err(stop) => {
            findings.stop(&stop);
            return None;
        }
    };
    let (mut accounts, mut pools) = (Vec::new(), Vec::new());
    for line in told.lines() {
        match line.split_once('=') {
            Some(("error", text)) => findings.error(text),
            Some(("warning", text)) => findings.warn(text),
            Some(("seen", text)) => findings.line(label, text),
            Some(("account", name)) => accounts.push(name.to_owned()),
            Some(("pool", name)) => pools.push(name.to_owned()),
            Some(_) | None => findings.error("glexec-credential answers what is not known"),
        }
    }
    Some((accounts, pools))
}

/// Accounts that a map file names and that do not exist, in one line.
fn existing(file: &str, accounts: &[String], lookups: &mut Lookups<'_>, findings: &mut Findings) {
    const SHOWN: usize = 5;
    let missing = match lookups.missing(accounts) {
        Ok(missing) => missing,
        Err(stop) => return findings.stop(&stop),
    };
    if !missing.is_empty() {
        let count = missing.len();
        let first = missing.get(..SHOWN.min(count)).unwrap_or_default().join(", ");
        let more = if count > SHOWN { ", ..." } else { "" };
        findings.warn(&format!("{file} maps to {count} accounts that do not exist: {first}{more}"));
    }
}

/// Pools without a directory, or without an account in it.
fn leases(root: &Root, rule: &GridmapRule, pools: &[String], findings: &mut Findings) {
    let Some(path) = &rule.gridmapdir else {
        for pool in pools {
            findings.warn(&format!(
                "{} maps to the pool .{pool}, and there is no `gridmapdir`: such a run ends with 202",
                rule.grid_mapfile
            ));
        }
        return;
    };
    let entries = Gridmapdir::open(root, path).and_then(|directory| directory.entries(root));
    let entries = match entries {
        Ok(entries) => entries,
        Err(stop) => return findings.stop(&stop),
    };
    let leased = entries.iter().filter(|entry| entry.name.starts_with('%')).count();
    findings.line("gridmap", &format!("{path}: {leased} leases"));
    for pool in pools {
        let of_it: Vec<&Entry> =
            entries.iter().filter(|entry| is_of_pool(&entry.name, pool)).collect();
        let free = of_it.iter().filter(|entry| links(&entries, entry) == 1).count();
        let all = of_it.len();
        if all == 0 {
            findings.warn(&format!("{path} has no account of the pool .{pool}"));
        } else if free == 0 {
            findings.warn(&format!("all {all} accounts of the pool .{pool} are leased"));
        } else {
            findings.line("pool", &format!(".{pool}: {free} of {all} accounts are free"));
        }
    }
    let is_crowded = |entry: &&Entry| entry.name.starts_with('%') && links(&entries, entry) > 2;
    let crowded = entries.iter().filter(is_crowded);
    for entry in crowded {
        let name = &entry.name;
        findings.error(&format!(
            "{path}/{name} has more than two links: its subject's runs end with 202"
        ));
    }
}
