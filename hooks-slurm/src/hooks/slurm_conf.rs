//! slurm.conf as a file: which lines name hooks. What is in force scontrol says; which lines are not,
//! only the file shows.

use crate::configuration::Configuration;
use crate::findings::Line;
use std::fs;
use std::path::{Path, PathBuf};

/// The value of a key that names programs: a path, or a pattern (glob(7)) in its last name.
pub(super) struct Value<'a>(&'a str);

impl<'a> Value<'a> {
    pub(super) const fn of(value: &'a str) -> Self {
        Self(value)
    }

    /// The paths that it names: of a pattern those that are there, of a path the path.
    pub(super) fn paths(&self) -> Vec<String> {
        if !self.0.contains(['*', '?', '[']) {
            return vec![self.0.to_owned()];
        }
        let Some((directory, pattern)) = self.0.rsplit_once('/') else { return Vec::new() };
        // What cannot be read to its end names nothing, and that is an error of whoever asks.
        let entries: std::io::Result<Vec<_>> = fs::read_dir(directory).and_then(Iterator::collect);
        let entries = entries.unwrap_or_default().into_iter();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut named: Vec<String> = names
            .filter(|name| !name.starts_with('.') && matches(pattern.as_bytes(), name.as_bytes()))
            .map(|name| format!("{directory}/{name}"))
            .collect();
        // Slurm's own order is the reverse.
        named.sort_unstable();
        named
    }
}

/// `*` and `?` of glob(7); a set in brackets counts as any one character.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => {
            (0..=name.len()).any(|at| matches(rest, name.get(at..).unwrap_or_default()))
        }
        Some((b'[', rest)) if rest.contains(&b']') => {
            let after = rest.iter().position(|b| *b == b']').map_or(0, |at| at + 1);
            let rest = rest.get(after..).unwrap_or_default();
            name.split_first().is_some_and(|(_, name)| matches(rest, name))
        }
        Some((first, rest)) => name
            .split_first()
            .is_some_and(|(byte, name)| (*first == b'?' || first == byte) && matches(rest, name)),
    }
}

/// Every line of slurm.conf, and of what it includes, that has one of these keys.
///
/// # Errors
/// One sentence where one of these files cannot be read, or the files include each other.
pub(super) fn lines<const N: usize>(
    slurm: &Configuration,
    keys: [&'static str; N],
) -> Result<Vec<Line>, String> {
    let Some(file) = slurm.value("SLURM_CONF") else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    let cluster = slurm.value("ClusterName").unwrap_or_default();
    read(Path::new(file), (&keys, cluster), &mut all, 0)?;
    Ok(all)
}

fn read(
    file: &Path,
    (keys, cluster): (&[&'static str], &str),
    all: &mut Vec<Line>,
    depth: usize,
) -> Result<(), String> {
    const DEEPEST: usize = 16;
    let shown = file.display();
    if depth > DEEPEST {
        return Err(format!("{shown} is included by itself; remove that line"));
    }
    let text = fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
    for (number, line) in text.lines().enumerate() {
        // conf/slurm/add-hooks takes a line out of force, and its hooks into a directory.
        let moved = line.strip_prefix("# moved to ").and_then(|rest| rest.split_once(": "));
        let line = moved.map_or(line, |(_, line)| line);
        let line = line.split('#').next().unwrap_or_default().trim();
        let mut words = line.splitn(2, char::is_whitespace);
        let first = words.next().unwrap_or_default();
        if first.eq_ignore_ascii_case("include") {
            let name = words.next().unwrap_or_default().trim().replace("%c", cluster);
            let beside: PathBuf = file.parent().unwrap_or(Path::new("/")).join(name);
            read(&beside, (keys, cluster), all, depth + 1)?;
        } else if let Some((key, value)) = line.split_once('=') {
            let is_it = |known: &&&'static str| known.eq_ignore_ascii_case(key.trim());
            let Some(key) = keys.iter().find(is_it) else { continue };
            let value = value.trim().trim_matches('"').to_owned();
            let real =
                |path: &String| fs::canonicalize(path).ok()?.into_os_string().into_string().ok();
            let files = Value::of(&value).paths();
            let files =
                files.iter().map(|path| real(path).unwrap_or_else(|| path.clone())).collect();
            all.push(Line { place: format!("{shown}:{}", number + 1), key, value, files });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_slurms() {
        for (pattern, name, is) in [
            ("*", "x", true),
            ("5*-g?exec", "50-glexec", true),
            ("[0-9]0-*", "50-x", true),
            ("*.sh", "x", false),
            ("x", "xy", false),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), is, "{pattern} {name}");
        }
    }

    #[test]
    fn lines_are_found_in_included_files_too_and_a_circle_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(
            path("slurm.conf"),
            "# Prolog=/no\nprolog = \"/a\" # x\n# moved to /d: Epilog=/e\nInclude more.%c\nKillWait=3\n",
        )
        .unwrap();
        fs::write(path("more.trial"), "\nPrologFlags=Alloc\nProlog=/b/*\n").unwrap();
        let text = format!("SLURM_CONF = {}\nClusterName = trial\n", path("slurm.conf").display());
        let slurm = Configuration::read(&text);
        let found = lines(&slurm, ["Prolog", "Epilog"]).unwrap();
        let told: Vec<(String, &str, usize)> = found
            .iter()
            .map(|l| {
                (l.place.rsplit('/').next().unwrap().to_owned(), l.value.as_str(), l.files.len())
            })
            .collect();
        assert_eq!(
            told,
            [
                ("slurm.conf:2".to_owned(), "/a", 1),
                ("slurm.conf:3".to_owned(), "/e", 1),
                ("more.trial:3".to_owned(), "/b/*", 0)
            ]
        );
        fs::write(path("more.trial"), "Include slurm.conf\n").unwrap();
        assert!(lines(&slurm, ["Prolog"]).unwrap_err().contains("by itself"));
        fs::remove_file(path("more.trial")).unwrap();
        assert!(lines(&slurm, ["Prolog"]).unwrap_err().contains("more.trial"));
    }
}
