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
            let missing =
                format!("{database}, which says how LCMAPS mapped, cannot be read: {error}");
            Lcmaps { missing: vec![missing], ..Lcmaps::default() }
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
    let after = |options: &[&str]| {
        let found = words.windows(2).find_map(|pair| match pair {
            [option, value] if options.contains(option) => Some(*value),
            _ => None,
        });
        found.map(str::to_owned)
    };
    let mut missing = Vec::new();
    for module in words.iter().filter(|word| word.ends_with(".mod")) {
        let name = module.rsplit('/').next().unwrap_or(module);
        if let Some(what) = not_here(name) {
            let sentence = format!("{name} in {path}: {what}");
            if !missing.contains(&sentence) {
                missing.push(sentence);
            }
        }
    }
    Lcmaps {
        grid_mapfile: after(&["-gridmapfile", "-gridmap"]),
        gridmapdir: after(&["-gridmapdir"]),
        ban_file: after(&["-banmapfile"]),
        ca_dir: after(&["-certdir"]),
        missing,
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
}
