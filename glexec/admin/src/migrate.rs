//! `glexec-admin migrate`: gLExec 0.9's configuration as ours.

use contract::Reason;
use decide::config::{Lcmaps, SourceFile, Syntax, lcmaps_database, migrated};
use decide::refusal::Refusal;
use observe::config_file::{self, malformed};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Prints it; 0, or 1 where there is none.
pub(super) fn run(file: Option<PathBuf>) -> u8 {
    let file = file.unwrap_or_else(|| PathBuf::from(config_file::ORIGINAL));
    match text(&file) {
        Ok(text) => u8::from(!report::print(&text)),
        Err(stop) => {
            let detail = stop.detail.as_deref().unwrap_or(&stop.sentence);
            let _ = writeln!(std::io::stderr(), "glexec-admin: {detail} ({})", stop.reason.word());
            1
        }
    }
}

fn text(path: &Path) -> Result<String, Refusal> {
    let shown = path.display().to_string();
    let bytes = read(path).map_err(|error| {
        Refusal::configuration(Reason::ConfigMissing, format!("{shown} cannot be read: {error}"))
    })?;
    let file = SourceFile { path: shown, text: bytes, syntax: Syntax::Original };
    let database = lcmaps_database(&file).map_err(|bad| malformed(&bad))?;
    let lcmaps = database.map(|database| match read(Path::new(&database)) {
        Ok(text) => lcmaps(&database, &String::from_utf8_lossy(&text)),
        Err(error) => {
            let why =
                format!("{database}, which says how it maps and bans, cannot be read: {error}");
            Lcmaps { kept: Some(why), ..Lcmaps::default() }
        }
    });
    migrated(&file, &lcmaps.unwrap_or_default()).map_err(|bad| malformed(&bad))
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let file = std::fs::OpenOptions::new().read(true).open(path)?;
    file.take(config_file::MOST).read_to_end(&mut text)?;
    Ok(text)
}

/// What a file of LCMAPS's says that `[mapping.gridmap]` can do, and what of it nothing here does.
fn lcmaps(path: &str, text: &str) -> Lcmaps {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let text: String = lines.flat_map(|line| [line, " "]).collect();
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c == '"')
        .filter(|word| !word.is_empty())
        .collect();
    let modules: Vec<(&str, &[&str])> = modules(&words);
    let mut missing = Vec::new();
    for (name, _) in &modules {
        if let Some(what) = not_here(name) {
            let sentence = format!("{name} in {path}: {what}");
            if !missing.contains(&sentence) {
                missing.push(sentence);
            }
        }
    }
    let found = |options: &[&str]| {
        let mut all: Vec<&str> =
            modules.iter().filter_map(|(_, words)| after(words, options)).collect();
        all.dedup();
        all
    };
    let first = |options: &[&str]| found(options).first().map(|path| (*path).to_owned());
    let (ban_file, kept) = match bans(&modules) {
        Ok(ban_file) if found(MAP_FILES).len() < 2 => (ban_file, None),
        Ok(_) => (None, Some("it maps by several grid-mapfiles".to_owned())),
        Err(why) => (None, Some(why)),
    };
    Lcmaps {
        grid_mapfile: first(MAP_FILES),
        gridmapdir: first(&["-gridmapdir"]),
        ban_file,
        ca_dir: first(&["-certdir"]),
        missing,
        kept,
    }
}

const MAP_FILES: &[&str] = &["-gridmapfile", "-gridmap"];

/// Each plug-in that is named, with the words behind it: its options, and other words that are none.
fn modules<'w>(words: &'w [&'w str]) -> Vec<(&'w str, &'w [&'w str])> {
    let starts: Vec<usize> = (0..words.len())
        .filter(|at| words.get(*at).is_some_and(|word| word.ends_with(".mod")))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([words.len()]);
    let module = |(start, end): (&usize, usize)| {
        let (path, rest) = words.get(*start..end)?.split_first()?;
        Some((path.rsplit('/').next().unwrap_or(path), rest))
    };
    starts.iter().zip(ends).filter_map(module).collect()
}

/// The word behind one of these options.
fn after<'w>(words: &[&'w str], options: &[&str]) -> Option<&'w str> {
    words.windows(2).find_map(|pair| match pair {
        [option, value] if options.contains(option) => Some(*value),
        _ => None,
    })
}

/// The one file of banned subjects that `[mapping.gridmap]` can have.
///
/// # Errors
/// A clause where LCMAPS bans otherwise: a ban that is lost would admit somebody.
fn bans(modules: &[(&str, &[&str])]) -> Result<Option<String>, String> {
    let banning: Vec<_> = modules.iter().filter(|(name, _)| name.contains("_ban_")).collect();
    match banning.as_slice() {
        [] => Ok(None),
        [("lcmaps_ban_dn.mod", words)] => match after(words, &["-banmapfile"]) {
            Some(file) => Ok(Some(file.to_owned())),
            None => Err("lcmaps_ban_dn.mod has no -banmapfile".to_owned()),
        },
        [(name, _)] => Err(format!("{name} bans")),
        _ => Err("several plug-ins ban".to_owned()),
    }
}

