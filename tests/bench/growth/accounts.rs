//! Many accounts, many accounts of a pool, many rows of the mapping.

use super::added::{self, Pair, Question};
use super::ground::{self, C_LINGER, NOTHING};
use super::{Row, Tools};
use crate::peers::{AND_EPILOGUE, LINGER};
use anyhow::{Context as _, Result, ensure};
use harness::{Site, accounts};

const ROUNDS: u32 = 60;
/// A launch from a pool of 10,000 may take a long time.
const ROUNDS_OF_THE_POOL: u32 = 20;
const USERS: u32 = 50_000;
const GROUPS: u32 = 10_000;
const POOL: u32 = 10_000;
const ROWS: u32 = 1_000;
/// The uids of the pool are this and their number.
const FARM: u32 = 300_000;

/// So many more accounts before the usual ones, whom a search then finds last.
fn more_users(site: &Site, name: &str, first: u32, count: u32) {
    let line = |n: u32| format!("{name}{n:05}:x:{0}:{0}::/:/bin/sh\n", first + n);
    let more: String = (1..=count).map(line).collect();
    site.file("/etc/passwd", more + &accounts::passwd(), 0o644);
}

fn more_groups(site: &Site) {
    let line = |n: u32| format!("team{n:05}:x:{}:user{n:05},user{:05}\n", 200_000 + n, n + 1);
    let more: String = (1..=GROUPS).map(line).collect();
    site.file("/etc/group", more + &accounts::group(), 0o644);
}

/// 50,000 users and 10,000 groups; a pool of 10,000.
pub(crate) fn measure(tools: &mut Tools) -> Result<Vec<Row>> {
    let (plain, grown) = (ground::site(tools, LINGER)?, ground::site(tools, LINGER)?);
    more_users(&grown, "user", 100_000, USERS);
    more_groups(&grown);
    let what = "50,000 users and 10,000 groups (no room for them in the C program)";
    let users = Question { what, beside: NOTHING, rounds: ROUNDS };
    let pair = Pair {
        plain: ground::way(&plain, "plain", ground::glexec())?,
        grown: ground::way(&grown, "grown", ground::glexec())?,
    };
    Ok(vec![added::measure(&users, pair, None, tools)?, pool(tools)?])
}

/// Every account of the pool has been used before, as on a node that is not new.
fn used(site: &Site) {
    (1..=POOL).for_each(|n| site.file(&format!("/var/lib/glexec/account.{}", FARM + n), "", 0o600));
}

/// Everything but the method is the same in both sites.
fn pool(tools: &mut Tools) -> Result<Row> {
    let (one, many) = (ground::site(tools, "")?, ground::site(tools, "")?);
    let config = |mapping: &str| {
        format!(
            "[glexec]\nuser_white_list = [\"pilot\"]\nkill_grace = 1\n{AND_EPILOGUE}\n{mapping}\n"
        )
    };
    for site in [&one, &many] {
        more_users(site, "farm", FARM, POOL);
    }
    one.config(&config(
        "[mapping]\nmethods = [\"static\"]\n[[mapping.static]]\ncaller = \"pilot\"\naccount = \"farm00001\"",
    ));
    many.config(&config(
        "[mapping]\nmethods = [\"pool\"]\n[[mapping.pool]]\ncaller = \"pilot\"\naccounts = \"farm[00001-10000]\"",
    ));
    used(&many);
    let ran = many.glexec(["/usr/bin/id", "-u"]).run();
    let uid: u32 = ran.output().trim().parse().with_context(|| format!("{ran:?}"))?;
    ensure!((FARM..=FARM + POOL).contains(&uid), "the payload is {uid}, not of the pool");
    let what =
        "an account of a pool of 10,000, over a static one among as many users, with epilogue";
    let question = Question { what, beside: NOTHING, rounds: ROUNDS_OF_THE_POOL };
    let pair = Pair {
        plain: ground::way(&one, "static", ground::glexec())?,
        grown: ground::way(&many, "pool", ground::glexec())?,
    };
    added::measure(&question, pair, None, tools)
}

/// 1,000 rows before the caller's own.
pub(crate) fn mapping_rows(tools: &mut Tools) -> Result<Vec<Row>> {
    let (few, many) = (ground::site(tools, "")?, ground::site(tools, "")?);
    let config = |rows: u32| {
        let row = |n| format!("[[mapping.static]]\ncaller = \"c{n:04}\"\naccount = \"payload2\"\n");
        let rows: String = (1..=rows).map(row).collect();
        format!(
            "[glexec]\nuser_white_list = [\"pilot\"]\nkill_grace = 1\n{LINGER}\n[mapping]\n{rows}\
             [[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload1\"\n"
        )
    };
    few.config(&config(0));
    many.config(&config(ROWS));
    let what = "1,000 mapping rows";
    let question = Question { what, beside: C_LINGER, rounds: ROUNDS };
    let ours = Pair {
        plain: ground::way(&few, "glexec, few", ground::glexec())?,
        grown: ground::way(&many, "glexec, many", ground::glexec())?,
    };
    let base = Pair {
        plain: ground::way(&few, "C, few", ground::features("linger"))?,
        grown: ground::way(&many, "C, many", ground::features("linger"))?,
    };
    Ok(vec![added::measure(&question, ours, Some(base), tools)?])
}
