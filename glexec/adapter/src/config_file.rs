//! The site's file for an adapter: TOML, root's.

use serde::de::DeserializeOwned;
use system::file_trust::Trust;
use system::secure_open::{self, Untrusted};

/// More than this is no configuration.
const MOST: u64 = 1 << 20;

/// Reads a TOML file that nobody but root can change, it and every directory above it; `None`
/// where there is none. Unknown keys are errors where `T` says so.
///
/// # Errors
/// One sentence that names the file, and the line where there is one.
pub fn read_site_file<T: DeserializeOwned>(path: &str) -> Result<Option<T>, String> {
    let text = secure_open::open_file(path, &Trust::default())
        .and_then(|file| secure_open::read(file, path, MOST));
    let text = match text {
        Ok(text) => text,
        Err(Untrusted::Missing(_)) => return Ok(None),
        Err(untrusted) => return Err(untrusted.clause().to_owned()),
    };
    let text = String::from_utf8(text).map_err(|_| format!("{path} is not UTF-8"))?;
    toml::from_str(&text).map(Some).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        format!("{path}:{line}: {}", error.message().replace('\n', "; "))
    })
}