/// What of a plug-in's work nothing does here.
fn not_here(module: &str) -> Option<&'static str> {
    const DONE: [&str; 7] = [
        "lcmaps_localaccount.mod",
        "lcmaps_poolaccount.mod",
        "lcmaps_ban_dn.mod",
        "lcmaps_verify_proxy.mod",
        "lcmaps_posix_enf.mod",
        "lcmaps_dummy_good.mod",
        "lcmaps_dummy_bad.mod",
    ];
    if DONE.contains(&module) {
        return None;
    }
    Some(if module.contains("voms") || module.contains("fqan") {
        "VOMS attributes map and ban nobody here; list subjects in the grid-mapfile"
    } else if module.contains("tracking") {
        "what a payload leaves behind glexec ends itself (`stragglers`, `payload_cgroup`)"
    } else if module.contains("c_pep") || module.contains("scas") || module.contains("gums") {
        "no service is asked whom a subject is mapped to; list subjects in the grid-mapfile"
    } else {
        "this plug-in is not known here; see docs/migration.md"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_database_are_found_and_what_nothing_does_is_named() {
        let text = "path = /usr/lib64/lcmaps\n\
            # localaccount = \"lcmaps_localaccount.mod -gridmapfile /old\"\n\
            verify = \"lcmaps_verify_proxy.mod\"\n  \"-certdir /etc/grid-security/certificates/\"\n\
            good = \"lcmaps_localaccount.mod\"\n  \" -gridmapfile /etc/grid-security/grid-mapfile\"\n\
            pool = \"lcmaps_poolaccount.mod -gridmapdir /etc/grid-security/gridmapdir\"\n\
            bans = \"lcmaps_ban_dn.mod -banmapfile /etc/lcas/ban_users.db\"\n\
            pep = \"lcmaps_c_pep.mod --pep-daemon-endpoint-url https://argus:8154/authz\"\n\
            voms = \"/opt/lcmaps_voms_localaccount.mod\"\nodd = \"lcmaps_odd.mod\"\nagain = \"lcmaps_odd.mod\"\n";
        let found = lcmaps("/etc/lcmaps.db", text);
        let some = |path: &str| Some(path.to_owned());
        assert_eq!(found.grid_mapfile, some("/etc/grid-security/grid-mapfile"));
        assert_eq!(found.gridmapdir, some("/etc/grid-security/gridmapdir"));
        assert_eq!(found.ban_file, some("/etc/lcas/ban_users.db"));
        assert_eq!(found.ca_dir, some("/etc/grid-security/certificates/"));
        let begins = [
            "lcmaps_c_pep.mod in /etc/lcmaps.db: no service",
            "lcmaps_voms_localaccount.mod in /etc/lcmaps.db: VOMS",
            "lcmaps_odd.mod in /etc/lcmaps.db: this plug-in",
        ];
        assert_eq!(found.missing.len(), begins.len(), "{found:?}");
        for (sentence, begin) in found.missing.iter().zip(begins) {
            assert!(sentence.starts_with(begin), "{sentence}");
        }
    }

    #[test]
    fn where_a_ban_would_be_lost_lcmaps_goes_on() {
        let kept = |text: &str| {
            let found = lcmaps("/db", text);
            assert!(found.kept.is_none() || found.ban_file.is_none(), "{found:?}");
            found.kept
        };
        let dn = "a = \"lcmaps_ban_dn.mod -banmapfile /a\"\n";
        assert_eq!(kept(dn), None);
        for (more, part) in [
            ("b = \"lcmaps_ban_fqan.mod -banmapfile /b\"\n", "several plug-ins ban"),
            ("b = \"lcmaps_ban_dn.mod -banmapfile /b\"\n", "several plug-ins ban"),
            (
                "g = \"lcmaps_localaccount.mod -gridmapfile /g\"\nh = \"lcmaps_poolaccount.mod -gridmapfile /h\"\n",
                "several grid-mapfiles",
            ),
        ] {
            for text in [format!("{dn}{more}"), format!("{more}{dn}")] {
                assert!(kept(&text).is_some_and(|why| why.contains(part)), "{text}");
            }
        }
        for (text, part) in [
            (
                "a = \"lcmaps_ban_dn.mod\"\nb = \"lcmaps_localaccount.mod -banmapfile /b\"\n",
                "has no -banmapfile",
            ),
            ("a = \"lcmaps_ban_fqan.mod -banmapfile /a\"\n", "lcmaps_ban_fqan.mod bans"),
        ] {
            assert!(kept(text).is_some_and(|why| why.contains(part)), "{text}");
        }
    }
}
