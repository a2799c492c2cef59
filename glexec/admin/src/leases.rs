//! `glexec-admin leases`: which accounts of pools and gridmapdirs are whose, and taking one back.

use super::runs;
use act::gridmapdir::Gridmapdir;
use act::leases;
use act::root::Root;
use act::state::{StateDir, user_of};
use contract::Reason;
use decide::gridmapdir::{Entry, HALF_MADE, lease_name, links};
use decide::refusal::Refusal;
use nix::unistd::Uid;
use observe::accounts::{AccountFiles, Lookups};
use observe::config_file::{self, Etc};
use serde::Serialize;
use std::collections::BTreeSet;
use system::text::escaped;

/// One account that is somebody's, or was.
#[derive(Debug, Serialize)]
struct Row {
    /// pool, or gridmapdir.
    kind: &'static str,
    /// in-use: of a run, or a process is of it. held: a subject's. free. stale: a lease that leads
    /// to no account that exists. crowded: a lease with too many links.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    /// When it was last given to a run: seconds since 1970.
    used: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// The lease's name in the gridmapdir.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<String>,
}

/// What the rows are made of.
struct Node<'p> {
    root: Root,
    state: StateDir,
    /// Uids that entries of the state directory name.
    owing: BTreeSet<u32>,
    gridmapdir: Option<(Gridmapdir, Vec<Entry>)>,
    lookups: Lookups<'p>,
}

/// Shows the leases; 0 where that could be done, else 2.
pub(super) fn list(json: bool) -> u8 {
    runs::told(Node::look().and_then(|mut node| node.rows()).map(|rows| {
        let header = format!(
            "{:<10} {:<8} {:<16} {:>8} {:>7} SUBJECT",
            "KIND", "STATE", "ACCOUNT", "UID", "USED"
        );
        runs::show(json, Some(header), &rows, |row| {
            format!(
                "{:<10} {:<8} {:<16} {:>8} {:>7} {}",
                row.kind,
                row.state,
                row.account.as_deref().unwrap_or("-"),
                row.uid.map_or_else(|| "-".to_owned(), |uid| uid.to_string()),
                runs::age(row.used),
                row.subject.as_deref().unwrap_or("-"),
            )
        })
    }))
}

/// Takes the lease of a subject or an account back; 0 where it is gone, 1 where a run uses it, 2
/// where it could not be done.
pub(super) fn release(whose: &str) -> u8 {
    runs::told(Node::look().and_then(|mut node| node.release(whose)).map(|text| {
        let good = text.is_ok();
        let text = text.unwrap_or_else(|why| why) + "\n";
        u8::from(!report::print(&text) || !good)
    }))
}

