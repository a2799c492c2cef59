//! What a job would have of its starter beside its run by glexec, as the starter's user: programs,
//! and files outside its sandbox. The wrapper sees nothing of it, so such a job is not run. Pure.

use crate::dialect::Ad;
use std::path::{Component, Path};

/// Programs that the starter runs without the wrapper.
const PROGRAMS: [&str; 3] = ["PreCmd", "PostCmd", "TransferPlugins"];
/// Lists of files that the starter sends.
const SENT: [&str; 2] = ["TransferOutput", "TransferCheckpoint"];
/// Where URLs may stand, which the starter's plugins fetch and write.
const FETCHED: [&str; 6] = [
    "TransferInput",
    "TransferOutput",
    "TransferOutputRemaps",
    "TransferCheckpoint",
    "OutputDestination",
    "CheckpointDestination",
];

/// The starter: whether it becomes the job's owner for what it does, and where it is.
#[derive(Debug)]
pub(crate) struct Starter<'a> {
    pub(crate) is_roots: bool,
    pub(crate) sandbox: &'a Path,
    /// `FileSystemDomain` of the machine.
    pub(crate) domain: Option<String>,
}

/// Why a job is not to be run, where it asks for more than its run.
pub(crate) fn asks(ad: &Ad, starter: &Starter<'_>) -> Option<String> {
    if let Some(name) = PROGRAMS.into_iter().find(|name| ad.has(name)) {
        return Some(format!("{name} would be run without glexec"));
    }
    if starter.is_roots {
        return None;
    }
    let all = |name: &'static str| ad.texts(name).map(move |text| (name, text));
    for (name, text) in SENT.into_iter().flat_map(all) {
        let inside = |file: &str| stays(Path::new(file.trim()), starter.sandbox);
        if !text.is_some_and(|text| text.split([',', ';']).all(inside)) {
            return Some(format!("{name} may name files outside the sandbox"));
        }
    }
    for (name, text) in FETCHED.into_iter().flat_map(all) {
        if text.is_none_or(|text| text.to_ascii_lowercase().contains("file:")) {
            return Some(format!("{name} may name files of this machine"));
        }
    }
    shares_files(ad, starter).then(|| "its files are not transferred".to_owned())
}

/// Whether the starter would open the job's streams where they are, as its own user.
fn shares_files(ad: &Ad, starter: &Starter<'_>) -> bool {
    let here = |domain: &str| {
        starter.domain.as_deref().is_none_or(|here| here.eq_ignore_ascii_case(domain))
    };
    let transferred = |text: Option<String>| match text.map(|text| text.to_ascii_uppercase()) {
        Some(text) if text == "YES" => true,
        Some(text) if text == "IF_NEEDED" => {
            ad.texts("FileSystemDomain").all(|domain| domain.is_some_and(|domain| !here(&domain)))
        }
        _ => false,
    };
    let mut said = ad.texts("ShouldTransferFiles").peekable();
    said.peek().is_none() || !said.all(transferred)
}

fn stays(file: &Path, sandbox: &Path) -> bool {
    let climbs = file.components().any(|part| part == Component::ParentDir);
    let below = sandbox.is_absolute() && file.starts_with(sandbox);
    !climbs && (!file.is_absolute() || below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pilots(text: &str) -> Option<String> {
        let sandbox = Path::new("/e/dir_1");
        let domain = Some("node".to_owned());
        let ad = format!("ShouldTransferFiles = \"YES\"\n{text}\n");
        asks(&Ad::parse(&ad), &Starter { is_roots: false, sandbox, domain })
    }

    #[test]
    fn what_runs_or_reaches_beside_glexec_is_known() {
        for bad in [
            "PreCmd = \"x\"",
            "postcmd = strcat(\"x\")",
            "Other = \"\nPreCmd = undefined\n\"\nPreCmd = \"x\"",
            "TransferPlugins = \"a=b\"",
            "TransferOutput = \"a,/home/pilot/secret\"",
            "TransferOutput = \"../x\"",
            "TransferOutput = \"a/../../x\"",
            "TransferOutput = strcat(\"/home\")",
            "TransferOutput = \"a\"\nTransferOutput = \"/b\"",
            "TransferOutput = \"/e/dir_10/x\"",
            "TransferInput = \"a, FILE:///home/pilot/secret\"",
            "OutputDestination = \"file:///home/pilot\"",
            "ShouldTransferFiles = \"NO\"",
            "ShouldTransferFiles = \"IF_NEEDED\"\nFileSystemDomain = \"NODE\"",
            "ShouldTransferFiles = toUpper(\"no\")",
        ] {
            assert!(pilots(bad).is_some(), "{bad}");
        }
        for good in [
            "",
            "TransferOutput = \"a, b/c,/e/dir_1/x\"",
            "TransferInput = \"/home/other/a,https://x/file\"",
            "TransferOutput = \"\"",
            "PreCmd = undefined\nTransferOutput = undefined",
            "ShouldTransferFiles = \"IF_NEEDED\"\nFileSystemDomain = \"elsewhere\"",
        ] {
            assert_eq!(pilots(good), None, "{good}");
        }
    }

    #[test]
    fn roots_starter_does_what_the_owner_may_but_no_programs() {
        let roots = |text: &str| {
            let sandbox = Path::new("/e/dir_1");
            asks(&Ad::parse(text), &Starter { is_roots: true, sandbox, domain: None })
        };
        assert_eq!(roots("ShouldTransferFiles = \"NO\"\nTransferOutput = \"/x\"\n"), None);
        assert!(roots("PreCmd = \"x\"\n").is_some());
    }
}
