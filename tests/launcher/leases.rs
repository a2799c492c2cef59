//! `glexec-admin leases`: whose the accounts of pools and gridmapdirs are, and taking one back.

use crate::credential::{GRIDMAPDIR, call, plant_pool, present, site};
use harness::{Ran, Site};
use serde_json::Value;

fn admin(site: &Site, words: &[&str]) -> Ran {
    site.program(["/usr/sbin/glexec-admin", "leases"]).words(words.iter().copied()).by("root").run()
}

fn rows(site: &Site) -> Vec<Value> {
    serde_json::from_str(&admin(site, &["--json"]).exited(0).output()).unwrap()
}

#[test]
fn a_lease_is_shown_and_taken_back_unless_a_run_has_it() {
    let (site, pki) = site();
    plant_pool(&site, &["work001", "work002"]);
    assert_eq!(rows(&site), [Value::Null; 0]);
    present(&site, pki.proxy("pool A"));
    let subject = "/DC=org/DC=trial/CN=pool A";
    let running = call(&site, &["/bin/sh", "-c", "echo ready; sleep 60"]).start();
    running.says("ready\n");
    let told = rows(&site);
    let [row] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&row["kind"], &row["state"]), (&"gridmapdir".into(), &"in-use".into()), "{row}");
    assert_eq!((&row["subject"], row["uid"].as_u64().is_some()), (&subject.into(), true));
    let account = row["account"].as_str().unwrap().to_owned();
    for whose in [subject, account.as_str()] {
        let ran = admin(&site, &["--release", whose]);
        assert!(ran.exited(1).output().contains("is in use"), "{ran:?}");
    }
    running.signal_by("root", libc::SIGTERM).unwrap();
    running.wait();
    let told = admin(&site, &[]).exited(0).output();
    assert!(told.contains("held") && told.contains(&account) && told.contains(subject), "{told}");
    // A lease that LCMAPS made says less of its subject; one that leads nowhere is stale.
    site.file(&format!("{GRIDMAPDIR}/%2fcn%3dgone"), "", 0o644);
    let states: Vec<String> =
        rows(&site).iter().map(|row| format!("{} {}", row["state"], row["subject"])).collect();
    assert!(states.contains(&"\"stale\" \"/cn=gone\"".to_owned()), "{states:?}");
    for (whose, part) in [("/CN=nobody", "no lease"), ("work009", "no lease"), ("", "no lease")] {
        let ran = admin(&site, &["--release", whose]);
        assert!(ran.exited(2).error().contains(part), "{whose}: {ran:?}");
    }
    for whose in [subject, "%2fcn%3dgone"] {
        assert!(admin(&site, &["--release", whose]).exited(0).output().contains("released"));
    }
    assert_eq!(rows(&site), [Value::Null; 0]);
    assert_eq!(site.program(["/usr/sbin/glexec-admin", "leases"]).run().code(), 2);
}

#[test]
fn the_accounts_of_a_pool_are_shown() {
    let site = Site::new();
    let mapping = "methods = [\"pool\"]\n[[mapping.pool]]\ncaller = \"pilot\"\naccounts = \"work[061-061]\"\n";
    site.config(&format!(
        "[glexec]\nuser_white_list = [\"pilot\"]\nkill_grace = 1\n[mapping]\n{mapping}"
    ));
    let running = site.glexec(["/bin/sh", "-c", "echo ready; sleep 60"]).start();
    running.says("ready\n");
    let state = |site: &Site| {
        let told = rows(site);
        let [row] = &told[..] else { panic!("{told:?}") };
        assert_eq!((&row["kind"], &row["account"]), (&"pool".into(), &"work061".into()));
        row["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state(&site), "in-use");
    running.signal_by("root", libc::SIGTERM).unwrap();
    running.wait();
    assert_eq!(state(&site), "free");
    let ran = admin(&site, &["--release", "work061"]);
    assert!(ran.exited(2).error().contains("given back by their runs"), "{ran:?}");
}
