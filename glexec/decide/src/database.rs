//! The text of passwd(5), group(5) and nsswitch.conf(5): the one parser for the files and for
//! what the account helper answers.

use super::config::Accounts;
use super::facts::Account;
use memchr::memmem;
use nix::unistd::{Gid, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// No process can be in more groups than this (`NGROUPS_MAX`, setgroups(2)).
pub const MOST_GROUPS: usize = 65_536;

/// The account database: passwd(5) and group(5) as text, read once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Database {
    /// passwd(5).
    pub passwd: Vec<u8>,
    /// group(5).
    pub groups: Vec<u8>,
}

/// A question to the account helper, as its word on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// The account with this uid.
    Uid(Uid),
    /// The account with this name.
    User(String),
    /// The group with this gid.
    Gid(Gid),
    /// The group with this name.
    Group(String),
    /// Which groups list this account.
    GroupsOf(String),
    /// Which accounts this group lists.
    MembersOf(String),
}

impl Question {
    /// The word.
    pub fn word(&self) -> String {
        match self {
            Self::Uid(uid) => format!("uid={uid}"),
            Self::User(name) => format!("user={name}"),
            Self::Gid(gid) => format!("gid={gid}"),
            Self::Group(name) => format!("group={name}"),
            Self::GroupsOf(name) => format!("groups={name}"),
            Self::MembersOf(name) => format!("members={name}"),
        }
    }
}

impl Database {
    /// Takes in what the helper answered: lines of passwd(5), an empty line, lines of group(5).
    ///
    /// # Errors
    /// Where it is not of that form.
    pub fn add(&mut self, answer: &[u8]) -> Result<(), &'static str> {
        let (passwd, groups) = match answer.strip_prefix(b"\n") {
            Some(groups) => (&[][..], groups),
            None => {
                let at = memmem::find(answer, b"\n\n").ok_or("its answer lacks an empty line")?;
                let (passwd, rest) = answer.split_at(at + 1);
                (passwd, rest.get(1..).unwrap_or_default())
            }
        };
        if answer.contains(&0) {
            return Err("its answer holds a NUL");
        }
        self.passwd.extend_from_slice(passwd);
        self.groups.extend_from_slice(groups);
        Ok(())
    }
}

/// The lines that contain `needle`, in file order, each once and without its newline. No byte is
/// looked at more than twice, however often a line contains it.
fn lines_with<'t>(text: &'t [u8], needle: &[u8]) -> impl Iterator<Item = &'t [u8]> + use<'t> {
    let finder = memmem::Finder::new(needle).into_owned();
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let at = finder.find(text)?;
        let (before, after) = text.split_at_checked(at)?;
        let begin = memchr::memrchr(b'\n', before).map_or(0, |n| n + 1);
        let end = memchr::memchr(b'\n', after).map_or(text.len(), |n| at + n);
        rest = text.get(end + 1..);
        text.get(begin..end)
    })
}

/// The first line, in file order, that contains `needle` and that `read` makes something of.
fn first_line<T>(text: &[u8], needle: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    lines_with(text, needle).find_map(read)
}

/// A whole field of plain decimal digits. Not `-1`, `+5`, `0x0`, `0012`, not 4294967295.
fn id(field: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(field).ok()?;
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let plain = digits && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten().filter(|id| *id != u32::MAX)
}

/// A name that may be shown, compared and put into a variable.
fn name(field: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(field).ok()?;
    let plain = !text.is_empty()
        && !text.starts_with(['-', '+'])
        && !text.contains(|c: char| c.is_control() || c == '/');
    plain.then_some(text)
}

/// One line of passwd(5): seven fields, ids in decimal, nothing else. NUL anywhere: no account.
/// Gives uid, gid, and name, home and shell.
fn account_fields(line: &[u8]) -> Option<(Uid, Gid, [&OsStr; 3])> {
    let mut fields = line.split(|b| *b == b':');
    let (login, _, uid, gid, _, home, shell) = (
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    );
    if fields.next().is_some() || line.contains(&0) {
        return None;
    }
    let name = OsStr::new(name(login)?);
    let texts = [name, OsStr::from_bytes(home), OsStr::from_bytes(shell)];
    Some((Uid::from_raw(id(uid)?), Gid::from_raw(id(gid)?), texts))
}

