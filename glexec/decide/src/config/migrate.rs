//! `/etc/glexec.conf` of gLExec 0.9 as a text for `/etc/glexec.toml`, with a comment for each change.

use super::entries::{Entry, Value};
use super::keys::{self, Key, Kind, Section, There};
use super::show::literal;
use super::source_files::Texts;
use super::words::{self, one_line};
use super::{Config, Malformed, SourceFile, Syntax, from_original, reading};

/// What LCMAPS's own configuration says that is done here by `[mapping.gridmap]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lcmaps {
    /// `-gridmapfile`.
    pub grid_mapfile: Option<String>,
    /// `-gridmapdir`.
    pub gridmapdir: Option<String>,
    /// `-banmapfile`.
    pub ban_file: Option<String>,
    /// `-certdir`.
    pub ca_dir: Option<String>,
    /// A sentence for each plug-in whose work nothing does here.
    pub missing: Vec<String>,
    /// Why the site's own LCMAPS is to go on mapping; `None` where `[mapping.gridmap]` maps and bans
    /// whom it did.
    pub kept: Option<String>,
}

/// The file that `lcmaps_db_file` names.
///
/// # Errors
/// As [`migrated`].
pub fn lcmaps_database(file: &SourceFile) -> Result<Option<String>, Malformed> {
    let glexec = glexec(file)?.0;
    let named = glexec.into_iter().find(|entry| entry.key == "lcmaps_db_file");
    let path = |entry: Entry<'_>| {
        if let Value::Bare(path) = entry.value { Some(path.to_owned()) } else { None }
    };
    Ok(named.and_then(path))
}

/// The same configuration in TOML. Without lines in its own `[mapping]` callers are mapped by
/// credential, as LCMAPS did, with what `lcmaps` says.
///
/// # Errors
/// Where the original's text is not understood, or what comes of it is no configuration.
pub fn migrated(file: &SourceFile, lcmaps: &Lcmaps) -> Result<String, Malformed> {
    let (entries, lines) = glexec(file)?;
    let mut text = format!(
        "# /etc/glexec.toml, by glexec-admin migrate of {}. What a comment here begins with\n\
         # \"changed\" is other than with gLExec 0.9: docs/migration.md.\n\n[glexec]\n",
        one_line(&file.path)
    );
    let texts = Texts::of(std::slice::from_ref(file))?;
    for entry in &entries {
        text += &line(entry).map_err(|why| {
            let at = entry.at.unwrap_or(entry.key_at);
            texts
                .malformed(&super::entries::Bad { at, sentence: format!("`{}`: {why}", entry.key) })
        })?;
    }
    if entries.iter().any(|entry| entry.key == "epilogue") {
        text += "# With \"own\" nothing of the payload's environment reaches the epilogue but GLEXEC_EPILOG_*.\n\
                 #epilogue_environment = \"own\"\n";
    }
    text += "\n[mapping]\n";
    text += &if lines.is_empty() { gridmap(lcmaps) } else { rows(&lines) };
    Config::parse(text.as_bytes(), Syntax::Toml)
        .map_err(|bad| Malformed { path: "what comes of it".to_owned(), ..bad })?;
    Ok(text)
}

/// The entries of `[glexec]`, and the lines of `[mapping]`.
fn glexec(file: &SourceFile) -> Result<(Vec<Entry<'_>>, Vec<Entry<'_>>), Malformed> {
    let texts = Texts::of(std::slice::from_ref(file))?;
    let text = words::text(&file.text)?;
    let parts = from_original::read(text);
    if let Some(wrong) = &parts.wrong {
        return Err(texts.malformed(wrong));
    }
    let entries = parts.root.entries.into_iter().find_map(|entry| {
        if let Value::Table(table) = entry.value { Some(table.entries) } else { None }
    });
    Ok((entries.unwrap_or_default(), parts.lines))
}

/// A key as TOML has it, or a comment that says why it is left out.
fn line(entry: &Entry<'_>) -> Result<String, String> {
    let (name, raw) = (&entry.key, raw(&entry.value));
    let changed = |why: &str| format!("# changed: `{name} = {raw}` {why}\n");
    let Some(key) = keys::find(Section::Glexec, name) else {
        let meant = keys::meant(Section::Glexec, name);
        let meant = meant.strip_prefix("; did you mean ").map(|key| format!("; {key}"));
        let why = format!("is left out: there is no such key{}", meant.unwrap_or_default());
        return Ok(one_line(&changed(&why)) + "\n");
    };
    let Value::Bare(word) = entry.value else { return Err("it is no word".to_owned()) };
    let value = match key.there {
        There::No(_) => return Ok(changed("is left out: LCMAPS is not used; see [mapping] below")),
        There::Idle(why) => return Ok(changed(&format!("is left out: {why}"))),
        There::Only(only, why) => {
            let value = reading::bare(key.kind, word, 0)?;
            if reading::bare(key.kind, only, 0).as_ref() != Ok(&value) {
                let why = why.split_once(" (work to come)").map_or(why, |(why, _)| why);
                return Ok(changed(&format!("is left out: {why}")));
            }
            value
        }
        There::Yes | There::Partly(_) | There::Beside(..) => reading::bare(key.kind, word, 0)?,
    };
    within_range(key, value, &changed)
}