impl Node<'_> {
    fn look() -> Result<Self, Refusal> {
        let root = Root::of_this_process().ok_or_else(|| runs::for_root("leases"))?;
        let config = config_file::read()?;
        let state = StateDir::open(&root, &config.state)?;
        let owing = state.entries()?.into_iter().filter_map(|name| user_of(&name));
        let owing = owing.map(Uid::as_raw).collect();
        let path = config.mapping.gridmap.as_ref().and_then(|rule| rule.gridmapdir.as_ref());
        let opened = path.map(|path| Gridmapdir::open(&root, path)).transpose()?;
        let gridmapdir = match opened {
            Some(opened) => {
                let entries = opened.entries(&root)?;
                Some((opened, entries))
            }
            None => None,
        };
        let files = AccountFiles::read(&Etc::open());
        let lookups = Lookups::new(None, files, config.account_source)?;
        Ok(Self { root, state, owing, gridmapdir, lookups })
    }

    /// Whether a run has the account, or a process is of it.
    fn is_in_use(&self, uid: Uid) -> Result<bool, Refusal> {
        Ok(self.owing.contains(&uid.as_raw()) || leases::is_in_use(uid)?)
    }

    fn rows(&mut self) -> Result<Vec<Row>, Refusal> {
        let mut rows = Vec::new();
        for lent in leases::lent(&self.root, &self.state)? {
            let in_use = lent.locked || self.is_in_use(lent.uid)?;
            rows.push(Row {
                kind: "pool",
                state: if in_use { "in-use" } else { "free" },
                account: self.lookups.name_of(lent.uid).ok(),
                uid: Some(lent.uid.as_raw()),
                used: lent.used,
                subject: None,
                lease: None,
            });
        }
        let entries = self.gridmapdir.as_ref().map(|(_, entries)| entries.clone());
        let entries = entries.unwrap_or_default();
        for lease in entries.iter().filter(|entry| entry.name.starts_with('%')) {
            rows.push(self.leased(&entries, lease)?);
        }
        Ok(rows)
    }

    fn leased(&mut self, entries: &[Entry], lease: &Entry) -> Result<Row, Refusal> {
        let account = account_of(entries, lease).map(|account| account.name.clone());
        let uid = match &account {
            Some(name) => self.uid_of(name)?,
            None => None,
        };
        let state = match uid {
            _ if links(entries, lease) > 2 => "crowded",
            None => "stale",
            Some(uid) if self.is_in_use(uid)? => "in-use",
            Some(_) => "held",
        };
        let subject = match (&self.gridmapdir, &account) {
            (Some((directory, _)), Some(account)) => {
                let written = directory.written(&self.root, account)?;
                let written = String::from_utf8(written).unwrap_or_default();
                Some(written).filter(|text| lease_name(text).as_deref() == Some(&lease.name))
            }
            _ => None,
        };
        let subject = subject.unwrap_or_else(|| decoded(&lease.name));
        Ok(Row {
            kind: "gridmapdir",
            state,
            account,
            uid: uid.map(Uid::as_raw),
            used: u64::try_from(lease.used).unwrap_or(0),
            subject: Some(escaped(subject.as_bytes())),
            lease: Some(lease.name.clone()),
        })
    }

    fn uid_of(&mut self, name: &str) -> Result<Option<Uid>, Refusal> {
        self.lookups.missing(&[name.to_owned()])?;
        Ok(self.lookups.account(name).map(|account| account.uid))
    }

    /// What was done, or why it was not.
    fn release(&mut self, whose: &str) -> Result<Result<String, String>, Refusal> {
        let none = |what: String| Refusal::new(Reason::Usage, what);
        let Some((_, entries)) = &self.gridmapdir else {
            return Err(none("there is no `gridmapdir`: accounts of [[mapping.pool]] are given back by their runs".to_owned()));
        };
        let entries = entries.clone();
        let named = lease_name(whose).filter(|_| whose.starts_with('/'));
        let wanted = named.as_deref().unwrap_or(whose);
        let account =
            entries.iter().find(|entry| entry.name == whose && !entry.name.starts_with('%'));
        let is_it = |entry: &&Entry| {
            let of_account = account.is_some_and(|account| account.inode == entry.inode);
            entry.name.starts_with('%') && (entry.name == wanted || of_account)
        };
        let found: Vec<&Entry> = entries.iter().filter(is_it).collect();
        let [lease] = found[..] else {
            let many = if found.is_empty() { "no lease" } else { "more than one lease" };
            let shown = escaped(whose.as_bytes());
            return Err(none(format!("'{shown}' has {many}; glexec-admin leases shows them")));
        };
        let row = self.leased(&entries, lease)?;
        let account = row.account.as_deref().unwrap_or("no account");
        if row.state == "in-use" {
            let why =
                "is in use; wait until its runs have ended (glexec-admin ps), and pay what is owed";
            return Ok(Err(format!("{account} {why}")));
        }
        let Some((directory, _)) = &self.gridmapdir else { return Err(none(String::new())) };
        if !directory.release(&self.root, lease)? {
            return Ok(Err(format!("{} is another lease by now; look again", lease.name)));
        }
        let subject = row.subject.unwrap_or_default();
        Ok(Ok(format!("released {account} of {subject}")))
    }
}

/// The account that a lease leads to.
fn account_of<'e>(entries: &'e [Entry], lease: &Entry) -> Option<&'e Entry> {
    let is_other = |entry: &&Entry| !entry.name.starts_with('%') && entry.name != HALF_MADE;
    entries.iter().filter(is_other).find(|entry| entry.inode == lease.inode)
}

/// The subject that a lease's name tells, all letters small: that is all that LCMAPS leaves of it.
fn decoded(lease: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), lease.as_bytes());
    while let [first, others @ ..] = rest {
        let code = others.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        let byte =
            code.filter(|_| *first == b'%').and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { others.get(2..).unwrap_or_default() } else { others };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leases_name_tells_its_subject() {
        for (subject, told) in
            [("/DC=org/CN=Alice Smith", "/dc=org/cn=alice smith"), ("/CN=a\\x41%", "/cn=a\\x41%")]
        {
            assert_eq!(decoded(&lease_name(subject).unwrap()), told);
        }
        assert_eq!(decoded("%2"), "%2");
        assert_eq!(decoded("%zz"), "%zz");
    }
}
