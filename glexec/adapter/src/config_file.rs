//! The site's file for an adapter: TOML, root's, and what adapters' files have in common.

use contract::Ending;
use nix::unistd::User;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use system::file_trust::Trust;
use system::secure_open::{self, Untrusted};

/// More than this is no configuration.
const MOST: u64 = 1 << 20;

/// The site's file for an adapter, by its path.
#[derive(Debug, Clone, Copy)]
pub struct SiteFile(pub &'static str);

impl std::fmt::Display for SiteFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl SiteFile {
    /// Reads the file, which nobody but root can change, nor a directory above it; `None` where there
    /// is none. Unknown keys are errors where `T` says so.
    ///
    /// # Errors
    /// One sentence that names the file, and the line where there is one.
    pub fn read<T: DeserializeOwned>(self) -> Result<Option<T>, String> {
        read(self.0)
    }

    /// # Errors
    /// One sentence that names the first key whose path is not absolute: hooks have no directory of
    /// their own.
    pub fn absolute<'p>(
        self,
        paths: impl IntoIterator<Item = (&'p str, &'p Path)>,
    ) -> Result<(), String> {
        match paths.into_iter().find(|(_, path)| !path.is_absolute()) {
            Some((key, _)) => Err(format!("{self}: {key} must be an absolute path")),
            None => Ok(()),
        }
    }

    /// uid of the account that `key` names as glexec's `epilogue_user`.
    ///
    /// # Errors
    /// One sentence where there is no such account, or where it cannot be looked up.
    pub fn epilogue_user(self, key: &str, name: &str) -> Result<u32, String> {
        let failed = |why: &str| format!("{self}: {key}: account '{name}' {why}");
        match User::from_name(name) {
            Ok(Some(user)) => Ok(user.uid.as_raw()),
            Ok(None) => Err(failed("does not exist; name glexec's epilogue_user")),
            Err(errno) => Err(failed(&format!("cannot be looked up ({})", errno.desc()))),
        }
    }
}

/// How a payload's death by a signal is shown.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum SignalExit {
    /// By a death of the same signal, which the scheduler records as it records any.
    #[default]
    #[serde(rename = "reraise")]
    Reraise,
    /// By exit code 128+n.
    #[serde(rename = "128")]
    Code,
}

impl SignalExit {
    /// The end that is shown for this one.
    pub const fn shown(self, ending: Ending) -> Ending {
        match self {
            Self::Reraise => ending,
            Self::Code => Ending::Exited(ending.code()),
        }
    }
}

fn read<T: DeserializeOwned>(path: &str) -> Result<Option<T>, String> {
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
