//! Slurm's control groups of version 1. A step's group belongs to the job's user, so glexec leaves it
//! for the job's own group above it. Where glexec ends after slurmstepd, slurmstepd could not remove
//! that one, and nobody else would.

use nix::errno::Errno;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A glexec whose run is settled may need this long to be gone.
const PATIENCE: Duration = Duration::from_secs(1);
const NAP: Duration = Duration::from_millis(20);

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
            remove(&group, until).map_err(|error| {
                format!("{}: {error}; remove the control group once it is empty", group.display())
            })
        });
    // Every one is tried.
    removed.fold(Ok(()), Result::and)
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
/// machine (cgroup.conf(5), `CgroupPrepend`).
fn groups(mountinfo: &str, node: Option<&str>, uid: u32, job: u32) -> Vec<PathBuf> {
    let trees: Vec<String> = std::iter::once("slurm".to_owned())
        .chain(node.map(|node| format!("slurm_{node}")))
        .collect();
    let points = mountinfo.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let point = place.split(' ').nth(4)?;
        (kind.split(' ').next() == Some("cgroup") && !point.contains('\\')).then_some(point)
    });
    let all = points.flat_map(|point| {
        let in_tree =
            move |tree: &String| PathBuf::from(format!("{point}/{tree}/uid_{uid}/job_{job}"));
        trees.iter().map(in_tree)
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
        let line = |point: &str, kind: &str| {
            format!("30 25 0:26 / {}/{point} rw - {kind} c rw\n", base.display())
        };
        let mounts = line("f", "cgroup") + &line("m", "cgroup") + &line("v2", "cgroup2") + "x\n";
        let found = groups(&mounts, Some("n1"), 7, 1);
        assert_eq!(
            found,
            ["f/slurm/uid_7/job_1", "f/slurm_n1/uid_7/job_1", "m/slurm_n1/uid_7/job_1"]
                .map(|name| base.join(name))
        );
        assert_eq!(groups(&mounts, None, 7, 1).len(), 1);
        let now = Instant::now();
        assert!(remove(&found[0], now).is_ok() && !found[0].exists());
        assert!(remove(&found[0], now).is_ok(), "it is gone already");
        assert!(remove(&found[2], now).is_err() && found[2].exists(), "it is not empty");
        fs::remove_dir_all(&base).unwrap();
    }
}
