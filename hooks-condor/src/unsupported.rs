//! What a job would have of its starter beside its run by glexec, as the starter's user: programs,
//! and files outside its sandbox. The wrapper sees nothing of it, so such a job is not run. Pure.

use crate::dialect::Ad;
use std::path::{Component, Path};

/// Programs that the starter runs without the wrapper.
const PROGRAMS: [&str; 4] = ["PreCmd", "PostCmd", "ToolDaemonCmd", "TransferPlugins"];
/// What has the starter run another program instead of the wrapper and the job's command.
const CONTAINERS: [&str; 4] = ["WantDocker", "DockerImage", "WantContainer", "ContainerImage"];
/// vanilla, java and parallel: what the starter runs by the wrapper.
const UNIVERSES: [&str; 3] = ["5", "10", "11"];
/// Files that the starter sends, or makes.
const FILES: [&str; 4] = ["TransferOutput", "TransferCheckpoint", "ManifestDir", "StarterUserLog"];
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
    let wanted = |name: &&str| ad.values(name).any(|value| !value.eq_ignore_ascii_case("false"));
    if let Some(name) = CONTAINERS.into_iter().find(wanted) {
        return Some(format!("{name}: containers are not run by glexec"));
    }
    if wanted(&"InteractiveJob") {
        let what = "an interactive job is a shell of condor_ssh_to_job's, which no wrapper sees";
        return Some(what.to_owned());
    }
    if ad.values("JobUniverse").any(|universe| !UNIVERSES.contains(&universe)) {
        return Some("its universe is not run by glexec".to_owned());
    }
    if starter.is_roots {
        return None;
    }
    let all = |name: &'static str| ad.texts(name).map(move |text| (name, text));
    for (name, text) in FILES.into_iter().flat_map(all) {
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
            "ToolDaemonCmd = \"x\"",
            "ManifestDir = \"../x\"",
            "WantDocker = true",
            "InteractiveJob = true",
            "WantDocker = false\nwantcontainer = 1 == 1",
            "JobUniverse = 13",
            "StarterUserLog = \"/home/pilot/x\"",
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
            "ManifestDir = \"x\"",
            "WantDocker = False\nJobUniverse = 5",
            "PreCmd = undefined\nTransferOutput = undefined",
            "ShouldTransferFiles = \"IF_NEEDED\"\nFileSystemDomain = \"elsewhere\"",
        ] {
            assert_eq!(pilots(good), None, "{good}");
        }
    }

    #[test]
    fn a_job_that_does_not_say_that_its_files_are_transferred_shares_them() {
        let sandbox = Path::new("/e/dir_1");
        let domain = Some("node".to_owned());
        let starter = Starter { is_roots: false, sandbox, domain };
        for text in ["", "Owner = \"x\"\n", "ShouldTransferFiles = undefined\n"] {
            assert!(asks(&Ad::parse(text), &starter).is_some(), "{text:?}");
        }
    }

    #[test]
    fn roots_starter_does_what_the_owner_may_but_no_programs() {
        let roots = |text: &str| {
            let sandbox = Path::new("/e/dir_1");
            asks(&Ad::parse(text), &Starter { is_roots: true, sandbox, domain: None })
        };
        assert_eq!(roots("ShouldTransferFiles = \"NO\"\nTransferOutput = \"/x\"\n"), None);
        for bad in ["PreCmd = \"x\"\n", "ContainerImage = \"x.sif\"\n", "InteractiveJob = true\n"] {
            assert!(roots(bad).is_some(), "{bad}");
        }
    }
}
