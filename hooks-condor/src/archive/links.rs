//! Which symbolic links may come back from the target. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Whether a symbolic link, `depth` directories below the sandbox, leads to somewhere in it,
/// whatever other such links it passes: it goes up only at its beginning and no higher than the
/// sandbox, or names the sandbox in full.
pub(crate) fn stays_inside(target: &OsStr, depth: usize, sandbox: &Path) -> bool {
    let target = target.as_bytes();
    let is_up = |part: &&[u8]| *part == b"..";
    if target.first() == Some(&b'/') {
        let rest = target.strip_prefix(sandbox.as_os_str().as_bytes());
        let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with(b"/"));
        return rest.is_some_and(|rest| !rest.split(|b| *b == b'/').any(|part| is_up(&part)));
    }
    let plain = |part: &&[u8]| !part.is_empty() && *part != b".";
    let parts: Vec<&[u8]> = target.split(|b| *b == b'/').filter(plain).collect();
    let ups = parts.iter().take_while(|part| is_up(part)).count();
    ups <= depth && !parts[ups..].iter().any(is_up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_leave_are_told_from_those_that_stay() {
        let sandbox = Path::new("/execute/dir_1");
        let inside = |target: &str, depth| stays_inside(OsStr::new(target), depth, sandbox);
        for stays in ["a", "a/b", "./a", ".", "/execute/dir_1", "/execute/dir_1/a", "...", "a b"] {
            assert!(inside(stays, 0), "{stays}");
        }
        for leaves in [
            "..",
            "../a",
            "a/..",
            "a/../../b",
            "./../x",
            "/",
            "/etc/passwd",
            "/execute/dir_10",
            "/execute/dir_1/../dir_2",
            "/execute",
        ] {
            assert!(!inside(leaves, 0), "{leaves}");
        }
        assert!(inside("../../x", 2) && !inside("../../x", 1) && !inside("../a/../x", 2));
    }
}
