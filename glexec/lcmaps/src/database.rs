//! The paths that a database of LCMAPS's (lcmaps.db) names: LCMAPS obeys them as root and does not
//! look whose they are.

use nix::sys::stat::SFlag;
use std::collections::BTreeSet;
use system::file_trust::Trust;
use system::secure_open::{self, Untrusted};

/// The largest database.
const MOST: u64 = 1 << 20;
/// Behind these options of plug-ins stands a path that must be there.
const READ: [&str; 9] = [
    "gridmapfile",
    "gridmap",
    "gridmapdir",
    "banmapfile",
    "groupmapfile",
    "groupmapdir",
    "certdir",
    "vomsdir",
    "vomscerts",
];

/// What is found in a database.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    /// Absolute paths, and plug-ins below `path`.
    paths: BTreeSet<String>,
    /// Those that must be there.
    needed: BTreeSet<String>,
}

/// Looks at everything that the database names.
///
/// # Errors
/// One clause with the path: missing, or others than root can change it.
pub(crate) fn is_trusted(path: &str) -> Result<(), String> {
    let trust = Trust::default();
    let opened = secure_open::resolve(path, SFlag::S_IFREG, &trust)
        .map_err(|untrusted| clause(&untrusted))?
        .opened;
    let text = secure_open::read(opened, path, MOST).map_err(|untrusted| clause(&untrusted))?;
    let names = names(&String::from_utf8_lossy(&text));
    for named in &names.paths {
        let looked = match std::fs::metadata(named) {
            Ok(found) if found.is_dir() => secure_open::resolve(named, SFlag::S_IFDIR, &trust),
            Ok(_) => secure_open::resolve(named, SFlag::S_IFREG, &trust),
            Err(_) if !names.needed.contains(named) => continue,
            Err(error) => {
                return Err(format!("{path} names {named}, which cannot be found: {error}"));
            }
        };
        looked.map_err(|untrusted| format!("{path} names {named}: {}", untrusted.clause()))?;
    }
    Ok(())
}

fn clause(untrusted: &Untrusted) -> String {
    untrusted.clause().to_owned()
}

/// The paths of a database, by the grammar of LCMAPS's own lexer: variables with texts in quotes,
/// words in rules, comments to the end of the line.
fn names(text: &str) -> Names {
    let mut names = Names::default();
    let lines = || text.lines().map(uncommented);
    let modules = lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "path").then(|| value.trim().trim_matches('"').to_owned())
    });
    let modules = modules.filter(|path| path.starts_with('/'));
    for line in lines() {
        // Texts may go on in the next line.
        let goes_on = line.trim_start().starts_with('"');
        let value =
            if goes_on { line } else { line.split_once('=').map_or("", |(_, value)| value) };
        let quoted = value.split('"').skip(1).step_by(2).collect::<Vec<_>>().join(" ");
        let bare = line.replace(['~', '|', '=', ':'], " ");
        let plugin = quoted.split_whitespace().next().into_iter();
        let words = bare.split_whitespace().filter(|word| !word.contains('"'));
        for word in plugin.chain(words).filter(|word| word.ends_with(".mod")) {
            match (&modules, word.starts_with('/')) {
                (_, true) => names.need(word),
                (Some(modules), false) => names.need(&format!("{modules}/{word}")),
                // Below LCMAPS's own directory, which is the system's.
                (None, false) => {}
            }
        }
        let mut before = "";
        for word in quoted.split_whitespace().chain([value.trim()]) {
            if word.starts_with('/') {
                names.paths.insert(word.to_owned());
                names.needed.extend(READ.contains(&before).then(|| word.to_owned()));
            }
            before = word.trim_start_matches('-');
        }
    }
    names
}

impl Names {
    fn need(&mut self, path: &str) {
        self.paths.insert(path.to_owned());
        self.needed.insert(path.to_owned());
    }
}

/// A line without its comment; a `#` in quotes begins none.
fn uncommented(line: &str) -> &str {
    let mut quoted = false;
    let end = line.char_indices().find(|(_, letter)| {
        quoted ^= *letter == '"';
        *letter == '#' && !quoted
    });
    end.map_or(line, |(at, _)| line.get(..at).unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_a_database_is_found() {
        let text = "# path = /not\npath = /usr/lib/lcmaps\n\
            good = \"lcmaps_dummy_good.mod\"  # \"lcmaps_not.mod\"\n\
            local = \"lcmaps_localaccount.mod\"\n  \" -gridmapfile /etc/grid-security/grid-mapfile -x /opt/x\"\n\
            pool = \"/opt/own.mod\" \"-gridmapdir /etc/g\"\n\
            policy:\ngood -> local | lcmaps_posix_enf.mod\n~good -> pool\n";
        let names = names(text);
        let modules = |name: &str| format!("/usr/lib/lcmaps/lcmaps_{name}.mod");
        for path in [&modules("dummy_good"), &modules("localaccount"), &modules("posix_enf")] {
            assert!(names.needed.contains(path), "{path} {names:?}");
        }
        for path in ["/etc/g", "/opt/own.mod"] {
            assert!(names.needed.contains(path), "{path} {names:?}");
        }
        assert!(names.paths.contains("/opt/x") && !names.needed.contains("/opt/x"), "{names:?}");
        assert!(!names.paths.iter().any(|path| path.contains("not")), "{names:?}");
    }
}
