//! A job that runs again: its ad has what the last run told, and nothing of the runs before.

use crate::jobs::all;
use crate::kills::{LONG, OBEYED, begin_script, way};
use crate::{HOOKED_PILOT, HOOKED_ROOT};
use harness::Pool;

/// Vacated, so that its first run died of TERM; then it ends of its own accord.
fn ends_otherwise(pool: &Pool, account: &'static str) {
    let way = way((account, "condor_vacate_job", false), OBEYED);
    let go = format!("/var/lib/site/go-{account}");
    let id = begin_script(pool, &way, (&format!("test -e {go} && exit 6; sleep 600"), ""));
    pool.file(&go, "", 0o644);
    let told = pool.shell("root", &format!("condor_vacate_job {id}"));
    assert!(told.status.success(), "{told:?}");
    let ad = pool.wait_for(id, |ad| ad.is_completed() || ad.is_held(), LONG);
    assert!(ad.is_completed() && ad.number("NumJobStarts") > Some(1), "{ad:?} {:?}", all(&ad));
    assert_eq!(ad.number("GlexecTargetRC"), Some(6), "{:?}", all(&ad));
    assert!(matches!(ad.get("GlexecTargetSignal"), None | Some("undefined")), "{:?}", all(&ad));
}

#[test]
fn a_signal_of_the_run_before_is_gone() {
    ends_otherwise(&HOOKED_ROOT.get(), "payload5");
}

#[test]
fn a_signal_of_the_run_before_is_gone_with_a_pilot() {
    ends_otherwise(&HOOKED_PILOT.get(), "payload5");
}
