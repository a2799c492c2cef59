//! What a job may try by its own words: its environment, its ad.

use crate::HOOKED_PILOT;
use crate::jobs::{done, job};

/// A pilot's starter runs the wrapper as the pilot and in the job's environment.
#[test]
fn a_jobs_environment_brings_no_code_of_its_own_to_the_pilot() {
    let pool = HOOKED_PILOT.get();
    let text = job("payload1", "arguments = \"-c 'exit 7'\"")
        .replace("environment = \"", "environment = \"LD_PRELOAD=./evil.so ");
    let id = pool.submit("pilot", &text);
    let ad = done(&pool, id);
    assert_eq!(ad.number("ExitCode"), Some(7), "{ad:?}\n{}", pool.diagnosis());
    // The loader of a program that is not static would complain.
    assert_eq!(pool.read(&format!("/home/pilot/err.{id}")), "");
}
