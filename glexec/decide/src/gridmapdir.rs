//! A pool account for each subject, as LCMAPS keeps them: a gridmapdir has a file for each account,
//! and a hard link to it by the subject's encoded name is the subject's lease of that account.

use std::fmt::Write as _;

/// The longest name that a file may have.
const NAME_MAX: usize = 255;

/// A lock that only root can open: one glexec at a time makes leases. LCMAPS passes over every name
/// that begins with a dot.
pub const LOCK: &str = ".glexec.lock";
/// What an account is linked to before its lease: whose links are counted sees that it is taken.
pub const HALF_MADE: &str = ".glexec.new";
/// What a lease that leads to no account is called while it is removed.
pub const MOVED_AWAY: &str = ".glexec.old";

/// A file of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What it is called for the file system: the same for an account and its lease.
    pub inode: u64,
    /// How many names that has.
    pub links: u64,
    /// Whether it is a regular file.
    pub regular: bool,
    /// When it was last used, in seconds since 1970.
    pub used: i64,
}

/// What the directory says of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice<'e> {
    /// It has this account.
    Held(&'e Entry),
    /// It has none of the pool and may have one of these, the one that was unused longest first.
    /// A file of the lease's name that leads to no account has to go first.
    Free(Vec<&'e Entry>, Option<&'e Entry>),
    /// It has an account of another pool.
    Elsewhere(&'e Entry),
    /// Its lease is none: one clause to follow its name.
    Unusable(&'static str),
    /// Somebody else has just linked the same account, or did so and was interrupted.
    Contended,
}

/// The name of a subject's lease, byte for byte as LCMAPS writes it; `None` where it would be longer
/// than a name of a file may be. It is the same for subjects that differ in the case of letters only.
pub fn lease_name(subject: &str) -> Option<String> {
    let mut name = String::with_capacity(subject.len() * 2);
    for byte in subject.bytes() {
        if byte.is_ascii_alphanumeric() {
            name.push(char::from(byte.to_ascii_lowercase()));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(name, "%{byte:02x}");
        }
    }
    (name.len() <= NAME_MAX).then_some(name)
}

/// What follows for the subject of this lease from all files of the directory.
pub fn choose<'e>(entries: &'e [Entry], lease: &str, pool: &str) -> Choice<'e> {
    let stale = match entries.iter().find(|entry| entry.name == lease) {
        None => None,
        Some(own) if !own.regular => return Choice::Unusable("is no regular file"),
        Some(own) if links(entries, own) > 2 => return Choice::Contended,
        Some(own) => {
            let is_it = |entry: &&Entry| entry.inode == own.inode && entry.name != lease;
            match entries.iter().filter(|entry| !is_half_made(entry)).find(is_it) {
                Some(account) if is_of_pool(&account.name, pool) => return Choice::Held(account),
                Some(account) => return Choice::Elsewhere(account),
                None => Some(own),
            }
        }
    };
    let free = entries.iter().filter(|entry| entry.regular && links(entries, entry) == 1);
    let mut free: Vec<&Entry> = free.filter(|entry| is_of_pool(&entry.name, pool)).collect();
    free.sort_by_key(|entry| entry.used);
    Choice::Free(free, stale)
}

/// Whether it is no lease: a glexec is making one, or was interrupted.
pub fn is_half_made(entry: &Entry) -> bool {
    entry.name == HALF_MADE
}

/// How many names a file has, but for one that a glexec gives it for a moment or has left behind.
pub fn links(entries: &[Entry], of: &Entry) -> u64 {
    let half_made = entries.iter().any(|entry| is_half_made(entry) && entry.inode == of.inode);
    of.links.saturating_sub(u64::from(half_made))
}

/// Whether a lease is another subject's, which differs from this one in the case of letters only:
/// what glexec has written into the account's file says whose it is. LCMAPS writes nothing there,
/// and what is left of an earlier lease says nothing of this one.
pub fn is_anothers(written: &[u8], lease: &str, subject: &str) -> bool {
    let written = std::str::from_utf8(written).unwrap_or_default();
    written != subject && lease_name(written).as_deref() == Some(lease)
}

