//! A job of HTCondor's that brings its proxy, on a site that maps by credential: the hooks before it,
//! and its wrapper, without HTCondor's daemons.

use crate::credential::site;
use harness::accounts::PILOT;
use harness::{LIBEXEC, Ran, Site};

const SCRATCH: &str = "/home/pilot/scratch";
const AD: &str = "Cmd = \"/bin/true\"\nJobUniverse = 5\nShouldTransferFiles = \"YES\"\nTransferExecutable = false\n";

fn with_proxy() -> String {
    format!("{AD}x509userproxy = \"/home/submitter/x509up_u7\"\n")
}

fn prepared(site: &Site, hook: &str, ad: &str) -> Ran {
    let call = site.shell(&format!("exec {LIBEXEC}/glexec-condor-{hook}")).stdin(ad);
    call.env("_CONDOR_SCRATCH_DIR", SCRATCH).run()
}

#[test]
fn a_job_is_mapped_by_the_proxy_that_it_brings() {
    let (site, pki) = site();
    site.file("/etc/glexec-condor.toml", "[prepare]\nrewrite = true\nretries = 0\n", 0o644);
    site.directory(SCRATCH, (PILOT, PILOT), 0o755);
    // Before the transfer there is none: who will have one is not held for it.
    assert_eq!(prepared(&site, "prepare-transfer", &with_proxy()).code(), 0);
    assert_ne!(prepared(&site, "prepare-transfer", AD).code(), 0);
    // Where the site's files cannot be used that is told all the same.
    site.mode(harness::GRID_MAPFILE, 0o666);
    assert_ne!(prepared(&site, "prepare-transfer", &with_proxy()).code(), 0);
    site.mode(harness::GRID_MAPFILE, 0o644);
    let brings = |proxy: String| {
        let path = format!("{SCRATCH}/x509up_u7");
        let _ = std::fs::remove_file(site.path(&path));
        site.file(&path, proxy, 0o600);
        site.own(&path, (PILOT, PILOT));
    };
    // With the files it is a rehearsal like another.
    brings(pki.proxy("stranger"));
    assert_ne!(prepared(&site, "prepare", &with_proxy()).code(), 0);
    brings(pki.proxy("bob"));
    assert_eq!(prepared(&site, "prepare", &with_proxy()).code(), 0);
    // And so is the run.
    let run = |ad: &str| {
        site.file(&format!("{SCRATCH}/.job.ad"), ad, 0o644);
        let call =
            site.program([&*format!("{LIBEXEC}/glexec-condor-wrapper"), "/usr/bin/id", "-un"]);
        let call = call.env("_CONDOR_SCRATCH_DIR", SCRATCH).within(SCRATCH);
        call.env("_CONDOR_JOB_AD", &format!("{SCRATCH}/.job.ad")).run()
    };
    assert_eq!(run(&with_proxy()).exited(0).output(), "payload3\n");
    assert!(run(AD).error().contains("credential"), "{:?}", run(AD));
}
