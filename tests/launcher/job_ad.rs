//! What HTCondor's wrapper tells the job's ad, by a condor_chirp that is not HTCondor's.

use harness::accounts::PILOT;
use harness::{LIBEXEC, Site};

const SCRATCH: &str = "/home/pilot/scratch";
const TOLD: &str = "/home/pilot/told";

/// The names that a run tells, one after the other.
fn told(site: &Site, chirp: &str) -> Vec<String> {
    let _ = std::fs::remove_file(site.path(TOLD));
    site.file("/usr/local/bin/chirp", format!("#!/bin/sh\n{chirp}\necho $2 >> {TOLD}\n"), 0o755);
    let words = [&*format!("{LIBEXEC}/glexec-condor-wrapper"), "/bin/sh", "-c", "exit 3"];
    let call = site.program(words).env("_CONDOR_SCRATCH_DIR", SCRATCH).within(SCRATCH);
    call.run().exited(3);
    site.read(TOLD).lines().map(str::to_owned).collect()
}

#[test]
fn no_attribute_is_lost_where_each_takes_its_time() {
    /// Seconds; together they take longer, and each for itself does not.
    const LIMIT: u32 = 5;
    const EACH: f32 = 1.5;
    let site = Site::new();
    let settings =
        "[programs]\ncondor_chirp = \"/usr/local/bin/chirp\"\n[attributes]\ntime_limit = ";
    site.file("/etc/glexec-condor.toml", format!("{settings}{LIMIT}\n"), 0o644);
    site.directory(SCRATCH, (PILOT, PILOT), 0o755);
    let at_once = told(&site, "");
    assert!(at_once.len() as f32 * EACH > LIMIT as f32, "{at_once:?}");
    assert_eq!(told(&site, &format!("sleep {EACH}")), at_once);
    // Who does not answer at all is asked once by each way there is.
    let none = told(
        &site,
        "[ -e /home/pilot/asked.2 ] && exec sleep 600; [ -e /home/pilot/asked ] && : > /home/pilot/asked.2; : > /home/pilot/asked",
    );
    assert_eq!(none.len(), 2, "{none:?}");
}
