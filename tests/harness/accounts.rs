//! The accounts of a [`crate::Site`]: who calls, who is called, and who must not be.

/// uid and gid of the caller `pilot`.
pub const PILOT: u32 = 42_001;
/// uid and gid of the target `payload1`.
pub const PAYLOAD1: u32 = 42_002;
/// The group both `payload1` and `payload2` are in besides their own, and its second.
pub const EXTRA_GROUPS: [u32; 2] = [42_110, 42_111];
/// uid and gid of `other`, who is on no list.
pub const OTHER: u32 = 42_003;
/// uid and gid of `keeper`, for `epilogue_user`.
pub const KEEPER: u32 = 42_020;
/// gid of `keepers`, for `epilogue_group`; `friend` and `steward` are in it.
pub const KEEPERS: u32 = 42_021;
/// uid of `friend`, whom the group `keepers` lists.
pub const FRIEND: u32 = 42_043;
/// uid of `steward`, whose primary group is `keepers`.
pub const STEWARD: u32 = 42_044;
/// gid of `grid`, the group of callers.
pub const GRID: u32 = 42_101;
/// uid and gid of `busy`, a caller in 30 groups.
pub const BUSY: u32 = 42_030;
/// The first of busy's 30 groups; they are called `g1` to `g30`.
pub const BUSY_GROUPS: u32 = 42_201;
/// uid and gid of `vast`, beyond 2^31.
pub const VAST: u32 = 4_000_000_000;

/// The uids and gids of the pool accounts `work001` to `work064` are this and their number.
pub const WORK: u32 = 43_000;

/// One account as the site's files have it.
#[derive(Debug, Clone)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The uid.
    pub uid: u32,
    /// The primary gid.
    pub gid: u32,
    /// The supplementary gids.
    pub groups: Vec<u32>,
    /// The home directory.
    pub home: String,
}

fn account(name: &str, uid: u32, gid: u32, groups: &[u32]) -> Account {
    let home = if uid == 0 { "/root".to_owned() } else { format!("/home/{name}") };
    Account { name: name.to_owned(), uid, gid, groups: groups.to_vec(), home }
}

/// Everybody.
pub fn all() -> Vec<Account> {
    let busy: Vec<u32> = (BUSY_GROUPS..BUSY_GROUPS + 30).collect();
    let mut all = vec![
        account("root", 0, 0, &[]),
        account("toor", 0, 0, &[]),
        account("service", 50, 50, &[]),
        account("pilot", PILOT, PILOT, &[GRID]),
        account("payload1", PAYLOAD1, PAYLOAD1, &EXTRA_GROUPS),
        account("other", OTHER, OTHER, &[]),
        account("keeper", KEEPER, KEEPER, &[]),
        account("busy", BUSY, BUSY, &busy),
        account("pool017", 42_017, 42_017, &[]),
        account("rootgroup", 42_040, 0, &[]),
        account("ingroup0", 42_041, 42_041, &[0]),
        account("homeless", 42_042, 42_042, &[]),
        account("friend", FRIEND, FRIEND, &[KEEPERS]),
        account("steward", STEWARD, KEEPERS, &[]),
        account("vast", VAST, VAST, &[]),
        account("nobody", 65_534, 65_534, &[]),
    ];
    let more = (2..=6).map(|n| account(&format!("payload{n}"), 42_050 + n, 42_050 + n, &[]));
    all.extend(more);
    all.extend((1..=64).map(|n| account(&format!("work{n:03}"), WORK + n, WORK + n, &[])));
    for account in &mut all {
        if account.name == "homeless" || account.name.starts_with("work") {
            account.home = "/nonexistent/home".to_owned();
        }
    }
    all
}

/// The account of this name.
pub fn named(name: &str) -> Account {
    all().into_iter().find(|a| a.name == name).unwrap_or_else(|| panic!("no account {name}"))
}

/// `/etc/passwd`.
pub fn passwd() -> String {
    let line = |a: &Account| format!("{}:x:{}:{}::{}:/bin/sh\n", a.name, a.uid, a.gid, a.home);
    all().iter().map(line).collect()
}

/// `/etc/group`.
pub fn group() -> String {
    let accounts = all();
    let mut groups: Vec<(String, u32)> = vec![
        ("root".to_owned(), 0),
        ("tty".to_owned(), 5),
        ("scratch".to_owned(), EXTRA_GROUPS[0]),
        ("data".to_owned(), EXTRA_GROUPS[1]),
        ("grid".to_owned(), GRID),
        ("keepers".to_owned(), KEEPERS),
        ("nogroup".to_owned(), 65_534),
    ];
    groups.extend((1..=30).map(|n| (format!("g{n}"), BUSY_GROUPS + n - 1)));
    let own = accounts.iter().filter(|a| a.gid == a.uid && a.uid != 0 && a.uid != 65_534);
    groups.extend(own.map(|a| (a.name.clone(), a.gid)));
    let members = |gid: u32| {
        let members = accounts.iter().filter(|a| a.groups.contains(&gid));
        members.map(|a| a.name.as_str()).collect::<Vec<_>>().join(",")
    };
    groups.iter().map(|(name, gid)| format!("{name}:x:{gid}:{}\n", members(*gid))).collect()
}