/// What the original clamped or took without a meaning.
fn within_range(
    key: &Key,
    value: Value<'_>,
    changed: &dyn Fn(&str) -> String,
) -> Result<String, String> {
    let (name, mut comment) = (key.name, String::new());
    let value = match (key.kind, value) {
        (Kind::Number(least, most, _), Value::Number(number)) if name == "log_level" => {
            let nearest = number.clamp(least, most);
            if nearest != number {
                comment = changed(&format!("is {nearest}, the nearest level there is"));
            }
            Value::Number(nearest)
        }
        (_, Value::List(items)) if name == "preserve_env_variables" => {
            let is_kept = |value: &Value<'_>| {
                let word = value.word().unwrap_or_default();
                !["yes", "no"].contains(&word) && words::kept(word).is_ok()
            };
            let (kept, dropped): (Vec<_>, Vec<_>) =
                items.into_iter().partition(|(_, value)| is_kept(value));
            if !dropped.is_empty() {
                let names: Vec<&str> =
                    dropped.iter().filter_map(|(_, value)| value.word()).collect();
                let names = names.join(", ");
                comment = changed(&format!("is without {names}: no variable that may be kept"));
            }
            Value::List(kept)
        }
        (_, value) => value,
    };
    Ok(format!("{comment}{name} = {}\n", literal(&value)))
}

fn raw(value: &Value<'_>) -> String {
    if let Value::Bare(word) = value { (*word).to_owned() } else { literal(value) }
}

/// Rows of the lines `caller = account`. The original's file has one order of both kinds.
fn rows(lines: &[Entry<'_>]) -> String {
    let is_pool = |entry: &Entry<'_>| raw(&entry.value).contains('[');
    let first_is_pool = lines.first().is_some_and(is_pool);
    let has = |pool: bool| lines.iter().any(|entry| is_pool(entry) == pool);
    let (methods, both) = match (has(false), has(true)) {
        (true, true) if first_is_pool => ("\"pool\", \"static\"", true),
        (true, true) => ("\"static\", \"pool\"", true),
        (_, true) => ("\"pool\"", false),
        (..) => ("\"static\"", false),
    };
    let mut text = format!("methods = [{methods}]\n");
    if both {
        text += "# changed: rows of one kind are asked before those of the other, wherever they stand.\n";
    }
    for entry in lines {
        let (kind, value) = (if is_pool(entry) { "pool" } else { "static" }, raw(&entry.value));
        let accounts = if kind == "pool" {
            format!("{value:?}")
        } else {
            let names: Vec<String> =
                value.split(',').map(|name| format!("{:?}", name.trim())).collect();
            format!("[{}]", names.join(", "))
        };
        text += &format!("[[mapping.{kind}]]\ncaller = {:?}\naccounts = {accounts}\n", entry.key);
    }
    text
}

/// What LCMAPS did with a grid-mapfile.
fn gridmap(lcmaps: &Lcmaps) -> String {
    let ban_file = lcmaps.ban_file.as_ref().map(|path| path.trim_end_matches('/'));
    let odd = ban_file.filter(|path| words::canonical(path).is_err());
    let odd = odd.map(|path| format!("its file of bans {path} is no path without links, . and .."));
    // A ban that is lost would admit somebody.
    if let Some(why) = lcmaps.kept.clone().or(odd) {
        let why = one_line(&why);
        return format!(
            "# The site's own LCMAPS goes on mapping: {why}.\nmethods = [\"lcmaps\"]\n"
        );
    }
    let mut text = "# changed: LCMAPS mapped by the caller's proxy; [mapping.gridmap] does, with the files it used\n\
                    # (docs/credentials.md). VOMS attributes and services such as Argus, GUMS or SCAS map nobody by it;\n\
                    # methods = [\"lcmaps\"] in its stead asks the site's own LCMAPS, as before.\n"
        .to_owned();
    text.extend(lcmaps.missing.iter().map(|what| format!("# changed: {}\n", one_line(what))));
    text += "methods = [\"gridmap\"]\n[mapping.gridmap]\n";
    let mut path = |key: &str, found: Option<&String>, usual: Option<&str>| {
        let found =
            found.map(|path| path.trim_end_matches('/')).filter(|p| words::canonical(p).is_ok());
        match (found, usual) {
            (Some(path), _) => text += &format!("{key} = {path:?}\n"),
            (None, Some(usual)) => {
                text += &format!(
                    "# The usual place; the original's configuration names none.\n{key} = {usual:?}\n"
                );
            }
            (None, None) => {}
        }
    };
    let usual = |name: &str| format!("/etc/grid-security/{name}");
    path("grid_mapfile", lcmaps.grid_mapfile.as_ref(), Some(&usual("grid-mapfile")));
    path("gridmapdir", lcmaps.gridmapdir.as_ref(), None);
    path("ban_file", lcmaps.ban_file.as_ref(), None);
    path("ca_dir", lcmaps.ca_dir.as_ref(), Some(&usual("certificates")));
    text
}
