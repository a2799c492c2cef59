//! What maps by credential: `[mapping.gridmap]`, `[mapping.lcmaps]`, `[[mapping.token]]`, and the
//! keys of LCMAPS's in `[glexec]`.

use super::entries::{Bad, Table};
use super::reading::File;
use super::{Config, CredentialRule, GridmapRule, IssuerRow, LcmapsRule, Means, TokenRule, words};

/// The rules of the methods that are asked.
pub(super) struct Rules {
    pub(super) credential: Option<CredentialRule>,
    pub(super) gridmap: Option<GridmapRule>,
    pub(super) lcmaps: Option<LcmapsRule>,
    pub(super) token: Option<TokenRule>,
}

/// What a file says of credentials. A table whose method is not asked must make sense all the same.
///
/// # Errors
/// A word that its key cannot mean; a table that is missing; two that differ.
pub(super) fn rules(file: &File<'_>, methods: &[Means]) -> Result<Rules, Bad> {
    let (mapping, nothing) = (&file.mapping, Table::default());
    let table = |key: &str| mapping.find(key).and_then(|entry| entry.value.table());
    let by_map = gridmap(table("gridmap").unwrap_or(&nothing))?;
    if by_map.is_none() && methods.contains(&Means::Gridmap) {
        return Err(mapping.bad("methods", "\"gridmap\" needs a table [mapping.gridmap]"));
    }
    let (mut credential, gridmap) = by_map.unzip();
    let mut lcmaps = None;
    if let Some(table) = table("lcmaps") {
        let (rule, own) = (credential_rule(table)?, lcmaps_rule(&file.glexec, table)?);
        if methods.contains(&Means::Lcmaps) {
            let asks_both = methods.contains(&Means::Gridmap);
            if asks_both && credential.as_ref() != Some(&rule) {
                let why = "[mapping.gridmap] and [mapping.lcmaps] differ in `ca_dir` or `accept`; a credential is verified once";
                return Err(mapping.bad("methods", why));
            }
            credential = Some(rule);
            lcmaps = Some(own);
        }
    }
    let token = token(mapping, methods.contains(&Means::Token))?;
    Ok(Rules { credential, gridmap, lcmaps, token })
}

/// `None` where no token counts.
fn token(mapping: &Table<'_>, is_asked: bool) -> Result<Option<TokenRule>, Bad> {
    let mapfile = mapping.one("token_mapfile", words::canonical)?;
    let issuers: Vec<IssuerRow> = mapping.rows("token").map(issuer).collect::<Result<_, _>>()?;
    if !is_asked {
        return Ok(None);
    }
    let Some(mapfile) = mapfile.filter(|_| !issuers.is_empty()) else {
        let why = "\"token\" needs a `token_mapfile` and a row [[mapping.token]]";
        return Err(mapping.bad("methods", why));
    };
    Ok(Some(TokenRule { issuers, mapfile, skew: mapping.must_number("token_clock_skew")? }))
}

fn issuer(row: &Table<'_>) -> Result<IssuerRow, Bad> {
    let audiences = row.each("audience", words::of_token)?;
    if audiences.is_empty() {
        return Err(row.bad("audience", "each [[mapping.token]] needs one"));
    }
    let (issuer, keys) =
        (row.must("issuer", words::of_token)?, row.must("keys", words::canonical)?);
    Ok(IssuerRow { issuer, keys, audiences, scopes: row.each("scope", words::of_token)? })
}

/// Whether a file of the original's, beside which nothing else says who maps, has LCMAPS map, as
/// gLExec 0.9 did.
pub(super) fn is_lcmaps_alone(file: &File<'_>) -> bool {
    let maps = |key: &&str| file.mapping.find(key).is_some_and(|entry| entry.at.is_some());
    let original = file.texts.is_original(0) && names_lcmaps(file);
    original && !["methods", "static", "pool"].iter().any(maps)
}

fn names_lcmaps(file: &File<'_>) -> bool {
    let named = |name: &str| file.glexec.find(name).is_some_and(|entry| entry.at.is_some());
    named("lcmaps_db_file") || named("lcmaps_get_account_policy")
}

/// What a file of this kind should be told of.
pub(super) fn notices(config: &Config, file: &File<'_>) -> Option<String> {
    let idle = config.mapping.lcmaps.is_none() && names_lcmaps(file);
    idle.then(|| "LCMAPS is not asked: \"lcmaps\" is not in `methods`".to_owned())
}

fn credential_rule(table: &Table<'_>) -> Result<CredentialRule, Bad> {
    let accept = table.each("accept", accepted)?;
    if accept.is_empty() {
        return Err(
            table.bad("accept", "no credential at all would be accepted; write [\"rfc3820\"]")
        );
    }
    let ca_dir = table.one("ca_dir", words::canonical)?;
    let ca_dir = ca_dir.ok_or_else(|| table.bad("ca_dir", "[mapping.gridmap] needs it"))?;
    Ok(CredentialRule { ca_dir, accept })
}

/// `None` where no file is named.
fn gridmap(table: &Table<'_>) -> Result<Option<(CredentialRule, GridmapRule)>, Bad> {
    if table.entries.iter().all(|entry| entry.at.is_none()) {
        return Ok(None);
    }
    let map = table.one("grid_mapfile", words::canonical)?;
    let rule = GridmapRule {
        grid_mapfile: map.ok_or_else(|| table.bad("grid_mapfile", "[mapping.gridmap] needs it"))?,
        gridmapdir: table.one("gridmapdir", words::canonical)?,
        ban_file: table.one("ban_file", words::canonical)?,
    };
    Ok(Some((credential_rule(table)?, rule)))
}

fn lcmaps_rule(glexec: &Table<'_>, table: &Table<'_>) -> Result<LcmapsRule, Bad> {
    Ok(LcmapsRule {
        library: table.must("library", library)?,
        database: glexec.must("lcmaps_db_file", words::canonical)?,
        log_file: glexec.one("lcmaps_log_file", words::canonical)?,
        debug_level: glexec.must_number("lcmaps_debug_level")?,
        policies: glexec.one("lcmaps_get_account_policy", policies)?,
        verifies_attributes: glexec.flag("lcmaps_voms_verification"),
        vomsdir: table.must("vomsdir", words::canonical)?,
    })
}

fn accepted(word: &str) -> Result<&'static str, String> {
    match word {
        "rfc3820" => Ok("rfc3820"),
        "plain" => Ok("plain"),
        _ => Err(format!("\"{word}\" is not there yet (work to come); write [\"rfc3820\"]")),
    }
}

/// A path, or a name that leads the dynamic linker nowhere but to its own directories.
fn library(word: &str) -> Result<String, String> {
    if word.starts_with('/') {
        return words::canonical(word);
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    if word.starts_with("lib") && word.bytes().all(plain) {
        return Ok(word.to_owned());
    }
    Err(format!("`{word}` is neither an absolute path nor the name of a library (lib...so.0)"))
}

/// Names of policies, as LCMAPS takes them.
fn policies(word: &str) -> Result<String, String> {
    /// LCMAPS takes no more.
    const MOST: usize = 9;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    let good = |name: &str| !name.is_empty() && name.bytes().all(plain);
    if word.split(':').all(good) && word.split(':').count() <= MOST {
        return Ok(word.to_owned());
    }
    Err(format!("`{word}` is no list of at most {MOST} names of policies with `:` between them"))
}