/// Whether a name is the pool's and digits after it.
pub fn is_of_pool(name: &str, pool: &str) -> bool {
    let number = name.strip_prefix(pool).unwrap_or_default();
    let is_account = !pool.is_empty() && !name.starts_with(['%', '.']) && !name.contains('~');
    is_account && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, inode: u64, links: u64, used: i64) -> Entry {
        Entry { name: name.to_owned(), inode, links, regular: true, used }
    }

    #[test]
    fn a_lease_is_called_as_lcmaps_calls_it() {
        let name = "%2fdc%3dorg%2fcn%3dalice%20smith%5c%2b1";
        assert_eq!(lease_name("/DC=org/CN=Alice Smith\\+1").as_deref(), Some(name));
        assert_eq!(lease_name(&"a".repeat(255)).map(|name| name.len()), Some(255));
        assert_eq!(lease_name(&"a".repeat(256)), None);
    }

    #[test]
    fn the_longest_unused_of_the_free_accounts_comes_first() {
        let mut all = vec![
            entry("p1", 1, 1, 30),
            entry("p2", 2, 1, 10),
            entry("p3", 3, 2, 0),
            entry("%2fb", 3, 2, 0),
            entry("p", 4, 1, 0),
            entry("px1", 5, 1, 0),
            entry("q1", 6, 1, 0),
        ];
        let names = |choice: Choice<'_>| {
            let Choice::Free(free, stale) = choice else { panic!("{choice:?}") };
            (free.iter().map(|e| e.name.clone()).collect::<Vec<_>>(), stale.is_some())
        };
        assert_eq!(names(choose(&all, "%2fa", "p")), (vec!["p2".into(), "p1".into()], false));
        assert_eq!(choose(&all, "%2fb", "p"), Choice::Held(&all[2]));
        assert_eq!(choose(&all, "%2fb", "q"), Choice::Elsewhere(&all[2]));
        assert_eq!(names(choose(&all, "%2fa", "")).0, [""; 0]);
        all.push(entry("%2fa", 9, 1, 0));
        assert_eq!(names(choose(&all, "%2fa", "p")), (vec!["p2".into(), "p1".into()], true));
        all[7].links = 3;
        assert_eq!(choose(&all, "%2fa", "p"), Choice::Contended);
        // What an interrupted glexec has left: the lease of another, and an account that it lost.
        all.push(entry(HALF_MADE, 3, 3, 0));
        all[2].links = 3;
        all[3].links = 3;
        assert_eq!(choose(&all, "%2fb", "p"), Choice::Held(&all[2]));
        all[8].inode = 2;
        all[1].links = 2;
        all[7].links = 1;
        assert_eq!(names(choose(&all, "%2fa", "p")), (vec!["p2".into(), "p1".into()], true));
        all[7].regular = false;
        assert!(matches!(choose(&all, "%2fa", "p"), Choice::Unusable(_)));
    }

    #[test]
    fn a_lease_is_not_shared_by_subjects_that_differ_in_case() {
        let lease = lease_name("/CN=Alice").unwrap();
        for (written, anothers) in
            [("/CN=Alice", false), ("/CN=ALICE", true), ("", false), ("/CN=Bob", false)]
        {
            assert_eq!(is_anothers(written.as_bytes(), &lease, "/CN=Alice"), anothers, "{written}");
        }
    }

    #[test]
    fn a_pools_account_has_digits_behind_the_pools_name() {
        for (name, pool, is) in [
            ("dteam001", "dteam", true),
            ("dteam", "dteam", false),
            ("dteamsgm01", "dteam", false),
            ("root", "roo", false),
            ("%21", "%2", false),
            ("a~1", "a~", false),
            ("1", "", false),
        ] {
            assert_eq!(is_of_pool(name, pool), is, "{name} {pool}");
        }
    }
}
