//! A job of HTCondor's that brings its proxy or its token, on a site that maps by credential: the hooks
//! before it, and its wrapper, without HTCondor's daemons.

use crate::credential::site;
use crate::token;
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

#[test]
fn a_job_is_mapped_by_the_token_that_the_starter_keeps_for_it() {
    const NEEDED: &str = "OAuthServicesNeeded = \"scitokens\"\n";
    let (site, issuer) = token::site();
    let settings = |wrapper: &str| {
        let text = format!("[wrapper]\n{wrapper}\n[prepare]\nrewrite = true\nretries = 0\n");
        site.file("/etc/glexec-condor.toml", text, 0o644);
    };
    settings("token = \"scitokens.use\"");
    site.directory(SCRATCH, (PILOT, PILOT), 0o755);
    let credentials = format!("{SCRATCH}/.condor_creds");
    site.directory(&credentials, (PILOT, PILOT), 0o700);
    let with_token = format!("{AD}{NEEDED}");
    assert_eq!(prepared(&site, "prepare-transfer", &with_token).code(), 0);
    assert_ne!(prepared(&site, "prepare-transfer", AD).code(), 0);
    assert_ne!(prepared(&site, "prepare", &with_token).code(), 0);
    let keeps = |subject: &str| {
        let path = format!("{credentials}/scitokens.use");
        let _ = std::fs::remove_file(site.path(&path));
        site.file(&path, issuer.token(subject), 0o600);
        site.own(&path, (PILOT, PILOT));
    };
    keeps("stranger");
    assert_ne!(prepared(&site, "prepare", &with_token).code(), 0);
    keeps("bob-3");
    assert_eq!(prepared(&site, "prepare", &with_token).code(), 0);
    // The pilot's own, which the starter has in its environment.
    let run = |ad: &str| {
        site.file(&format!("{SCRATCH}/.job.ad"), ad, 0o644);
        let call =
            site.program([&*format!("{LIBEXEC}/glexec-condor-wrapper"), "/usr/bin/id", "-un"]);
        let call = call.env("_CONDOR_SCRATCH_DIR", SCRATCH).within(SCRATCH);
        let call = call.env("_CONDOR_CREDS", &credentials).env("BEARER_TOKEN_FILE", token::TOKEN);
        call.env("_CONDOR_JOB_AD", &format!("{SCRATCH}/.job.ad")).run()
    };
    assert_eq!(run(&with_token).exited(0).output(), "payload3\n");
    let ran = run(AD);
    assert!(ran.error().contains("credential"), "{ran:?}");
    // Of a job that says itself where its token is, that counts.
    let own = format!("{AD}Environment = \"BEARER_TOKEN_FILE={}\"\n", token::TOKEN);
    assert_eq!(prepared(&site, "prepare", &own).code(), 0);
    assert_eq!(run(&own).exited(0).output(), "payload1\n");
    // Where the site's file does not say which, none is passed on.
    settings("");
    let ran = run(&with_token);
    assert!(ran.error().contains("credential"), "{ran:?}");
    // In the starter's environment of a hook there may be a pilot's, too.
    let hook = format!("exec {LIBEXEC}/glexec-condor-prepare");
    let call = site.shell(&hook).stdin(&with_token).env("_CONDOR_SCRATCH_DIR", SCRATCH);
    assert_ne!(call.env("BEARER_TOKEN_FILE", token::TOKEN).run().code(), 0);
}