/// The account of a line of passwd(5).
pub fn account(line: &[u8]) -> Option<Account> {
    let (uid, gid, [name, home, shell]) = account_fields(line)?;
    let (name, home, shell) = (name.to_str()?.to_owned(), home.to_owned(), shell.to_owned());
    Some(Account { name, uid, gid, home, shell })
}

/// The account with this name; the first line counts, as for the C library.
pub fn account_by_name(passwd: &[u8], wanted: &str) -> Option<Account> {
    name(wanted.as_bytes())?;
    first_line(passwd, format!("{wanted}:").as_bytes(), |line| {
        account(line).filter(|a| a.name == wanted)
    })
}

/// The uids of the accounts with these names, as [`account_by_name`] finds them, in one go through
/// the text.
pub fn uids_by_name<'n>(
    passwd: &[u8],
    names: impl Iterator<Item = &'n str>,
) -> BTreeMap<&'n str, Uid> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    let found = uids(passwd, names.len(), |login| names.binary_search(&login).ok());
    names.into_iter().zip(found).filter_map(|(name, uid)| Some((name, uid?))).collect()
}

/// The uids of a pool's accounts, likewise; `None` for one that there is not.
pub fn uids_of_pool(passwd: &[u8], accounts: &Accounts) -> Vec<Option<Uid>> {
    match accounts {
        Accounts::Listed(names) => {
            let known = uids_by_name(passwd, names.iter().map(String::as_str));
            names.iter().map(|name| known.get(name.as_str()).copied()).collect()
        }
        Accounts::Series { prefix, suffix, width, first, .. } => {
            let place = |login: &str| {
                let digits = login.strip_prefix(prefix.as_str())?.strip_suffix(suffix.as_str())?;
                let plain = digits.len() == *width && digits.bytes().all(|b| b.is_ascii_digit());
                plain.then(|| digits.parse::<usize>().ok()).flatten()?.checked_sub(*first)
            };
            uids(passwd, accounts.count(), place)
        }
    }
}

/// The uids of so many accounts, each at the place that its name has; the first line counts.
fn uids(passwd: &[u8], count: usize, place: impl Fn(&str) -> Option<usize>) -> Vec<Option<Uid>> {
    let (mut found, mut missing) = (vec![None; count], count);
    let mut rest = passwd;
    while missing > 0 && !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        let login = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let slot =
            std::str::from_utf8(login).ok().and_then(&place).and_then(|at| found.get_mut(at));
        if let Some(slot) = slot.filter(|slot| slot.is_none()) {
            *slot = account_fields(line).map(|(uid, ..)| uid);
            missing -= usize::from(slot.is_some());
        }
    }
    found
}

/// The account with this uid; the first line counts.
pub fn account_by_uid(passwd: &[u8], wanted: Uid) -> Option<Account> {
    first_line(passwd, format!(":{wanted}:").as_bytes(), |line| {
        account(line).filter(|a| a.uid == wanted)
    })
}

/// Name, gid and members of one line of group(5).
fn group(line: &[u8]) -> Option<(&str, Gid, &[u8])> {
    let mut fields = line.split(|b| *b == b':');
    let (login, _, gid, members) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() || line.contains(&0) {
        return None;
    }
    Some((name(login)?, Gid::from_raw(id(gid)?), members))
}

/// The gid of a group's name.
pub fn group_by_name(groups: &[u8], wanted: &str) -> Option<Gid> {
    name(wanted.as_bytes())?;
    first_line(groups, format!("{wanted}:").as_bytes(), |line| {
        group(line).filter(|(n, _, _)| *n == wanted).map(|(_, gid, _)| gid)
    })
}

/// The name of a gid.
pub fn group_by_gid(groups: &[u8], wanted: Gid) -> Option<String> {
    first_line(groups, format!(":{wanted}:").as_bytes(), |line| {
        group(line).filter(|(_, gid, _)| *gid == wanted).map(|(n, _, _)| n.to_owned())
    })
}

/// The groups that list this account, as initgroups(3) finds them: primary first, none twice.
/// `None` where there are more than a process may have.
pub fn groups_of(groups: &[u8], member: &str, primary: Gid) -> Option<Vec<Gid>> {
    let mut found = vec![primary];
    let mut known = BTreeSet::from([primary.as_raw()]);
    for (_, gid, members) in lines_with(groups, member.as_bytes()).filter_map(group) {
        let lists = members.split(|b| *b == b',').any(|m| m == member.as_bytes());
        if lists && known.insert(gid.as_raw()) {
            found.push(gid);
        }
    }
    (found.len() <= MOST_GROUPS).then_some(found)
}

