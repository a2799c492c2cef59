//! Slurm's control groups. Under version 1 a step's group belongs to the job's user, so glexec leaves
//! it for the job's own group above it; under version 2 a payload may have a leaf below its task's
//! group. Where glexec ends after slurmstepd, slurmstepd could not remove what was in use, and
//! nobody else would.

use nix::errno::Errno;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A glexec whose run is settled may need this long to be gone.
const PATIENCE: Duration = Duration::from_secs(1);
const NAP: Duration = Duration::from_millis(20);

/// Job, step, `user`, task, leaf: who finds more looks at something else.
const DEEPEST: usize = 5;

/// Removes the groups of a job that is over on this node, as far as they are empty. A group of the
/// job's user stays: another job of theirs may be about to use it.
///
/// # Errors
/// One sentence for the first that cannot be removed, or where the mounts cannot be read.
pub(crate) fn remove_empty(node: Option<&str>, uid: u32, job: u32) -> Result<(), String> {
    const MOUNTS: &str = "/proc/self/mountinfo";
    let mounts = fs::read(MOUNTS).map_err(|error| format!("{MOUNTS}: {error}"))?;
    let until = Instant::now() + PATIENCE;
    let removed =
        groups(&String::from_utf8_lossy(&mounts), node, uid, job).into_iter().map(|group| {
            remove_all(&group, until, DEEPEST).map_err(|error| {
                format!("{}: {error}; remove the control group once it is empty", group.display())
            })
        });
    // Every one is tried.
    removed.fold(Ok(()), Result::and)
}

/// Removes a group and those below it, the lowest first. There are no links among groups.
fn remove_all(group: &Path, until: Instant, deepest: usize) -> io::Result<()> {
    let below = match fs::read_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        below => below?,
    };
    for entry in below {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let deepest = deepest.checked_sub(1).ok_or(io::ErrorKind::DirectoryNotEmpty)?;
            remove_all(&entry.path(), until, deepest)?;
        }
    }
    remove(group, until)
}

fn remove(group: &Path, until: Instant) -> io::Result<()> {
    loop {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.raw_os_error() == Some(Errno::EBUSY as i32) && Instant::now() < until =>
            {
                std::thread::sleep(NAP);
            }
            removed => return removed,
        }
    }
}

/// Where a job's groups are: Slurm names the tree after the node where several slurmds may run on a
/// machine (cgroup.conf(5), `CgroupPrepend`; of version 2 it is a scope of systemd's).
fn groups(mountinfo: &str, node: Option<&str>, uid: u32, job: u32) -> Vec<PathBuf> {
    let trees = |version: &str| -> Vec<String> {
        if version == "cgroup" {
            let named = node.map(|node| format!("slurm_{node}"));
            let all = std::iter::once("slurm".to_owned()).chain(named);
            all.map(|tree| format!("{tree}/uid_{uid}")).collect()
        } else {
            let named = node.map(|node| format!("{node}_slurmstepd"));
            let all = std::iter::once("slurmstepd".to_owned()).chain(named);
            all.map(|tree| format!("system.slice/{tree}.scope")).collect()
        }
    };
    let points = mountinfo.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let (point, version) = (place.split(' ').nth(4)?, kind.split(' ').next()?);
        let shown = matches!(version, "cgroup" | "cgroup2") && !point.contains('\\');
        shown.then_some((point, version))
    });
    let all = points.flat_map(|(point, version)| {
        let in_tree = move |tree: String| PathBuf::from(format!("{point}/{tree}/job_{job}"));
        trees(version).into_iter().map(in_tree)
    });
    all.filter(|group| group.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_one_job_are_found_in_every_hierarchy_and_no_other() {
        let base = std::env::temp_dir().join(format!("groups.{}", std::process::id()));
        let make = |name: &str| fs::create_dir_all(base.join(name)).unwrap();
        for name in ["f/slurm/uid_7/job_1", "f/slurm_n1/uid_7/job_1", "m/slurm_n1/uid_7/job_1"] {
            make(name);
        }
        for name in ["f/slurm/uid_7/job_11", "f/slurm/uid_8/job_1", "v2/slurm/uid_7/job_1"] {
            make(name);
        }
        make("m/slurm_n1/uid_7/job_1/step_0");
        make("w/system.slice/n1_slurmstepd.scope/job_1/step_0/user/task_0/leaf");
        make("w/system.slice/n2_slurmstepd.scope/job_1");
        let line = |point: &str, kind: &str| {
            format!("30 25 0:26 / {}/{point} rw - {kind} c rw\n", base.display())
        };
        let mounts = line("f", "cgroup")
            + &line("m", "cgroup")
            + &line("v2", "cgroup2")
            + &line("w", "cgroup2")
            + "x\n";
        let found = groups(&mounts, Some("n1"), 7, 1);
        assert_eq!(
            found,
            [
                "f/slurm/uid_7/job_1",
                "f/slurm_n1/uid_7/job_1",
                "m/slurm_n1/uid_7/job_1",
                "w/system.slice/n1_slurmstepd.scope/job_1",
            ]
            .map(|name| base.join(name))
        );
        assert_eq!(groups(&mounts, None, 7, 1).len(), 1);
        let now = Instant::now();
        assert!(remove(&found[0], now).is_ok() && !found[0].exists());
        assert!(remove(&found[0], now).is_ok(), "it is gone already");
        fs::write(found[2].join("step_0/process"), "").unwrap();
        assert!(remove_all(&found[2], now, 5).is_err() && found[2].exists(), "it is in use");
        assert!(remove_all(&found[3], now, 3).is_err() && found[3].exists(), "it is too deep");
        assert!(remove_all(&found[3], now, 4).is_ok() && !found[3].exists());
        fs::remove_dir_all(&base).unwrap();
    }
}