/// The accounts in a group: those that list it as their own, and those that it lists itself.
pub fn members_of(passwd: &[u8], groups: &[u8], wanted: Gid) -> Vec<Uid> {
    let needle = format!(":{wanted}:");
    let of = |text| lines_with(text, needle.as_bytes());
    let own = of(passwd).filter_map(account).filter(|account| account.gid == wanted);
    let listing = of(groups).filter_map(group).filter(|(_, gid, _)| *gid == wanted);
    let names = listing.flat_map(|(_, _, members)| members.split(|byte| *byte == b','));
    let listed = uids_by_name(passwd, names.filter_map(name));
    let mut uids: Vec<Uid> = own.map(|account| account.uid).chain(listed.into_values()).collect();
    uids.sort_unstable_by_key(|uid| uid.as_raw());
    uids.dedup();
    uids
}

/// Whether nsswitch.conf(5) asks for more than files and systemd for accounts or groups.
pub fn needs_helper(nsswitch: &[u8]) -> bool {
    let text = String::from_utf8_lossy(nsswitch);
    text.lines()
        .filter_map(|line| line.split('#').next()?.split_once(':'))
        .filter(|(database, _)| matches!(database.trim(), "passwd" | "group" | "initgroups"))
        .flat_map(|(_, services)| services.split_whitespace())
        .any(|service| !matches!(service, "files" | "systemd") && !service.starts_with('['))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\
        notroot:x:100:1000:cheat:1000:/home/r:/bin/sh\n\
        user10:x:10:100::/home/user10:/bin/sh\n\
        user1:x:1000:100:Some One:/home/user1:/bin/sh\n\
        user1:x:2000:100::/home/second:/bin/sh\n\
        bad:x:-1:100::/h:/bin/sh\nbad2:x:4294967295:1::/h:/s\nbad3:x:0x0:1::/h:/s\n\
        nul\0:x:77:77::/h:/s\n+nis:x:5:5::/h:/s\nzeros:x:0012:5::/h:/s\nlast:x:4000000000:5::/h:/s";

    #[test]
    fn the_first_line_of_a_whole_name_or_number_counts() {
        let user1 = account_by_name(PASSWD, "user1").unwrap();
        assert_eq!((user1.uid.as_raw(), user1.home.to_str()), (1000, Some("/home/user1")));
        assert_eq!(account_by_name(PASSWD, "user10").unwrap().uid.as_raw(), 10);
        assert_eq!(account_by_name(PASSWD, "ser1"), None);
        assert_eq!(account_by_uid(PASSWD, Uid::from_raw(1000)).unwrap().name, "user1");
        assert_eq!(account_by_uid(PASSWD, Uid::from_raw(100)), None, "eight fields are no line");
        assert_eq!(account_by_uid(PASSWD, Uid::from_raw(4_000_000_000)).unwrap().name, "last");
    }

    #[test]
    fn what_the_helper_answers_is_of_one_form() {
        let mut database = Database::default();
        database.add(b"a:x:5:6::/:/s\n\ng:x:6:a\n").unwrap();
        database.add(b"\nh:x:7:a\n").unwrap();
        database.add(b"b:x:8:6::/:/s\n\n").unwrap();
        assert_eq!(account_by_name(&database.passwd, "b").unwrap().uid.as_raw(), 8);
        assert_eq!(groups_of(&database.groups, "a", Gid::from_raw(6)).unwrap().len(), 2);
        for bad in [&b""[..], b"a:x:5:6::/:/s\n", b"a\0\n\n"] {
            assert!(database.add(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_lookup_that_fails_is_never_uid_0() {
        for bogus in [
            "",
            "bogus",
            "0x0",
            "-1",
            "4294967295",
            " root",
            "root\0x",
            "bad",
            "bad2",
            "bad3",
            "nul",
            "zeros",
            "+nis",
            "../root",
        ] {
            assert_eq!(account_by_name(PASSWD, bogus), None, "{bogus:?}");
        }
    }

    #[test]
    fn groups_are_those_that_list_the_whole_name() {
        let groups = b"a:x:5:user10,user1\nb:x:6:user10\nc:x:7:user1,user1\nd:x:5:user1\nuser1:x:8:\ne:x:9:xuser1\n";
        let gids = |member| {
            groups_of(groups, member, Gid::from_raw(100))
                .unwrap()
                .iter()
                .map(|g| g.as_raw())
                .collect::<Vec<_>>()
        };
        assert_eq!(gids("user1"), [100, 5, 7]);
        assert_eq!(gids("user10"), [100, 5, 6]);
        assert_eq!(gids("nobody"), [100]);
        assert_eq!(group_by_name(groups, "user1"), Some(Gid::from_raw(8)));
        assert_eq!(group_by_gid(groups, Gid::from_raw(5)), Some("a".to_owned()));
    }

    #[test]
    fn many_names_are_found_as_one_is() {
        let names = ["user1", "bad", "last", "ghost", "user10", "nul", "", "root", "user1"];
        let found = uids_by_name(PASSWD, names.into_iter());
        for name in names {
            let one = account_by_name(PASSWD, name).map(|account| account.uid);
            assert_eq!(found.get(name).copied(), one, "{name:?}");
        }
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn a_pools_accounts_are_found_as_their_names_are() {
        let text = b"w08:x:8:8::/:/s\nw8:x:1:1::/:/s\nw010:x:1:1::/:/s\nbad:x\nw10:x:10:8::/:/s\n\
                     w12:x:1:1::/:/s\nw10:x:11:8::/:/s\nw+9:x:1:1::/:/s\nw09:x:-1:8::/:/s\nxw11:x:1:1::/:/s";
        let (prefix, suffix) = ("w".to_owned(), String::new());
        let series = Accounts::Series { prefix, suffix, width: 2, first: 8, last: 11 };
        let uid = |uid| Some(Uid::from_raw(uid));
        assert_eq!(uids_of_pool(text, &series), [uid(8), None, uid(10), None]);
        let names = ["w10", "ghost", "w10", "w08"].map(str::to_owned);
        let listed = uids_of_pool(text, &Accounts::Listed(names.to_vec()));
        assert_eq!(listed, [uid(10), None, uid(10), uid(8)]);
    }

    #[test]
    fn a_line_is_looked_at_once_however_often_it_has_the_word() {
        let line = format!("g:x:5:{}a\n", "a,".repeat(100_000));
        assert_eq!(lines_with(line.as_bytes(), b"a").count(), 1);
        let text = b"\nxa\n\na\nb\naa";
        assert_eq!(lines_with(text, b"a").collect::<Vec<_>>(), [&b"xa"[..], b"a", b"aa"]);
        assert_eq!(lines_with(b"", b"a").count(), 0);
        assert_eq!(lines_with(b"a\n", b"a").collect::<Vec<_>>(), [b"a"]);
    }

    #[test]
    fn members_are_those_of_the_primary_group_and_those_of_the_list() {
        let groups = b"a:x:100:user10\nb:x:5:user1,ghost,last\nb2:x:5:notroot\nc:x:50:root\n";
        let uids = |gid| {
            let members = members_of(PASSWD, groups, Gid::from_raw(gid));
            members.iter().map(|uid| uid.as_raw()).collect::<Vec<_>>()
        };
        assert_eq!(uids(5), [1000, 4_000_000_000], "eight fields are no account");
        assert_eq!(uids(100), [10, 1000, 2000], "a second line of a name is an owner all the same");
        assert_eq!(uids(50), [0]);
        assert_eq!(uids(7), [0u32; 0]);
    }

    #[test]
    fn files_and_systemd_need_no_helper() {
        assert!(!needs_helper(
            b"passwd: files systemd\ngroup: files [SUCCESS=merge] systemd\nhosts: dns\n"
        ));
        assert!(needs_helper(b"passwd: files sss\n"));
        assert!(needs_helper(b"group:compat\n"));
        assert!(needs_helper(b"initgroups: ldap # x\n"));
        assert!(!needs_helper(b"# passwd: sss\n"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(text: Vec<u8>, name in "[a-z0-9:]{0,4}", gid: u32) {
            let _ = account_by_name(&text, &name);
            let _ = groups_of(&text, &name, Gid::from_raw(gid));
            let _ = group_by_gid(&text, Gid::from_raw(gid));
            let _ = members_of(&text, &text, Gid::from_raw(gid));
            let many = uids_by_name(&text, [name.as_str()].into_iter());
            let one = account_by_name(&text, &name).map(|account| account.uid);
            prop_assert_eq!(many.get(name.as_str()).copied(), one);
            let _ = needs_helper(&text);
        }
    }
}
